//! The thread: waits on every container's sockets and on what is under way, and answers.
//!
//! It alone owns tables and views, so that a look-up takes no lock. What the engine tells it lies in a list; the list is
//! emptied after datagrams were received and before they are answered, so that whoever asks after a name was entered finds it.

use std::{
    collections::{HashMap, VecDeque},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use minke_sys::datagrams::{self, Inbox, Outbox, SLOTS};
use rustix::{
    event::{
        Timespec,
        epoll::{self, Event, EventData, EventFlags},
    },
    io::Errno,
    net::SocketFlags,
};

use crate::{
    best_effort,
    exchange::{Client, Done, Exchanges},
    lookup::{Outcome, Sight, Tables},
    stream::{IDLE, Stream},
    view::{Member, NetworkNames, View},
    wire::{self, Answer, Code, Fault, LONGEST, Question},
};

/// Longest datagram that is taken and given.
const DATAGRAM: usize = 4096;
/// How many batches in a row one container gets before the others.
const TURNS: usize = 2;
/// Connections that a container may have open; the longest silent one makes way.
const STREAMS: usize = 64;
/// Connections that are taken in one go.
const CALLERS: usize = 16;
/// How long nothing must have happened before memory is given back.
const QUIET: Duration = Duration::from_secs(5);

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Command,
    Datagram,
    Caller,
    Stream,
    Exchange,
}

const KINDS: [Kind; 5] = [Kind::Command, Kind::Datagram, Kind::Caller, Kind::Stream, Kind::Exchange];

/// Kind and key in one number.
pub(crate) fn token(kind: Kind, key: u64) -> u64 {
    (kind as u64) << 56 | key
}

fn untoken(token: u64) -> Option<(Kind, u64)> {
    let kind = usize::try_from(token >> 56).ok().and_then(|index| KINDS.get(index))?;
    Some((*kind, token & (u64::MAX >> 8)))
}

/// What the engine tells the thread.
#[derive(Debug)]
pub(crate) enum Command {
    Serve { key: u64, container: String, udp: Arc<OwnedFd>, tcp: Arc<OwnedFd>, view: View },
    Look { container: String, view: View },
    Stop { container: String },
    Update(NetworkNames),
    Join { network: String, member: Member },
    Leave { network: String, container: String },
    Forget { network: String },
    End,
}

/// What handle and thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) epoll: OwnedFd,
    pub(crate) wake: OwnedFd,
    pub(crate) commands: Mutex<Vec<Command>>,
    /// There are commands.
    pub(crate) pending: AtomicBool,
    pub(crate) next_key: AtomicU64,
}

/// One container.
#[derive(Debug)]
struct Asker {
    container: String,
    udp: Arc<OwnedFd>,
    tcp: Arc<OwnedFd>,
    sight: Sight,
    /// Questions of its that are passed on.
    waiting: u32,
    streams: VecDeque<u64>,
}

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<Shared>,
    keys: HashMap<String, u64>,
    askers: HashMap<u64, Asker>,
    tables: Tables,
    streams: HashMap<u64, Stream>,
    next_stream: u64,
    /// Most of them at once.
    stream_room: usize,
    exchanges: Exchanges,
    inbox: Inbox,
    outbox: Outbox,
    /// Room for one message of any length.
    buffer: Vec<u8>,
    idle_streams_at: Option<Instant>,
    ended: bool,
}

