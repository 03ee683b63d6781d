//! A terminal joined to a container: bytes both ways, signals, window size, detach keys.
//!
//! One loop polls the stream, stdin, a descriptor for signals and, with Docker's protocol, the pending `wait` request.
//! Three framings: raw (a tty), Docker's stdcopy, and minke's own run stream, which also carries the exit code.

use crate::failure::Failure;
use crate::keys::Watch;
use crate::printer::{write_stderr, write_stdout};
use crate::terminal::{self, Raw};
use minke_client::{Client, Connection};
use minke_sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, Read, Write};

/// How bytes are wrapped on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Raw,
    Stdcopy,
    /// Frames both ways, with control messages.
    Minke,
}

/// How the joining ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Ended {
    /// The engine closed the stream.
    Closed,
    /// The user left by the detach keys.
    Detached,
    /// The container's exit code, from minke's stream.
    Exit(u8),
    /// The container never ran.
    Failed { message: String, code: u8 },
}

/// What a signal or a new window size is told to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `/containers/ID` or `/exec/ID`.
    pub(crate) path: String,
    /// Exec processes take sizes, not signals.
    pub(crate) signals: bool,
}

/// What to join, and how.
#[derive(Debug)]
pub(crate) struct Attach<'a> {
    pub(crate) client: &'a Client,
    pub(crate) target: Target,
    pub(crate) framing: Framing,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    /// Looked for on this side; none when the engine looks for them.
    pub(crate) keys: Option<Vec<u8>>,
}

/// Signals that are caught while attached; opened early so that none is lost between start and loop.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: Option<SignalFd>,
}

const WINCH: i32 = 28;

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

impl Signals {
    /// Catches window changes with a tty, and with `proxy` everything a container can be told.
    pub(crate) fn catch(tty: bool, proxy: bool) -> Result<Signals, Failure> {
        let mut mask = if tty { bit(WINCH) } else { 0 };
        if proxy {
            // Not those that tell of a fault, cannot be caught, or mean something between us and the kernel:
            // ILL TRAP ABRT BUS FPE KILL SEGV PIPE CHLD STOP URG WINCH SYS.
            const KEPT: [i32; 13] = [4, 5, 6, 7, 8, 9, 11, 13, 17, 19, 23, 28, 31];
            mask |= (1..=31).filter(|s| !KEPT.contains(s)).fold(0, |m, s| m | bit(s));
        }
        if mask == 0 {
            return Ok(Signals { fd: None });
        }
        let fd = SignalFd::open(mask).map_err(|e| format!("cannot catch signals: {e}"))?;
        Ok(Signals { fd: Some(fd) })
    }

    /// Handles what is pending: a size for the container, a signal for it.
    pub(crate) fn deliver(&self, client: &Client, target: &Target) {
        let Some(fd) = &self.fd else { return };
        while let Ok(Some(signal)) = fd.take() {
            if signal == WINCH {
                resize(client, target);
            } else if target.signals {
                let name = minke_sys::signals::name(signal).unwrap_or_else(|| signal.to_string());
                let sent = client.post(&format!("{}/kill", target.path)).query("signal", name).send();
                // The container may have gone in this moment; its exit code tells.
                drop(sent);
            }
        }
    }
}

/// Makes the program draw its screen again, by a size that differs for a moment.
pub(crate) fn redraw(client: &Client, target: &Target) {
    let (height, width) = terminal::size();
    let path = format!("{}/resize", target.path);
    let (h, w) = (height.saturating_add(1), width.saturating_add(1));
    drop(client.post(&path).query("h", h.to_string()).query("w", w.to_string()).send());
    resize(client, target);
}

/// Tells the container how large our terminal is.
pub(crate) fn resize(client: &Client, target: &Target) {
    let (height, width) = terminal::size();
    if height == 0 && width == 0 {
        return;
    }
    let path = format!("{}/resize", target.path);
    let request = client.post(&path).query("h", height.to_string()).query("w", width.to_string());
    // A container that has just ended has no size to set.
    drop(request.send());
}

impl Attach<'_> {
    /// Runs until the stream ends.
    pub(crate) fn run(&self, stream: Connection, signals: &Signals) -> Result<Ended, Failure> {
        let mut raw = if self.tty && self.stdin { Raw::enter()? } else { Raw::none() };
        let mut state = Loop {
            attach: self,
            stream,
            stdin: self.stdin,
            keys: self.keys.clone().filter(|_| self.tty).map(Watch::new),
            frames: Frames::default(),
            started: self.framing != Framing::Minke,
        };
        let ended = state.turn(signals);
        raw.leave();
        ended
    }
}

