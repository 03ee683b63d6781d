//! `GET /containers/{id}/logs`.

use bytes::Bytes;
use futures_util::stream;
use minke_api::compat::streams::content_type;
use minke_api::framing;
use minke_engine::containers::LogOptions;
use minke_logs::{LogLine, Stream as LogSource};

use super::moment;
use crate::http::answer::{self, Outcome};
use crate::http::{Call, Failure};
use crate::serve::Shared;

pub(super) fn logs(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let options = LogOptions {
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr"),
        follow: call.query.flag("follow"),
        since: moment(call, "since")?,
        until: moment(call, "until")?,
        // Like Docker: what is no number means all of it.
        tail: call.query.get("tail").parse().ok(),
    };
    if !options.stdout && !options.stderr {
        return Err(Failure::invalid(minke_api::texts::NO_LOG_STREAM));
    }
    let lines = shared.engine.containers.logs(name, options)?;
    let style = Style {
        framed: !lines.tty(),
        timestamps: call.query.flag("timestamps"),
        details: call.query.flag("details"),
    };
    let content_type = content_type(call.version, lines.tty());
    let pieces = stream::unfold(Some(lines), move |lines| async move {
        let mut lines = lines?;
        match lines.next().await? {
            Ok(batch) => Some((Ok(Bytes::from(style.encode(&batch))), Some(lines))),
            Err(error) => {
                // The head is out: say it in the stream, as Docker does, and end there.
                let mut out = Vec::new();
                let text = format!("Error grabbing logs: {error}\n");
                if style.framed {
                    framing::encode(framing::Stream::System, text.as_bytes(), &mut out);
                } else {
                    out.extend_from_slice(text.as_bytes());
                }
                Some((Ok(Bytes::from(out)), None))
            }
        }
    });
    answer::stream(content_type, Box::pin(pieces))
}

#[derive(Clone, Copy)]
struct Style {
    framed: bool,
    timestamps: bool,
    details: bool,
}

impl Style {
    fn encode(self, batch: &[LogLine]) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(batch.iter().map(|line| line.bytes.len() + framing::HEADER_LEN).sum());
        let mut whole = Vec::new();
        for line in batch {
            let bytes = if self.timestamps || self.details {
                whole.clear();
                self.decorate(line, &mut whole);
                &whole
            } else {
                &line.bytes
            };
            if self.framed {
                let stream = match line.stream {
                    LogSource::Stdout => framing::Stream::Stdout,
                    LogSource::Stderr => framing::Stream::Stderr,
                };
                framing::encode(stream, bytes, &mut out);
            } else {
                out.extend_from_slice(bytes);
            }
        }
        out
    }

    /// `2006-01-02T15:04:05.000000000Z key=value,key=value text`
    fn decorate(self, line: &LogLine, out: &mut Vec<u8>) {
        if self.timestamps {
            let at = chrono::DateTime::from_timestamp_nanos(line.time);
            out.extend_from_slice(minke_base::time::rfc3339_nano_fixed(at).as_bytes());
            out.push(b' ');
        }
        if self.details {
            for (index, (key, value)) in line.attrs.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                escape(key, out);
                out.push(b'=');
                escape(value, out);
            }
            out.push(b' ');
        }
        out.extend_from_slice(&line.bytes);
    }
}

/// Escapes as Go's `url.QueryEscape`.
fn escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> LogLine {
        LogLine {
            stream: LogSource::Stderr,
            time: 1_700_000_000_120_000_000,
            bytes: b"oops\n".to_vec(),
            attrs: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x y/z".to_owned())].into(),
        }
    }

    #[test]
    fn a_plain_line_is_framed_by_its_stream() {
        let style = Style { framed: true, timestamps: false, details: false };
        assert_eq!(style.encode(&[line()]), b"\x02\0\0\0\0\0\0\x05oops\n");
    }

    #[test]
    fn timestamps_stand_before_details() {
        let style = Style { framed: false, timestamps: true, details: true };
        assert_eq!(
            String::from_utf8(style.encode(&[line()])).unwrap(),
            "2023-11-14T22:13:20.120000000Z a=1,b=x+y%2Fz oops\n"
        );
    }
}
