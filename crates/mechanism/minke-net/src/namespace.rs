//! Network namespaces held by nothing but a file descriptor.
//!
//! They are never bound to a path, so a daemon that is killed takes the ones that nobody uses with it, and their links with them.
//! Making one means standing in it for a moment; that happens on threads that belong to this crate ([`Outside`] brings them back).

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use minke_sys::network::unshare_network;
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::links::Which;
use crate::netlink::{Batch, Family, NetlinkError, Socket};

/// Index of `lo` in every namespace.
const LOOPBACK: u32 = 1;

/// What Docker sets in each container's namespace, so that a server without privileges may take port 80 and `ping` works for all.
/// A user's own `--sysctl` is applied later, by the runtime, and wins.
const CONTAINER_SYSCTLS: [(&str, &str); 2] =
    [("net/ipv4/ip_unprivileged_port_start", "0"), ("net/ipv4/ping_group_range", "0 2147483647")];

/// A namespace could not be made or prepared.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error("open the network namespace of this thread")]
    Open { source: io::Error },
    #[error("make a network namespace")]
    Make { source: io::Error },
    #[error("enter the container's network namespace")]
    Enter { source: io::Error },
    #[error("open the resolver's sockets in the container's network namespace")]
    Resolver { source: io::Error },
    #[error("return to the host's network namespace")]
    Return { source: io::Error },
    #[error("start a thread for a network namespace")]
    Thread { source: io::Error },
    #[error("set {key} in the container's network namespace")]
    Sysctl { key: String, source: io::Error },
    #[error("there is no default network to plug into")]
    NoNetwork,
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// The calling thread's network namespace.
pub(crate) fn open_own() -> Result<OwnedFd, NamespaceError> {
    rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| NamespaceError::Open { source: errno.into() })
}

/// The namespace a thread came from, to which it goes back after making one. A thread that stayed would keep its last namespace,
/// and the links in it, alive for as long as it lives.
#[derive(Debug)]
pub(crate) struct Outside {
    netns: OwnedFd,
}

impl Outside {
    pub(crate) fn of_this_thread() -> Result<Self, NamespaceError> {
        Ok(Self { netns: open_own()? })
    }

    pub(crate) fn duplicate(&self) -> Result<Self, NamespaceError> {
        let netns = self.netns.try_clone().map_err(|source| NamespaceError::Open { source })?;
        Ok(Self { netns })
    }

    /// Moves the calling thread here.
    pub(crate) fn enter(&self) -> Result<(), NamespaceError> {
        move_into_link_name_space(self.netns.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| NamespaceError::Return { source: errno.into() })
    }

    /// Runs `work` on the calling thread inside a fresh namespace and comes back, whatever `work` answers.
    ///
    /// When there is no way back the thread is not fit for anything else; that error wins.
    pub(crate) fn with_fresh<T>(
        &self,
        work: impl FnOnce(&OwnedFd) -> Result<T, NamespaceError>,
    ) -> Result<(OwnedFd, T), NamespaceError> {
        unshare_network().map_err(|source| NamespaceError::Make { source })?;
        let result = open_own().and_then(|netns| work(&netns).map(|value| (netns, value)));
        self.enter()?;
        result
    }

    /// Runs `work` on a thread of its own that stands here, for callers whose thread may not wander.
    pub(crate) fn on_own_thread<T: Send>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, NamespaceError> + Send,
    ) -> Result<T, NamespaceError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("minke-netns".to_owned())
                .spawn_scoped(scope, || self.enter().and_then(|()| work(self)))
                .map_err(|source| NamespaceError::Thread { source })?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `work` on the calling thread inside an existing namespace and comes back.
    pub(crate) fn within<T>(
        &self,
        netns: BorrowedFd<'_>,
        work: impl FnOnce() -> Result<T, NamespaceError>,
    ) -> Result<T, NamespaceError> {
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
            .map_err(|errno| NamespaceError::Enter { source: errno.into() })?;
        let result = work();
        self.enter()?;
        result
    }

    /// A namespace with `lo` up and nothing else.
    pub(crate) fn make_isolated(&self) -> Result<OwnedFd, NamespaceError> {
        let (netns, ()) = self.with_fresh(|_| {
            write_container_sysctls()?;
            let mut socket = Socket::open(Family::Route)?;
            let mut batch = Batch::new();
            batch.set_up(Which::Index(LOOPBACK));
            Ok(socket.apply(batch)?)
        })?;
        Ok(netns)
    }
}

/// Sets Docker's sysctls in the namespace the calling thread stands in. A kernel without them has no restriction to lift.
pub(crate) fn write_container_sysctls() -> Result<(), NamespaceError> {
    CONTAINER_SYSCTLS.iter().try_for_each(|(key, value)| write_sysctl(key, value))
}

/// Writes below `/proc/sys`; what the kernel does not have needs no setting.
pub(crate) fn write_sysctl(key: &str, value: &str) -> Result<(), NamespaceError> {
    match fs::write(Path::new("/proc/sys").join(key), value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NamespaceError::Sysctl { key: key.replace('/', "."), source: error })
        }
        _ => Ok(()),
    }
}
