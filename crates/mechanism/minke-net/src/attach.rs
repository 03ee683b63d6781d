//! Interfaces of containers: pairs with one end on a bridge, and macvlan interfaces, made inside a namespace and then addressed.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::address::{IpNet, Mac};
use crate::endpoint::Endpoint;
use crate::links::{Link, MacvlanPlan, VethPlan, Which};
use crate::namespace::{NamespaceError, write_sysctl};
use crate::netlink::{Batch, Family, NetlinkError, Socket};
use crate::network::{MacvlanMode, MacvlanSpec};
use crate::visitor::Visitor;

/// The work takes well below a millisecond on an idle host; longer than this nobody shall wait.
const SETTLING: Duration = Duration::from_millis(200);

/// What every pair of a bridge has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortPlan {
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    /// The host's ends cannot reach each other, whatever rules say: where the kernel cannot filter between them.
    pub(crate) isolated: bool,
    /// The group by which rules know the host's end; 0 for none.
    pub(crate) group: u32,
    /// The network has IPv6.
    pub(crate) ipv6: bool,
}

/// The host's end of a pair.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) index: u32,
}

/// Bytes that nobody can foresee.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    // Cannot fail once the kernel's generator is ready, which it is long before an engine starts; zeros then collide and are refused.
    if let Err(errno) = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()) {
        tracing::warn!("no random bytes: {errno}");
    }
    bytes
}

/// `veth` and ten hexadecimal digits: never the name of a link that is still dying.
pub(crate) fn random_link_name() -> String {
    let digits: String = random_bytes::<5>().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("veth{digits}")
}

/// Makes a pair with its inner end, `interface`, inside the namespace. `host` is a socket of the bridge's namespace.
pub(crate) fn add_pair(
    host: &mut Socket,
    netns: BorrowedFd<'_>,
    plan: &PortPlan,
    interface: &str,
    mac: Option<Mac>,
    alias: &str,
) -> Result<Port, NetlinkError> {
    let name = random_link_name();
    let mut batch = Batch::new();
    batch.add_veth(&VethPlan {
        host_name: &name,
        bridge: plan.bridge,
        peer_name: interface,
        mac,
        netns,
        mtu: plan.mtu,
        group: plan.group,
    });
    host.apply(batch)?;
    // An address of its own on the host's end would only cause traffic. A kernel without IPv6 refuses, and has nothing to stop.
    let which = Which::Name(&name);
    let mut batch = Batch::new();
    batch.set_no_link_local(which);
    if let Err(refused) = host.apply(batch)
        && refused.errno().is_none()
    {
        return Err(refused);
    }
    let mut batch = Batch::new();
    batch.set_port_up(which, alias, plan.isolated);
    host.apply(batch)?;
    let index = host.read_link(which)?.index;
    Ok(Port { name, index })
}

/// Makes a macvlan interface inside the namespace.
pub(crate) fn add_macvlan(
    host: &mut Socket,
    netns: BorrowedFd<'_>,
    parent: u32,
    spec: &MacvlanSpec,
    interface: &str,
    mac: Mac,
    mtu: u32,
) -> Result<(), NetlinkError> {
    let mode = match spec.mode {
        MacvlanMode::Private => 1,
        MacvlanMode::Vepa => 2,
        MacvlanMode::Bridge => 4,
        MacvlanMode::Passthru => 8,
    };
    let mut batch = Batch::new();
    batch.add_macvlan(&MacvlanPlan { parent, name: interface, mode, mac, netns, mtu });
    host.apply(batch)
}

/// Settings of an interface that is not up yet, for a thread that stands in its namespace. Addresses of IPv6 are usable at once, and
/// no router's words change what the engine has set.
pub(crate) fn write_settings(
    interface: &str,
    ipv6: bool,
    sysctls: &[(String, String)],
) -> Result<(), NamespaceError> {
    let v6 = |key: &str, value: &str| write_sysctl(&format!("net/ipv6/conf/{interface}/{key}"), value);
    if ipv6 {
        v6("disable_ipv6", "0")?;
        v6("accept_dad", "0")?;
        v6("accept_ra", "0")?;
    } else {
        v6("disable_ipv6", "1")?;
    }
    for (key, value) in sysctls {
        write_endpoint_sysctl(interface, key, value)?;
    }
    Ok(())
}

/// `net.ipv4.conf.IFNAME.log_martians`: only of this interface.
fn write_endpoint_sysctl(interface: &str, key: &str, value: &str) -> Result<(), NamespaceError> {
    let path = key.replace('.', "/").replace("IFNAME", interface);
    std::fs::write(std::path::Path::new("/proc/sys").join(path), value)
        .map_err(|source| NamespaceError::Sysctl { key: key.replace("IFNAME", interface), source })
}

