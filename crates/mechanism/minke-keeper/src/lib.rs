//! One keeper per container: the parent of its first process, which owns stdio, log, exit status and exec.
//!
//! A keeper belongs to the container, not to the daemon: it lives on when the daemon dies, and the daemon
//! that comes back finds it by its socket. [`nursery`] forks blank keepers ahead of need, [`protocol`] is
//! what daemon and keeper say to each other, [`init`] is the program behind `--init`.
//! How a container is built is `minke-runtime`'s business, what a log file looks like `minke-logs`'s.

pub mod nursery;
pub mod protocol;
