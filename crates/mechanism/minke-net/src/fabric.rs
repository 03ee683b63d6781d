//! All networks of one engine: opened once by the daemon, it makes and removes networks, gives containers their namespaces, plugs
//! running ones in and out, and publishes ports.
//!
//! What exists is decided by the engine's records; what the kernel holds is decided by plans that are pure functions of the same
//! ([`crate::nft`]), applied over sockets that stay open as long as the engine. Each public method may be called from any thread.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use minke_base::Kind;
use rustix::io::Errno;

use crate::address::{AddressPool, IpNet, Mac, default_pools};
use crate::attach::{self, Inside, Port, PortPlan, WaysOut, gateway_of, plan_ways_out};
use crate::bare::{Bare, BareMaker, open_resolver_sockets};
use crate::endpoint::{Claim, ClaimRequest, DnsSockets, Endpoint, EndpointWish, LiveEndpoint, Statistics};
use crate::host::{self, Forwarding};
use crate::links::Which;
use crate::namespace::{NamespaceError, Outside};
use crate::netlink::{Batch, Family, NetlinkError, Socket};
use crate::network::{Driver, MacvlanSpec, NetworkFacts, NetworkSpec};
use crate::nft::abandoned::sweep;
use crate::nft::apply::read_guard;
use crate::nft::filter::Filter;
use crate::nft::plan::{Rules, group_of_table, table_name};
use crate::nft::watch::Watch;
use crate::place::{alias_of_bridges, is_link_name, place};
use crate::plug::{FIRST, Plugged};
use crate::plugger::{Job, Plugger, READY};
use crate::ports::{Binding, Hole, PortWish, Protocol, Proxy, Published};
use crate::publish::{bind_all, proxy_of, target_of};
use crate::reconcile::plan_repair;
use crate::reserve::Book;
use crate::state::{Network, State, Taken, lock, take, with_prefix};
use crate::stock::Stock;
use crate::visitor::Visitor;

/// After a claim the link's alias is brought up to date when the container has started.
const ALIAS_DELAY: Duration = Duration::from_millis(60);
/// The kernel lets a link go 15 to 60 ms after its namespace's last holder.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// Namespaces of a daemon that was killed vanish by themselves within this time.
const ORPHAN_DELAY: Duration = Duration::from_secs(2);
/// A hardware address that is being given back is waited for this long.
const PATIENCE: Duration = Duration::from_secs(2);
/// A link that is deleted in the background is out of sight within this time.
const VANISHING: Duration = Duration::from_millis(500);

const LEGACY_IPTABLES: &str = "the host uses legacy iptables, whose rules nftables cannot see: if its FORWARD chain drops, \
                               containers do not reach other hosts";

/// What holds for all networks; each field has the daemon flag or daemon.json key of the same meaning.
#[derive(Clone, Debug)]
pub struct FabricConfig {
    /// Tells this engine's table from those of others on the host: the default bridge's name, whether or not there is a default
    /// bridge.
    pub mark: String,
    /// The id of the network whose namespaces wait plugged: the default bridge.
    pub default_network: Option<String>,
    /// `default-address-pools`, of both families. Without one of IPv6, subnets come from a private range of the host's own.
    pub pools: Vec<AddressPool>,
    /// `--ip-forward`: switch routing on when it is off.
    pub ip_forward: bool,
    /// The opposite of `--ip-forward-no-drop`: a host whose routing the engine switched on routes for the engine's bridges only.
    pub forward_guard: bool,
    /// `--iptables`: whether any rule is written at all. Without rules every published port goes through a proxy.
    pub firewall: bool,
    /// `--userland-proxy`: whether [`Published::proxies`] lists any.
    pub userland_proxy: bool,
    /// How many namespaces plugged into the default network wait for a container.
    pub ready: usize,
    /// How many namespaces with the resolver's sockets but without interfaces wait for a container of a user's network.
    pub bare_ready: usize,
}

impl Default for FabricConfig {
    fn default() -> Self {
        Self {
            mark: "minke0".to_owned(),
            default_network: None,
            pools: default_pools(),
            ip_forward: true,
            forward_guard: true,
            firewall: true,
            userland_proxy: true,
            ready: 8,
            bare_ready: 4,
        }
    }
}

