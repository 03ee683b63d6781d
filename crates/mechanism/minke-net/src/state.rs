//! The networks an engine has, and which of their addresses are taken.
//!
//! An address that is given back stays taken until the kernel has let its holder's link go; who needs it sooner waits for that.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::address::Ipv4Net;
use crate::allocator::{AllocateError, Allocator, Allocator6};
use crate::endpoint::{Endpoint, EndpointWish};
use crate::fabric::FabricError;
use crate::network::{BridgeSpec, Driver, NetworkFacts, SubnetSpec};
use crate::nft::plan::NetworkRules;

/// An address that is being given back is waited for this long when somebody needs it.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these guard stays whole when a holder panics: bitmaps, and sockets that skip answers of others.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A network that exists.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) facts: NetworkFacts,
    /// Index of the bridge, or of the macvlan's parent.
    pub(crate) link: u32,
    /// The bridge was made by the engine and goes with the network.
    pub(crate) own_link: bool,
    v4: Option<Allocator>,
    v6: Option<Allocator6>,
    leaving: Vec<IpAddr>,
}

impl Network {
    pub(crate) fn new(facts: NetworkFacts, link: u32, own_link: bool) -> Self {
        let mut v4 = facts.ipv4.as_ref().map(|family| {
            let range = facts.spec.ipv4.as_ref().and_then(|spec| spec.range);
            Allocator::new(family.subnet, range.and_then(crate::address::IpNet::v4))
        });
        let mut v6 = facts.ipv6.as_ref().map(|family| {
            let range = facts.spec.ipv6.as_ref().and_then(|spec| spec.range);
            Allocator6::new(family.subnet, range.and_then(crate::address::IpNet::v6))
        });
        // A gateway that nobody is and nobody named is an address like others.
        let is_one = |v6: bool, spec: &Option<SubnetSpec>| {
            !facts.spec.isolates(v6) || spec.as_ref().is_some_and(|spec| spec.gateway.is_some())
        };
        let gateway4 = facts.ipv4.filter(|_| is_one(false, &facts.spec.ipv4)).map(|family| family.gateway);
        let gateway6 = facts.ipv6.filter(|_| is_one(true, &facts.spec.ipv6)).map(|family| family.gateway);
        let links =
            [facts.ipv4.and_then(|family| family.link_address), facts.ipv6.and_then(|f| f.link_address)];
        let own = [gateway4, gateway6].into_iter().chain(links).flatten();
        let aside = [&facts.spec.ipv4, &facts.spec.ipv6];
        let aside = aside.into_iter().flatten().flat_map(|spec| spec.reserved.iter().copied());
        // The gateway may be the link's address, and one may be named twice.
        for address in own.chain(aside) {
            match (address, &mut v4, &mut v6) {
                (IpAddr::V4(address), Some(v4), _) => drop(v4.reserve(address)),
                (IpAddr::V6(address), _, Some(v6)) => drop(v6.reserve(address)),
                _ => {}
            }
        }
        Self { facts, link, own_link, v4, v6, leaving: Vec::new() }
    }

    pub(crate) fn bridge(&self) -> Option<&BridgeSpec> {
        match &self.facts.spec.driver {
            Driver::Bridge(bridge) => Some(bridge),
            Driver::Macvlan(_) => None,
        }
    }

    /// What the packet filter needs to know; nothing for networks that it does not see.
    pub(crate) fn rules(&self) -> Option<NetworkRules> {
        let bridge = self.bridge()?;
        let v4 = self.facts.ipv4.map(|family| family.subnet.network().into());
        let v6 = self.facts.ipv6.map(|family| family.subnet.network().into());
        Some(NetworkRules {
            bridge: self.facts.link.clone(),
            subnets: v4.into_iter().chain(v6).collect(),
            masquerade: bridge.masquerade,
            icc: bridge.icc,
            internal: self.facts.spec.internal,
            modes: [bridge.mode4, bridge.mode6],
        })
    }

    /// Takes the addresses of an endpoint that is known already; answers the one that somebody else has.
    pub(crate) fn keep(&mut self, endpoint: &Endpoint) -> Result<(), IpAddr> {
        for address in endpoint.addresses() {
            let kept = match (address, &mut self.v4, &mut self.v6) {
                (IpAddr::V4(address), Some(v4), _) => v4.reserve(address).is_ok(),
                (IpAddr::V6(address), _, Some(v6)) => v6.reserve(address),
                _ => false,
            };
            if !kept {
                return Err(address);
            }
        }
        Ok(())
    }

    fn take(&mut self, wish: &EndpointWish) -> Result<Taken, FabricError> {
        let v4 = self.take4(wish.address)?;
        match self.take6(wish.address6, v4) {
            Ok(v6) => Ok(Taken { v4, v6 }),
            Err(error) => {
                self.give_back(v4.map(IpAddr::from));
                Err(error)
            }
        }
    }

