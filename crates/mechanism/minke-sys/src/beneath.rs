//! Opening files of a tree that cannot be trusted: no path leaves the tree, whatever symlinks it holds.
//!
//! Two readings of a path exist. *In root*: the directory is `/`, so absolute symlinks and `..` stay inside, as the
//! container itself would see it. *Beneath*: anything that would leave is an error (`EXDEV`). Magic links of procfs
//! are never followed in either. Needs openat2 (Linux 5.6).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::Result;

/// How often a lookup that raced with a rename somewhere in the system is tried again before the error is returned.
const RACE_RETRIES: usize = 128;

/// The longest name of one path component.
const NAME_MAX: usize = 255;

/// Opens `path` as a process whose root is `root` would. `O_CLOEXEC` is always added.
pub fn open_in_root(root: impl AsFd, path: impl Arg, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    open(root, path, flags, mode, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` below `dir`; a path or symlink that leads out of it is `EXDEV`. `O_CLOEXEC` is always added.
pub fn open_beneath(dir: impl AsFd, path: impl Arg, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    open(dir, path, flags, mode, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` below `dir` where no component may be a symlink or a mount point of another file system.
pub fn open_strict(dir: impl AsFd, path: impl Arg, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    open(dir, path, flags, mode, resolve | ResolveFlags::NO_MAGICLINKS)
}

/// openat2 with the retry its manual asks for: `EAGAIN` means that a rename happened at the same time.
pub fn open(
    dir: impl AsFd,
    path: impl Arg,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    path.into_with_c_str(|path| {
        let mut tries = 0;
        loop {
            match rustix::fs::openat2(dir.as_fd(), path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tries < RACE_RETRIES => tries += 1,
                other => return other,
            }
        }
    })
}

/// A directory as an `O_PATH` handle to resolve other paths from.
pub fn open_root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// What [`ensure_in_root`] makes when the last component is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory with this mode.
    Directory(Mode),
    /// An empty regular file with this mode.
    File(Mode),
}

/// An `O_PATH` handle of `path` in `root`; missing directories, and the last component as `missing` says, are made.
///
/// What exists is taken as it is: whether it is a directory is the caller's question. A dangling symlink on the way is
/// an error (`ENOENT`), since what it names may be anywhere. Free of allocation.
pub fn ensure_in_root(root: impl AsFd, path: &CStr, missing: Missing) -> Result<OwnedFd> {
    match open_in_root(root.as_fd(), path, OFlags::PATH, Mode::empty()) {
        Err(Errno::NOENT) => match make_last(root.as_fd(), path.to_bytes(), missing) {
            Err(Errno::NOENT) => make_in_root(root.as_fd(), path.to_bytes(), missing),
            other => other,
        },
        other => other,
    }
}

/// The usual case: only the last component is missing.
fn make_last(root: BorrowedFd<'_>, path: &[u8], missing: Missing) -> Result<OwnedFd> {
    let (dir, name) = split_last(path).ok_or(Errno::NOENT)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let dir = with_prefix(dir, |dir| open_in_root(root, dir, flags, Mode::empty()))?;
    with_name(name, |name| make_one(dir.as_fd(), name, missing))
}

fn make_in_root(root: BorrowedFd<'_>, path: &[u8], missing: Missing) -> Result<OwnedFd> {
    let directory = OFlags::PATH | OFlags::DIRECTORY;
    let mut at = open_in_root(root, c".", directory, Mode::empty())?;
    let mut end = 0;
    while let Some((from, to)) = next_component(path, end) {
        let is_last = next_component(path, to).is_none();
        end = to;
        let prefix = path.get(..to).unwrap_or_default();
        let flags = if is_last { OFlags::PATH } else { directory };
        match with_prefix(prefix, |prefix| open_in_root(root, prefix, flags, Mode::empty())) {
            Ok(found) => at = found,
            Err(Errno::NOENT) => {
                let name = path.get(from..to).unwrap_or_default();
                let kind = if is_last { missing } else { Missing::Directory(Mode::from_raw_mode(0o755)) };
                at = with_name(name, |name| make_one(at.as_fd(), name, kind))?;
            }
            Err(other) => return Err(other),
        }
    }
    Ok(at)
}

fn make_one(dir: BorrowedFd<'_>, name: &CStr, missing: Missing) -> Result<OwnedFd> {
    if name == c".." {
        // `missing/..` has no meaning while `missing` is being made.
        return Err(Errno::NOENT);
    }
    match missing {
        Missing::Directory(mode) => match rustix::fs::mkdirat(dir, name, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(other) => return Err(other),
        },
        Missing::File(mode) => {
            let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            match rustix::fs::openat(dir, name, flags, mode) {
                Ok(_) | Err(Errno::ISDIR) => {}
                Err(Errno::LOOP) => return Err(Errno::NOENT),
                Err(other) => return Err(other),
            }
        }
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&made)?.st_mode);
    if kind.is_symlink() { Err(Errno::NOENT) } else { Ok(made) }
}

