//! Makes the choices that a network's request leaves open, and brings its link to what they say, whatever is found: nothing yet,
//! everything in place, or a bridge that somebody deleted under running containers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::{AddressPool, IpNet, Ipv4Net, Ipv6Net, Mac, plan_subnet, plan_subnet6};
use crate::fabric::{FabricConfig, FabricError};
use crate::host::{self, ChoiceLock, read_taken};
use crate::links::{Link, Which};
use crate::netlink::{Batch, NetlinkError, Socket};
use crate::network::{BridgeSpec, Driver, FamilyFacts, NetworkFacts, NetworkSpec, SubnetSpec};
use crate::parent::place_parent;
use crate::state::Network;

/// How the alias of every bridge begins that an engine made.
const ALIAS: &str = "minke-net:";

/// The kernel switches IPv6 off on links with less.
const LEAST_MTU_OF_IPV6: u32 = 1280;

/// The alias by which a bridge is known as one of this engine's.
pub(crate) fn alias_of_bridges(mark: &str) -> String {
    format!("{ALIAS}{mark}:")
}

/// What stands in the way of a subnet.
#[derive(Debug, Default)]
pub(crate) struct Occupied {
    /// Of the engine's other networks.
    pub(crate) own: Vec<IpNet>,
    /// Of the host's links.
    pub(crate) addresses: Vec<IpNet>,
    /// Routes and nameservers besides: a network that the engine chooses does not cover those either.
    pub(crate) wider: Vec<IpNet>,
}

/// The name of a network's bridge.
pub(crate) fn link_name(spec: &NetworkSpec, bridge: &BridgeSpec) -> String {
    if bridge.link.is_empty() {
        format!("br-{}", &spec.id[..spec.id.len().min(12)])
    } else {
        bridge.link.clone()
    }
}

/// Whether the kernel takes the text for the name of a link.
pub(crate) fn is_link_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 15
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c.is_whitespace() || matches!(c, '/' | ':' | '"' | '%'))
}

/// Makes or repairs a network's link and answers the network.
pub(crate) fn place(
    route: &mut Socket,
    config: &FabricConfig,
    spec: &NetworkSpec,
    own: &[IpNet],
) -> Result<Network, FabricError> {
    match &spec.driver {
        Driver::Bridge(bridge) => place_bridge(route, config, spec, bridge, own),
        Driver::Macvlan(macvlan) => {
            let occupied = Occupied { own: own.to_vec(), ..read_occupied(route, None)? };
            let mut spec = spec.clone();
            spec.internal |= macvlan.parent.is_empty();
            let alias = format!("{}{}", alias_of_bridges(&config.mark), spec.id);
            let parent = place_parent(route, &spec, macvlan, &alias)?;
            let facts = match choose(config, &mut spec, None, &occupied, parent.name.clone()) {
                Ok(facts) => facts,
                Err(error) => {
                    parent.take_back(route);
                    return Err(error);
                }
            };
            let facts = NetworkFacts {
                ipv4: facts.ipv4.map(|family| FamilyFacts { link_address: None, ..family }),
                ipv6: facts.ipv6.map(|family| FamilyFacts { link_address: None, ..family }),
                ..facts
            };
            Ok(Network::new(facts, parent.index, parent.own))
        }
    }
}

fn read_occupied(route: &mut Socket, except: Option<u32>) -> Result<Occupied, NetlinkError> {
    let addresses = route.read_addresses()?.into_iter();
    Ok(Occupied {
        own: Vec::new(),
        addresses: addresses.filter(|(of, _)| Some(*of) != except).map(|(_, net)| net).collect(),
        wider: read_taken(route, except)?,
    })
}

