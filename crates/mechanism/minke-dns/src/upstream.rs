//! The servers that a container's other questions go to, and from where they are asked.
//!
//! Most are asked from the daemon's network namespace: a container without a way out may still have its names resolved, and the host's
//! loopback is the host's. A loopback address that a person gave to the container with `--dns` is the container's own, as on Docker: the
//! socket for it is made inside, by a thread that lives as long as that takes.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
};

use minke_sys::network::network_namespace_of;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// Most servers that are tried, as with Docker.
const SERVERS: usize = 3;

/// See the page above.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    pub(crate) addresses: Vec<SocketAddr>,
    /// The container's namespace, when loopback addresses mean it.
    inside: Option<OwnedFd>,
}

impl Upstreams {
    /// `socket` is one of the container's, when its own loopback is meant.
    pub(crate) fn new(mut addresses: Vec<SocketAddr>, socket: Option<&OwnedFd>) -> Self {
        addresses.truncate(SERVERS);
        let on_loopback = |address: &SocketAddr| address.ip().is_loopback();
        let Some(socket) = socket.filter(|_| addresses.iter().any(on_loopback)) else {
            return Self { addresses, inside: None };
        };
        match network_namespace_of(socket) {
            Ok(inside) => Self { addresses, inside: Some(inside) },
            Err(error) => {
                tracing::warn!(%error, "nameservers on a container's loopback are not asked");
                addresses.retain(|address| !on_loopback(address));
                Self { addresses, inside: None }
            }
        }
    }

    /// A socket from which this server is asked.
    pub(crate) fn open(&self, server: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
        let open = || {
            let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
        };
        let Some(inside) = self.inside.as_ref().filter(|_| server.ip().is_loopback()) else { return open() };
        std::thread::scope(|scope| {
            let visit = || {
                move_into_link_name_space(inside.as_fd(), Some(LinkNameSpaceType::Network))?;
                open()
            };
            let thread = std::thread::Builder::new().name("minke-dns-visit".to_owned());
            let started = thread.spawn_scoped(scope, visit).map_err(|_no_thread| Errno::AGAIN)?;
            started.join().unwrap_or(Err(Errno::IO))
        })
    }
}
