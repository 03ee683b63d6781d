//! What a container gets of its networks at a start, and gives back at its end.

use std::os::fd::OwnedFd;

use minke_api::network::EndpointSettings;
use minke_base::Kind;
use minke_net::{Binding, ClaimRequest, DnsSockets, EndpointWish, FabricError, PortWish, Proxy, Published};

use super::endpoints::to_wish;
use super::{Driver, Network, Networks, Place, is_builtin};
use crate::error::{Error, Result, chain};

/// The container that asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimant<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) hostname: &'a str,
}

/// What a container got.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    /// A namespace to join.
    pub(crate) netns: Option<OwnedFd>,
    /// Its settings are made already.
    pub(crate) ready: bool,
    /// The places, in the order of the interfaces.
    pub(crate) places: Vec<Place>,
    /// Where names are asked.
    pub(crate) dns: Option<DnsSockets>,
    /// What the keeper holds: sockets that keep ports.
    pub(crate) held: Vec<(String, OwnedFd)>,
    /// Which of those a proxy serves.
    pub(crate) proxies: Vec<Proxy>,
}

pub(super) fn failed(source: FabricError) -> Error {
    let kind = source.kind();
    Error::new(kind, chain(&source)).caused_by(source)
}

/// Docker's words before everything that goes wrong with networks at a start.
fn at_start(error: Error) -> Error {
    let kind = match error.kind() {
        Kind::NotFound => Kind::NotFound,
        Kind::Forbidden | Kind::Conflict => Kind::Forbidden,
        _ => Kind::System,
    };
    Error::new(kind, format!("failed to set up container networking: {}", error.message())).caused_by(error)
}

impl Networks {
    /// A namespace with nothing but `lo`.
    pub(crate) fn claim_isolated(&self) -> Result<Claimed> {
        let isolated = self.isolated.as_ref().map_err(|text| at_start(Error::system(text.clone())))?;
        let netns = isolated
            .claim()
            .map_err(|source| at_start(Error::failed("prepare a network namespace", source)))?;
        Ok(Claimed { netns: Some(netns), ready: true, ..Claimed::default() })
    }

    /// A container's places in the networks `wanted`, in that order, with its ports published.
    pub(crate) fn claim(
        &self,
        who: &Claimant<'_>,
        wanted: &[(&str, &EndpointSettings)],
        ports: &[PortWish],
    ) -> Result<Claimed> {
        let mut found = Vec::with_capacity(wanted.len());
        for (reference, settings) in wanted {
            let network = self.find_for_start(reference, settings).map_err(at_start)?;
            if network.record.config_only {
                return Err(at_start(configuration_only()));
            }
            found.push((network, *settings));
        }
        // Host and none stand alone.
        if let [(network, _)] = &found[..]
            && matches!(network.record.driver, Driver::Host | Driver::Null)
        {
            let mut claimed = match network.record.driver {
                Driver::Host => Claimed::default(),
                _ => self.claim_isolated()?,
            };
            let place = place_of(network);
            network.enter(who.id, place.clone()).map_err(at_start)?;
            claimed.places.push(place);
            return Ok(claimed);
        }
        found.retain(|(network, _)| !matches!(network.record.driver, Driver::Host | Driver::Null));
        if found.is_empty() {
            return self.claim_isolated();
        }
        let mut places = Vec::with_capacity(found.len());
        for (network, _) in &found {
            let place = place_of(network);
            // From here on the network cannot be removed.
            if let Err(error) = network.enter(who.id, place.clone()) {
                self.release(who.id, &places);
                return Err(at_start(error));
            }
            places.push(place);
        }
        match self.plug(who, &found, &mut places, ports) {
            Ok(claimed) => Ok(Claimed { places, ..claimed }),
            Err(error) => {
                self.release(who.id, &places);
                Err(at_start(error))
            }
        }
    }

    /// A network by the name a container asked for, or by the id it once had.
    fn find_for_start(
        &self,
        reference: &str,
        settings: &EndpointSettings,
    ) -> Result<std::sync::Arc<Network>> {
        self.find(reference).or_else(|error| match settings.network_id.as_str() {
            "" => Err(error),
            id => self.find(id).map_err(|_gone| error),
        })
    }

    fn plug(
        &self,
        who: &Claimant<'_>,
        found: &[(std::sync::Arc<Network>, &EndpointSettings)],
        places: &mut [Place],
        ports: &[PortWish],
    ) -> Result<Claimed> {
        let fabric = self.fabric()?;
        let wishes: Vec<EndpointWish> =
            found.iter().map(|(network, settings)| to_wish(&network.record, settings)).collect();
        let dns = found.iter().any(|(network, _)| !is_builtin(&network.record.name));
        let claim =
            fabric.claim(&ClaimRequest { container: who.id, wishes: &wishes, dns }).map_err(failed)?;
        for (place, endpoint) in places.iter_mut().zip(claim.endpoints) {
            place.endpoint = Some(endpoint);
        }
        let mut claimed =
            Claimed { netns: Some(claim.netns), ready: true, dns: claim.dns, ..Claimed::default() };
        if let Some(at) = self.publisher(places)
            && let Some(published) = self.publish_ports(who.name, &places[at], ports)?
        {
            places[at].bindings = published.bindings;
            claimed.held = published.held;
            claimed.proxies = published.proxies;
        }
        for ((network, settings), place) in found.iter().zip(&*places) {
            network.enter(who.id, place.clone())?;
            self.join_names(who, settings, place);
        }
        Ok(claimed)
    }

