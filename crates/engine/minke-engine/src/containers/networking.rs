//! A container's networks: what it asks for when it is made, what it gets when it starts, what it gives back.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use minke_api::container::HostConfig;
use minke_api::network::EndpointSettings;
use minke_dns::Sockets;
use minke_keeper::protocol::{Body, Held, ProxyProtocol, ProxySpec};
use minke_net::{DnsSockets, Protocol, Proxy};

use super::Containers;
use super::container::Container;
use super::record::{NameDefaults, Record};
use crate::error::{Error, Result, chain};
use crate::keepers::Connection;
use crate::networks::endpoints::{check_settings, configured};
use crate::networks::{Claimant, Claimed, Mode, Place, ResolverNames, plan_view, ports};

/// Under which labels a keeper holds the sockets that names are asked over.
pub(super) const DNS_UDP: &str = "dns:udp";
pub(super) const DNS_TCP: &str = "dns:tcp";

impl Containers {
    /// Checks what a new container asks of networks, each by its name.
    pub(super) fn plan_endpoints(
        &self,
        host: &mut HostConfig,
        asked: BTreeMap<String, EndpointSettings>,
    ) -> Result<BTreeMap<String, EndpointSettings>> {
        let networks = &self.parts.networks;
        let mut endpoints = BTreeMap::new();
        if let Mode::Container(_) = Mode::parse(&host.network_mode) {
            return Ok(endpoints);
        }
        let name_of = |reference: &str| match reference {
            "default" => "bridge".to_owned(),
            _ => networks
                .find(reference)
                .map_or_else(|_| reference.to_owned(), |network| network.record.name.clone()),
        };
        let mode = name_of(&host.network_mode);
        let alone = matches!(Mode::parse(&mode), Mode::Host | Mode::None);
        for (reference, settings) in asked {
            let name = name_of(&reference);
            let known = networks.find(&name).ok();
            check_settings(&name, known.as_ref().map(|network| &network.record), &settings).map_err(
                |error| {
                    Error::invalid(format!("invalid config for network {reference}: {}", error.message()))
                        .caused_by(error)
                },
            )?;
            // Host and none are never one of several.
            if !alone || name == mode {
                endpoints.insert(name, configured(settings));
            }
        }
        endpoints.entry(mode.clone()).or_default();
        host.network_mode = mode;
        Ok(endpoints)
    }

    /// The engine's options about names, as they are now.
    pub(super) fn name_defaults(&self) -> NameDefaults {
        let config = &self.parts.config;
        NameDefaults {
            servers: config.dns.clone(),
            search: config.dns_search.clone(),
            options: config.dns_options.clone(),
        }
    }

    /// A container's places, with its ports published.
    pub(super) fn claim_network(&self, container: &Container, record: &Record) -> Result<Claimed> {
        if let Mode::Container(_) = Mode::parse(&record.host.network_mode) {
            return Ok(Claimed::default());
        }
        let endpoints = record.ordered_endpoints();
        if endpoints.is_empty() || record.config.network_disabled {
            return self.parts.networks.claim_isolated();
        }
        let wanted: Vec<(&str, &EndpointSettings)> =
            endpoints.iter().map(|(name, settings)| (name.as_str(), settings)).collect();
        let wishes = ports::plan_wishes(&record.config, &record.host)?;
        self.parts.networks.claim(&claimant(container, record), &wanted, &wishes)
    }

    /// Gives a container's places back.
    pub(super) fn release_network(&self, container: &Container, places: &[Place]) {
        if !places.is_empty() {
            self.parts.networks.release(container.id.as_str(), places);
            tracing::trace!(container = container.id.as_str(), "network released");
        }
    }

    /// Serves a container's names over its sockets, and answers copies for the keeper to hold.
    pub(super) fn serve_names(
        &self,
        container: &Container,
        record: &Record,
        places: &[Place],
        sockets: DnsSockets,
        names: &ResolverNames,
    ) -> Result<Vec<(String, OwnedFd)>> {
        let copy = |fd: &OwnedFd| {
            fd.try_clone().map_err(|source| Error::failed("keep the sockets of the resolver", source))
        };
        let held = vec![(DNS_UDP.to_owned(), copy(&sockets.udp)?), (DNS_TCP.to_owned(), copy(&sockets.tcp)?)];
        self.serve_sockets(container, record, places, Sockets { udp: sockets.udp, tcp: sockets.tcp }, names);
        Ok(held)
    }

