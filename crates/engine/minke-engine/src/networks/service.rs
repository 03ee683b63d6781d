//! Create, remove, prune.
//!
//! Making and removing a network takes the kernel milliseconds, so these are called on a thread of their own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use minke_api::network::{NetworkCreateRequest, NetworkCreateResponse, NetworksPruneReport};
use minke_base::Kind;
use minke_net::{NetworkFacts, NetworkSpec, SubnetSpec};

use super::configuration::apply_configuration;
use super::{Network, Networks, names, new_id, request};
use crate::error::{Error, Result, chain};
use crate::filters::Filters;

/// The network with every choice made, the gateways' too.
pub(super) fn with_gateways(facts: NetworkFacts) -> NetworkSpec {
    let mut spec = facts.spec;
    let fill = |family: &mut Option<SubnetSpec>, gateway: Option<IpAddr>| {
        if let (Some(family), Some(gateway)) = (family, gateway) {
            family.gateway.get_or_insert(gateway);
        }
    };
    // A network that is cut off from its host has none.
    let isolates = [spec.isolates(false), spec.isolates(true)];
    fill(&mut spec.ipv4, facts.ipv4.filter(|_| !isolates[0]).map(|family| family.gateway));
    fill(&mut spec.ipv6, facts.ipv6.filter(|_| !isolates[1]).map(|family| family.gateway));
    spec
}

impl Networks {
    /// Makes a network.
    pub fn create(&self, mut wanted: NetworkCreateRequest) -> Result<NetworkCreateResponse> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let configured = |name: &str| self.index.named(name).map(|network| network.record.clone());
        let config_from = apply_configuration(&mut wanted, configured)?;
        let mut record = request::plan_network(wanted, new_id(), &self.config.networks)?;
        record.config_from = config_from;
        if self.index.named(&record.name).is_some() {
            return Err(Error::conflict(format!("network with name {} already exists", record.name)));
        }
        if let Some(spec) = &record.spec {
            let facts = self
                .fabric()?
                .add_network(spec)
                .map_err(|source| Error::new(source.kind(), chain(&source)).caused_by(source))?;
            record.spec = Some(with_gateways(facts));
        }
        if let Err(error) = self.ledger.insert_network(&record.id, &record.name, &record) {
            if record.spec.is_some()
                && let Err(error) = self.fabric()?.remove_network(&record.id)
            {
                tracing::warn!(network = record.name, error = %chain(&error), "a network that could not be recorded stays until the next start");
            }
            return Err(error.into());
        }
        let network = self.index.insert(record);
        if let Some(Some(resolver)) = self.resolver.get() {
            names::announce(resolver, &network);
        }
        self.publish(&network, "create", None);
        Ok(NetworkCreateResponse { id: network.record.id.clone(), warning: String::new() })
    }

    /// Removes a network that nobody is in.
    pub fn remove(&self, reference: &str) -> Result<()> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let network = self.find(reference)?;
        let name = &network.record.name;
        if network.record.is_builtin() {
            return Err(Error::new(
                Kind::Forbidden,
                format!("{name} is a pre-defined network and cannot be removed"),
            ));
        }
        if network.record.config_only
            && self.index.all().iter().any(|other| other.record.config_from == *name)
        {
            return Err(Error::new(
                Kind::Forbidden,
                format!("error while removing network: configuration network {name:?} is in use"),
            ));
        }
        if let Err(places) = network.close() {
            let endpoints: Vec<String> = places
                .iter()
                .map(|(container, place)| {
                    let short = place.endpoint_id.get(..12).unwrap_or_default();
                    format!("name:{:?} id:{short:?}", self.container_name(container))
                })
                .collect();
            return Err(Error::new(
                Kind::Forbidden,
                format!(
                    "error while removing network: network {name} has active endpoints ({})",
                    endpoints.join(", ")
                ),
            ));
        }
        let removed = self.take_away(&network);
        if removed.is_err() {
            network.reopen();
        }
        removed
    }

    fn take_away(&self, network: &Arc<Network>) -> Result<()> {
        let id = &network.record.id;
        if let Ok(fabric) = &self.fabric
            && let Err(error) = fabric.remove_network(id)
            // One that could not be made at the start is only in the records.
            && !matches!(error, minke_net::FabricError::NoSuchNetwork { .. })
        {
            return Err(Error::new(error.kind(), chain(&error)).caused_by(error));
        }
        self.ledger.remove_network(id)?;
        self.index.remove(id);
        if let Some(Some(resolver)) = self.resolver.get() {
            resolver.forget(id);
        }
        self.publish(network, "destroy", None);
        Ok(())
    }

    /// Removes all networks of the user's that nobody is in and that pass the filters.
    pub fn prune(&self, filters: &Filters) -> Result<NetworksPruneReport> {
        filters.allow_only(&["label", "label!", "until"])?;
        let until = filters.until()?;
        let mut report = NetworksPruneReport::default();
        for network in self.index.all() {
            let record = &network.record;
            let label = |key: &str| record.labels.get(key).map(String::as_str);
            let chosen = !record.is_builtin()
                && !record.config_only
                && network.is_empty()
                && until.is_none_or(|until| record.created < until)
                && filters.labels("label", label)
                && (!filters.has("label!") || !filters.labels("label!", label));
            if !chosen {
                continue;
            }
            match self.remove(&record.id) {
                Ok(()) => report.networks_deleted.get_or_insert_default().push(record.name.clone()),
                // Somebody came in meanwhile.
                Err(error) => tracing::debug!(%error, "not pruned"),
            }
        }
        self.events.publish(
            "network",
            "prune",
            "",
            BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]),
        );
        Ok(report)
    }

    /// A container's name, or its id when it has none any more.
    pub(super) fn container_name(&self, id: &str) -> String {
        self.registry.find(id).map_or_else(|_gone| id.to_owned(), |container| container.record().name.clone())
    }

    /// Tells that something happened to a network, perhaps on behalf of a container.
    pub(crate) fn publish(&self, network: &Network, action: &str, container: Option<&str>) {
        let record = &network.record;
        let mut attributes = BTreeMap::from([
            ("name".to_owned(), record.name.clone()),
            ("type".to_owned(), record.driver.word().to_owned()),
        ]);
        if let Some(container) = container {
            attributes.insert("container".to_owned(), container.to_owned());
        }
        self.events.publish("network", action, record.id.as_str(), attributes);
    }
}
