//! What is to be done about the links that a start finds: live endpoints that are off their bridge, and links that nobody owns.

use std::collections::BTreeMap;

use crate::endpoint::Endpoint;
use crate::links::Link;

/// What is to be done about the links found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Repair {
    /// Live endpoints whose link is not on its bridge: index of the link and of the bridge.
    pub(crate) stray: Vec<(u32, u32)>,
    /// Links of ours that no live endpoint or network owns: index and name.
    pub(crate) orphans: Vec<(u32, String)>,
    /// Live endpoints whose link is not there.
    pub(crate) lost: Vec<Endpoint>,
}

/// Decides what to do about the links. `bridges`: index of the bridge of each network by its id; `port_alias` and `bridge_alias` are how
/// every alias of ours begins; `own` are other links of networks.
pub(crate) fn plan_repair(
    links: &[Link],
    bridges: &BTreeMap<String, u32>,
    own: &[u32],
    port_alias: &str,
    bridge_alias: &str,
    live: &[&Endpoint],
) -> Repair {
    let mut repair = Repair::default();
    for endpoint in live.iter().filter(|endpoint| !endpoint.host_link.is_empty()) {
        let Some(bridge) = bridges.get(&endpoint.network) else { continue };
        match links.iter().find(|link| link.name == endpoint.host_link) {
            Some(link) if link.master == Some(*bridge) && link.is_up => {}
            Some(link) => repair.stray.push((link.index, *bridge)),
            None => repair.lost.push((*endpoint).clone()),
        }
    }
    let unowned_port = |link: &Link| {
        link.alias.starts_with(port_alias)
            && bridges.values().any(|bridge| link.master == Some(*bridge))
            && live.iter().all(|endpoint| endpoint.host_link != link.name)
    };
    // A bridge whose network is unknown, and what is on it.
    let unowned_bridge = |link: &Link| {
        matches!(link.kind.as_str(), "bridge" | "vlan" | "dummy" | "veth")
            && link.alias.starts_with(bridge_alias)
            && !own.contains(&link.index)
            && bridges.values().all(|bridge| *bridge != link.index)
    };
    let lost: Vec<u32> = links.iter().filter(|link| unowned_bridge(link)).map(|link| link.index).collect();
    let on_lost = |link: &Link| {
        link.alias.starts_with(port_alias) && link.master.is_some_and(|master| lost.contains(&master))
    };
    repair.orphans = links
        .iter()
        .filter(|link| unowned_port(link) || unowned_bridge(link) || on_lost(link))
        .map(|link| (link.index, link.name.clone()))
        .collect();
    repair
}
