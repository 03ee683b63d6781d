//! A tree visited in a fixed order: every directory before what is in it, names by their bytes.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::tar::{Entry, Kind, Moment};

/// Each level holds a descriptor; no sane tree is deeper.
const DEPTH_MAX: usize = 400;

/// Something in a tree.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    /// Relative to the walk's root.
    pub(crate) path: &'a [u8],
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) name: &'a CStr,
    pub(crate) stat: fs::Stat,
}

impl Node<'_> {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(fs::openat(self.dir, self.name, flags, Mode::empty())?)
    }

    pub(crate) fn link(&self) -> io::Result<Vec<u8>> {
        Ok(fs::readlinkat(self.dir, self.name, Vec::new())?.into_bytes())
    }

    fn proc_path(&self) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", self.dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(self.name.to_bytes());
        path
    }

    /// Every extended attribute, sorted by name.
    pub(crate) fn attributes(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let path = self.proc_path();
        let size = match fs::llistxattr_query(&path[..]) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = vec![0; size];
        let size = fs::llistxattr(&path[..], &mut names[..])?;
        let mut found = Vec::new();
        for name in names[..size].split(|b| *b == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0; 1 << 16];
            match fs::lgetxattr(&path[..], OsStr::from_bytes(name), &mut value[..]) {
                Ok(length) => {
                    value.truncate(length);
                    found.push((name.to_vec(), value));
                }
                // Gone since, or none of ours to read.
                Err(Errno::NODATA | Errno::PERM | Errno::NOTSUP) => {}
                Err(e) => return Err(e.into()),
            }
        }
        found.sort();
        Ok(found)
    }

    /// The tar header of this node, without its attributes. `None`: a socket, which no archive holds.
    #[expect(clippy::unnecessary_cast, reason = "field types differ between architectures")]
    pub(crate) fn entry(&self) -> io::Result<Option<Entry>> {
        let kind = match self.kind() {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            _ => return Ok(None),
        };
        let mut path = self.path.to_vec();
        if kind == Kind::Directory {
            path.push(b'/');
        }
        let device = if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            (fs::major(self.stat.st_rdev), fs::minor(self.stat.st_rdev))
        } else {
            (0, 0)
        };
        Ok(Some(Entry {
            path,
            kind,
            link: if kind == Kind::Symlink { self.link()? } else { Vec::new() },
            mode: self.stat.st_mode as u32 & 0o7777,
            uid: self.stat.st_uid,
            gid: self.stat.st_gid,
            size: if kind == Kind::File { u64::try_from(self.stat.st_size).unwrap_or(0) } else { 0 },
            mtime: moment(&self.stat),
            device,
            xattrs: Vec::new(),
            sparse: None,
        }))
    }
}

pub(crate) fn moment(stat: &fs::Stat) -> Moment {
    Moment { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descend {
    Yes,
    No,
}

struct Level {
    dir: OwnedFd,
    names: std::vec::IntoIter<CString>,
    /// Length of this directory's own path in the shared buffer.
    prefix: usize,
}

/// Visits everything below `root`. What vanishes while the walk is on is left out.
pub(crate) fn walk(
    root: &OwnedFd,
    visit: &mut dyn FnMut(&Node<'_>) -> io::Result<Descend>,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut path = Vec::new();
    let mut levels = vec![open_level(fs::openat(root, c".", flags, Mode::empty())?, 0)?];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.prefix);
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        let stat = match fs::statat(&level.dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let node = Node { path: &path, dir: level.dir.as_fd(), name: &name, stat };
        if visit(&node)? == Descend::No || node.kind() != FileType::Directory {
            continue;
        }
        let dir = match fs::openat(&level.dir, &name, flags, Mode::empty()) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        if levels.len() == DEPTH_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidFilename,
                format!("directories are nested deeper than {DEPTH_MAX}"),
            ));
        }
        let prefix = path.len();
        levels.push(open_level(dir, prefix)?);
    }
    Ok(())
}

fn open_level(dir: OwnedFd, prefix: usize) -> io::Result<Level> {
    let names = names(&dir)?.into_iter();
    Ok(Level { dir, names, prefix })
}

/// A directory's names, sorted.
pub(crate) fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}
