//! Links, addresses and routes by rtnetlink: typed requests and what dumps answer.
//!
//! A veth pair is born with its peer in the target namespace, because moving a link later costs the kernel an RCU barrier (15 ms);
//! nothing here deletes a link on the way of a container's end, for the same reason: dropping the namespace does it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::address::{IpNet, Ipv4Net, Ipv6Net, Mac};
use crate::netlink::message::{CREATE, EXCLUSIVE, REPLACE};
use crate::netlink::{Attributes, Batch, Message, NetlinkError, Socket};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_STATS64: u16 = 23;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_EUI64: u8 = 0;
const ADDR_GEN_MODE_NONE: u8 = 1;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// Usable at once: nobody else has the address.
const IFA_F_NODAD: u32 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFF_UP: u32 = 1;
const OPERATIONAL: u8 = 6;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RTN_UNICAST: u8 = 1;
const LINK_FIXED: usize = 16;
const ADDRESS_FIXED: usize = 8;
const ROUTE_FIXED: usize = 12;

/// A link as a dump shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) alias: String,
    pub(crate) mac: Option<Mac>,
    pub(crate) master: Option<u32>,
    pub(crate) is_up: bool,
    /// Carries packets: up, with carrier, and the kernel's deferred work for it done.
    pub(crate) carries: bool,
    pub(crate) mtu: u32,
    pub(crate) counters: Counters,
}

/// A link's traffic, seen from its own side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) rx_packets: u64,
    pub(crate) tx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) rx_errors: u64,
    pub(crate) tx_errors: u64,
    pub(crate) rx_dropped: u64,
    pub(crate) tx_dropped: u64,
}

/// Which link a request is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    Index(u32),
    Name(&'a str),
}

impl Which<'_> {
    fn index(self) -> u32 {
        match self {
            Self::Index(index) => index,
            Self::Name(_) => 0,
        }
    }

    fn name(self, message: &mut Message<'_>) {
        if let Self::Name(name) = self {
            message.text(IFLA_IFNAME, name);
        }
    }
}

fn link_fixed(index: u32, flags: u32, change: u32) -> [u8; LINK_FIXED] {
    let mut fixed = [0; LINK_FIXED];
    fixed[0] = AF_UNSPEC;
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..16].copy_from_slice(&change.to_ne_bytes());
    fixed
}

/// What a pair is made from.
#[derive(Debug)]
pub(crate) struct VethPlan<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) peer_name: &'a str,
    /// The peer's hardware address, when it is known already.
    pub(crate) mac: Option<Mac>,
    pub(crate) netns: BorrowedFd<'a>,
    pub(crate) mtu: u32,
    /// The group of the host's end; 0 is everybody's.
    pub(crate) group: u32,
}

/// What a macvlan interface is made from.
#[derive(Debug)]
pub(crate) struct MacvlanPlan<'a> {
    pub(crate) parent: u32,
    pub(crate) name: &'a str,
    pub(crate) mode: u32,
    pub(crate) mac: Mac,
    pub(crate) netns: BorrowedFd<'a>,
    pub(crate) mtu: u32,
}

/// Requests for one link, gathered into a batch.
impl Batch {
    /// A pair with the host's end on the bridge and the peer inside the namespace. One queue each way: more cost an RCU period.
    pub(crate) fn add_veth(&mut self, plan: &VethPlan<'_>) {
        let what = format!("add interface pair {}", plan.host_name);
        self.push(what, RTM_NEWLINK, CREATE | EXCLUSIVE, |m| {
            m.fixed(&link_fixed(0, 0, 0));
            m.text(IFLA_IFNAME, plan.host_name);
            m.u32(IFLA_MTU, plan.mtu);
            m.u32(IFLA_MASTER, plan.bridge);
            m.u32(IFLA_GROUP, plan.group);
            m.u32(IFLA_NUM_TX_QUEUES, 1);
            m.u32(IFLA_NUM_RX_QUEUES, 1);
            m.nest(IFLA_LINKINFO, |m| {
                m.text(IFLA_INFO_KIND, "veth");
                m.nest(IFLA_INFO_DATA, |m| {
                    m.nest(VETH_INFO_PEER, |m| {
                        m.fixed(&link_fixed(0, 0, 0));
                        m.text(IFLA_IFNAME, plan.peer_name);
                        m.u32(IFLA_MTU, plan.mtu);
                        if let Some(mac) = plan.mac {
                            m.bytes(IFLA_ADDRESS, &mac.0);
                        }
                        m.u32(IFLA_NUM_TX_QUEUES, 1);
                        m.u32(IFLA_NUM_RX_QUEUES, 1);
                        m.bytes(IFLA_NET_NS_FD, &plan.netns.as_raw_fd().to_ne_bytes());
                    });
                });
            });
        });
    }