fn place_bridge(
    route: &mut Socket,
    config: &FabricConfig,
    spec: &NetworkSpec,
    bridge: &BridgeSpec,
    own: &[IpNet],
) -> Result<Network, FabricError> {
    let name = link_name(spec, bridge);
    if !is_link_name(&name) {
        return Err(FabricError::Invalid(format!(
            "{name} is not a bridge name: it needs 1 to 15 characters, none of them blank, '/', ':', '%' or '\"'"
        )));
    }
    if spec.ipv6.is_some() && spec.mtu < LEAST_MTU_OF_IPV6 {
        return Err(FabricError::Invalid(format!(
            "network {} has IPv6, which needs an MTU of at least {LEAST_MTU_OF_IPV6}, not {}",
            spec.name, spec.mtu
        )));
    }
    let _lock = ChoiceLock::take();
    let existing = route.read_links()?.into_iter().find(|link| link.name == name);
    if let Some(link) = existing.as_ref().filter(|link| link.kind != "bridge") {
        let kind = if link.kind.is_empty() { "a device" } else { &link.kind };
        return Err(FabricError::Invalid(format!("interface {name} exists and is not a bridge but {kind}")));
    }
    if bridge.admins && existing.is_none() {
        return Err(FabricError::Invalid(format!(
            "bridge {name} does not exist: make it and give it an address, or leave the bridge to the engine"
        )));
    }
    let index = existing.as_ref().map(|link| link.index);
    let has: Vec<IpNet> = route
        .read_addresses()?
        .into_iter()
        .filter(|(of, _)| Some(*of) == index)
        .map(|(_, address)| address)
        .collect();
    let occupied = Occupied { own: own.to_vec(), ..read_occupied(route, index)? };
    let mut spec = spec.clone();
    let facts = choose(config, &mut spec, Some(&has), &occupied, name)?;
    let made = existing.is_none();
    let link = match existing {
        Some(link) => link,
        None => make_bridge(route, config, &facts)?,
    };
    let own_link = link.alias.starts_with(&alias_of_bridges(&config.mark))
        || (!bridge.admins && config.default_network.as_deref() == Some(facts.spec.id.as_str()));
    let adjusted = adjust(route, config, &facts, &link, &has, bridge.admins);
    if let Err(error) = adjusted {
        if made {
            let mut batch = Batch::new();
            batch.delete_link(link.index);
            // The refusal is what matters; what is left is found at the next start.
            if let Err(left) = route.apply(batch) {
                tracing::warn!("bridge {} stays: {left}", facts.link);
            }
        }
        return Err(error);
    }
    Ok(Network::new(facts, link.index, own_link))
}

fn make_bridge(
    route: &mut Socket,
    config: &FabricConfig,
    facts: &NetworkFacts,
) -> Result<Link, NetlinkError> {
    let own = [
        facts.ipv4.and_then(|family| family.link_address),
        facts.ipv6.and_then(|family| family.link_address),
    ];
    let mac = match own.into_iter().flatten().next() {
        Some(IpAddr::V4(address)) => Mac::of(address),
        Some(IpAddr::V6(address)) => Mac::of6(address),
        // Any address of the network may be a container's, whose hardware address follows from it.
        None => {
            let [a, b, c, d] = crate::attach::random_bytes();
            Mac([0x06, 0x42, a, b, c, d])
        }
    };
    let alias = format!("{}{}", alias_of_bridges(&config.mark), facts.spec.id);
    let mut batch = Batch::new();
    batch.add_bridge(&facts.link, mac, facts.spec.mtu);
    batch.set_alias(Which::Name(&facts.link), &alias);
    route.apply(batch)?;
    let mut link = route.read_link(Which::Name(&facts.link))?;
    link.alias = alias;
    Ok(link)
}

/// Addresses, mtu and settings of the bridge.
fn adjust(
    route: &mut Socket,
    config: &FabricConfig,
    facts: &NetworkFacts,
    link: &Link,
    has: &[IpNet],
    admins: bool,
) -> Result<(), FabricError> {
    let settings =
        |source: std::io::Error| FabricError::Invalid(format!("set up bridge {}: {source}", facts.link));
    let v6_wanted = facts.ipv6.is_some();
    if v6_wanted || !admins {
        match host::switch_ipv6(&facts.link, v6_wanted) {
            Err(error) if v6_wanted => {
                return Err(FabricError::Unsupported(format!(
                    "network {} has IPv6 and the host has none: {error}",
                    facts.spec.name
                )));
            }
            Err(error) => tracing::debug!("IPv6 of bridge {}: {error}", facts.link),
            Ok(()) => {}
        }
    }
    if config.firewall {
        host::route_loopback(&facts.link).map_err(settings)?;
    }
    let wanted: Vec<IpNet> = link_addresses(facts).collect();
    let mut batch = Batch::new();
    if !admins {
        // Addresses of a family that the network does not have are an administrator's.
        let stale = has
            .iter()
            .filter(|has| !wanted.contains(has) && wanted.iter().any(|wanted| wanted.is_v6() == has.is_v6()));
        for address in stale {
            batch.delete_address(link.index, *address);
        }
        if link.mtu != facts.spec.mtu {
            batch.set_mtu(link.index, facts.spec.mtu);
        }
    }
    for address in wanted.iter().filter(|wanted| !has.contains(wanted)) {
        batch.add_address(link.index, *address);
    }
    batch.set_up(Which::Index(link.index));
    Ok(route.apply(batch)?)
}

fn link_addresses(facts: &NetworkFacts) -> impl Iterator<Item = IpNet> {
    let v4 = facts.ipv4.and_then(|family| match family.link_address? {
        IpAddr::V4(address) => Ipv4Net::new(address, family.subnet.prefix()).map(IpNet::V4),
        IpAddr::V6(_) => None,
    });
    let v6 = facts.ipv6.and_then(|family| match family.link_address? {
        IpAddr::V6(address) => Ipv6Net::new(address, family.subnet.prefix()).map(IpNet::V6),
        IpAddr::V4(_) => None,
    });
    v4.into_iter().chain(v6)
}

