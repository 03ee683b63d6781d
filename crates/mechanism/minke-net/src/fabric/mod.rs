//! All networks of one engine: opened once by the daemon, it makes and removes networks, gives containers their namespaces, plugs
//! running ones in and out, and publishes ports.
//!
//! What exists is decided by the engine's records; what the kernel holds is decided by plans that are pure functions of the same
//! ([`crate::nft`]), applied over sockets that stay open as long as the engine. Each public method may be called from any thread.

mod claim;
mod config;
mod error;
mod interface;
mod networks;
mod open;
mod plug;
mod ports;

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use config::FabricConfig;
pub use error::FabricError;
pub(crate) use error::bracketed;

use crate::address::{IpNet, Ipv4Net, Ipv6Net};
use crate::attach::{Inside, PortPlan};
use crate::bare::BareMaker;
use crate::endpoint::{Endpoint, Statistics};
use crate::links::Which;
use crate::namespace::Outside;
use crate::netlink::{Batch, Socket};
use crate::network::MacvlanSpec;
use crate::nft::filter::Filter;
use crate::nft::plan::{group_of_table, table_name};
use crate::nft::watch::Watch;
use crate::plugger::Plugger;
use crate::reserve::Book;
use crate::shelves::Shelves;
use crate::state::{Network, State, lock};
use crate::stock::Stock;
use crate::visitor::Visitor;

/// After a claim the link's alias is brought up to date when the container has started.
const ALIAS_DELAY: Duration = Duration::from_millis(60);
/// A link that is deleted in the background is out of sight within this time.
const VANISHING: Duration = Duration::from_millis(500);

/// See the page above. Made by a thread that stands in the host's network namespace.
#[derive(Debug)]
pub struct Fabric {
    config: FabricConfig,
    state: Arc<Mutex<State>>,
    book: Mutex<Book>,
    // The threads end before what they use.
    watch: Option<Watch>,
    filter: Option<Arc<Mutex<Filter>>>,
    /// Whether the kernel filters between the ports of a bridge, so that no claim has to ask while rules are being written.
    frames: AtomicBool,
    /// How the default network's stock was made, while there is one.
    default_plan: Option<PortPlan>,
    outside: Outside,
    route: Mutex<Socket>,
    visitor: Visitor,
    stock: Stock<Plugger>,
    bare: Stock<BareMaker>,
    shelves: Shelves,
    lost: Vec<Endpoint>,
}

/// One network as a claim needs it.
#[derive(Debug)]
struct Place {
    name: String,
    carrier: Carrier,
    mtu: u32,
    subnet4: Option<Ipv4Net>,
    subnet6: Option<Ipv6Net>,
    gateway4: Option<IpAddr>,
    gateway6: Option<IpAddr>,
}

#[derive(Debug)]
enum Carrier {
    Bridge(PortPlan),
    Macvlan(u32, MacvlanSpec),
}

impl Fabric {
    /// Those of the live endpoints that had no link when the fabric was opened: their containers have ended meanwhile, or were cut off
    /// and must be started again to be reconnected.
    #[must_use]
    pub fn lost(&self) -> &[Endpoint] {
        &self.lost
    }

    /// How many namespaces are ready: plugged ones, and ones without interfaces.
    #[must_use]
    pub fn ready(&self) -> (usize, usize) {
        (self.stock.ready(), self.bare.ready())
    }

    /// How many namespaces wait plugged into a user's network.
    #[must_use]
    pub fn shelved(&self, network: &str) -> usize {
        self.shelves.ready(network)
    }

    pub(super) fn filters_bridges(&self) -> bool {
        self.frames.load(Ordering::Relaxed)
    }

    /// Endpoints of records from before there were several networks name none.
    pub(super) fn network_of<'a>(&'a self, endpoint: &'a Endpoint) -> &'a str {
        match (endpoint.network.as_str(), &self.config.default_network) {
            ("", Some(default)) => default,
            (id, _) => id,
        }
    }

    /// Counters of the container's end.
    ///
    /// # Errors
    /// When the link is gone, or has no end on the host (macvlan): [`Self::read_statistics_inside`] knows those.
    pub fn read_statistics(&self, endpoint: &Endpoint) -> Result<Statistics, FabricError> {
        let link = lock(&self.route).read_link(Which::Name(&endpoint.host_link))?;
        // What the host's end sends the container receives.
        Ok(Statistics::seen_from_inside(link.counters).turned())
    }

    /// The same, asked inside the container's namespace: for macvlan.
    ///
    /// # Errors
    /// When the link is gone.
    pub fn read_statistics_inside(
        &self,
        netns: BorrowedFd<'_>,
        endpoint: &Endpoint,
    ) -> Result<Statistics, FabricError> {
        let mut inside = Inside::open(&self.visitor, netns)?;
        let link = inside.socket.read_link(Which::Name(&endpoint.interface))?;
        Ok(Statistics::seen_from_inside(link.counters))
    }

    /// Removes every network's link and rules: for tests and for an engine that is uninstalled. An administrator's bridge stays.
    ///
    /// # Errors
    /// When the kernel refuses; what could be removed has been removed.
    pub fn remove(self) -> Result<(), FabricError> {
        drop((self.stock, self.bare, self.shelves));
        // Before the rules go, or they would be put back.
        drop(self.watch);
        let rules = match &self.filter {
            Some(filter) => lock(filter).remove(),
            None => Ok(()),
        };
        let state = lock(&self.state);
        let mut batch = Batch::new();
        for network in state.networks.values().filter(|network| network.own_link) {
            batch.delete_link(network.link);
        }
        lock(&self.route).apply(batch)?;
        rules.map_err(|source| FabricError::Firewall { source })
    }
}

/// What the engine's networks cover.
pub(super) fn subnets(state: &State) -> Vec<IpNet> {
    let facts = state.networks.values().map(|network| &network.facts);
    facts
        .flat_map(|facts| {
            let v4 = facts.ipv4.map(|family| IpNet::V4(family.subnet));
            let v6 = facts.ipv6.map(|family| IpNet::V6(family.subnet));
            v4.into_iter().chain(v6)
        })
        .collect()
}

pub(super) fn port_plan(config: &FabricConfig, network: &Network, frames: bool) -> PortPlan {
    let apart = network.bridge().is_some_and(|bridge| !bridge.icc);
    PortPlan {
        bridge: network.link,
        mtu: network.facts.spec.mtu,
        isolated: apart && !frames,
        group: if apart && frames { group_of_table(&table_name(&config.mark)) } else { 0 },
        ipv6: network.facts.ipv6.is_some(),
    }
}

/// The alias by which a link of ours is known; all of them start as the empty container's does.
pub(super) fn alias_of(container: &str) -> String {
    format!("minke:{container}")
}