struct Loop<'a> {
    attach: &'a Attach<'a>,
    stream: Connection,
    stdin: bool,
    keys: Option<Watch>,
    frames: Frames,
    started: bool,
}

impl Loop<'_> {
    fn turn(&mut self, signals: &Signals) -> Result<Ended, Failure> {
        let mut buffer = vec![0u8; 32 * 1024];
        loop {
            let buffered = self.stream.ready();
            let (stream, stdin, signal) = self.wait(signals, buffered)?;
            if signal {
                signals.deliver(self.attach.client, &self.attach.target);
            }
            if stream || buffered {
                match self.stream.read(&mut buffer) {
                    Ok(0) => return Ok(Ended::Closed),
                    Ok(count) => {
                        if let Some(ended) = self.output(&buffer[..count])? {
                            return Ok(ended);
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(Ended::Closed),
                    Err(e) => return Err(e.into()),
                }
            }
            if stdin && let Some(ended) = self.input(&mut buffer)? {
                return Ok(ended);
            }
        }
    }

    /// Which of stream, stdin and signals has something.
    fn wait(&self, signals: &Signals, buffered: bool) -> Result<(bool, bool, bool), Failure> {
        let keyboard = rustix::stdio::stdin();
        let mut fds = vec![PollFd::new(&self.stream, PollFlags::IN)];
        // The program's input waits until the program runs.
        let stdin = self.stdin.then(|| {
            fds.push(PollFd::new(&keyboard, PollFlags::IN));
            fds.len() - 1
        });
        let signal = signals.fd.as_ref().map(|fd| {
            fds.push(PollFd::new(fd, PollFlags::IN));
            fds.len() - 1
        });
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, buffered.then_some(&now)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(io::Error::from(e).into()),
        }
        let hit = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
        Ok((hit(Some(0)), hit(stdin), hit(signal)))
    }

    fn output(&mut self, data: &[u8]) -> Result<Option<Ended>, Failure> {
        match self.attach.framing {
            Framing::Raw => {
                write_stdout(data)?;
                Ok(None)
            }
            Framing::Stdcopy | Framing::Minke => self.framed(data),
        }
    }

    fn framed(&mut self, data: &[u8]) -> Result<Option<Ended>, Failure> {
        let mut rest = data;
        while let Some((kind, payload)) = self.frames.next(&mut rest)? {
            match kind {
                0 | 1 => write_stdout(&payload)?,
                2 => write_stderr(&payload)?,
                3 => {
                    let text = String::from_utf8_lossy(&payload);
                    return Err(Failure::new(1, format!("Error from daemon in stream: {text}")));
                }
                4 => {
                    if let Some(ended) = control(&payload, &mut self.started) {
                        return Ok(Some(ended));
                    }
                    if self.started && self.attach.tty {
                        resize(self.attach.client, &self.attach.target);
                    }
                }
                other => return Err(format!("Unrecognized stream: {other}").into()),
            }
        }
        Ok(None)
    }

    fn input(&mut self, buffer: &mut [u8]) -> Result<Option<Ended>, Failure> {
        let count = match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(None),
            // A terminal that hung up.
            Err(rustix::io::Errno::IO) => 0,
            Err(e) => return Err(io::Error::from(e).into()),
        };
        if count == 0 {
            self.stdin = false;
            let closed = match self.attach.framing {
                Framing::Minke => self.stream.write_all(&header(0, 0)),
                _ => self.stream.close_write(),
            };
            // The container may have ended first; the stream says so next.
            drop(closed);
            return Ok(None);
        }
        let (data, detach) = match &mut self.keys {
            Some(keys) => keys.pass(&buffer[..count]),
            None => (buffer[..count].to_vec(), false),
        };
        if !data.is_empty() {
            let sent = if self.attach.framing == Framing::Minke {
                let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
                let mut frame = header(0, length).to_vec();
                frame.extend_from_slice(&data);
                self.stream.write_all(&frame)
            } else {
                self.stream.write_all(&data)
            };
            if sent.is_err() {
                // The other side takes no more input; what it still has to say is read on.
                self.stdin = false;
            }
        }
        Ok(detach.then_some(Ended::Detached))
    }
}

fn header(kind: u8, length: u32) -> [u8; 8] {
    let l = length.to_be_bytes();
    [kind, 0, 0, 0, l[0], l[1], l[2], l[3]]
}

