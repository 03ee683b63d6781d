//! The descriptor table as a whole: ranges closed, close-on-exec set, numbers put in place.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::FdFlags;

use crate::{Errno, Result, raw};

const CLOSE_RANGE_UNSHARE: usize = 1 << 1;
const CLOSE_RANGE_CLOEXEC: usize = 1 << 2;

/// Marks every descriptor from `first` up close-on-exec (Linux 5.11).
pub fn cloexec_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX, CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` up in a table of the caller's own.
///
/// # Safety
/// Whoever owns one of these descriptors in this process must not use or close it again.
pub unsafe fn close_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX, CLOSE_RANGE_UNSHARE)
}

/// Closes the descriptors `first..=last` in a table of the caller's own.
///
/// # Safety
/// As for [`close_from`].
pub unsafe fn close_between(first: u32, last: u32) -> Result<()> {
    close_range(first, last, CLOSE_RANGE_UNSHARE)
}

fn close_range(first: u32, last: u32, flags: usize) -> Result<()> {
    let args = [first as usize, last as usize, flags, 0, 0, 0];
    // SAFETY: with CLOEXEC nothing is closed; the closing callers are themselves unsafe and pass the demand on.
    unsafe { raw::syscall(libc::SYS_close_range, args) }.map(drop)
}

/// Makes number `target` refer to what `fd` refers to, closing what it was. The copy is inherited by an exec.
///
/// # Safety
/// Nobody may own `target` in this process, or its owner must expect the change.
pub unsafe fn place(fd: impl AsFd, target: RawFd) -> Result<()> {
    let source = fd.as_fd().as_raw_fd();
    if source == target {
        return rustix::io::fcntl_setfd(fd, FdFlags::empty());
    }
    let args = [raw::arg(source), raw::arg(target), 0, 0, 0, 0];
    // SAFETY: dup3 touches no memory; the caller vouches for the target number.
    unsafe { raw::syscall(libc::SYS_dup3, args) }.map(drop)
}

/// Whether this number is an open descriptor.
#[must_use]
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: the borrow is only handed to fcntl(F_GETFD), which answers EBADF for a number that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(borrowed) != Err(Errno::BADF)
}

/// Takes over a descriptor this process was given by number (an inherited socket on 3, `LISTEN_FDS`, …) and marks it
/// close-on-exec. `EBADF` when it is not open.
///
/// # Safety
/// Nobody else in this process may own the number.
pub unsafe fn take_inherited(fd: RawFd) -> Result<OwnedFd> {
    if fd < 0 || !is_open(fd) {
        return Err(Errno::BADF);
    }
    // SAFETY: it is open, and the caller vouches that nobody else owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// A close-on-exec copy of a descriptor this process was given by number; the number stays as it is. `EBADF` when it is
/// not open.
pub fn duplicate(fd: RawFd) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the borrow is only handed to fcntl(F_DUPFD_CLOEXEC), which answers EBADF for a number that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_dupfd_cloexec(borrowed, 3)
}

/// The numbers of all open descriptors of this process, lowest first. Allocates.
pub fn list_open() -> std::io::Result<Vec<RawFd>> {
    let mut numbers = Vec::new();
    let dir = rustix::fs::open("/proc/self/fd", dir_flags(), rustix::fs::Mode::empty())?;
    let own = dir.as_raw_fd();
    for entry in rustix::fs::Dir::read_from(&dir)? {
        if let Ok(number) = entry?.file_name().to_string_lossy().parse::<RawFd>() {
            numbers.push(number);
        }
    }
    numbers.retain(|number| *number != own && is_open(*number));
    numbers.sort_unstable();
    Ok(numbers)
}

fn dir_flags() -> rustix::fs::OFlags {
    rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_listed_and_known_open() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(is_open(file.as_raw_fd()));
        assert!(list_open().unwrap().contains(&file.as_raw_fd()));
        assert!(!is_open(1_000_000));
    }
}
