//! Device nodes and links, made inside the root.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use minke_sys::beneath::{self, Missing};
use minke_sys::mount::{self, Depth};
use minke_sys::{Errno, Result};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};

use super::{Lent, Player, ShortPath};
use crate::steps::DeviceStep;

impl Player<'_> {
    pub(super) fn make_device(&self, step: &DeviceStep) -> Result<()> {
        self.in_parent(&step.path, |dir, name| {
            let kind = FileType::from_raw_mode(step.mode);
            // A node needs CAP_MKNOD in the initial user namespace; elsewhere the host's node is shown.
            match make_node(dir, name, kind, step) {
                Err(Errno::PERM) if !kind.is_fifo() => bind_node(dir, name, step),
                Err(Errno::EXIST) => verify_node(dir, name, kind, step),
                other => other,
            }
        })
    }

    pub(super) fn make_symlink(&self, path: &CStr, to: &CStr, replace: bool) -> Result<()> {
        self.in_parent(path, |dir, name| {
            match rustix::fs::symlinkat(to, dir, name) {
                Err(Errno::EXIST) if replace => {
                    rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
                    rustix::fs::symlinkat(to, dir, name)
                }
                // The image's own entry stays.
                Err(Errno::EXIST) => Ok(()),
                other => other,
            }
        })
    }

    /// Calls `f` with the directory of `path`, made if need be, and the last name.
    ///
    /// Nodes come in groups, so the directory is kept until the next mount: nothing else changes what a path means here.
    fn in_parent(&self, path: &CStr, f: impl FnOnce(BorrowedFd<'_>, &CStr) -> Result<()>) -> Result<()> {
        let (dir, name) = beneath::split_last(path.to_bytes()).ok_or(Errno::INVAL)?;
        // The name ends where the path ends, unless slashes follow.
        let tail = path.to_bytes_with_nul().get(dir.len()..).filter(|_| path.to_bytes().ends_with(name));
        let name = CStr::from_bytes_with_nul(tail.ok_or(Errno::INVAL)?).map_err(|_nul| Errno::INVAL)?;
        let mut parent = Lent::of(&self.hands.parent);
        let short = ShortPath::of(dir);
        if parent.fd.is_none() || short == ShortPath::EMPTY || self.hands.parent_path.get() != short {
            parent.fd = Some(self.open_parent(dir)?);
            self.hands.parent_path.set(short);
        }
        f(parent.get()?, name)
    }

    /// The directory kept is no longer sure to be the one its path means.
    pub(super) fn forget_parent(&self) {
        drop(self.hands.parent.take());
    }

    fn open_parent(&self, dir: &[u8]) -> Result<OwnedFd> {
        let mut space = [0u8; libc::PATH_MAX as usize];
        space.get_mut(..dir.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(dir);
        let dir = CStr::from_bytes_until_nul(&space).map_err(|_full| Errno::NAMETOOLONG)?;
        let missing = Missing::Directory(Mode::from_raw_mode(0o755));
        beneath::ensure_in_root(self.root_dir()?.get()?, dir, missing)
    }
}

fn make_node(dir: BorrowedFd<'_>, name: &CStr, kind: FileType, step: &DeviceStep) -> Result<()> {
    let mode = Mode::from_raw_mode(step.mode & 0o7777);
    // No bit is masked: the plan's first step about files is `umask 0`.
    rustix::fs::mknodat(dir, name, kind, mode, step.dev)?;
    if step.uid == 0 && step.gid == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(step.uid), Gid::from_raw(step.gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// An entry of the image, or one made by an earlier container in the same directory, counts only if it is the same device.
fn verify_node(dir: BorrowedFd<'_>, name: &CStr, kind: FileType, step: &DeviceStep) -> Result<()> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == kind && (kind.is_fifo() || stat.st_rdev == step.dev) {
        return Ok(());
    }
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(Errno::ISDIR);
    }
    // Something else is in the way: a link or file that the image put there. The node replaces it.
    rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
    match make_node(dir, name, kind, step) {
        Err(Errno::PERM) if !kind.is_fifo() => bind_node(dir, name, step),
        other => other,
    }
}

fn bind_node(dir: BorrowedFd<'_>, name: &CStr, step: &DeviceStep) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    drop(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644))?);
    let target =
        rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let node = mount::clone_tree(CWD, step.host.as_c_str(), Depth::One)?;
    let stat = rustix::fs::statat(&node, c"", AtFlags::EMPTY_PATH)?;
    if stat.st_rdev != step.dev {
        return Err(Errno::NODEV);
    }
    mount::attach(&node, &target)
}
