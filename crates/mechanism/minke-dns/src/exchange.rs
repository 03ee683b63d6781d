//! Questions that are passed on: one socket each, with an id and a port that nobody can know, to one server after the other.
//!
//! A question goes out as datagram, or as stream when its asker came by one. An answer counts when it comes from the
//! address that was asked (the socket is connected), has the id, and repeats the question; everything else is passed over
//! and the wait goes on. A server that fails, refuses or is silent for [`PATIENCE`] is followed by the next.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use minke_sys::datagrams::Peer;
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    io::Errno,
    net::{RecvFlags, SendFlags, SocketType},
};

use crate::{
    server::{Kind, token},
    upstream::Upstreams,
    wire::{self, Answer, Code, LONGEST, PLAIN, Question},
};

/// How long one server may take: Docker's.
const PATIENCE: Duration = Duration::from_secs(4);
/// Datagrams up to here arrive whole from about every server: only who takes more gains by our asking again over a stream.
const USUAL: usize = 1232;
/// How many wrong answers are passed over before other sockets get their turn.
const TURN: usize = 8;

/// Who waits for an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Client {
    /// Who sent a datagram.
    Datagram(Peer),
    /// A connection, by its key.
    Stream(u64),
}

/// An answer, for the one who waits.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) asker: u64,
    pub(crate) client: Client,
    pub(crate) answer: Vec<u8>,
}

#[derive(Debug)]
struct Exchange {
    asker: u64,
    client: Client,
    /// The question, under our id.
    query: Box<[u8]>,
    /// The id that its asker knows.
    asked: u16,
    /// The longest answer that its asker takes.
    limit: usize,
    servers: Rc<Upstreams>,
    turn: usize,
    way: Way,
    /// A cut answer, in case that the whole one cannot be had.
    cut: Option<Vec<u8>>,
    deadline: Instant,
}

#[derive(Debug)]
enum Way {
    /// Not under way.
    None,
    Datagram(OwnedFd),
    /// How much of length and question is sent, and what has come.
    Stream(OwnedFd, usize, Vec<u8>),
}

/// What an event at an exchange's socket leads to.
enum Step {
    Wait,
    /// Not from this server.
    Next,
    /// The answer was cut: the same server again, over a stream.
    Whole(Vec<u8>),
    Answer(Vec<u8>),
}

/// Everything that is under way.
#[derive(Debug)]
pub(crate) struct Exchanges {
    under_way: HashMap<u64, Exchange>,
    /// Deadlines in their order; those that were moved since are passed over.
    deadlines: VecDeque<(Instant, u64)>,
    next: u64,
    /// Most at once.
    room: usize,
    chance: Chance,
    buffer: Vec<u8>,
}

impl Exchanges {
    pub(crate) fn new(room: usize) -> Self {
        Self {
            under_way: HashMap::new(),
            deadlines: VecDeque::new(),
            next: 0,
            room,
            chance: Chance::default(),
            buffer: Vec::new(),
        }
    }

    /// Whether one more has room for an asker that has so many under way. Half of the room is for those with few.
    pub(crate) fn has_room(&self, of_asker: u32) -> bool {
        /// Docker's limit per container.
        const MANY: u32 = 1024;
        const FEW: u32 = 32;
        let limit = if self.under_way.len() < self.room / 2 { MANY } else { FEW };
        self.under_way.len() < self.room && of_asker < limit
    }

    /// Passes a question on. `Some` when it has its answer at once, as no server can be reached.
    pub(crate) fn start(
        &mut self,
        epoll: BorrowedFd<'_>,
        asker: u64,
        client: Client,
        question: &Question<'_>,
        servers: &Rc<Upstreams>,
    ) -> Option<Done> {
        let limit = match client {
            Client::Datagram(_) => question.limit(),
            Client::Stream(_) => LONGEST,
        };
        let exchange = Exchange {
            asker,
            client,
            query: question.bytes.into(),
            asked: wire::id(question.bytes).unwrap_or(0),
            limit,
            servers: Rc::clone(servers),
            turn: 0,
            way: Way::None,
            cut: None,
            deadline: Instant::now(),
        };
        self.next += 1;
        let key = self.next;
        self.under_way.insert(key, exchange);
        self.ask(epoll, key)
    }

