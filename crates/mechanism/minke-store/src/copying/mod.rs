//! Files in and out of a tree that somebody else may change meanwhile: a container's root, or a person's directory.
//!
//! No name is ever resolved by its text: each is opened with openat2, where links lead inside the tree and nowhere else, and the last
//! component of a name is never followed unless that was asked for. So a container that swaps links while it is copied spoils its own
//! copy at worst. What a copy is for, and who may make one, is for others.

mod pack;
mod root;
mod unpack;

use std::io;

pub use pack::{pack, pack_files, pack_whole};
pub use root::{PathStat, Root};
pub use unpack::{Unpack, unpack_below, unpack_inside};

use crate::layer::LayerError;

/// Why files could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Nothing has that name.
    #[error("no such file or directory: {path}")]
    Missing {
        /// The name.
        path: String,
    },
    /// What is not a directory cannot hold files.
    #[error("{path} is not a directory")]
    NotDirectory {
        /// The name.
        path: String,
    },
    /// The system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The archive, or a file of it, cannot be unpacked.
    #[error(transparent)]
    Archive(#[from] LayerError),
}

impl CopyError {
    pub(crate) fn at(action: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        let path = String::from_utf8_lossy(path).into_owned();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            _ => Self::Io { action, path, source },
        }
    }

    /// Whether the reader of an archive has hung up, which is its own affair.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests;
