//! Connect and disconnect: a container comes to a network or leaves it, running or not.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use minke_api::network::EndpointSettings;
use minke_base::Kind;
use minke_dns::Sockets;
use minke_keeper::protocol::Body;
use minke_net::Endpoint;

use super::Containers;
use super::container::Container;
use super::files::has_resolver;
use super::networking::{claimant, proxy_specs, split_held};
use super::record::{Life, Record};
use crate::error::{Error, Result, chain};
use crate::networks::endpoints::{check_settings, configured};
use crate::networks::{Mode, Network, Place, ResolverNames, configuration_only, ports};

const MULTIPLE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";
const SHARING: &str = "container sharing network namespace with another container or host cannot be connected to any other network";
const HOST: &str =
    "cannot connect container to host network - container must be created in host network mode";

fn forbidden(text: impl Into<String>) -> Error {
    Error::new(Kind::Forbidden, text)
}

impl Containers {
    /// Puts a container into a network.
    pub async fn connect(
        self: &Arc<Self>,
        network: &str,
        container: &str,
        settings: Option<EndpointSettings>,
    ) -> Result<()> {
        if container.is_empty() {
            return Err(Error::invalid("invalid name or ID supplied: \"\""));
        }
        let container = self.find(container)?;
        let network = self.parts.networks.find(network)?;
        let settings = settings.unwrap_or_default();
        check_settings(&network.record.name, Some(&network.record), &settings)?;
        if network.record.config_only {
            return Err(configuration_only());
        }
        let _held = container.transition.lock().await;
        let record = container.record();
        check_connect(&record, &network)?;
        let mut changed = (*record).clone();
        let mut endpoints = record.endpoints();
        endpoints.insert(network.record.name.clone(), configured(settings));
        changed.endpoints = Some(endpoints);
        if !container.phase().is_live() {
            self.parts.ledger.save_record(container.id.as_str(), &changed.name, &changed)?;
            container.set_record(changed);
            return Ok(());
        }
        if container.life().places.iter().any(|place| place.network == network.record.id) {
            return Err(forbidden(format!(
                "endpoint with name {} already exists in network {}",
                record.name, network.record.name
            )));
        }
        self.plug(&container, &network, changed).await
    }

    async fn plug(
        self: &Arc<Self>,
        container: &Arc<Container>,
        network: &Network,
        changed: Record,
    ) -> Result<()> {
        let before = container.record();
        container.set_record(changed);
        match self.try_plug(container, network).await {
            Ok(life) => {
                let id = container.id.as_str();
                if let Err(error) = self.parts.ledger.save_both(id, &*container.record(), &life) {
                    tracing::error!(container = id, error = %chain(&error), "a network that was joined is not recorded");
                    return Err(error.into());
                }
                self.parts.networks.publish(network, "connect", Some(id));
                Ok(())
            }
            Err(error) => {
                container.set_record((*before).clone());
                Err(error)
            }
        }
    }

    async fn try_plug(self: &Arc<Self>, container: &Arc<Container>, network: &Network) -> Result<Life> {
        let record = container.record();
        let endpoints = record.endpoints();
        let settings = endpoints.get(&network.record.name).cloned().unwrap_or_default();
        let before = container.life().places;
        let mut place = crate::networks::place_of(network);
        // From here on the network cannot be removed.
        network.enter(container.id.as_str(), place.clone())?;
        let plugged = self.plug_kernel(container, network, &settings, &before);
        let endpoint = match plugged {
            Ok(endpoint) => endpoint,
            Err(error) => {
                network.leave(container.id.as_str());
                return Err(error);
            }
        };
        place.endpoint = Some(endpoint);
        network.enter(container.id.as_str(), place.clone())?;
        let life = container.change_life(|life| life.places.push(place.clone()));
        self.parts.networks.join_names(&claimant(container, &record), &settings, &place);
        match self.add_own_lines(container, &before, &place) {
            Ok(names) => self.serve_more(container, &record, &before, &life, &names).await,
            Err(error) => {
                tracing::warn!(container = container.id.as_str(), %error, "its files do not know the network")
            }
        }
        self.move_ports(container).await;
        Ok(container.life())
    }

    fn plug_kernel(
        &self,
        container: &Container,
        network: &Network,
        settings: &EndpointSettings,
        before: &[Place],
    ) -> Result<Endpoint> {
        let namespace = open_namespace(container)?;
        let wish = crate::networks::endpoints::to_wish(&network.record, settings);
        self.parts
            .networks
            .fabric()?
            .plug(namespace.as_fd(), container.id.as_str(), &wish, &endpoints_of(before))
            .map_err(|source| Error::new(source.kind(), chain(&source)).caused_by(source))
    }