    pub(super) fn serve_sockets(
        &self,
        container: &Container,
        record: &Record,
        places: &[Place],
        sockets: Sockets,
        names: &ResolverNames,
    ) {
        let Some(resolver) = self.parts.networks.resolver() else { return };
        let view = self.view(record, places, names);
        if let Err(error) = resolver.serve(container.id.as_str(), sockets, view) {
            tracing::error!(container = container.id.as_str(), error = %chain(&error), "its names are not resolved");
        }
    }

    /// What a container may see of names.
    pub(super) fn view(&self, record: &Record, places: &[Place], names: &ResolverNames) -> minke_dns::View {
        let endpoints = record.endpoints();
        let plain = EndpointSettings::default();
        let seen = places.iter().map(|place| {
            let settings = endpoints.get(&place.name).unwrap_or(&plain);
            (place, settings, self.parts.networks.is_internal(&place.network))
        });
        plan_view(seen, names)
    }

    /// Tells that the container came to or left networks.
    pub(super) fn publish_network(&self, container: &Container, action: &str, places: &[Place]) {
        for place in places {
            match self.parts.networks.find(&place.network) {
                Ok(network) => self.parts.networks.publish(&network, action, Some(container.id.as_str())),
                Err(error) => tracing::debug!(%error, "nobody is told of a network that is gone"),
            }
        }
    }

    /// A container that ran before this engine opened: its names are served again, its proxies told of.
    pub(crate) async fn adopt_network(self: &Arc<Self>, container: &Arc<Container>, keeper: &Connection) {
        let (record, life) = (container.record(), container.life());
        let places = &life.places;
        self.join_names(container, &record, places);
        if places.iter().any(|place| Mode::parse(&place.name).is_of_the_users()) {
            match keeper.fetch("dns:").await {
                Ok(held) => self.serve_fetched(container, &record, places, held),
                Err(error) => {
                    tracing::warn!(container = container.id.as_str(), error = %chain(&error), "its names are not resolved until it starts again");
                }
            }
        }
        let proxies: Vec<Proxy> = match self.parts.networks.fabric() {
            Ok(fabric) => places
                .iter()
                .filter_map(|place| Some((place, place.endpoint.as_ref()?)))
                .flat_map(|(place, endpoint)| fabric.proxies(endpoint, &place.bindings))
                .collect(),
            Err(_) => Vec::new(),
        };
        if places.iter().any(|place| !place.bindings.is_empty())
            && let Err(error) =
                keeper.order(Body::SetProxies { proxies: proxy_specs(proxies) }, Vec::new()).await
        {
            tracing::debug!(container = container.id.as_str(), error = %chain(&error), "its keeper knows no proxies");
        }
    }

    fn serve_fetched(
        &self,
        container: &Container,
        record: &Record,
        places: &[Place],
        held: Vec<(String, OwnedFd)>,
    ) {
        let mut held: BTreeMap<String, OwnedFd> = held.into_iter().collect();
        let (Some(udp), Some(tcp)) = (held.remove(DNS_UDP), held.remove(DNS_TCP)) else { return };
        match self.plan_names(record, places) {
            Ok(names) => self.serve_sockets(container, record, places, Sockets { udp, tcp }, &names),
            Err(error) => {
                tracing::warn!(container = container.id.as_str(), %error, "its names are not resolved until it starts again");
            }
        }
    }

    /// A container can be found under its names on each of its networks.
    pub(super) fn join_names(&self, container: &Container, record: &Record, places: &[Place]) {
        let endpoints = record.endpoints();
        let plain = EndpointSettings::default();
        for place in places {
            let settings = endpoints.get(&place.name).unwrap_or(&plain);
            self.parts.networks.join_names(&claimant(container, record), settings, place);
        }
    }
}

/// Whom networks know.
pub(super) fn claimant<'a>(container: &'a Container, record: &'a Record) -> Claimant<'a> {
    Claimant { id: container.id.as_str(), name: &record.name, hostname: &record.config.hostname }
}

/// Proxies as a keeper takes them. No proxy carries sctp.
pub(super) fn proxy_specs(proxies: Vec<Proxy>) -> Vec<ProxySpec> {
    proxies
        .into_iter()
        .filter_map(|proxy| {
            let protocol = match proxy.protocol {
                Protocol::Tcp => ProxyProtocol::Tcp,
                Protocol::Udp => ProxyProtocol::Udp,
                Protocol::Sctp => return None,
            };
            Some(ProxySpec { label: proxy.label, protocol, target: proxy.target })
        })
        .collect()
}

/// Labels and descriptors apart.
pub(super) fn split_held(held: Vec<(String, OwnedFd)>) -> (Vec<Held>, Vec<OwnedFd>) {
    held.into_iter().map(|(label, fd)| (Held { label }, fd)).unzip()
}
