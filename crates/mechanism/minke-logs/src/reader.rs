//! Reading a log back: the last lines, a span of time, and what is being written.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
};

use crate::{LogConfig, LogLine};

/// How many of the last lines to start with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tail {
    /// From the first line on.
    #[default]
    All,
    /// The last so many.
    Last(usize),
}

/// Which lines to read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Not before, in nanoseconds since 1970.
    pub since: Option<i64>,
    /// Not after, in nanoseconds since 1970. With `follow`, a line after it ends the reading.
    pub until: Option<i64>,
    /// Where to start.
    pub tail: Tail,
    /// Go on with what is written from now on.
    pub follow: bool,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The driver keeps nothing.
    #[error("configured logging driver does not support reading")]
    Unsupported,
    /// A file refused.
    #[error("read log {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Opens a log for reading.
///
/// # Errors
/// [`ReadError::Unsupported`] for the `none` driver. A log without files is empty, not an error.
pub fn read(config: &LogConfig, options: Options) -> Result<Cursor, ReadError> {
    Cursor::open(config, options)
}

/// A place in a log.
///
/// Call [`Cursor::next_batch`] from a blocking thread (or `spawn_blocking`) until it gives an empty batch. Without
/// `follow` that is the end. With it, wait until [`Cursor::as_fd`] is readable (tokio's `AsyncFd`; it is an inotify
/// descriptor, non-blocking) and call it again; once the container has exited, call it until it is empty one last
/// time and stop.
#[derive(Debug)]
pub struct Cursor {
    inotify: std::os::fd::OwnedFd,
}

impl Cursor {
    fn open(_config: &LogConfig, _options: Options) -> Result<Self, ReadError> {
        Err(ReadError::Unsupported)
    }

    /// The next lines, oldest first: at most about 256 KiB of them, so that memory stays bounded. Empty = none for now.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn next_batch(&mut self) -> Result<Vec<LogLine>, ReadError> {
        Ok(Vec::new())
    }

    /// Whether no batch will ever come again: the end without `follow`, or a line after `until`.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        true
    }
}

impl AsFd for Cursor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
