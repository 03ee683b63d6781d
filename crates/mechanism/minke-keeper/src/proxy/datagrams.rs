//! Carried datagrams: each client has a socket of its own towards the container, so that answers find their way back.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    os::fd::{BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use minke_sys::datagrams::{Peer, receive_at, send_from, send_to};
use rustix::{
    event::epoll::{self, EventFlags},
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
};

use super::{Kind, token};
use crate::best_effort;

/// How long a client's socket stays after the last datagram: Docker's.
const IDLE: Duration = Duration::from_secs(90);
/// How often the idle ones are looked for.
const LOOK: Duration = Duration::from_secs(5);
/// Most clients at once; the longest silent one makes way.
const MOST: usize = 1024;
/// Datagrams that one socket gets carried before the others.
const TURN: usize = 64;
/// Longest datagram.
const ROOM: usize = 65_536;

/// Who sent where: a client, the listener it sent to, and at which of the host's addresses.
type Sender = (u64, SocketAddr, Option<IpAddr>);

/// All clients.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    flows: HashMap<u64, Flow>,
    by_sender: HashMap<Sender, u64>,
    next: u64,
    looked: Option<Instant>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Flow {
    sender: Sender,
    peer: Peer,
    socket: OwnedFd,
    last: Instant,
}

impl Flows {
    pub(crate) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// The listener of a client.
    pub(crate) fn listener(&self, key: u64) -> Option<u64> {
        self.flows.get(&key).map(|flow| flow.sender.0)
    }

    /// Carries what waits at a listener to the target.
    pub(crate) fn take(
        &mut self,
        epoll: BorrowedFd<'_>,
        listener_key: u64,
        listener: &OwnedFd,
        target: SocketAddr,
    ) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(ROOM, 0);
        for _ in 0..TURN {
            let Ok((length, peer, local)) = receive_at(listener, &mut buffer) else { break };
            let Some(address) = peer.address() else { continue };
            let sender = (listener_key, address, local);
            // Without a descriptor the datagram is lost, as datagrams are.
            let Ok(flow) = self.flow(epoll, sender, peer, target) else { continue };
            flow.last = Instant::now();
            let send = || {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::send(&flow.socket, &buffer[..length], flags)
            };
            // What was said of the one before is no fault of this one.
            if send() == Err(Errno::CONNREFUSED) {
                best_effort(send());
            }
        }
        self.buffer = buffer;
    }

    /// The client's socket, made when there is none.
    fn flow(
        &mut self,
        epoll: BorrowedFd<'_>,
        sender: Sender,
        peer: Peer,
        target: SocketAddr,
    ) -> Result<&mut Flow, Errno> {
        let key = match self.by_sender.get(&sender) {
            Some(key) => *key,
            None => {
                if self.flows.len() >= MOST {
                    self.drop_oldest();
                }
                let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
                rustix::net::connect(&socket, &target)?;
                self.next += 1;
                let key = self.next;
                epoll::add(epoll, &socket, token(Kind::Flow, key), EventFlags::IN)?;
                self.by_sender.insert(sender, key);
                self.flows.insert(key, Flow { sender, peer, socket, last: Instant::now() });
                key
            }
        };
        self.flows.get_mut(&key).ok_or(Errno::NOENT)
    }

    /// Carries what the container has sent to a client, from the address that the client knows.
    pub(crate) fn answer(&mut self, key: u64, listener: &OwnedFd) {
        let Some(flow) = self.flows.get_mut(&key) else { return };
        self.buffer.resize(ROOM, 0);
        for _ in 0..TURN {
            match rustix::net::recv(&flow.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    flow.last = Instant::now();
                    let bytes = &self.buffer[..length];
                    // What is not taken is lost, as datagrams are.
                    best_effort(match flow.sender.2 {
                        Some(local) => send_from(listener, bytes, &flow.peer, local),
                        None => send_to(listener, bytes, &flow.peer),
                    });
                }
                // Nobody listens there (yet): that is the client's to find out.
                Err(Errno::CONNREFUSED | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.last).map(|(key, _)| *key);
        if let Some(flow) = oldest.and_then(|key| self.flows.remove(&key)) {
            self.by_sender.remove(&flow.sender);
        }
    }

    /// Drops clients that have been silent for long.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.flows.is_empty() || self.looked.is_some_and(|looked| looked + LOOK > now) {
            return;
        }
        self.looked = Some(now);
        self.flows.retain(|_, flow| flow.last + IDLE > now);
        self.by_sender.retain(|_, key| self.flows.contains_key(key));
    }

    /// Drops the clients of a listener.
    pub(crate) fn forget(&mut self, listener: u64) {
        self.flows.retain(|_, flow| flow.sender.0 != listener);
        self.by_sender.retain(|_, key| self.flows.contains_key(key));
    }
}
