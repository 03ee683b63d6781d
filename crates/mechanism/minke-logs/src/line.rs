//! One line of a log, as it is read back.

use std::collections::BTreeMap;

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, and everything from a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Docker's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line, or one piece of a line that was longer than 16 KiB: pieces but the last have no newline at their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it came from.
    pub stream: Stream,
    /// When, in nanoseconds since 1970.
    pub time: i64,
    /// The bytes, with the newline when the line had one.
    pub bytes: Vec<u8>,
    /// The driver's `labels`/`env` attributes, for `--details`; empty when none are kept.
    pub attrs: BTreeMap<String, String>,
}

/// A line that still lies in the reader's buffer: what [`crate::Cursor::visit_batch`] shows.
#[derive(Debug, Clone, Copy)]
pub struct LineRef<'buffer> {
    /// Where it came from.
    pub stream: Stream,
    /// When, in nanoseconds since 1970.
    pub time: i64,
    /// The bytes, with the newline when the line had one.
    pub bytes: &'buffer [u8],
    /// Attributes, when any are kept.
    pub attrs: Option<&'buffer BTreeMap<String, String>>,
}

impl LineRef<'_> {
    /// The line on its own.
    #[must_use]
    pub fn to_owned(&self) -> LogLine {
        LogLine {
            stream: self.stream,
            time: self.time,
            bytes: self.bytes.to_vec(),
            attrs: self.attrs.cloned().unwrap_or_default(),
        }
    }
}
