//! All networks of one engine: opened once by the daemon, it makes and removes networks, gives containers their namespaces, plugs
//! running ones in and out, and publishes ports.
//!
//! What exists is decided by the engine's records; what the kernel holds is decided by plans that are pure functions of the same
//! ([`crate::nft`]), applied over sockets that stay open as long as the engine. Each public method may be called from any thread.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use minke_base::Kind;

use crate::address::{AddressPool, default_pools};
use crate::bridge::Statistics;
use crate::endpoint::{Claim, ClaimRequest, DnsSockets, Endpoint, EndpointWish, LiveEndpoint};
use crate::namespace::NamespaceError;
use crate::netlink::NetlinkError;
use crate::network::{NetworkFacts, NetworkSpec};
use crate::ports::{Binding, Hole, PortWish, Protocol, Proxy, Published};

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
            Self::Overlap | Self::AddressOutside { .. } => Kind::Forbidden,
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
        Err(pending())
    }

    /// Makes a network, and makes the choices that its request leaves open.
    ///
    /// # Errors
    /// When the request contradicts itself, the host or another network, or the kernel refuses; nothing of it is left then.
    pub fn add_network(&self, spec: &NetworkSpec) -> Result<NetworkFacts, FabricError> {
        Err(pending())
    }

    /// Takes a network away. The engine has made sure that no endpoint is left. The bridge's rules are gone when this answers; its
    /// link goes in the background.
    ///
    /// # Errors
    /// When there is no such network or the kernel refuses.
    pub fn remove_network(&self, id: &str) -> Result<(), FabricError> {
        Err(pending())
    }

    /// What a network is like; `None` for one that does not exist or could not be made.
    #[must_use]
    pub fn facts(&self, id: &str) -> Option<NetworkFacts> {
        None
    }

    /// Gives a container its namespace. About 0.1 ms on the default network when one is ready, below 1 ms otherwise.
    ///
    /// The namespace has `lo` and the interfaces up, its routes, and Docker's two sysctls for containers set
    /// (`net.ipv4.ip_unprivileged_port_start=0`, `net.ipv4.ping_group_range=0 2147483647`), so they need not be in the spec.
    ///
    /// # Errors
    /// When no address is left, the asked one is taken or outside, or the kernel refuses. Nothing stays taken then.
    pub fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, FabricError> {
        Err(pending())
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
        Err(pending())
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
        Err(pending())
    }

    /// Says that nobody needs the endpoint any more: its container's last process is gone. The address becomes free once the kernel
    /// has let the link go. Ports and holes are given back on their own.
    pub fn release(&self, endpoint: &Endpoint) {}

    /// The resolver's sockets inside a running container's namespace, for one that joins its first network of the user's.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open_dns(&self, netns: BorrowedFd<'_>) -> Result<DnsSockets, FabricError> {
        Err(pending())
    }

    /// Publishes ports of an endpoint, all of them or none: each host port is bound (the socket goes to the keeper), then all are made
    /// reachable in one transaction.
    ///
    /// # Errors
    /// When a port is taken, or the kernel refuses. The text lacks only Docker's `driver failed programming external connectivity on
    /// endpoint NAME (ID): ` before it.
    pub fn publish(&self, endpoint: &Endpoint, wishes: &[PortWish]) -> Result<Published, FabricError> {
        Err(pending())
    }

    /// Closes published ports again, in one transaction. The sockets are the keeper's to let go of (it does when it leaves).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unpublish(&self, bindings: &[Binding]) -> Result<(), FabricError> {
        Err(pending())
    }

    /// The proxies that bindings of an endpoint need: for a keeper that is adopted and must be told anew.
    #[must_use]
    pub fn proxies(&self, endpoint: &Endpoint, bindings: &[Binding]) -> Vec<Proxy> {
        Vec::new()
    }

    /// Lets linked containers talk on networks whose containers may not (`icc=false`); on others there is nothing to do.
    ///
    /// # Errors
    /// When the kernel refuses, or cannot filter bridges.
    pub fn open_holes(&self, holes: &[Hole]) -> Result<(), FabricError> {
        Err(pending())
    }

    /// Closes what [`Self::open_holes`] opened; one that is not open is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn close_holes(&self, holes: &[Hole]) -> Result<(), FabricError> {
        Err(pending())
    }

    /// Counters of the container's end.
    ///
    /// # Errors
    /// When the link is gone.
    pub fn read_statistics(&self, endpoint: &Endpoint) -> Result<Statistics, FabricError> {
        Err(pending())
    }

    /// Removes every network's link and rules: for tests and for an engine that is uninstalled.
    ///
    /// # Errors
    /// When the kernel refuses; what could be removed has been removed.
    pub fn remove(self) -> Result<(), FabricError> {
        Err(pending())
    }
}

fn pending() -> FabricError {
    FabricError::Unsupported("user networks are being built".to_owned())
}
