//! The mount points and files that every container expects, made in an image's root before any container starts.
//!
//! As Docker makes them: what stands in the way of a path (a link, a file) is removed, what is there in the right place stays.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

#[derive(Debug, Clone, Copy)]
enum Point {
    Directory,
    File,
    Link(&'static str),
}

const POINTS: [(&str, Point); 10] = [
    ("dev/pts", Point::Directory),
    ("dev/shm", Point::Directory),
    ("dev/console", Point::File),
    ("proc", Point::Directory),
    ("sys", Point::Directory),
    (".dockerenv", Point::File),
    ("etc/resolv.conf", Point::File),
    ("etc/hosts", Point::File),
    ("etc/hostname", Point::File),
    ("etc/mtab", Point::Link("/proc/mounts")),
];

/// Makes the mount points beneath `root`.
pub(super) fn make(root: &OwnedFd) -> io::Result<()> {
    POINTS.iter().try_for_each(|(path, point)| make_one(root, path, *point))
}

/// Whether the engine itself put this path there.
pub(super) fn is_one(path: &[u8]) -> bool {
    POINTS.iter().any(|(point, _)| {
        let point = point.as_bytes();
        point == path || (point.starts_with(path) && point.get(path.len()) == Some(&b'/'))
    })
}

const MODE: Mode = Mode::from_raw_mode(0o755);

fn make_one(root: &OwnedFd, path: &str, point: Point) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = fs::openat(root, c".", flags, Mode::empty())?;
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        let name = OsStr::from_bytes(part.as_bytes());
        let found = match fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            other => Some(FileType::from_raw_mode(other?.st_mode)),
        };
        if last {
            return make_last(&dir, name, found, point);
        }
        if found.is_some_and(|kind| kind != FileType::Directory) {
            fs::unlinkat(&dir, name, AtFlags::empty())?;
        }
        if found != Some(FileType::Directory) {
            make_dir(&dir, name)?;
        }
        dir = fs::openat(&dir, name, flags, Mode::empty())?;
    }
    Ok(())
}

/// A directory that is there stays, whatever was wanted; anything else is replaced by what is wanted.
fn make_last(dir: &OwnedFd, name: &OsStr, found: Option<FileType>, point: Point) -> io::Result<()> {
    match found {
        Some(FileType::Directory) => return Ok(()),
        Some(_) => fs::unlinkat(dir, name, AtFlags::empty())?,
        None => {}
    }
    match point {
        Point::Directory => make_dir(dir, name),
        Point::Link(target) => Ok(fs::symlinkat(target, dir, name)?),
        Point::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = fs::openat(dir, name, flags, MODE)?;
            Ok(fs::fchmod(file.as_fd(), MODE)?)
        }
    }
}

fn make_dir(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    fs::mkdirat(dir, name, MODE)?;
    Ok(fs::chmodat(dir, name, MODE, AtFlags::empty())?)
}
