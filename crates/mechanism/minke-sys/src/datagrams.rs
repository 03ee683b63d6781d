//! Datagrams in batches: one call takes what waits on a socket, one call answers all of it; and datagrams that leave from
//! the address they were sent to.

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd},
};

use crate::{Errno, Result};

/// Most datagrams of one call.
pub const SLOTS: usize = 32;

/// Whom a datagram came from, as the kernel wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    address: Storage,
    length: u32,
}

/// Room for an IPv4 or IPv6 socket address (28 bytes, aligned for both).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C, align(4))]
struct Storage([u8; 28]);

impl Peer {
    const NONE: Self = Self { address: Storage([0; 28]), length: 0 };

    /// The address; `None` when it is of no known family.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let bytes = &self.address.0;
        let family = libc::c_int::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        match family {
            libc::AF_INET if self.length >= 16 => {
                let [a, b, c, d] = [bytes[4], bytes[5], bytes[6], bytes[7]];
                Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port).into())
            }
            libc::AF_INET6 if self.length >= 28 => {
                let address: [u8; 16] = bytes[8..24].try_into().ok()?;
                let scope = u32::from_ne_bytes(bytes[24..28].try_into().ok()?);
                Some(SocketAddrV6::new(Ipv6Addr::from(address), port, 0, scope).into())
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        let mut bytes = [0; 28];
        let (family, length) = match address {
            SocketAddr::V4(v4) => {
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                (libc::AF_INET, 16)
            }
            SocketAddr::V6(v6) => {
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (libc::AF_INET6, 28)
            }
        };
        // Families are small numbers.
        let family = u16::try_from(family).unwrap_or(0);
        bytes[..2].copy_from_slice(&family.to_ne_bytes());
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        Self { address: Storage(bytes), length }
    }
}

/// Datagrams that came.
#[derive(Debug)]
pub struct Inbox {
    bytes: Box<[u8]>,
    room: usize,
    peers: [Peer; SLOTS],
    lengths: [usize; SLOTS],
    cut: [bool; SLOTS],
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'inbox> {
    /// What it says.
    pub bytes: &'inbox [u8],
    /// It was longer than the room.
    pub cut: bool,
    /// Whom it came from.
    pub peer: Peer,
}

impl Inbox {
    /// With `room` bytes for each datagram.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            bytes: vec![0; room * SLOTS].into_boxed_slice(),
            room,
            peers: [Peer::NONE; SLOTS],
            lengths: [0; SLOTS],
            cut: [false; SLOTS],
        }
    }

    /// Takes what waits, without waiting for it, and says how many came.
    ///
    /// # Errors
    /// The kernel's; `AGAIN` when nothing waits.
    pub fn receive(&mut self, socket: impl AsFd) -> Result<usize> {
        let mut pieces = [const { libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 } }; SLOTS];
        let mut headers = [empty_header(); SLOTS];
        let slots = self.bytes.chunks_exact_mut(self.room).zip(&mut self.peers);
        for ((header, piece), (slot, peer)) in headers.iter_mut().zip(&mut pieces).zip(slots) {
            *piece = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            header.msg_hdr.msg_iov = &raw mut *piece;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut peer.address).cast();
            header.msg_hdr.msg_namelen = libc::socklen_t::try_from(size_of::<Storage>()).unwrap_or(0);
        }
        // SAFETY: recvmmsg writes through the pointers of the first SLOTS headers: each piece points to its own part of
        // `bytes`, each name to its own peer, with their true sizes; all of it lives until the call returns.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                u32::try_from(SLOTS).unwrap_or(1),
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_negative| last_errno())?;
        for (index, header) in headers.iter().take(count).enumerate() {
            self.lengths[index] = usize::try_from(header.msg_len).unwrap_or(0).min(self.room);
            self.cut[index] = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            self.peers[index].length = header.msg_hdr.msg_namelen;
        }
        Ok(count)
    }

    /// The datagram at `index`, which is below what [`Inbox::receive`] said.
    #[must_use]
    pub fn get(&self, index: usize) -> Datagram<'_> {
        let start = index * self.room;
        Datagram {
            bytes: &self.bytes[start..start + self.lengths[index]],
            cut: self.cut[index],
            peer: self.peers[index],
        }
    }
}

