//! A container's root filesystem: what it is made of, who prepares it, and what it grew to.
//!
//! [`Rootfs`] is plain data that the runtime mounts inside the container's own mount namespace; nothing is mounted on the host to
//! start a container. A driver prepares the directories, and mounts ad hoc (detached, outside every mount table) for what needs
//! to look inside from outside.

mod copy;
pub(crate) mod overlay;
mod points;
mod seed;
mod vfs;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::layer::Change;

pub use overlay::Overlay;
pub use seed::{Seeded, parts, seed};
pub use vfs::Vfs;

#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("storage driver overlay2 cannot be used under {}: {reason}", path.display())]
    NoOverlay { path: PathBuf, reason: String },
    #[error("mount overlay over {}: {reason}", path.display())]
    Mount { path: PathBuf, reason: String },
}

/// What the runtime makes the container's root of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// `lower` is top first. To mount: `redirect_dir=off`, `metacopy=off`, `index=off`, so that the upper directory holds whole
    /// files and can be turned into a layer.
    Overlay { lower: Vec<PathBuf>, upper: PathBuf, work: PathBuf, volatile: bool, readonly: bool },
    /// A plain directory.
    Path(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// overlay where the filesystem takes it, else vfs.
    #[default]
    Auto,
    Overlay,
    Vfs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrepareOptions {
    /// The container goes when it ends: never sync its writes.
    pub volatile: bool,
    pub readonly: bool,
}

/// Bytes and inodes of a container's own layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub bytes: u64,
    pub inodes: u64,
}

/// Prepares, shows and removes containers' root filesystems. `lowers` are always the whole stack, top first, the image's init
/// layer on top (see [`RootfsDriver::init_layer`]); `dir` is the container's directory.
pub trait RootfsDriver: Send + Sync + std::fmt::Debug {
    /// The name that `docker info` shows.
    fn name(&self) -> &'static str;

    /// The read-only layer that gives an image the mount points every container needs, made once per stack (`key` names it; the
    /// short name of its chain ID will do) and kept. Call it when the image arrives, not when a container starts. Returns the
    /// stack to prepare containers with.
    fn init_layer(&self, key: &str, lowers: &[PathBuf]) -> Result<Vec<PathBuf>, RootfsError>;

    /// Removes init layers that `keep` does not want any more.
    fn remove_init_layers(&self, keep: &dyn Fn(&str) -> bool) -> Result<(), RootfsError>;

    /// Makes the writable part in `dir`.
    fn prepare(&self, lowers: &[PathBuf], dir: &Path, options: PrepareOptions)
    -> Result<Rootfs, RootfsError>;

    /// Describes what [`Self::prepare`] made.
    fn rootfs(&self, lowers: &[PathBuf], dir: &Path, options: PrepareOptions) -> Rootfs;

    /// Opens the root from outside: a descriptor of a detached mount, or of the plain directory. It goes when the descriptor does.
    /// For containers that are not running; a running one's root is `/proc/PID/root`.
    fn open_root(&self, rootfs: &Rootfs) -> Result<OwnedFd, RootfsError>;

    /// Opens a stack for a while and for one writer, whose changes land in `dir/upper`: never synced, gone with the descriptor.
    fn open_work(&self, lowers: &[PathBuf], dir: &Path) -> Result<OwnedFd, RootfsError> {
        let rootfs = self.prepare(lowers, dir, PrepareOptions { volatile: true, readonly: false })?;
        self.open_root(&rootfs)
    }

    /// Opens a stack to be read. `None`: this driver has no way to show one without copying it.
    fn open_view(&self, lowers: &[PathBuf]) -> Result<Option<OwnedFd>, RootfsError>;

    /// Size of the container's own layer.
    fn usage(&self, lowers: &[PathBuf], dir: &Path) -> Result<Usage, RootfsError>;

    /// What the container changed, sorted by path.
    fn changes(&self, lowers: &[PathBuf], dir: &Path) -> Result<Vec<Change>, RootfsError>;

    /// What the container changed as a layer's tar.
    fn diff(&self, lowers: &[PathBuf], dir: &Path, output: &mut dyn Write) -> Result<(), RootfsError>;

    /// The whole root as one tar, for `export`.
    fn export(&self, rootfs: &Rootfs, output: &mut dyn Write) -> Result<(), RootfsError> {
        let root = self.open_root(rootfs)?;
        crate::layer::diff::write_root(&root, output).map_err(io_at("export", Path::new("/")))
    }

    /// Removes what [`Self::prepare`] made.
    fn remove(&self, dir: &Path) -> Result<(), RootfsError>;
}

/// The tar of a container that was never prepared, and so has changed nothing.
fn write_nothing(output: &mut dyn Write) -> Result<(), RootfsError> {
    output.write_all(&[0; 1024]).map_err(io_at("archive", Path::new("nothing")))
}

pub(crate) fn open_driver(
    choice: DriverChoice,
    data_root: &Path,
) -> Result<Box<dyn RootfsDriver>, RootfsError> {
    if choice == DriverChoice::Vfs {
        return Ok(Box::new(Vfs));
    }
    match Overlay::open(data_root) {
        Ok(overlay) => Ok(Box::new(overlay)),
        Err(RootfsError::NoOverlay { path, reason }) if choice == DriverChoice::Auto => {
            tracing::warn!(path = %path.display(), reason, "overlayfs cannot be used here; containers get copies (vfs)");
            Ok(Box::new(Vfs))
        }
        Err(e) => Err(e),
    }
}

pub(crate) fn io_at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> RootfsError + 'a {
    move |source| RootfsError::Io { action, path: path.to_owned(), source }
}

/// Removes a tree; one that is not there is fine.
fn remove_if_there(path: &Path) -> Result<(), RootfsError> {
    match crate::layer::remove_tree_at(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_at("remove", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