    /// Asks the server whose turn it is, or the next that can be asked; without one the exchange ends.
    fn ask(&mut self, epoll: BorrowedFd<'_>, key: u64) -> Option<Done> {
        let exchange = self.under_way.get_mut(&key)?;
        while let Some(server) = exchange.servers.addresses.get(exchange.turn).copied() {
            let id = self.chance.number();
            wire::set_id(&mut exchange.query, id);
            let by_stream = matches!(exchange.client, Client::Stream(_)) || exchange.cut.is_some();
            exchange.way = Way::None;
            let kind = if by_stream { SocketType::STREAM } else { SocketType::DGRAM };
            let begun = exchange.servers.open(server, kind).and_then(|socket| {
                if by_stream {
                    begin_stream(epoll, socket, server, key)
                } else {
                    begin_datagram(epoll, socket, server, key, &exchange.query)
                }
            });
            if let Ok(way) = begun {
                exchange.way = way;
                exchange.deadline = Instant::now() + PATIENCE;
                self.deadlines.push_back((exchange.deadline, key));
                return None;
            }
            if exchange.cut.is_some() {
                break;
            }
            exchange.turn += 1;
        }
        self.under_way.remove(&key).map(Exchange::give_up)
    }

    /// Something happened at an exchange's socket.
    pub(crate) fn handle(&mut self, epoll: BorrowedFd<'_>, key: u64) -> Option<Done> {
        self.buffer.resize(LONGEST, 0);
        let exchange = self.under_way.get_mut(&key)?;
        let step = match &mut exchange.way {
            Way::None => Step::Next,
            Way::Datagram(socket) => {
                let asked = Asked { query: &exchange.query, cut: exchange.limit > USUAL };
                asked.take_datagram(socket, &mut self.buffer)
            }
            Way::Stream(socket, sent, got) => {
                let asked = Asked { query: &exchange.query, cut: false };
                asked.go_on(epoll, key, socket, sent, got, &mut self.buffer)
            }
        };
        self.take(epoll, key, step)
    }

    fn take(&mut self, epoll: BorrowedFd<'_>, key: u64, step: Step) -> Option<Done> {
        match step {
            Step::Wait => None,
            Step::Next => self.ask_next(epoll, key),
            Step::Whole(answer) => {
                self.under_way.get_mut(&key)?.cut = Some(answer);
                self.ask(epoll, key)
            }
            Step::Answer(answer) => self.under_way.remove(&key).map(|exchange| exchange.end(answer)),
        }
    }

    fn ask_next(&mut self, epoll: BorrowedFd<'_>, key: u64) -> Option<Done> {
        let exchange = self.under_way.get_mut(&key)?;
        if exchange.cut.is_some() {
            return self.under_way.remove(&key).map(Exchange::give_up);
        }
        exchange.turn += 1;
        self.ask(epoll, key)
    }

    /// When something is due.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        while let Some((at, key)) = self.deadlines.front() {
            if self.under_way.get(key).is_some_and(|exchange| exchange.deadline == *at) {
                return Some(*at);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// Goes on to the next server where one has taken too long; call it until it has nothing left to do (`None`).
    pub(crate) fn expire(&mut self, epoll: BorrowedFd<'_>, now: Instant) -> Option<Option<Done>> {
        if self.due()? > now {
            return None;
        }
        let (_, key) = self.deadlines.pop_front()?;
        Some(self.ask_next(epoll, key))
    }

    /// Forgets what an asker waits for that is no longer served.
    pub(crate) fn forget(&mut self, asker: u64) {
        self.under_way.retain(|_, exchange| exchange.asker != asker);
    }

    /// Gives back the room of past work.
    pub(crate) fn relax(&mut self) {
        self.buffer = Vec::new();
        if self.under_way.is_empty() {
            self.deadlines = VecDeque::new();
            self.under_way = HashMap::new();
        }
    }
}

impl Exchange {
    /// Ends with this answer.
    fn end(self, mut answer: Vec<u8>) -> Done {
        wire::truncate(&mut answer, self.limit);
        wire::set_id(&mut answer, self.asked);
        Done { asker: self.asker, client: self.client, answer }
    }

