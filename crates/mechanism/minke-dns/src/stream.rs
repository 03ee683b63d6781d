//! One connection of a container's: whole questions out of it, answers into it, never waiting for either.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::epoll::EventFlags,
    io::Errno,
    net::{RecvFlags, SendFlags},
};

use crate::wire::LONGEST;

/// How long a connection may say nothing.
pub(crate) const IDLE: Duration = Duration::from_secs(10);
/// So many bytes of unread answers, and no further question is read.
const UNREAD: usize = 2 * LONGEST;

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) asker: u64,
    pub(crate) socket: OwnedFd,
    input: Vec<u8>,
    /// How much of `input` is used up.
    used: usize,
    output: Vec<u8>,
    /// Questions of it that are passed on.
    pub(crate) waiting: u32,
    pub(crate) last: Instant,
    /// It says no more.
    ended: bool,
    broken: bool,
    interest: EventFlags,
}

impl Stream {
    pub(crate) const FIRST: EventFlags = EventFlags::IN;

    pub(crate) fn new(asker: u64, socket: OwnedFd) -> Self {
        Self {
            asker,
            socket,
            input: Vec::new(),
            used: 0,
            output: Vec::new(),
            waiting: 0,
            last: Instant::now(),
            ended: false,
            broken: false,
            interest: Self::FIRST,
        }
    }

    /// Reads once what is there.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) {
        self.last = Instant::now();
        if self.ended || self.output.len() >= UNREAD {
            return;
        }
        match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.ended = true,
            Ok((length, _)) => {
                self.input.drain(..std::mem::take(&mut self.used));
                self.input.extend_from_slice(&buffer[..length]);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.broken = true,
        }
    }

    /// The next whole question. None while its answers are not taken.
    pub(crate) fn next_question(&mut self) -> Option<Vec<u8>> {
        if self.output.len() >= UNREAD {
            return None;
        }
        let rest = &self.input[self.used..];
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let question = rest.get(..length)?.to_vec();
        self.used += 2 + length;
        Some(question)
    }

    /// Sends an answer, or keeps what the socket does not take.
    pub(crate) fn answer(&mut self, answer: &[u8]) {
        self.last = Instant::now();
        let Ok(length) = u16::try_from(answer.len()) else { return };
        self.output.extend_from_slice(&length.to_be_bytes());
        self.output.extend_from_slice(answer);
        self.flush();
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) {
        while !self.output.is_empty() && !self.broken {
            match rustix::net::send(&self.socket, &self.output, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.broken = true,
            }
        }
        self.output = Vec::new();
    }

    /// What is to be waited for, when that has changed.
    pub(crate) fn new_interest(&mut self) -> Option<EventFlags> {
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, !self.ended && self.output.len() < UNREAD);
        interest.set(EventFlags::OUT, !self.output.is_empty());
        (interest != std::mem::replace(&mut self.interest, interest)).then_some(interest)
    }

    /// Whether there is nothing left to do.
    pub(crate) fn is_over(&self) -> bool {
        self.broken || (self.ended && self.output.is_empty() && self.waiting == 0)
    }
}