    /// Made inside the namespace at once.
    pub(crate) fn add_macvlan(&mut self, plan: &MacvlanPlan<'_>) {
        self.push(format!("add macvlan interface {}", plan.name), RTM_NEWLINK, CREATE | EXCLUSIVE, |m| {
            m.fixed(&link_fixed(0, 0, 0));
            m.text(IFLA_IFNAME, plan.name);
            m.bytes(IFLA_ADDRESS, &plan.mac.0);
            m.u32(IFLA_MTU, plan.mtu);
            m.u32(IFLA_LINK, plan.parent);
            m.bytes(IFLA_NET_NS_FD, &plan.netns.as_raw_fd().to_ne_bytes());
            m.nest(IFLA_LINKINFO, |m| {
                m.text(IFLA_INFO_KIND, "macvlan");
                m.nest(IFLA_INFO_DATA, |m| m.u32(IFLA_MACVLAN_MODE, plan.mode));
            });
        });
    }

    pub(crate) fn add_bridge(&mut self, name: &str, mac: Mac, mtu: u32) {
        self.push(format!("add bridge {name}"), RTM_NEWLINK, CREATE | EXCLUSIVE, |m| {
            m.fixed(&link_fixed(0, 0, 0));
            m.text(IFLA_IFNAME, name);
            m.bytes(IFLA_ADDRESS, &mac.0);
            m.u32(IFLA_MTU, mtu);
            m.nest(IFLA_LINKINFO, |m| m.text(IFLA_INFO_KIND, "bridge"));
        });
    }

    /// A VLAN of the parent.
    pub(crate) fn add_vlan(&mut self, name: &str, parent: u32, number: u16) {
        self.push(format!("add VLAN {name}"), RTM_NEWLINK, CREATE | EXCLUSIVE, |m| {
            m.fixed(&link_fixed(0, 0, 0));
            m.text(IFLA_IFNAME, name);
            m.u32(IFLA_LINK, parent);
            m.nest(IFLA_LINKINFO, |m| {
                m.text(IFLA_INFO_KIND, "vlan");
                m.nest(IFLA_INFO_DATA, |m| m.bytes(IFLA_VLAN_ID, &number.to_ne_bytes()));
            });
        });
    }

    /// A link that leads nowhere.
    pub(crate) fn add_dummy(&mut self, name: &str) {
        self.push(format!("add link {name}"), RTM_NEWLINK, CREATE | EXCLUSIVE, |m| {
            m.fixed(&link_fixed(0, 0, 0));
            m.text(IFLA_IFNAME, name);
            m.nest(IFLA_LINKINFO, |m| m.text(IFLA_INFO_KIND, "dummy"));
        });
    }

    /// A pair with both ends here.
    pub(crate) fn add_plain_pair(&mut self, name: &str, other: &str) {
        self.push(format!("add link {name}"), RTM_NEWLINK, CREATE | EXCLUSIVE, |m| {
            m.fixed(&link_fixed(0, 0, 0));
            m.text(IFLA_IFNAME, name);
            m.nest(IFLA_LINKINFO, |m| {
                m.text(IFLA_INFO_KIND, "veth");
                m.nest(IFLA_INFO_DATA, |m| {
                    m.nest(VETH_INFO_PEER, |m| {
                        m.fixed(&link_fixed(0, 0, 0));
                        m.text(IFLA_IFNAME, other);
                    });
                });
            });
        });
    }

