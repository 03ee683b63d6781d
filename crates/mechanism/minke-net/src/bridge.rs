//! The default bridge: opened once by the daemon, it gives each container a namespace that is plugged into it.
//!
//! Life of an endpoint: the stock's thread makes a namespace with an interface pair; [`Bridge::claim`] takes one, chooses an address
//! and configures it with one message; the engine hands the descriptor to the keeper and lets go of it; when the container's last
//! process is gone the kernel removes the pair; [`Bridge::release`] gives the address back after that has happened.
//!
//! What the bridge needs to be is put in place by [`crate::reconcile`]; what the packet filter holds is [`crate::nft`]'s.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::address::{AddressPool, Ipv4Net, Mac, NoFreeSubnet, default_pools};
use crate::allocator::{AllocateError, Allocator};
use crate::endpoint::Endpoint;
use crate::links::Which;
use crate::namespace::{NamespaceError, Outside};
use crate::netlink::{Batch, Family, NetlinkError, Socket};
use crate::nft::abandoned::sweep;
use crate::nft::apply::{read_guard, remove_table};
use crate::nft::foreign::remove_passage;
use crate::nft::plan::{NetworkRules, plan_rules, table_name};
use crate::nft::watch::{Firewall, Watch};
use crate::plug::{PlugPlan, Plugged};
use crate::plugger::{Job, Plugger};
use crate::reconcile::{Placed, place_bridge, repair_endpoints};
use crate::stock::Stock;
use crate::{host, host::Forwarding};
use std::os::fd::OwnedFd;

/// After a claim the link's alias is brought up to date when the container has started.
const ALIAS_DELAY: Duration = Duration::from_millis(60);
/// The kernel lets a link go 15 to 60 ms after its namespace's last holder.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// An address that is being given back is waited for this long when somebody needs it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Namespaces of a daemon that was killed vanish by themselves within this time.
const ORPHAN_DELAY: Duration = Duration::from_secs(2);

const LEGACY_IPTABLES: &str = "the host uses legacy iptables, whose rules nftables cannot see: if its FORWARD chain drops, \
                               containers do not reach other hosts";

/// How the bridge shall be; each field has the daemon flag or daemon.json key of the same meaning.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// `--bridge`: the link's name.
    pub name: String,
    /// `--bip`: the bridge's own address and subnet; chosen from `pools` otherwise.
    pub bip: Option<Ipv4Net>,
    /// `--fixed-cidr`: containers' addresses come from this part of the subnet.
    pub fixed_cidr: Option<Ipv4Net>,
    /// `--default-gateway`: what containers route through instead of the bridge's address.
    pub default_gateway: Option<Ipv4Addr>,
    /// `default-address-pools`.
    pub pools: Vec<AddressPool>,
    /// `--mtu`.
    pub mtu: u32,
    /// `--icc`: containers of the bridge may talk to each other.
    pub icc: bool,
    /// `--ip-masq`: traffic that leaves the host carries the host's address.
    pub masquerade: bool,
    /// `--ip-forward`: switch routing on when it is off.
    pub ip_forward: bool,
    /// The opposite of `--ip-forward-no-drop`: a host whose routing the engine switched on routes for the engine's bridges only.
    pub forward_guard: bool,
    /// `--iptables`: whether any rule is written at all.
    pub firewall: bool,
    /// How many plugged namespaces wait for a container.
    pub ready: usize,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            name: "minke0".to_owned(),
            bip: None,
            fixed_cidr: None,
            default_gateway: None,
            pools: default_pools(),
            mtu: 1500,
            icc: true,
            masquerade: true,
            ip_forward: true,
            forward_guard: true,
            firewall: true,
            ready: 8,
        }
    }
}

/// What `network inspect bridge` tells.
#[derive(Clone, Debug)]
pub struct BridgeFacts {
    pub name: String,
    pub subnet: Ipv4Net,
    /// The bridge's own address.
    pub address: Ipv4Addr,
    /// Where containers route through: the bridge's address unless configured otherwise.
    pub gateway: Ipv4Addr,
    pub mtu: u32,
    pub icc: bool,
    pub masquerade: bool,
}