/// A network, an endpoint or a port could not be had. The text is what Docker says where Docker says something.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    #[error("network {network} not found")]
    NoSuchNetwork { network: String },
    #[error("network {name} cannot be used: {reason}")]
    Unusable { name: String, reason: String },
    #[error("network with name {name} already exists")]
    Exists { name: String },
    #[error("all predefined address pools have been fully subnetted")]
    NoSubnet,
    #[error("network bridge {link} is used by network {other} already")]
    Taken { link: String, other: String },
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    Overlap,
    #[error("{0}")]
    Invalid(String),
    #[error("no available IPv{family} addresses on this network's address pools: {name} ({id})")]
    Exhausted { family: u8, name: String, id: String },
    #[error("Address already in use")]
    AddressInUse { address: IpAddr },
    #[error("invalid address {address}: It does not belong to any of this network's subnets")]
    AddressOutside { address: IpAddr },
    #[error("{0}")]
    Unsupported(String),
    #[error("Bind for {host_ip}:{port} failed: port is already allocated", host_ip = crate::fabric::bracketed(*host_ip))]
    Allocated { host_ip: IpAddr, port: u16 },
    #[error("failed to bind host port {wish}: {}", crate::fabric::bind_words(source))]
    Bind { wish: String, protocol: Protocol, source: std::io::Error },
    #[error("set up the packet filter")]
    Firewall { source: NetlinkError },
    #[error("prepare a network namespace")]
    Namespace(#[from] NamespaceError),
    #[error("configure the network")]
    Netlink(#[from] NetlinkError),
    #[error("start the threads of the network")]
    Thread { source: std::io::Error },
}

impl FabricError {
    /// What a client is told.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoSuchNetwork { .. } => Kind::NotFound,
            Self::Exists { .. } | Self::AddressInUse { .. } => Kind::Conflict,
            Self::Overlap | Self::Taken { .. } | Self::AddressOutside { .. } => Kind::Forbidden,
            Self::Invalid(_) => Kind::InvalidParameter,
            Self::Unsupported(_) => Kind::NotImplemented,
            _ => Kind::System,
        }
    }
}

/// An address as it stands before a port.
pub(crate) fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The kernel's words without their number, in small letters as Docker's.
pub(crate) fn bind_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// See the page above. Made by a thread that stands in the host's network namespace.
#[derive(Debug)]
pub struct Fabric {
    config: FabricConfig,
    state: Arc<Mutex<State>>,
    book: Mutex<Book>,
    // The threads end before what they use.
    watch: Option<Watch>,
    filter: Option<Arc<Mutex<Filter>>>,
    /// How the default network's stock was made, while there is one.
    default_plan: Option<PortPlan>,
    outside: Outside,
    route: Mutex<Socket>,
    visitor: Visitor,
    stock: Stock<Plugger>,
    bare: Stock<BareMaker>,
    lost: Vec<Endpoint>,
}

/// One network as a claim needs it.
#[derive(Debug)]
struct Place {
    name: String,
    carrier: Carrier,
    mtu: u32,
    subnet4: Option<crate::address::Ipv4Net>,
    subnet6: Option<crate::address::Ipv6Net>,
    gateway4: Option<IpAddr>,
    gateway6: Option<IpAddr>,
}

