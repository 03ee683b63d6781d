//! Networks of both families and hardware addresses as values, and the choice of a free subnet for a bridge.
//!
//! The kernel and Docker's API both speak of these; here they are parsed once. What addresses the host already uses is observed by
//! [`crate::host`]; handing out single addresses is [`crate::allocator`]'s work.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address with its prefix length, as in `172.17.0.1/16`. The host part is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv4Net {
    address: Ipv4Addr,
    prefix: u8,
}

/// Text that is no address with prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {text}")]
pub struct NetParseError {
    pub text: String,
}

impl Ipv4Net {
    /// Answers `None` when the prefix is longer than an address.
    #[must_use]
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 32).then_some(Self { address, prefix })
    }

    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    #[must_use]
    pub fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// The same network with the host part cleared.
    #[must_use]
    pub fn network(self) -> Self {
        Self { address: Ipv4Addr::from_bits(self.address.to_bits() & self.mask()), ..self }
    }

    #[must_use]
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.address.to_bits()) & self.mask() == 0
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let wider = self.prefix.min(other.prefix);
        Self { prefix: wider, ..self }.contains(other.address)
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Ipv4Net {
    type Err = NetParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NetParseError { text: text.to_owned() };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address = address.parse().ok();
        let prefix = prefix.bytes().all(|b| b.is_ascii_digit()).then(|| prefix.parse().ok()).flatten();
        address.zip(prefix).and_then(|(a, p)| Self::new(a, p)).ok_or_else(wrong)
    }
}

/// An IPv6 address with its prefix length, as in `fd00::1/64`. The host part is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv6Net {
    address: Ipv6Addr,
    prefix: u8,
}

impl Ipv6Net {
    /// Answers `None` when the prefix is longer than an address.
    #[must_use]
    pub fn new(address: Ipv6Addr, prefix: u8) -> Option<Self> {
        (prefix <= 128).then_some(Self { address, prefix })
    }

    #[must_use]
    pub fn address(self) -> Ipv6Addr {
        self.address
    }

    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    #[must_use]
    pub fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// The same network with the host part cleared.
    #[must_use]
    pub fn network(self) -> Self {
        Self { address: Ipv6Addr::from_bits(self.address.to_bits() & self.mask()), ..self }
    }

    /// The network's last address.
    #[must_use]
    pub fn last(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    #[must_use]
    pub fn contains(self, address: Ipv6Addr) -> bool {
        (address.to_bits() ^ self.address.to_bits()) & self.mask() == 0
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let wider = self.prefix.min(other.prefix);
        Self { prefix: wider, ..self }.contains(other.address)
    }
}

impl fmt::Display for Ipv6Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Ipv6Net {
    type Err = NetParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NetParseError { text: text.to_owned() };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address = address.parse().ok();
        let prefix = prefix.bytes().all(|b| b.is_ascii_digit()).then(|| prefix.parse().ok()).flatten();
        address.zip(prefix).and_then(|(a, p)| Self::new(a, p)).ok_or_else(wrong)
    }
}

/// A network of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IpNet {
    V4(Ipv4Net),
    V6(Ipv6Net),
}

impl IpNet {
    #[must_use]
    pub fn address(self) -> IpAddr {
        match self {
            Self::V4(net) => net.address().into(),
            Self::V6(net) => net.address().into(),
        }
    }

    #[must_use]
    pub fn prefix(self) -> u8 {
        match self {
            Self::V4(net) => net.prefix(),
            Self::V6(net) => net.prefix(),
        }
    }

    /// The same network with the host part cleared.
    #[must_use]
    pub fn network(self) -> Self {
        match self {
            Self::V4(net) => Self::V4(net.network()),
            Self::V6(net) => Self::V6(net.network()),
        }
    }

    /// Whether the address is of the network; one of the other family never is.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(net), IpAddr::V4(address)) => net.contains(address),
            (Self::V6(net), IpAddr::V6(address)) => net.contains(address),
            _ => false,
        }
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        match (self, other) {
            (Self::V4(one), Self::V4(two)) => one.overlaps(two),
            (Self::V6(one), Self::V6(two)) => one.overlaps(two),
            _ => false,
        }
    }

    #[must_use]
    pub fn v4(self) -> Option<Ipv4Net> {
        match self {
            Self::V4(net) => Some(net),
            Self::V6(_) => None,
        }
    }

    #[must_use]
    pub fn v6(self) -> Option<Ipv6Net> {
        match self {
            Self::V4(_) => None,
            Self::V6(net) => Some(net),
        }
    }

    #[must_use]
    pub fn is_v6(self) -> bool {
        matches!(self, Self::V6(_))
    }
}

