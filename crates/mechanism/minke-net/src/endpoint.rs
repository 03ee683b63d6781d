//! A container's place on a network, as a value that the engine keeps in its records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::address::{Ipv4Net, Ipv6Net, Mac};
use crate::links::Counters;
use crate::ports::{Binding, Hole};

/// Where containers of users' networks ask for names.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// A container's interface: what `inspect` shows, what the reconciliation at start needs, what gives the statistics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The container's id; the host's end carries it as its alias.
    pub container: String,
    /// The network's id.
    #[serde(default)]
    pub network: String,
    /// Name of the host's end, random and never used twice; empty for macvlan.
    pub host_link: String,
    /// Index of the host's end; counts up, so it tells a link from a later one. 0 for macvlan.
    pub host_index: u32,
    /// Name of the container's end: `eth0`, …
    #[serde(default = "eth0")]
    pub interface: String,
    pub address: Option<Ipv4Net>,
    pub gateway: Option<Ipv4Addr>,
    #[serde(default)]
    pub address6: Option<Ipv6Net>,
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    pub mac: Mac,
    /// `gw-priority`: among a container's networks the highest is its way out.
    #[serde(default)]
    pub gateway_priority: i32,
}

fn eth0() -> String {
    "eth0".to_owned()
}

/// What a container asks of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointWish {
    /// The network's id.
    pub network: String,
    /// `--ip`; the lowest free one otherwise.
    pub address: Option<Ipv4Addr>,
    /// `--ip6`; the one with the IPv4 address's place in its subnet if that is free, else the lowest free one.
    pub address6: Option<Ipv6Addr>,
    /// `--link-local-ip`: further addresses of the interface.
    pub link_local: Vec<IpAddr>,
    /// `--mac-address`; one that follows from the address otherwise.
    pub mac: Option<Mac>,
    /// `com.docker.network.endpoint.ifname`; the first free `eth` number otherwise.
    pub interface: Option<String>,
    /// `com.docker.network.endpoint.sysctls`, split at commas and `=`: `net.ipv4.conf.IFNAME.log_martians`, `1`.
    pub sysctls: Vec<(String, String)>,
    pub gateway_priority: i32,
}

/// A container's whole network. Interfaces are numbered in the order of `wishes`; the way out is that of the highest priority, then of
/// the first network by name, internal networks last.
#[derive(Clone, Debug, Default)]
pub struct ClaimRequest<'a> {
    /// The container's id.
    pub container: &'a str,
    pub wishes: &'a [EndpointWish],
    /// The resolver's sockets are wanted: the container is on a network of the user's.
    pub dns: bool,
}

/// A network namespace with `lo` and the interfaces up and addressed, ready to be joined.
///
/// The file descriptor is the namespace's only holder: whoever drops the last reference (this one, the resolver's sockets, the
/// container's processes) makes the kernel remove the interfaces. Nothing has to be unplugged.
#[derive(Debug)]
pub struct Claim {
    pub netns: OwnedFd,
    /// One for each wish, in their order.
    pub endpoints: Vec<Endpoint>,
    pub dns: Option<DnsSockets>,
}

/// Sockets that serve what a container asks of 127.0.0.11:53, whatever the container itself binds. The kernel turns the ports; the
/// resolver just answers on them. They hold the container's namespace: whoever keeps them must let go when the container is gone.
#[derive(Debug)]
pub struct DnsSockets {
    /// A bound datagram socket.
    pub udp: OwnedFd,
    /// A listening socket.
    pub tcp: OwnedFd,
}

/// What the engine remembers of a running container's place, for [`crate::Fabric::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveEndpoint {
    pub endpoint: Endpoint,
    pub bindings: Vec<Binding>,
    pub holes: Vec<Hole>,
}

impl Endpoint {
    /// The endpoint's addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let v4 = self.address.map(|net| IpAddr::from(net.address()));
        let v6 = self.address6.map(|net| IpAddr::from(net.address()));
        v4.into_iter().chain(v6)
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

impl Statistics {
    pub(crate) fn seen_from_inside(seen: Counters) -> Self {
        Self {
            rx_bytes: seen.rx_bytes,
            rx_packets: seen.rx_packets,
            rx_errors: seen.rx_errors,
            rx_dropped: seen.rx_dropped,
            tx_bytes: seen.tx_bytes,
            tx_packets: seen.tx_packets,
            tx_errors: seen.tx_errors,
            tx_dropped: seen.tx_dropped,
        }
    }

    /// The same as the other end of the pair sees it.
    pub(crate) fn turned(self) -> Self {
        Self {
            rx_bytes: self.tx_bytes,
            rx_packets: self.tx_packets,
            rx_errors: self.tx_errors,
            rx_dropped: self.tx_dropped,
            tx_bytes: self.rx_bytes,
            tx_packets: self.rx_packets,
            tx_errors: self.rx_errors,
            tx_dropped: self.rx_dropped,
        }
    }
}