#[derive(Debug)]
enum Carrier {
    Bridge(PortPlan),
    Macvlan(u32, MacvlanSpec),
}

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
            for binding in &one.bindings {
                book.add(binding.protocol, binding.host_ip, binding.host_port);
            }
        }
        let forwarding = host::apply_forwarding(config.ip_forward);
        if let Forwarding::Refused(error) = &forwarding {
            warnings.push(format!(
                "IPv4 forwarding is disabled and cannot be switched on ({error}): containers do not reach other hosts"
            ));
        }
        if state.networks.values().any(|network| network.facts.ipv6.is_some())
            && config.ip_forward
            && let Err(error) = host::apply_forwarding6()
        {
            warnings.push(format!(
                "IPv6 forwarding cannot be switched on ({error}): containers do not reach other hosts by IPv6"
            ));
        }
        let filter = match config.firewall {
            true => {
                let switched_on = matches!(forwarding, Forwarding::SwitchedOn);
                Some(open_filter(&mut route, &config, &state, &live, switched_on, &mut warnings)?)
            }
            false => None,
        };
        let frames = filter.as_ref().is_some_and(Filter::filters_bridges);
        let (lost, orphans) = repair_links(&mut route, &config, &state, frames, &live)?;

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
            plan: default_plan.clone(),
            state: Arc::clone(&state),
        };
        let ready = if default_plan.is_some() { config.ready } else { 0 };
        let stock = Stock::open("minke-net", ready, plugger).map_err(failed)?;
        let maker = BareMaker { outside: outside.duplicate()? };
        let bare = Stock::open("minke-net-bare", config.bare_ready, maker).map_err(failed)?;
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
            default_plan,
            outside,
            route,
            visitor,
            stock,
            bare,
            lost,
        };
        Ok((fabric, warnings))
    }

    /// Makes a network, and makes the choices that its request leaves open.
    ///
    /// # Errors
    /// When the request contradicts itself, the host or another network, or the kernel refuses; nothing of it is left then.
    pub fn add_network(&self, spec: &NetworkSpec) -> Result<NetworkFacts, FabricError> {
        let mut state = lock(&self.state);
        if state.networks.contains_key(&spec.id) {
            return Err(FabricError::Exists { name: spec.name.clone() });
        }
        if let Driver::Bridge(bridge) = &spec.driver {
            let link = crate::place::link_name(spec, bridge);
            if let Some(other) =
                state.networks.values().find(|other| other.bridge().is_some() && other.facts.link == link)
            {
                return Err(FabricError::Taken { link, other: other.facts.spec.name.clone() });
            }
        }
        if spec.ipv6.is_some() && self.config.ip_forward && matches!(spec.driver, Driver::Bridge(_)) {
            host::apply_forwarding6().map_err(|error| {
                FabricError::Unsupported(format!(
                    "network {} has IPv6, which the host does not route: {error}",
                    spec.name
                ))
            })?;
        }
        let network = place(&mut lock(&self.route), &self.config, spec, &subnets(&state))?;
        if let (Some(filter), Some(rules)) = (&self.filter, network.rules())
            && let Err(source) = lock(filter).add_network(rules)
        {
            self.drop_link(&network);
            return Err(FabricError::Firewall { source });
        }
        let facts = network.facts.clone();
        state.failed.remove(&spec.id);
        state.networks.insert(spec.id.clone(), network);
        Ok(facts)
    }

    /// Takes a network away. The engine has made sure that no endpoint is left. The bridge's rules and its link are gone when this
    /// answers; one that the engine did not make stays.
    ///
    /// # Errors
    /// When there is no such network or the kernel refuses.
    pub fn remove_network(&self, id: &str) -> Result<(), FabricError> {
        let mut state = lock(&self.state);
        if state.failed.remove(id).is_some() {
            return Ok(());
        }
        let network =
            state.networks.remove(id).ok_or_else(|| FabricError::NoSuchNetwork { network: id.to_owned() })?;
        drop(state);
        if let (Some(filter), Some(rules)) = (&self.filter, network.rules()) {
            lock(filter).remove_network(&rules.bridge).map_err(|source| FabricError::Firewall { source })?;
        }
        self.drop_link(&network);
        Ok(())
    }

    /// Has the link deleted, which keeps the kernel busy for some time after it is out of sight.
    fn drop_link(&self, network: &Network) {
        if !network.own_link {
            return;
        }
        let name = network.facts.link.clone();
        let job = Job::Drop { index: network.link, name, why: "its network is removed" };
        self.stock.submit(job, Duration::ZERO);
        let deadline = Instant::now() + VANISHING;
        while lock(&self.route).read_link(Which::Index(network.link)).is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What a network is like; `None` for one that does not exist or could not be made.
    #[must_use]
    pub fn facts(&self, id: &str) -> Option<NetworkFacts> {
        lock(&self.state).networks.get(id).map(|network| network.facts.clone())
    }

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

    fn place_of(&self, id: &str) -> Result<Place, FabricError> {
        let state = lock(&self.state);
        let network = state.network(id)?;
        let facts = &network.facts;
        let carrier = match &facts.spec.driver {
            Driver::Bridge(_) => Carrier::Bridge(port_plan(&self.config, network, self.filters_bridges())),
            Driver::Macvlan(spec) => Carrier::Macvlan(network.link, spec.clone()),
        };
        let open = !facts.spec.internal;
        Ok(Place {
            name: facts.spec.name.clone(),
            carrier,
            mtu: facts.spec.mtu,
            subnet4: facts.ipv4.map(|family| family.subnet),
            subnet6: facts.ipv6.map(|family| family.subnet),
            gateway4: facts.ipv4.map(|family| family.gateway).filter(|_| open),
            gateway6: facts.ipv6.map(|family| family.gateway).filter(|_| open),
        })
    }

    fn filters_bridges(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| lock(filter).filters_bridges())
    }

    /// Gives a container its namespace. About 0.1 ms on the default network when one is ready, below 1 ms otherwise.
    ///
    /// The namespace has `lo` and the interfaces up, its routes, and Docker's two sysctls for containers set
    /// (`net.ipv4.ip_unprivileged_port_start=0`, `net.ipv4.ping_group_range=0 2147483647`), so they need not be in the spec.
    ///
    /// # Errors
    /// When no address is left, the asked one is taken or outside, or the kernel refuses. Nothing stays taken then.
    pub fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, FabricError> {
        let mut reserved: Vec<(&str, Taken)> = Vec::with_capacity(request.wishes.len());
        let claimed = self.reserve_all(request, &mut reserved).and_then(|places| {
            let taken: Vec<Taken> = reserved.iter().map(|(_, taken)| *taken).collect();
            self.claim_reserved(request, &places, &taken)
        });
        if claimed.is_err() {
            let mut state = lock(&self.state);
            for (network, taken) in reserved {
                state.give_back(network, taken.addresses());
            }
        }
        claimed
    }

    fn reserve_all<'a>(
        &self,
        request: &ClaimRequest<'a>,
        reserved: &mut Vec<(&'a str, Taken)>,
    ) -> Result<Vec<Place>, FabricError> {
        let mut places = Vec::with_capacity(request.wishes.len());
        for wish in request.wishes {
            check(wish)?;
            reserved.push((&wish.network, take(&self.state, wish)?));
            places.push(self.place_of(&wish.network)?);
        }
        Ok(places)
    }

    fn claim_reserved(
        &self,
        request: &ClaimRequest<'_>,
        places: &[Place],
        taken: &[Taken],
    ) -> Result<Claim, FabricError> {
        let names = interface_names(request.wishes, &[])?;
        let mut endpoints: Vec<Endpoint> = request
            .wishes
            .iter()
            .zip(places)
            .zip(taken)
            .zip(names)
            .map(|(((wish, place), taken), name)| endpoint(request.container, wish, place, *taken, name))
            .collect();
        let ways = plan_ways_out(endpoints.iter().zip(places.iter().map(|place| place.name.as_str())));

        let plugged = request.wishes.first().and_then(|wish| self.take_plugged(wish));
        let (netns, mut inside, mut dns, first) = match plugged {
            Some(plugged) => {
                let Plugged { netns, port, inside_index, inside } = plugged?;
                (netns, inside, None, Some((port, inside_index)))
            }
            None => {
                let Bare { netns, inside, dns } = self.take_bare(request.dns)?;
                (netns, inside, dns, None)
            }
        };
        let mut start = 0;
        if let Some((port, index)) = first {
            configure(&mut inside, index, &endpoints, 0, ways, Some(endpoints[0].mac), &request.wishes[0])?;
            own(&mut endpoints[0], port);
            start = 1;
        }
        for at in start..endpoints.len() {
            let mut host = lock(&self.route);
            let alias = alias_of(request.container);
            let place = &places[at];
            let port = add_interface(&mut host, netns.as_fd(), place, &endpoints[at], &alias)?;
            drop(host);
            self.write_settings(netns.as_fd(), &endpoints[at], &request.wishes[at])?;
            let index = inside.read_link(Which::Name(&endpoints[at].interface))?.index;
            configure(&mut inside, index, &endpoints, at, ways, None, &request.wishes[at])?;
            if let Some(port) = port {
                self.wait_for(&port, place, &mut inside, index)?;
                own(&mut endpoints[at], port);
            }
        }
        if request.dns && dns.is_none() {
            dns = Some(self.open_dns(netns.as_fd())?);
        }
        if start == 1 {
            let job = Job::Alias { index: endpoints[0].host_index, alias: alias_of(request.container) };
            self.stock.submit(job, ALIAS_DELAY);
        }
        Ok(Claim { netns, endpoints, dns })
    }

    /// A ready namespace, when the wish can be met by one.
    fn take_plugged(&self, wish: &EndpointWish) -> Option<Result<Plugged, FabricError>> {
        let plan = self.default_plan.as_ref()?;
        let plain = wish.interface.as_deref().is_none_or(|name| name == FIRST) && wish.sysctls.is_empty();
        if self.config.default_network.as_deref() != Some(wish.network.as_str()) || !plain {
            return None;
        }
        Some(match self.stock.take() {
            Some(plugged) => Ok(plugged),
            None => Plugged::make_apart(&self.outside, plan, READY).map_err(FabricError::from),
        })
    }

    fn take_bare(&self, dns: bool) -> Result<Bare, FabricError> {
        let ready = if dns { self.bare.take() } else { None };
        match ready {
            Some(bare) => {
                self.bare.tend();
                Ok(bare)
            }
            None => Ok(self.outside.on_own_thread(|outside| Bare::make(outside, dns))?),
        }
    }

    fn write_settings(
        &self,
        netns: BorrowedFd<'_>,
        endpoint: &Endpoint,
        wish: &EndpointWish,
    ) -> Result<(), FabricError> {
        let (interface, ipv6, sysctls) =
            (endpoint.interface.clone(), endpoint.address6.is_some(), wish.sysctls.clone());
        Ok(self.visitor.visit(netns, move || attach::write_settings(&interface, ipv6, &sysctls))?)
    }

    fn wait_for(
        &self,
        port: &Port,
        place: &Place,
        inside: &mut Socket,
        index: u32,
    ) -> Result<(), NetlinkError> {
        match &place.carrier {
            Carrier::Bridge(plan) => attach::settle(&mut lock(&self.route), port, plan.bridge, inside, index),
            Carrier::Macvlan(..) => Ok(()),
        }
    }

    /// Plugs a running container's namespace into one more network. `others` are its endpoints so far.
    ///
    /// # Errors
    /// As [`Self::claim`].
    pub fn plug(
        &self,
        netns: BorrowedFd<'_>,
        container: &str,
        wish: &EndpointWish,
        others: &[Endpoint],
    ) -> Result<Endpoint, FabricError> {
        check(wish)?;
        let taken = take(&self.state, wish)?;
        let plugged = self.plug_reserved(netns, container, wish, others, taken);
        if plugged.is_err() {
            lock(&self.state).give_back(&wish.network, taken.addresses());
        }
        plugged
    }

    fn plug_reserved(
        &self,
        netns: BorrowedFd<'_>,
        container: &str,
        wish: &EndpointWish,
        others: &[Endpoint],
        taken: Taken,
    ) -> Result<Endpoint, FabricError> {
        let place = self.place_of(&wish.network)?;
        let mut inside = Inside::open(&self.visitor, netns)?;
        let there: Vec<String> = inside.socket.read_links()?.into_iter().map(|link| link.name).collect();
        let name = interface_names(std::slice::from_ref(wish), &there)?.remove(0);
        let mut new = endpoint(container, wish, &place, taken, name);
        let alias = alias_of(container);
        let port = add_interface(&mut lock(&self.route), inside.netns, &place, &new, &alias)?;
        let finished = self.finish_plug(&mut inside, &place, &new, wish, port.as_ref(), others);
        if finished.is_err()
            && let Some(port) = &port
        {
            let job = Job::Drop { index: port.index, name: port.name.clone(), why: "it could not be set up" };
            self.stock.submit(job, Duration::ZERO);
        }
        finished?;
        if let Some(port) = port {
            own(&mut new, port);
        }
        Ok(new)
    }

    fn finish_plug(
        &self,
        inside: &mut Inside<'_>,
        place: &Place,
        new: &Endpoint,
        wish: &EndpointWish,
        port: Option<&Port>,
        others: &[Endpoint],
    ) -> Result<(), FabricError> {
        self.write_settings(inside.netns, new, wish)?;
        let index = inside.socket.read_link(Which::Name(&new.interface))?.index;
        let mut all = others.to_vec();
        all.push(new.clone());
        let at = others.len();
        configure(&mut inside.socket, index, &all, at, WaysOut::default(), None, wish)?;
        self.route_out(&mut inside.socket, &all)?;
        if let Some(port) = port {
            self.wait_for(port, place, &mut inside.socket, index)?;
        }
        Ok(())
    }

    /// Makes the default routes those that the endpoints call for.
    fn route_out(&self, inside: &mut Socket, endpoints: &[Endpoint]) -> Result<(), NetlinkError> {
        let names: Vec<String> = {
            let state = lock(&self.state);
            let name = |id: &str| state.networks.get(id).map(|network| network.facts.spec.name.clone());
            endpoints.iter().map(|endpoint| name(&endpoint.network).unwrap_or_default()).collect()
        };
        let ways = plan_ways_out(endpoints.iter().zip(names.iter().map(String::as_str)));
        let mut batch = Batch::new();
        for (at, v6) in [(ways.v4, false), (ways.v6, true)] {
            let Some(endpoint) = at.and_then(|at| endpoints.get(at)) else { continue };
            if let Some(gateway) = gateway_of(endpoint, v6) {
                let index = inside.read_link(Which::Name(&endpoint.interface))?.index;
                batch.replace_default_route(index, gateway);
            }
        }
        inside.apply(batch)
    }

    /// Takes an interface out of a running container's namespace and gives its address back; `others` are the endpoints it keeps.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unplug(
        &self,
        netns: BorrowedFd<'_>,
        endpoint: &Endpoint,
        others: &[Endpoint],
    ) -> Result<(), FabricError> {
        let mut inside = Inside::open(&self.visitor, netns)?;
        if let Ok(link) = inside.socket.read_link(Which::Name(&endpoint.interface)) {
            self.route_out(&mut inside.socket, others)?;
            // The kernel is busy with a deleted link long after it is out of sight.
            let job = if endpoint.host_link.is_empty() {
                let socket = self.visitor.visit(netns, || Ok(Socket::open(Family::Route)?))?;
                Job::DropInside { socket, index: link.index }
            } else {
                let (index, name) = (endpoint.host_index, endpoint.host_link.clone());
                Job::Drop { index, name, why: "its container has left the network" }
            };
            self.stock.submit(job, Duration::ZERO);
            let deadline = Instant::now() + VANISHING;
            while inside.socket.read_link(Which::Index(link.index)).is_ok() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        self.release(endpoint);
        Ok(())
    }

    /// Says that nobody needs the endpoint any more: its container's last process is gone. The address becomes free once the kernel
    /// has let the link go. Ports and holes are given back on their own.
    pub fn release(&self, endpoint: &Endpoint) {
        let id = self.network_of(endpoint);
        let mut state = lock(&self.state);
        let Some(network) = state.networks.get_mut(id) else { return };
        let addresses = network.leave(endpoint.addresses());
        if addresses.is_empty() {
            return;
        }
        if endpoint.host_link.is_empty() {
            network.give_back(addresses);
            return;
        }
        drop(state);
        let (network, name) = (id.to_owned(), endpoint.host_link.clone());
        let job = Job::Leave { network, addresses, index: endpoint.host_index, name, looks: 0 };
        self.stock.submit(job, FIRST_LOOK);
    }

    /// Endpoints of records from before there were several networks name none.
    fn network_of<'a>(&'a self, endpoint: &'a Endpoint) -> &'a str {
        match (endpoint.network.as_str(), &self.config.default_network) {
            ("", Some(default)) => default,
            (id, _) => id,
        }
    }

    /// The resolver's sockets inside a running container's namespace, for one that joins its first network of the user's.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open_dns(&self, netns: BorrowedFd<'_>) -> Result<DnsSockets, FabricError> {
        Ok(self.visitor.visit(netns, open_resolver_sockets)?)
    }

    /// Publishes ports of an endpoint, all of them or none: each host port is bound (the socket goes to the keeper), then all are made
    /// reachable in one transaction. Call it on a thread that stands in the host's namespace. On networks that have no way in
    /// (internal ones, macvlan) nothing is published, as with Docker.
    ///
    /// # Errors
    /// When a port is taken, or the kernel refuses. The text lacks only Docker's `driver failed programming external connectivity on
    /// endpoint NAME (ID): ` before it.
    pub fn publish(&self, endpoint: &Endpoint, wishes: &[PortWish]) -> Result<Published, FabricError> {
        let none = Published { bindings: Vec::new(), held: Vec::new(), proxies: Vec::new() };
        if wishes.is_empty() {
            return Ok(none);
        }
        let host_binding = {
            let state = lock(&self.state);
            let network = state.network(self.network_of(endpoint))?;
            match network.bridge() {
                Some(bridge) if !network.facts.spec.internal => bridge.host_binding,
                _ => return Ok(none),
            }
        };
        let mut book = lock(&self.book);
        let bound = bind_all(&self.config, &mut book, endpoint, host_binding, wishes)?;
        drop(book);
        if let Some(filter) = &self.filter {
            let ports = targets(endpoint, &bound.bindings);
            if let Err(source) = lock(filter).publish(&ports) {
                bound.give_back(&mut lock(&self.book));
                return Err(FabricError::Firewall { source });
            }
            self.stock.submit(Job::TurnBack { index: endpoint.host_index }, ALIAS_DELAY);
        }
        let proxies = self.proxies(endpoint, &bound.bindings);
        Ok(Published { bindings: bound.bindings, held: bound.held, proxies })
    }

    /// Closes published ports again, in one transaction. The sockets are the keeper's to let go of (it does when it leaves).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unpublish(&self, bindings: &[Binding]) -> Result<(), FabricError> {
        if bindings.is_empty() {
            return Ok(());
        }
        if let Some(filter) = &self.filter {
            lock(filter).unpublish(bindings).map_err(|source| FabricError::Firewall { source })?;
        }
        let mut book = lock(&self.book);
        for binding in bindings {
            book.remove(binding.protocol, binding.host_ip, binding.host_port);
        }
        Ok(())
    }

    /// The proxies that bindings of an endpoint need: for a keeper that is adopted and must be told anew.
    #[must_use]
    pub fn proxies(&self, endpoint: &Endpoint, bindings: &[Binding]) -> Vec<Proxy> {
        bindings.iter().filter_map(|binding| proxy_of(&self.config, endpoint, binding)).collect()
    }

    /// Lets linked containers talk on networks whose containers may not (`icc=false`); on others there is nothing to do.
    ///
    /// # Errors
    /// When the kernel refuses, or cannot filter bridges.
    pub fn open_holes(&self, holes: &[Hole]) -> Result<(), FabricError> {
        let holes = self.needed(holes);
        let Some(filter) = self.filter.as_ref().filter(|_| !holes.is_empty()) else { return Ok(()) };
        let mut filter = lock(filter);
        if !filter.filters_bridges() {
            return Err(FabricError::Unsupported(
                "this kernel cannot filter between the ports of a bridge (nf_tables, family bridge): containers cannot be linked on a \
                 network without icc"
                    .to_owned(),
            ));
        }
        filter.open_holes(&holes).map_err(|source| FabricError::Firewall { source })
    }

    fn needed(&self, holes: &[Hole]) -> Vec<Hole> {
        let state = lock(&self.state);
        let quiet = |hole: &&Hole| {
            state.networks.get(&hole.network).and_then(Network::bridge).is_some_and(|bridge| !bridge.icc)
        };
        holes.iter().filter(quiet).cloned().collect()
    }

    /// Closes what [`Self::open_holes`] opened; one that is not open is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn close_holes(&self, holes: &[Hole]) -> Result<(), FabricError> {
        let Some(filter) = &self.filter else { return Ok(()) };
        lock(filter).close_holes(holes).map_err(|source| FabricError::Firewall { source })
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
        drop((self.stock, self.bare));
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

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn with_network(config: &FabricConfig, live: &LiveEndpoint) -> LiveEndpoint {
    let mut live = live.clone();
    if live.endpoint.network.is_empty() {
        live.endpoint.network = config.default_network.clone().unwrap_or_default();
    }
    live
}

