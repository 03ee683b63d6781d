//! Which addresses of a subnet are in use: a bitmap in memory, rebuilt from the containers' records when the daemon starts.
//!
//! As with Docker's default bridge the lowest free address is handed out. The bridge gives an address back only when the kernel has
//! let its last holder's link go, so "lowest" never means "still answering elsewhere".

use std::net::Ipv4Addr;

use crate::address::Ipv4Net;

/// Why no address could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    #[error("no available IPv4 addresses")]
    Exhausted,
    #[error("address {0} is in use")]
    InUse(Ipv4Addr),
    #[error("address {0} is not in the subnet")]
    Outside(Ipv4Addr),
}

/// Addresses of one subnet.
#[derive(Debug)]
pub struct Allocator {
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
    pub fn new(subnet: Ipv4Net, range: Option<Ipv4Net>) -> Self {
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
    pub fn allocate(&mut self) -> Result<Ipv4Addr, AllocateError> {
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
    pub fn reserve(&mut self, address: Ipv4Addr) -> Result<(), AllocateError> {
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
    pub fn free(&mut self, address: Ipv4Addr) {
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
}
