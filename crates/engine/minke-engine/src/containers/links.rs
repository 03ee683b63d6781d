//! Links of containers on the default bridge: checked when a container is made, needed when it starts, followed when a target
//! comes back with another address.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use minke_api::container::HostConfig;
use minke_base::ContainerId;
use minke_net::{Hole, Protocol};

use super::Containers;
use super::container::Container;
use super::own_file;
use super::record::Record;
use crate::error::{Error, Result, chain};
use crate::networks::links::{Link, LinkFacts, follow, not_running, parse_link, plan_environment};
use crate::networks::{Mode, Place, ports};

/// A link whose target runs.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    pub(super) link: Link,
    target: Arc<Container>,
    pub(super) address: IpAddr,
}

impl Linked {
    /// The line in the hosts file: alias, the target's host name, its name when that is another.
    pub(super) fn host_names(&self) -> String {
        let record = self.target.record();
        let mut names = format!("{} {}", self.link.alias, record.config.hostname);
        if record.name != self.link.alias {
            names.push(' ');
            names.push_str(&record.name);
        }
        names
    }

    fn environment(&self, container: &str) -> Vec<String> {
        let record = self.target.record();
        plan_environment(&LinkFacts {
            container,
            alias: &self.link.alias,
            address: self.address,
            ports: &ports::exposed_by_protocol(&record.config),
            environment: record.config.env.as_deref().unwrap_or_default(),
        })
    }

    fn holes(&self, network: &str, from: IpAddr) -> Vec<Hole> {
        ports::exposed(&self.target.record().config)
            .into_iter()
            .filter(|port| port.protocol != Protocol::Sctp)
            .map(|port| Hole {
                network: network.to_owned(),
                from,
                to: self.address,
                protocol: port.protocol,
                port: port.number,
            })
            .collect()
    }
}

/// The container's place on the default bridge.
fn on_bridge(places: &[Place]) -> Option<&Place> {
    places.iter().find(|place| place.name == "bridge")
}

fn bridge_address(places: &[Place]) -> Option<IpAddr> {
    on_bridge(places)?.endpoint.as_ref()?.addresses().next()
}

impl Containers {
    /// Whom the links of a new container mean, by alias.
    pub(super) fn check_links(&self, host: &HostConfig) -> Result<Vec<(String, ContainerId)>> {
        let mut links = Vec::new();
        if Mode::parse(&host.network_mode).is_of_the_users() {
            return Ok(links);
        }
        for text in host.links.iter().flatten() {
            let link = parse_link(text)?;
            let mut target = self.find(&link.target).map_err(|error| {
                Error::invalid(format!("could not get container for {}: {}", link.target, error.message()))
                    .caused_by(error)
            })?;
            // A link to a container in another's network means that other one.
            let mut hops = 0;
            while let Mode::Container(owner) = Mode::parse(&target.record().host.network_mode.clone()) {
                target = self.find(owner)?;
                hops += 1;
                if hops > 16 {
                    return Err(Error::invalid(format!("the networks of {} join in a circle", link.target)));
                }
            }
            if target.record().host.network_mode == "host" {
                return Err(Error::invalid(
                    "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
                ));
            }
            if !links.iter().any(|(alias, _)| *alias == link.alias) {
                links.push((link.alias, target.id.clone()));
            }
        }
        Ok(links)
    }

    /// Containers out of the records have their links again; one to a container that is gone is only a word.
    pub(crate) fn restore_links(&self) {
        for container in self.parts.registry.all() {
            let record = container.record();
            for link in record.links() {
                if let Ok(target) = self.find(&link.target) {
                    self.parts.registry.add_link(&record.name, &link.alias, target.id.clone());
                }
            }
        }
    }

    /// Whom a link of a container means; by the name it has for it, so that a target may be renamed.
    fn target(&self, record: &Record, link: &Link) -> Option<Arc<Container>> {
        self.find(&format!("{}/{}", record.name, link.alias)).or_else(|_gone| self.find(&link.target)).ok()
    }

