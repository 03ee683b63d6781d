//! Private daemons, fixtures, terminals and leak checks for the end-to-end tests.
//!
//! A test gets a [`Daemon`] of its own: data-root, exec-root, socket, bridge, cgroup parent and network namespace belong to it
//! alone, so that tests run side by side and never touch the host's links or rules. When the daemon is dropped it removes every
//! container, stops, and fails the test if anything is left: process, mount, link, cgroup or file.
//!
//! Nothing here is part of the product; it only drives the binaries that users drive.

mod command;
mod compose;
mod daemon;
pub mod fixtures;
mod leaks;
mod netns;
mod pty;
pub mod registries;
pub mod tools;

pub use command::{Run, Spawned};
pub use daemon::{Client, Daemon, Options};
pub use leaks::Leaks;
pub use netns::{Machine, Netns, Server, ip};
pub use pty::Terminal;

use std::time::{Duration, Instant};

/// `limit`, as many times as `MINKE_TEST_PATIENCE` says: an emulated machine is slower, not wrong.
#[must_use]
pub fn patience(limit: Duration) -> Duration {
    let factor = std::env::var("MINKE_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    limit * factor.unwrap_or(1).max(1)
}

/// Tries `probe` until it says yes; fails with `what` after `limit`.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) {
    let limit = patience(limit);
    let end = Instant::now() + limit;
    while !probe() {
        assert!(Instant::now() < end, "waited {limit:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A name for a thing of a test's, unique on a real Docker that others use too.
#[must_use]
pub fn unique(name: &str) -> String {
    format!("mkt-{}-{name}", std::process::id())
}

/// Seconds since 1970, and one: everything that happened so far is before it.
#[must_use]
#[track_caller]
pub fn now_and_a_second() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("a clock after 1970").as_secs() + 1
}