/// What the engine's networks cover.
fn subnets(state: &State) -> Vec<IpNet> {
    let facts = state.networks.values().map(|network| &network.facts);
    facts
        .flat_map(|facts| {
            let v4 = facts.ipv4.map(|family| IpNet::V4(family.subnet));
            let v6 = facts.ipv6.map(|family| IpNet::V6(family.subnet));
            v4.into_iter().chain(v6)
        })
        .collect()
}

fn targets(endpoint: &Endpoint, bindings: &[Binding]) -> Vec<(Binding, SocketAddr)> {
    bindings.iter().filter_map(|binding| Some((*binding, target_of(endpoint, binding)?))).collect()
}

/// Decides the rules and makes them hold; guarded when the engine has switched routing on, now or when it made the table that is there.
fn open_filter(
    route: &mut Socket,
    config: &FabricConfig,
    state: &State,
    live: &[LiveEndpoint],
    switched_on: bool,
    warnings: &mut Vec<String>,
) -> Result<Filter, FabricError> {
    let refused = |source| FabricError::Firewall { source };
    let mut socket = Socket::open(Family::Netfilter)?;
    let links: Vec<String> = route.read_links()?.into_iter().map(|link| link.name).collect();
    let swept = sweep(&mut socket, &links).map_err(refused)?;
    if !swept.is_empty() {
        tracing::info!("removed the rules of bridges that are gone: {}", swept.join(" "));
    }
    let table = table_name(&config.mark);
    let guard = config.forward_guard && (switched_on || read_guard(&mut socket, &table).map_err(refused)?);
    let quiet = |hole: &&Hole| {
        state.networks.get(&hole.network).and_then(Network::bridge).is_some_and(|bridge| !bridge.icc)
    };
    let holes: BTreeSet<Hole> = live.iter().flat_map(|one| &one.holes).filter(quiet).cloned().collect();
    let ports: BTreeMap<Binding, SocketAddr> =
        live.iter().flat_map(|one| targets(&one.endpoint, &one.bindings)).collect();
    let networks = state.networks.values().filter_map(Network::rules).collect();
    let mut filter = Filter::new(Rules { table, guard, networks, ports, holes }, socket);
    warnings.extend(filter.apply().map_err(refused)?);
    warnings.extend(host::has_legacy_iptables().then(|| LEGACY_IPTABLES.to_owned()));
    Ok(filter)
}

