//! The proxy's role: carries what the kernel's rules cannot, such as `[::]` on the host to a container that has IPv4 alone.
//!
//! **Card.** Started by: the keeper, as a copy of itself, when a connection waits at a listener that has a proxy. Inherits:
//! all such listeners of the container, and a socket over which the keeper tells what has changed. Touches: nothing but
//! sockets and pipes; it has no capability and a filter over system calls. Reports: nothing. Ends: when it has carried nothing
//! for [`IDLE`], with the keeper, and with the container; connections that come later wait at the listener for the next one.

mod confine;
mod datagrams;
mod streams;

use std::{
    collections::HashMap,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    best_effort,
    protocol::{Decoder, ProxyProtocol, ProxySpec, socket},
};
use datagrams::Flows;
use streams::Streams;

/// How long a proxy without work stays.
const IDLE: Duration = Duration::from_secs(60);
/// Connections that are taken in one go.
const CALLERS: usize = 32;

/// What the keeper tells a proxy: everything that is to be served. The listeners ride with it, in the same order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) fds: u8,
    pub(crate) proxies: Vec<ProxySpec>,
}

/// What an event is about.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Orders,
    Listener,
    /// One side of a carried stream.
    Stream,
    /// The socket towards the container that one client's datagrams have.
    Flow,
}

const KINDS: [Kind; 4] = [Kind::Orders, Kind::Listener, Kind::Stream, Kind::Flow];

fn token(kind: Kind, key: u64) -> EventData {
    EventData::new_u64((kind as u64) << 56 | key)
}

fn untoken(token: EventData) -> Option<(Kind, u64)> {
    let kind = usize::try_from(token.u64() >> 56).ok().and_then(|index| KINDS.get(index))?;
    Some((*kind, token.u64() & (u64::MAX >> 8)))
}

/// A listener and where it leads.
#[derive(Debug)]
struct Served {
    spec: ProxySpec,
    listener: OwnedFd,
    /// Told by the kernel when somebody connects; not while there is no room for more.
    heard: bool,
}

/// The proxy.
#[derive(Debug)]
struct Proxy {
    epoll: OwnedFd,
    orders: UnixStream,
    decoder: Decoder,
    served: HashMap<u64, Served>,
    next: u64,
    streams: Streams,
    flows: Flows,
    /// How long it stays without work, and when something last happened.
    idle: Duration,
    idle_since: Instant,
    over: bool,
}

/// Lives a proxy's life; gives its exit code.
pub(crate) fn live(
    container: &str,
    specs: Vec<ProxySpec>,
    listeners: Vec<OwnedFd>,
    orders: UnixStream,
) -> i32 {
    // For the eyes of an administrator; nothing depends on it.
    best_effort(minke_sys::process::set_name("minke:proxy"));
    best_effort(minke_sys::process::set_title(&format!("minke:proxy {container}")));
    let room = confine::raise_descriptors();
    let Ok(epoll) = epoll::create(CreateFlags::CLOEXEC) else { return 1 };
    if confine::confine().is_err() {
        return 3;
    }
    let Ok(mut proxy) = Proxy::new(epoll, orders, room, IDLE) else { return 1 };
    for (spec, listener) in specs.into_iter().zip(listeners) {
        proxy.serve(spec, listener);
    }
    proxy.run()
}

impl Proxy {
    fn new(epoll: OwnedFd, orders: UnixStream, room: usize, idle: Duration) -> Result<Self, Errno> {
        epoll::add(&epoll, &orders, token(Kind::Orders, 0), EventFlags::IN)?;
        Ok(Self {
            epoll,
            orders,
            decoder: Decoder::new(),
            served: HashMap::new(),
            next: 0,
            streams: Streams::new(room),
            flows: Flows::default(),
            idle,
            idle_since: Instant::now(),
            over: false,
        })
    }

