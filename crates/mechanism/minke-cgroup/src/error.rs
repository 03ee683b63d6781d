//! What can go wrong with a cgroup, each failure with its path.
//!
//! Callers decide what is fatal; this module only says which file or directory it was and what the kernel answered.

use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("write {value:?} to {}", path.display())]
    Write { path: PathBuf, value: String, source: io::Error },
    #[error("create cgroup {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("open cgroup {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("remove cgroup {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("cgroup {} is not empty: {count} process(es) found", path.display())]
    NotEmpty { path: PathBuf, count: usize },
    #[error("no cgroup hierarchy is mounted; mount one under /sys/fs/cgroup")]
    NoHierarchy,
    #[error("cannot set {limit}: the {controller} controller is not available on this host")]
    ControllerMissing { limit: String, controller: String },
    #[error("invalid {limit} {value}: {reason}")]
    Invalid { limit: &'static str, value: String, reason: &'static str },
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    MemoryInUse { limit: String, usage: u64, peak: u64, source: io::Error },
    #[error("cgroup {} did not freeze within {seconds} s", path.display())]
    FreezeTimeout { path: PathBuf, seconds: u64 },
    #[error("no cgroup of this container has a freezer")]
    NoFreezer,
    #[error("{count} process(es) of cgroup {} are still alive after SIGKILL", path.display())]
    Unkillable { path: PathBuf, count: usize },
    #[error("load the device filter into the kernel")]
    DeviceFilterLoad { source: io::Error },
    #[error("attach the device filter to {}", path.display())]
    DeviceFilterAttach { path: PathBuf, source: io::Error },
    #[error("watch {} for out-of-memory events", path.display())]
    OomWatch { path: PathBuf, source: io::Error },
    #[error("signal the processes of cgroup {}", path.display())]
    Signal { path: PathBuf, source: io::Error },
}

impl CgroupError {
    pub(crate) fn read(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Read { path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn write(path: PathBuf, value: &str, source: impl Into<io::Error>) -> Self {
        Self::Write { path, value: value.to_owned(), source: source.into() }
    }

    /// The kernel's answer, where there was one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        std::error::Error::source(self)?.downcast_ref::<io::Error>()?.raw_os_error()
    }
}
