//! One attached client: its socket, what it wants, and how its bytes are wrapped.

use std::{os::fd::OwnedFd, path::Path};

use rustix::{io::Errno, net::RecvFlags};

use crate::{
    best_effort,
    keys::KeyMatcher,
    outbox::{Lost, Outbox},
    program::ProgramKey,
    protocol::{AttachSpec, Wire},
    unframer::{Piece, Unframer, header},
};

/// Which output bytes came from, in the numbering of Docker's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout = 1,
    Stderr = 2,
}

const CONTROL: u8 = 4;

/// The first pause while a client has not read the head of its answer; ten of them, each twice as long, make 50 ms.
const HEAD_PAUSE: std::time::Duration = std::time::Duration::from_micros(50);

/// What reading from a client brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Nothing more for now.
    More,
    /// It said that there is no more, or closed its half.
    End,
    /// It typed its detach keys.
    Detach,
}

/// An attached client.
#[derive(Debug)]
pub(crate) struct Client {
    /// The daemon's number for it.
    pub(crate) id: u64,
    pub(crate) program: ProgramKey,
    pub(crate) socket: OwnedFd,
    pub(crate) outbox: Outbox,
    wants_stdin: bool,
    stdout: bool,
    stderr: bool,
    wire: Wire,
    keys: KeyMatcher,
    unframer: Unframer,
    early: Vec<u8>,
    /// It has read the answer to its request, which stands before the output on the same socket.
    greeted: bool,
    /// Its input has ended.
    input_over: bool,
    /// It is only served to the end of its outbox.
    pub(crate) leaving: bool,
}

impl Client {
    pub(crate) fn new(spec: AttachSpec, socket: OwnedFd, program: ProgramKey) -> Self {
        Self {
            id: spec.id,
            program,
            socket,
            outbox: Outbox::default(),
            wants_stdin: spec.stdin,
            stdout: spec.stdout,
            stderr: spec.stderr,
            wire: spec.wire,
            keys: KeyMatcher::new(spec.detach_keys),
            unframer: Unframer::default(),
            early: spec.early,
            greeted: spec.wire == Wire::Framed,
            input_over: false,
            leaving: false,
        }
    }

    /// Whether its input is of interest now.
    pub(crate) fn is_read(&self) -> bool {
        self.wants_stdin && !self.input_over && !self.leaving
    }

    /// Ends the connection so that nothing that was sent is lost: unread input would make TCP discard it.
    pub(crate) fn hang_up(&self) {
        best_effort(rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write));
        let mut unread = [0; 4096];
        // Bounded: a client that goes on typing is not waited for.
        for _ in 0..64 {
            match rustix::net::recv(&self.socket, &mut unread[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) if length > 0 => {}
                _ => break,
            }
        }
    }

    pub(crate) fn has_stdin(&self) -> bool {
        self.wants_stdin
    }

    pub(crate) fn is_framed(&self) -> bool {
        self.wire == Wire::Framed
    }

    /// Wraps and sends output.
    pub(crate) fn show(&mut self, output: Output, bytes: &[u8], directory: &Path) -> Result<(), Lost> {
        let wanted = match output {
            Output::Stdout => self.stdout,
            Output::Stderr => self.stderr,
        };
        if !wanted || self.leaving {
            return Ok(());
        }
        if !self.greeted {
            self.await_greeted();
        }
        match self.wire {
            Wire::Raw => self.outbox.send(&self.socket, [bytes, b""], directory),
            Wire::Stdcopy | Wire::Framed => {
                self.outbox.send(&self.socket, [&header(output as u8, bytes.len()), bytes], directory)
            }
        }
    }

    /// Waits a moment until the client has read the head of its answer. Docker takes milliseconds from that to the first byte of
    /// output, and there are clients (docker-py is one) whose HTTP library reads ahead and drops what it finds behind the head.
    fn await_greeted(&mut self) {
        self.greeted = true;
        let mut pause = HEAD_PAUSE;
        while pause < HEAD_PAUSE * 1024 && minke_sys::scm::unread(&self.socket).is_ok_and(|bytes| bytes > 0) {
            std::thread::sleep(pause);
            pause *= 2;
        }
    }

    /// Tells a framed client something; others have no place for it.
    pub(crate) fn tell(&mut self, control: &str, directory: &Path) -> Result<(), Lost> {
        if !self.is_framed() {
            return Ok(());
        }
        let parts = [&header(CONTROL, control.len())[..], control.as_bytes()];
        self.outbox.send(&self.socket, parts, directory)
    }

    /// Input that the daemon had read already.
    pub(crate) fn take_early(&mut self, give: impl FnMut(&[u8])) -> Input {
        let early = std::mem::take(&mut self.early);
        self.pass(&early, give)
    }

    /// Reads once and gives what the process is to get.
    pub(crate) fn read(&mut self, buffer: &mut [u8], give: impl FnMut(&[u8])) -> Input {
        let received =
            rustix::io::retry_on_intr(|| rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT));
        match received {
            Ok((0, _)) | Err(Errno::CONNRESET | Errno::PIPE) => {
                self.input_over = true;
                Input::End
            }
            Ok((length, _)) => self.pass(&buffer[..length], give),
            Err(Errno::AGAIN) => Input::More,
            Err(_) => {
                self.input_over = true;
                Input::End
            }
        }
    }

    fn pass(&mut self, bytes: &[u8], mut give: impl FnMut(&[u8])) -> Input {
        let (keys, mut input) = (&mut self.keys, Input::More);
        if self.wire == Wire::Framed {
            self.unframer.feed(bytes, |piece| match piece {
                Piece::Bytes(payload) if input == Input::More && keys.pass(payload, &mut give) => {
                    input = Input::Detach;
                }
                Piece::End if input == Input::More => input = Input::End,
                _ => {}
            });
        } else if keys.pass(bytes, give) {
            input = Input::Detach;
        }
        self.input_over |= input == Input::End;
        input
    }
}
