//! A namespace with one end of an interface pair in it, made ahead of need, and what is left to do when a container claims it.

use std::os::fd::{AsFd, OwnedFd};

use crate::attach::{Port, PortPlan, add_pair, settle, write_settings};
use crate::bare::open_resolver_sockets;
use crate::endpoint::DnsSockets;
use crate::links::Which;
use crate::namespace::{NamespaceError, Outside, write_container_sysctls};
use crate::netlink::{Batch, Family, Socket};

/// The container's first interface.
pub(crate) const FIRST: &str = "eth0";
const LOOPBACK: u32 = 1;

/// A plugged namespace without addresses.
#[derive(Debug)]
pub(crate) struct Plugged {
    pub(crate) netns: OwnedFd,
    pub(crate) port: Port,
    pub(crate) inside_index: u32,
    pub(crate) inside: Socket,
    pub(crate) dns: Option<DnsSockets>,
}

impl Plugged {
    /// Makes a namespace and plugs it into the bridge, with the resolver's sockets if `dns`. `host` is a socket of the bridge's
    /// namespace. About 1 ms.
    pub(crate) fn make(
        outside: &Outside,
        host: &mut Socket,
        plan: &PortPlan,
        alias: &str,
        dns: bool,
    ) -> Result<Self, NamespaceError> {
        let (netns, (inside, inside_index, port, dns)) = outside.with_fresh(|netns| {
            let port = add_pair(host, netns.as_fd(), plan, FIRST, None, alias)?;
            write_container_sysctls()?;
            write_settings(FIRST, plan.ipv6, &[])?;
            let mut inside = Socket::open(Family::Route)?;
            let index = inside.read_link(Which::Name(FIRST))?.index;
            let mut batch = Batch::new();
            batch.set_up(Which::Index(LOOPBACK));
            if plan.ipv6 {
                // It follows from the hardware address, which is not known before the claim.
                batch.set_no_link_local(Which::Index(index));
            }
            batch.set_up(Which::Index(index));
            inside.apply(batch)?;
            let dns = if dns { Some(open_resolver_sockets()?) } else { None };
            Ok((inside, index, port, dns))
        })?;
        let mut plugged = Self { netns, port, inside_index, inside, dns };
        let Self { port, inside, .. } = &mut plugged;
        settle(port, plan.bridge, inside, inside_index, |index| host.read_link(Which::Index(index)))?;
        Ok(plugged)
    }

    /// As [`Self::make`], on a thread and with a socket made for it.
    pub(crate) fn make_apart(
        outside: &Outside,
        plan: &PortPlan,
        alias: &str,
    ) -> Result<Self, NamespaceError> {
        outside.on_own_thread(|outside| {
            Self::make(outside, &mut Socket::open(Family::Route)?, plan, alias, false)
        })
    }
}
