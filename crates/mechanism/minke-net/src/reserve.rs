//! Host ports: which are taken, and the sockets that keep them from everybody else.
//!
//! A published port is bound by a socket of the host's, which nobody reads from: the packet filter leads packets past it. So another
//! program's attempt to take the port fails as it should, and so does the engine's own. Only where the kernel cannot lead packets, a
//! proxy listens on it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_recv_buffer_size, set_socket_reuseaddr};
use rustix::net::{
    AddressFamily, Protocol as Transport, Shutdown, SocketFlags, SocketType, bind, ipproto, listen, shutdown,
    socket_with,
};

use crate::ports::Protocol;

/// As many connections wait for a proxy to be forked.
const BACKLOG: i32 = 128;
/// What the kernel uses when nothing else is configured.
const USUAL_RANGE: (u16, u16) = (32768, 60999);
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The ports that the engine has published, and where the next one is looked for.
#[derive(Debug)]
pub(crate) struct Book {
    taken: BTreeSet<(Protocol, u16, IpAddr)>,
    range: (u16, u16),
    next: u16,
}

impl Book {
    pub(crate) fn open() -> Self {
        let read = || {
            let text = std::fs::read_to_string(RANGE).ok()?;
            let mut ends = text.split_whitespace().map(|end| end.parse().ok());
            Some((ends.next()??, ends.next()??))
        };
        let range = read().filter(|(first, last)| first <= last && *first > 0).unwrap_or(USUAL_RANGE);
        Self { taken: BTreeSet::new(), range, next: range.0 }
    }

    /// Every port of the range once, from behind the one that was given out last.
    pub(crate) fn any(&self) -> impl Iterator<Item = u16> + use<> {
        let (first, last) = self.range;
        (self.next..=last).chain(first..self.next)
    }

    /// The search goes on behind this one.
    pub(crate) fn gave(&mut self, port: u16) {
        self.next = if port >= self.range.1 { self.range.0 } else { port + 1 };
    }

    pub(crate) fn has(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        let every = |address: IpAddr| address.is_unspecified();
        // A wildcard stands in the way of every address of its version, and the other way round.
        let ports = self.taken.range((protocol, port, lowest())..);
        ports.take_while(|(of, at, _)| (*of, *at) == (protocol, port)).any(|(_, _, other)| {
            other.is_ipv4() == address.is_ipv4() && (*other == address || every(*other) || every(address))
        })
    }

    pub(crate) fn add(&mut self, protocol: Protocol, address: IpAddr, port: u16) {
        self.taken.insert((protocol, port, address));
    }

    pub(crate) fn remove(&mut self, protocol: Protocol, address: IpAddr, port: u16) {
        self.taken.remove(&(protocol, port, address));
    }
}

/// Before every address in order.
fn lowest() -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
}

/// Binds a socket of the calling thread's namespace to the port; `None` when the host has no such transport at all, and then nothing
/// that could take the port from the engine either. With `proxied` it accepts what comes.
pub(crate) fn reserve(protocol: Protocol, at: SocketAddr, proxied: bool) -> io::Result<Option<OwnedFd>> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, transport): (SocketType, Option<Transport>) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, None),
        Protocol::Udp => (SocketType::DGRAM, None),
        Protocol::Sctp => (SocketType::STREAM, Some(ipproto::SCTP)),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match socket_with(family, kind, flags, transport) {
        Err(Errno::PROTONOSUPPORT) if protocol == Protocol::Sctp => return Ok(None),
        result => result?,
    };
    if at.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    match protocol {
        Protocol::Tcp => {
            // Connections that ended lately do not stand in the way, ...
            set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &at)?;
            // ... and listening finds out whether somebody else does.
            listen(&socket, BACKLOG)?;
            // What a proxy accepts inherits the first: its connections that end late do not stand in the way either.
            if !proxied {
                shutdown(&socket, Shutdown::Both)?;
                set_socket_reuseaddr(&socket, false)?;
            }
        }
        Protocol::Udp => {
            bind(&socket, &at)?;
            if !proxied {
                // What arrives here all the same is for nobody.
                set_socket_recv_buffer_size(&socket, 1)?;
            }
        }
        Protocol::Sctp => bind(&socket, &at)?,
    }
    Ok(Some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_in_the_way_of_single_addresses_of_its_version_and_transport() {
        let mut book = Book::open();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        book.add(Protocol::Tcp, ip("0.0.0.0"), 80);
        book.add(Protocol::Tcp, ip("127.0.0.1"), 81);
        assert!(book.has(Protocol::Tcp, ip("127.0.0.1"), 80));
        assert!(book.has(Protocol::Tcp, ip("0.0.0.0"), 81));
        assert!(!book.has(Protocol::Tcp, ip("127.0.0.2"), 81));
        assert!(!book.has(Protocol::Tcp, ip("::"), 80));
        assert!(!book.has(Protocol::Udp, ip("0.0.0.0"), 80));
        book.remove(Protocol::Tcp, ip("0.0.0.0"), 80);
        assert!(!book.has(Protocol::Tcp, ip("127.0.0.1"), 80));
    }

    #[test]
    fn the_search_for_a_port_goes_round() {
        let mut book = Book { taken: BTreeSet::new(), range: (10, 13), next: 10 };
        book.gave(11);
        assert_eq!(book.any().collect::<Vec<_>>(), [12, 13, 10, 11]);
        book.gave(13);
        assert_eq!(book.any().next(), Some(10));
    }

    #[test]
    fn a_reserved_port_is_taken_for_everybody_and_answers_nobody() {
        let at: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let free = std::net::TcpListener::bind(at).unwrap().local_addr().unwrap();
        let held = reserve(Protocol::Tcp, free, false).unwrap().unwrap();
        assert_eq!(std::net::TcpListener::bind(free).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(reserve(Protocol::Tcp, free, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::net::TcpStream::connect(free).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        drop(held);
        drop(reserve(Protocol::Tcp, free, true).unwrap());
    }
}