fn control(payload: &[u8], started: &mut bool) -> Option<Ended> {
    let message: Value = serde_json::from_slice(payload).ok()?;
    if message.get("started").is_some() {
        *started = true;
    }
    if message.get("detached").is_some() {
        return Some(Ended::Detached);
    }
    if let Some(error) = message.get("error") {
        let code = error.get("exit_code").and_then(Value::as_u64).and_then(|c| u8::try_from(c).ok());
        let message = error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
        return Some(Ended::Failed { message, code: code.unwrap_or(125) });
    }
    let code = message.get("exit")?.get("code").and_then(Value::as_i64)?;
    Some(Ended::Exit(exit_code(code)))
}

/// A container's exit code as ours.
pub(crate) fn exit_code(code: i64) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(255)
}

/// Frames out of reads of any size.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: Vec<u8>,
    /// Kind, bytes still to come, and for control frames the bytes so far.
    open: Option<(u8, usize)>,
    whole: Vec<u8>,
}

/// Kind and bytes of a frame, or of a part of it.
pub(crate) type Piece<'d> = (u8, Cow<'d, [u8]>);

/// More than any control message.
const MAX_CONTROL: usize = 1 << 20;

impl Frames {
    /// The next piece of a frame. Output comes in pieces as it arrives; errors and control messages come whole.
    pub(crate) fn next<'d>(&mut self, rest: &mut &'d [u8]) -> Result<Option<Piece<'d>>, Failure> {
        loop {
            let Some((kind, left)) = self.open else {
                let need = 8 - self.head.len();
                let take = need.min(rest.len());
                self.head.extend_from_slice(&rest[..take]);
                *rest = &rest[take..];
                if self.head.len() < 8 {
                    return Ok(None);
                }
                let h = &self.head;
                let length = u32::from_be_bytes([h[4], h[5], h[6], h[7]]) as usize;
                let kind = h[0];
                if kind > 2 && length > MAX_CONTROL {
                    return Err("the engine's stream is out of step: a control frame is too long".into());
                }
                self.head.clear();
                self.whole.clear();
                if length > 0 {
                    self.open = Some((kind, length));
                }
                continue;
            };
            if rest.is_empty() {
                return Ok(None);
            }
            let take = left.min(rest.len());
            let (piece, more) = rest.split_at(take);
            *rest = more;
            self.open = (left > take).then_some((kind, left - take));
            if kind <= 2 {
                return Ok(Some((kind, Cow::Borrowed(piece))));
            }
            self.whole.extend_from_slice(piece);
            if self.open.is_none() {
                return Ok(Some((kind, Cow::Owned(std::mem::take(&mut self.whole)))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, data: &[u8]) -> Vec<u8> {
        let mut out = header(kind, u32::try_from(data.len()).unwrap()).to_vec();
        out.extend_from_slice(data);
        out
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let bytes = [frame(1, b"out"), frame(2, b""), frame(2, b"err"), frame(4, b"{\"exit\":{\"code\":3}}")]
            .concat();
        for cut in 1..bytes.len() {
            let mut frames = Frames::default();
            let mut seen: Vec<(u8, Vec<u8>)> = Vec::new();
            for part in bytes.chunks(cut) {
                let mut rest = part;
                while let Some((kind, data)) = frames.next(&mut rest).unwrap() {
                    match seen.last_mut() {
                        Some((k, d)) if *k == kind => d.extend_from_slice(&data),
                        _ => seen.push((kind, data.to_vec())),
                    }
                }
            }
            let expected =
                [(1, b"out".to_vec()), (2, b"err".to_vec()), (4, b"{\"exit\":{\"code\":3}}".to_vec())];
            assert_eq!(seen, expected, "cut at {cut}");
        }
    }

    #[test]
    fn control_messages_say_how_it_ended() {
        let mut started = false;
        assert_eq!(control(br#"{"started":true}"#, &mut started), None);
        assert!(started);
        assert_eq!(control(br#"{"exit":{"code":137}}"#, &mut started), Some(Ended::Exit(137)));
        assert_eq!(control(br#"{"detached":true}"#, &mut started), Some(Ended::Detached));
        assert_eq!(
            control(br#"{"error":{"message":"no","exit_code":127}}"#, &mut started),
            Some(Ended::Failed { message: "no".into(), code: 127 })
        );
    }

    #[test]
    fn a_stream_out_of_step_is_an_error() {
        let mut rest: &[u8] = &header(9, u32::MAX);
        assert!(Frames::default().next(&mut rest).is_err());
    }
}
