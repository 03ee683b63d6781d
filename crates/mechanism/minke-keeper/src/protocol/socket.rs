//! Bytes and descriptors over a unix stream socket, one system call each; blocking or not is the socket's own setting.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;

use super::frame::{Decoder, FrameError, encode};

/// Most descriptors that can ride with one frame.
pub const MAX_FDS: usize = 250;

/// Sends bytes, the descriptors with the first of them. Returns how many bytes went.
///
/// When it returns short, send the rest with no descriptors.
///
/// # Errors
/// The kernel's; `WouldBlock` on a non-blocking socket that is full. Never raises SIGPIPE.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > MAX_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one frame"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one frame"));
    }
    Ok(rustix::io::retry_on_intr(|| {
        sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    })?)
}

/// Receives what is there into the decoder. Returns how many bytes came; 0 = the peer is gone.
///
/// # Errors
/// The kernel's; `WouldBlock` on a non-blocking socket with nothing to read.
pub fn receive(socket: impl AsFd, decoder: &mut Decoder) -> io::Result<usize> {
    receive_into(socket, decoder, &mut [0_u8; 16 << 10])
}

/// Receives one byte and what rides with it: for a socket whose every byte carries one descriptor.
pub(crate) fn receive_byte(socket: impl AsFd, decoder: &mut Decoder) -> io::Result<usize> {
    receive_into(socket, decoder, &mut [0])
}

fn receive_into(socket: impl AsFd, decoder: &mut Decoder, buffer: &mut [u8]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            decoder.push_fds(fds);
        }
    }
    decoder.push(&buffer[..received.bytes]);
    Ok(received.bytes)
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The socket refused.
    #[error("send to the peer")]
    Socket(#[from] io::Error),
}

/// Sends one whole message over a blocking socket.
///
/// # Errors
/// See [`SendError`].
pub fn send_message<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<(), SendError> {
    let bytes = encode(message)?;
    let mut sent = send(&socket, &bytes, fds)?;
    while sent < bytes.len() {
        sent += send(&socket, &bytes[sent..], &[])?;
    }
    Ok(())
}
