//! The one way to stdout and stderr.
//!
//! Output is gathered and written in one piece, because a table of fifty containers should be one write; whoever
//! streams flushes. A write to a reader that left ends the command silently.

use crate::failure::Failure;
use std::cell::RefCell;
use std::io::{self, Write};

/// Buffered stdout.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    out: RefCell<Vec<u8>>,
}

impl Printer {
    pub(crate) fn text(&self, text: &str) {
        self.out.borrow_mut().extend_from_slice(text.as_bytes());
    }

    pub(crate) fn line(&self, text: &str) {
        let mut out = self.out.borrow_mut();
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }

    /// Hands everything to the reader.
    pub(crate) fn flush(&self) -> Result<(), Failure> {
        let bytes = std::mem::take(&mut *self.out.borrow_mut());
        Ok(write_stdout(&bytes)?)
    }
}

/// Bytes straight to stdout.
pub(crate) fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    write_fd(rustix::stdio::stdout(), bytes)
}

/// Bytes straight to stderr.
pub(crate) fn write_stderr(bytes: &[u8]) -> io::Result<()> {
    write_fd(rustix::stdio::stderr(), bytes)
}

fn write_fd(fd: rustix::fd::BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => wait_writable(fd)?,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Someone made our terminal non-blocking; wait instead of spinning.
fn wait_writable(fd: rustix::fd::BorrowedFd<'_>) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None)?;
    Ok(())
}

/// A line to stderr; a closed stderr leaves nobody to tell.
pub(crate) fn complain(text: &str) {
    let mut stderr = io::stderr().lock();
    let line = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    if stderr.write_all(line.as_bytes()).is_err() {
        // Nobody listens.
    }
}
