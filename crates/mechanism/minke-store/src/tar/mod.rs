//! The tar format, read from and written to streams: ustar, GNU and PAX, with sparse files, long names and extended attributes.
//!
//! It is minke's own because layers are what minke exists for: the `tar` crate knows neither PAX sparse files nor the limits that
//! hostile input needs. The reader trusts nothing: every number is checked, every announced length is bounded before memory is
//! taken for it, and a name is bytes, not text. Where names may lead is for the extractor to judge.

mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

use std::io;

pub(crate) use header::looks_like_header;
pub use reader::Reader;
pub use writer::Writer;

pub(crate) const BLOCK: usize = 512;
/// What a PAX header, a long name or a sparse map may take. Extended attributes end at 64 KiB each in Linux.
pub(crate) const EXTENSION_MAX: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("the archive ends in the middle of {entry}")]
    Truncated { entry: String },
    #[error("{entry} is malformed: {problem}")]
    Malformed { entry: String, problem: &'static str },
    #[error("{entry} has a {what} of {size} bytes, more than the {EXTENSION_MAX} that are allowed")]
    Extension { entry: String, what: &'static str, size: u64 },
    #[error("read the archive at {entry}")]
    Read { entry: String, source: io::Error },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
    /// A type byte that no one defined for files.
    Other(u8),
}

/// Seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Moment {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// A stretch of a sparse file that has bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// One entry's header, all extensions applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Target of a symbolic or hard link.
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The file's size as `stat` shows it.
    pub size: u64,
    pub mtime: Moment,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// `Some`: only these stretches have bytes in the archive, one after the other.
    pub sparse: Option<Vec<Segment>>,
}

impl Entry {
    /// The name for messages.
    #[must_use]
    pub fn name(&self) -> String {
        show(&self.path)
    }
}

/// A name of the archive in quotes, control characters escaped, so that it cannot play tricks with a terminal.
pub(crate) fn show(name: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(name).chars().take(300).collect();
    format!("{text:?}")
}

#[cfg(test)]
mod tests;