/// Whether the key is one that an endpoint may set: `net.X.Y.IFNAME.Z`.
pub(crate) fn is_endpoint_sysctl(key: &str) -> bool {
    let parts: Vec<&str> = key.split('.').collect();
    matches!(parts[..], ["net", "ipv4" | "ipv6" | "mpls", _, "IFNAME", _])
        && parts.iter().all(|part| !part.is_empty() && !part.contains('/'))
}

/// Waits until packets pass. The kernel lets a link carry packets some moments after it was set up, by deferred work; a container that
/// asked for its gateway before that would lose the question and repeat it a second later.
pub(crate) fn settle(
    port: &Port,
    bridge: u32,
    inside: &mut Socket,
    inside_index: u32,
    mut read_outside: impl FnMut(u32) -> Result<Link, NetlinkError>,
) -> Result<(), NetlinkError> {
    let deadline = Instant::now() + SETTLING;
    while Instant::now() < deadline {
        if read_outside(port.index)?.carries
            && read_outside(bridge)?.carries
            && inside.read_link(Which::Index(inside_index))?.carries
        {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    tracing::debug!("interface {} does not carry packets yet", port.name);
    Ok(())
}

/// A namespace from outside: a route socket in it.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    pub(crate) netns: BorrowedFd<'a>,
    pub(crate) socket: Socket,
}

impl<'a> Inside<'a> {
    /// Opens a socket in a namespace that exists.
    pub(crate) fn open(visitor: &Visitor, netns: BorrowedFd<'a>) -> Result<Self, NamespaceError> {
        let socket = visitor.visit(netns, || Ok(Socket::open(Family::Route)?))?;
        Ok(Self { netns, socket })
    }
}

/// The addresses an endpoint's interface carries.
pub(crate) fn addresses_of(endpoint: &Endpoint) -> impl Iterator<Item = IpNet> + use<> {
    endpoint.address.map(IpNet::V4).into_iter().chain(endpoint.address6.map(IpNet::V6))
}

/// A container's ways out: through which endpoint each version of IP leaves, by its place in the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WaysOut {
    pub(crate) v4: Option<usize>,
    pub(crate) v6: Option<usize>,
}

/// The endpoint of the highest priority with a gateway, among equals that whose network's name comes first.
pub(crate) fn plan_ways_out<'a>(endpoints: impl IntoIterator<Item = (&'a Endpoint, &'a str)>) -> WaysOut {
    let mut order: Vec<(usize, &Endpoint, &str)> =
        endpoints.into_iter().enumerate().map(|(at, (endpoint, name))| (at, endpoint, name)).collect();
    order.sort_by(|(_, one, first), (_, two, second)| {
        two.gateway_priority.cmp(&one.gateway_priority).then_with(|| first.cmp(second))
    });
    let through = |has: &dyn Fn(&Endpoint) -> bool| {
        order.iter().find(|(_, endpoint, _)| has(endpoint)).map(|(at, _, _)| *at)
    };
    WaysOut {
        v4: through(&|endpoint| endpoint.gateway.is_some()),
        v6: through(&|endpoint| endpoint.gateway6.is_some()),
    }
}

/// The gateway of one version of IP.
pub(crate) fn gateway_of(endpoint: &Endpoint, v6: bool) -> Option<IpAddr> {
    if v6 { endpoint.gateway6.map(IpAddr::from) } else { endpoint.gateway.map(IpAddr::from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(priority: i32, v4: bool, v6: bool) -> Endpoint {
        Endpoint {
            container: String::new(),
            network: String::new(),
            host_link: String::new(),
            host_index: 0,
            interface: "eth0".into(),
            address: None,
            gateway: v4.then(|| "10.0.0.1".parse().unwrap()),
            address6: None,
            gateway6: v6.then(|| "fd00::1".parse().unwrap()),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            gateway_priority: priority,
        }
    }

    #[test]
    fn the_way_out_is_the_highest_priority_then_the_first_name_and_never_without_a_gateway() {
        let (internal, four, both) =
            (endpoint(9, false, false), endpoint(0, true, false), endpoint(0, true, true));
        let ways = plan_ways_out([(&internal, "a"), (&both, "c"), (&four, "b")]);
        assert_eq!(ways, WaysOut { v4: Some(2), v6: Some(1) });
        let first = endpoint(1, true, true);
        assert_eq!(plan_ways_out([(&four, "b"), (&first, "z")]), WaysOut { v4: Some(1), v6: Some(1) });
    }

    #[test]
    fn an_endpoint_sets_only_what_is_its_own() {
        assert!(is_endpoint_sysctl("net.ipv4.conf.IFNAME.log_martians"));
        assert!(is_endpoint_sysctl("net.ipv6.conf.IFNAME.accept_ra"));
        for key in [
            "net.ipv4.ip_forward",
            "net.ipv4.conf.eth0.x",
            "kernel.x.IFNAME.y",
            "net.ipv4.conf.IFNAME../..",
            "net.ipv4.conf.IFNAME.a/b",
        ] {
            assert!(!is_endpoint_sysctl(key), "{key}");
        }
    }
}
