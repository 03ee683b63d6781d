//! Namespaces without interfaces, made ahead of need for containers of users' networks: with the resolver's sockets bound and the
//! way to them prepared.

use std::net::{SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::endpoint::{DnsSockets, RESOLVER};
use crate::links::Which;
use crate::namespace::{NamespaceError, Outside, write_container_sysctls};
use crate::netlink::{Batch, Family, Socket};
use crate::nft::apply::apply_tables;
use crate::nft::plan::plan_resolver_passage;
use crate::stock::Worker;

const LOOPBACK: u32 = 1;

/// A namespace with `lo` up.
#[derive(Debug)]
pub(crate) struct Bare {
    pub(crate) netns: OwnedFd,
    pub(crate) inside: Socket,
    pub(crate) dns: Option<DnsSockets>,
}

impl Bare {
    /// Makes one on a thread of this crate.
    pub(crate) fn make(outside: &Outside, dns: bool) -> Result<Self, NamespaceError> {
        let (netns, (inside, dns)) = outside.with_fresh(|_| {
            write_container_sysctls()?;
            let mut inside = Socket::open(Family::Route)?;
            let mut batch = Batch::new();
            batch.set_up(Which::Index(LOOPBACK));
            inside.apply(batch)?;
            let dns = if dns { Some(open_resolver_sockets()?) } else { None };
            Ok((inside, dns))
        })?;
        Ok(Self { netns, inside, dns })
    }
}

/// Binds the resolver's sockets in the namespace the calling thread stands in, and turns port 53 to them.
pub(crate) fn open_resolver_sockets() -> Result<DnsSockets, NamespaceError> {
    let failed = |source| NamespaceError::Resolver { source };
    let anywhere = SocketAddrV4::new(RESOLVER, 0);
    let udp = UdpSocket::bind(anywhere).map_err(failed)?;
    let tcp = TcpListener::bind(anywhere).map_err(failed)?;
    udp.set_nonblocking(true).map_err(failed)?;
    tcp.set_nonblocking(true).map_err(failed)?;
    let port = |address: std::io::Result<SocketAddr>| address.map(|address| address.port()).map_err(failed);
    let table = plan_resolver_passage(port(udp.local_addr())?, port(tcp.local_addr())?);
    apply_tables(&mut Socket::open(Family::Netfilter)?, &[table])?;
    Ok(DnsSockets { udp: udp.into(), tcp: tcp.into() })
}

/// Keeps the store of them filled.
#[derive(Debug)]
pub(crate) struct BareMaker {
    pub(crate) outside: Outside,
}

impl Worker for BareMaker {
    type Item = Bare;
    type Error = NamespaceError;
    type Job = ();

    fn make(&mut self) -> Result<Bare, NamespaceError> {
        Bare::make(&self.outside, true)
    }

    fn run(&mut self, (): ()) -> Option<((), Duration)> {
        None
    }
}
