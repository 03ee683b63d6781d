//! What a client has not taken yet. Bounded: first by memory, then, for a client that stalls, by a file, then it is lost.
//!
//! While a client makes progress the program waits for it, as with Docker: a fast writer and a slow reader meet at the
//! reader's pace. A client that takes nothing for [`STALL`] no longer holds anybody up: what it misses goes to an
//! unlinked file, which it reads when it comes back. Beyond [`SPILL`] bytes it is given up.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    io::{Errno, IoSlice},
    net::{SendAncillaryBuffer, SendFlags},
};

/// How long a client may take nothing before it no longer holds the program up.
pub(crate) const STALL: Duration = Duration::from_secs(2);
/// Bytes kept in memory before the program is held up.
const MEMORY: usize = 256 << 10;
/// Bytes kept in the file before the client is given up.
const SPILL: u64 = 256 << 20;
/// How much of the file is taken into memory at once.
const REFILL: usize = 64 << 10;

/// Why a client is given up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It hung up.
    Gone,
    /// It is too far behind, or there is no room for what it misses.
    TooSlow,
}

#[derive(Debug)]
struct Spill {
    file: File,
    read: u64,
    written: u64,
}

/// Bytes on their way to one client.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    memory: Vec<u8>,
    /// How many bytes of `memory` are sent.
    start: usize,
    spill: Option<Spill>,
    /// Since when the socket has taken nothing.
    stalled: Option<Instant>,
    lagging: bool,
}

impl Outbox {
    /// Sends the parts in order, or keeps what the socket does not take.
    pub(crate) fn send(&mut self, socket: &OwnedFd, parts: [&[u8]; 2], directory: &Path) -> Result<(), Lost> {
        let mut sent = 0;
        if self.is_empty() {
            let slices = parts.map(IoSlice::new);
            sent = match send_slices(socket, &slices) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => 0,
                Err(_) => return Err(Lost::Gone),
            };
        }
        for part in parts {
            let skipped = sent.min(part.len());
            sent -= skipped;
            self.keep(&part[skipped..], directory)?;
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8], directory: &Path) -> Result<(), Lost> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.stalled.get_or_insert_with(Instant::now);
        if self.spill.is_none() && (!self.lagging || self.pending() < MEMORY) {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        if self.spill.is_none() {
            let file = open_unnamed(directory).map_err(|_no_room| Lost::TooSlow)?;
            self.spill = Some(Spill { file, read: 0, written: 0 });
        }
        let Some(spill) = &mut self.spill else { return Err(Lost::TooSlow) };
        if spill.written - spill.read + bytes.len() as u64 > SPILL {
            return Err(Lost::TooSlow);
        }
        spill.file.write_all_at(bytes, spill.written).map_err(|_no_room| Lost::TooSlow)?;
        spill.written += bytes.len() as u64;
        Ok(())
    }

    /// Sends what is kept, as much as the socket takes.
    pub(crate) fn flush(&mut self, socket: &OwnedFd) -> Result<(), Lost> {
        loop {
            self.refill()?;
            if self.is_empty() {
                (self.stalled, self.lagging) = (None, false);
                return Ok(());
            }
            match send_slices(socket, &[IoSlice::new(&self.memory[self.start..])]) {
                Ok(sent) => {
                    self.start += sent;
                    self.stalled = Some(Instant::now());
                    if self.start == self.memory.len() {
                        self.memory.clear();
                        self.start = 0;
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Lost::Gone),
            }
        }
    }

    /// Takes the next part of the file into memory once memory is empty.
    fn refill(&mut self) -> Result<(), Lost> {
        if !self.memory.is_empty() {
            return Ok(());
        }
        let Some(spill) = &mut self.spill else { return Ok(()) };
        let left = usize::try_from(spill.written - spill.read).unwrap_or(usize::MAX);
        if left == 0 {
            self.spill = None;
            self.memory = Vec::new();
            return Ok(());
        }
        self.memory.resize(left.min(REFILL), 0);
        spill.file.read_exact_at(&mut self.memory, spill.read).map_err(|_unreadable| Lost::TooSlow)?;
        spill.read += self.memory.len() as u64;
        Ok(())
    }

    /// Nothing is waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending() == 0 && self.spill.is_none()
    }

    fn pending(&self) -> usize {
        self.memory.len() - self.start
    }

    /// The program must wait before it gives this client more.
    pub(crate) fn holds_up(&self) -> bool {
        !self.lagging && self.pending() >= MEMORY
    }

    /// When [`Outbox::note_stall`] is due; `None` when nothing is waiting for it.
    pub(crate) fn stall_at(&self) -> Option<Instant> {
        if self.holds_up() { self.stalled.map(|since| since + STALL) } else { None }
    }

    /// Lets the program go on when the client has stalled for too long, or when it must (`now` is `None`).
    pub(crate) fn note_stall(&mut self, now: Option<Instant>) {
        let due = now.is_none_or(|now| self.stall_at().is_some_and(|at| at <= now));
        self.lagging |= due && !self.is_empty();
    }

    /// Gives back room that is not needed now.
    pub(crate) fn relax(&mut self) {
        if self.is_empty() {
            self.memory = Vec::new();
        }
    }
}

