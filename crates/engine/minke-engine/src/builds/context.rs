//! A build's files.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minke_store::copying::Root;
use minke_store::transplant::Sums;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::mounts::minke_sys_open;
use super::scratch::Scratch;
use crate::error::{Error, Result};

/// Files that were taken in. They go when this is dropped.
#[derive(Debug)]
pub struct Context {
    files: Arc<Files>,
}

/// The files, for as long as a step looks at them.
#[derive(Debug)]
pub(super) struct Files {
    scratch: Scratch,
    sums: Sums,
}

impl Files {
    pub(super) const fn new(scratch: Scratch, sums: Sums) -> Self {
        Self { scratch, sums }
    }

    pub(super) fn directory(&self) -> &Path {
        self.scratch.path()
    }

    pub(super) const fn sums(&self) -> &Sums {
        &self.sums
    }
}

impl Context {
    pub(super) fn new(files: Files) -> Self {
        Self { files: Arc::new(files) }
    }

    pub(super) const fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// The directory they lie in. Names in it are the client's: nothing in it is to be followed by its text.
    pub fn directory(&self) -> &Path {
        self.files.directory()
    }

    /// A file's bytes, at most `max`, read beneath the context. `None`: there is no such file.
    pub fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let root = minke_sys_open(self.directory())?;
        let failed = |source| Error::failed(format!("read {path}"), source);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match minke_sys::beneath::open_in_root(&root, path, flags, Mode::empty()) {
            Ok(file) => std::fs::File::from(file),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(failed(errno.into())),
        };
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(Error::invalid(format!("{path} is not a file")));
        }
        if found.len() > max {
            return Err(Error::invalid(format!(
                "{path} has {} bytes, more than the {max} that are allowed",
                found.len()
            )));
        }
        let mut bytes = Vec::new();
        file.take(max).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Removes what `matches` (a path relative to the context, without a leading slash; whether it is a directory): files that
    /// `.dockerignore` names and that had to be sent all the same. A directory that still holds something stays.
    pub fn exclude(&mut self, matches: &dyn Fn(&str, bool) -> bool) -> Result<()> {
        let failed = |source| Error::failed("leave out what .dockerignore names", source);
        remove_matching(&minke_sys_open(self.directory())?, &mut PathBuf::new(), matches).map_err(failed)
    }

    /// The same for names that are known.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        let root = Root::new(minke_sys_open(self.directory())?);
        let Ok(real) = root.real_path(path.as_bytes()) else { return Ok(()) };
        let real = String::from_utf8_lossy(&real).into_owned();
        let real = real.trim_start_matches('/').to_owned();
        match std::fs::remove_file(self.directory().join(&real)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::failed(format!("leave out {path}"), error))
            }
            _ => Ok(()),
        }
    }
}

fn remove_matching(
    directory: &std::os::fd::OwnedFd,
    path: &mut PathBuf,
    matches: &dyn Fn(&str, bool) -> bool,
) -> std::io::Result<()> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    for name in names {
        let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_dir = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        path.push(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name.to_bytes()));
        let out = matches(&path.to_string_lossy(), is_dir);
        if is_dir {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = rustix::fs::openat(directory, &name, flags, Mode::empty())?;
            remove_matching(&inner, path, matches)?;
            if out {
                match rustix::fs::unlinkat(directory, &name, AtFlags::REMOVEDIR) {
                    Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {}
                    other => other?,
                }
            }
        } else if out {
            rustix::fs::unlinkat(directory, &name, AtFlags::empty())?;
        }
        path.pop();
    }
    Ok(())
}
