//! One keeper per container: the parent of its first process, which owns stdio, log, exit status and exec.
//!
//! A keeper belongs to the container, not to the daemon: it lives on when the daemon dies, and the daemon
//! that comes back finds it by its socket. [`nursery`] forks blank keepers ahead of need, [`protocol`] is
//! what daemon and keeper say to each other, [`init`] is the program behind `--init`.
//! Ports and the resolver's sockets are held here too, so that a daemon's absence closes none of them ([`protocol::Held`]).
//! How a container is built is `minke-runtime`'s business, what a log file looks like `minke-logs`'s.

mod background;
mod client;
mod connection;
mod ending;
mod foreign;
mod holding;
pub mod init;
mod keeper;
mod keys;
mod launching;
pub mod nursery;
mod outbox;
mod pacing;
mod program;
pub mod protocol;
mod proxy;
mod requests;
mod tending;
mod unframer;

/// For what is tried and has no consequence when it fails; the caller says beside it why that is so.
fn best_effort<T, E>(_outcome: Result<T, E>) {}
