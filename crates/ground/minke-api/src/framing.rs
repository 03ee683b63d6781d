//! The stream format of attach and logs without a terminal: eight bytes of header before each piece.
//!
//! `[stream, 0, 0, 0, length as u32 big-endian]`, then the payload. Docker knows streams 0 to 3; minke's own run
//! request (see [`crate::run`]) adds 4 for control messages and uses 0 in the other direction. Bytes only: who reads
//! and writes them is the caller's business.

/// Length of a frame's header.
pub const HEADER_LEN: usize = 8;

/// A decoder refuses payloads longer than this: no writer of ours makes them, and a corrupt header must not ask for 4 GiB.
pub const MAX_PAYLOAD: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stream {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// Text of an error of the engine itself.
    System = 3,
    /// JSON of [`crate::run::RunControl`]; only in answers to minke's own run request.
    Control = 4,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FramingError {
    #[error("unknown stream {0} in a frame's header")]
    UnknownStream(u8),
    #[error("frame of {0} bytes is longer than the {MAX_PAYLOAD} that are allowed")]
    TooLong(usize),
}

impl TryFrom<u8> for Stream {
    type Error = FramingError;

    fn try_from(byte: u8) -> Result<Self, FramingError> {
        Ok(match byte {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::System,
            4 => Self::Control,
            other => return Err(FramingError::UnknownStream(other)),
        })
    }
}

/// The header of a frame of `len` bytes.
pub fn header(stream: Stream, len: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = len.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// Appends one frame; a payload beyond the limit becomes several.
pub fn encode(stream: Stream, payload: &[u8], out: &mut Vec<u8>) {
    if payload.is_empty() {
        out.extend_from_slice(&header(stream, 0));
        return;
    }
    for piece in payload.chunks(MAX_PAYLOAD) {
        let len = u32::try_from(piece.len()).expect("a piece is at most MAX_PAYLOAD long");
        out.extend_from_slice(&header(stream, len));
        out.extend_from_slice(piece);
    }
}

/// Reads a header.
pub fn parse_header(bytes: [u8; HEADER_LEN]) -> Result<(Stream, usize), FramingError> {
    let stream = Stream::try_from(bytes[0])?;
    let len = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    if len > MAX_PAYLOAD {
        return Err(FramingError::TooLong(len));
    }
    Ok((stream, len))
}

/// Splits a byte stream that arrives in arbitrary pieces into frames.
///
/// Feed with [`Self::push`], take with [`Self::next_frame`] until it gives `None`. Holds at most one unfinished frame
/// plus what was pushed.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > 64 << 10 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has arrived. After an error the stream is lost: there is no way to find the next header.
    pub fn next_frame(&mut self) -> Result<Option<(Stream, &[u8])>, FramingError> {
        let rest = &self.buffer[self.start..];
        let Some((head, body)) = rest.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let (stream, len) = parse_header(*head)?;
        if body.len() < len {
            return Ok(None);
        }
        let from = self.start + HEADER_LEN;
        self.start = from + len;
        Ok(Some((stream, &self.buffer[from..from + len])))
    }

    /// Whether bytes of an unfinished frame are left.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }
}

#[cfg(test)]
mod tests;