    /// Names are served from the first network of the user's on; afterwards the container only sees more.
    async fn serve_more(
        self: &Arc<Self>,
        container: &Arc<Container>,
        record: &Record,
        before: &[Place],
        life: &Life,
        names: &ResolverNames,
    ) {
        if has_resolver(before) {
            if let Some(resolver) = self.parts.networks.resolver() {
                resolver.look(container.id.as_str(), self.view(record, &life.places, names));
            }
            return;
        }
        if !has_resolver(&life.places) {
            return;
        }
        if let Err(error) = self.open_resolver(container, record, life, names).await {
            tracing::warn!(container = container.id.as_str(), %error, "its names are not resolved until it starts again");
        }
    }

    async fn open_resolver(
        self: &Arc<Self>,
        container: &Arc<Container>,
        record: &Record,
        life: &Life,
        names: &ResolverNames,
    ) -> Result<()> {
        let Some(keeper) = container.keeper() else { return Ok(()) };
        // It may have been on such a network before: then the keeper still has the sockets.
        if let Ok(held) = keeper.fetch("dns:").await
            && held.len() == 2
        {
            let mut fds = held.into_iter().map(|(_, fd)| fd);
            // Sorted by label: tcp before udp.
            if let (Some(tcp), Some(udp)) = (fds.next(), fds.next()) {
                self.serve_sockets(container, record, &life.places, Sockets { udp, tcp }, names);
            }
            return Ok(());
        }
        let namespace = open_namespace(container)?;
        let sockets = self
            .parts
            .networks
            .fabric()?
            .open_dns(namespace.as_fd())
            .map_err(|source| Error::new(source.kind(), chain(&source)).caused_by(source))?;
        let held = self.serve_names(container, record, &life.places, sockets, names)?;
        let (held, fds) = split_held(held);
        keeper
            .order(Body::Hold { held }, fds)
            .await
            .map_err(|source| Error::failed("hand the resolver's sockets to the keeper", source))
    }

    /// Published ports follow the container's way out.
    pub(super) async fn move_ports(self: &Arc<Self>, container: &Arc<Container>) {
        let record = container.record();
        let Ok(wishes) = ports::plan_wishes(&record.config, &record.host) else { return };
        if wishes.is_empty() {
            return;
        }
        let places = container.life().places;
        let wanted = self.parts.networks.publisher(&places).map(|at| places[at].network.clone());
        let publishes = places.iter().find(|place| !place.bindings.is_empty());
        if publishes.map(|place| &place.network) == wanted.as_ref() {
            return;
        }
        if let Some(old) = publishes {
            self.close_place_ports(container, old).await;
        }
        let Some(wanted) = wanted else { return };
        let Some(place) = places.iter().find(|place| place.network == wanted) else { return };
        match self.parts.networks.publish_ports(&record.name, place, &wishes) {
            Ok(Some(published)) => {
                let (held, fds) = split_held(published.held);
                if let Some(keeper) = container.keeper() {
                    let done = keeper.order(Body::Hold { held }, fds).await;
                    let set = Body::SetProxies { proxies: proxy_specs(published.proxies) };
                    let done = match done {
                        Ok(()) => keeper.order(set, Vec::new()).await,
                        failed => failed,
                    };
                    if let Err(error) = done {
                        tracing::warn!(container = container.id.as_str(), error = %chain(&error), "its ports are kept by rules only");
                    }
                }
                container.change_life(|life| {
                    if let Some(place) = life.places.iter_mut().find(|place| place.network == wanted) {
                        place.bindings = published.bindings;
                    }
                });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(container = container.id.as_str(), %error, "its ports are not published any more");
            }
        }
    }

    /// Closes what is published by way of one place, and lets the keeper drop the sockets.
    async fn close_place_ports(self: &Arc<Self>, container: &Arc<Container>, place: &Place) {
        if place.bindings.is_empty() {
            return;
        }
        self.parts.networks.close_ports(&place.bindings);
        let labels = place.bindings.iter().map(minke_net::Binding::label).collect();
        if let Some(keeper) = container.keeper()
            && let Err(error) = keeper.order(Body::Release { labels }, Vec::new()).await
        {
            tracing::debug!(container = container.id.as_str(), error = %chain(&error), "its keeper holds no ports");
        }
        container.change_life(|life| {
            for own in life.places.iter_mut().filter(|own| own.network == place.network) {
                own.bindings.clear();
            }
        });
    }

