//! The default bridge: opened once by the daemon, it gives each container a namespace that is plugged into it.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use crate::address::{AddressPool, Ipv4Net, default_pools};
use crate::endpoint::{Claim, ClaimRequest, Endpoint};

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
    /// The bridge's own address in the subnet, which is the containers' gateway unless configured otherwise.
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
    #[error("not built yet")]
    Unbuilt,
}

/// The default bridge, its rules, its addresses and its ready namespaces. Cheap to share behind an `Arc`; every method may be called
/// from any thread. Made by a thread that stands in the host's network namespace.
#[derive(Debug)]
pub struct Bridge {
    facts: BridgeFacts,
}

impl Bridge {
    /// Makes or repairs the bridge and its rules, takes the addresses of `live` endpoints as used, drops interfaces of this bridge
    /// that nobody in `live` owns, and begins to fill the store of ready namespaces. Answers warnings for the log and `info`.
    ///
    /// # Errors
    /// When the bridge or its rules cannot be made.
    pub fn open(_config: BridgeConfig, _live: &[Endpoint]) -> Result<(Self, Vec<String>), BridgeError> {
        Err(BridgeError::Unbuilt)
    }

    #[must_use]
    pub fn facts(&self) -> &BridgeFacts {
        &self.facts
    }

    /// Takes a ready namespace, or makes one, and gives it its address. About 0.1 ms when one is ready.
    ///
    /// The namespace has `lo` and `eth0` up, a default route, IPv6 off on `eth0`, and Docker's two sysctls for containers set
    /// (`net.ipv4.ip_unprivileged_port_start=0`, `net.ipv4.ping_group_range=0 2147483647`), so they need not be in the spec.
    ///
    /// # Errors
    /// When no address is left, the asked one is taken or outside, or the kernel refuses.
    pub fn claim(&self, _request: &ClaimRequest<'_>) -> Result<Claim, BridgeError> {
        Err(BridgeError::Unbuilt)
    }

    /// Says that nobody needs the endpoint any more. Its address becomes free once the kernel has let the link go.
    pub fn release(&self, _endpoint: &Endpoint) {}

    /// Counters of the container's `eth0`.
    ///
    /// # Errors
    /// When the link is gone.
    pub fn read_statistics(&self, _endpoint: &Endpoint) -> Result<Statistics, BridgeError> {
        Err(BridgeError::Unbuilt)
    }

    /// Removes rules and bridge: for tests and for a daemon that is uninstalled.
    ///
    /// # Errors
    /// When the kernel refuses; what could be removed has been removed.
    pub fn remove(self) -> Result<(), BridgeError> {
        Err(BridgeError::Unbuilt)
    }
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

/// Namespaces with nothing but `lo`: for `--network none`.
#[derive(Debug)]
pub struct IsolatedNamespaces {}

impl IsolatedNamespaces {
    /// Begins to fill a store of `ready` namespaces.
    ///
    /// # Errors
    /// When the filling thread cannot be started.
    pub fn open(_ready: usize) -> Result<Self, BridgeError> {
        Err(BridgeError::Unbuilt)
    }

    /// Takes a ready namespace or makes one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn claim(&self) -> Result<OwnedFd, BridgeError> {
        Err(BridgeError::Unbuilt)
    }
}
