//! Which addresses of a subnet are in use: a bitmap in memory, rebuilt from the containers' records when the daemon starts.
//!
//! As with Docker's default bridge the lowest free address is handed out. The bridge gives an address back only when the kernel has
//! let its last holder's link go, so "lowest" never means "still answering elsewhere".

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::address::{Ipv4Net, Ipv6Net};

/// Why no address could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AllocateError {
    #[error("no available IPv4 addresses")]
    Exhausted,
    #[error("address {0} is in use")]
    InUse(Ipv4Addr),
    #[error("address {0} is not in the subnet")]
    Outside(Ipv4Addr),
}

/// Addresses of one subnet.
#[derive(Debug)]
pub(crate) struct Allocator {
    subnet: Ipv4Net,
    /// Where addresses that nobody asked for by name come from.
    first: u64,
    last: u64,
    /// One bit per address of the subnet, in words that grow as they are needed.
    words: Vec<u64>,
}

impl Allocator {
    /// All addresses of `subnet` free but the network's own and the broadcast address; `range` narrows what [`Self::allocate`] takes.
    #[must_use]
    pub(crate) fn new(subnet: Ipv4Net, range: Option<Ipv4Net>) -> Self {
        let subnet = subnet.network();
        let base = u64::from(subnet.address().to_bits());
        let range = range.unwrap_or(subnet).network();
        let offset = |address: Ipv4Addr| u64::from(address.to_bits()).saturating_sub(base);
        let edge = u64::from(subnet.prefix() < 31);
        Self {
            subnet,
            first: offset(range.address()).max(edge),
            last: offset(range.broadcast()).min(offset(subnet.broadcast()) - edge),
            words: Vec::new(),
        }
    }

    /// Takes the lowest free address.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn allocate(&mut self) -> Result<Ipv4Addr, AllocateError> {
        let mut at = self.first;
        while at <= self.last {
            let word = self.word(at);
            if word == u64::MAX {
                at = (at / 64 + 1) * 64;
            } else if word & (1 << (at % 64)) == 0 {
                self.mark(at);
                return self.address(at).ok_or(AllocateError::Exhausted);
            } else {
                at += 1;
            }
        }
        Err(AllocateError::Exhausted)
    }

    /// Takes one address by name.
    ///
    /// # Errors
    /// When it is in use or outside of the subnet.
    pub(crate) fn reserve(&mut self, address: Ipv4Addr) -> Result<(), AllocateError> {
        if !self.subnet.contains(address) {
            return Err(AllocateError::Outside(address));
        }
        let at = self.offset(address);
        let is_edge = self.subnet.prefix() < 31 && (at == 0 || address == self.subnet.broadcast());
        if is_edge || self.word(at) & (1 << (at % 64)) != 0 {
            return Err(AllocateError::InUse(address));
        }
        self.mark(at);
        Ok(())
    }

    /// Gives an address back; one that is not in use is left alone.
    pub(crate) fn free(&mut self, address: Ipv4Addr) {
        if self.subnet.contains(address) {
            let at = self.offset(address);
            if let Some(word) = usize::try_from(at / 64).ok().and_then(|index| self.words.get_mut(index)) {
                *word &= !(1 << (at % 64));
            }
        }
    }

    fn offset(&self, address: Ipv4Addr) -> u64 {
        u64::from(address.to_bits() - self.subnet.address().to_bits())
    }

    fn address(&self, offset: u64) -> Option<Ipv4Addr> {
        let offset = u32::try_from(offset).ok()?;
        self.subnet.address().to_bits().checked_add(offset).map(Ipv4Addr::from_bits)
    }

    fn word(&self, offset: u64) -> u64 {
        usize::try_from(offset / 64).ok().and_then(|index| self.words.get(index)).copied().unwrap_or(0)
    }

    fn mark(&mut self, offset: u64) {
        let index = usize::try_from(offset / 64).expect("an offset in an IPv4 subnet fits");
        if self.words.len() <= index {
            self.words.resize(index + 1, 0);
        }
        self.words[index] |= 1 << (offset % 64);
    }
}

/// Addresses of one IPv6 subnet. Few of very many are in use, so the used ones are what is remembered.
#[derive(Debug)]
pub(crate) struct Allocator6 {
    subnet: Ipv6Net,
    first: u128,
    last: u128,
    used: BTreeSet<u128>,
}

impl Allocator6 {
    /// All addresses of `subnet` free but the network's own, which routers share; `range` narrows what [`Self::allocate`] takes.
    pub(crate) fn new(subnet: Ipv6Net, range: Option<Ipv6Net>) -> Self {
        let subnet = subnet.network();
        let range = range.unwrap_or(subnet).network();
        let edge = subnet.address().to_bits() + u128::from(subnet.prefix() < 127);
        Self {
            subnet,
            first: range.address().to_bits().max(edge),
            last: range.last().to_bits().min(subnet.last().to_bits()),
            used: BTreeSet::new(),
        }
    }

