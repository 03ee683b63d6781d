//! Bridges between bodies, which are asynchronous, and archives, which are read and written by blocking code.
//!
//! Both are bounded, so a fast side waits for the slow one, and both end with an error when the other side goes away.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, stream};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::upload::Upload;

/// How many pieces of a request wait at most for who reads them.
const DEPTH: usize = 16;

/// How much of an answer is handed on at once: a piece costs two threads a wake-up.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;

/// A request's body as [`Read`].
#[derive(Debug)]
pub(crate) struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl BodyReader {
    /// Reads the body ahead, a bounded way, until the reader is dropped.
    pub(crate) fn new(mut body: Upload) -> Self {
        let (send, pieces) = mpsc::channel(DEPTH);
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let piece = match frame {
                    Ok(frame) => match frame.into_data() {
                        Ok(data) => Ok(data),
                        Err(_trailers) => continue,
                    },
                    Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
                };
                let last = piece.is_err();
                if send.send(piece).await.is_err() || last {
                    return;
                }
            }
        });
        Self { pieces, current: Bytes::new() }
    }
}

impl Read for BodyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(out.len());
        self.current.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

/// An answer's body as [`Write`].
#[derive(Debug)]
pub(crate) struct BodyWriter {
    pieces: mpsc::Sender<Bytes>,
    current: BytesMut,
}

impl BodyWriter {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Bytes>) {
        let (pieces, receive) = mpsc::channel(PIECES);
        (Self { pieces, current: BytesMut::new() }, receive)
    }

    fn send(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            return Ok(());
        }
        self.pieces
            .blocking_send(self.current.split().freeze())
            .map_err(|_source| io::Error::new(io::ErrorKind::BrokenPipe, "the client went away"))
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            self.current.reserve(PIECE.max(bytes.len()));
        }
        self.current.extend_from_slice(bytes);
        if self.current.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// What a channel brings, as a body; `first` was already taken from it.
pub(crate) fn pieces(
    first: Option<Bytes>,
    rest: mpsc::Receiver<Bytes>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold((first, rest), |(first, mut rest)| async move {
        let piece = match first {
            Some(piece) => Some(piece),
            None => rest.recv().await,
        };
        piece.map(|piece| (Ok(piece), (None, rest)))
    })
}
