//! One daemon's connection: whole requests out of it, whole messages into it, never waiting for either.

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use crate::protocol::{Decoder, FrameError, Message, Refusal, Reply, Request, encode, socket};

/// A daemon that lets so many bytes of answers lie is not listening.
const UNREAD: usize = 4 << 20;

/// A connection to a daemon.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    /// Bytes the socket has not taken.
    unsent: Vec<u8>,
    /// Descriptors that ride with the byte of `unsent` at this place, the first place first.
    riders: VecDeque<(usize, Vec<OwnedFd>)>,
    /// It has said hello: it is the daemon that counts.
    pub(crate) introduced: bool,
    broken: bool,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream, introduced: bool) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            decoder: Decoder::new(),
            unsent: Vec::new(),
            riders: VecDeque::new(),
            introduced,
            broken: false,
        })
    }

    /// Receives what is there. A connection that ends is broken from then on, but requests that came are still good.
    pub(crate) fn receive(&mut self) {
        match socket::receive(&self.stream, &mut self.decoder) {
            Ok(0) => self.broken = true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.broken = true,
        }
    }

    /// The next whole request. One that is not understood is refused here.
    pub(crate) fn next_request(&mut self) -> Option<(Request, Vec<OwnedFd>)> {
        loop {
            match self.decoder.next_message() {
                Ok(next) => return next,
                Err(FrameError::Malformed { seq: Some(seq), source }) => {
                    let refused = Reply::Refused { refusal: Refusal::Unknown, text: source.to_string() };
                    self.send(&Message::reply(seq, refused));
                }
                Err(error) if error.is_fatal() => {
                    self.broken = true;
                    return None;
                }
                // Not even a number to answer to.
                Err(_) => {}
            }
        }
    }

    /// Sends a message, or keeps what the socket does not take.
    pub(crate) fn send(&mut self, message: &Message) {
        self.send_with(message, Vec::new());
    }

    /// As [`Connection::send`], with descriptors.
    pub(crate) fn send_with(&mut self, message: &Message, fds: Vec<OwnedFd>) {
        let Ok(bytes) = encode(message) else { return };
        if self.unsent.len() + bytes.len() > UNREAD {
            self.broken = true;
            return;
        }
        if !fds.is_empty() {
            self.riders.push_back((self.unsent.len(), fds));
        }
        self.unsent.extend_from_slice(&bytes);
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        while !self.unsent.is_empty() && !self.broken {
            let riding = self.riders.front().is_some_and(|(place, _)| *place == 0);
            let end = self.riders.get(usize::from(riding)).map_or(self.unsent.len(), |(place, _)| *place);
            let fds =
                self.riders.front().filter(|_| riding).map(|(_, fds)| fds.as_slice()).unwrap_or_default();
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            match socket::send(&self.stream, &self.unsent[..end], &fds) {
                Ok(sent) => {
                    drop(self.unsent.drain(..sent));
                    if riding {
                        self.riders.pop_front();
                    }
                    self.riders.iter_mut().for_each(|(place, _)| *place -= sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.broken = true,
            }
        }
        self.unsent = Vec::new();
        self.riders = VecDeque::new();
    }

    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Ends the connection.
    pub(crate) fn dismiss(&mut self) {
        self.broken = true;
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