/// A bridge or one of its endpoints could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    #[error("no available IPv4 addresses on this network's address pools: bridge ({network})")]
    Exhausted { network: String },
    #[error("Address already in use")]
    AddressInUse { address: Ipv4Addr },
    #[error("invalid address {address}: It does not belong to any of this network's subnets")]
    AddressOutside { address: Ipv4Addr },
    #[error("{name} is not a bridge name: it needs 1 to 15 characters, none of them blank, '/' or '\"'")]
    Name { name: String },
    #[error("interface {name} exists and is not a bridge but {}", if kind.is_empty() { "a device" } else { kind })]
    NotABridge { name: String, kind: String },
    #[error("{what} {address} is not in the bridge's subnet {subnet}")]
    NotInSubnet { what: &'static str, address: String, subnet: Ipv4Net },
    #[error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    )]
    NoSubnet(#[from] NoFreeSubnet),
    #[error("set up the packet filter for bridge {name}")]
    Firewall { name: String, source: NetlinkError },
    #[error("prepare a network namespace")]
    Namespace(#[from] NamespaceError),
    #[error("configure the network")]
    Netlink(#[from] NetlinkError),
    #[error("start the threads of the bridge")]
    Thread { source: std::io::Error },
}

/// What a container asks of the bridge.
#[derive(Clone, Debug, Default)]
pub struct BridgeClaimRequest<'a> {
    pub container: &'a str,
    pub address: Option<Ipv4Addr>,
    pub mac: Option<Mac>,
}

/// A namespace with `lo` and `eth0` up and addressed.
#[derive(Debug)]
pub struct BridgeClaim {
    pub netns: OwnedFd,
    pub endpoint: Endpoint,
}

/// The default bridge, its rules, its addresses and its ready namespaces. Cheap to share behind an `Arc`; every method may be called
/// from any thread. Made by a thread that stands in the host's network namespace.
#[derive(Debug)]
pub struct Bridge {
    facts: BridgeFacts,
    index: u32,
    table: Option<String>,
    watch: Option<Watch>,
    addresses: Arc<Mutex<Addresses>>,
    plan: PlugPlan,
    outside: Outside,
    route: Mutex<Socket>,
    /// Kept for as long as the daemon lives; see [`crate::nft`].
    filter: Option<Mutex<Socket>>,
    stock: Stock<Plugger>,
    lost: Vec<Endpoint>,
}

/// Addresses and those among them that wait for their link to go.
#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) allocator: Allocator,
    pub(crate) leaving: Vec<Ipv4Addr>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these guard stays whole when a holder panics: bitmaps and sockets that skip answers of others.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bridge {
    /// Makes or repairs the bridge and its rules, takes the addresses of `live` endpoints as used, drops interfaces of this bridge
    /// that nobody in `live` owns, and begins to fill the store of ready namespaces. Answers warnings for the log and `info`.
    ///
    /// # Errors
    /// When the bridge or its rules cannot be made.
    pub fn open(config: BridgeConfig, live: &[Endpoint]) -> Result<(Self, Vec<String>), BridgeError> {
        let outside = Outside::of_this_thread()?;
        let mut route = Socket::open(Family::Route)?;
        let placed = place_bridge(&mut route, &config)?;
        let facts = facts(&config, &placed)?;
        let mut warnings = Vec::new();

        let mut allocator = Allocator::new(facts.subnet, config.fixed_cidr);
        for address in [facts.address, facts.gateway] {
            // The two may be one.
            if let Err(AllocateError::Outside(address)) = allocator.reserve(address) {
                let address = address.to_string();
                return Err(BridgeError::NotInSubnet {
                    what: "default gateway",
                    address,
                    subnet: facts.subnet,
                });
            }
        }
        for endpoint in live {
            let Some(address) = endpoint.address else { continue };
            if let Err(error) = allocator.reserve(address.address()) {
                warnings.push(format!(
                    "container {} keeps an address that is not its own any more: {error}",
                    endpoint.container
                ));
            }
        }
        let leftover = repair_endpoints(&mut route, placed.index, &alias_of(""), live)?;

        let forwarding = host::apply_forwarding(config.ip_forward);
        if let Forwarding::Refused(error) = &forwarding {
            warnings.push(format!("IPv4 forwarding is disabled and cannot be switched on ({error}): containers do not reach other hosts"));
        }
        let (table, filter, watch) = if config.firewall {
            let table = table_name(&config.name);
            let refused = |source| BridgeError::Firewall { name: config.name.clone(), source };
            let mut socket = Socket::open(Family::Netfilter)?;
            let links: Vec<String> = route.read_links()?.into_iter().map(|link| link.name).collect();
            let swept = sweep(&mut socket, &links).map_err(refused)?;
            if !swept.is_empty() {
                tracing::info!("removed the rules of bridges that are gone: {}", swept.join(" "));
            }
            let switched_on = matches!(forwarding, Forwarding::SwitchedOn);
            let firewall =
                plan_firewall(&mut socket, &config, &facts, &table, switched_on).map_err(refused)?;
            warnings.extend(firewall.apply(&mut socket).map_err(refused)?);
            warnings.extend(host::has_legacy_iptables().then(|| LEGACY_IPTABLES.to_owned()));
            let watch = Watch::open(firewall, Socket::open(Family::Netfilter)?)
                .map_err(|source| BridgeError::Thread { source })?;
            (Some(table), Some(Mutex::new(socket)), Some(watch))
        } else {
            (None, None, None)
        };

        let plan = PlugPlan {
            bridge: placed.index,
            mtu: config.mtu,
            isolated: !config.icc,
            alias: alias_of("ready"),
        };
        let addresses = Arc::new(Mutex::new(Addresses { allocator, leaving: Vec::new() }));
        let plugger = Plugger {
            outside: outside.duplicate()?,
            route: Socket::open(Family::Route)?,
            plan: plan.clone(),
            addresses: Arc::clone(&addresses),
        };
        let stock = Stock::open("minke-net", config.ready, plugger)
            .map_err(|source| BridgeError::Thread { source })?;
        for (index, name) in leftover.orphans {
            stock.submit(Job::DropOrphan { index, name }, ORPHAN_DELAY);
        }
        let route = Mutex::new(route);
        Ok((
            Self {
                facts,
                index: placed.index,
                table,
                watch,
                addresses,
                plan,
                outside,
                route,
                filter,
                stock,
                lost: leftover.lost,
            },
            warnings,
        ))
    }

    /// Those of the live endpoints that had no link when the bridge was opened: their containers have ended meanwhile, or were cut
    /// off and must be started again to be reconnected.
    #[must_use]
    pub fn lost(&self) -> &[Endpoint] {
        &self.lost
    }

    #[must_use]
    pub fn facts(&self) -> &BridgeFacts {
        &self.facts
    }

    /// How many namespaces are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.stock.ready()
    }

    /// Takes a ready namespace, or makes one, and gives it its address. About 0.1 ms when one is ready, 1 ms otherwise.
    ///
    /// The namespace has `lo` and `eth0` up, a default route, IPv6 off on `eth0`, and Docker's two sysctls for containers set
    /// (`net.ipv4.ip_unprivileged_port_start=0`, `net.ipv4.ping_group_range=0 2147483647`), so they need not be in the spec.
    ///
    /// # Errors
    /// When no address is left, the asked one is taken or outside, or the kernel refuses.
    pub fn claim(&self, request: &BridgeClaimRequest<'_>) -> Result<BridgeClaim, BridgeError> {
        let address = self.take_address(request.address)?;
        let claimed = self.plug(request, address);
        if claimed.is_err() {
            lock(&self.addresses).allocator.free(address);
        }
        claimed
    }

    fn plug(&self, request: &BridgeClaimRequest<'_>, address: Ipv4Addr) -> Result<BridgeClaim, BridgeError> {
        let mut plugged = match self.stock.take() {
            Some(plugged) => plugged,
            None => Plugged::make_apart(&self.outside, &self.plan)?,
        };
        let mac = request.mac.unwrap_or_else(|| Mac::of(address));
        let with_prefix =
            Ipv4Net::new(address, self.facts.subnet.prefix()).expect("a subnet's prefix is valid");
        plugged.configure(with_prefix, self.facts.gateway, mac)?;
        let endpoint = Endpoint {
            container: request.container.to_owned(),
            host_link: plugged.host_name,
            host_index: plugged.host_index,
            network: String::new(),
            interface: "eth0".to_owned(),
            address: Some(with_prefix),
            gateway: Some(self.facts.gateway),
            address6: None,
            gateway6: None,
            gateway_priority: 0,
            mac,
        };
        let job = Job::Alias { index: endpoint.host_index, alias: alias_of(request.container) };
        self.stock.submit(job, ALIAS_DELAY);
        Ok(BridgeClaim { netns: plugged.netns, endpoint })
    }

    /// Takes an address, and waits a moment for one that is just being given back when that is the only hindrance.
    fn take_address(&self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, BridgeError> {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let mut addresses = lock(&self.addresses);
            let taken = match wanted {
                Some(address) => addresses.allocator.reserve(address).map(|()| address),
                None => addresses.allocator.allocate(),
            };
            let (error, worth_waiting) = match taken {
                Ok(address) => return Ok(address),
                Err(AllocateError::Exhausted) => {
                    let network = self.facts.subnet.network().to_string();
                    (BridgeError::Exhausted { network }, !addresses.leaving.is_empty())
                }
                Err(AllocateError::InUse(address)) => {
                    (BridgeError::AddressInUse { address }, addresses.leaving.contains(&address))
                }
                Err(AllocateError::Outside(address)) => (BridgeError::AddressOutside { address }, false),
            };
            drop(addresses);
            if !worth_waiting || std::time::Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Says that nobody needs the endpoint any more. Its address becomes free once the kernel has let the link go.
    pub fn release(&self, endpoint: &Endpoint) {
        let Some(address) = endpoint.address.map(Ipv4Net::address) else { return };
        let mut addresses = lock(&self.addresses);
        // An endpoint of an older subnet, or one released before.
        if !self.facts.subnet.contains(address) || addresses.leaving.contains(&address) {
            return;
        }
        addresses.leaving.push(address);
        drop(addresses);
        let job =
            Job::Leave { address, index: endpoint.host_index, name: endpoint.host_link.clone(), looks: 0 };
        self.stock.submit(job, FIRST_LOOK);
    }

    /// Counters of the container's `eth0`.
    ///
    /// # Errors
    /// When the link is gone.
    pub fn read_statistics(&self, endpoint: &Endpoint) -> Result<Statistics, BridgeError> {
        let link = lock(&self.route).read_link(Which::Name(&endpoint.host_link))?;
        // What the host's end sends the container receives.
        let seen = link.counters;
        Ok(Statistics {
            rx_bytes: seen.tx_bytes,
            rx_packets: seen.tx_packets,
            rx_errors: seen.tx_errors,
            rx_dropped: seen.tx_dropped,
            tx_bytes: seen.rx_bytes,
            tx_packets: seen.rx_packets,
            tx_errors: seen.rx_errors,
            tx_dropped: seen.rx_dropped,
        })
    }

    /// Removes rules and bridge: for tests and for a daemon that is uninstalled.
    ///
    /// # Errors
    /// When the kernel refuses; what could be removed has been removed.
    pub fn remove(self) -> Result<(), BridgeError> {
        drop(self.stock);
        // Before the rules go, or they would be put back.
        drop(self.watch);
        let firewall = match (&self.filter, &self.table) {
            (Some(socket), Some(table)) => {
                let mut socket = lock(socket);
                remove_passage(&mut socket, &self.facts.name).and(remove_table(&mut socket, table))
            }
            _ => Ok(()),
        };
        let mut batch = Batch::new();
        batch.delete_link(self.index);
        lock(&self.route).apply(batch)?;
        firewall.map_err(|source| BridgeError::Firewall { name: self.facts.name, source })
    }
}

fn facts(config: &BridgeConfig, placed: &Placed) -> Result<BridgeFacts, BridgeError> {
    let subnet = placed.address.network();
    if let Some(range) = config.fixed_cidr
        && (!subnet.contains(range.address()) || range.prefix() < subnet.prefix())
    {
        return Err(BridgeError::NotInSubnet { what: "fixed-cidr", address: range.to_string(), subnet });
    }
    let address = placed.address.address();
    Ok(BridgeFacts {
        name: config.name.clone(),
        subnet,
        address,
        gateway: config.default_gateway.unwrap_or(address),
        mtu: config.mtu,
        icc: config.icc,
        masquerade: config.masquerade,
    })
}

/// The rules of this bridge; guarded when the engine has switched routing on, now or when it made the table that is there.
fn plan_firewall(
    socket: &mut Socket,
    config: &BridgeConfig,
    facts: &BridgeFacts,
    table: &str,
    switched_on: bool,
) -> Result<Firewall, NetlinkError> {
    let guard = config.forward_guard && (switched_on || read_guard(socket, table)?);
    let network = NetworkRules {
        bridge: facts.name.clone(),
        subnet: facts.subnet,
        masquerade: facts.masquerade,
        icc: facts.icc,
    };
    Ok(Firewall { table: plan_rules(table, &[network], guard), bridge: facts.name.clone() })
}

/// The alias by which a link of ours is known; all of them start as the empty container's does.
fn alias_of(container: &str) -> String {
    format!("minke:{container}")
}

/// Counters of one interface, seen from inside the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}