    pub(crate) fn set_up(&mut self, which: Which<'_>) {
        self.push("set interface up", RTM_NEWLINK, 0, |m| {
            m.fixed(&link_fixed(which.index(), IFF_UP, IFF_UP));
            which.name(m);
        });
    }

    /// Brings the host's end up, without the IPv6 link-local address whose search for duplicates would flood the bridge.
    pub(crate) fn set_port_up(&mut self, which: Which<'_>, alias: &str, isolated: bool) {
        self.push("set bridge port up", RTM_NEWLINK, 0, |m| {
            m.fixed(&link_fixed(which.index(), IFF_UP, IFF_UP));
            which.name(m);
            m.text(IFLA_IFALIAS, alias);
            if isolated {
                m.nest(IFLA_LINKINFO, |m| {
                    m.text(IFLA_INFO_SLAVE_KIND, "bridge");
                    m.nest(IFLA_INFO_SLAVE_DATA, |m| m.u8(IFLA_BRPORT_ISOLATED, 1));
                });
            }
        });
    }

    /// No IPv6 addresses come into being by themselves on this link. Refused where the kernel has no IPv6.
    pub(crate) fn set_no_link_local(&mut self, which: Which<'_>) {
        self.push("switch IPv6 link-local addresses off", RTM_NEWLINK, 0, |m| {
            m.fixed(&link_fixed(which.index(), 0, 0));
            which.name(m);
            m.nest(IFLA_AF_SPEC, |m| {
                m.nest(AF_INET6.into(), |m| m.u8(IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_MODE_NONE));
            });
        });
    }

    /// From now on as the kernel does it when it is left alone; what was not made meanwhile is not made up for.
    pub(crate) fn set_link_local(&mut self, which: Which<'_>) {
        self.push("switch IPv6 link-local addresses on", RTM_NEWLINK, 0, |m| {
            m.fixed(&link_fixed(which.index(), 0, 0));
            which.name(m);
            m.nest(IFLA_AF_SPEC, |m| {
                m.nest(AF_INET6.into(), |m| m.u8(IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_MODE_EUI64));
            });
        });
    }

    /// Frames may leave by the port they came from.
    pub(crate) fn set_hairpin(&mut self, index: u32) {
        self.push("let frames turn back at a bridge port", RTM_NEWLINK, 0, |m| {
            m.fixed(&link_fixed(index, 0, 0));
            m.nest(IFLA_LINKINFO, |m| {
                m.text(IFLA_INFO_SLAVE_KIND, "bridge");
                m.nest(IFLA_INFO_SLAVE_DATA, |m| m.u8(IFLA_BRPORT_MODE, 1));
            });
        });
    }

    pub(crate) fn set_group(&mut self, index: u32, group: u32) {
        self.push("set interface group", RTM_NEWLINK, 0, |m| {
            m.fixed(&link_fixed(index, 0, 0));
            m.u32(IFLA_GROUP, group);
        });
    }

    pub(crate) fn set_alias(&mut self, which: Which<'_>, alias: &str) {
        self.push("set interface alias", RTM_NEWLINK, 0, |m| {
            m.fixed(&link_fixed(which.index(), 0, 0));
            which.name(m);
            m.text(IFLA_IFALIAS, alias);
        });
    }

    pub(crate) fn set_master(&mut self, which: Which<'_>, master: u32) {
        self.push("put interface on its bridge", RTM_NEWLINK, 0, |m| {
            m.fixed(&link_fixed(which.index(), IFF_UP, IFF_UP));
            which.name(m);
            m.u32(IFLA_MASTER, master);
        });
    }

    pub(crate) fn set_mac(&mut self, index: u32, mac: Mac) {
        self.push(format!("set hardware address {mac}"), RTM_NEWLINK, 0, |m| {
            m.fixed(&link_fixed(index, 0, 0));
            m.bytes(IFLA_ADDRESS, &mac.0);
        });
    }