impl From<Ipv4Net> for IpNet {
    fn from(net: Ipv4Net) -> Self {
        Self::V4(net)
    }
}

impl From<Ipv6Net> for IpNet {
    fn from(net: Ipv6Net) -> Self {
        Self::V6(net)
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(net) => net.fmt(f),
            Self::V6(net) => net.fmt(f),
        }
    }
}

impl FromStr for IpNet {
    type Err = NetParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(':') { text.parse().map(Self::V6) } else { text.parse().map(Self::V4) }
    }
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that follows from an IPv4 address: `02:42:` and its four bytes.
    ///
    /// An address that passes from one container to the next then keeps its hardware address, so no neighbour's ARP table is ever
    /// stale and nothing has to be announced on the way of `run`.
    #[must_use]
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The address that follows from an IPv6 address, for networks without IPv4: its last four bytes.
    #[must_use]
    pub fn of6(address: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The IPv6 link-local address that follows from it, as the kernel makes it (RFC 4291, modified EUI-64).
    #[must_use]
    pub fn link_local(self) -> Ipv6Net {
        let [a, b, c, d, e, g] = self.0;
        let high = u64::from_be_bytes([0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
        let low = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, g]);
        let address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
        Ipv6Net::new(address, 64).expect("64 is a prefix length")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Text that is no hardware address of six bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid MAC address: {text}")]
pub struct MacParseError {
    pub text: String,
}

impl FromStr for Mac {
    type Err = MacParseError;

    /// Accepts `02:42:ac:11:00:02` and the same with dashes, as Docker does.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || MacParseError { text: text.to_owned() };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0_u8; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).ok().ok_or_else(wrong)?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
serde_as_text!(Ipv4Net);
serde_as_text!(Ipv6Net);
serde_as_text!(IpNet);
serde_as_text!(Mac);

/// A range from which whole subnets of one size are cut: an entry of `default-address-pools`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPool {
    pub base: IpNet,
    /// Prefix length of each subnet.
    pub size: u8,
}

/// The pools Docker uses when nothing is configured: 172.17/16 to 172.31/16, then 192.168.0.0/16 in /20s.
#[must_use]
pub fn default_pools() -> Vec<AddressPool> {
    let pool = |a: u8, b: u8, prefix: u8, size: u8| AddressPool {
        base: IpNet::V4(Ipv4Net { address: Ipv4Addr::new(a, b, 0, 0), prefix }),
        size,
    };
    let mut pools: Vec<_> = (17..20).map(|second| pool(172, second, 16, 16)).collect();
    pools.push(pool(172, 20, 14, 16));
    pools.push(pool(172, 24, 14, 16));
    pools.push(pool(172, 28, 14, 16));
    pools.push(pool(192, 168, 16, 20));
    pools
}

/// Every pool is used up or overlaps something of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all predefined address pools have been fully subnetted")]
pub struct NoFreeSubnet;

/// Chooses the first IPv4 subnet of `pools` that overlaps nothing in `taken` (host addresses, routes, nameservers, other networks).
///
/// # Errors
/// When no subnet is left.
pub fn plan_subnet(pools: &[AddressPool], taken: &[IpNet]) -> Result<Ipv4Net, NoFreeSubnet> {
    let bases = pools.iter().filter_map(|pool| match pool.base {
        IpNet::V4(base) => Some((base, pool.size)),
        IpNet::V6(_) => None,
    });
    bases
        .flat_map(|(base, size)| subnets(base, size))
        .find(|subnet| taken.iter().all(|used| !used.overlaps(IpNet::V4(*subnet))))
        .ok_or(NoFreeSubnet)
}

/// Chooses the first IPv6 subnet of `pools`, as [`plan_subnet`] does.
///
/// # Errors
/// When no subnet is left.
pub fn plan_subnet6(pools: &[AddressPool], taken: &[IpNet]) -> Result<Ipv6Net, NoFreeSubnet> {
    let bases = pools.iter().filter_map(|pool| match pool.base {
        IpNet::V6(base) => Some((base, pool.size)),
        IpNet::V4(_) => None,
    });
    bases
        .flat_map(|(base, size)| subnets6(base, size))
        .find(|subnet| taken.iter().all(|used| !used.overlaps(IpNet::V6(*subnet))))
        .ok_or(NoFreeSubnet)
}

fn subnets(base: Ipv4Net, size: u8) -> impl Iterator<Item = Ipv4Net> + use<> {
    let size = size.clamp(base.prefix, 32);
    let first = u64::from(base.network().address.to_bits());
    let count = 1_u64 << (size - base.prefix);
    let step = 1_u64 << (32 - size);
    (0..count).filter_map(move |index| {
        let bits = u32::try_from(first + index * step).ok()?;
        Ipv4Net::new(Ipv4Addr::from_bits(bits), size)
    })
}

/// At most the first 65536: who has used those up may name a subnet.
fn subnets6(base: Ipv6Net, size: u8) -> impl Iterator<Item = Ipv6Net> + use<> {
    let size = size.clamp(base.prefix, 128);
    let first = base.network().address.to_bits();
    let count = 1_u128 << (size - base.prefix).min(16);
    let step = 1_u128.checked_shl(128 - u32::from(size)).unwrap_or(0);
    (0..count).filter_map(move |index| Ipv6Net::new(Ipv6Addr::from_bits(first + index * step), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn nets<const N: usize>(texts: [&str; N]) -> [IpNet; N] {
        texts.map(|text| text.parse().unwrap())
    }

    #[test]
    fn a_network_keeps_its_host_part_and_knows_its_edges() {
        let bip = net("172.17.0.1/16");
        assert_eq!(bip.to_string(), "172.17.0.1/16");
        assert_eq!(bip.network(), net("172.17.0.0/16"));
        assert_eq!(bip.broadcast(), Ipv4Addr::new(172, 17, 255, 255));
        assert_eq!(net("0.0.0.0/0").mask(), 0);
    }

    #[test]
    fn text_that_is_no_network_is_named_in_the_error() {
        for text in ["172.17.0.1", "172.17.0.1/33", "172.17.0/16", "x/8", "1.2.3.4/+8"] {
            assert_eq!(
                text.parse::<Ipv4Net>().unwrap_err().to_string(),
                format!("invalid CIDR address: {text}")
            );
        }
    }

    #[test]
    fn overlap_is_seen_from_both_sides() {
        assert!(net("10.0.0.0/8").overlaps(net("10.9.0.0/16")));
        assert!(net("10.9.0.0/16").overlaps(net("10.0.0.0/8")));
        assert!(!net("10.0.0.0/9").overlaps(net("10.128.0.0/16")));
    }

    #[test]
    fn the_first_default_subnet_is_dockers() {
        assert_eq!(plan_subnet(&default_pools(), &[]), Ok(net("172.17.0.0/16")));
    }

    #[test]
    fn a_subnet_in_use_is_passed_over() {
        let taken = nets(["172.17.0.1/16", "172.18.44.0/24", "172.16.0.0/13"]);
        assert_eq!(plan_subnet(&default_pools(), &taken), Ok(net("172.24.0.0/16")));
        let taken = nets(["172.16.0.0/12", "192.168.1.7/32"]);
        assert_eq!(plan_subnet(&default_pools(), &taken), Ok(net("192.168.16.0/20")));
    }

    #[test]
    fn ipv6_subnets_come_from_pools_of_that_family_alone() {
        let mut pools = default_pools();
        assert_eq!(plan_subnet6(&pools, &[]), Err(NoFreeSubnet));
        pools.push(AddressPool { base: "fd12:3456:789a::/48".parse().unwrap(), size: 64 });
        assert_eq!(plan_subnet6(&pools, &[]).unwrap().to_string(), "fd12:3456:789a::/64");
        let used = nets(["fd12:3456:789a::1/64", "0.0.0.0/0"]);
        assert_eq!(plan_subnet6(&pools, &used).unwrap().to_string(), "fd12:3456:789a:1::/64");
    }

    #[test]
    fn a_host_that_uses_every_pool_leaves_no_subnet() {
        let taken = nets(["172.16.0.0/12", "192.168.0.0/16"]);
        assert_eq!(plan_subnet(&default_pools(), &taken), Err(NoFreeSubnet));
    }

    #[test]
    fn hardware_addresses_follow_from_ipv4_addresses_and_round_trip() {
        let mac = Mac::of(Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!("02:42:AC:11:00:02".parse(), Ok(mac));
        assert_eq!("02-42-ac-11-00-02".parse(), Ok(mac));
        assert!("02:42:ac:11:00".parse::<Mac>().is_err());
    }
}
