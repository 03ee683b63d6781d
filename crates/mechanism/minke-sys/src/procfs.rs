//! procfs that is certainly procfs: handles checked by file system and inode before anything is written through them.
//!
//! A container can mount something else over parts of `/proc`, so that a label or a sysctl written there goes nowhere
//! (CVE-2019-16884, CVE-2025-52881). Handles made here are verified once and paths below them never cross a mount.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::{Errno, Result, mount};

const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const PROC_ROOT_INO: u64 = 1;

/// The caller's `/proc`, verified. Free of allocation.
pub fn open() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    verify(rustix::fs::openat(CWD, c"/proc", flags, Mode::empty())?)
}

/// A procfs of the caller's pid namespace that is mounted nowhere: nothing can be mounted over it.
pub fn detached() -> Result<OwnedFd> {
    mount::FsContext::open(c"proc")?.create()?.mount(mount::Attrs::MOUNT_ATTR_NOEXEC)
}

fn verify(fd: OwnedFd) -> Result<OwnedFd> {
    mount::require_file_system(&fd, PROC_SUPER_MAGIC)?;
    if rustix::fs::fstat(&fd)?.st_ino == PROC_ROOT_INO { Ok(fd) } else { Err(Errno::XDEV) }
}

/// Opens `path` (`self/attr/exec`, `sys/net/…`) below a procfs root from [`open`] or [`detached`]; `self` and
/// `thread-self` are the only links followed. The result is on procfs, whatever is mounted elsewhere.
pub fn open_in(proc: impl AsFd, path: &CStr, flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    crate::beneath::open(proc, path, flags, Mode::empty(), resolve)
}

/// Writes all of `bytes` to `path` below a procfs root in one call. Free of allocation.
pub fn write(proc: impl AsFd, path: &CStr, bytes: &[u8]) -> Result<()> {
    let fd = open_in(proc, path, OFlags::WRONLY)?;
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&fd, bytes))?;
    if written == bytes.len() { Ok(()) } else { Err(Errno::IO) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_recognised_and_another_directory_is_not() {
        open().unwrap();
        assert_eq!(verify(crate::beneath::open_root("/tmp".as_ref()).unwrap()).unwrap_err(), Errno::XDEV);
    }

    #[test]
    fn own_attributes_are_reached_through_self_but_no_magic_link() {
        let proc = open().unwrap();
        open_in(&proc, c"self/status", OFlags::RDONLY).unwrap();
        assert_eq!(open_in(&proc, c"self/root/etc", OFlags::PATH).unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn a_detached_procfs_shows_this_process() {
        open_in(detached().unwrap(), c"self/status", OFlags::RDONLY).unwrap();
    }
}
