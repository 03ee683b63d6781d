//! `tmpcopyup`: a new tmpfs begins with a copy of the directory it covers.
//!
//! Copies directories, files, links, nodes, with owners, modes and times, and extended attributes of files and directories
//! as far as tmpfs takes them. Works on descriptors and stack buffers only.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use minke_sys::{Errno, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Timestamps, Uid};
use rustix::time::Timespec;

/// How deep a tree may be; each level holds a descriptor and a buffer on the stack.
const DEPTH: usize = 48;

/// Copies what is in `from` into `to`, and the attributes of `from` itself; its mode only when nobody asked for another.
pub(super) fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>, keep_mode: bool) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = rustix::fs::openat(from, c".", flags, Mode::empty())?;
    let to = rustix::fs::openat(to, c".", flags, Mode::empty())?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&to)?.st_mode & 0o7777);
    copy_directory(from.as_fd(), to.as_fd(), DEPTH)?;
    if keep_mode { rustix::fs::fchmod(&to, mode) } else { Ok(()) }
}

fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    let deeper = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
    let mut space = [const { MaybeUninit::uninit() }; 2048];
    let mut entries = RawDir::new(from, &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, to, name, deeper)?;
        }
    }
    finish(to, &rustix::fs::fstat(from)?)
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let source = rustix::fs::openat(from, name, read | OFlags::DIRECTORY, Mode::empty())?;
            let copy = rustix::fs::openat(to, name, read | OFlags::DIRECTORY, Mode::empty())?;
            copy_directory(source.as_fd(), copy.as_fd(), depth)
        }
        FileType::RegularFile => {
            let source = rustix::fs::openat(from, name, read, Mode::empty())?;
            let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(to, name, write, Mode::RUSR | Mode::WUSR)?;
            while rustix::fs::sendfile(&copy, &source, None, 1 << 30)? > 0 {}
            finish(copy.as_fd(), &stat)
        }
        FileType::Symlink => copy_link(from, to, name, &stat),
        kind => {
            rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev)?;
            own(to, name, &stat)
        }
    }
}

fn copy_link(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); libc::PATH_MAX as usize];
    let (target, _) = rustix::fs::readlinkat_raw(from, name, &mut space)?;
    let mut text = [0u8; libc::PATH_MAX as usize + 1];
    text.get_mut(..target.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(target);
    let target = CStr::from_bytes_until_nul(&text).map_err(|_full| Errno::NAMETOOLONG)?;
    rustix::fs::symlinkat(target, to, name)?;
    own(to, name, stat)
}

fn own(to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner before mode, since a change of owner clears set-user-ID; times last.
fn finish(copy: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(copy, Some(uid), Some(gid))?;
    rustix::fs::fchmod(copy, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let nanoseconds = |value: u64| i64::try_from(value).unwrap_or(0);
    rustix::fs::futimens(
        copy,
        &Timestamps {
            last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanoseconds(stat.st_atime_nsec) },
            last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanoseconds(stat.st_mtime_nsec) },
        },
    )
}