    /// Takes a container out of a network.
    pub async fn disconnect(self: &Arc<Self>, network: &str, reference: &str, force: bool) -> Result<()> {
        let container = match self.find(reference) {
            Ok(container) => container,
            Err(error) if !force => return Err(error),
            Err(_) => {
                // Nobody but containers has places, and theirs go with them.
                self.parts.networks.find(network)?;
                return Err(Error::not_found(format!("endpoint {reference} not found")));
            }
        };
        let network = self.parts.networks.find(network)?;
        let _held = container.transition.lock().await;
        let record = container.record();
        let name = &network.record.name;
        let mut endpoints = record.endpoints();
        let life = container.life();
        let place = life.places.iter().find(|place| place.network == network.record.id);
        if place.is_none() && endpoints.remove(name).is_none() {
            return Err(Error::system(format!(
                "container {} is not connected to network {name}",
                container.id
            )));
        }
        if name == "host" {
            return Err(forbidden(
                "container cannot be disconnected from host network or connected to host network",
            ));
        }
        endpoints.remove(name);
        let mut changed = (*record).clone();
        changed.endpoints = Some(endpoints);
        let left = place.cloned();
        if let Some(place) = left.as_ref().filter(|_| life.phase.is_live()) {
            self.unplug(&container, place).await?;
        }
        container.set_record(changed);
        let life = container.life();
        self.parts.ledger.save_both(container.id.as_str(), &*container.record(), &life)?;
        self.move_ports(&container).await;
        if let Some(resolver) = self.parts.networks.resolver().filter(|_| has_resolver(&life.places))
            && let Ok(names) = self.plan_names(&container.record(), &life.places)
        {
            resolver.look(container.id.as_str(), self.view(&container.record(), &life.places, &names));
        }
        if !container.life().places.is_empty() {
            self.parts.ledger.save_life(container.id.as_str(), &container.life())?;
        }
        self.parts.networks.publish(&network, "disconnect", Some(container.id.as_str()));
        Ok(())
    }

    async fn unplug(self: &Arc<Self>, container: &Arc<Container>, place: &Place) -> Result<()> {
        self.close_place_ports(container, place).await;
        let life = container.life();
        let others: Vec<Place> =
            life.places.into_iter().filter(|other| other.network != place.network).collect();
        self.parts.networks.leave_names(container.id.as_str(), place);
        if let Some(endpoint) = &place.endpoint {
            let namespace = open_namespace(container)?;
            self.parts
                .networks
                .fabric()?
                .unplug(namespace.as_fd(), endpoint, &endpoints_of(&others))
                .map_err(|source| Error::new(source.kind(), chain(&source)).caused_by(source))?;
        }
        if let Ok(fabric) = self.parts.networks.fabric()
            && !place.holes.is_empty()
            && let Err(error) = fabric.close_holes(&place.holes)
        {
            tracing::warn!(container = container.id.as_str(), error = %chain(&error), "what a link let pass stays open");
        }
        if let Ok(network) = self.parts.networks.find(&place.network) {
            network.leave(container.id.as_str());
        }
        container.change_life(|life| life.places.retain(|other| other.network != place.network));
        self.remove_own_lines(container, place);
        Ok(())
    }
}

/// What may be connected to what.
fn check_connect(record: &Record, network: &Network) -> Result<()> {
    let mode = Mode::parse(&record.host.network_mode);
    let name = network.record.name.as_str();
    if name == "host" {
        return Err(forbidden(HOST));
    }
    let endpoints = record.endpoints();
    if matches!(mode, Mode::Container(_)) || endpoints.contains_key("host") {
        return Err(forbidden(SHARING));
    }
    let others = endpoints.keys().any(|other| other != name);
    if (name == "none" && others) || (endpoints.contains_key("none") && name != "none") {
        return Err(forbidden(MULTIPLE));
    }
    Ok(())
}

fn endpoints_of(places: &[Place]) -> Vec<Endpoint> {
    places.iter().filter_map(|place| place.endpoint.clone()).collect()
}

/// A running container's network namespace.
fn open_namespace(container: &Container) -> Result<OwnedFd> {
    let path = format!("/proc/{}/ns/net", container.pid());
    let file = File::open(&path).map_err(|source| {
        Error::failed(format!("open the network namespace of container {}", container.id), source)
    })?;
    Ok(file.into())
}
