//! As much of an HTTP server as a registry that plays tricks needs: requests read from a socket, answers written to it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::fake::Torment;

/// A request's head.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// A parameter of the query, with the colon of digests as it is.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (known, value) = pair.split_once('=')?;
            (known == name).then(|| value.replace("%3A", ":").replace("%2F", "/"))
        })
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// The request was a HEAD, whose answer has no body whatever its length says.
    head_only: bool,
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        Ok(Self { head_only: false, writer: stream.try_clone()?, reader: BufReader::new(stream) })
    }

    /// The next request; `None` at the end.
    pub(super) fn request(&mut self) -> io::Result<Option<Request>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        self.head_only = method == "HEAD";
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
        };
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
                return Ok(Some(request));
            }
            if let Some((name, value)) = line.split_once(':') {
                request.headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
    }

    /// Reads a body into `keep`, up to so many bytes of it; whether that was all of it.
    pub(super) fn body(&mut self, request: &Request, keep: &mut Vec<u8>, limit: usize) -> io::Result<bool> {
        let length: usize =
            request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let taken = length.min(limit);
        let mut left = taken;
        let mut piece = vec![0; 16 << 10];
        while left > 0 {
            let want = left.min(piece.len());
            let count = self.reader.read(&mut piece[..want])?;
            if count == 0 {
                return Ok(false);
            }
            keep.extend_from_slice(&piece[..count]);
            left -= count;
        }
        Ok(taken == length)
    }

    /// Answers; `cut` bytes into the body the connection ends.
    pub(super) fn answer(
        &mut self,
        status: u16,
        headers: &[(&str, String)],
        body: &[u8],
        cut: Option<usize>,
    ) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.writer.write_all(head.as_bytes())?;
        if self.head_only {
            return Ok(());
        }
        let until = cut.unwrap_or(body.len()).min(body.len());
        self.writer.write_all(&body[..until])?;
        self.writer.flush()?;
        if cut.is_some() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Goes on until the client has had enough.
    pub(super) fn torment(&mut self, how: Torment) -> io::Result<()> {
        match how {
            Torment::Silence => {
                // Whatever the client says, or that it goes.
                while self.reader.read(&mut [0; 1024])? > 0 {}
                Ok(())
            }
            Torment::Drip => {
                self.writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
                loop {
                    self.writer.write_all(b" ")?;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Torment::Flood => {
                self.writer.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                loop {
                    self.writer.write_all(b"1000\r\n")?;
                    self.writer.write_all(&[b' '; 0x1000])?;
                    self.writer.write_all(b"\r\n")?;
                }
            }
        }
    }

    /// A head without a body, which says how long it would be.
    pub(super) fn head(&mut self, status: u16, headers: &[(&str, String)], length: usize) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.writer.write_all(head.as_bytes())
    }
}
