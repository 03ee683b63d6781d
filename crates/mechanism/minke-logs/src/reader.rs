//! Reading a log back: the last lines, a span of time, and what is being written.
//!
//! ```text
//! let mut cursor = read(&config, Options { follow: true, ..Options::default() })?;
//! loop {
//!     while cursor.visit_batch(|line| …)? {}        // on a blocking thread
//!     if cursor.is_finished() { break }
//!     // wait until cursor's descriptor is readable (tokio: AsyncFd), or the container has exited
//! }
//! ```
//! Who does not follow reads what was there when it was opened, and nothing that is written meanwhile: `--tail 10` is ten lines.
//! A follower keeps the file it reads open, so rotation takes nothing from it: it finishes the old file, finds the
//! one that came after it, and goes on there.

mod source;
mod tail;

use std::{
    collections::VecDeque,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use rustix::fs::inotify;

use crate::{Driver, LineRef, LogConfig, LogLine, files, reader::source::Source};

/// How many bytes of records one batch may take from the files.
const BATCH: usize = 256 << 10;

/// How many of the last lines to start with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tail {
    /// From the first line on.
    #[default]
    All,
    /// The last so many, before `since` and `until` are applied.
    Last(usize),
}

/// Which lines to read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Not before, in nanoseconds since 1970.
    pub since: Option<i64>,
    /// Not after, in nanoseconds since 1970. The first line after it ends the reading; a follower that waits for a
    /// moment to pass without a line sets a timer of its own.
    pub until: Option<i64>,
    /// Where to start.
    pub tail: Tail,
    /// Go on with what is written from now on.
    pub follow: bool,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The driver keeps nothing.
    #[error("configured logging driver does not support reading")]
    Unsupported,
    /// A file refused.
    #[error("read log {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ReadError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Opens a log for reading.
///
/// # Errors
/// [`ReadError::Unsupported`] for the `none` driver. A log without files is empty, not an error.
pub fn read(config: &LogConfig, options: Options) -> Result<Cursor, ReadError> {
    Cursor::open(config, options)
}

/// A place in a log.
///
/// Call [`Cursor::next_batch`] or [`Cursor::visit_batch`] from a blocking thread until there is nothing. Without
/// `follow` that is the end. With it, wait until the cursor's descriptor is readable (tokio's `AsyncFd`; it is an
/// inotify descriptor, non-blocking) and call again; once the container has exited, call until there is nothing one last
/// time and stop.
#[derive(Debug)]
pub struct Cursor {
    path: PathBuf,
    max_file: u32,
    driver: Driver,
    options: Options,
    inotify: OwnedFd,
    /// Files still to read, oldest first.
    queue: VecDeque<files::Opened>,
    current: Option<Source>,
    /// The current file was seen to be replaced: read it to its end once more, then leave it.
    replaced: bool,
    finished: bool,
}

impl Cursor {
    fn open(config: &LogConfig, options: Options) -> Result<Self, ReadError> {
        if config.driver == Driver::None {
            return Err(ReadError::Unsupported);
        }
        let failed = |source: io::Error| ReadError::File { path: config.path.clone(), source };
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(|errno| failed(errno.into()))?;
        if options.follow
            && let Some(directory) = config.path.parent()
        {
            // Before the first look, so that nothing falls between.
            let kinds =
                inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
            inotify::add_watch(&inotify, directory, kinds).map_err(|errno| failed(errno.into()))?;
        }
        let opened = files::open_all(&config.path, config.max_file)
            .map_err(|(path, source)| ReadError::File { path, source })?;
        let mut cursor = Self {
            path: config.path.clone(),
            max_file: config.max_file,
            driver: config.driver,
            inotify,
            queue: opened.into(),
            current: None,
            replaced: false,
            finished: false,
            options,
        };
        if let Tail::Last(count) = cursor.options.tail {
            cursor.skip_to_last(count)?;
        }
        Ok(cursor)
    }

