//! Frames: a length, JSON, and the descriptors that belong to it.

use std::{collections::VecDeque, os::fd::OwnedFd};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Longest JSON text of one frame. A longer one is refused before memory is taken for it.
pub const MAX_FRAME: usize = 4 << 20;

/// Bytes before the JSON.
pub const PREFIX: usize = 4;

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is over the limit; the connection is lost, as the next frame's start is unknown.
    #[error("frame of {length} bytes is over the limit of {MAX_FRAME}")]
    TooLong {
        /// What the frame says, or would be.
        length: usize,
    },
    /// The JSON is not a message this side knows. The connection is good: the frame was consumed.
    #[error("frame is not a known message")]
    Malformed {
        /// The number of the request, when at least that could be read.
        seq: Option<u64>,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The frame speaks of descriptors that did not come with it.
    #[error("frame needs {needed} descriptors and {present} came")]
    Descriptors {
        /// What the frame says.
        needed: usize,
        /// What is there.
        present: usize,
    },
    /// A message could not be written as JSON.
    #[error("message cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

impl FrameError {
    /// Whether the connection can go on after this error.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::Descriptors { .. })
    }
}

/// A message as the bytes of one frame.
///
/// # Errors
/// When it is longer than [`MAX_FRAME`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; PREFIX];
    serde_json::to_writer(&mut bytes, message).map_err(FrameError::Encode)?;
    let length = bytes.len() - PREFIX;
    match u32::try_from(length) {
        Ok(prefix) if length <= MAX_FRAME => bytes[..PREFIX].copy_from_slice(&prefix.to_le_bytes()),
        _ => return Err(FrameError::TooLong { length }),
    }
    Ok(bytes)
}

/// What is needed of a frame to answer it when the rest is not understood.
#[derive(Debug, Default, Deserialize)]
struct Envelope {
    seq: Option<u64>,
    #[serde(default)]
    fds: u8,
    /// A keeper's reply has its own inside.
    #[serde(default)]
    reply: ReplyEnvelope,
}

#[derive(Debug, Default, Deserialize)]
struct ReplyEnvelope {
    #[serde(default)]
    fds: u8,
}

/// Collects bytes and descriptors as they come and gives whole messages.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// How many of `bytes` are already consumed.
    start: usize,
    fds: VecDeque<OwnedFd>,
}

impl Decoder {
    /// Nothing received yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that came, in order.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > (1 << 16) {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Descriptors that came, in order. Push them no later than the bytes they rode with.
    pub fn push_fds(&mut self, fds: impl IntoIterator<Item = OwnedFd>) {
        self.fds.extend(fds);
    }

    /// The oldest descriptor that no frame has claimed.
    pub(crate) fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }

    /// The next whole message with its descriptors; `None` until more bytes come.
    ///
    /// # Errors
    /// See [`FrameError`]; after one that is not fatal, call again for the frame behind it.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Vec<OwnedFd>)>, FrameError> {
        let pending = &self.bytes[self.start..];
        let Some((prefix, rest)) = pending.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(FrameError::TooLong { length });
        }
        let Some(json) = rest.get(..length) else { return Ok(None) };
        self.start += PREFIX + length;
        let envelope: Envelope = serde_json::from_slice(json).unwrap_or_default();
        let needed = usize::from(envelope.fds.max(envelope.reply.fds));
        if needed > self.fds.len() {
            return Err(FrameError::Descriptors { needed, present: self.fds.len() });
        }
        let fds: Vec<OwnedFd> = self.fds.drain(..needed).collect();
        let decoded = serde_json::from_slice(json)
            .map_err(|source| FrameError::Malformed { seq: envelope.seq, source });
        if self.start == self.bytes.len() {
            // A launch is large and comes once: do not keep its room for the container's life.
            self.bytes = Vec::new();
            self.start = 0;
        }
        decoded.map(|message| Some((message, fds)))
    }
}
