//! Entering and leaving namespaces by descriptor. Allocation free; for children and throw-away threads only, since a
//! namespace once entered is kept.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::{Errno, Result, raw};

/// `NSFS_MAGIC`.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Opens the namespace file at `path` (`/proc/PID/ns/net`, `/run/netns/x`); anything but a namespace is `EINVAL`.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let fd = rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK,
        Mode::empty(),
    )?;
    if crate::mount::is_file_system(&fd, NSFS_MAGIC)? { Ok(fd) } else { Err(Errno::INVAL) }
}

/// Joins the namespace behind `fd`; `kind` is its `CLONE_NEW*` bit, or 0 for whichever it is.
pub fn join(fd: impl AsFd, kind: u64) -> Result<()> {
    let kind = usize::try_from(kind).map_err(|_wide| Errno::INVAL)?;
    let args = [raw::arg(fd.as_fd().as_raw_fd()), kind, 0, 0, 0, 0];
    // SAFETY: setns takes a descriptor and a number and touches no memory of ours.
    unsafe { raw::syscall(libc::SYS_setns, args) }.map(drop)
}

/// Joins several namespaces of the process behind `pidfd` at once (Linux 5.8).
pub fn join_process(pidfd: impl AsFd, kinds: u64) -> Result<()> {
    join(pidfd, kinds)
}

/// Leaves namespaces for new ones; `flags` are `CLONE_NEW*` bits.
pub fn unshare(flags: u64) -> Result<()> {
    let flags = usize::try_from(flags).map_err(|_wide| Errno::INVAL)?;
    // SAFETY: unshare takes a number; with namespace bits only it changes no descriptor table.
    unsafe { raw::syscall(libc::SYS_unshare, [flags, 0, 0, 0, 0, 0]) }.map(drop)
}
