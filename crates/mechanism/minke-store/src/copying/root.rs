//! A root that names are resolved in, as who lives there would resolve them.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use minke_sys::beneath;
use rustix::fs::{self, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::CopyError;

/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStat {
    /// The last component.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Type and permissions as the kernel gives them.
    pub mode: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// And nanoseconds.
    pub mtime_nanos: u32,
    /// Where a symbolic link leads in the end, as far as that can be told; else empty.
    pub link_target: String,
}

/// A root directory.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Root {
    /// `fd` may be a mere handle (`O_PATH`).
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// A handle of what `path` names. The last component is followed when the path ends in a slash or a dot, as `lstat` does it.
    pub(crate) fn open(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"/" } else { path };
        Ok(beneath::open_in_root(&self.fd, OsStr::from_bytes(path), flags, Mode::empty())?)
    }

    pub(crate) fn lstat(&self, path: &[u8]) -> io::Result<Stat> {
        Ok(fs::fstat(self.open(path, OFlags::PATH | OFlags::NOFOLLOW)?)?)
    }

    /// What `path` is.
    pub fn stat(&self, path: &str) -> Result<PathStat, CopyError> {
        let bytes = path.as_bytes();
        let found = self.lstat(bytes).map_err(CopyError::at("stat", bytes))?;
        let is_link = FileType::from_raw_mode(found.st_mode) == FileType::Symlink;
        let link_target = if is_link { self.resolve(bytes, true).unwrap_or_default() } else { Vec::new() };
        #[expect(clippy::unnecessary_cast, reason = "field types differ between architectures")]
        Ok(PathStat {
            name: String::from_utf8_lossy(base(bytes)).into_owned(),
            size: found.st_size,
            mode: found.st_mode as u32,
            mtime: found.st_mtime,
            mtime_nanos: u32::try_from(found.st_mtime_nsec).unwrap_or(0),
            link_target: String::from_utf8_lossy(&link_target).into_owned(),
        })
    }

    /// The name without links that `path` leads to; all of it must exist.
    pub fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, CopyError> {
        self.resolve(path, false).map_err(CopyError::at("resolve", path))
    }

    /// A text only: what is opened later is resolved anew by the kernel.
    fn resolve(&self, path: &[u8], broken_too: bool) -> io::Result<Vec<u8>> {
        let mut rest: Vec<Vec<u8>> = components(path);
        let mut done: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == b".." {
                done.truncate(done.iter().rposition(|b| *b == b'/').unwrap_or(0));
                continue;
            }
            let candidate = [&done[..], b"/", &part[..]].concat();
            let handle = match self.open(&candidate, OFlags::PATH | OFlags::NOFOLLOW) {
                Ok(handle) => handle,
                Err(error) if broken_too && error.kind() == io::ErrorKind::NotFound => {
                    done = candidate;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if FileType::from_raw_mode(fs::fstat(&handle)?.st_mode) != FileType::Symlink {
                done = candidate;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::LOOP.into());
            }
            let target = fs::readlinkat(&handle, c"", Vec::new())?.into_bytes();
            if target.starts_with(b"/") {
                done.clear();
            }
            rest.extend(components(&target));
        }
        Ok(if done.is_empty() { b"/".to_vec() } else { done })
    }
}

/// Last first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|b| *b == b'/').filter(|part| !matches!(part, &b"" | &b"."));
    parts.rev().map(<[u8]>::to_vec).collect()
}

/// The last component as Go's `filepath.Base` has it: slashes at the end do not count, a dot does.
pub(crate) fn base(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    if end == 0 {
        return b"/";
    }
    let start = path[..end].iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    &path[start..end]
}
