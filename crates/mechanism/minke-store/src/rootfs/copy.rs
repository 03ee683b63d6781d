//! A stack of layers copied into one plain directory, with everything a file has: owner, mode, times, attributes, hard links,
//! and shared blocks where the filesystem can.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, SeekFrom, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::layer::diff::open_dir;
use crate::stack::{Found, MergedDir, Stack};

const DEPTH_MAX: usize = 400;

/// Copies the merged view of `stack` into the existing directory `target`.
pub(super) fn copy_stack(stack: &Stack, target: &Path) -> io::Result<()> {
    copy_directory(&stack.root()?, &open_dir(target)?)
}

/// Copies what is in a merged directory into the directory `to`.
pub(super) fn copy_directory(from: &MergedDir, to: &OwnedFd) -> io::Result<()> {
    let mut copier = Copier { root: to, links: HashMap::new() };
    copier.directory(from, to, &mut PathBuf::new(), 0)
}

struct Copier<'a> {
    root: &'a OwnedFd,
    /// Where an inode with several names was copied to first, from the root of the copy.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    fn directory(
        &mut self,
        from: &MergedDir,
        to: &OwnedFd,
        path: &mut PathBuf,
        depth: usize,
    ) -> io::Result<()> {
        if depth == DEPTH_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, "directories are nested too deep"));
        }
        for (name, found) in from.entries()? {
            path.push(OsStr::from_bytes(name.to_bytes()));
            if found.kind() == FileType::Directory {
                let inside = from.enter(&found)?;
                fs::mkdirat(to, &name, Mode::RWXU)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = fs::openat(to, &name, flags, Mode::empty())?;
                self.directory(&inside, &made, path, depth + 1)?;
                dress(to, &name, &found)?;
            } else {
                self.leaf(&found, to, &name, path)?;
            }
            path.pop();
        }
        Ok(())
    }

    #[expect(clippy::unnecessary_cast, reason = "field types differ between architectures")]
    fn leaf(&mut self, found: &Found, to: &OwnedFd, name: &CString, path: &Path) -> io::Result<()> {
        if found.stat.st_nlink > 1 {
            let inode = (found.stat.st_dev as u64, found.stat.st_ino as u64);
            if let Some(first) = self.links.get(&inode) {
                return link(self.root, first, to, name);
            }
            self.links.insert(inode, path.to_owned());
        }
        match found.kind() {
            FileType::RegularFile => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = File::from(fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
                copy_bytes(&found.open()?, &made)?;
            }
            FileType::Symlink => {
                let target = fs::readlinkat(found.holder(), name, Vec::new())?;
                fs::symlinkat(&target, to, name)?;
            }
            FileType::Socket => return Ok(()),
            kind => fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, found.stat.st_rdev)?,
        }
        dress(to, name, found)
    }
}

/// Gives a file of the copy another name. No link on the way is followed, whoever may have put one there meanwhile.
fn link(root: &OwnedFd, first: &Path, to: &OwnedFd, name: &CString) -> io::Result<()> {
    let Some((parent, last)) = first.parent().zip(first.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    if parent.as_os_str().is_empty() {
        return Ok(fs::linkat(root, last, to, name, AtFlags::empty())?);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = fs::openat2(root, parent, flags, Mode::empty(), resolve)?;
    Ok(fs::linkat(parent, last, to, name, AtFlags::empty())?)
}

/// Shares the blocks if the filesystem can, else copies stretch by stretch, so that holes stay holes.
fn copy_bytes(from: &File, to: &File) -> io::Result<()> {
    if fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let size = from.metadata()?.len();
    let mut at = 0;
    while at < size {
        at = match fs::seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let end = fs::seek(from, SeekFrom::Hole(at))?;
        fs::seek(from, SeekFrom::Start(at))?;
        fs::seek(to, SeekFrom::Start(at))?;
        // The standard library picks copy_file_range, sendfile or plain reads.
        io::copy(&mut from.take(end - at), &mut { to })?;
        at = end;
    }
    to.set_len(size)
}

/// Owner, mode, attributes and times of `found` onto `name` in `to`.
pub(super) fn dress(to: &OwnedFd, name: &CStr, found: &Found) -> io::Result<()> {
    let stat = &found.stat;
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fs::chownat(to, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
    if found.kind() != FileType::Symlink {
        fs::chmodat(to, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
    }
    copy_attributes((found.holder().as_fd(), found.name()), (to.as_fd(), name))?;
    let at = |tv_sec, nanoseconds: u64| Timespec { tv_sec, tv_nsec: nanoseconds as _ };
    #[expect(clippy::unnecessary_cast, reason = "field types differ between architectures")]
    let times = Timestamps {
        last_access: at(stat.st_atime, stat.st_atime_nsec as u64),
        last_modification: at(stat.st_mtime, stat.st_mtime_nsec as u64),
    };
    Ok(fs::utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn copy_attributes(from: (BorrowedFd<'_>, &CStr), to: (BorrowedFd<'_>, &CStr)) -> io::Result<()> {
    let path = |(dir, name): (BorrowedFd<'_>, &CStr)| {
        [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name.to_bytes()].concat()
    };
    let (from, to) = (path(from), path(to));
    let mut names = vec![0; 1 << 16];
    let size = match fs::llistxattr(&from[..], &mut names[..]) {
        Err(Errno::NOTSUP) => return Ok(()),
        other => other?,
    };
    for attribute in names[..size].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        if attribute.starts_with(b"trusted.overlay.") || attribute.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0; 1 << 16];
        let length = fs::lgetxattr(&from[..], OsStr::from_bytes(attribute), &mut value[..])?;
        match fs::lsetxattr(&to[..], OsStr::from_bytes(attribute), &value[..length], XattrFlags::empty()) {
            Err(Errno::NOTSUP | Errno::PERM) => {}
            other => other?,
        }
    }
    Ok(())
}
