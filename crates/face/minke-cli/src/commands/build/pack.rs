//! A directory as a build's context: an archive made while it is being sent, without what the ignore list names.
//!
//! Files belong to root, times are whole seconds, entries are sorted: what a context holds depends on nothing but its
//! files. A name that is read is opened beneath the directory that was opened before, never by its whole path.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use minke_dockerfile::Ignore;
use rustix::fd::OwnedFd;
use rustix::fs::{self as sys, AtFlags, Dir, FileType, Mode, OFlags, Stat};

/// So much is gathered before it is given out.
const GATHER: usize = 256 << 10;
/// A capability attribute is 20 or 24 bytes.
const CAPABILITY: &str = "security.capability";

/// What went wrong while a body was being read, for those who sent it.
#[derive(Debug, Clone, Default)]
pub(super) struct Problem(Arc<Mutex<Option<String>>>);

impl Problem {
    pub(super) fn set(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }

    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A directory being packed. Reading gives the archive; an error is also left with the [`Problem`].
pub(super) struct Pack {
    open: Vec<Level>,
    ignore: Ignore,
    builder: tar::Builder<Vec<u8>>,
    given: usize,
    file: Option<Content>,
    links: HashMap<(u64, u64), PathBuf>,
    problem: Problem,
    ended: bool,
}

/// A directory under way.
struct Level {
    fd: OwnedFd,
    path: PathBuf,
    /// Sorted, the last is next.
    names: Vec<CString>,
}

struct Content {
    file: File,
    path: PathBuf,
    left: u64,
    padding: usize,
}

impl std::fmt::Debug for Pack {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pack").field("depth", &self.open.len()).finish_non_exhaustive()
    }
}

impl Pack {
    /// `first` is put in front: a file that is not in the directory.
    pub(super) fn new(
        directory: &Path,
        ignore: Ignore,
        first: Option<(&str, &[u8])>,
        problem: Problem,
    ) -> io::Result<Self> {
        let fd = sys::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut builder = tar::Builder::new(Vec::with_capacity(GATHER * 2));
        if let Some((name, bytes)) = first {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            builder.append_data(&mut header, name, bytes)?;
        }
        let level = Level { names: names(&fd)?, fd, path: PathBuf::new() };
        let open = vec![level];
        Ok(Self { open, ignore, builder, given: 0, file: None, links: HashMap::new(), problem, ended: false })
    }

    /// Adds to what is gathered until it is enough or all.
    fn gather(&mut self) -> io::Result<()> {
        if self.given > 0 {
            let out = self.builder.get_mut();
            out.drain(..self.given);
            self.given = 0;
        }
        while self.builder.get_ref().len() < GATHER && !self.ended {
            if self.file.is_some() {
                self.read_content()?;
            } else if let Some(level) = self.open.last_mut() {
                match level.names.pop() {
                    Some(name) => self.entry(&name)?,
                    None => {
                        self.open.pop();
                    }
                }
            } else {
                self.builder.get_mut().extend_from_slice(&[0; 1024]);
                self.ended = true;
            }
        }
        Ok(())
    }