    fn run(&mut self) -> i32 {
        let mut events: [MaybeUninit<Event>; 64] = [const { MaybeUninit::uninit() }; 64];
        while !self.over {
            let timeout = self.timeout();
            let (happened, _) = match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
                Ok(happened) => happened,
                Err(Errno::INTR) => continue,
                Err(_) => return 1,
            };
            if !happened.is_empty() {
                self.idle_since = Instant::now();
            }
            for event in happened {
                let Event { data, flags } = *event;
                match untoken(data) {
                    Some((Kind::Orders, _)) => self.hear(),
                    Some((Kind::Listener, key)) => self.welcome(key),
                    Some((Kind::Stream, key)) => self.streams.handle(key, flags),
                    Some((Kind::Flow, key)) => self.answer(key),
                    None => {}
                }
            }
            self.streams.go_on();
            self.look_at_time();
        }
        0
    }

    fn timeout(&self) -> Timespec {
        let wait = if self.streams.has_more() {
            Duration::ZERO
        } else if self.is_idle() {
            (self.idle_since + self.idle).saturating_duration_since(Instant::now())
        } else {
            // Now and then a look at datagrams' clients that have gone.
            Duration::from_secs(10)
        };
        Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        }
    }

    fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.flows.is_empty()
    }

    fn look_at_time(&mut self) {
        let now = Instant::now();
        self.flows.expire(now);
        if self.is_idle() && self.idle_since + self.idle <= now {
            self.over = true;
        }
        if self.streams.has_room() {
            self.hear_again();
        }
    }

    /// Takes a listener on.
    fn serve(&mut self, spec: ProxySpec, listener: OwnedFd) {
        self.next += 1;
        let key = self.next;
        if spec.protocol == ProxyProtocol::Udp {
            // An answer leaves from the address that was asked, where the kernel tells which that was.
            let ipv6 = rustix::net::getsockname(&listener)
                .is_ok_and(|address| address.address_family() == rustix::net::AddressFamily::INET6);
            best_effort(minke_sys::datagrams::tell_destination(&listener, ipv6));
        }
        best_effort(rustix::io::ioctl_fionbio(&listener, true));
        if epoll::add(&self.epoll, &listener, token(Kind::Listener, key), EventFlags::IN).is_ok() {
            self.served.insert(key, Served { spec, listener, heard: true });
        }
    }

    /// The keeper tells what has changed, or is gone.
    fn hear(&mut self) {
        match socket::receive(&self.orders, &mut self.decoder) {
            Ok(0) => self.over = true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(_) => self.over = true,
        }
        loop {
            match self.decoder.next_message::<Orders>() {
                Ok(Some((orders, fds))) => self.obey(orders, fds),
                Ok(None) => return,
                Err(_) => {
                    self.over = true;
                    return;
                }
            }
        }
    }

    /// Serves these and nothing else. What stays as it was keeps its connections.
    fn obey(&mut self, orders: Orders, listeners: Vec<OwnedFd>) {
        let mut wanted: Vec<Option<(ProxySpec, OwnedFd)>> =
            orders.proxies.into_iter().zip(listeners).map(Some).collect();
        let mut dropped = Vec::new();
        for (key, served) in &self.served {
            let same = wanted.iter_mut().find(|other| {
                other.as_ref().is_some_and(|(spec, listener)| {
                    *spec == served.spec && is_same(listener, &served.listener)
                })
            });
            match same {
                Some(same) => *same = None,
                None => dropped.push(*key),
            }
        }
        for key in dropped {
            self.served.remove(&key);
            self.streams.forget(key);
            self.flows.forget(key);
        }
        for (spec, listener) in wanted.into_iter().flatten() {
            self.serve(spec, listener);
        }
    }

    /// Takes what waits at a listener.
    fn welcome(&mut self, key: u64) {
        let Some(served) = self.served.get_mut(&key) else { return };
        let target = served.spec.target;
        match served.spec.protocol {
            ProxyProtocol::Udp => self.flows.take(self.epoll.as_fd(), key, &served.listener, target),
            ProxyProtocol::Tcp => {
                for _ in 0..CALLERS {
                    if !self.streams.has_room() {
                        // They wait in the listener's queue.
                        served.heard = false;
                        let nothing = EventFlags::empty();
                        let data = token(Kind::Listener, key);
                        best_effort(epoll::modify(&self.epoll, &served.listener, data, nothing));
                        return;
                    }
                    if !self.streams.accept(self.epoll.as_fd(), key, &served.listener, target) {
                        return;
                    }
                }
            }
        }
    }

    /// Listens again where there was no room.
    fn hear_again(&mut self) {
        for (key, served) in self.served.iter_mut().filter(|(_, served)| !served.heard) {
            served.heard = true;
            let data = token(Kind::Listener, *key);
            best_effort(epoll::modify(&self.epoll, &served.listener, data, EventFlags::IN));
        }
    }

    /// The container has sent datagrams to a client.
    fn answer(&mut self, key: u64) {
        let served = self.flows.listener(key).and_then(|listener| self.served.get(&listener));
        if let Some(served) = served {
            self.flows.answer(key, &served.listener);
        }
    }
}

/// Whether two descriptors are of one socket.
fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