    /// The links of a container that is about to start. All targets have to run.
    pub(super) fn linked(&self, record: &Record) -> Result<Vec<Linked>> {
        if record.host.links.as_ref().is_none_or(Vec::is_empty) || !record.endpoints().contains_key("bridge")
        {
            return Ok(Vec::new());
        }
        record.links().into_iter().map(|link| self.follow_link(record, link)).collect()
    }

    fn follow_link(&self, record: &Record, link: Link) -> Result<Linked> {
        let refused = |name: &str| Error::system(not_running(name, &record.name, &link.alias));
        let target = self.target(record, &link).ok_or_else(|| refused(&link.target))?;
        let life = target.life();
        if !life.phase.is_live() {
            return Err(refused(&target.record().name));
        }
        let address = bridge_address(&life.places).ok_or_else(|| {
            Error::system(format!("container {} not attached to default bridge network", target.id))
        })?;
        Ok(Linked { link, target, address })
    }

    /// What links add to a program's environment.
    pub(super) fn link_environment(record: &Record, linked: &[Linked]) -> Vec<String> {
        linked.iter().flat_map(|link| link.environment(&record.name)).collect()
    }

    /// The same for an exec: what is linked to and runs right now.
    pub(super) fn link_environment_now(&self, record: &Record) -> Vec<String> {
        if record.host.links.as_ref().is_none_or(Vec::is_empty) || !record.endpoints().contains_key("bridge")
        {
            return Vec::new();
        }
        let linked: Vec<Linked> =
            record.links().into_iter().filter_map(|link| self.follow_link(record, link).ok()).collect();
        Self::link_environment(record, &linked)
    }

    /// Lets a container reach what its targets expose, on a bridge whose containers may otherwise not talk.
    pub(super) fn open_holes(&self, places: &mut [Place], linked: &[Linked]) -> Result<()> {
        let Some(place) = places.iter_mut().find(|place| place.name == "bridge") else { return Ok(()) };
        let Some(own) = place.endpoint.as_ref().and_then(|endpoint| endpoint.addresses().next()) else {
            return Ok(());
        };
        let holes: Vec<Hole> = linked.iter().flat_map(|link| link.holes(&place.network, own)).collect();
        if holes.is_empty() {
            return Ok(());
        }
        self.parts
            .networks
            .fabric()?
            .open_holes(&holes)
            .map_err(|source| Error::new(source.kind(), chain(&source)).caused_by(source))?;
        place.holes = holes;
        Ok(())
    }

    /// A container runs: whoever is linked to it finds it where it is now.
    pub(super) fn lead_dependents(&self, target: &Arc<Container>) {
        for (name, alias) in self.parts.registry.links_to(&target.id) {
            let Ok(dependent) = self.find(&name) else { continue };
            if dependent.id == target.id || !dependent.phase().is_live() {
                continue;
            }
            let record = dependent.record();
            let Some(link) = record.links().into_iter().find(|link| link.alias == alias) else { continue };
            match self.follow_link(&record, link) {
                Ok(linked) => self.lead(&dependent, &linked),
                Err(error) => tracing::debug!(container = name, %error, "its link is not followed"),
            }
        }
    }

    fn lead(&self, dependent: &Arc<Container>, linked: &Linked) {
        let path = self.hosts_path(dependent);
        let followed = own_file::change(&path, |text| follow(text, &linked.link.alias, linked.address));
        if let Err(error) = followed {
            tracing::warn!(error = %chain(&error), "a link's address is stale");
        }
        self.move_holes(dependent, linked);
    }

