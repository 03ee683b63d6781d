//! Published ports and link holes of endpoints that exist.

use std::net::SocketAddr;
use std::time::Duration;

use super::{ALIAS_DELAY, Fabric, FabricError};
use crate::endpoint::Endpoint;
use crate::plugger::Job;
use crate::ports::{Binding, Hole, PortWish, Protocol, Proxy, Published};
use crate::publish::{bind_all, proxy_of, targets};
use crate::state::{Network, lock};

impl Fabric {
    /// Publishes ports of an endpoint, all of them or none: each host port is bound (the socket goes to the keeper), then all are made
    /// reachable in one transaction. Call it on a thread that stands in the host's namespace. On networks that have no way in
    /// (internal ones, macvlan) nothing is published, as with Docker.
    ///
    /// # Errors
    /// When a port is taken, or the kernel refuses. The text lacks only Docker's `driver failed programming external connectivity on
    /// endpoint NAME (ID): ` before it.
    pub fn publish(&self, endpoint: &Endpoint, wishes: &[PortWish]) -> Result<Published, FabricError> {
        let none = Published { bindings: Vec::new(), held: Vec::new(), proxies: Vec::new() };
        if wishes.is_empty() {
            return Ok(none);
        }
        let bridge = {
            let state = lock(&self.state);
            let network = state.network(self.network_of(endpoint))?;
            match network.bridge() {
                Some(bridge) if !network.facts.spec.internal => bridge.clone(),
                _ => return Ok(none),
            }
        };
        let mut book = lock(&self.book);
        let bound = bind_all(&self.config, &mut book, endpoint, &bridge, wishes)?;
        drop(book);
        if let Some(filter) = &self.filter {
            let ports = targets(endpoint, &bound.bindings);
            if let Err(source) = lock(filter).publish(&ports) {
                bound.give_back(&mut lock(&self.book));
                return Err(FabricError::Firewall { source });
            }
            self.forget_flows(ports);
            self.stock.submit(Job::TurnBack { index: endpoint.host_index }, ALIAS_DELAY);
        }
        let proxies = self.proxies(endpoint, &bound.bindings);
        Ok(Published { bindings: bound.bindings, held: bound.held, proxies })
    }

    /// Closes published ports again, in one transaction. The sockets are the keeper's to let go of (it does when it leaves).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unpublish(&self, bindings: &[Binding]) -> Result<(), FabricError> {
        if bindings.is_empty() {
            return Ok(());
        }
        if let Some(filter) = &self.filter {
            let closed = lock(filter).unpublish(bindings);
            self.forget_flows(closed.map_err(|source| FabricError::Firewall { source })?);
        }
        let mut book = lock(&self.book);
        for binding in bindings.iter().filter(|binding| binding.routed.is_none()) {
            book.remove(binding.protocol, binding.host_ip, binding.host_port);
        }
        Ok(())
    }

    fn forget_flows(&self, ports: Vec<(Binding, SocketAddr)>) {
        if ports.iter().any(|(binding, _)| binding.protocol == Protocol::Udp) {
            self.stock.submit(Job::ForgetFlows { ports }, Duration::ZERO);
        }
    }

    /// The proxies that bindings of an endpoint need: for a keeper that is adopted and must be told anew.
    #[must_use]
    pub fn proxies(&self, endpoint: &Endpoint, bindings: &[Binding]) -> Vec<Proxy> {
        bindings.iter().filter_map(|binding| proxy_of(&self.config, endpoint, binding)).collect()
    }

    /// Lets linked containers talk on networks whose containers may not (`icc=false`); on others there is nothing to do.
    ///
    /// # Errors
    /// When the kernel refuses, or cannot filter bridges.
    pub fn open_holes(&self, holes: &[Hole]) -> Result<(), FabricError> {
        let holes = self.needed(holes);
        let Some(filter) = self.filter.as_ref().filter(|_| !holes.is_empty()) else { return Ok(()) };
        let mut filter = lock(filter);
        if !filter.filters_bridges() {
            return Err(FabricError::Unsupported(
                "this kernel cannot filter between the ports of a bridge (nf_tables, family bridge): containers cannot be linked on a \
                 network without icc"
                    .to_owned(),
            ));
        }
        filter.open_holes(&holes).map_err(|source| FabricError::Firewall { source })
    }

    fn needed(&self, holes: &[Hole]) -> Vec<Hole> {
        let state = lock(&self.state);
        let quiet = |hole: &&Hole| {
            state.networks.get(&hole.network).and_then(Network::bridge).is_some_and(|bridge| !bridge.icc)
        };
        holes.iter().filter(quiet).cloned().collect()
    }

    /// Closes what [`Self::open_holes`] opened; one that is not open is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn close_holes(&self, holes: &[Hole]) -> Result<(), FabricError> {
        let Some(filter) = &self.filter else { return Ok(()) };
        lock(filter).close_holes(holes).map_err(|source| FabricError::Firewall { source })
    }
}