    fn take4(&mut self, wanted: Option<Ipv4Addr>) -> Result<Option<Ipv4Addr>, FabricError> {
        let (v4, address) = match (&mut self.v4, wanted) {
            (Some(v4), wanted) => (v4, wanted),
            (None, Some(address)) => return Err(FabricError::AddressOutside { address: address.into() }),
            (None, None) => return Ok(None),
        };
        let taken = match address {
            Some(address) => v4.reserve(address).map(|()| address),
            None => v4.allocate(),
        };
        taken.map(Some).map_err(|error| match error {
            AllocateError::Exhausted => self.exhausted(4),
            AllocateError::InUse(address) => FabricError::AddressInUse { address: address.into() },
            AllocateError::Outside(address) => FabricError::AddressOutside { address: address.into() },
        })
    }

    fn take6(
        &mut self,
        wanted: Option<Ipv6Addr>,
        sibling: Option<Ipv4Addr>,
    ) -> Result<Option<Ipv6Addr>, FabricError> {
        let Some(v6) = &mut self.v6 else {
            return wanted
                .map_or(Ok(None), |address| Err(FabricError::AddressOutside { address: address.into() }));
        };
        let subnet = self.facts.ipv6.map(|family| family.subnet);
        match wanted {
            Some(address) if subnet.is_some_and(|subnet| !subnet.contains(address)) => {
                Err(FabricError::AddressOutside { address: address.into() })
            }
            Some(address) if v6.reserve(address) => Ok(Some(address)),
            Some(address) => Err(FabricError::AddressInUse { address: address.into() }),
            None => {
                // The hardware address follows from the IPv4 address: where both keep step, no neighbour remembers a stale one.
                let start = self.facts.ipv4.map(|family| family.subnet.network().address());
                let offset = sibling.zip(start).map(|(at, start)| u128::from(at.to_bits() - start.to_bits()));
                v6.allocate(offset).map(Some).ok_or_else(|| self.exhausted(6))
            }
        }
    }

    fn exhausted(&self, family: u8) -> FabricError {
        let (name, id) = (self.facts.spec.name.clone(), self.facts.spec.id.clone());
        FabricError::Exhausted { family, name, id }
    }

    pub(crate) fn give_back(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            self.leaving.retain(|leaving| *leaving != address);
            match (address, &mut self.v4, &mut self.v6) {
                (IpAddr::V4(address), Some(v4), _) => v4.free(address),
                (IpAddr::V6(address), _, Some(v6)) => v6.free(address),
                _ => {}
            }
        }
    }

    /// Marks addresses as being given back; answers those that were not so marked before.
    pub(crate) fn leave(&mut self, addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
        let contains = |address: &IpAddr| match address {
            IpAddr::V4(address) => self.facts.ipv4.is_some_and(|family| family.subnet.contains(*address)),
            IpAddr::V6(address) => self.facts.ipv6.is_some_and(|family| family.subnet.contains(*address)),
        };
        // Those of an older subnet are nobody's any more.
        let new: Vec<_> =
            addresses.filter(contains).filter(|address| !self.leaving.contains(address)).collect();
        self.leaving.extend(&new);
        new
    }
}

/// Addresses for one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
}

impl Taken {
    pub(crate) fn addresses(self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::from).into_iter().chain(self.v6.map(IpAddr::from))
    }
}

/// Every network by its id, and the reasons why others could not be made.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) networks: BTreeMap<String, Network>,
    pub(crate) failed: BTreeMap<String, (String, String)>,
}

impl State {
    pub(crate) fn network(&self, id: &str) -> Result<&Network, FabricError> {
        self.networks.get(id).ok_or_else(|| self.missing(id))
    }

    fn missing(&self, id: &str) -> FabricError {
        match self.failed.get(id) {
            Some((name, reason)) => FabricError::Unusable { name: name.clone(), reason: reason.clone() },
            None => FabricError::NoSuchNetwork { network: id.to_owned() },
        }
    }

    pub(crate) fn give_back(&mut self, network: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        if let Some(network) = self.networks.get_mut(network) {
            network.give_back(addresses);
        }
    }
}

/// Takes the addresses that a wish asks for, and waits a moment for ones that are just being given back when that is the only
/// hindrance.
pub(crate) fn take(state: &Mutex<State>, wish: &EndpointWish) -> Result<Taken, FabricError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut locked = lock(state);
        if !locked.networks.contains_key(&wish.network) {
            return Err(locked.missing(&wish.network));
        }
        let Some(network) = locked.networks.get_mut(&wish.network) else { continue };
        let error = match network.take(wish) {
            Ok(taken) => return Ok(taken),
            Err(error) => error,
        };
        let worth_waiting = match &error {
            FabricError::Exhausted { .. } => !network.leaving.is_empty(),
            FabricError::AddressInUse { address } => network.leaving.contains(address),
            _ => false,
        };
        drop(locked);
        if !worth_waiting || Instant::now() > deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An address with its network's prefix length.
pub(crate) fn with_prefix(address: Ipv4Addr, subnet: Ipv4Net) -> Ipv4Net {
    Ipv4Net::new(address, subnet.prefix()).expect("a subnet's prefix is valid")
}