    /// What a link let pass to the target's old address is let pass to the new one.
    fn move_holes(&self, dependent: &Arc<Container>, linked: &Linked) {
        let places = dependent.life().places;
        let Some(place) = on_bridge(&places) else { return };
        let Some(own) = bridge_address(&places) else { return };
        let wanted = linked.holes(&place.network, own);
        let others: Vec<Hole> = self
            .linked_now(dependent)
            .iter()
            .filter(|other| other.link != linked.link)
            .flat_map(|other| other.holes(&place.network, own))
            .collect();
        let stale: Vec<Hole> = place
            .holes
            .iter()
            .filter(|hole| !wanted.contains(hole) && !others.contains(hole))
            .cloned()
            .collect();
        let Ok(fabric) = self.parts.networks.fabric() else { return };
        let done = fabric.close_holes(&stale).and_then(|()| fabric.open_holes(&wanted));
        if let Err(error) = done {
            tracing::warn!(container = dependent.id.as_str(), error = %chain(&error), "a link lets nothing pass");
        }
        let network = place.network.clone();
        let life = dependent.change_life(|life| {
            for place in life.places.iter_mut().filter(|place| place.network == network) {
                place.holes.retain(|hole| !stale.contains(hole) && !wanted.contains(hole));
                place.holes.extend(wanted.iter().cloned());
            }
        });
        if let Err(error) = self.parts.ledger.save_life(dependent.id.as_str(), &life) {
            tracing::error!(container = dependent.id.as_str(), error = %chain(&error), "a link's new address is not recorded");
        }
    }

    fn linked_now(&self, container: &Container) -> Vec<Linked> {
        let record = container.record();
        record.links().into_iter().filter_map(|link| self.follow_link(&record, link).ok()).collect()
    }

    /// `rm --link container/alias`: the link goes, both containers stay.
    pub(super) fn remove_link(&self, reference: &str) -> Result<()> {
        let bare = reference.trim_start_matches('/');
        let missing = || Error::not_found(minke_api::texts::no_such_container(reference));
        let Some((name, alias)) = bare.split_once('/') else {
            self.find(reference)?;
            return Err(Error::conflict("Conflict, cannot remove the default link name of the container"));
        };
        let container = self.find(name).map_err(|_gone| missing())?;
        let linked = self.linked_now(&container).into_iter().find(|linked| linked.link.alias == alias);
        let mut record = (*container.record()).clone();
        if !self.parts.registry.remove_link(&record.name, alias) {
            return Err(missing());
        }
        if let Some(links) = &mut record.host.links {
            links.retain(|text| parse_link(text).is_ok_and(|link| link.alias != alias));
        }
        self.parts.ledger.save_record(container.id.as_str(), &record.name, &record)?;
        container.set_record(record);
        if let Some(linked) = linked {
            self.close_link(&container, &linked);
        }
        Ok(())
    }

    /// What only this link let pass is closed.
    fn close_link(&self, container: &Arc<Container>, linked: &Linked) {
        let to = linked.address;
        let mut closed = Vec::new();
        let kept: Vec<IpAddr> = self.linked_now(container).iter().map(|other| other.address).collect();
        let life = container.change_life(|life| {
            for place in &mut life.places {
                let (gone, stay) = std::mem::take(&mut place.holes)
                    .into_iter()
                    .partition(|hole: &Hole| hole.to == to && !kept.contains(&hole.to));
                place.holes = stay;
                closed.extend::<Vec<Hole>>(gone);
            }
        });
        if closed.is_empty() {
            return;
        }
        if let Ok(fabric) = self.parts.networks.fabric()
            && let Err(error) = fabric.close_holes(&closed)
        {
            tracing::warn!(container = container.id.as_str(), error = %chain(&error), "what a link let pass stays open");
        }
        if let Err(error) = self.parts.ledger.save_life(container.id.as_str(), &life) {
            tracing::error!(container = container.id.as_str(), error = %chain(&error), "a link's end is not recorded");
        }
    }

    /// As inspect shows links: `/target:/container/alias`.
    pub(super) fn shown_links(&self, record: &Record) -> Option<Vec<String>> {
        let links = record.links();
        if links.is_empty() {
            return record.host.links.clone();
        }
        let shown = |link: &Link| {
            let name = self
                .target(record, link)
                .map_or_else(|| link.target.clone(), |target| target.record().name.clone());
            format!("/{name}:/{}/{}", record.name, link.alias)
        };
        Some(links.iter().map(shown).collect())
    }

    pub(super) fn hosts_path(&self, container: &Container) -> PathBuf {
        self.data_dir(container.id.as_str()).join("hosts")
    }
}
