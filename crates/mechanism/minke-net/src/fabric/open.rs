//! The start of a fabric: everything that the engine remembers is compared with what the kernel has, and made so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::error::chain;
use super::{Fabric, FabricConfig, FabricError, alias_of, port_plan, subnets};
use crate::bare::BareMaker;
use crate::endpoint::{Endpoint, LiveEndpoint};
use crate::host::{self, Forwarding};
use crate::links::Which;
use crate::namespace::Outside;
use crate::netlink::{Batch, Family, Socket};
use crate::network::NetworkSpec;
use crate::nft::abandoned::sweep;
use crate::nft::apply::{read_guard, read_guard6};
use crate::nft::filter::Filter;
use crate::nft::plan::{Rules, table_name};
use crate::nft::watch::Watch;
use crate::place::{alias_of_bridges, place};
use crate::plugger::{Job, Plugger};
use crate::ports::{Binding, Hole};
use crate::publish::targets;
use crate::reconcile::plan_repair;
use crate::reserve::Book;
use crate::shelves::Shelves;
use crate::state::{Network, State};
use crate::stock::Stock;
use crate::visitor::Visitor;

/// Namespaces of a daemon that was killed vanish by themselves within this time.
const ORPHAN_DELAY: Duration = Duration::from_secs(2);

const LEGACY_IPTABLES: &str = "the host uses legacy iptables, whose rules nftables cannot see: if its FORWARD chain drops, \
                               containers do not reach other hosts";

impl Fabric {
    /// Makes or repairs every network in `networks`, takes the addresses and ports of `live` endpoints as used, puts their interfaces,
    /// rules and holes back, drops interfaces, bridges and rules of this engine that nobody owns, and begins to fill the stores of
    /// ready namespaces. Answers warnings for the log and `info`. A network that cannot be made is a warning too; claims on it fail
    /// with the reason.
    ///
    /// # Errors
    /// When netlink cannot be had.
    pub fn open(
        config: FabricConfig,
        networks: &[NetworkSpec],
        live: &[LiveEndpoint],
    ) -> Result<(Self, Vec<String>), FabricError> {
        let outside = Outside::of_this_thread()?;
        let mut route = Socket::open(Family::Route)?;
        let mut warnings = Vec::new();
        let live: Vec<LiveEndpoint> = live.iter().map(|one| with_network(&config, one)).collect();

        let mut state = State::default();
        for spec in networks {
            let own = subnets(&state);
            match place(&mut route, &config, spec, &own) {
                Ok(network) => drop(state.networks.insert(spec.id.clone(), network)),
                Err(error) => {
                    warnings.push(format!("network {} cannot be used: {}", spec.name, chain(&error)));
                    state.failed.insert(spec.id.clone(), (spec.name.clone(), chain(&error)));
                }
            }
        }
        let mut book = Book::open();
        for one in &live {
            let Some(network) = state.networks.get_mut(&one.endpoint.network) else { continue };
            if let Err(address) = network.keep(&one.endpoint) {
                warnings.push(format!(
                    "container {} keeps an address that is not its own any more: {address}",
                    one.endpoint.container
                ));
            }
            for binding in one.bindings.iter().filter(|binding| binding.routed.is_none()) {
                book.add(binding.protocol, binding.host_ip, binding.host_port);
            }
        }
        let forwarding = host::apply_forwarding(config.ip_forward);
        if let Forwarding::Refused(error) = &forwarding {
            warnings.push(format!(
                "IPv4 forwarding is disabled and cannot be switched on ({error}): containers do not reach other hosts"
            ));
        }
        let mut switched_on6 = false;
        if config.ip_forward && state.networks.values().any(|network| network.facts.ipv6.is_some()) {
            match host::apply_forwarding6() {
                Ok(switched_on) => switched_on6 = switched_on,
                Err(error) => warnings.push(format!(
                    "IPv6 forwarding cannot be switched on ({error}): containers do not reach other hosts by IPv6"
                )),
            }
        }
        let filter = match config.firewall {
            true => {
                let switched_on = [matches!(forwarding, Forwarding::SwitchedOn), switched_on6];
                Some(open_filter(&mut route, &config, &state, &live, switched_on, &mut warnings)?)
            }
            false => None,
        };
        let frames = filter.as_ref().is_some_and(Filter::filters_bridges);
        let Leftover { lost, orphans } = repair_links(&mut route, &config, &state, frames, &live)?;

        let default_plan = config.default_network.as_ref().and_then(|id| {
            let network = state.networks.get(id)?;
            network.bridge().map(|_| port_plan(&config, network, frames))
        });
        let failed = |source| FabricError::Thread { source };
        let state = Arc::new(Mutex::new(state));
        let filter = filter.map(|filter| Arc::new(Mutex::new(filter)));
        let watch =
            filter.as_ref().map(|filter| Watch::open(Arc::clone(filter))).transpose().map_err(failed)?;
        let plugger = Plugger {
            outside: outside.duplicate()?,
            route: Socket::open(Family::Route)?,
            filter: Socket::open(Family::Netfilter)?,
            plan: default_plan.clone(),
            state: Arc::clone(&state),
        };
        let ready = if default_plan.is_some() { config.ready } else { 0 };
        let stock = Stock::open("minke-net", ready, plugger).map_err(failed)?;
        let maker = BareMaker { outside: outside.duplicate()? };
        let bare = Stock::open("minke-net-bare", config.bare_ready, maker).map_err(failed)?;
        let shelves = Shelves::open(outside.duplicate()?, config.shelved, config.shelf_life)?;
        let visitor = Visitor::open(outside.duplicate()?).map_err(failed)?;
        for (index, name) in orphans {
            stock.submit(Job::Drop { index, name, why: "no container or network owns it" }, ORPHAN_DELAY);
        }
        let (route, book) = (Mutex::new(route), Mutex::new(book));
        let fabric = Self {
            config,
            state,
            book,
            watch,
            filter,
            frames: AtomicBool::new(frames),
            default_plan,
            outside,
            route,
            visitor,
            stock,
            bare,
            shelves,
            lost,
        };
        Ok((fabric, warnings))
    }
}

