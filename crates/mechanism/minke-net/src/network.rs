//! Networks as values: what the engine asks for, and what came of it.
//!
//! Both are serialisable. The engine keeps the [`NetworkSpec`] it gets back in [`NetworkFacts::spec`], in which every choice that was
//! left open has been made, and hands it to [`crate::Fabric::open`] at its next start.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::{IpNet, Ipv4Net, Ipv6Net};

/// A network as it is asked for, or as it is once it exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// The network's id, 64 hexadecimal digits.
    pub id: String,
    /// Its name: for error texts, and for the order in which networks become a container's way out.
    pub name: String,
    pub driver: Driver,
    /// How addresses of each family are given; `None` switches the family off.
    pub ipv4: Option<SubnetSpec>,
    pub ipv6: Option<SubnetSpec>,
    /// No way in or out of the network.
    #[serde(default)]
    pub internal: bool,
    /// `com.docker.network.driver.mtu`.
    pub mtu: u32,
}

impl NetworkSpec {
    /// Whether the network is cut off from its own host too, by one version of IP: it has no gateway.
    #[must_use]
    pub fn isolates(&self, v6: bool) -> bool {
        matches!(&self.driver, Driver::Bridge(bridge) if bridge.mode(v6) == GatewayMode::Isolated)
    }

    /// Whether the network's link gets no address of one version of IP.
    pub(crate) fn inhibits(&self, v6: bool) -> bool {
        self.isolates(v6) || matches!(&self.driver, Driver::Bridge(bridge) if bridge.inhibit_ipv4 && !v6)
    }
}

/// What carries a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Driver {
    Bridge(BridgeSpec),
    Macvlan(MacvlanSpec),
}

/// `com.docker.network.bridge.*` and the daemon's flags of the same meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeSpec {
    /// `com.docker.network.bridge.name`; empty: `br-` and the first twelve digits of the network's id.
    pub link: String,
    /// `--bridge`: the administrator's own bridge. It must exist, keeps its address, and is never deleted.
    #[serde(default)]
    pub admins: bool,
    /// Containers of the network may talk to each other.
    pub icc: bool,
    /// What leaves the host carries the host's address.
    pub masquerade: bool,
    /// `com.docker.network.bridge.host_binding_ipv4`, `--ip`: where ports are published that name no address; `None`: on every
    /// address of both families.
    #[serde(default)]
    pub host_binding: Option<IpAddr>,
    /// `com.docker.network.bridge.gateway_mode_ipv4`.
    #[serde(default)]
    pub mode4: GatewayMode,
    /// `com.docker.network.bridge.gateway_mode_ipv6`.
    #[serde(default)]
    pub mode6: GatewayMode,
    /// `com.docker.network.bridge.inhibit_ipv4`: the gateway is somebody else's, the bridge has no IPv4 address.
    #[serde(default)]
    pub inhibit_ipv4: bool,
}

/// How containers of a network are reached by one version of IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// By published ports of the host, which are rewritten.
    #[default]
    Nat,
    /// Besides at every port of their own addresses, by whoever routes there.
    NatUnprotected,
    /// At their own addresses alone: what is published is open there, and nothing is rewritten.
    Routed,
    /// Not at all, not even by the host: the bridge has no address. Only of internal networks.
    Isolated,
}

impl Default for BridgeSpec {
    fn default() -> Self {
        Self {
            link: String::new(),
            admins: false,
            icc: true,
            masquerade: true,
            host_binding: None,
            mode4: GatewayMode::Nat,
            mode6: GatewayMode::Nat,
            inhibit_ipv4: false,
        }
    }
}

impl BridgeSpec {
    /// The mode of one version of IP.
    #[must_use]
    pub fn mode(&self, v6: bool) -> GatewayMode {
        if v6 { self.mode6 } else { self.mode4 }
    }
}

/// How a macvlan interface treats the others of its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    #[default]
    Bridge,
    Private,
    Vepa,
    Passthru,
}

/// `-o parent=…` and `-o macvlan_mode=…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacvlanSpec {
    /// The host's link. `LINK.NUMBER` is made as a VLAN of `LINK` if it does not exist; without one the network stands on a link of its
    /// own, and leads nowhere.
    pub parent: String,
    #[serde(default)]
    pub mode: MacvlanMode,
}

/// One `IPAM.Config` entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetSpec {
    /// Chosen from the pools when it is left open.
    pub subnet: Option<IpNet>,
    /// Where containers route through. The first address of the subnet (or of an admin's bridge) when it is left open. On a bridge of
    /// the engine's this is the bridge's own address, unless `link_address` says otherwise.
    pub gateway: Option<IpAddr>,
    /// `--bip` together with `--default-gateway`: the bridge's own address when it is not the gateway.
    #[serde(default)]
    pub link_address: Option<IpAddr>,
    /// `--ip-range`, `--fixed-cidr`: where addresses that nobody asked for by name come from.
    pub range: Option<IpNet>,
    /// `--aux-address`: never given to a container.
    #[serde(default)]
    pub reserved: Vec<IpAddr>,
}

/// A network that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFacts {
    /// The request with every open choice made: what the engine keeps.
    pub spec: NetworkSpec,
    /// The bridge's name, or the macvlan's parent.
    pub link: String,
    pub ipv4: Option<FamilyFacts<Ipv4Net>>,
    pub ipv6: Option<FamilyFacts<Ipv6Net>>,
}

/// One family's addresses of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyFacts<N> {
    pub subnet: N,
    /// Where containers route through.
    pub gateway: IpAddr,
    /// The bridge's own address: what `host-gateway` means on the default bridge. Absent for macvlan.
    pub link_address: Option<IpAddr>,
}
