//! Carried streams: two sockets and a pipe for each direction, through which the kernel moves the bytes without our touching them.
//!
//! Each direction ends for itself: when one side says no more, the other is told once everything before has gone. A side that
//! breaks off breaks the other off.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::epoll::{self, EventFlags},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
    pipe::{PipeFlags, SpliceFlags},
};

use super::{Kind, token};
use crate::best_effort;

/// Descriptors of one stream: two sockets, two pipes.
const DESCRIPTORS: usize = 6;
/// Most streams at once.
const MOST: usize = 4096;
/// How much is asked of the kernel in one go.
const CHUNK: usize = 1 << 20;
/// How often one stream's directions move before the others'.
const TURNS: usize = 16;
/// How much a pipe holds: as many pages as one user may have without a privilege, and enough for a full link.
const PIPE: usize = 256 << 10;

/// All carried streams.
#[derive(Debug)]
pub(crate) struct Streams {
    streams: HashMap<u64, Stream>,
    next: u64,
    room: usize,
    /// Those that had more to move when their turn was over.
    ready: VecDeque<u64>,
}

#[derive(Debug)]
struct Stream {
    /// The listener it came to.
    listener: u64,
    client: OwnedFd,
    target: OwnedFd,
    connected: bool,
    /// It is among those that wait for their turn.
    queued: bool,
    /// From client to target, and back.
    ways: [Way; 2],
}

/// One direction.
#[derive(Debug)]
struct Way {
    pipe: (OwnedFd, OwnedFd),
    /// Bytes in the pipe.
    held: usize,
    /// The source says no more.
    ended: bool,
    /// The sink was told.
    closed: bool,
}

/// What moving bytes led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    /// Neither side has or takes more for now.
    Stuck,
    /// There may be more, but others want their turn.
    More,
    /// A side broke off.
    Broken,
}

impl Streams {
    /// As many as these many descriptors allow.
    pub(crate) fn new(descriptors: usize) -> Self {
        let room = (descriptors.saturating_sub(64) / DESCRIPTORS).clamp(8, MOST);
        Self { streams: HashMap::new(), next: 0, room, ready: VecDeque::new() }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.streams.len() < self.room
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Whether some wait for their turn.
    pub(crate) fn has_more(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes one connection that waits and begins to connect it to the target; says whether one was there.
    pub(crate) fn accept(
        &mut self,
        epoll: BorrowedFd<'_>,
        listener_key: u64,
        listener: &OwnedFd,
        target: SocketAddr,
    ) -> bool {
        let client = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(client) => client,
            Err(Errno::CONNABORTED | Errno::INTR) => return true,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                // Those that are carried give room back in time.
                std::thread::sleep(Duration::from_millis(5));
                return false;
            }
            Err(_) => return false,
        };
        self.next += 1;
        let key = self.next;
        // A client whose stream cannot be had is hung up on, as where nobody listens.
        let Ok(stream) = Stream::begin(listener_key, client, target) else { return true };
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let watched = epoll::add(epoll, &stream.client, token(Kind::Stream, key), interest)
            .and_then(|()| epoll::add(epoll, &stream.target, token(Kind::Stream, key), interest));
        if watched.is_ok() {
            self.streams.insert(key, stream);
        }
        true
    }

    /// Something happened at a stream's socket.
    pub(crate) fn handle(&mut self, key: u64, flags: EventFlags) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let moved = stream.go_on();
        // Both directions shut is told so too; an error only in this way.
        let failed = flags.contains(EventFlags::ERR) && stream.has_failed();
        if failed || moved == Moved::Broken {
            if let Some(stream) = self.streams.remove(&key) {
                stream.break_off();
            }
        } else if stream.is_over() {
            self.streams.remove(&key);
        } else if moved == Moved::More && !std::mem::replace(&mut stream.queued, true) {
            self.ready.push_back(key);
        }
    }

    /// Goes on with those whose turn was over, each once.
    pub(crate) fn go_on(&mut self) {
        for _ in 0..self.ready.len() {
            if let Some(key) = self.ready.pop_front() {
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.queued = false;
                }
                self.handle(key, EventFlags::empty());
            }
        }
    }

    /// Drops the streams of a listener.
    pub(crate) fn forget(&mut self, listener: u64) {
        self.streams.retain(|_, stream| stream.listener != listener);
    }
}