/// Makes the choices, and checks what was chosen by others. `has`: the addresses of the link that is there.
pub(crate) fn choose(
    config: &FabricConfig,
    spec: &mut NetworkSpec,
    has: Option<&[IpNet]>,
    occupied: &Occupied,
    link: String,
) -> Result<NetworkFacts, FabricError> {
    let has = has.unwrap_or_default();
    let taken: Vec<IpNet> = [&occupied.own[..], &occupied.addresses, &occupied.wider].concat();
    let inhibits = [spec.inhibits(false), spec.inhibits(true)];
    let mut ipv4 = None;
    if let Some(subnet) = &mut spec.ipv4 {
        let found = has.iter().find_map(|net| net.v4()).map(IpNet::V4);
        let chosen = match (subnet.subnet, found) {
            (Some(asked), _) => asked,
            (None, Some(found)) => adopt(subnet, found),
            (None, None) => plan_subnet(&config.pools, &taken).map_err(|_none| FabricError::NoSubnet)?.into(),
        };
        let Some(net) = chosen.v4() else {
            return Err(FabricError::Invalid(format!("invalid subnet {chosen}: it is not an IPv4 block")));
        };
        let (gateway, link_address) = settle(subnet, net.network().into(), &occupied.own)?;
        let link_address = Some(link_address).filter(|_| !inhibits[0]);
        ipv4 = Some(FamilyFacts { subnet: net.network(), gateway, link_address });
    }
    let mut ipv6 = None;
    if let Some(subnet) = &mut spec.ipv6 {
        let found = has.iter().find_map(|net| net.v6()).map(IpNet::V6);
        let chosen = match (subnet.subnet, found) {
            (Some(asked), _) => asked,
            (None, Some(found)) => adopt(subnet, found),
            (None, None) => {
                let own = AddressPool { base: host::private_range(&config.mark).into(), size: 64 };
                let pools = if config.pools.iter().any(|pool| pool.base.is_v6()) {
                    config.pools.clone()
                } else {
                    vec![own]
                };
                plan_subnet6(&pools, &taken).map_err(|_none| FabricError::NoSubnet)?.into()
            }
        };
        let Some(net) = chosen.v6() else {
            return Err(FabricError::Invalid(format!("invalid subnet {chosen}: it is not an IPv6 block")));
        };
        let (gateway, link_address) = settle(subnet, net.network().into(), &occupied.own)?;
        let link_address = Some(link_address).filter(|_| !inhibits[1]);
        ipv6 = Some(FamilyFacts { subnet: net.network(), gateway, link_address });
    }
    Ok(NetworkFacts { spec: spec.clone(), link, ipv4, ipv6 })
}

/// The subnet of the link that is there becomes the network's, its address the link's.
fn adopt(spec: &mut SubnetSpec, found: IpNet) -> IpNet {
    spec.link_address = Some(found.address());
    found.network()
}

/// Checks a subnet against the rest of its request and against the engine's other networks, and fills the request in. Who names a
/// subnet may have addresses of the host in it, as on Docker.
fn settle(spec: &mut SubnetSpec, subnet: IpNet, own: &[IpNet]) -> Result<(IpAddr, IpAddr), FabricError> {
    if own.iter().any(|other| other.overlaps(subnet)) {
        return Err(FabricError::Overlap);
    }
    if let Some(range) =
        spec.range.filter(|range| !subnet.contains(range.address()) || range.prefix() < subnet.prefix())
    {
        return Err(FabricError::Invalid(format!("no matching subnet for range {range}")));
    }
    for (what, address) in spec
        .gateway
        .iter()
        .map(|address| ("gateway", address))
        .chain(spec.reserved.iter().map(|address| ("aux-address", address)))
        .chain(spec.link_address.iter().map(|address| ("bridge address", address)))
    {
        if !subnet.contains(*address) {
            return Err(FabricError::Invalid(format!("no matching subnet for {what} {address}")));
        }
    }
    let link_address = spec.link_address.or(spec.gateway).unwrap_or_else(|| first_address(subnet));
    let gateway = spec.gateway.unwrap_or(link_address);
    spec.subnet = Some(subnet);
    Ok((gateway, link_address))
}

/// The first address that may be given to something.
fn first_address(subnet: IpNet) -> IpAddr {
    match subnet {
        IpNet::V4(net) => Ipv4Addr::from_bits(net.address().to_bits() + u32::from(net.prefix() < 31)).into(),
        IpNet::V6(net) => {
            Ipv6Addr::from_bits(net.address().to_bits() + u128::from(net.prefix() < 127)).into()
        }
    }
}
