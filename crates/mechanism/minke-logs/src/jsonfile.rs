//! Docker's json-file format: one object per record, escaped the way Go's encoder does it.
//!
//! ```text
//! {"log":"text\n","stream":"stdout","attrs":{"k":"v"},"time":"2006-01-02T15:04:05.999999999Z"}
//! ```
//! Lines that minke or Docker wrote take a fast path on reading; any other JSON of that shape is still understood.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;

use crate::{Stream, stamp};

/// Turns lines into records.
#[derive(Debug)]
pub(crate) struct Encoder {
    stamp: stamp::Formatter,
    /// From the text's closing quote to the time's opening quote, per stream.
    middle: [Vec<u8>; 2],
}

impl Encoder {
    pub(crate) fn new(attrs: &BTreeMap<String, String>) -> Self {
        let middle = [Stream::Stdout, Stream::Stderr].map(|stream| {
            let mut text = format!("\",\"stream\":\"{}\"", stream.name()).into_bytes();
            if !attrs.is_empty() {
                text.extend_from_slice(b",\"attrs\":");
                append_attrs(&mut text, attrs);
            }
            text.extend_from_slice(b",\"time\":\"");
            text
        });
        Self { stamp: stamp::Formatter::new(), middle }
    }

    /// Appends one record. `newline` says whether the text ends its line.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, stream: Stream, at: i64, text: &[u8], newline: bool) {
        out.extend_from_slice(b"{\"log\":\"");
        append_escaped(out, text);
        if newline {
            out.extend_from_slice(b"\\n");
        }
        out.extend_from_slice(&self.middle[usize::from(stream == Stream::Stderr)]);
        self.stamp.append(out, at);
        out.extend_from_slice(b"\"}\n");
    }
}

fn append_attrs(out: &mut Vec<u8>, attrs: &BTreeMap<String, String>) {
    for (index, (key, value)) in attrs.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"" } else { b",\"" });
        append_escaped(out, key.as_bytes());
        out.extend_from_slice(b"\":\"");
        append_escaped(out, value.as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}

/// What each byte needs: nothing, an escape, or a look at the bytes that follow.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        plain[byte] = true;
        byte += 1;
    }
    let mut escaped: &[u8] = b"\"\\<>&";
    while let Some((first, rest)) = escaped.split_first() {
        plain[*first as usize] = false;
        escaped = rest;
    }
    plain
};

fn append_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while !rest.is_empty() {
        let run = plain_run(rest);
        out.extend_from_slice(&rest[..run]);
        rest = &rest[run..];
        let Some(&byte) = rest.first() else { break };
        let used = if byte < 0x80 { append_ascii_escape(out, byte) } else { append_wide(out, rest) };
        rest = &rest[used..];
    }
}

/// How many bytes from the start need nothing: eight at a time, then one by one.
fn plain_run(text: &[u8]) -> usize {
    let mut run = 0;
    while let Some(chunk) = text.get(run..run + 8) {
        // Branch-free over the eight, so that the compiler may use vector instructions.
        if !chunk.iter().fold(true, |plain, byte| plain & PLAIN[usize::from(*byte)]) {
            break;
        }
        run += 8;
    }
    run + text[run..].iter().take_while(|byte| PLAIN[usize::from(**byte)]).count()
}

fn append_ascii_escape(out: &mut Vec<u8>, byte: u8) -> usize {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
    1
}

/// One character beyond ASCII, or one bad byte. Each bad byte becomes its own U+FFFD, as in Go.
fn append_wide(out: &mut Vec<u8>, text: &[u8]) -> usize {
    let window = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(window) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(&window[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some('\u{2028}') => out.extend_from_slice(b"\\u2028"),
        Some('\u{2029}') => out.extend_from_slice(b"\\u2029"),
        Some(character) => out.extend_from_slice(&text[..character.len_utf8()]),
        None => {
            out.extend_from_slice(b"\\ufffd");
            return 1;
        }
    }
    valid.chars().next().map_or(1, char::len_utf8)
}

/// A record as it was read; the text is put into the caller's buffer.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) stream: Stream,
    pub(crate) time: i64,
    pub(crate) attrs: Option<BTreeMap<String, String>>,
}

/// Turns records back into lines.
#[derive(Debug)]
pub(crate) struct Decoder {
    stamp: stamp::Parser,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { stamp: stamp::Parser::new() }
    }

    /// Appends the record's text to `text`; `None` when the line is not a record (torn by a crash).
    pub(crate) fn decode(&mut self, line: &[u8], text: &mut Vec<u8>) -> Option<Record> {
        let before = text.len();
        self.decode_fast(line, text).or_else(|| {
            text.truncate(before);
            self.decode_any(line, text)
        })
    }

    /// The time alone, for skipping.
    pub(crate) fn time(&mut self, line: &[u8]) -> Option<i64> {
        let tail = line.strip_suffix(b"\"}")?;
        let start = tail.iter().rposition(|byte| *byte == b'"')? + 1;
        if !tail[..start].ends_with(b"\"time\":\"") {
            return None;
        }
        self.stamp.parse(&tail[start..])
    }

    fn decode_fast(&mut self, line: &[u8], text: &mut Vec<u8>) -> Option<Record> {
        let rest = unescape(line.strip_prefix(b"{\"log\":\"")?, text)?;
        let (stream, rest) = if let Some(rest) = rest.strip_prefix(b",\"stream\":\"stdout\"") {
            (Stream::Stdout, rest)
        } else {
            (Stream::Stderr, rest.strip_prefix(b",\"stream\":\"stderr\"")?)
        };
        let time = self.stamp.parse(rest.strip_prefix(b",\"time\":\"")?.strip_suffix(b"\"}")?)?;
        Some(Record { stream, time, attrs: None })
    }

    fn decode_any(&mut self, line: &[u8], text: &mut Vec<u8>) -> Option<Record> {
        #[derive(Deserialize)]
        struct Any<'line> {
            #[serde(borrow, default)]
            log: Cow<'line, str>,
            #[serde(borrow, default)]
            stream: Cow<'line, str>,
            #[serde(default)]
            attrs: Option<BTreeMap<String, String>>,
            #[serde(borrow)]
            time: Cow<'line, str>,
        }
        let any: Any<'_> = serde_json::from_slice(line).ok()?;
        let time = self.stamp.parse(any.time.as_bytes())?;
        text.extend_from_slice(any.log.as_bytes());
        let stream = if any.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
        Some(Record { stream, time, attrs: any.attrs })
    }
}

