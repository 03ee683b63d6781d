//! The root that files are carried in and out of: a running container's as it is, or one put together for the purpose.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use minke_sys::beneath::{self, Missing};
use minke_sys::mount::{self, AttrChange, Attrs, Depth, Propagation};
use minke_sys::ns;
use minke_sys::spawn::flags;
use rustix::fs::{self, CWD, Mode, OFlags};

use super::{Failure, Place, Staged, Why};
use crate::rootfs::{Rootfs, overlay};

/// The root with everything that is mounted into it.
pub(super) fn whole_root(place: &Place) -> Result<OwnedFd, Failure> {
    match place {
        Place::Live { .. } => Ok(io::stderr().as_fd().try_clone_to_owned()?),
        Place::Rest { rootfs, at, mounts } => {
            enter_own_namespace()?;
            put_root(rootfs, at)?;
            let root = beneath::open_root(at).map_err(io::Error::from)?;
            for staged in mounts {
                put_mount(&root, staged)?;
            }
            Ok(root)
        }
    }
}

/// The root without what is mounted into it.
pub(super) fn bare_root(place: &Place) -> Result<OwnedFd, Failure> {
    match place {
        Place::Live { pid } => Ok(clone_live_root(*pid)?),
        Place::Rest { rootfs, .. } => open(rootfs),
    }
}

fn open(rootfs: &Rootfs) -> Result<OwnedFd, Failure> {
    overlay::open(rootfs).map_err(|error| Failure::new(Why::Other, super::chain(&error)))
}

fn enter_own_namespace() -> io::Result<()> {
    ns::unshare(flags::NEWNS)?;
    // Nothing of this comes back to the host; what the host unmounts goes here too.
    Ok(mount::set_propagation(c"/", Propagation::Slave, Depth::Recursive)?)
}

fn put_root(rootfs: &Rootfs, at: &Path) -> Result<(), Failure> {
    let mounted = match rootfs {
        Rootfs::Path(path) => mount::clone_tree(CWD, path, Depth::One).map_err(io::Error::from)?,
        Rootfs::Overlay { .. } => open(rootfs)?,
    };
    mount::attach_at(&mounted, CWD, at).map_err(io::Error::from)?;
    Ok(())
}

/// Mounts one thing, making its mount point where it is missing, as a start would.
fn put_mount(root: &OwnedFd, staged: &Staged) -> Result<(), Failure> {
    let failed = |action: &str, error: io::Error| {
        let text = format!("{action} {} to {}: {error}", staged.source.display(), staged.target);
        Failure::new(Why::Other, text)
    };
    let source = std::fs::metadata(&staged.source).map_err(|e| failed("mount", e))?;
    let mode = Mode::from_raw_mode(0o755);
    let missing = if source.is_dir() { Missing::Directory(mode) } else { Missing::File(mode) };
    let target = CString::new(staged.target.as_str()).map_err(|e| failed("mount", e.into()))?;
    let target = beneath::ensure_in_root(root, &target, missing)
        .map_err(|e| failed("find the place for", e.into()))?;
    let depth = if staged.recursive { Depth::Recursive } else { Depth::One };
    let put = || -> io::Result<()> {
        let tree = mount::clone_tree(CWD, &staged.source, depth)?;
        if !staged.writable {
            mount::set_attributes(&tree, AttrChange::setting(Attrs::MOUNT_ATTR_RDONLY), depth)?;
        }
        Ok(mount::attach(&tree, &target)?)
    };
    put().map_err(|e| failed("mount", e))
}

/// A copy of a running container's root mount alone. It can only be made from inside its mount namespace; this process goes there
/// and comes back.
fn clone_live_root(pid: u32) -> io::Result<OwnedFd> {
    let own = ns::open(Path::new("/proc/self/ns/mnt"))?;
    let theirs = ns::open(Path::new(&format!("/proc/{pid}/ns/mnt")))?;
    ns::join(&theirs, flags::NEWNS)?;
    let cloned = mount::clone_tree(CWD, c"/", Depth::One);
    ns::join(&own, flags::NEWNS)?;
    let cloned = cloned?;
    // The number may have become another process's: the root that was handed over is the one.
    let (handed, found) = (fs::fstat(io::stderr())?, fs::fstat(&cloned)?);
    if (handed.st_dev, handed.st_ino) != (found.st_dev, found.st_ino) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the container has ended"));
    }
    Ok(fs::openat(&cloned, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
