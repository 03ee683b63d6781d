//! Claims: a container's whole network at once, from what was made ahead of need as far as that goes.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::interface::{add_interface, check, configure, endpoint, interface_names, own};
use super::{ALIAS_DELAY, Carrier, Fabric, FabricError, Place, alias_of, port_plan};
use crate::attach::{self, Port, plan_ways_out};
use crate::bare::{Bare, open_resolver_sockets};
use crate::endpoint::{Claim, ClaimRequest, DnsSockets, Endpoint, EndpointWish};
use crate::links::Which;
use crate::netlink::{NetlinkError, Socket};
use crate::network::Driver;
use crate::plug::{FIRST, Plugged};
use crate::plugger::{Job, READY};
use crate::state::{Taken, lock, take};

/// The kernel lets a link go 15 to 60 ms after its namespace's last holder.
const FIRST_LOOK: Duration = Duration::from_millis(20);

impl Fabric {
    /// Gives a container its namespace. About 0.1 ms on the default network when one is ready, below 1 ms otherwise.
    ///
    /// The namespace has `lo` and the interfaces up, its routes, and Docker's two sysctls for containers set
    /// (`net.ipv4.ip_unprivileged_port_start=0`, `net.ipv4.ping_group_range=0 2147483647`), so they need not be in the spec.
    ///
    /// # Errors
    /// When no address is left, the asked one is taken or outside, or the kernel refuses. Nothing stays taken then.
    pub fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, FabricError> {
        let mut reserved: Vec<(&str, Taken)> = Vec::with_capacity(request.wishes.len());
        let claimed = self.reserve_all(request, &mut reserved).and_then(|places| {
            let taken: Vec<Taken> = reserved.iter().map(|(_, taken)| *taken).collect();
            self.claim_reserved(request, &places, &taken)
        });
        if claimed.is_err() {
            let mut state = lock(&self.state);
            for (network, taken) in reserved {
                state.give_back(network, taken.addresses());
            }
        }
        claimed
    }

    fn reserve_all<'a>(
        &self,
        request: &ClaimRequest<'a>,
        reserved: &mut Vec<(&'a str, Taken)>,
    ) -> Result<Vec<Place>, FabricError> {
        let mut places = Vec::with_capacity(request.wishes.len());
        for wish in request.wishes {
            check(wish)?;
            reserved.push((&wish.network, take(&self.state, wish)?));
            places.push(self.place_of(&wish.network)?);
        }
        Ok(places)
    }

    fn claim_reserved(
        &self,
        request: &ClaimRequest<'_>,
        places: &[Place],
        taken: &[Taken],
    ) -> Result<Claim, FabricError> {
        let names = interface_names(request.wishes, &[])?;
        let mut endpoints: Vec<Endpoint> = request
            .wishes
            .iter()
            .zip(places)
            .zip(taken)
            .zip(names)
            .map(|(((wish, place), taken), name)| endpoint(request.container, wish, place, *taken, name))
            .collect();
        let ways = plan_ways_out(endpoints.iter().zip(places.iter().map(|place| place.name.as_str())));

        let plugged =
            request.wishes.first().and_then(|wish| self.take_plugged(wish, &places[0], request.dns));
        let (netns, mut inside, mut dns, first) = match plugged {
            Some(plugged) => {
                let Plugged { netns, port, inside_index, inside, dns } = plugged?;
                (netns, inside, dns, Some((port, inside_index)))
            }
            None => {
                let Bare { netns, inside, dns } = self.take_bare(request.dns)?;
                (netns, inside, dns, None)
            }
        };
        let mut start = 0;
        if let Some((port, index)) = first {
            configure(&mut inside, index, &endpoints, 0, ways, Some(endpoints[0].mac), &request.wishes[0])?;
            own(&mut endpoints[0], port);
            start = 1;
        }
        for at in start..endpoints.len() {
            let mut host = lock(&self.route);
            let alias = alias_of(request.container);
            let place = &places[at];
            let port = add_interface(&mut host, netns.as_fd(), place, &endpoints[at], &alias)?;
            drop(host);
            self.write_settings(netns.as_fd(), &endpoints[at], &request.wishes[at])?;
            let index = inside.read_link(Which::Name(&endpoints[at].interface))?.index;
            configure(&mut inside, index, &endpoints, at, ways, None, &request.wishes[at])?;
            if let Some(port) = port {
                self.wait_for(&port, place, &mut inside, index)?;
                own(&mut endpoints[at], port);
            }
        }
        if request.dns && dns.is_none() {
            dns = Some(self.open_dns(netns.as_fd())?);
        }
        if start == 1 {
            let job = Job::Alias { index: endpoints[0].host_index, alias: alias_of(request.container) };
            self.stock.submit(job, ALIAS_DELAY);
        }
        if request.dns {
            self.bare.tend();
            self.shelves.tend();
        }
        Ok(Claim { netns, endpoints, dns })
    }