/// Makes every missing directory of `path` beneath `root` and answers a handle of the last.
pub fn mkdir_all_in_root(root: impl AsFd, path: impl Arg, mode: Mode) -> Result<OwnedFd> {
    path.into_with_c_str(|path| {
        let made = ensure_in_root(root.as_fd(), path, Missing::Directory(mode))?;
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&made)?.st_mode);
        if kind.is_dir() { Ok(made) } else { Err(Errno::NOTDIR) }
    })
}

/// Splits `path` into the directory part (`.` when there is none) and the last component.
///
/// Answers `None` when the path ends in `..`, or names the root itself.
#[must_use]
pub fn split_last(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let trimmed = path.len() - path.iter().rev().take_while(|byte| **byte == b'/').count();
    let path = path.get(..trimmed)?;
    let cut = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (dir, name) = path.split_at(cut);
    if name.is_empty() || name == b"." || name == b".." {
        return None;
    }
    Some((if dir.is_empty() { b"." } else { dir }, name))
}

/// The bounds of the component that starts at or after `from`, skipping slashes and single dots.
fn next_component(path: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut start = from;
    loop {
        while *path.get(start)? == b'/' {
            start += 1;
        }
        let rest = path.get(start..)?;
        let end = start + rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        if path.get(start..end)? == b"." {
            start = end;
            continue;
        }
        return Some((start, end));
    }
}

/// Calls `f` with `bytes` as a C string on the stack; too long a path is `ENAMETOOLONG`.
fn with_prefix<T>(bytes: &[u8], f: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
    with_c_str::<T, { libc::PATH_MAX as usize }>(bytes, f)
}

fn with_name<T>(bytes: &[u8], f: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
    with_c_str::<T, { NAME_MAX + 1 }>(bytes, f)
}

fn with_c_str<T, const N: usize>(bytes: &[u8], f: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
    let mut space = [0u8; N];
    let Some(front) = space.get_mut(..bytes.len()) else { return Err(Errno::NAMETOOLONG) };
    front.copy_from_slice(bytes);
    let c_str = CStr::from_bytes_until_nul(&space).map_err(|_full| Errno::NAMETOOLONG)?;
    f(c_str)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let root = open_root(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn an_absolute_symlink_stays_inside_the_root() {
        let (dir, root) = tree();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "inside").unwrap();
        symlink("/etc", dir.path().join("link")).unwrap();
        let fd = open_in_root(&root, "/link/passwd", OFlags::RDONLY, Mode::empty()).unwrap();
        assert_eq!(std::io::read_to_string(std::fs::File::from(fd)).unwrap(), "inside");
    }

    #[test]
    fn leaving_is_an_error_beneath() {
        let (dir, root) = tree();
        symlink("/etc", dir.path().join("link")).unwrap();
        for path in ["../x", "/etc/passwd", "link/passwd"] {
            let error = open_beneath(&root, path, OFlags::RDONLY, Mode::empty()).unwrap_err();
            assert_eq!(error, Errno::XDEV, "{path}");
        }
    }

    #[test]
    fn missing_directories_are_made_inside_even_through_links_and_dots() {
        let (dir, root) = tree();
        std::fs::create_dir(dir.path().join("var")).unwrap();
        symlink("/var", dir.path().join("link")).unwrap();
        ensure_in_root(&root, c"/link/../link/./a/b", Missing::Directory(Mode::from_raw_mode(0o755)))
            .unwrap();
        assert!(dir.path().join("var/a/b").is_dir());
        ensure_in_root(&root, c"../../x/file", Missing::File(Mode::from_raw_mode(0o644))).unwrap();
        assert!(dir.path().join("x/file").is_file());
    }

    #[test]
    fn a_dangling_symlink_is_refused_and_its_target_not_made() {
        let (dir, root) = tree();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path().join("new"), dir.path().join("link")).unwrap();
        for missing in [Missing::Directory(Mode::RWXU), Missing::File(Mode::RUSR)] {
            assert_eq!(ensure_in_root(&root, c"link", missing).unwrap_err(), Errno::NOENT);
            assert_eq!(ensure_in_root(&root, c"link/below", missing).unwrap_err(), Errno::NOENT);
        }
        assert!(!outside.path().join("new").exists());
    }

    #[test]
    fn the_last_component_is_split_off() {
        assert_eq!(split_last(b"/dev/null"), Some((&b"/dev/"[..], &b"null"[..])));
        assert_eq!(split_last(b"null/"), Some((&b"."[..], &b"null"[..])));
        assert_eq!(split_last(b"/"), None);
        assert_eq!(split_last(b"/a/.."), None);
    }
}