    pub(crate) fn set_mtu(&mut self, index: u32, mtu: u32) {
        self.push(format!("set mtu {mtu}"), RTM_NEWLINK, 0, |m| {
            m.fixed(&link_fixed(index, 0, 0));
            m.u32(IFLA_MTU, mtu);
        });
    }

    pub(crate) fn delete_link(&mut self, index: u32) {
        self.push(format!("delete interface {index}"), RTM_DELLINK, 0, |m| m.fixed(&link_fixed(index, 0, 0)));
    }

    pub(crate) fn add_address(&mut self, index: u32, address: IpNet) {
        self.push(format!("add address {address}"), RTM_NEWADDR, CREATE | REPLACE, |m| {
            address_request(m, index, address);
        });
    }

    pub(crate) fn delete_address(&mut self, index: u32, address: IpNet) {
        self.push(format!("delete address {address}"), RTM_DELADDR, 0, |m| {
            address_request(m, index, address);
        });
    }

    pub(crate) fn add_default_route(&mut self, index: u32, gateway: IpAddr) {
        self.push(format!("add default route via {gateway}"), RTM_NEWROUTE, CREATE | EXCLUSIVE, |m| {
            default_route(m, index, gateway);
        });
    }

    /// Puts the default route in the place of the one there is.
    pub(crate) fn replace_default_route(&mut self, index: u32, gateway: IpAddr) {
        self.push(format!("set default route via {gateway}"), RTM_NEWROUTE, CREATE | REPLACE, |m| {
            default_route(m, index, gateway);
        });
    }
}

fn default_route(m: &mut Message<'_>, index: u32, gateway: IpAddr) {
    let mut fixed = [0; ROUTE_FIXED];
    fixed[0] = if gateway.is_ipv4() { AF_INET } else { AF_INET6 };
    fixed[4] = RT_TABLE_MAIN;
    fixed[5] = RTPROT_BOOT;
    fixed[6] = RT_SCOPE_UNIVERSE;
    fixed[7] = RTN_UNICAST;
    m.fixed(&fixed);
    match gateway {
        IpAddr::V4(gateway) => m.bytes(RTA_GATEWAY, &gateway.octets()),
        IpAddr::V6(gateway) => m.bytes(RTA_GATEWAY, &gateway.octets()),
    }
    m.u32(RTA_OIF, index);
}

fn address_request(m: &mut Message<'_>, index: u32, address: IpNet) {
    let mut fixed = [0; ADDRESS_FIXED];
    fixed[0] = if address.is_v6() { AF_INET6 } else { AF_INET };
    fixed[1] = address.prefix();
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    m.fixed(&fixed);
    match address {
        IpNet::V4(net) => {
            m.bytes(IFA_LOCAL, &net.address().octets());
            m.bytes(IFA_ADDRESS, &net.address().octets());
            m.bytes(IFA_BROADCAST, &net.broadcast().octets());
        }
        IpNet::V6(net) => {
            m.bytes(IFA_ADDRESS, &net.address().octets());
            m.u32(IFA_FLAGS, IFA_F_NODAD);
        }
    }
}

fn read_ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        AF_INET6 => bytes.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
        _ => None,
    }
}

fn net(address: IpAddr, prefix: u8) -> Option<IpNet> {
    match address {
        IpAddr::V4(address) => Ipv4Net::new(address, prefix).map(IpNet::V4),
        IpAddr::V6(address) => Ipv6Net::new(address, prefix).map(IpNet::V6),
    }
}

/// Observations.
impl Socket {
    pub(crate) fn read_link(&mut self, which: Which<'_>) -> Result<Link, NetlinkError> {
        let what = match which {
            Which::Index(index) => format!("read interface {index}"),
            Which::Name(name) => format!("read interface {name}"),
        };
        let mut batch = Batch::new();
        batch.push(what.clone(), RTM_GETLINK, 0, |m| {
            m.fixed(&link_fixed(which.index(), 0, 0));
            which.name(m);
        });
        let mut found = None;
        self.query(&mut batch, &mut |kind, payload| found = parse_link(kind, payload))?;
        found.ok_or(NetlinkError::Malformed { what })
    }

