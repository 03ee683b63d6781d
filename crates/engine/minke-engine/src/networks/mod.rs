//! Networks: what there is, who is in it, and what a container gets of it.
//!
//! Three are there from the start (the default bridge, the host's own, none); others are made and removed by clients. A
//! network is a [`NetworkRecord`] in the ledger; the kernel's side of it is `minke-net`'s. A container's place in a network
//! is part of the container's own record, so that a start stays one commit; here places are kept in memory, by network.
//!
//! | file | what |
//! |---|---|
//! | `record` | the nouns |
//! | `request`, `configuration`, `subnets`, `options` | from a request to a record |
//! | `index` | all networks, by id and name, with who is in them |
//! | `builtin` | the three that are always there |
//! | `service` | create, remove, prune |
//! | `wire` | list and inspect |
//! | `endpoints`, `claims`, `ports` | what a container asks of networks, and gets |
//! | `names` | what the resolver is told |
//! | `links` | links |

mod builtin;
mod claims;
mod configuration;
pub(crate) mod endpoints;
mod index;
pub(crate) mod links;
mod names;
mod options;
pub(crate) mod ports;
mod record;
mod request;
mod service;
mod subnets;
mod wire;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};

use minke_dns::Resolver;
use minke_net::{Fabric, FabricConfig, IsolatedNamespaces, LiveEndpoint, NetworkSpec};

use crate::config::Config;
use crate::containers::Registry;
use crate::error::{Error, Result, chain};
use crate::events::Events;
use crate::ledger::Ledger;

pub(crate) use claims::{Claimant, Claimed, configuration_only, place_of};
pub(crate) use index::Network;
pub(crate) use names::{ResolverNames, dns_names, plan_view};
pub(crate) use record::is_builtin;
pub use record::{Driver, NetworkRecord, Place};

/// Where a container's network comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode<'a> {
    /// The host's own.
    Host,
    /// A namespace with nothing but `lo`.
    None,
    /// Another container's.
    Container(&'a str),
    /// The default bridge.
    Bridge,
    /// A network of the user's, by name or id.
    Named(&'a str),
}

impl<'a> Mode<'a> {
    /// Reads a network mode.
    pub(crate) fn parse(text: &'a str) -> Self {
        match text {
            "" | "default" | "bridge" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            _ => match text.strip_prefix("container:") {
                Some(target) => Self::Container(target),
                None => Self::Named(text),
            },
        }
    }

    /// Whether the container's names are served by the embedded resolver.
    pub(crate) fn is_of_the_users(self) -> bool {
        matches!(self, Self::Named(_))
    }
}

/// The service.
#[derive(Debug)]
pub struct Networks {
    config: Arc<Config>,
    /// The kernel's side, or why there is none: containers without a network still work.
    fabric: std::result::Result<Fabric, String>,
    isolated: std::result::Result<IsolatedNamespaces, String>,
    index: index::Index,
    resolver: OnceLock<Option<Resolver>>,
    /// Held while a network is made or removed.
    changing: Mutex<()>,
    warnings: Vec<String>,
    ledger: Arc<Ledger>,
    events: Arc<Events>,
    registry: Arc<Registry>,
}

impl Networks {
    /// Makes or repairs all networks. Containers that run already, as the registry has them, keep their places.
    pub(crate) fn open(
        config: &Arc<Config>,
        ledger: Arc<Ledger>,
        events: Arc<Events>,
        registry: Arc<Registry>,
    ) -> Result<Self> {
        let (mut records, mut warnings) = builtin::plan(&config.networks, &ledger)?;
        for (id, text) in ledger.networks()? {
            match serde_json::from_str::<NetworkRecord>(&text) {
                Ok(record) => records.push(record),
                Err(error) => warnings.push(format!("the record of network {id} cannot be read: {error}")),
            }
        }
        builtin::place_old_endpoints(&registry, &records);
        let fabric = match open_fabric(config, &records, &registry, &ledger) {
            Ok((fabric, more)) => {
                warnings.extend(more);
                Ok(fabric)
            }
            Err(error) => {
                warnings.push(format!("networks cannot be used: {}", error.message()));
                Err(error.message().to_owned())
            }
        };
        let isolated = IsolatedNamespaces::open(config.isolated_ready).map_err(|error| chain(&error));
        if let Ok(fabric) = &fabric {
            builtin::fill_from_kernel(&mut records, fabric, &config.networks);
        }
        let networks = Self {
            config: Arc::clone(config),
            fabric,
            isolated,
            index: index::Index::new(records),
            resolver: OnceLock::new(),
            changing: Mutex::new(()),
            warnings,
            ledger,
            events,
            registry,
        };
        networks.enrol_the_living();
        Ok(networks)
    }

    /// What did not go as it should when the engine opened.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Containers that were connected and had no interface when the engine opened.
    pub(crate) fn lost(&self) -> &[minke_net::Endpoint] {
        self.fabric.as_ref().map_or(&[], Fabric::lost)
    }

    /// What `host-gateway` means.
    pub(crate) fn host_gateways(&self) -> Vec<IpAddr> {
        if !self.config.networks.host_gateway.is_empty() {
            return self.config.networks.host_gateway.clone();
        }
        let facts = self
            .index
            .named("bridge")
            .and_then(|bridge| self.fabric.as_ref().ok().and_then(|fabric| fabric.facts(&bridge.record.id)));
        let Some(facts) = facts else { return Vec::new() };
        let v4 = facts.ipv4.and_then(|family| family.link_address);
        let v6 = facts.ipv6.and_then(|family| family.link_address);
        v4.into_iter().chain(v6).collect()
    }

    /// The network called `reference`: a full id, a name, or a unique prefix of an id.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Network>> {
        self.index.find(reference)
    }

    /// The kernel's side.
    pub(crate) fn fabric(&self) -> Result<&Fabric> {
        self.fabric.as_ref().map_err(|text| Error::system(text.clone()))
    }

    /// The resolver of networks of the users', started when it is first needed.
    pub(crate) fn resolver(&self) -> Option<&Resolver> {
        self.resolver
            .get_or_init(|| match Resolver::start() {
                Ok(resolver) => {
                    self.index.all().iter().for_each(|network| names::announce(&resolver, network));
                    Some(resolver)
                }
                Err(error) => {
                    tracing::error!(error = %chain(&error), "names of containers are not resolved");
                    None
                }
            })
            .as_ref()
    }
}

fn open_fabric(
    config: &Config,
    records: &[NetworkRecord],
    registry: &Registry,
    ledger: &Ledger,
) -> Result<(Fabric, Vec<String>)> {
    let bridge = records.iter().find(|record| record.name == "bridge");
    let mark = match &config.networks.bridge {
        Some(name) => name.clone(),
        None => ledger.setting("network.mark", || format!("mk-{}", &new_id()[..8]))?,
    };
    let fabric_config = FabricConfig {
        mark,
        default_network: bridge.map(|record| record.id.clone()),
        ..config.networks.fabric.clone()
    };
    let specs: Vec<NetworkSpec> = records.iter().filter_map(|record| record.spec.clone()).collect();
    let live: Vec<LiveEndpoint> = registry
        .all()
        .iter()
        .map(|container| container.life())
        .filter(|life| life.phase.is_live())
        .flat_map(|life| life.places.iter().filter_map(Place::to_live).collect::<Vec<_>>())
        .collect();
    Fabric::open(fabric_config, &specs, &live)
        .map_err(|source| Error::new(source.kind(), chain(&source)).caused_by(source))
}

pub(crate) fn new_id() -> String {
    minke_base::ContainerId::random().as_str().to_owned()
}
