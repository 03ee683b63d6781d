//! A namespace with one end of an interface pair in it, made ahead of need, and what is left to do when a container claims it.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::address::{Ipv4Net, Mac};
use crate::links::{VethPlan, Which};
use crate::namespace::{NamespaceError, Outside, write_container_sysctls, write_sysctl};
use crate::netlink::{Batch, Family, NetlinkError, Socket};

/// The container's interface.
const INSIDE: &str = "eth0";
const LOOPBACK: u32 = 1;
/// The work takes well below a millisecond on an idle host; longer than this nobody shall wait.
const SETTLING: Duration = Duration::from_millis(200);

/// What every pair of a bridge has in common.
#[derive(Clone, Debug)]
pub(crate) struct PlugPlan {
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    /// The host's ends cannot reach each other: `--icc=false`.
    pub(crate) isolated: bool,
    /// Alias until a container claims the pair.
    pub(crate) alias: String,
}

/// A plugged namespace without addresses.
#[derive(Debug)]
pub(crate) struct Plugged {
    pub(crate) netns: OwnedFd,
    pub(crate) host_name: String,
    pub(crate) host_index: u32,
    inside_index: u32,
    inside: Socket,
}

impl Plugged {
    /// Makes a namespace and plugs it into the bridge. `host` is a socket of the bridge's namespace. About 1 ms.
    pub(crate) fn make(
        outside: &Outside,
        host: &mut Socket,
        plan: &PlugPlan,
    ) -> Result<Self, NamespaceError> {
        let host_name = random_link_name()?;
        let (netns, (inside, inside_index)) = outside.with_fresh(|netns| {
            let mut batch = Batch::new();
            batch.add_veth(&VethPlan {
                host_name: &host_name,
                bridge: plan.bridge,
                peer_name: INSIDE,
                netns: netns.as_fd(),
                mtu: plan.mtu,
            });
            host.apply(batch)?;

            write_container_sysctls()?;
            write_sysctl(&format!("net/ipv6/conf/{INSIDE}/disable_ipv6"), "1")?;
            let mut inside = Socket::open(Family::Route)?;
            let index = inside.read_link(Which::Name(INSIDE))?.index;
            let mut batch = Batch::new();
            batch.set_up(Which::Index(LOOPBACK));
            batch.set_up(Which::Index(index));
            inside.apply(batch)?;
            Ok((inside, index))
        })?;

        // An address of its own on the host's end would only cause traffic. A kernel without IPv6 refuses, and has nothing to stop.
        let which = Which::Name(&host_name);
        let mut batch = Batch::new();
        batch.set_no_link_local(which);
        if let Err(refused) = host.apply(batch)
            && refused.errno().is_none()
        {
            return Err(refused.into());
        }
        let mut batch = Batch::new();
        batch.set_port_up(which, &plan.alias, plan.isolated);
        host.apply(batch)?;
        let host_index = host.read_link(which)?.index;
        let mut plugged = Self { netns, host_name, host_index, inside_index, inside };
        plugged.settle(host, plan.bridge)?;
        Ok(plugged)
    }

    /// Waits until packets pass. The kernel lets a link carry packets some moments after it was set up, by deferred work; a container
    /// that asked for its gateway before that would lose the question and repeat it a second later.
    fn settle(&mut self, host: &mut Socket, bridge: u32) -> Result<(), NetlinkError> {
        let deadline = Instant::now() + SETTLING;
        while Instant::now() < deadline {
            let here = host.read_link(Which::Index(self.host_index))?.carries;
            if here
                && host.read_link(Which::Index(bridge))?.carries
                && self.inside.read_link(Which::Index(self.inside_index))?.carries
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        tracing::debug!("interface {} does not carry packets yet", self.host_name);
        Ok(())
    }

    /// As [`Self::make`], on a thread and with a socket made for it.
    pub(crate) fn make_apart(outside: &Outside, plan: &PlugPlan) -> Result<Self, NamespaceError> {
        outside.on_own_thread(|outside| Self::make(outside, &mut Socket::open(Family::Route)?, plan))
    }

    /// Gives the container's end its addresses and its way out, in one system call.
    pub(crate) fn configure(
        &mut self,
        address: Ipv4Net,
        gateway: Ipv4Addr,
        mac: Mac,
    ) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        batch.set_mac(self.inside_index, mac);
        batch.add_address(self.inside_index, address);
        batch.add_default_route(self.inside_index, gateway);
        self.inside.apply(batch)
    }
}

/// `veth` and ten hexadecimal digits: never the name of a link that is still dying.
fn random_link_name() -> Result<String, NamespaceError> {
    let mut bytes = [0_u8; 5];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| NamespaceError::Make { source: errno.into() })?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("veth{digits}"))
}