/// Puts live endpoints back on their bridges; answers those that have no link, and the links that nobody owns.
fn repair_links(
    route: &mut Socket,
    config: &FabricConfig,
    state: &State,
    frames: bool,
    live: &[LiveEndpoint],
) -> Result<(Vec<Endpoint>, Vec<(u32, String)>), FabricError> {
    let bridges = state
        .networks
        .iter()
        .filter(|(_, network)| network.bridge().is_some())
        .map(|(id, network)| (id.clone(), network.link))
        .collect();
    let endpoints: Vec<&Endpoint> = live.iter().map(|one| &one.endpoint).collect();
    let links = route.read_links()?;
    let repair = plan_repair(&links, &bridges, &alias_of(""), &alias_of_bridges(&config.mark), &endpoints);
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
    Ok((repair.lost, repair.orphans))
}

fn port_plan(config: &FabricConfig, network: &Network, frames: bool) -> PortPlan {
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
pub(crate) fn alias_of(container: &str) -> String {
    format!("minke:{container}")
}

/// Refuses what no kernel would do.
fn check(wish: &EndpointWish) -> Result<(), FabricError> {
    if let Some(name) = &wish.interface
        && (!is_link_name(name) || name == "lo")
    {
        return Err(FabricError::Invalid(format!("invalid interface name: {name}")));
    }
    if let Some((key, _)) = wish.sysctls.iter().find(|(key, _)| !attach::is_endpoint_sysctl(key)) {
        return Err(FabricError::Invalid(format!(
            "invalid endpoint sysctl setting {key}: it must be of the form net.X.Y.IFNAME.Z"
        )));
    }
    Ok(())
}

/// A name for each interface: the asked one, else the first `eth` number that is free.
fn interface_names(wishes: &[EndpointWish], there: &[String]) -> Result<Vec<String>, FabricError> {
    let mut used: Vec<String> =
        there.iter().cloned().chain(wishes.iter().filter_map(|wish| wish.interface.clone())).collect();
    for (at, name) in wishes.iter().enumerate().filter_map(|(at, wish)| Some((at, wish.interface.as_ref()?)))
    {
        if there.contains(name) || wishes[..at].iter().any(|other| other.interface.as_ref() == Some(name)) {
            return Err(FabricError::Invalid(format!("interface name {name} is used already")));
        }
    }
    let mut names = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let name = match &wish.interface {
            Some(name) => name.clone(),
            None => {
                let free = (0_u32..).map(|number| format!("eth{number}")).find(|name| !used.contains(name));
                free.unwrap_or_default()
            }
        };
        used.push(name.clone());
        names.push(name);
    }
    Ok(names)
}