/// Datagrams to be sent.
#[derive(Debug)]
pub struct Outbox {
    bytes: Box<[u8]>,
    room: usize,
    peers: [Peer; SLOTS],
    lengths: [usize; SLOTS],
    count: usize,
}

impl Outbox {
    /// With `room` bytes for each datagram.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            bytes: vec![0; room * SLOTS].into_boxed_slice(),
            room,
            peers: [Peer::NONE; SLOTS],
            lengths: [0; SLOTS],
            count: 0,
        }
    }

    /// Room for the next datagram; `None` when there are as many as fit. It counts once it is [`Outbox::commit`]ted.
    pub fn next_slot(&mut self) -> Option<&mut [u8]> {
        let start = self.count * self.room;
        (self.count < SLOTS).then(|| &mut self.bytes[start..start + self.room])
    }

    /// The slot given last holds `length` bytes for `peer`.
    pub fn commit(&mut self, length: usize, peer: Peer) {
        if self.count < SLOTS {
            self.lengths[self.count] = length.min(self.room);
            self.peers[self.count] = peer;
            self.count += 1;
        }
    }

    /// Sends all of it without waiting. What the socket does not take is lost, as datagrams are. Empty afterwards.
    pub fn send(&mut self, socket: impl AsFd) {
        let mut pieces = [const { libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 } }; SLOTS];
        let mut headers = [empty_header(); SLOTS];
        let slots = self.bytes.chunks_exact_mut(self.room).zip(&mut self.peers).zip(&self.lengths);
        for ((header, piece), ((slot, peer), length)) in headers.iter_mut().zip(&mut pieces).zip(slots) {
            *piece = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: *length };
            header.msg_hdr.msg_iov = &raw mut *piece;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut peer.address).cast();
            header.msg_hdr.msg_namelen = peer.length;
        }
        let mut rest = &mut headers[..std::mem::take(&mut self.count)];
        while !rest.is_empty() {
            // SAFETY: sendmmsg reads through the pointers of these headers, which point into `bytes` and `peers` with
            // lengths within them, and writes each header's msg_len; all of it lives until the call returns.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_fd().as_raw_fd(),
                    rest.as_mut_ptr(),
                    u32::try_from(rest.len()).unwrap_or(0),
                    (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
                )
            };
            // An error belongs to the first one, which is passed over.
            let done = usize::try_from(sent).unwrap_or(0).max(1);
            rest = &mut rest[done..];
        }
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid mmsghdr: null pointers and zero lengths.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Sends one datagram to `peer` without waiting.
///
/// # Errors
/// The kernel's.
pub fn send_to(socket: impl AsFd, bytes: &[u8], peer: &Peer) -> Result<()> {
    // SAFETY: sendto reads `len` bytes of a live slice and `length` bytes of a live address.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            (&raw const peer.address).cast(),
            peer.length,
        )
    };
    if sent < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Has the kernel tell with each datagram which of this host's addresses it was sent to ([`receive_at`]).
///
/// # Errors
/// The kernel's.
pub fn tell_destination(socket: impl AsFd, ipv6: bool) -> Result<()> {
    let (level, option) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    // SAFETY: setsockopt reads `length` bytes of a live number.
    let answer = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const on).cast(), length)
    };
    if answer == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Room for one control message with an address in it, aligned as control messages are.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Receives one datagram without waiting: its length, whom it came from, and which of this host's addresses it was sent to,
/// when [`tell_destination`] was asked for.
///
/// # Errors
/// The kernel's; `AGAIN` when nothing waits.
pub fn receive_at(socket: impl AsFd, bytes: &mut [u8]) -> Result<(usize, Peer, Option<IpAddr>)> {
    let mut peer = Peer::NONE;
    let mut control = Control([0; 64]);
    let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut header = empty_header().msg_hdr;
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_name = (&raw mut peer.address).cast();
    header.msg_namelen = libc::socklen_t::try_from(size_of::<Storage>()).unwrap_or(0);
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: recvmsg writes through the header's pointers, which point to live memory of the stated sizes.
    let length = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_negative| last_errno())?;
    peer.length = header.msg_namelen;
    // Without a message it is all zeros, which is no kind of any.
    Ok((length, peer, destination_in(&control.0)))
}

