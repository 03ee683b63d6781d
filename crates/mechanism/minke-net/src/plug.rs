//! A namespace with one end of an interface pair in it, made ahead of need, and what is left to do when a container claims it.

use std::os::fd::{AsFd, OwnedFd};

use crate::attach::{Port, PortPlan, add_pair, settle, write_settings};
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
}

impl Plugged {
    /// Makes a namespace and plugs it into the bridge. `host` is a socket of the bridge's namespace. About 1 ms.
    pub(crate) fn make(
        outside: &Outside,
        host: &mut Socket,
        plan: &PortPlan,
        alias: &str,
    ) -> Result<Self, NamespaceError> {
        let (netns, (inside, inside_index, port)) = outside.with_fresh(|netns| {
            let port = add_pair(host, netns.as_fd(), plan, FIRST, None, alias)?;
            write_container_sysctls()?;
            write_settings(FIRST, plan.ipv6, &[])?;
            let mut inside = Socket::open(Family::Route)?;
            let index = inside.read_link(Which::Name(FIRST))?.index;
            let mut batch = Batch::new();
            batch.set_up(Which::Index(LOOPBACK));
            batch.set_up(Which::Index(index));
            inside.apply(batch)?;
            Ok((inside, index, port))
        })?;
        let mut plugged = Self { netns, port, inside_index, inside };
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
        outside.on_own_thread(|outside| Self::make(outside, &mut Socket::open(Family::Route)?, plan, alias))
    }
}
