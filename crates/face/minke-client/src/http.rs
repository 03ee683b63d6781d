//! HTTP/1.1 as far as the Engine API needs it, from the client's side.
//!
//! A response owns its connection until its body is read to the end; then the connection goes back to be used again.
//! Bodies come with a length, in chunks, or until the engine closes. `101` and the old `200` hijack give the
//! connection away as raw bytes.

use crate::connection::Connection;
use crate::error::ClientError;
use std::cell::RefCell;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

/// Larger heads than any engine sends.
const MAX_HEAD: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    /// Bytes left in the chunk at hand; `None` before a size line.
    Chunk(Option<u64>),
    UntilClose,
    Done,
}

/// Connections that may be used again.
pub(crate) type Idle = Rc<RefCell<Vec<Connection>>>;

/// An engine's answer: head read, body on demand.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
    connection: Option<Connection>,
    idle: Idle,
    reusable: bool,
}

impl Response {
    /// Reads the head of the answer to a request that was written to `connection`.
    pub(crate) fn read(
        mut connection: Connection,
        head_only: bool,
        idle: Idle,
    ) -> Result<Response, ClientError> {
        loop {
            let head = read_head(&mut connection)?;
            let (status, http11, headers) = parse_head(&head)?;
            if status == 100 {
                continue;
            }
            let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
            let chunked = find("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
            let length = find("content-length").and_then(|v| v.parse().ok());
            let framing = match (head_only || status == 204 || status == 304, chunked, length) {
                (true, _, _) => Framing::Done,
                (_, true, _) => Framing::Chunk(None),
                (_, _, Some(0)) => Framing::Done,
                (_, _, Some(n)) => Framing::Length(n),
                _ => Framing::UntilClose,
            };
            let close = find("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
            let reusable = http11 && !close && framing != Framing::UntilClose;
            let mut response =
                Response { status, headers, framing, connection: Some(connection), idle, reusable };
            if framing == Framing::Done {
                response.finish();
            }
            return Ok(response);
        }
    }

    /// A header's value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Every value of a header that may come several times.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether the engine that answered is minke.
    pub fn from_minke(&self) -> bool {
        self.header("server").is_some_and(|v| v.to_ascii_lowercase().starts_with("minke"))
    }

    /// The whole body.
    pub fn bytes(mut self) -> Result<Vec<u8>, ClientError> {
        let mut out = Vec::new();
        if let Framing::Length(n) = self.framing {
            out.reserve(usize::try_from(n).unwrap_or(0).min(1 << 20));
        }
        self.read_to_end(&mut out)?;
        Ok(out)
    }

    /// The whole body as JSON.
    pub fn json(self) -> Result<serde_json::Value, ClientError> {
        Ok(serde_json::from_slice(&self.bytes()?)?)
    }

    /// The connection itself, after an upgrade.
    pub fn upgrade(mut self) -> Result<Connection, ClientError> {
        self.connection.take().ok_or_else(|| ClientError::Protocol("no stream to upgrade to".into()))
    }

    /// Bytes of the body can be read without waiting.
    pub fn ready(&self) -> bool {
        self.framing == Framing::Done || self.connection.as_ref().is_none_or(Connection::ready)
    }

    fn finish(&mut self) {
        self.framing = Framing::Done;
        if self.status == 101 {
            return;
        }
        if let Some(connection) = self.connection.take()
            && self.reusable
            && connection.buffered().is_empty()
        {
            self.idle.borrow_mut().push(connection);
        }
    }

    fn chunk_size(&mut self) -> io::Result<u64> {
        let Some(connection) = &mut self.connection else { return Ok(0) };
        let line = loop {
            let line = read_line(connection)?;
            // The line end after a chunk's data.
            if !line.is_empty() {
                break line;
            }
        };
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {digits:?}: {e}")))?;
        if size == 0 {
            // Trailers, up to the empty line.
            while !read_line(connection)?.is_empty() {}
        }
        Ok(size)
    }
}

impl Read for Response {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let limit = match self.framing {
            Framing::Done => return Ok(0),
            Framing::Length(n) => n,
            Framing::UntilClose => u64::MAX,
            Framing::Chunk(Some(n)) if n > 0 => n,
            Framing::Chunk(_) => match self.chunk_size()? {
                0 => {
                    self.finish();
                    return Ok(0);
                }
                n => n,
            },
        };
        let Some(connection) = &mut self.connection else { return Ok(0) };
        let want = usize::try_from(limit).unwrap_or(usize::MAX).min(out.len());
        let count = connection.read(&mut out[..want])?;
        let left = limit.saturating_sub(count as u64);
        match self.framing {
            Framing::UntilClose if count == 0 => self.finish(),
            _ if count == 0 => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the engine closed the connection"));
            }
            Framing::Length(_) if left == 0 => self.finish(),
            Framing::Length(_) => self.framing = Framing::Length(left),
            Framing::Chunk(_) => self.framing = Framing::Chunk(Some(left)),
            Framing::UntilClose | Framing::Done => {}
        }
        Ok(count)
    }
}

impl Response {
    /// The descriptor to poll for more of the body; none when it has ended.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(AsFd::as_fd)
    }
}

fn read_head(connection: &mut Connection) -> Result<Vec<u8>, ClientError> {
    let mut searched = 0;
    loop {
        let data = connection.buffered();
        let from = usize::saturating_sub(searched, 3);
        if let Some(at) = data[from..].windows(4).position(|w| w == b"\r\n\r\n") {
            let end = from + at;
            let head = data[..end].to_vec();
            connection.consume(end + 4);
            return Ok(head);
        }
        searched = data.len();
        if searched > MAX_HEAD {
            return Err(ClientError::Protocol("a head without end".into()));
        }
        if connection.fill()? == 0 {
            let text = "the engine closed the connection before it answered";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text).into());
        }
    }
}

fn read_line(connection: &mut Connection) -> io::Result<String> {
    loop {
        let data = connection.buffered();
        if let Some(at) = data.iter().position(|b| *b == b'\n') {
            let line = String::from_utf8_lossy(&data[..at]).trim_end().to_owned();
            connection.consume(at + 1);
            return Ok(line);
        }
        if data.len() > MAX_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"));
        }
        if connection.fill()? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the engine closed the connection"));
        }
    }
}

type Head = (u16, bool, Vec<(String, String)>);

fn parse_head(head: &[u8]) -> Result<Head, ClientError> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|s| s.parse().ok());
    let (true, Some(status)) = (version.starts_with("HTTP/1."), status) else {
        return Err(ClientError::Protocol(first.chars().take(80).collect()));
    };
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    };
    Ok((status, version == "HTTP/1.1", lines.filter_map(header).collect()))
}