    pub(crate) fn read_links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut batch = Batch::new();
        batch.push("list interfaces", RTM_GETLINK, 0, |m| m.fixed(&link_fixed(0, 0, 0)));
        self.dump(batch, parse_link)
    }

    /// Every address with the index of its link; IPv6 link-local ones left out.
    pub(crate) fn read_addresses(&mut self) -> Result<Vec<(u32, IpNet)>, NetlinkError> {
        let mut batch = Batch::new();
        batch.push("list addresses", RTM_GETADDR, 0, |m| m.fixed(&[0; ADDRESS_FIXED]));
        self.dump(batch, |kind, payload| {
            if kind != RTM_NEWADDR {
                return None;
            }
            let (family, prefix) = (*payload.first()?, *payload.get(1)?);
            let index = u32::from_ne_bytes(*payload.get(4..)?.first_chunk()?);
            let attributes = Attributes::after(payload, ADDRESS_FIXED);
            let bytes = attributes.get(IFA_LOCAL).or_else(|| attributes.get(IFA_ADDRESS))?;
            let address = read_ip(family, bytes).filter(|address| !is_link_local(*address))?;
            Some((index, net(address, prefix)?))
        })
    }

    /// Destinations of the main table's routes of both families, default routes and link-local ones excepted, with the index of their
    /// link.
    pub(crate) fn read_routes(&mut self) -> Result<Vec<(u32, IpNet)>, NetlinkError> {
        let mut routes = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut batch = Batch::new();
            batch.push("list routes", RTM_GETROUTE, 0, |m| {
                let mut fixed = [0; ROUTE_FIXED];
                fixed[0] = family;
                m.fixed(&fixed);
            });
            routes.extend(self.dump(batch, |kind, payload| {
                if kind != RTM_NEWROUTE || *payload.get(4)? != RT_TABLE_MAIN {
                    return None;
                }
                let attributes = Attributes::after(payload, ROUTE_FIXED);
                let address = read_ip(family, attributes.get(RTA_DST)?)?;
                if is_link_local(address) || address.is_multicast() {
                    return None;
                }
                let index = attributes.u32(RTA_OIF).unwrap_or(0);
                net(address, *payload.get(1)?).filter(|net| net.prefix() > 0).map(|net| (index, net))
            })?);
        }
        Ok(routes)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn parse_link(kind: u16, payload: &[u8]) -> Option<Link> {
    if kind != RTM_NEWLINK {
        return None;
    }
    let index = u32::from_ne_bytes(*payload.get(4..)?.first_chunk()?);
    let flags = u32::from_ne_bytes(*payload.get(8..)?.first_chunk()?);
    let attributes = Attributes::after(payload, LINK_FIXED);
    Some(Link {
        index,
        name: attributes.text(IFLA_IFNAME)?,
        kind: attributes.nested(IFLA_LINKINFO).text(IFLA_INFO_KIND).unwrap_or_default(),
        alias: attributes.text(IFLA_IFALIAS).unwrap_or_default(),
        mac: attributes.get(IFLA_ADDRESS).and_then(|bytes| bytes.first_chunk()).map(|bytes| Mac(*bytes)),
        master: attributes.u32(IFLA_MASTER),
        is_up: flags & IFF_UP != 0,
        carries: attributes.get(IFLA_OPERSTATE) == Some(&[OPERATIONAL]),
        mtu: attributes.u32(IFLA_MTU).unwrap_or(0),
        counters: attributes.get(IFLA_STATS64).map(parse_counters).unwrap_or_default(),
    })
}

fn parse_counters(bytes: &[u8]) -> Counters {
    let at = |index: usize| {
        bytes
            .get(index * 8..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |chunk| u64::from_ne_bytes(*chunk))
    };
    Counters {
        rx_packets: at(0),
        tx_packets: at(1),
        rx_bytes: at(2),
        tx_bytes: at(3),
        rx_errors: at(4),
        tx_errors: at(5),
        rx_dropped: at(6),
        tx_dropped: at(7),
    }
}
