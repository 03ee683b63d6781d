//! Mounts as file descriptors: make, clone, set attributes, attach, detach.
//!
//! A mount made here belongs to nobody until [`attach`]ed, so it can be built in one process and put in place in
//! another one's namespace, and it is gone when its descriptor closes. Free of allocation throughout.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use rustix::path::Arg;

use crate::{Errno, Result, raw};

pub use rustix::mount::{MountAttrFlags as Attrs, MountFlags as Flags};

/// A file system being configured (`fsopen` … `fsmount`).
///
/// `FsContext::open("overlay")?.string("lowerdir+", dir)?.create()?.mount(Attrs::empty())`.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
}

impl FsContext {
    /// Begins a new file system of type `kind`.
    pub fn open(kind: impl Arg) -> Result<Self> {
        rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map(|fd| Self { fd })
    }

    /// Sets `key=value`. A value holds at most 255 bytes; what is longer goes through [`FsContext::path`] or in parts
    /// (`lowerdir+`).
    pub fn string(self, key: impl Arg, value: impl Arg) -> Result<Self> {
        rustix::mount::fsconfig_set_string(self.fd.as_fd(), key, value)?;
        Ok(self)
    }

    /// Sets an option without value.
    pub fn flag(self, key: impl Arg) -> Result<Self> {
        rustix::mount::fsconfig_set_flag(self.fd.as_fd(), key)?;
        Ok(self)
    }

    /// Sets an option whose value is an open descriptor (overlayfs takes layers so since Linux 6.13).
    pub fn fd(self, key: impl Arg, value: impl AsFd) -> Result<Self> {
        rustix::mount::fsconfig_set_fd(self.fd.as_fd(), key, value)?;
        Ok(self)
    }

    /// Makes the superblock.
    pub fn create(self) -> Result<Self> {
        rustix::mount::fsconfig_create(self.fd.as_fd())?;
        Ok(self)
    }

    /// A detached mount of the superblock.
    pub fn mount(&self, attrs: Attrs) -> Result<OwnedFd> {
        rustix::mount::fsmount(self.fd.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attrs)
    }

    /// What the file system had to say about the last failure, one line; empty when nothing. Allocates.
    #[must_use]
    pub fn complaint(&self) -> String {
        let mut text = String::new();
        let mut buf = [0u8; 512];
        while let Ok(len) = rustix::io::read(&self.fd, &mut buf) {
            if !text.is_empty() {
                text.push_str("; ");
            }
            let line = String::from_utf8_lossy(buf.get(..len).unwrap_or_default()).into_owned();
            text.push_str(line.trim_end().trim_start_matches(['e', 'w', 'i', ' ']));
        }
        text
    }
}

/// Propagation of mount events, as `mount_setattr` and `mount` take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Events go both ways.
    Shared,
    /// Events come in but do not go out.
    Slave,
    /// Neither.
    Private,
    /// Private, and cannot be bind mounted.
    Unbindable,
}

impl Propagation {
    /// The `MS_*` bit.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Shared => 1 << 20,
            Self::Slave => 1 << 19,
            Self::Private => 1 << 18,
            Self::Unbindable => 1 << 17,
        }
    }
}

/// The argument of `mount_setattr`: what to set, what to clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttrChange {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// The new propagation, if it changes.
    pub propagation: Option<Propagation>,
}

impl AttrChange {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Only this attribute set.
    #[must_use]
    pub fn setting(attrs: Attrs) -> Self {
        Self { set: u64::from(attrs.bits()), ..Self::default() }
    }
}

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Whether an operation covers the mounts below the one named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only this mount.
    One,
    /// This mount and all below.
    Recursive,
}

/// Changes the attributes of the mount that `fd` is the root of (Linux 5.12).
pub fn set_attributes(fd: impl AsFd, change: AttrChange, depth: Depth) -> Result<()> {
    mount_setattr(fd.as_fd(), c"", libc::AT_EMPTY_PATH, change, depth, None)
}

/// Changes the attributes of the mount at `path`.
pub fn set_attributes_at(dir: impl AsFd, path: &CStr, change: AttrChange, depth: Depth) -> Result<()> {
    mount_setattr(dir.as_fd(), path, 0, change, depth, None)
}

/// Maps the owners of a detached mount through the user namespace `userns`.
pub fn set_idmap(fd: impl AsFd, userns: impl AsFd, depth: Depth) -> Result<()> {
    let change = AttrChange::setting(Attrs::MOUNT_ATTR_IDMAP);
    mount_setattr(fd.as_fd(), c"", libc::AT_EMPTY_PATH, change, depth, Some(userns.as_fd()))
}

fn mount_setattr(
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: i32,
    change: AttrChange,
    depth: Depth,
    userns: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let attr = MountAttr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation.map_or(0, |propagation| u64::from(propagation.bits())),
        userns_fd: userns.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
    };
    let flags = flags | if depth == Depth::Recursive { AT_RECURSIVE } else { 0 };
    let args = [
        raw::arg(dir.as_raw_fd()),
        path.as_ptr().expose_provenance(),
        raw::arg(flags),
        (&raw const attr).expose_provenance(),
        size_of::<MountAttr>(),
        0,
    ];
    // SAFETY: mount_setattr reads a C string and `size` bytes of `mount_attr`; both live until the call returns.
    unsafe { raw::syscall(libc::SYS_mount_setattr, args) }.map(drop)
}

