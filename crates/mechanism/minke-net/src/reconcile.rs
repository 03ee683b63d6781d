//! Brings the bridge and its live endpoints to what they must be, whatever the daemon finds when it starts: nothing yet, everything
//! in place, a bridge that somebody deleted under running containers, interfaces that nobody owns.

use std::net::Ipv4Addr;

use crate::address::{Ipv4Net, Mac, plan_subnet};
use crate::bridge::{BridgeConfig, BridgeError};
use crate::endpoint::Endpoint;
use crate::host::{ChoiceLock, read_taken};
use crate::links::{Link, Which};
use crate::netlink::{Batch, NetlinkError, Socket};

/// The bridge as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) index: u32,
    pub(crate) address: Ipv4Net,
}

/// Makes the bridge, or brings the existing one in line. Its address is `--bip`'s, else the one it has, else the first free subnet's.
pub(crate) fn place_bridge(route: &mut Socket, config: &BridgeConfig) -> Result<Placed, BridgeError> {
    let name = &config.name;
    if name.is_empty()
        || name.len() > 15
        || name.contains(|c: char| c.is_whitespace() || c == '/' || c == '"')
    {
        return Err(BridgeError::Name { name: name.clone() });
    }
    let _lock = ChoiceLock::take();
    let existing = route.read_links()?.into_iter().find(|link| link.name == *name);
    if let Some(link) = existing.as_ref().filter(|link| link.kind != "bridge") {
        return Err(BridgeError::NotABridge { name: name.clone(), kind: link.kind.clone() });
    }
    let index = existing.as_ref().map(|link| link.index);
    let has: Vec<Ipv4Net> = route
        .read_addresses()?
        .into_iter()
        .filter(|(of, _)| Some(*of) == index)
        .map(|(_, address)| address)
        .collect();
    let address = match (config.bip, has.first()) {
        (Some(bip), _) => bip,
        (None, Some(address)) => *address,
        (None, None) => first_address(plan_subnet(&config.pools, &read_taken(route, index)?)?),
    };

    let index = match index {
        Some(index) => index,
        None => {
            let mut batch = Batch::new();
            batch.add_bridge(name, Mac::of(address.address()), config.mtu);
            route.apply(batch)?;
            route.read_link(Which::Name(name))?.index
        }
    };
    let mut batch = Batch::new();
    for stale in has.iter().filter(|has| **has != address) {
        batch.delete_address(index, *stale);
    }
    if !has.contains(&address) {
        batch.add_address(index, address);
    }
    if existing.is_some_and(|link| link.mtu != config.mtu) {
        batch.set_mtu(index, config.mtu);
    }
    batch.set_up(Which::Index(index));
    route.apply(batch)?;
    Ok(Placed { index, address })
}

fn first_address(subnet: Ipv4Net) -> Ipv4Net {
    let first = Ipv4Addr::from_bits(subnet.network().address().to_bits() + 1);
    Ipv4Net::new(first, subnet.prefix()).expect("the prefix of a subnet is valid")
}

/// What is to be done about the links found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Repair {
    /// Live endpoints whose link is not on the bridge: index.
    pub(crate) stray: Vec<u32>,
    /// Links of ours that no live endpoint owns: index and name.
    pub(crate) orphans: Vec<(u32, String)>,
    /// Live endpoints whose link is not there.
    pub(crate) lost: Vec<Endpoint>,
}

/// Decides what to do about the links on (or once on) the bridge; `alias_start` is how every alias of ours begins.
pub(crate) fn plan_repair(links: &[Link], bridge: u32, alias_start: &str, live: &[Endpoint]) -> Repair {
    let mut repair = Repair::default();
    for endpoint in live {
        match links.iter().find(|link| link.name == endpoint.host_link) {
            Some(link) if link.master == Some(bridge) && link.is_up => {}
            Some(link) => repair.stray.push(link.index),
            None => repair.lost.push(endpoint.clone()),
        }
    }
    let ours = |link: &&Link| link.master == Some(bridge) && link.alias.starts_with(alias_start);
    let owned = |link: &Link| live.iter().any(|endpoint| endpoint.host_link == link.name);
    repair.orphans = links
        .iter()
        .filter(ours)
        .filter(|link| !owned(link))
        .map(|link| (link.index, link.name.clone()))
        .collect();
    repair
}

/// What a start leaves to be said and done: the endpoints without a link, and the links that nobody owns.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) lost: Vec<Endpoint>,
    pub(crate) orphans: Vec<(u32, String)>,
}

/// Puts live endpoints back on the bridge.
pub(crate) fn repair_endpoints(
    route: &mut Socket,
    bridge: u32,
    alias_start: &str,
    live: &[Endpoint],
) -> Result<Leftover, NetlinkError> {
    let repair = plan_repair(&route.read_links()?, bridge, alias_start, live);
    let mut batch = Batch::new();
    for index in repair.stray {
        batch.set_master(Which::Index(index), bridge);
    }
    route.apply(batch)?;
    Ok(Leftover { lost: repair.lost, orphans: repair.orphans })
}
