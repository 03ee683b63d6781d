//! Running containers that join and leave networks.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::interface::{add_interface, check, configure, endpoint, interface_names, own};
use super::{Fabric, FabricError, Place, VANISHING, alias_of};
use crate::attach::{Inside, Port, WaysOut, gateway_of, plan_ways_out};
use crate::endpoint::{Endpoint, EndpointWish};
use crate::links::Which;
use crate::netlink::{Batch, Family, NetlinkError, Socket};
use crate::plugger::Job;
use crate::state::{Taken, lock, take};

impl Fabric {
    /// Plugs a running container's namespace into one more network. `others` are its endpoints so far.
    ///
    /// # Errors
    /// As [`Self::claim`].
    pub fn plug(
        &self,
        netns: BorrowedFd<'_>,
        container: &str,
        wish: &EndpointWish,
        others: &[Endpoint],
    ) -> Result<Endpoint, FabricError> {
        check(wish)?;
        let taken = take(&self.state, wish)?;
        let plugged = self.plug_reserved(netns, container, wish, others, taken);
        if plugged.is_err() {
            lock(&self.state).give_back(&wish.network, taken.addresses());
        }
        plugged
    }

    fn plug_reserved(
        &self,
        netns: BorrowedFd<'_>,
        container: &str,
        wish: &EndpointWish,
        others: &[Endpoint],
        taken: Taken,
    ) -> Result<Endpoint, FabricError> {
        let place = self.place_of(&wish.network)?;
        let mut inside = Inside::open(&self.visitor, netns)?;
        let there: Vec<String> = inside.socket.read_links()?.into_iter().map(|link| link.name).collect();
        let name = interface_names(std::slice::from_ref(wish), &there)?.remove(0);
        let mut new = endpoint(container, wish, &place, taken, name);
        let alias = alias_of(container);
        let port = add_interface(&mut lock(&self.route), inside.netns, &place, &new, &alias)?;
        let finished = self.finish_plug(&mut inside, &place, &new, wish, port.as_ref(), others);
        if finished.is_err() {
            let job = match &port {
                Some(Port { index, name }) => {
                    Job::Drop { index: *index, name: name.clone(), why: "it could not be set up" }
                }
                None => {
                    let index = inside.socket.read_link(Which::Name(&new.interface))?.index;
                    Job::DropInside { socket: inside.socket, index }
                }
            };
            self.stock.submit(job, Duration::ZERO);
        }
        finished?;
        if let Some(port) = port {
            own(&mut new, port);
        }
        Ok(new)
    }

    fn finish_plug(
        &self,
        inside: &mut Inside<'_>,
        place: &Place,
        new: &Endpoint,
        wish: &EndpointWish,
        port: Option<&Port>,
        others: &[Endpoint],
    ) -> Result<(), FabricError> {
        self.write_settings(inside.netns, new, wish)?;
        let index = inside.socket.read_link(Which::Name(&new.interface))?.index;
        let mut all = others.to_vec();
        all.push(new.clone());
        let at = others.len();
        configure(&mut inside.socket, index, &all, at, WaysOut::default(), None, wish)?;
        self.route_out(&mut inside.socket, &all)?;
        if let Some(port) = port {
            self.wait_for(port, place, &mut inside.socket, index)?;
        }
        Ok(())
    }

    /// Makes the default routes those that the endpoints call for.
    fn route_out(&self, inside: &mut Socket, endpoints: &[Endpoint]) -> Result<(), NetlinkError> {
        let names: Vec<String> = {
            let state = lock(&self.state);
            let name = |id: &str| state.networks.get(id).map(|network| network.facts.spec.name.clone());
            endpoints.iter().map(|endpoint| name(&endpoint.network).unwrap_or_default()).collect()
        };
        let ways = plan_ways_out(endpoints.iter().zip(names.iter().map(String::as_str)));
        let mut batch = Batch::new();
        for (at, v6) in [(ways.v4, false), (ways.v6, true)] {
            let Some(endpoint) = at.and_then(|at| endpoints.get(at)) else { continue };
            if let Some(gateway) = gateway_of(endpoint, v6) {
                let index = inside.read_link(Which::Name(&endpoint.interface))?.index;
                batch.replace_default_route(index, gateway);
            }
        }
        inside.apply(batch)
    }

    /// Takes an interface out of a running container's namespace and gives its address back; `others` are the endpoints it keeps.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unplug(
        &self,
        netns: BorrowedFd<'_>,
        endpoint: &Endpoint,
        others: &[Endpoint],
    ) -> Result<(), FabricError> {
        let mut inside = Inside::open(&self.visitor, netns)?;
        if let Ok(link) = inside.socket.read_link(Which::Name(&endpoint.interface)) {
            self.route_out(&mut inside.socket, others)?;
            // The kernel is busy with a deleted link long after it is out of sight.
            let job = if endpoint.host_link.is_empty() {
                let socket = self.visitor.visit(netns, || Ok(Socket::open(Family::Route)?))?;
                Job::DropInside { socket, index: link.index }
            } else {
                let (index, name) = (endpoint.host_index, endpoint.host_link.clone());
                Job::Drop { index, name, why: "its container has left the network" }
            };
            self.stock.submit(job, Duration::ZERO);
            let deadline = Instant::now() + VANISHING;
            while inside.socket.read_link(Which::Index(link.index)).is_ok() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        self.release(endpoint);
        Ok(())
    }
}