    /// Ends without one: what was cut is better than nothing.
    fn give_up(mut self) -> Done {
        if let Some(cut) = self.cut.take() {
            return self.end(cut);
        }
        let answer = failure(&self.query);
        self.end(answer)
    }
}

/// The answer that says that none can be had.
fn failure(query: &[u8]) -> Vec<u8> {
    let mut answer = vec![0; PLAIN];
    let length = match Question::read(query) {
        Ok(question) => Answer::to(&question, &mut answer, PLAIN).finish(Code::ServFail),
        Err(_) => wire::answer_fault(query, &mut answer, Code::ServFail),
    };
    answer.truncate(length);
    answer
}

fn watch(epoll: BorrowedFd<'_>, socket: &OwnedFd, key: u64, interest: EventFlags) -> Result<(), Errno> {
    epoll::add(epoll, socket, EventData::new_u64(token(Kind::Exchange, key)), interest)
}

fn begin_datagram(
    epoll: BorrowedFd<'_>,
    socket: OwnedFd,
    server: SocketAddr,
    key: u64,
    query: &[u8],
) -> Result<Way, Errno> {
    // The kernel chooses a port at random here, and takes datagrams from nowhere else.
    rustix::net::connect(&socket, &server)?;
    rustix::net::send(&socket, query, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    watch(epoll, &socket, key, EventFlags::IN)?;
    Ok(Way::Datagram(socket))
}

fn begin_stream(epoll: BorrowedFd<'_>, socket: OwnedFd, server: SocketAddr, key: u64) -> Result<Way, Errno> {
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno),
    }
    watch(epoll, &socket, key, EventFlags::OUT)?;
    Ok(Way::Stream(socket, 0, Vec::new()))
}

/// What was asked, against which answers are held.
#[derive(Clone, Copy)]
struct Asked<'query> {
    query: &'query [u8],
    /// A cut answer is worth asking again for.
    cut: bool,
}

impl Asked<'_> {
    /// Whether this is the answer, and what becomes of it.
    fn judge(self, answer: &[u8]) -> Option<Step> {
        /// Codes after which the next server is asked, as with Docker.
        const UNHELPFUL: [u8; 2] = [Code::ServFail as u8, Code::Refused as u8];
        let question = Question::read(self.query).ok()?;
        if !question.is_answered_by(answer, wire::id(self.query)?) {
            return None;
        }
        if UNHELPFUL.contains(&wire::code(answer)) {
            return Some(Step::Next);
        }
        let answer = answer.to_vec();
        Some(if self.cut && wire::is_truncated(&answer) { Step::Whole(answer) } else { Step::Answer(answer) })
    }

    fn take_datagram(self, socket: &OwnedFd, buffer: &mut [u8]) -> Step {
        for _ in 0..TURN {
            match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    if let Some(step) = self.judge(&buffer[..length]) {
                        return step;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => return Step::Wait,
                // Nobody listens there.
                Err(_) => return Step::Next,
            }
        }
        Step::Wait
    }

    fn go_on(
        self,
        epoll: BorrowedFd<'_>,
        key: u64,
        socket: &OwnedFd,
        sent: &mut usize,
        got: &mut Vec<u8>,
        buffer: &mut [u8],
    ) -> Step {
        let length = u16::try_from(self.query.len()).unwrap_or(u16::MAX).to_be_bytes();
        let whole = length.len() + self.query.len();
        while *sent < whole {
            let rest = if *sent < 2 { &length[*sent..] } else { &self.query[*sent - 2..] };
            let more = if *sent < 2 { SendFlags::MORE } else { SendFlags::empty() };
            match rustix::net::send(socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL | more) {
                Ok(count) => *sent += count,
                Err(Errno::AGAIN | Errno::INTR) => return Step::Wait,
                Err(_) => return Step::Next,
            }
            if *sent == whole {
                let data = EventData::new_u64(token(Kind::Exchange, key));
                if epoll::modify(epoll, socket.as_fd(), data, EventFlags::IN).is_err() {
                    return Step::Next;
                }
                return Step::Wait;
            }
        }
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Step::Next,
            Ok((count, _)) => got.extend_from_slice(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => return Step::Wait,
            Err(_) => return Step::Next,
        }
        let Some((length, rest)) = got.split_first_chunk::<2>() else { return Step::Wait };
        match rest.get(..usize::from(u16::from_be_bytes(*length))) {
            // A stream is the server's own word: what does not fit is no answer to wait behind.
            Some(answer) => self.judge(answer).unwrap_or(Step::Next),
            None => Step::Wait,
        }
    }
}

/// Numbers that nobody can guess, fetched many at once.
#[derive(Debug, Default)]
struct Chance {
    bytes: Vec<u8>,
}

impl Chance {
    fn number(&mut self) -> u16 {
        if self.bytes.len() < 2 {
            self.bytes.resize(256, 0);
            let filled = rustix::rand::getrandom(&mut self.bytes[..], rustix::rand::GetRandomFlags::empty());
            // 256 bytes come whole once the kernel has any, which is long before a daemon runs.
            self.bytes.truncate(filled.unwrap_or(0));
        }
        let pair = [self.bytes.pop().unwrap_or(0), self.bytes.pop().unwrap_or(0)];
        u16::from_ne_bytes(pair)
    }
}
