//! Writing a log: bytes from a pipe in, whole records out, many per `write(2)`.
//!
//! Lines are cut as Docker's copier cuts them: at newlines, and after 16 KiB without one. A piece carries the time of
//! its line's first piece. Records of one batch get times one nanosecond apart, so that no two are alike and their
//! order can be told from their times.
//! A full disk costs lines, never the container: a batch that cannot be written is taken back and counted.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use crate::{Driver, LogConfig, Stream, files, jsonfile, local};

/// Longest piece of a line.
const PIECE: usize = 16 << 10;
/// A batch is written when it gets this long, so that memory stays bounded whatever comes.
const BATCH: usize = 256 << 10;
/// How far times may be pushed ahead of the clock to keep them in order.
const PUSH_LIMIT: i64 = 1_000_000_000;

/// Why a log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file cannot be opened.
    #[error("open log {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A batch could not be written and was dropped; the next may go through.
    #[error("write log {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The next file could not be started; the old one goes on.
    #[error("rotate log {path}")]
    Rotate {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Runs a job in another process and tells when it is done: the keeper's fork, or a thread in tests.
pub trait Background: std::fmt::Debug {
    /// Starts the job. Never called while another runs.
    fn start(&mut self, job: Job);
    /// Waits for the job that runs, if any.
    fn finish(&mut self);
}

/// The compression of the file that was rotated last.
#[derive(Debug, Clone)]
pub struct Job {
    path: PathBuf,
}

impl Job {
    /// Does it. A failure leaves the file as it was: uncompressed, but readable.
    ///
    /// # Errors
    /// When a file refuses.
    pub fn run(&self) -> io::Result<()> {
        files::compress_newest_old(&self.path)
    }
}

/// A line that has not ended yet.
#[derive(Debug, Default)]
struct Unfinished {
    bytes: Vec<u8>,
    /// The time of the line's first piece, once a piece of it is written.
    began: Option<i64>,
}

/// Writes one container's log.
#[derive(Debug)]
pub struct Writer {
    /// `None`: nothing is kept.
    sink: Option<Sink>,
    unfinished: [Unfinished; 2],
    last: i64,
}

impl Writer {
    /// Opens the log for appending. `background` is used for compression when the configuration wants it.
    ///
    /// # Errors
    /// [`WriteError::Open`].
    pub fn open(config: &LogConfig, background: Option<Box<dyn Background>>) -> Result<Self, WriteError> {
        let sink = match config.driver {
            Driver::None => None,
            Driver::JsonFile => Some(Format::JsonFile(Box::new(jsonfile::Encoder::new(&config.attrs)))),
            Driver::Local => Some(Format::Local),
        }
        .map(|format| Sink::open(config, format, background))
        .transpose()?;
        Ok(Self { sink, unfinished: Default::default(), last: 0 })
    }

    /// Takes bytes as they came from the process at `at` (nanoseconds since 1970); writes every record they complete.
    ///
    /// # Errors
    /// [`WriteError::Write`] or [`WriteError::Rotate`]: something is missing from the log, and writing goes on.
    pub fn write(&mut self, stream: Stream, chunk: &[u8], at: i64) -> Result<(), WriteError> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let unfinished = &mut self.unfinished[usize::from(stream == Stream::Stderr)];
        let mut now = if self.last >= at && self.last - at < PUSH_LIMIT { self.last + 1 } else { at };
        let mut rest = chunk;
        let mut outcome = Ok(());
        while !rest.is_empty() {
            let window = PIECE - unfinished.bytes.len();
            let within = &rest[..rest.len().min(window)];
            let (text, newline, used) = match memchr::memchr(b'\n', within) {
                Some(end) => (&rest[..end], true, end + 1),
                None if within.len() == window => (within, false, window),
                None => {
                    unfinished.bytes.extend_from_slice(within);
                    break;
                }
            };
            let time = unfinished.began.unwrap_or(now);
            let pushed = if unfinished.bytes.is_empty() {
                sink.push(stream, time, text, newline)
            } else {
                unfinished.bytes.extend_from_slice(text);
                let pushed = sink.push(stream, time, &unfinished.bytes, newline);
                unfinished.bytes.clear();
                pushed
            };
            unfinished.began = (!newline).then_some(time);
            outcome = outcome.and(pushed);
            now += 1;
            rest = &rest[used..];
        }
        self.last = now - 1;
        outcome.and(sink.flush())
    }

    /// The stream has ended: writes what had no newline.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn finish(&mut self, stream: Stream, at: i64) -> Result<(), WriteError> {
        let unfinished = std::mem::take(&mut self.unfinished[usize::from(stream == Stream::Stderr)]);
        let Some(sink) = &mut self.sink else { return Ok(()) };
        if unfinished.bytes.is_empty() {
            return Ok(());
        }
        let pushed = sink.push(stream, unfinished.began.unwrap_or(at), &unfinished.bytes, false);
        pushed.and(sink.flush())
    }

    /// Gives back the room that batches took: for when nothing has come for a while.
    pub fn relax(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.batch = Vec::new();
        }
        for unfinished in &mut self.unfinished {
            unfinished.bytes.shrink_to_fit();
        }
    }

    /// How many bytes of records could not be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sink.as_ref().map_or(0, |sink| sink.lost)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(background) = self.sink.as_mut().and_then(|sink| sink.background.as_mut()) {
            background.finish();
        }
    }
}