/// Appends a JSON string's value up to its closing quote; gives what follows the quote. `None`: leave it to serde.
fn unescape<'line>(mut rest: &'line [u8], text: &mut Vec<u8>) -> Option<&'line [u8]> {
    loop {
        let run = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        text.extend_from_slice(&rest[..run]);
        if rest[run] == b'"' {
            return Some(&rest[run + 1..]);
        }
        let used = match rest.get(run + 1)? {
            b'n' => {
                text.push(b'\n');
                2
            }
            b'r' => {
                text.push(b'\r');
                2
            }
            b't' => {
                text.push(b'\t');
                2
            }
            plain @ (b'"' | b'\\' | b'/') => {
                text.push(*plain);
                2
            }
            b'u' => {
                let digits = std::str::from_utf8(rest.get(run + 2..run + 6)?).ok()?;
                let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                6
            }
            _ => return None,
        };
        rest = &rest[run + used..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &[u8]) -> String {
        let mut out = Vec::new();
        Encoder::new(&BTreeMap::new()).append(&mut out, Stream::Stdout, 0, text, true);
        String::from_utf8(out).unwrap()
    }

    fn check(text: &[u8], escaped: &str) {
        let expected =
            format!("{{\"log\":\"{escaped}\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:00Z\"}}\n");
        assert_eq!(encode(text), expected);
    }

    /// The right-hand sides are what Docker 28 wrote for these bytes.
    #[test]
    fn bytes_are_escaped_as_docker_escapes_them() {
        check(b"plain", "plain");
        check(b"\ttab <b>&amp; \"q\" back\\slash", r#"\u0009tab \u003cb\u003e\u0026amp; \"q\" back\\slash"#);
        check(b"\r\x01\x7f", "\\r\\u0001\x7f");
        check(b"\xff\xfe bad", r"\ufffd\ufffd bad");
        check("\u{2028} ls \u{2029} é 😀".as_bytes(), r"\u2028 ls \u2029 é 😀");
        check(b"trunc \xe2\x80", r"trunc \ufffd\ufffd");
        check(
            b"surrogate \xed\xa0\x80 overlong \xc0\x80 \xf4\x90\x80\x80",
            r"surrogate \ufffd\ufffd\ufffd overlong \ufffd\ufffd \ufffd\ufffd\ufffd\ufffd",
        );
    }

    #[test]
    fn attributes_stand_between_stream_and_time() {
        let attrs = BTreeMap::from([("com.example.a".into(), "b".into()), ("FOO".into(), "<bar>".into())]);
        let mut out = Vec::new();
        Encoder::new(&attrs).append(&mut out, Stream::Stderr, 1, b"x", false);
        let expected = r#"{"log":"x","stream":"stderr","attrs":{"FOO":"\u003cbar\u003e","com.example.a":"b"},"time":"1970-01-01T00:00:00.000000001Z"}"#;
        assert_eq!(String::from_utf8(out.clone()).unwrap().trim_end(), expected);
        let mut text = Vec::new();
        let record = Decoder::new().decode(out.trim_ascii_end(), &mut text).unwrap();
        assert_eq!((record.stream, record.time, text.as_slice()), (Stream::Stderr, 1, &b"x"[..]));
        assert_eq!(record.attrs.unwrap()["FOO"], "<bar>");
    }

    #[test]
    fn every_byte_pair_reads_back_as_go_would_have_it() {
        for first in 0..=255_u8 {
            for second in [0, b'\n', b'"', b'a', 0x80, 0xbf, 0xe2, 0xff] {
                let line = encode(&[first, second]);
                let mut fast = Vec::new();
                let mut any = Vec::new();
                let mut decoder = Decoder::new();
                decoder.decode_fast(line.trim_end().as_bytes(), &mut fast).unwrap();
                decoder.decode_any(line.trim_end().as_bytes(), &mut any).unwrap();
                assert_eq!(fast, any, "{line}");
                assert_eq!(decoder.time(line.trim_end().as_bytes()), Some(0));
            }
        }
    }

    #[test]
    fn a_torn_line_is_no_record() {
        let line = encode(b"hello");
        for cut in 0..line.trim_end().len() {
            let mut text = Vec::new();
            assert!(Decoder::new().decode(&line.as_bytes()[..cut], &mut text).is_none(), "cut at {cut}");
            assert!(text.is_empty());
        }
    }

    #[test]
    fn other_json_of_that_shape_is_understood() {
        let mut text = Vec::new();
        let line = br#"{ "stream":"stderr", "time":"1970-01-01T00:00:00Z", "log":"\ud83d\ude00\b" }"#;
        let record = Decoder::new().decode(line, &mut text).unwrap();
        assert_eq!(record.stream, Stream::Stderr);
        assert_eq!(text, "😀\u{8}".as_bytes());
    }
}