    /// Publishes ports at a place, in Docker's words when one cannot be had.
    pub(crate) fn publish_ports(
        &self,
        container: &str,
        place: &Place,
        ports: &[PortWish],
    ) -> Result<Option<Published>> {
        let Some(endpoint) = place.endpoint.as_ref().filter(|_| !ports.is_empty()) else { return Ok(None) };
        let words = |source: FabricError| {
            let text = format!(
                "driver failed programming external connectivity on endpoint {container} ({}): {}",
                place.endpoint_id,
                why_not(&source, ports)
            );
            Error::system(text).caused_by(source)
        };
        self.fabric()?.publish(endpoint, ports).map(Some).map_err(words)
    }

    /// Which place publishes ports: the container's way out, when that is a bridge.
    pub(crate) fn publisher(&self, places: &[Place]) -> Option<usize> {
        let facts = |place: &Place| {
            let network = self.find(&place.network).ok()?;
            Some((network.record.driver, network.record.internal))
        };
        let at = way_out(places, |place| facts(place).is_none_or(|(_, internal)| internal))?;
        facts(&places[at]).filter(|(driver, _)| *driver == Driver::Bridge).map(|_| at)
    }

    /// Takes a container's places back.
    pub(crate) fn release(&self, container: &str, places: &[Place]) {
        self.stop_serving(container);
        for place in places {
            self.release_place(container, place);
        }
    }

    fn release_place(&self, container: &str, place: &Place) {
        self.leave_names(container, place);
        if let Ok(fabric) = &self.fabric {
            self.close_ports(&place.bindings);
            if !place.holes.is_empty()
                && let Err(error) = fabric.close_holes(&place.holes)
            {
                tracing::warn!(container, error = %chain(&error), "what a link let pass stays open");
            }
            if let Some(endpoint) = &place.endpoint {
                fabric.release(endpoint);
            }
        }
        if let Ok(network) = self.find(&place.network) {
            network.leave(container);
        }
    }

    /// Closes published ports.
    pub(crate) fn close_ports(&self, bindings: &[Binding]) {
        if let Ok(fabric) = &self.fabric
            && !bindings.is_empty()
            && let Err(error) = fabric.unpublish(bindings)
        {
            tracing::warn!(error = %chain(&error), "published ports stay open until the next start");
        }
    }

    /// Containers that run since before this engine opened are in their networks.
    pub(super) fn enrol_the_living(&self) {
        for container in self.registry.all() {
            let life = container.life();
            if !life.phase.is_live() {
                continue;
            }
            for place in life.places {
                match self.find(&place.network) {
                    Ok(network) => {
                        if let Err(error) = network.enter(container.id.as_str(), place) {
                            tracing::warn!(container = container.id.as_str(), %error, "not counted as a member");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(container = container.id.as_str(), %error, "its network is gone")
                    }
                }
            }
        }
    }
}

/// Nothing stands behind a configuration that a container could be in.
pub(crate) fn configuration_only() -> Error {
    Error::new(Kind::Forbidden, "cannot create endpoint on configuration-only network")
}

/// Why a port cannot be had, in Docker's words: these stand for what is below them.
fn why_not(error: &FabricError, ports: &[PortWish]) -> String {
    let of_a_range = |port: u16| {
        ports.iter().any(|wish| wish.host_ports.0 < wish.host_ports.1 && wish.host_ports.1 == port)
    };
    match error {
        FabricError::Allocated { port, .. } if of_a_range(*port) => "all ports are allocated".to_owned(),
        FabricError::Allocated { .. } | FabricError::Bind { .. } => error.to_string(),
        other => chain(other),
    }
}

pub(crate) fn place_of(network: &Network) -> Place {
    Place {
        network: network.record.id.clone(),
        name: network.record.name.clone(),
        endpoint_id: super::new_id(),
        ..Place::default()
    }
}

/// The place by which a container reaches everything else: of the highest priority, then of the first network by name.
pub(crate) fn way_out(places: &[Place], is_internal: impl Fn(&Place) -> bool) -> Option<usize> {
    places
        .iter()
        .enumerate()
        .filter_map(|(at, place)| Some((at, place, place.endpoint.as_ref()?)))
        .filter(|(_, place, _)| !is_internal(place))
        .min_by_key(|(_, place, endpoint)| (std::cmp::Reverse(endpoint.gateway_priority), place.name.clone()))
        .map(|(at, _, _)| at)
}
