//! One interface of a container: its name, its endpoint as a value, and what makes it so inside the namespace.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{Carrier, FabricError, Place};
use crate::address::{IpNet, Ipv4Net, Ipv6Net, Mac};
use crate::attach::{self, Port, WaysOut, gateway_of};
use crate::endpoint::{Endpoint, EndpointWish};
use crate::links::Which;
use crate::netlink::{Batch, NetlinkError, Socket};
use crate::place::is_link_name;
use crate::state::{Taken, with_prefix};

/// A hardware address that is being given back is waited for this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Refuses what no kernel would do.
pub(super) fn check(wish: &EndpointWish) -> Result<(), FabricError> {
    if let Some(name) = &wish.interface
        && (!is_link_name(name) || name == "lo")
    {
        return Err(FabricError::Invalid(format!("invalid interface name: {name}")));
    }
    if let Some((key, _)) = wish.sysctls.iter().find(|(key, _)| !attach::is_endpoint_sysctl(key)) {
        return Err(FabricError::Invalid(format!(
            "invalid endpoint sysctl setting {key}: it must be of the form net.X.Y.IFNAME.Z"
        )));
    }
    Ok(())
}

/// A name for each interface: the asked one, else the first `eth` number that is free.
pub(super) fn interface_names(wishes: &[EndpointWish], there: &[String]) -> Result<Vec<String>, FabricError> {
    let mut used: Vec<String> =
        there.iter().cloned().chain(wishes.iter().filter_map(|wish| wish.interface.clone())).collect();
    for (at, name) in wishes.iter().enumerate().filter_map(|(at, wish)| Some((at, wish.interface.as_ref()?)))
    {
        if there.contains(name) || wishes[..at].iter().any(|other| other.interface.as_ref() == Some(name)) {
            return Err(FabricError::Invalid(format!("interface name {name} is used already")));
        }
    }
    let mut names = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let name = match &wish.interface {
            Some(name) => name.clone(),
            None => {
                let free = (0_u32..).map(|number| format!("eth{number}")).find(|name| !used.contains(name));
                free.unwrap_or_default()
            }
        };
        used.push(name.clone());
        names.push(name);
    }
    Ok(names)
}

/// The endpoint that comes of a wish, without its link.
pub(super) fn endpoint(
    container: &str,
    wish: &EndpointWish,
    place: &Place,
    taken: Taken,
    interface: String,
) -> Endpoint {
    let mac = wish.mac.unwrap_or_else(|| match (taken.v4, taken.v6) {
        (Some(address), _) => Mac::of(address),
        (None, Some(address)) => Mac::of6(address),
        (None, None) => {
            let [a, b, c, d] = attach::random_bytes();
            Mac([0x02, 0x42, a, b, c, d])
        }
    });
    let v4 = |address: IpAddr| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let v6 = |address: IpAddr| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    };
    Endpoint {
        container: container.to_owned(),
        network: wish.network.clone(),
        host_link: String::new(),
        host_index: 0,
        interface,
        address: taken.v4.zip(place.subnet4).map(|(address, subnet)| with_prefix(address, subnet)),
        gateway: place.gateway4.and_then(v4),
        address6: taken
            .v6
            .zip(place.subnet6)
            .and_then(|(address, subnet)| Ipv6Net::new(address, subnet.prefix())),
        gateway6: place.gateway6.and_then(v6),
        mac,
        gateway_priority: wish.gateway_priority,
    }
}

pub(super) fn own(endpoint: &mut Endpoint, port: Port) {
    endpoint.host_link = port.name;
    endpoint.host_index = port.index;
}

/// Makes the endpoint's interface inside the namespace; answers the host's end if it has one.
pub(super) fn add_interface(
    host: &mut Socket,
    netns: BorrowedFd<'_>,
    place: &Place,
    endpoint: &Endpoint,
    alias: &str,
) -> Result<Option<Port>, NetlinkError> {
    match &place.carrier {
        Carrier::Bridge(plan) => {
            attach::add_pair(host, netns, plan, &endpoint.interface, Some(endpoint.mac), alias).map(Some)
        }
        Carrier::Macvlan(parent, spec) => {
            let (name, mac) = (&endpoint.interface, endpoint.mac);
            attach::add_macvlan(host, netns, *parent, spec, name, mac, place.mtu).map(|()| None)
        }
    }
}

/// Gives the container's end its addresses and, if it is one of the ways out, the route, in one system call.
pub(super) fn configure(
    inside: &mut Socket,
    index: u32,
    endpoints: &[Endpoint],
    at: usize,
    ways: WaysOut,
    mac: Option<Mac>,
    wish: &EndpointWish,
) -> Result<(), NetlinkError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match inside.apply(plan_interface(index, endpoints, at, ways, mac, wish)) {
            // A macvlan interface has its hardware address for itself; the one that had it before is just vanishing.
            Err(error) if error.errno() == Some(Errno::ADDRINUSE) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

fn plan_interface(
    index: u32,
    endpoints: &[Endpoint],
    at: usize,
    ways: WaysOut,
    mac: Option<Mac>,
    wish: &EndpointWish,
) -> Batch {
    let endpoint = &endpoints[at];
    let mut batch = Batch::new();
    match mac {
        // It is up already.
        Some(mac) => {
            batch.set_mac(index, mac);
            if endpoint.address6.is_some() {
                batch.set_link_local(Which::Index(index));
                batch.add_address(index, IpNet::V6(mac.link_local()));
            }
        }
        None => batch.set_up(Which::Index(index)),
    }
    for address in attach::addresses_of(endpoint) {
        batch.add_address(index, address);
    }
    for address in &wish.link_local {
        batch.add_address(index, link_local(*address));
    }
    for (way, v6) in [(ways.v4, false), (ways.v6, true)] {
        if let Some(gateway) = gateway_of(endpoint, v6).filter(|_| way == Some(at)) {
            batch.add_default_route(index, gateway);
        }
    }
    batch
}

/// Link-local addresses come without a prefix length.
fn link_local(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(address) => IpNet::V4(Ipv4Net::new(address, 16).expect("16 is a prefix length")),
        IpAddr::V6(address) => IpNet::V6(Ipv6Net::new(address, 64).expect("64 is a prefix length")),
    }
}
