//! A container's root filesystem: what it is made of, who prepares it, and what it grew to.
//!
//! [`Rootfs`] is plain data that the runtime mounts inside the container's own mount namespace; nothing is mounted on the host to
//! start a container. A driver prepares the directories, and mounts ad hoc (detached, outside every mount table) for what needs
//! to look inside from outside.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::layer::Change;

#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error("{action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("storage driver overlay2 cannot be used under {}: {reason}", path.display())]
    NoOverlay { path: PathBuf, reason: String },
}

/// What the runtime makes the container's root of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    Overlay { lower: Vec<PathBuf>, upper: PathBuf, work: PathBuf, volatile: bool, readonly: bool },
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

    /// The read-only layer that gives an image the mount points every container needs, made once per stack and kept. Call it when
    /// the image arrives, not when a container starts. Returns the stack to prepare containers with.
    fn init_layer(&self, chain: &str, lowers: &[PathBuf]) -> Result<Vec<PathBuf>, RootfsError>;

    /// Makes the writable part in `dir`.
    fn prepare(&self, lowers: &[PathBuf], dir: &Path, options: PrepareOptions)
    -> Result<Rootfs, RootfsError>;

    /// Describes what [`Self::prepare`] made.
    fn rootfs(&self, lowers: &[PathBuf], dir: &Path, options: PrepareOptions) -> Rootfs;

    /// Opens the root from outside: a descriptor of a detached mount, or of the plain directory. It goes when the descriptor does.
    fn open_root(&self, rootfs: &Rootfs) -> Result<OwnedFd, RootfsError>;

    /// Size of the container's own layer.
    fn usage(&self, lowers: &[PathBuf], dir: &Path) -> Result<Usage, RootfsError>;

    /// What the container changed, sorted by path.
    fn changes(&self, lowers: &[PathBuf], dir: &Path) -> Result<Vec<Change>, RootfsError>;

    /// What the container changed as a layer's tar.
    fn diff(&self, lowers: &[PathBuf], dir: &Path, output: &mut dyn Write) -> Result<(), RootfsError>;

    /// The whole root as one tar, for `export`.
    fn export(&self, rootfs: &Rootfs, output: &mut dyn Write) -> Result<(), RootfsError>;

    /// Removes what [`Self::prepare`] made.
    fn remove(&self, dir: &Path) -> Result<(), RootfsError>;
}

pub(crate) fn open_driver(
    choice: DriverChoice,
    data_root: &Path,
) -> Result<Box<dyn RootfsDriver>, RootfsError> {
    let _unfinished = (choice, data_root);
    todo!()
}