/// The address in the first control message, when it is a packet information one.
fn destination_in(control: &[u8]) -> Option<IpAddr> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let (header, data) = control.split_at_checked(HEADER)?;
    let number =
        |range: std::ops::Range<usize>| Some(i32::from_ne_bytes(header.get(range)?.try_into().ok()?));
    match (number(HEADER - 8..HEADER - 4)?, number(HEADER - 4..HEADER)?) {
        // Interface number, the local address, the address in the packet's header.
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let octets: [u8; 4] = data.get(8..12)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let octets: [u8; 16] = data.get(..16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// Sends one datagram to `peer` without waiting, from this address of the host's. `ipv6` says of which family the socket is;
/// a mapped address is one of IPv6.
///
/// # Errors
/// The kernel's.
pub fn send_from(socket: impl AsFd, bytes: &[u8], peer: &Peer, source: IpAddr) -> Result<()> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut data = [0; 20];
    // An interface of 0 lets the routes decide.
    let (level, kind, length) = match source {
        IpAddr::V4(v4) => {
            data[4..8].copy_from_slice(&v4.octets());
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 12)
        }
        IpAddr::V6(v6) => {
            data[..16].copy_from_slice(&v6.octets());
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20)
        }
    };
    let mut control = Control([0; 64]);
    control.0[..size_of::<usize>()].copy_from_slice(&(HEADER + length).to_ne_bytes());
    control.0[HEADER - 8..HEADER - 4].copy_from_slice(&level.to_ne_bytes());
    control.0[HEADER - 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
    control.0[HEADER..HEADER + length].copy_from_slice(&data[..length]);
    let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut header = empty_header().msg_hdr;
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_name = (&raw const peer.address).cast_mut().cast();
    header.msg_namelen = peer.length;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = (HEADER + length).next_multiple_of(size_of::<usize>()) as _;
    // SAFETY: sendmsg reads through the header's pointers, which point to live memory of at least the stated sizes.
    let sent = unsafe {
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    if sent < 0 { Err(last_errno()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_batch_comes_in_and_is_answered() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..3_u8 {
            client.send_to(&[number; 10], server.local_addr().unwrap()).unwrap();
        }
        client.send_to(&[9; 100], server.local_addr().unwrap()).unwrap();
        let (mut inbox, mut outbox) = (Inbox::new(50), Outbox::new(50));
        assert_eq!(inbox.receive(&server), Ok(4));
        assert!(inbox.get(3).cut && !inbox.get(0).cut);
        assert_eq!(inbox.get(0).peer.address(), client.local_addr().ok());
        for index in 0..3 {
            let datagram = inbox.get(index);
            let slot = outbox.next_slot().unwrap();
            slot[..10].copy_from_slice(datagram.bytes);
            slot[10] = 7;
            outbox.commit(11, datagram.peer);
        }
        outbox.send(&server);
        for number in 0..3_u8 {
            let mut got = [0; 50];
            assert_eq!(client.recv(&mut got).unwrap(), 11);
            assert_eq!((got[0], got[10]), (number, 7));
        }
        assert_eq!(inbox.receive(&server), Err(Errno::AGAIN));
    }

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        for (any, asked) in [("0.0.0.0:0", "127.0.0.9"), ("[::]:0", "::1"), ("[::]:0", "127.0.0.8")] {
            let server = UdpSocket::bind(any).unwrap();
            let ipv6 = server.local_addr().unwrap().is_ipv6();
            tell_destination(&server, ipv6).unwrap();
            let asked: IpAddr = asked.parse().unwrap();
            let client = UdpSocket::bind(if asked.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
            client.connect((asked, server.local_addr().unwrap().port())).unwrap();
            client.send(b"hello").unwrap();
            let mut bytes = [0; 10];
            let (length, peer, at) = receive_at(&server, &mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"hello");
            assert_eq!(at.unwrap().to_canonical(), asked);
            send_from(&server, b"answer", &peer, at.unwrap()).unwrap();
            // A connected socket takes nothing from elsewhere.
            assert_eq!(client.recv(&mut bytes).unwrap(), 6);
        }
    }

    #[test]
    fn an_address_comes_back_as_it_went_in() {
        for text in ["127.0.0.1:53", "[::1]:65535", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Peer::from(address).address(), Some(address));
        }
        assert_eq!(Peer::NONE.address(), None);
    }
}
