//! Chunks between threads: one reads (or decompresses), others hash and extract the same bytes at the same time.
//!
//! Buffers are shared without copying and go back to a pool, so memory stays at a few megabytes however long the stream is. The
//! channels are bounded: the slowest consumer sets the pace. A consumer that gives up drops its end, which its feeder notices.

use std::io::{self, BufRead, Read};
use std::mem;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

const CHUNK: usize = 256 << 10;
const DEPTH: usize = 16;

/// Hands out buffers and takes them back.
#[derive(Debug)]
pub(crate) struct Pool {
    home: Sender<Vec<u8>>,
    free: Receiver<Vec<u8>>,
}

/// A filled buffer; the last one who holds it returns it to its pool.
#[derive(Debug)]
pub(crate) struct Filled {
    bytes: Vec<u8>,
    length: usize,
    home: Sender<Vec<u8>>,
}

pub(crate) type Chunk = Arc<Filled>;

impl Deref for Filled {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        // A pool that is gone needs no buffer.
        drop(self.home.send(mem::take(&mut self.bytes)));
    }
}

impl Pool {
    pub(crate) fn new() -> Self {
        let (home, free) = channel();
        Self { home, free }
    }

    /// Reads one chunk, full unless the stream ends; `None` at its end.
    pub(crate) fn fill(&self, source: &mut dyn Read) -> io::Result<Option<Chunk>> {
        let bytes = self.free.try_recv().unwrap_or_else(|_empty| vec![0; CHUNK]);
        let mut filled = Filled { bytes, length: 0, home: self.home.clone() };
        while filled.length < CHUNK {
            match source.read(&mut filled.bytes[filled.length..]) {
                Ok(0) => break,
                Ok(got) => filled.length += got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok((filled.length > 0).then(|| Arc::new(filled)))
    }
}

pub(crate) type Feed = SyncSender<io::Result<Chunk>>;

/// A channel of chunks, its far end readable.
pub(crate) fn pipe() -> (Feed, ChunkReader) {
    let (feed, chunks) = sync_channel(DEPTH);
    (feed, ChunkReader { chunks, current: None, used: 0, broken: false })
}

/// Reads the chunks of a [`pipe`] as one stream, without copying for who reads through [`BufRead`].
#[derive(Debug)]
pub(crate) struct ChunkReader {
    chunks: Receiver<io::Result<Chunk>>,
    current: Option<Chunk>,
    used: usize,
    broken: bool,
}

impl BufRead for ChunkReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.broken {
            return Err(io::Error::other("the stream broke off before"));
        }
        if self.current.as_ref().is_none_or(|chunk| self.used == chunk.len()) {
            self.used = 0;
            self.current = match self.chunks.recv() {
                Ok(Ok(chunk)) => Some(chunk),
                Ok(Err(e)) => {
                    self.broken = true;
                    return Err(e);
                }
                Err(_feeder_is_done) => None,
            };
        }
        Ok(self.current.as_ref().map_or(&[][..], |chunk| &chunk[self.used..]))
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_as_they_left_through_a_bounded_pool() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        let (feed, mut reader) = pipe();
        let received = std::thread::scope(|scope| {
            scope.spawn(|| {
                let feed = feed;
                let (pool, mut source) = (Pool::new(), &bytes[..]);
                while let Some(chunk) = pool.fill(&mut source).unwrap() {
                    feed.send(Ok(chunk)).unwrap();
                }
            });
            let mut out = Vec::new();
            reader.read_to_end(&mut out).unwrap();
            out
        });
        assert!(received == bytes);
    }
}