fn with_network(config: &FabricConfig, live: &LiveEndpoint) -> LiveEndpoint {
    let mut live = live.clone();
    if live.endpoint.network.is_empty() {
        live.endpoint.network = config.default_network.clone().unwrap_or_default();
    }
    live
}

/// Decides the rules and makes them hold; guarded when the engine has switched routing on, now or when it made the table that is there.
fn open_filter(
    route: &mut Socket,
    config: &FabricConfig,
    state: &State,
    live: &[LiveEndpoint],
    switched_on: [bool; 2],
    warnings: &mut Vec<String>,
) -> Result<Filter, FabricError> {
    let refused = |source| FabricError::Firewall { source };
    let mut socket = Socket::open(Family::Netfilter)?;
    let links: Vec<String> = route.read_links()?.into_iter().map(|link| link.name).collect();
    let table = table_name(&config.mark);
    let swept = sweep(&mut socket, &links, &table).map_err(refused)?;
    if !swept.is_empty() {
        tracing::info!("removed the rules of bridges that are gone: {}", swept.join(" "));
    }
    let [v4, v6] = switched_on;
    let guard = config.forward_guard && (v4 || read_guard(&mut socket, &table).map_err(refused)?);
    let guard6 = config.forward_guard && (v6 || read_guard6(&mut socket, &table).map_err(refused)?);
    let quiet = |hole: &&Hole| {
        state.networks.get(&hole.network).and_then(Network::bridge).is_some_and(|bridge| !bridge.icc)
    };
    let holes: BTreeSet<Hole> = live.iter().flat_map(|one| &one.holes).filter(quiet).cloned().collect();
    let ports: BTreeMap<Binding, SocketAddr> =
        live.iter().flat_map(|one| targets(&one.endpoint, &one.bindings)).collect();
    let networks = state.networks.values().filter_map(Network::rules).collect();
    let mut filter = Filter::new(Rules { table, guard, guard6, networks, ports, holes }, socket);
    warnings.extend(filter.apply().map_err(refused)?);
    warnings.extend(host::has_legacy_iptables().then(|| LEGACY_IPTABLES.to_owned()));
    Ok(filter)
}

/// What a start cannot put right at once.
struct Leftover {
    /// Live endpoints without a link.
    lost: Vec<Endpoint>,
    /// Index and name of links that nobody owns.
    orphans: Vec<(u32, String)>,
}

/// Puts live endpoints back on their bridges.
fn repair_links(
    route: &mut Socket,
    config: &FabricConfig,
    state: &State,
    frames: bool,
    live: &[LiveEndpoint],
) -> Result<Leftover, FabricError> {
    let bridges = state
        .networks
        .iter()
        .filter(|(_, network)| network.bridge().is_some())
        .map(|(id, network)| (id.clone(), network.link))
        .collect();
    let endpoints: Vec<&Endpoint> = live.iter().map(|one| &one.endpoint).collect();
    let links = route.read_links()?;
    let own: Vec<u32> =
        state.networks.values().filter(|network| network.own_link).map(|network| network.link).collect();
    let repair =
        plan_repair(&links, &bridges, &own, &alias_of(""), &alias_of_bridges(&config.mark), &endpoints);
    for (index, bridge) in repair.stray {
        let network =
            state.networks.values().find(|network| network.bridge().is_some() && network.link == bridge);
        let Some(plan) = network.map(|network| port_plan(config, network, frames)) else { continue };
        let mut batch = Batch::new();
        batch.set_master(Which::Index(index), bridge);
        if plan.group != 0 {
            batch.set_group(index, plan.group);
        }
        route.apply(batch)?;
    }
    Ok(Leftover { lost: repair.lost, orphans: repair.orphans })
}
