//! Messages that carry file descriptors (`SCM_RIGHTS`) over unix sockets.
//!
//! Works on any unix socket; with `SOCK_SEQPACKET` one call is one message. Received descriptors are close-on-exec
//! from the moment they exist. Framing beyond that belongs to the protocol that uses this.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::{Errno, Result, raw};

/// The most descriptors one message may carry here (the kernel's own limit is 253).
pub const MAX_FDS: usize = 64;

/// What one receive brought.
#[derive(Debug)]
pub struct Received {
    /// How many bytes of the buffer were filled; 0 with no descriptors means that the other side has closed.
    pub len: usize,
    /// The descriptors that came along, in the sender's order.
    pub fds: Vec<OwnedFd>,
    /// The message was longer than the buffer (datagram and seqpacket sockets), or carried more descriptors than
    /// fit: what did not fit is lost.
    pub truncated: bool,
}

/// A connected pair of `SOCK_SEQPACKET` sockets, close-on-exec.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// A connected pair of `SOCK_STREAM` sockets, close-on-exec.
pub fn stream_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// Sends `bytes` with `fds` attached; answers how many bytes were taken. Never raises SIGPIPE.
///
/// Free of allocation. On a stream socket the descriptors ride with the first byte, so `bytes` must not be empty.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    send_with(socket, &[IoSlice::new(bytes)], fds, SendFlags::NOSIGNAL)
}

/// [`send`] over several slices and with flags of one's own (`SendFlags::DONTWAIT` …).
pub fn send_with(
    socket: impl AsFd,
    slices: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(rustix::io::Errno::TOOMANYREFS);
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket.as_fd(), slices, &mut control, flags | SendFlags::NOSIGNAL)
    })
}

/// Sends all of `bytes`, the descriptors with the first of them, however often the socket takes only a part.
pub fn send_all(socket: impl AsFd, mut bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut fds = fds;
    loop {
        let sent = send(socket.as_fd(), bytes, fds)?;
        fds = &[];
        bytes = bytes.get(sent..).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
    }
}

/// Receives into `buf`, waiting unless the socket is non-blocking.
pub fn receive(socket: impl AsFd, buf: &mut [u8]) -> Result<Received> {
    receive_with(socket, buf, RecvFlags::empty())
}

/// [`receive`] with flags of one's own (`RecvFlags::DONTWAIT`, `RecvFlags::PEEK` …).
pub fn receive_with(socket: impl AsFd, buf: &mut [u8], flags: RecvFlags) -> Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buf)];
    let answer = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket.as_fd(), &mut slices, &mut control, flags | RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let truncated = answer.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    Ok(Received { len: answer.bytes, fds, truncated })
}

/// How much of what was sent on `socket` the other side has not read yet. Of a unix socket that is exact (plus the kernel's
/// own bookkeeping, so only zero has a meaning); of TCP it is what was not acknowledged.
pub fn unread(socket: impl AsFd) -> Result<usize> {
    const SIOCOUTQ: usize = 0x5411;
    let mut bytes: std::ffi::c_int = 0;
    let fd = usize::try_from(socket.as_fd().as_raw_fd()).map_err(|_negative| Errno::BADF)?;
    let args = [fd, SIOCOUTQ, (&raw mut bytes).expose_provenance(), 0, 0, 0];
    // SAFETY: SIOCOUTQ writes one int to the address given, which is `bytes`, alive and writable here.
    unsafe { raw::syscall(libc::SYS_ioctl, args) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors_in_order() {
        let (a, b) = seqpacket_pair().unwrap();
        let first = std::fs::File::open("/dev/null").unwrap();
        let second = std::fs::File::open("/dev/zero").unwrap();
        send(&a, b"hello", &[first.as_fd(), second.as_fd()]).unwrap();
        let mut buf = [0; 16];
        let got = receive(&b, &mut buf).unwrap();
        assert_eq!((&buf[..got.len], got.fds.len(), got.truncated), (&b"hello"[..], 2, false));
        let mut byte = [1u8; 1];
        assert_eq!(rustix::io::read(&got.fds[1], &mut byte).unwrap(), 1, "the second one is /dev/zero");
        assert_eq!(byte, [0]);
        assert!(rustix::io::fcntl_getfd(&got.fds[0]).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn what_the_other_side_has_not_read_is_seen() {
        let (a, b) = seqpacket_pair().unwrap();
        assert_eq!(unread(&a).unwrap(), 0);
        send(&a, b"hello", &[]).unwrap();
        assert_ne!(unread(&a).unwrap(), 0);
        receive(&b, &mut [0; 16]).unwrap();
        assert_eq!(unread(&a).unwrap(), 0);
    }

    #[test]
    fn a_message_longer_than_the_buffer_is_reported_truncated() {
        let (a, b) = seqpacket_pair().unwrap();
        send(&a, b"hello", &[]).unwrap();
        let got = receive(&b, &mut [0; 2]).unwrap();
        assert!(got.truncated);
    }

    #[test]
    fn a_closed_peer_reads_as_zero_bytes_and_writes_as_epipe() {
        let (a, b) = stream_pair().unwrap();
        drop(a);
        assert_eq!(receive(&b, &mut [0; 2]).unwrap().len, 0);
        assert_eq!(send(&b, b"x", &[]).unwrap_err(), rustix::io::Errno::PIPE);
    }
}