    fn read_content(&mut self) -> io::Result<()> {
        let Some(content) = &mut self.file else { return Ok(()) };
        let out = self.builder.get_mut();
        if content.left > 0 {
            let want = usize::try_from(content.left).unwrap_or(GATHER).min(GATHER);
            let before = out.len();
            let got = (&mut content.file).take(want as u64).read_to_end(out)?;
            if got == 0 {
                out.truncate(before);
                let text = format!("{} became shorter while it was being read", content.path.display());
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            content.left -= got as u64;
        }
        if content.left == 0 {
            let padding = content.padding;
            out.resize(out.len() + padding, 0);
            self.file = None;
        }
        Ok(())
    }

    fn entry(&mut self, name: &CString) -> io::Result<()> {
        let Some(level) = self.open.last() else { return Ok(()) };
        let path = level.path.join(OsStr::from_bytes(name.as_bytes()));
        let shown = path.to_string_lossy();
        let excluded = self.ignore.excludes(&shown);
        let stat = match sys::statat(&level.fd, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since the directory was read.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(at("stat", &path, error)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if excluded && !(kind == FileType::Directory && self.ignore.may_return_below(&shown)) {
            return Ok(());
        }
        match kind {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = sys::openat(&level.fd, name.as_c_str(), flags, Mode::empty())
                    .map_err(|error| at("open", &path, error))?;
                if !excluded {
                    let mut header = header(&stat, tar::EntryType::Directory);
                    self.builder.append_data(&mut header, path.join(""), io::empty())?;
                }
                let names = names(&fd).map_err(|error| at("read", &path, error))?;
                self.open.push(Level { fd, path, names });
            }
            FileType::RegularFile => self.regular(name, path, &stat)?,
            FileType::Symlink => {
                let target = sys::readlinkat(&level.fd, name.as_c_str(), Vec::new())
                    .map_err(|error| at("readlink", &path, error))?;
                let mut header = header(&stat, tar::EntryType::Symlink);
                self.builder.append_link(&mut header, &path, OsStr::from_bytes(target.as_bytes()))?;
            }
            FileType::Fifo => {
                self.builder.append_data(&mut header(&stat, tar::EntryType::Fifo), &path, io::empty())?;
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let entry =
                    if kind == FileType::BlockDevice { tar::EntryType::Block } else { tar::EntryType::Char };
                let mut header = header(&stat, entry);
                header.set_device_major(rustix::fs::major(stat.st_rdev))?;
                header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
                self.builder.append_data(&mut header, &path, io::empty())?;
            }
            // A socket means nothing without its program.
            FileType::Socket | FileType::Unknown => {}
        }
        Ok(())
    }

    fn regular(&mut self, name: &CString, path: PathBuf, stat: &Stat) -> io::Result<()> {
        let Some(level) = self.open.last() else { return Ok(()) };
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let mut header = header(stat, tar::EntryType::Link);
                self.builder.append_link(&mut header, &path, first)?;
                return Ok(());
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = sys::openat(&level.fd, name.as_c_str(), flags, Mode::empty())
            .map_err(|error| at("open", &path, error))?;
        if stat.st_mode & 0o111 != 0 {
            let mut value = [0_u8; 64];
            if let Ok(length) = sys::fgetxattr(&fd, CAPABILITY, &mut value[..]) {
                let key = format!("SCHILY.xattr.{CAPABILITY}");
                self.builder.append_pax_extensions([(key.as_str(), &value[..length])])?;
            }
        }
        let mut header = header(stat, tar::EntryType::Regular);
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        header.set_size(size);
        self.builder.append_data(&mut header, &path, io::empty())?;
        let padding = usize::try_from((512 - size % 512) % 512).unwrap_or_default();
        self.file = Some(Content { file: File::from(fd), path, left: size, padding });
        Ok(())
    }
}

impl Read for Pack {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.builder.get_ref().len() {
            if self.ended {
                return Ok(0);
            }
            if let Err(error) = self.gather() {
                self.problem.set(crate::failure::go_io(&error));
                self.ended = true;
                return Err(error);
            }
        }
        let ready = &self.builder.get_ref()[self.given..];
        let count = ready.len().min(out.len());
        out[..count].copy_from_slice(&ready[..count]);
        self.given += count;
        Ok(count)
    }
}

fn at(what: &str, path: &Path, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{what} {}: {}", path.display(), crate::failure::go_io(&error)))
}

fn names(fd: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names)
}

fn header(stat: &Stat, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn packed(directory: &Path, ignore: &str) -> Vec<String> {
        let ignore = Ignore::parse(ignore.as_bytes()).expect("patterns");
        let pack = Pack::new(directory, ignore, None, Problem::default()).expect("a directory");
        let mut archive = tar::Archive::new(pack);
        let entries = archive.entries().expect("an archive");
        entries
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                let mut text = String::new();
                entry.read_to_string(&mut text).expect("text");
                format!("{path}:{text}")
            })
            .collect()
    }

    #[test]
    fn a_directory_is_packed_in_order_without_what_is_ignored() {
        let place = tempfile::tempdir().expect("a directory");
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir_all(at("sub/deep")).expect("made");
        std::fs::write(at("b"), "bb").expect("written");
        std::fs::write(at("a"), "").expect("written");
        std::fs::write(at("sub/deep/keep"), "k").expect("written");
        std::fs::write(at("sub/deep/drop"), "d").expect("written");
        std::fs::hard_link(at("b"), at("c")).expect("linked");
        symlink("nowhere", at("link")).expect("linked");
        assert_eq!(
            packed(place.path(), ""),
            ["a:", "b:bb", "c:", "link:", "sub/:", "sub/deep/:", "sub/deep/drop:d", "sub/deep/keep:k"]
        );
        assert_eq!(packed(place.path(), "sub\n!sub/deep/keep\n[abc]\nlink"), ["sub/deep/keep:k"]);
    }

    #[test]
    fn long_names_and_large_files_come_whole() {
        let place = tempfile::tempdir().expect("a directory");
        let name = "n".repeat(200);
        std::fs::create_dir(place.path().join(&name)).expect("made");
        let text = "x".repeat(GATHER * 2 + 77);
        std::fs::write(place.path().join(&name).join("file"), &text).expect("written");
        assert_eq!(packed(place.path(), ""), [format!("{name}/:"), format!("{name}/file:{text}")]);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let problem = Problem::default();
        let place = tempfile::tempdir().expect("a directory");
        std::fs::write(place.path().join("f"), "12345").expect("written");
        let mut pack =
            Pack::new(place.path(), Ignore::default(), None, problem.clone()).expect("a directory");
        pack.entry(&CString::new("f").expect("a name")).expect("begun");
        std::fs::write(place.path().join("f"), "1").expect("written");
        assert!(pack.read_to_end(&mut Vec::new()).is_err());
        assert!(problem.take().expect("told").contains("became shorter"));
    }
}
