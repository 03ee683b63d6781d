//! The directories of volumes: made, moved away, moved back, deleted.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::Volumes;
use super::record::{VolumeRecord, check_name, new_name};
use crate::clock::Moment;
use crate::error::{Error, Result};

/// A volume's data, in its directory.
pub(super) const DATA: &str = "_data";

/// What will be its data, beside it, until it is complete.
pub(super) const NEW_DATA: &str = "_new";

/// Where removed volumes lie until they are deleted. No volume can be called so.
const GONE: &str = ".gone";

/// An empty directory. No volume can be called so.
const EMPTY: &str = ".empty";

fn make(path: &Path, mode: u32) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

pub(super) fn make_root(root: &Path) -> Result<()> {
    // A container's user may have to pass, none may look.
    make(root, 0o701).map_err(|source| Error::failed(format!("make {}", root.display()), source))
}

/// A volume's directory and its data's, where they are missing.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    make(directory, 0o701)?;
    let data = directory.join(DATA);
    if data.symlink_metadata().is_ok() {
        return Ok(());
    }
    make(&data, 0o755)?;
    // Whatever the engine's umask is.
    std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

/// Whether there is nothing in a directory.
pub(super) fn is_empty(directory: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(directory)?.next().is_none())
}

/// Removes a directory of the engine's; one that is not there is fine.
pub(super) fn delete(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "what is left of a volume stays until the next start");
    }
}

/// The same behind the caller's back, where there is a thread for it.
pub(super) fn delete_later(path: PathBuf) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || delete(&path))),
        Err(_none) => delete(&path),
    }
}

impl Volumes {
    pub(super) fn directory(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// An empty directory that nobody writes to.
    pub(crate) fn empty_directory(&self) -> Result<PathBuf> {
        let path = self.root.join(EMPTY);
        make(&path, 0o555).map_err(|source| Error::failed(format!("make {}", path.display()), source))?;
        Ok(path)
    }

    /// Moves a volume out of its place; answers where it is now, `None` when there was nothing.
    pub(super) fn move_away(&self, name: &str) -> Result<Option<PathBuf>> {
        let gone = self.root.join(GONE);
        let to = gone.join(format!("{}.{name}", &new_name()[..12]));
        let moved = make(&gone, 0o700).and_then(|()| std::fs::rename(self.directory(name), &to));
        match moved {
            Ok(()) => Ok(Some(to)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::failed(format!("remove {name}"), error)),
        }
    }

    /// Undoes [`Self::move_away`].
    pub(super) fn move_back(&self, name: &str, gone: &Path) {
        if let Err(error) = std::fs::rename(gone, self.directory(name)) {
            tracing::error!(volume = name, path = %gone.display(), %error, "a volume that was not removed is not in its place");
        }
    }

    /// After a crash: a volume that was moved away and whose record is still there was never removed; the others were.
    pub(super) fn bring_back<T>(&self, records: &BTreeMap<String, T>) {
        let Ok(list) = std::fs::read_dir(self.root.join(GONE)) else { return };
        for entry in list.flatten() {
            let file = entry.file_name();
            let name = file.to_str().and_then(|file| file.split_once('.')).map_or("", |(_, name)| name);
            if records.contains_key(name) && self.directory(name).symlink_metadata().is_err() {
                self.move_back(name, &entry.path());
            } else {
                delete_later(entry.path());
            }
        }
    }

    /// Directories that no record knows: an empty one was never spoken of; one with data is somebody's and becomes a volume.
    pub(super) fn adopt_directories(&self) {
        for entry in std::fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = entry.path();
            if name.starts_with('.') || !path.is_dir() {
                continue;
            }
            delete(&path.join(NEW_DATA));
            if self.index.find(&name).is_some() {
                continue;
            }
            let data = path.join(DATA);
            if is_empty(&data).unwrap_or(true) {
                // Not the whole tree: what is not empty after all stays.
                for empty in [data, path] {
                    if let Err(error) = std::fs::remove_dir(&empty)
                        && error.kind() != io::ErrorKind::NotFound
                    {
                        tracing::warn!(path = %empty.display(), %error, "it stays");
                    }
                }
                continue;
            }
            if check_name(&name).is_err() {
                tracing::warn!(path = %path.display(), "a directory among the volumes is none");
                continue;
            }
            let created = data.metadata().map_or(0, |found| found.mtime().saturating_mul(1_000_000_000));
            let record = VolumeRecord { name, created: Moment(created), labels: None, options: None };
            tracing::warn!(
                volume = record.name,
                "a directory with data that no record knows is a volume now"
            );
            match self.ledger.insert_volume(&record.name, &record, None) {
                Ok(()) => self.index.insert(record),
                Err(error) => {
                    tracing::error!(volume = record.name, error = %crate::error::chain(&error), "it is not recorded");
                }
            }
        }
    }
}