fn send_slices(socket: &OwnedFd, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket.as_fd(), slices, &mut SendAncillaryBuffer::default(), flags)
    })
}

fn open_unnamed(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?))
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream};

    use super::*;

    struct Pair {
        outbox: Outbox,
        ours: OwnedFd,
        theirs: UnixStream,
        directory: tempfile::TempDir,
    }

    fn pair() -> Pair {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let directory = tempfile::tempdir().unwrap();
        Pair { outbox: Outbox::default(), ours: ours.into(), theirs, directory }
    }

    impl Pair {
        fn send(&mut self, bytes: &[u8]) -> Result<(), Lost> {
            self.outbox.send(&self.ours, [bytes, b""], self.directory.path())
        }
    }

    #[test]
    fn a_client_that_stalls_and_comes_back_gets_every_byte_in_order() {
        let mut pair = pair();
        let block: Vec<u8> = (0..64_u32 << 10).map(|at| at.to_le_bytes()[usize::from(at % 3 == 0)]).collect();
        let mut sent = Vec::new();
        while !pair.outbox.holds_up() {
            pair.send(&block).unwrap();
            sent.extend_from_slice(&block);
        }
        pair.outbox.note_stall(Some(Instant::now() + STALL));
        assert!(!pair.outbox.holds_up(), "a stalled client holds nobody up");
        for _ in 0..100 {
            pair.send(&block).unwrap();
            sent.extend_from_slice(&block);
        }
        assert!(pair.outbox.memory.capacity() < 2 * MEMORY, "{}", pair.outbox.memory.capacity());
        let mut theirs = pair.theirs.try_clone().unwrap();
        let length = sent.len();
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; length];
            theirs.read_exact(&mut got).unwrap();
            got
        });
        while !pair.outbox.is_empty() {
            pair.outbox.flush(&pair.ours).unwrap();
        }
        assert!(reader.join().unwrap() == sent);
        assert!(pair.outbox.stall_at().is_none());
    }

    #[test]
    fn a_client_too_far_behind_is_given_up() {
        let mut pair = pair();
        let block = vec![1; 16 << 20];
        pair.send(&block).unwrap();
        pair.outbox.note_stall(None);
        let lost = (0..40).find_map(|_| pair.send(&block).err());
        assert_eq!(lost, Some(Lost::TooSlow));
    }

    #[test]
    fn a_client_that_hung_up_is_noticed() {
        let mut pair = pair();
        drop(std::mem::replace(&mut pair.theirs, UnixStream::pair().unwrap().0));
        assert_eq!(pair.send(b"x"), Err(Lost::Gone));
    }
}
