//! Networks that come and go while others work.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Fabric, FabricError, VANISHING, subnets};
use crate::host;
use crate::links::Which;
use crate::network::{Driver, NetworkFacts, NetworkSpec};
use crate::place::{link_name, place};
use crate::plugger::Job;
use crate::state::{Network, lock};

impl Fabric {
    /// Makes a network, and makes the choices that its request leaves open.
    ///
    /// # Errors
    /// When the request contradicts itself, the host or another network, or the kernel refuses; nothing of it is left then.
    pub fn add_network(&self, spec: &NetworkSpec) -> Result<NetworkFacts, FabricError> {
        let mut state = lock(&self.state);
        if state.networks.contains_key(&spec.id) {
            return Err(FabricError::Exists { name: spec.name.clone() });
        }
        if let Driver::Bridge(bridge) = &spec.driver {
            let link = link_name(spec, bridge);
            if let Some(other) =
                state.networks.values().find(|other| other.bridge().is_some() && other.facts.link == link)
            {
                return Err(FabricError::Taken { link, other: other.facts.spec.name.clone() });
            }
        }
        if spec.ipv6.is_some() && self.config.ip_forward && matches!(spec.driver, Driver::Bridge(_)) {
            let switched_on = host::apply_forwarding6().map_err(|error| {
                FabricError::Unsupported(format!(
                    "network {} has IPv6, which the host does not route: {error}",
                    spec.name
                ))
            })?;
            if let Some(filter) = self.filter.as_ref().filter(|_| switched_on && self.config.forward_guard) {
                lock(filter).guard6();
            }
        }
        let network = place(&mut lock(&self.route), &self.config, spec, &subnets(&state))?;
        if let (Some(filter), Some(rules)) = (&self.filter, network.rules()) {
            let mut filter = lock(filter);
            if let Err(source) = filter.add_network(rules) {
                self.drop_link(&network);
                return Err(FabricError::Firewall { source });
            }
            self.frames.store(filter.filters_bridges(), Ordering::Relaxed);
        }
        let facts = network.facts.clone();
        state.failed.remove(&spec.id);
        state.networks.insert(spec.id.clone(), network);
        Ok(facts)
    }

    /// Takes a network away. The engine has made sure that no endpoint is left. The bridge's rules and its link are gone when this
    /// answers; one that the engine did not make stays.
    ///
    /// # Errors
    /// When there is no such network or the kernel refuses.
    pub fn remove_network(&self, id: &str) -> Result<(), FabricError> {
        let mut state = lock(&self.state);
        if state.failed.remove(id).is_some() {
            return Ok(());
        }
        let network =
            state.networks.remove(id).ok_or_else(|| FabricError::NoSuchNetwork { network: id.to_owned() })?;
        drop(state);
        self.shelves.clear(id);
        if let (Some(filter), Some(rules)) = (&self.filter, network.rules()) {
            lock(filter).remove_network(&rules.bridge).map_err(|source| FabricError::Firewall { source })?;
        }
        self.drop_link(&network);
        Ok(())
    }

    /// Has the link deleted, which keeps the kernel busy for some time after it is out of sight.
    fn drop_link(&self, network: &Network) {
        if !network.own_link {
            return;
        }
        let name = network.facts.link.clone();
        let job = Job::Drop { index: network.link, name, why: "its network is removed" };
        self.stock.submit(job, Duration::ZERO);
        let deadline = Instant::now() + VANISHING;
        while lock(&self.route).read_link(Which::Index(network.link)).is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What a network is like; `None` for one that does not exist or could not be made.
    #[must_use]
    pub fn facts(&self, id: &str) -> Option<NetworkFacts> {
        lock(&self.state).networks.get(id).map(|network| network.facts.clone())
    }
}