    /// Leaves in the queue only the files that hold the last `count` records, and skips the rest of the first of them.
    fn skip_to_last(&mut self, count: usize) -> Result<(), ReadError> {
        let mut wanted = count;
        let mut kept = VecDeque::new();
        while let Some(opened) = self.queue.pop_back() {
            let path = opened.path.clone();
            let place = tail::find(self.driver, &opened, wanted).map_err(ReadError::file(&path))?;
            wanted -= place.records.min(wanted);
            if wanted == 0 {
                let mut source =
                    Source::open(self.driver, opened, self.options.follow).map_err(ReadError::file(&path))?;
                source.start_at(place).map_err(ReadError::file(&path))?;
                self.current = Some(source);
                break;
            }
            kept.push_front(opened);
        }
        self.queue = kept;
        Ok(())
    }

    /// The next lines, oldest first: those of at most about 256 KiB of log. Empty = none for now.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn next_batch(&mut self) -> Result<Vec<LogLine>, ReadError> {
        let mut lines = Vec::new();
        while lines.is_empty() && self.visit_batch(|line| lines.push(line.to_owned()))? {}
        Ok(lines)
    }

    /// Shows the next lines one by one without copying them; says whether there may be more right now.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn visit_batch(&mut self, mut visit: impl FnMut(LineRef<'_>)) -> Result<bool, ReadError> {
        self.drain_notices();
        let mut budget = BATCH;
        while budget > 0 && !self.finished {
            if self.current.is_none() && !self.open_next()? {
                self.finished = !self.options.follow;
                return Ok(false);
            }
            let Some(source) = &mut self.current else { return Ok(false) };
            let (since, until) = (self.options.since, self.options.until.unwrap_or(i64::MAX));
            let mut passed = false;
            let taken = source
                .visit(since, |line| {
                    passed |= line.time > until;
                    if !passed {
                        visit(line);
                    }
                })
                .map_err(ReadError::file(&self.path))?;
            if passed {
                self.finished = true;
            } else if taken == 0 && !self.leave_current()? {
                return Ok(false);
            }
            budget = budget.saturating_sub(taken);
        }
        Ok(!self.finished)
    }

    /// Whether no line will ever come again: the end without `follow`, or a line after `until`.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    fn open_next(&mut self) -> Result<bool, ReadError> {
        if self.queue.is_empty() && self.options.follow {
            self.queue = self.open_all()?;
        }
        let Some(opened) = self.queue.pop_front() else { return Ok(false) };
        let path = opened.path.clone();
        self.current =
            Some(Source::open(self.driver, opened, self.options.follow).map_err(ReadError::file(&path))?);
        self.replaced = false;
        Ok(true)
    }

    /// The current file has nothing more for now: says whether there is something else to read at once.
    fn leave_current(&mut self) -> Result<bool, ReadError> {
        let Some(source) = &mut self.current else { return Ok(true) };
        if !self.queue.is_empty() {
            self.current = None;
            return Ok(true);
        }
        if !self.options.follow {
            self.current = None;
            self.finished = true;
            return Ok(false);
        }
        if self.replaced {
            // Read to the end after it was replaced: nobody writes it any more.
            let identity = source.identity();
            let mut all = self.open_all()?;
            // Not found: it has been rotated out of existence, and everything there is came after it.
            let after = all.iter().rposition(|opened| opened.identity == identity).map_or(0, |at| at + 1);
            self.queue = all.split_off(after);
            self.current = None;
            self.replaced = false;
            return Ok(!self.queue.is_empty());
        }
        match std::fs::metadata(&self.path) {
            Ok(metadata) => {
                use std::os::unix::fs::MetadataExt;
                if metadata.ino() != source.identity() {
                    self.replaced = true;
                    return Ok(true);
                }
                // Somebody else's tool truncated it.
                Ok(metadata.len() < source.offset()
                    && source.restart().map_err(ReadError::file(&self.path))?)
            }
            // Between two files, or the container is being removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ReadError::file(&self.path)(error)),
        }
    }

    fn open_all(&self) -> Result<VecDeque<files::Opened>, ReadError> {
        files::open_all(&self.path, self.max_file)
            .map(VecDeque::from)
            .map_err(|(path, source)| ReadError::File { path, source })
    }

    /// Empties the inotify queue: what it tells is found by looking at the files.
    fn drain_notices(&mut self) {
        if !self.options.follow {
            return;
        }
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut notices = inotify::Reader::new(&self.inotify, &mut space);
        while notices.next().is_ok() {}
    }
}

impl AsFd for Cursor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl AsRawFd for Cursor {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