/// The endpoint that comes of a wish, without its link.
fn endpoint(
    container: &str,
    wish: &EndpointWish,
    place: &Place,
    taken: Taken,
    interface: String,
) -> Endpoint {
    let mac = wish.mac.unwrap_or_else(|| match (taken.v4, taken.v6) {
        (Some(address), _) => Mac::of(address),
        (None, Some(address)) => Mac::of6(address),
        (None, None) => {
            let [a, b, c, d] = attach::random_bytes();
            Mac([0x02, 0x42, a, b, c, d])
        }
    });
    let v4 = |address: IpAddr| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let v6 = |address: IpAddr| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    };
    Endpoint {
        container: container.to_owned(),
        network: wish.network.clone(),
        host_link: String::new(),
        host_index: 0,
        interface,
        address: taken.v4.zip(place.subnet4).map(|(address, subnet)| with_prefix(address, subnet)),
        gateway: place.gateway4.and_then(v4),
        address6: taken
            .v6
            .zip(place.subnet6)
            .and_then(|(address, subnet)| crate::address::Ipv6Net::new(address, subnet.prefix())),
        gateway6: place.gateway6.and_then(v6),
        mac,
        gateway_priority: wish.gateway_priority,
    }
}

fn own(endpoint: &mut Endpoint, port: Port) {
    endpoint.host_link = port.name;
    endpoint.host_index = port.index;
}

