//! What is remembered of a network, and of a container's place in one.

use minke_api::StringMap;
use minke_api::network::Ipam;
use minke_net::{Binding, Endpoint, Hole, LiveEndpoint, NetworkSpec};
use serde::{Deserialize, Serialize};

use crate::clock::Moment;

/// Who carries a network's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of this host.
    Bridge,
    /// A link of this host, shared.
    Macvlan,
    /// The host's own network; there is one.
    Host,
    /// Nothing; there is one.
    Null,
}

impl Driver {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Host => "host",
            Self::Null => "null",
        }
    }
}

/// A network as somebody asked for it, and what was chosen where they left it open. Never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Moment,
    /// Who carries it.
    pub driver: Driver,
    /// The scope that was asked for; it reaches no further than this host whatever it says.
    pub scope: String,
    /// Whether containers get IPv4 addresses.
    pub enable_ipv4: bool,
    /// Whether containers get IPv6 addresses.
    pub enable_ipv6: bool,
    /// Addresses as asked for: what `inspect` repeats.
    pub ipam: Ipam,
    /// No way in or out.
    pub internal: bool,
    /// Kept for clients that ask; every container may join.
    pub attachable: bool,
    /// Options as asked for.
    pub options: StringMap,
    /// Labels.
    pub labels: StringMap,
    /// It is only a configuration for others.
    #[serde(default)]
    pub config_only: bool,
    /// The name of the configuration it was made from.
    #[serde(default)]
    pub config_from: String,
    /// The network for the kernel, every choice made; `None` for host and none, and for configurations.
    pub spec: Option<NetworkSpec>,
}

impl NetworkRecord {
    /// Whether it is one of the three that are always there.
    pub fn is_builtin(&self) -> bool {
        is_builtin(&self.name)
    }

    /// Whether an address may be asked for in each family: the subnet was chosen by a person.
    pub(crate) fn static_subnets(&self) -> impl Iterator<Item = minke_net::IpNet> + '_ {
        self.ipam.config.iter().flatten().filter_map(|config| config.subnet.parse().ok())
    }
}

/// Names that no network of the user's may have.
pub(crate) fn is_builtin(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

/// A container's place in one network while it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// The network's id.
    pub network: String,
    /// The network's name.
    pub name: String,
    /// The place's own id, for `inspect`.
    pub endpoint_id: String,
    /// Interface and addresses; `None` in host and none.
    pub endpoint: Option<Endpoint>,
    /// Ports that are published by way of this place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
    /// What links let pass from here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
}

impl Place {
    /// For the kernel's side, at the engine's start.
    pub(crate) fn to_live(&self) -> Option<LiveEndpoint> {
        let mut endpoint = self.endpoint.clone()?;
        if endpoint.network.is_empty() {
            endpoint.network.clone_from(&self.network);
        }
        Some(LiveEndpoint { endpoint, bindings: self.bindings.clone(), holes: self.holes.clone() })
    }
}
