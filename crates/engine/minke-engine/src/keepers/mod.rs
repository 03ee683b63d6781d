//! The daemon's side of its keepers: blanks out of the nursery, one control connection per container.
//!
//! Everything here waits in tokio and never blocks a thread. What a keeper does is `minke-keeper`'s business, what its
//! reports mean for a container the containers service's.

mod blanks;
mod connection;

use std::os::fd::AsFd;

pub use blanks::Blanks;
pub use connection::{Answer, Connection, KeeperError, connect};

/// Whether the other end of a client's socket is gone.
pub(crate) fn is_hung_up(socket: impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(&socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}
