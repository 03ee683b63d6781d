//! Files and directories that last as long as somebody holds them.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Builds;
use crate::error::{Error, Result};

/// Goes when it is dropped, in the background.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        // A context may hold tens of thousands of files: nobody waits for them to go.
        std::thread::spawn(move || {
            let removed = match path.symlink_metadata() {
                Ok(found) if found.is_dir() => std::fs::remove_dir_all(&path),
                Ok(_) => std::fs::remove_file(&path),
                Err(_gone) => Ok(()),
            };
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "what a build needed stays until the next start");
            }
        });
    }
}

/// Names for what does not last.
#[derive(Debug)]
pub(super) struct Names {
    directory: PathBuf,
    next: AtomicU64,
}

impl Names {
    /// Makes the directory, empty.
    pub(super) fn open(directory: PathBuf) -> Result<Self> {
        let failed = |source| Error::failed(format!("make {}", directory.display()), source);
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::fs::create_dir_all(&directory).map_err(failed)?;
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
        Ok(Self { directory, next: AtomicU64::new(0) })
    }

    fn name(&self) -> Scratch {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Scratch { path: self.directory.join(number.to_string()) }
    }

    pub(super) fn directory(&self) -> Result<Scratch> {
        let scratch = self.name();
        std::fs::create_dir(&scratch.path)
            .and_then(|()| std::fs::set_permissions(&scratch.path, std::fs::Permissions::from_mode(0o755)))
            .map_err(|source| Error::failed(format!("make {}", scratch.path.display()), source))?;
        Ok(scratch)
    }

    fn file(&self, bytes: &[u8], mode: u32, owner: (u32, u32)) -> Result<Scratch> {
        let scratch = self.name();
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&scratch.path)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| std::os::unix::fs::chown(&scratch.path, Some(owner.0), Some(owner.1)))
            .and_then(|()| std::fs::set_permissions(&scratch.path, std::fs::Permissions::from_mode(mode)));
        written.map_err(|source| Error::failed(format!("write {}", scratch.path.display()), source))?;
        Ok(scratch)
    }
}

impl Builds {
    pub(super) fn scratch_directory(&self) -> Result<Scratch> {
        self.scratch.directory()
    }

    pub(super) fn scratch_file(&self, bytes: &[u8], mode: u32, owner: (u32, u32)) -> Result<Scratch> {
        self.scratch.file(bytes, mode, owner)
    }

    /// A secret, which is not written to a disk where the exec-root is in memory.
    pub(super) fn secret_file(&self, bytes: &[u8], mode: u32, owner: (u32, u32)) -> Result<Scratch> {
        self.secrets.file(bytes, mode, owner)
    }

    /// A directory that stays empty.
    pub(super) fn empty_directory(&self) -> Result<PathBuf> {
        let path = self.root.join("empty");
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::failed(format!("make {}", path.display()), error))
            }
            _ => Ok(path),
        }
    }
}