    /// A ready namespace, when the wish can be met by one.
    fn take_plugged(
        &self,
        wish: &EndpointWish,
        place: &Place,
        dns: bool,
    ) -> Option<Result<Plugged, FabricError>> {
        let plain = wish.interface.as_deref().is_none_or(|name| name == FIRST) && wish.sysctls.is_empty();
        if !plain {
            return None;
        }
        if self.config.default_network.as_deref() != Some(wish.network.as_str()) {
            // Their namespaces wait with the resolver's sockets, for containers that ask it.
            return match &place.carrier {
                Carrier::Bridge(plan) if dns => self.shelves.take(&wish.network, plan).map(Ok),
                _ => None,
            };
        }
        let plan = self.default_plan.as_ref()?;
        Some(match self.stock.take() {
            Some(plugged) => Ok(plugged),
            None => Plugged::make_apart(&self.outside, plan, READY).map_err(FabricError::from),
        })
    }

    fn take_bare(&self, dns: bool) -> Result<Bare, FabricError> {
        let ready = if dns { self.bare.take() } else { None };
        match ready {
            Some(bare) => Ok(bare),
            None => Ok(self.outside.on_own_thread(|outside| Bare::make(outside, dns))?),
        }
    }

    /// The resolver's sockets inside a running container's namespace, for one that joins its first network of the user's.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open_dns(&self, netns: BorrowedFd<'_>) -> Result<DnsSockets, FabricError> {
        Ok(self.visitor.visit(netns, open_resolver_sockets)?)
    }

    pub(super) fn place_of(&self, id: &str) -> Result<Place, FabricError> {
        let state = lock(&self.state);
        let network = state.network(id)?;
        let facts = &network.facts;
        let carrier = match &facts.spec.driver {
            Driver::Bridge(_) => Carrier::Bridge(port_plan(&self.config, network, self.filters_bridges())),
            Driver::Macvlan(spec) => Carrier::Macvlan(network.link, spec.clone()),
        };
        let open = !facts.spec.internal;
        Ok(Place {
            name: facts.spec.name.clone(),
            carrier,
            mtu: facts.spec.mtu,
            subnet4: facts.ipv4.map(|family| family.subnet),
            subnet6: facts.ipv6.map(|family| family.subnet),
            gateway4: facts.ipv4.map(|family| family.gateway).filter(|_| open),
            gateway6: facts.ipv6.map(|family| family.gateway).filter(|_| open),
        })
    }

    pub(super) fn write_settings(
        &self,
        netns: BorrowedFd<'_>,
        endpoint: &Endpoint,
        wish: &EndpointWish,
    ) -> Result<(), FabricError> {
        let (interface, ipv6, sysctls) =
            (endpoint.interface.clone(), endpoint.address6.is_some(), wish.sysctls.clone());
        Ok(self.visitor.visit(netns, move || attach::write_settings(&interface, ipv6, &sysctls))?)
    }

    pub(super) fn wait_for(
        &self,
        port: &Port,
        place: &Place,
        inside: &mut Socket,
        index: u32,
    ) -> Result<(), NetlinkError> {
        match &place.carrier {
            Carrier::Bridge(plan) => attach::settle(port, plan.bridge, inside, index, |index| {
                lock(&self.route).read_link(Which::Index(index))
            }),
            Carrier::Macvlan(..) => Ok(()),
        }
    }

    /// Says that nobody needs the endpoint any more: its container's last process is gone. The address becomes free once the kernel
    /// has let the link go. Ports and holes are given back on their own.
    pub fn release(&self, endpoint: &Endpoint) {
        let id = self.network_of(endpoint);
        let mut state = lock(&self.state);
        let Some(network) = state.networks.get_mut(id) else { return };
        let addresses = network.leave(endpoint.addresses());
        if addresses.is_empty() {
            return;
        }
        if endpoint.host_link.is_empty() {
            network.give_back(addresses);
            return;
        }
        drop(state);
        let (network, name) = (id.to_owned(), endpoint.host_link.clone());
        let job = Job::Leave { network, addresses, index: endpoint.host_index, name, looks: 0 };
        self.stock.submit(job, FIRST_LOOK);
    }
}
