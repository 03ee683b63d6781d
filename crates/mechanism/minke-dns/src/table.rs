//! One network's names, as they are looked up: by name, and by address for reverse questions.

use std::{
    cell::Cell,
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    rc::Rc,
};

use crate::{
    view::{Member, NetworkNames},
    wire::{NAME, Name},
};

/// A network's names.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The network's own name in wire form.
    name: Option<Name>,
    /// By container id.
    members: HashMap<String, Seat>,
    /// How many have come.
    arrivals: u64,
    names: HashMap<Box<[u8]>, Entry>,
    /// What a reverse question about this address is answered with: wire form, with the root's zero.
    pointers: HashMap<IpAddr, Box<[u8]>>,
    subnets: Vec<(IpAddr, u8)>,
}

/// A member's place in the table.
#[derive(Debug)]
struct Seat {
    /// Which came first is answered first.
    arrival: u64,
    names: Vec<Box<[u8]>>,
    addresses: Rc<[IpAddr]>,
}

/// The addresses that a name means.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    /// Whose name it is, in the order of their arrival.
    holders: Vec<(u64, Rc<[IpAddr]>)>,
    /// Where the next answer begins.
    turn: Cell<u32>,
}

impl Entry {
    fn add(&mut self, arrival: u64, addresses: &Rc<[IpAddr]>) {
        let place = self.holders.partition_point(|(other, _)| *other < arrival);
        self.holders.insert(place, (arrival, Rc::clone(addresses)));
        self.collect();
    }

    fn remove(&mut self, arrival: u64) {
        self.holders.retain(|(other, _)| *other != arrival);
        self.collect();
    }

    fn collect(&mut self) {
        self.v4.clear();
        self.v6.clear();
        for address in self.holders.iter().flat_map(|(_, addresses)| addresses.iter()) {
            match address {
                IpAddr::V4(v4) => self.v4.push(*v4),
                IpAddr::V6(v6) => self.v6.push(*v6),
            }
        }
    }

    /// All addresses of the families that are wanted, from another one on each time.
    pub(crate) fn addresses(&self, v4: bool, v6: bool) -> impl Iterator<Item = IpAddr> + '_ {
        let turn = usize::try_from(self.turn.get()).unwrap_or(0);
        self.turn.set(self.turn.get().wrapping_add(1));
        let of_v4 = rotated(if v4 { &self.v4 } else { &[] }, turn).map(IpAddr::from);
        of_v4.chain(rotated(if v6 { &self.v6 } else { &[] }, turn).map(IpAddr::from))
    }

    /// Whether there is an address of these families.
    pub(crate) fn has(&self, v4: bool, v6: bool) -> bool {
        v4 && !self.v4.is_empty() || v6 && !self.v6.is_empty()
    }
}

fn rotated<T: Copy>(list: &[T], turn: usize) -> impl Iterator<Item = T> + '_ {
    let (front, back) = list.split_at(turn.checked_rem(list.len()).unwrap_or(0));
    back.iter().chain(front).copied()
}

impl Table {
    /// The whole table anew.
    pub(crate) fn update(&mut self, network: NetworkNames) {
        let NetworkNames { id: _, name, members, subnets } = network;
        *self = Self { name: Name::from_text(&name), subnets, ..Self::default() };
        members.into_iter().for_each(|member| self.join(member));
    }

    /// One container more, or changed: then it keeps its place.
    pub(crate) fn join(&mut self, member: Member) {
        let arrival = self.take(&member.container).unwrap_or_else(|| {
            self.arrivals += 1;
            self.arrivals
        });
        let addresses: Rc<[IpAddr]> = member.addresses.into();
        if let Some(own) = member.names.first().and_then(|name| Name::from_text(name)) {
            let network = self.name.as_ref().map(Name::as_bytes).unwrap_or_default();
            let pointer = [own.as_bytes(), network, &[0]].concat();
            if pointer.len() <= NAME {
                let all = addresses.iter().map(|address| (*address, pointer.clone().into_boxed_slice()));
                self.pointers.extend(all);
            }
        }
        let mut seat = Seat { arrival, names: Vec::new(), addresses };
        // What is no name of the wire (a label over 63 bytes) cannot be asked for.
        for name in member.names.iter().filter_map(|name| Name::from_text(name)) {
            let key: Box<[u8]> = name.as_bytes().into();
            if !seat.names.contains(&key) {
                let entry = self.names.entry(key.clone()).or_default();
                entry.add(arrival, &seat.addresses);
                seat.names.push(key);
            }
        }
        self.members.insert(member.container, seat);
    }

    /// One container less.
    pub(crate) fn leave(&mut self, container: &str) {
        self.take(container);
    }

    /// Takes a container out and gives its place.
    fn take(&mut self, container: &str) -> Option<u64> {
        let seat = self.members.remove(container)?;
        for address in seat.addresses.iter() {
            self.pointers.remove(address);
        }
        for name in &seat.names {
            if let Some(entry) = self.names.get_mut(name) {
                entry.remove(seat.arrival);
                if entry.holders.is_empty() {
                    self.names.remove(name);
                }
            }
        }
        Some(seat.arrival)
    }

    /// What a name means here.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Entry> {
        self.names.get(name)
    }

    /// The name of an address of this network's containers.
    pub(crate) fn pointer(&self, address: IpAddr) -> Option<&[u8]> {
        self.pointers.get(&address).map(AsRef::as_ref)
    }

    /// Whether the network has this name, in wire form.
    pub(crate) fn is_called(&self, name: &[u8]) -> bool {
        self.name.as_ref().is_some_and(|own| own.as_bytes() == name)
    }

    /// Whether an address is of this network's subnets.
    pub(crate) fn covers(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|(first, prefix)| is_within(address, *first, *prefix))
    }
}

fn is_within(address: IpAddr, first: IpAddr, prefix: u8) -> bool {
    match (address, first) {
        (IpAddr::V4(address), IpAddr::V4(first)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            (address.to_bits() ^ first.to_bits()) & mask == 0
        }
        (IpAddr::V6(address), IpAddr::V6(first)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            (address.to_bits() ^ first.to_bits()) & mask == 0
        }
        _ => false,
    }
}