const AT_RECURSIVE: i32 = 0x8000;

/// A detached copy of the mount (or of the part of it) at `path`: what a bind mount is made of.
pub fn clone_tree(dir: impl AsFd, path: impl Arg, depth: Depth) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags |= OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(dir, path, flags)
}

/// Puts a detached mount on top of the file or directory that `target` is a handle of.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags)
}

/// Puts a detached mount on top of `path`, symlinks followed.
pub fn attach_at(mount: impl AsFd, dir: impl AsFd, path: impl Arg) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    rustix::mount::move_mount(mount, c"", dir, path, flags)
}

/// `mount(2)` of a new file system on `target` with every flag and option at once.
pub fn mount(source: &CStr, target: impl Arg, kind: &CStr, flags: Flags, data: Option<&CStr>) -> Result<()> {
    rustix::mount::mount(source, target, kind, flags, data)
}

/// Changes propagation of the mount at `target` by `mount(2)`.
pub fn set_propagation(target: impl Arg, propagation: Propagation, depth: Depth) -> Result<()> {
    let mut flags = rustix::mount::MountPropagationFlags::from_bits_retain(propagation.bits());
    if depth == Depth::Recursive {
        flags |= rustix::mount::MountPropagationFlags::REC;
    }
    rustix::mount::mount_change(target, flags)
}

/// Takes the mount at `target` out of sight now; it goes when its last user goes.
pub fn detach(target: impl Arg) -> Result<()> {
    rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

/// `umount2` that fails when the mount is busy.
pub fn unmount(target: impl Arg) -> Result<()> {
    rustix::mount::unmount(target, UnmountFlags::NOFOLLOW)
}

/// Makes `new_root`, the root of an attached mount, the root of the mount namespace and of the caller; the old root
/// is taken away.
///
/// Both of pivot_root's arguments are the same directory: the old root lands on top of the new one and is detached
/// from there, so that no directory is needed in the root file system, which may be read-only. `old_is_shared` says
/// that the old root may still send events to the host: then it is made a slave first, lest the host lose its mounts.
pub fn pivot_into(new_root: impl AsFd, old_is_shared: bool) -> Result<()> {
    let old_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = if old_is_shared { Some(rustix::fs::open(c"/", old_flags, Mode::empty())?) } else { None };
    rustix::process::fchdir(new_root)?;
    rustix::process::pivot_root(c".", c".")?;
    if let Some(old) = old {
        rustix::process::fchdir(&old)?;
        set_propagation(c".", Propagation::Slave, Depth::Recursive)?;
    }
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// The old way for roots that cannot be pivoted (an initramfs): moves `new_root` over `/` and changes root into it.
pub fn move_root(new_root: impl AsFd) -> Result<()> {
    rustix::process::fchdir(new_root)?;
    rustix::mount::mount_move(c".", c"/")?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

/// The attributes that correspond to the per-mount bits of `flags`; bits of the superblock are left out.
#[must_use]
pub fn attrs_of(flags: MountFlags) -> MountAttrFlags {
    let pairs = [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (MountFlags::STRICTATIME, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
        (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        (MountFlags::NOSYMFOLLOW, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    ];
    pairs.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, attr)| attr).collect()
}

/// Whether the file system behind `fd` is of the type with this magic number (`PROC_SUPER_MAGIC` …).
pub fn is_file_system(fd: impl AsFd, magic: i64) -> Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type == magic)
}

/// Fails with `EXDEV` unless `fd` lies on the file system with this magic number.
pub fn require_file_system(fd: impl AsFd, magic: i64) -> Result<()> {
    if is_file_system(fd, magic)? { Ok(()) } else { Err(Errno::XDEV) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;

    #[test]
    fn a_detached_tmpfs_can_be_written_before_anyone_sees_it() {
        let context = FsContext::open("tmpfs").unwrap().string("size", "64k").unwrap().create().unwrap();
        let mount = context.mount(Attrs::MOUNT_ATTR_NODEV).unwrap();
        let file = rustix::fs::openat(&mount, "x", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        assert_eq!(rustix::io::write(&file, b"hello").unwrap(), 5);
        assert!(is_file_system(&mount, 0x0102_1994).unwrap());
    }

    #[test]
    fn a_read_only_clone_refuses_writes_while_the_original_takes_them() {
        let dir = tempfile::tempdir().unwrap();
        let clone = clone_tree(CWD, dir.path(), Depth::One).unwrap();
        set_attributes(&clone, AttrChange::setting(Attrs::MOUNT_ATTR_RDONLY), Depth::One).unwrap();
        assert_eq!(rustix::fs::mkdirat(&clone, "x", Mode::RWXU).unwrap_err(), Errno::ROFS);
        std::fs::create_dir(dir.path().join("x")).unwrap();
    }

    #[test]
    fn a_refused_option_comes_with_the_file_systems_complaint() {
        let context = FsContext::open("overlay").unwrap();
        let fd = context.fd.try_clone().unwrap();
        let error = context.string("nosuchoption", "1").unwrap_err();
        assert_eq!(error, Errno::INVAL);
        assert!(FsContext { fd }.complaint().contains("nosuchoption"));
    }
}
