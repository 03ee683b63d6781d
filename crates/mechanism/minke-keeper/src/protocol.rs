//! What the daemon and a keeper say to each other: message types, frames, and the socket they ride on.
//!
//! A connection is a unix stream socket. Each frame is `u32` little-endian length and that many bytes of JSON;
//! file descriptors ride with the frame's first byte, and the frame says how many are its own (`fds`), so that
//! a reader which takes several frames in one gulp still hands each its descriptors ([`frame::Decoder`]).
//!
//! ```text
//! daemon → keeper   Request { seq, fds, body: Body }       every request is answered once, in any order
//! keeper → daemon   Message::Reply { seq, reply }          the answer to `seq`
//!                   Message::Event(event)                  unasked: exits, OOM, detached clients
//! ```
//!
//! Phases: a **blank** keeper accepts `Hello` and one `Launch`; a **running** one everything but `Launch`; an
//! **exited** one `Query`, `Forget`, `Shutdown` (the rest is answered with [`Refusal::NotRunning`]).
//! Versions: unknown fields are ignored and unknown request kinds are answered with [`Refusal::Unknown`], so a
//! newer daemon can adopt an older keeper. A field or kind never changes its meaning; [`VERSION`] only grows.
//!
//! I/O policy is left to both sides: the keeper polls, the daemon wraps the same descriptor in tokio
//! (`try_io` around [`socket::send`] and [`socket::receive`]).

pub mod detach_keys;
pub mod frame;
mod hex;
mod reply;
mod request;
pub mod socket;

pub use frame::{Decoder, FrameError, MAX_FRAME, encode};
pub use reply::{Event, ExecState, Exit, Failure, Message, Refusal, Reply, Stage, State, Status};
pub use request::{
    AttachSpec, Body, ExecRequest, Held, LaunchRequest, ProxyProtocol, ProxySpec, Request, ResizeRequest,
    Rootfs, RuntimeProgram, SeccompFilter, SignalRequest, Target, Wire,
};

/// The protocol's version. Grows with every addition; peers use what both know. 2: held descriptors and proxies. 3: execs
/// that end with their daemon.
pub const VERSION: u32 = 3;

/// Name of the socket a keeper listens on, inside the container's directory under the exec-root.
pub const SOCKET_NAME: &str = "keeper.sock";

/// Name of the record a keeper leaves in the container's directory when nobody answered its exit: a JSON [`State`].
pub const EXIT_RECORD: &str = "exit.json";

#[cfg(test)]
mod tests;
