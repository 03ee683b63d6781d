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