    /// Takes the address at `offset` from the subnet's start if it is free and may be handed out, the lowest free one otherwise.
    pub(crate) fn allocate(&mut self, offset: Option<u128>) -> Option<Ipv6Addr> {
        let wished = offset.and_then(|offset| self.subnet.address().to_bits().checked_add(offset));
        let free = |bits: &u128| (self.first..=self.last).contains(bits) && !self.used.contains(bits);
        let bits = match wished.filter(free) {
            Some(bits) => bits,
            None => self.lowest()?,
        };
        self.used.insert(bits);
        Some(Ipv6Addr::from_bits(bits))
    }

    fn lowest(&self) -> Option<u128> {
        let mut bits = self.first;
        for used in self.used.range(self.first..=self.last) {
            if *used != bits {
                break;
            }
            bits = bits.checked_add(1)?;
        }
        (bits <= self.last).then_some(bits)
    }

    /// Takes one address by name; answers whether it was free.
    pub(crate) fn reserve(&mut self, address: Ipv6Addr) -> bool {
        self.used.insert(address.to_bits())
    }

    pub(crate) fn free(&mut self, address: Ipv6Addr) {
        self.used.remove(&address.to_bits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocator(subnet: &str) -> Allocator {
        Allocator::new(subnet.parse().unwrap(), None)
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn the_lowest_free_address_is_taken_and_taken_again_after_its_return() {
        let mut addresses = allocator("172.17.0.0/16");
        addresses.reserve(ip("172.17.0.1")).unwrap();
        assert_eq!(addresses.allocate(), Ok(ip("172.17.0.2")));
        assert_eq!(addresses.allocate(), Ok(ip("172.17.0.3")));
        addresses.free(ip("172.17.0.2"));
        assert_eq!(addresses.allocate(), Ok(ip("172.17.0.2")));
    }

    #[test]
    fn network_and_broadcast_addresses_are_never_handed_out() {
        let mut addresses = allocator("10.0.0.0/30");
        assert_eq!(addresses.allocate(), Ok(ip("10.0.0.1")));
        assert_eq!(addresses.allocate(), Ok(ip("10.0.0.2")));
        assert_eq!(addresses.allocate(), Err(AllocateError::Exhausted));
    }

    #[test]
    fn an_address_by_name_is_refused_when_used_or_foreign() {
        let mut addresses = allocator("10.0.0.0/24");
        addresses.reserve(ip("10.0.0.9")).unwrap();
        assert_eq!(addresses.reserve(ip("10.0.0.9")), Err(AllocateError::InUse(ip("10.0.0.9"))));
        assert_eq!(addresses.reserve(ip("10.0.1.9")), Err(AllocateError::Outside(ip("10.0.1.9"))));
        assert_eq!(addresses.reserve(ip("10.0.0.255")), Err(AllocateError::InUse(ip("10.0.0.255"))));
    }

    #[test]
    fn a_range_narrows_what_is_handed_out_but_not_what_may_be_asked_for() {
        let mut addresses =
            Allocator::new("10.0.0.0/16".parse().unwrap(), Some("10.0.3.0/30".parse().unwrap()));
        let all: Vec<_> = std::iter::from_fn(|| addresses.allocate().ok()).collect();
        assert_eq!(all, [ip("10.0.3.0"), ip("10.0.3.1"), ip("10.0.3.2"), ip("10.0.3.3")]);
        assert_eq!(addresses.reserve(ip("10.0.9.9")), Ok(()));
    }

    #[test]
    fn a_whole_slash_sixteen_can_be_used_up() {
        let mut addresses = allocator("172.17.0.0/16");
        let count = std::iter::from_fn(|| addresses.allocate().ok()).count();
        assert_eq!(count, 65_534);
        addresses.free(ip("172.17.200.7"));
        assert_eq!(addresses.allocate(), Ok(ip("172.17.200.7")));
    }

    #[test]
    fn an_ipv6_address_takes_the_place_its_ipv4_sibling_has_when_that_is_free() {
        let mut addresses = Allocator6::new("fd00::/64".parse().unwrap(), None);
        assert!(addresses.reserve("fd00::1".parse().unwrap()));
        let mut next = |offset| addresses.allocate(offset).unwrap().to_string();
        assert_eq!(next(Some(5)), "fd00::5");
        assert_eq!([next(Some(5)), next(None), next(None)], ["fd00::2", "fd00::3", "fd00::4"]);
        assert_eq!(next(None), "fd00::6");
    }

    #[test]
    fn an_ipv6_range_is_used_up_and_given_back() {
        let mut addresses =
            Allocator6::new("fd00::/64".parse().unwrap(), Some("fd00::10/126".parse().unwrap()));
        let all: Vec<_> = std::iter::from_fn(|| addresses.allocate(Some(2))).collect();
        assert_eq!(all.len(), 4);
        addresses.free(all[2]);
        assert_eq!(addresses.allocate(None), Some(all[2]));
    }
}
