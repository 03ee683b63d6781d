//! The `local` driver's records: binary, 17 bytes around each text, readable from either end.
//!
//! ```text
//! u32 LE length of the body | flags u8, time i64 LE, text | the same length again
//! flags: bit 0 = stderr, bit 1 = the line goes on in the next record
//! ```
//! The length stands on both sides so that the last records can be found without reading the first.

use crate::Stream;

const STDERR: u8 = 1;
const GOES_ON: u8 = 2;
/// Flags and time.
const HEAD: usize = 9;
const LENGTH: usize = 4;
/// No writer makes a longer text than 16 KiB; what says otherwise is torn.
const LONGEST_BODY: usize = 64 << 10;

/// Appends one record. `newline` says whether the text ends its line.
pub(crate) fn append(out: &mut Vec<u8>, stream: Stream, at: i64, text: &[u8], newline: bool) {
    let length = u32::try_from(HEAD + text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let flags = if stream == Stream::Stderr { STDERR } else { 0 } | if newline { 0 } else { GOES_ON };
    out.extend_from_slice(&length);
    out.push(flags);
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(&length);
}

/// A record as it lies in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'bytes> {
    pub(crate) stream: Stream,
    pub(crate) time: i64,
    pub(crate) text: &'bytes [u8],
    pub(crate) newline: bool,
}

/// What a buffer starts with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start<'bytes> {
    /// A record, and its whole length.
    Record(Record<'bytes>, usize),
    /// Not enough bytes yet.
    More,
    /// No record: the file is torn here.
    Torn,
}

pub(crate) fn decode(bytes: &[u8]) -> Start<'_> {
    let Some(length) = length_at(bytes, 0) else { return Start::More };
    if !(HEAD..=LONGEST_BODY).contains(&length) {
        return Start::Torn;
    }
    let whole = length + 2 * LENGTH;
    if bytes.len() < whole {
        return Start::More;
    }
    if length_at(bytes, LENGTH + length) != Some(length) {
        return Start::Torn;
    }
    let body = &bytes[LENGTH..LENGTH + length];
    let Some((time, text)) = body[1..].split_first_chunk::<8>() else { return Start::Torn };
    let record = Record {
        stream: if body[0] & STDERR == 0 { Stream::Stdout } else { Stream::Stderr },
        time: i64::from_le_bytes(*time),
        text,
        newline: body[0] & GOES_ON == 0,
    };
    Start::Record(record, whole)
}

/// The whole length of the record that ends where `bytes` ends, or `None` when that cannot be told from these bytes.
pub(crate) fn last_length(bytes: &[u8]) -> Option<usize> {
    let length = length_at(bytes, bytes.len().checked_sub(LENGTH)?)?;
    (HEAD..=LONGEST_BODY).contains(&length).then_some(length + 2 * LENGTH)
}

/// How many of the bytes are whole records.
pub(crate) fn whole_records(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Start::Record(_, length) = decode(&bytes[end..]) {
        end += length;
    }
    end
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..)?.first_chunk::<LENGTH>()?;
    usize::try_from(u32::from_le_bytes(*field)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_from_either_end() {
        let mut bytes = Vec::new();
        append(&mut bytes, Stream::Stdout, -5, b"hello", true);
        append(&mut bytes, Stream::Stderr, i64::MAX, b"", false);
        let Start::Record(first, length) = decode(&bytes) else { panic!("no first record") };
        assert_eq!(first, Record { stream: Stream::Stdout, time: -5, text: b"hello", newline: true });
        let Start::Record(second, rest) = decode(&bytes[length..]) else { panic!("no second record") };
        assert_eq!(second, Record { stream: Stream::Stderr, time: i64::MAX, text: b"", newline: false });
        assert_eq!(last_length(&bytes), Some(rest));
        assert_eq!(last_length(&bytes[..length]), Some(length));
    }

    #[test]
    fn torn_and_foreign_bytes_are_told_apart_from_short_ones() {
        let mut bytes = Vec::new();
        append(&mut bytes, Stream::Stdout, 1, b"hello", true);
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Start::More, "cut at {cut}");
            assert_eq!(whole_records(&bytes[..cut]), 0);
        }
        assert_eq!(decode(b"{\"log\":\"x\"}"), Start::Torn);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(decode(&bytes), Start::Torn);
    }
}