impl Stream {
    fn begin(listener: u64, client: OwnedFd, target: SocketAddr) -> Result<Self, Errno> {
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        for side in [&client, &socket] {
            // Peers that vanish must not be kept for ever; and nothing is to wait for more.
            sockopt::set_socket_keepalive(side, true)?;
            sockopt::set_tcp_keepidle(side, Duration::from_secs(60))?;
            sockopt::set_tcp_keepintvl(side, Duration::from_secs(15))?;
            sockopt::set_tcp_nodelay(side, true)?;
        }
        match rustix::net::connect(&socket, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => {
                best_effort(sockopt::set_socket_linger(&client, Some(Duration::ZERO)));
                return Err(errno);
            }
        }
        let ways = [Way::new()?, Way::new()?];
        Ok(Self { listener, client, target: socket, connected: false, queued: false, ways })
    }

    fn go_on(&mut self) -> Moved {
        if !self.connected {
            match rustix::net::getpeername(&self.target) {
                Ok(_) => self.connected = true,
                // Not yet, or it failed: then an error is there.
                Err(_) => return if self.has_failed() { Moved::Broken } else { Moved::Stuck },
            }
        }
        let [there, back] = &mut self.ways;
        let moved = [there.go_on(&self.client, &self.target), back.go_on(&self.target, &self.client)];
        if moved.contains(&Moved::Broken) {
            Moved::Broken
        } else if moved.contains(&Moved::More) {
            Moved::More
        } else {
            Moved::Stuck
        }
    }

    fn has_failed(&self) -> bool {
        [&self.client, &self.target]
            .into_iter()
            .any(|side| !matches!(sockopt::socket_error(side), Ok(Ok(()))))
    }

    fn is_over(&self) -> bool {
        self.ways.iter().all(|way| way.closed)
    }

    /// Ends both sides at once: what one has broken off is broken off for the other too.
    fn break_off(&self) {
        for side in [&self.client, &self.target] {
            best_effort(sockopt::set_socket_linger(side, Some(Duration::ZERO)));
        }
    }
}

impl Way {
    fn new() -> Result<Self, Errno> {
        let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Where the limit for this user is reached the usual size has to do.
        best_effort(rustix::pipe::fcntl_setpipe_size(&pipe.1, PIPE));
        Ok(Self { pipe, held: 0, ended: false, closed: false })
    }

    /// Moves bytes for as long as they move, or its turn lasts.
    fn go_on(&mut self, from: &OwnedFd, to: &OwnedFd) -> Moved {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        for _ in 0..TURNS {
            let mut progress = false;
            if !self.ended {
                match rustix::pipe::splice(from, None, &self.pipe.1, None, CHUNK, flags) {
                    Ok(0) => (self.ended, progress) = (true, true),
                    Ok(count) => {
                        self.held += count;
                        progress = true;
                    }
                    // The source is empty, or the pipe full: the other half will show.
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(_) => return Moved::Broken,
                }
            }
            if self.held > 0 {
                match rustix::pipe::splice(&self.pipe.0, None, to, None, self.held, flags) {
                    Ok(count) => {
                        self.held -= count.min(self.held);
                        progress |= count > 0;
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(_) => return Moved::Broken,
                }
            }
            if self.ended && self.held == 0 && !self.closed {
                self.closed = true;
                // A peer that is gone already needs no telling.
                best_effort(rustix::net::shutdown(to.as_fd(), rustix::net::Shutdown::Write));
            }
            if !progress || self.closed {
                return Moved::Stuck;
            }
        }
        Moved::More
    }
}