impl Server {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            keys: HashMap::new(),
            askers: HashMap::new(),
            tables: Tables::default(),
            streams: HashMap::new(),
            next_stream: 0,
            stream_room: room() / 2,
            exchanges: Exchanges::new(room()),
            inbox: Inbox::new(DATAGRAM),
            outbox: Outbox::new(DATAGRAM),
            buffer: Vec::new(),
            idle_streams_at: None,
            ended: false,
        }
    }

    /// Serves until told to end.
    pub(crate) fn run(&mut self) {
        let mut events: [MaybeUninit<Event>; 64] = [const { MaybeUninit::uninit() }; 64];
        let mut busy = true;
        while !self.ended {
            let timeout = self.timeout(busy);
            let (happened, _) = match epoll::wait(&self.shared.epoll, &mut events, timeout.as_ref()) {
                Ok(happened) => happened,
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    tracing::error!(%errno, "the resolver cannot wait for its sockets");
                    return;
                }
            };
            if happened.is_empty() && busy {
                busy = false;
                self.relax();
            } else if !happened.is_empty() {
                busy = true;
            }
            self.take_commands();
            for event in happened {
                let Event { data, flags } = *event;
                if let Some((kind, key)) = untoken(data.u64()) {
                    self.handle(kind, key, flags);
                }
            }
            self.look_at_time();
        }
    }

    fn handle(&mut self, kind: Kind, key: u64, flags: EventFlags) {
        match kind {
            Kind::Command => {
                let mut count = [0; 8];
                // Commands are looked at in every round anyway.
                best_effort(rustix::io::read(&self.shared.wake, &mut count));
            }
            Kind::Datagram => self.serve_datagrams(key),
            Kind::Caller => self.welcome(key),
            // Nobody is there any more to be answered.
            Kind::Stream if flags.intersects(EventFlags::HUP | EventFlags::ERR) => self.close(key),
            Kind::Stream => self.serve_stream(key),
            Kind::Exchange => {
                if let Some(done) = self.exchanges.handle(self.shared.epoll.as_fd(), key) {
                    self.deliver(done);
                }
            }
        }
    }

    fn timeout(&mut self, busy: bool) -> Option<Timespec> {
        let due = self.exchanges.due().into_iter().chain(self.idle_streams_at).min();
        let wait = due.map(|at| at.saturating_duration_since(Instant::now()));
        let wait = if busy { Some(wait.unwrap_or(QUIET).min(QUIET)) } else { wait };
        // Rounded up by the kernel: what is due is due when we wake.
        wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        })
    }

    fn look_at_time(&mut self) {
        let now = Instant::now();
        let shared = Arc::clone(&self.shared);
        while let Some(expired) = self.exchanges.expire(shared.epoll.as_fd(), now) {
            if let Some(done) = expired {
                self.deliver(done);
            }
        }
        if self.idle_streams_at.is_some_and(|at| at <= now) {
            let idle = |stream: &Stream| stream.waiting == 0 && stream.last + IDLE <= now;
            let over: Vec<u64> =
                self.streams.iter().filter(|(_, stream)| idle(stream)).map(|(key, _)| *key).collect();
            over.into_iter().for_each(|key| self.close(key));
            self.idle_streams_at = (!self.streams.is_empty()).then(|| now + IDLE / 4);
        }
    }

    fn relax(&mut self) {
        self.buffer = Vec::new();
        self.inbox = Inbox::new(DATAGRAM);
        self.outbox = Outbox::new(DATAGRAM);
        self.exchanges.relax();
    }

    fn take_commands(&mut self) {
        if !self.shared.pending.swap(false, Ordering::Acquire) {
            return;
        }
        let commands = {
            let mut list = self.shared.commands.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::take(&mut *list)
        };
        for command in commands {
            match command {
                Command::Serve { key, container, udp, tcp, view } => {
                    self.stop(&container);
                    self.keys.insert(container.clone(), key);
                    let sight = Sight::new(view, &mut self.tables, Some(&udp));
                    let streams = VecDeque::new();
                    self.askers.insert(key, Asker { container, udp, tcp, sight, waiting: 0, streams });
                }
                Command::Look { container, view } => {
                    let key = self.keys.get(&container);
                    if let Some(asker) = key.and_then(|key| self.askers.get_mut(key)) {
                        asker.sight = Sight::new(view, &mut self.tables, Some(&asker.udp));
                    }
                }
                Command::Stop { container } => self.stop(&container),
                Command::Update(network) => {
                    let table = self.tables.of(&network.id);
                    table.borrow_mut().update(network);
                }
                Command::Join { network, member } => self.tables.of(&network).borrow_mut().join(member),
                Command::Leave { network, container } => {
                    self.tables.of(&network).borrow_mut().leave(&container);
                }
                Command::Forget { network } => self.tables.forget(&network),
                Command::End => self.ended = true,
            }
        }
    }

    /// Drops a container with everything it waits for.
    fn stop(&mut self, container: &str) {
        let Some(key) = self.keys.remove(container) else { return };
        let Some(asker) = self.askers.remove(&key) else { return };
        for socket in [&asker.udp, &asker.tcp] {
            // Others may hold the same socket: closing our descriptor would not take it off the list.
            best_effort(epoll::delete(&self.shared.epoll, socket));
        }
        for stream in asker.streams {
            self.streams.remove(&stream);
        }
        self.exchanges.forget(key);
    }

    fn serve_datagrams(&mut self, key: u64) {
        for _ in 0..TURNS {
            let Some(asker) = self.askers.get(&key) else { return };
            let socket = Arc::clone(&asker.udp);
            let count = match self.inbox.receive(&*socket) {
                Ok(count) => count,
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(errno) => return self.note_failure(key, errno),
            };
            self.take_commands();
            for index in 0..count {
                self.answer_datagram(key, index);
            }
            self.outbox.send(&*socket);
            if count < SLOTS {
                return;
            }
        }
    }

    fn answer_datagram(&mut self, key: u64, index: usize) {
        let Some(asker) = self.askers.get_mut(&key) else { return };
        let datagram = self.inbox.get(index);
        let Some(slot) = self.outbox.next_slot() else { return };
        let client = Client::Datagram(datagram.peer);
        let read =
            if datagram.cut { Err(Fault::Answer(Code::FormErr)) } else { Question::read(datagram.bytes) };
        let question = match read {
            Ok(question) => question,
            Err(Fault::Silent) => return,
            Err(Fault::Answer(code)) => {
                let length = wire::answer_fault(datagram.bytes, slot, code);
                return self.outbox.commit(length, datagram.peer);
            }
        };
        let length = match asker.sight.answer(&question, &self.tables, slot, question.limit()) {
            Outcome::Answered(length) => length,
            Outcome::Forward if self.exchanges.has_room(asker.waiting) => {
                asker.waiting += 1;
                let (epoll, servers) = (self.shared.epoll.as_fd(), &asker.sight.upstreams);
                if let Some(done) = self.exchanges.start(epoll, key, client, &question, servers) {
                    self.deliver(done);
                }
                return;
            }
            Outcome::Forward => Answer::to(&question, slot, question.limit()).finish(Code::Refused),
        };
        self.outbox.commit(length, datagram.peer);
    }

    /// Gives an answer to the one who waits for it.
    fn deliver(&mut self, done: Done) {
        let Some(asker) = self.askers.get_mut(&done.asker) else { return };
        asker.waiting = asker.waiting.saturating_sub(1);
        match done.client {
            // A datagram that is not taken is lost, as datagrams are.
            Client::Datagram(peer) => best_effort(datagrams::send_to(&*asker.udp, &done.answer, &peer)),
            Client::Stream(key) => {
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.waiting = stream.waiting.saturating_sub(1);
                    stream.answer(&done.answer);
                    self.settle(key);
                }
            }
        }
    }

    /// Takes a container's connections.
    fn welcome(&mut self, key: u64) {
        for _ in 0..CALLERS {
            let Some(asker) = self.askers.get_mut(&key) else { return };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match rustix::net::accept_with(&*asker.tcp, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return,
                Err(errno) => return self.note_failure(key, errno),
            };
            if self.streams.len() >= self.stream_room {
                continue;
            }
            self.next_stream += 1;
            let number = self.next_stream;
            let data = EventData::new_u64(token(Kind::Stream, number));
            if epoll::add(&self.shared.epoll, &socket, data, Stream::FIRST).is_err() {
                continue;
            }
            asker.streams.push_back(number);
            let oldest = if asker.streams.len() > STREAMS { asker.streams.front().copied() } else { None };
            self.streams.insert(number, Stream::new(key, socket));
            self.idle_streams_at.get_or_insert_with(|| Instant::now() + IDLE);
            if let Some(oldest) = oldest {
                self.close(oldest);
            }
        }
    }

    fn serve_stream(&mut self, key: u64) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        self.buffer.resize(LONGEST, 0);
        stream.flush();
        stream.receive(&mut self.buffer);
        self.take_commands();
        while let Some(question) = self.streams.get_mut(&key).and_then(Stream::next_question) {
            self.answer_stream(key, &question);
        }
        self.settle(key);
    }

    fn answer_stream(&mut self, key: u64, bytes: &[u8]) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let Some(asker) = self.askers.get_mut(&stream.asker) else { return };
        let length = match Question::read(bytes) {
            Ok(question) => match asker.sight.answer(&question, &self.tables, &mut self.buffer, LONGEST) {
                Outcome::Answered(length) => length,
                Outcome::Forward if self.exchanges.has_room(asker.waiting) => {
                    asker.waiting += 1;
                    stream.waiting += 1;
                    let (epoll, servers) = (self.shared.epoll.as_fd(), &asker.sight.upstreams);
                    let client = Client::Stream(key);
                    let asker = stream.asker;
                    if let Some(done) = self.exchanges.start(epoll, asker, client, &question, servers) {
                        self.deliver(done);
                    }
                    return;
                }
                Outcome::Forward => Answer::to(&question, &mut self.buffer, LONGEST).finish(Code::Refused),
            },
            Err(Fault::Silent) => return,
            Err(Fault::Answer(code)) => wire::answer_fault(bytes, &mut self.buffer, code),
        };
        stream.answer(&self.buffer[..length]);
    }

    /// Waits for what a connection needs now, or drops it when it is over.
    fn settle(&mut self, key: u64) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if stream.is_over() {
            return self.close(key);
        }
        if let Some(interest) = stream.new_interest() {
            let data = EventData::new_u64(token(Kind::Stream, key));
            if epoll::modify(&self.shared.epoll, &stream.socket, data, interest).is_err() {
                self.close(key);
            }
        }
    }

    fn close(&mut self, key: u64) {
        let Some(stream) = self.streams.remove(&key) else { return };
        if let Some(asker) = self.askers.get_mut(&stream.asker) {
            asker.streams.retain(|other| *other != key);
        }
    }

    /// A socket that fails would be told again and again.
    fn note_failure(&mut self, key: u64, errno: Errno) {
        let Some(asker) = self.askers.get(&key) else { return };
        let container = asker.container.clone();
        if [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS].contains(&errno) {
            tracing::warn!(container, %errno, "a question of a container's has to wait");
            std::thread::sleep(Duration::from_millis(1));
            return;
        }
        tracing::warn!(container, %errno, "names are no longer served to a container");
        self.stop(&container);
    }
}

/// How many questions may be under way: each has a descriptor.
fn room() -> usize {
    const MOST: usize = 8192;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit / 4).ok()).unwrap_or(MOST).clamp(64, MOST)
}
