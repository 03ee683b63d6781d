//! A buffered byte stream to an engine: unix socket, TCP or TLS over TCP.
//!
//! The buffer holds what was read beyond a response's head, so that an upgraded connection hands over every byte.
//! `readiness` is for poll loops: bytes may wait in the buffer while the descriptor is quiet.

use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::tls::TlsStream;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

/// A connection to an engine.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    start: usize,
}

/// Long enough for a busy host, short enough for a person.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

impl Connection {
    /// Connects.
    pub fn open(endpoint: &Endpoint) -> Result<Connection, ClientError> {
        let stream = match endpoint {
            Endpoint::Unix(path) => Stream::Unix(connect_unix(path).map_err(|e| failed(endpoint, e))?),
            Endpoint::Tcp { host, port, tls } => {
                let socket = connect_tcp(host, *port).map_err(|e| failed(endpoint, e))?;
                match tls {
                    None => Stream::Tcp(socket),
                    Some(files) => Stream::Tls(Box::new(TlsStream::open(socket, host, files, endpoint)?)),
                }
            }
        };
        Ok(Connection { stream, buffer: Vec::new(), start: 0 })
    }

    /// Bytes read but not consumed.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Whether a read would give bytes without asking the descriptor.
    pub fn ready(&self) -> bool {
        !self.buffered().is_empty() || matches!(&self.stream, Stream::Tls(tls) if tls.ready())
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
    }

    /// Reads more into the buffer; zero means the engine closed its side.
    pub(crate) fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let length = self.buffer.len();
        self.buffer.resize(length + 16 * 1024, 0);
        let read = self.stream_read(length);
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        read
    }

    fn stream_read(&mut self, from: usize) -> io::Result<usize> {
        let target = &mut self.buffer[from..];
        loop {
            let read = match &mut self.stream {
                Stream::Unix(s) => s.read(target),
                Stream::Tcp(s) => s.read(target),
                Stream::Tls(s) => s.read(target),
            };
            match read {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Says that no more will be written, and keeps reading possible.
    pub fn close_write(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Unix(s) => s.shutdown(Shutdown::Write),
            Stream::Tcp(s) => s.shutdown(Shutdown::Write),
            Stream::Tls(s) => s.close_write(),
        }
    }

    /// A second handle for writing, where the transport allows one.
    pub(crate) fn writer(&self) -> Option<Box<dyn Write + Send>> {
        match &self.stream {
            Stream::Unix(s) => Some(Box::new(s.try_clone().ok()?)),
            Stream::Tcp(s) => Some(Box::new(s.try_clone().ok()?)),
            Stream::Tls(_) => None,
        }
    }
}

fn connect_unix(path: &std::path::Path) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}

fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn failed(endpoint: &Endpoint, source: io::Error) -> ClientError {
    let endpoint = endpoint.to_string();
    match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Denied { endpoint, source },
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::Absent { endpoint },
        _ => ClientError::Connect { endpoint, source },
    }
}

impl Read for Connection {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.buffered().is_empty() && self.fill()? == 0 {
            return Ok(0);
        }
        let ready = self.buffered();
        let count = ready.len().min(out.len());
        out[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl Write for Connection {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Unix(s) => s.write(data),
            Stream::Tcp(s) => s.write(data),
            Stream::Tls(s) => s.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Unix(_) | Stream::Tcp(_) => Ok(()),
            Stream::Tls(s) => s.flush(),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Unix(s) => s.as_fd(),
            Stream::Tcp(s) => s.as_fd(),
            Stream::Tls(s) => s.as_fd(),
        }
    }
}
