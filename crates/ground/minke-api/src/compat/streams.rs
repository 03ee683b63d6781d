//! Content types of the streams of attach, exec and logs.

use crate::ApiVersion;

pub const RAW: &str = "application/vnd.docker.raw-stream";
pub const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// Until 1.41 every stream called itself raw.
pub fn content_type(version: ApiVersion, tty: bool) -> &'static str {
    if tty || version.before(42) { RAW } else { MULTIPLEXED }
}

/// What `GET /events` may send, as its `Accept` header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventsFormat {
    /// One document a line.
    Lines(&'static str),
    /// RFC 7464: a record separator before each.
    Sequence,
}

pub fn events_format(version: ApiVersion, accept: &str) -> EventsFormat {
    let wants = |mime: &str| {
        accept.split(',').any(|entry| entry.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(mime))
    };
    if version.before(52) {
        EventsFormat::Lines("application/json")
    } else if !version.before(53) && wants("application/jsonl") {
        EventsFormat::Lines("application/jsonl")
    } else if wants("application/x-ndjson") {
        EventsFormat::Lines("application/x-ndjson")
    } else if wants("application/json-seq") {
        EventsFormat::Sequence
    } else {
        EventsFormat::Lines("application/json")
    }
}

impl EventsFormat {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Lines(mime) => mime,
            Self::Sequence => "application/json-seq",
        }
    }
}