#[derive(Debug)]
enum Format {
    JsonFile(Box<jsonfile::Encoder>),
    Local,
}

#[derive(Debug)]
struct Sink {
    format: Format,
    file: File,
    path: PathBuf,
    /// Length of the file, without the batch.
    size: u64,
    batch: Vec<u8>,
    max_size: u64,
    max_file: u32,
    background: Option<Box<dyn Background>>,
    lost: u64,
}

impl Sink {
    fn open(
        config: &LogConfig,
        format: Format,
        background: Option<Box<dyn Background>>,
    ) -> Result<Self, WriteError> {
        let whole = match format {
            Format::JsonFile(_) => files::whole_lines,
            Format::Local => files::whole_local,
        };
        let (file, size) = files::open_for_append(&config.path, whole)
            .map_err(|source| WriteError::Open { path: config.path.clone(), source })?;
        Ok(Self {
            format,
            file,
            path: config.path.clone(),
            size,
            batch: Vec::new(),
            max_size: config.max_size.unwrap_or(u64::MAX),
            max_file: config.max_file.max(1),
            background: background.filter(|_| config.compress && config.max_file > 1),
            lost: 0,
        })
    }

    /// Adds a record to the batch. Before it, as Docker does: a file that is full makes way for the next.
    fn push(&mut self, stream: Stream, at: i64, text: &[u8], newline: bool) -> Result<(), WriteError> {
        let full = self.size + self.batch.len() as u64 >= self.max_size;
        let outcome = if full {
            self.flush().and_then(|()| self.rotate())
        } else if self.batch.len() >= BATCH {
            self.flush()
        } else {
            Ok(())
        };
        match &mut self.format {
            Format::JsonFile(encoder) => encoder.append(&mut self.batch, stream, at, text, newline),
            Format::Local => local::append(&mut self.batch, stream, at, text, newline),
        }
        outcome
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let length = self.batch.len() as u64;
        let written = self.file.write_all(&self.batch);
        self.batch.clear();
        match written {
            Ok(()) => self.size += length,
            Err(source) => {
                self.lost += length;
                // A torn record would spoil the next one: back to the last whole batch. Should that fail too, the
                // reader skips what it cannot understand.
                drop(self.file.set_len(self.size));
                return Err(WriteError::Write { path: self.path.clone(), source });
            }
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), WriteError> {
        if let Some(background) = &mut self.background {
            // Names are about to change under the job's feet.
            background.finish();
        }
        match files::rotate(&self.path, self.max_file) {
            Ok(file) => {
                self.file = file;
                self.size = 0;
            }
            Err(source) => return Err(WriteError::Rotate { path: self.path.clone(), source }),
        }
        if let Some(background) = &mut self.background {
            background.start(Job { path: self.path.clone() });
        }
        Ok(())
    }
}
