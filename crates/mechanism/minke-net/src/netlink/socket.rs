//! A netlink socket of one namespace: it sends a batch, matches every answer to its request by sequence number, and turns a refusal
//! into an error with the kernel's own words.
//!
//! A socket belongs to the namespace its thread stood in when it was opened, and stays there. One request is under way at a time.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use minke_sys::network::{NetlinkOption, set_netlink_option};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::message::{ACK, ACK_TLVS, Attributes, Batch, CAPPED, DUMP, HEADER, align};

const DONE: u16 = 3;
const ERROR: u16 = 2;
const NOOP: u16 = 1;
const ERROR_TEXT: u16 = 1;
const DUMP_INTERRUPTED: u16 = 0x10;
/// The kernel fills at most 32 KiB of a dump at once.
const DUMP_BUFFER: usize = 32 << 10;
/// Verdicts are short, and one link's description has less than 4 KiB. On the stack, because a socket per ready namespace with a
/// buffer of its own would add up.
const BUFFER: usize = 8 << 10;
/// The kernel answers within the sending call; a socket that stays silent is broken.
const PATIENCE: Duration = Duration::from_secs(10);
const DUMP_TRIES: u32 = 8;

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Route,
    Netfilter,
}

/// A request that could not be made, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    #[error("open a netlink socket")]
    Open { source: io::Error },
    #[error("{what}: netlink socket failed")]
    Transport { what: String, source: io::Error },
    #[error("{what}: {source}{}", explain(text))]
    Refused { what: String, source: io::Error, text: String },
    #[error("{what}: the kernel's answer is malformed")]
    Malformed { what: String },
}

fn explain(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

impl NetlinkError {
    /// The kernel's error number, when it refused.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error().map(Errno::from_raw_os_error),
            Self::Open { .. } | Self::Transport { .. } | Self::Malformed { .. } => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    next: u32,
}

impl Socket {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open(family: Family) -> Result<Self, NetlinkError> {
        Self::open_raw(family).map_err(|source| NetlinkError::Open { source })
    }

    fn open_raw(family: Family) -> io::Result<Self> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_netlink_option(&fd, NetlinkOption::ExtendedAck, true)?;
        set_netlink_option(&fd, NetlinkOption::CapAck, true)?;
        if family == Family::Route {
            set_netlink_option(&fd, NetlinkOption::StrictCheck, true)?;
        }
        set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE))?;
        rustix::net::connect(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, next: 1 })
    }

    /// Sends requests that answer nothing but success. The first refusal is the result; the others have been tried all the same.
    pub(crate) fn apply(&mut self, mut batch: Batch) -> Result<(), NetlinkError> {
        if batch.messages.is_empty() {
            return Ok(());
        }
        batch.flag_awaited(ACK);
        self.exchange(&mut batch, &mut [0; BUFFER], &mut |_, _| {}).map(|_| ())
    }

    /// Sends one request and hands each answer's type and payload to `each`.
    pub(crate) fn query(
        &mut self,
        batch: &mut Batch,
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        batch.flag_awaited(ACK);
        self.exchange(batch, &mut [0; BUFFER], each).map(|_| ())
    }

    /// Sends a dump request and collects what `read` makes of each answer. A dump that the kernel's state outran is taken again.
    pub(crate) fn dump<T>(
        &mut self,
        mut batch: Batch,
        mut read: impl FnMut(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        batch.flag_awaited(DUMP);
        let mut last = Vec::new();
        let mut buffer = vec![0; DUMP_BUFFER];
        for _ in 0..DUMP_TRIES {
            last.clear();
            let whole = self
                .exchange(&mut batch, &mut buffer, &mut |kind, payload| last.extend(read(kind, payload)))?;
            if whole {
                break;
            }
        }
        Ok(last)
    }

    /// Answers whether what was read is consistent.
    fn exchange(
        &mut self,
        batch: &mut Batch,
        buffer: &mut [u8],
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<bool, NetlinkError> {
        let first = self.next;
        let count = u32::try_from(batch.messages.len()).expect("a batch has few messages");
        self.next = self.next.wrapping_add(count).max(1);
        batch.set_sequence(first);
        let whole = batch.messages[0].1.clone();
        let transport = |errno: Errno| NetlinkError::Transport { what: whole.clone(), source: errno.into() };
        send(&self.fd, &batch.bytes, SendFlags::empty()).map_err(transport)?;

        let mut refusal = None;
        let mut consistent = true;
        loop {
            let (_, length) = match recv(&self.fd, &mut *buffer, RecvFlags::TRUNC) {
                Ok(received) => received,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(refusal.unwrap_or_else(|| transport(errno))),
            };
            let malformed = || NetlinkError::Malformed { what: whole.clone() };
            let mut rest = buffer.get(..length).ok_or_else(malformed)?;
            while !rest.is_empty() {
                let answer = Answer::split(&mut rest).ok_or_else(malformed)?;
                let Some(index) = index_of(answer.sequence, first, count) else { continue };
                consistent &= answer.flags & DUMP_INTERRUPTED == 0;
                match answer.kind {
                    NOOP => {}
                    ERROR | DONE => {
                        let (code, text) = answer.verdict().ok_or_else(malformed)?;
                        if code != 0 && refusal.is_none() {
                            let what = batch.messages[index].1.clone();
                            let source = io::Error::from_raw_os_error(-code);
                            refusal = Some(NetlinkError::Refused { what, source, text });
                        }
                        // A transaction refused as a whole is refused by its first message alone.
                        let as_a_whole = index == 0 && code != 0 && batch.is_transaction;
                        if index == batch.awaited() || as_a_whole {
                            return refusal.map_or(Ok(consistent), Err);
                        }
                    }
                    kind => each(kind, answer.payload),
                }
            }
        }
    }
}

fn index_of(sequence: u32, first: u32, count: u32) -> Option<usize> {
    let index = sequence.wrapping_sub(first);
    (index < count).then(|| usize::try_from(index).ok()).flatten()
}

struct Answer<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Answer<'a> {
    fn split(rest: &mut &'a [u8]) -> Option<Self> {
        let bytes = *rest;
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let payload = bytes.get(HEADER..length)?;
        *rest = bytes.get(align(length)..).unwrap_or_default();
        Some(Self {
            kind: u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?),
            flags: u16::from_ne_bytes(*bytes.get(6..)?.first_chunk()?),
            sequence: u32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?),
            payload,
        })
    }

    /// The error number (negative, or 0) and the kernel's words.
    fn verdict(&self) -> Option<(i32, String)> {
        let code = match self.payload.first_chunk() {
            Some(code) => i32::from_ne_bytes(*code),
            None if self.kind == DONE => 0,
            None => return None,
        };
        let attributes = if self.flags & ACK_TLVS == 0 {
            Attributes(&[])
        } else if self.kind == DONE {
            Attributes::after(self.payload, 4)
        } else {
            let request = usize::try_from(u32::from_ne_bytes(*self.payload.get(4..)?.first_chunk()?)).ok()?;
            let repeated = if self.flags & CAPPED == 0 { request.max(HEADER) } else { HEADER };
            Attributes::after(self.payload, 4 + repeated)
        };
        Some((code, attributes.text(ERROR_TEXT).unwrap_or_default()))
    }
}