/// Makes the endpoint's interface inside the namespace; answers the host's end if it has one.
fn add_interface(
    host: &mut Socket,
    netns: BorrowedFd<'_>,
    place: &Place,
    endpoint: &Endpoint,
    alias: &str,
) -> Result<Option<Port>, NetlinkError> {
    match &place.carrier {
        Carrier::Bridge(plan) => {
            attach::add_pair(host, netns, plan, &endpoint.interface, Some(endpoint.mac), alias).map(Some)
        }
        Carrier::Macvlan(parent, spec) => {
            let (name, mac) = (&endpoint.interface, endpoint.mac);
            attach::add_macvlan(host, netns, *parent, spec, name, mac, place.mtu).map(|()| None)
        }
    }
}

/// Gives the container's end its addresses and, if it is one of the ways out, the route, in one system call.
fn configure(
    inside: &mut Socket,
    index: u32,
    endpoints: &[Endpoint],
    at: usize,
    ways: WaysOut,
    mac: Option<Mac>,
    wish: &EndpointWish,
) -> Result<(), NetlinkError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match inside.apply(plan_interface(index, endpoints, at, ways, mac, wish)) {
            // A macvlan interface has its hardware address for itself; the one that had it before is just vanishing.
            Err(error) if error.errno() == Some(Errno::ADDRINUSE) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

fn plan_interface(
    index: u32,
    endpoints: &[Endpoint],
    at: usize,
    ways: WaysOut,
    mac: Option<Mac>,
    wish: &EndpointWish,
) -> Batch {
    let endpoint = &endpoints[at];
    let mut batch = Batch::new();
    match mac {
        // It is up already.
        Some(mac) => batch.set_mac(index, mac),
        None => batch.set_up(Which::Index(index)),
    }
    for address in attach::addresses_of(endpoint) {
        batch.add_address(index, address);
    }
    for address in &wish.link_local {
        batch.add_address(index, link_local(*address));
    }
    for (way, v6) in [(ways.v4, false), (ways.v6, true)] {
        if let Some(gateway) = gateway_of(endpoint, v6).filter(|_| way == Some(at)) {
            batch.add_default_route(index, gateway);
        }
    }
    batch
}

/// Link-local addresses come without a prefix length.
fn link_local(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(address) => {
            IpNet::V4(crate::address::Ipv4Net::new(address, 16).expect("16 is a prefix length"))
        }
        IpAddr::V6(address) => {
            IpNet::V6(crate::address::Ipv6Net::new(address, 64).expect("64 is a prefix length"))
        }
    }
}
