//! Puts the engine's rules back when somebody takes them away.
//!
//! `nft flush ruleset`, which reloading a distribution's firewall service does, removes every table; another manager that starts later
//! may set iptables' FORWARD to drop. Either would cut running containers off until the engine's next start. The kernel announces each
//! change of the rule set; a thread of its own waits for that, lets a burst pass, and repairs what is missing. Its own repairs announce
//! themselves too, and then nothing is missing any more.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, recv, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};

use super::filter::Filter;
use crate::state::lock;

/// Multicast group of rule set changes: NFNLGRP_NFTABLES is the seventh.
const CHANGES: u32 = 1 << 6;
/// Managers change rules in bursts; and one that insists on removing ours must not be fought without pause.
const REST: Duration = Duration::from_millis(500);

/// The waiting thread; dropping this ends it.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch the calling thread's namespace.
    pub(crate) fn open(filter: Arc<Mutex<Filter>>) -> io::Result<Self> {
        let changes = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::NETFILTER),
        )?;
        bind(&changes, &SocketAddrNetlink::new(0, CHANGES))?;
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let thread = std::thread::Builder::new().name("minke-net-watch".to_owned()).spawn(move || {
            while wait(&changes, &stopped) {
                drain(&changes);
                let mut filter = lock(&filter);
                if let Err(error) = filter.repair() {
                    tracing::warn!("cannot put the rules of {} back: {error}", filter.table());
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread sees the other end of the pipe close.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches the packet filter had panicked");
        }
    }
}

/// Waits for a change and lets its burst pass; false when it is time to end.
fn wait(changes: &OwnedFd, stopped: &OwnedFd) -> bool {
    let mut both = [PollFd::new(changes, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
    while let Err(Errno::INTR) = poll(&mut both, None) {}
    let rest = Timespec::try_from(REST).ok();
    let mut end = [PollFd::new(stopped, PollFlags::IN)];
    !matches!(poll(&mut end, rest.as_ref()), Ok(1..))
}

/// Takes what was announced off the socket; what it says does not matter, nor whether some of it was lost.
fn drain(changes: &OwnedFd) {
    let mut buffer = [0; 4096];
    loop {
        match recv(changes, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok(_) | Err(Errno::INTR | Errno::NOBUFS) => {}
            Err(_) => return,
        }
    }
}
