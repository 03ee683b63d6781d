//! What the host's network looks like before the engine touches it: addresses in use, and whether it routes.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::address::{IpNet, Ipv4Net, Ipv6Net};
use crate::files::{nameservers, read_host_resolv_conf};
use crate::netlink::{NetlinkError, Socket};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// Tables of the old, separate iptables of the kernel, which nftables cannot see.
const LEGACY_TABLES: &str = "/proc/net/ip_tables_names";
const IPV6_SETTINGS: &str = "/proc/sys/net/ipv6/conf";
const LOCK_NAME: &[u8] = b"minke-subnet-choice";
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Everything a new bridge's subnet must not cover; `except` is the bridge's own link.
pub(crate) fn read_taken(socket: &mut Socket, except: Option<u32>) -> Result<Vec<IpNet>, NetlinkError> {
    let mut taken = Vec::new();
    let found = socket.read_addresses()?.into_iter().chain(socket.read_routes()?);
    taken.extend(found.filter(|(index, _)| Some(*index) != except).map(|(_, net)| net));
    // Without the file there is nothing to avoid.
    let servers = read_host_resolv_conf().map(|conf| nameservers(&conf.text)).unwrap_or_default();
    taken.extend(servers.into_iter().filter_map(|server| match server {
        IpAddr::V4(address) => Ipv4Net::new(address, 32).map(IpNet::V4),
        IpAddr::V6(address) => Ipv6Net::new(address, 128).map(IpNet::V6),
    }));
    Ok(taken)
}

/// How the host's routing stands after [`apply_forwarding`].
#[derive(Debug)]
pub(crate) enum Forwarding {
    WasOn,
    SwitchedOn,
    Off,
    Refused(io::Error),
}

/// Switches routing on when it is off and `wanted`.
pub(crate) fn apply_forwarding(wanted: bool) -> Forwarding {
    match fs::read_to_string(IP_FORWARD) {
        Ok(text) if text.trim() == "1" => Forwarding::WasOn,
        Ok(_) if !wanted => Forwarding::Off,
        Ok(_) => fs::write(IP_FORWARD, "1").map_or_else(Forwarding::Refused, |()| Forwarding::SwitchedOn),
        Err(error) => Forwarding::Refused(error),
    }
}

/// Makes the host route IPv6; answers whether it did not before. A host that learns its own default route from a router goes on doing so, which routers themselves do not
/// unless they are told to.
pub(crate) fn apply_forwarding6() -> io::Result<bool> {
    let all = Path::new(IPV6_SETTINGS).join("all/forwarding");
    match fs::read_to_string(&all) {
        Ok(text) if text.trim() == "1" => return Ok(false),
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    for interface in fs::read_dir(IPV6_SETTINGS)?.flatten() {
        let accepts = interface.path().join("accept_ra");
        if fs::read_to_string(&accepts).is_ok_and(|text| text.trim() == "1") {
            fs::write(&accepts, "2")?;
        }
    }
    fs::write(Path::new(IPV6_SETTINGS).join("default/forwarding"), "1")?;
    fs::write(all, "1").map(|()| true)
}

/// Whether what a bridge carries between its ports passes the rules of IP as well.
pub(crate) fn bridges_show_packets() -> bool {
    ["iptables", "ip6tables"].iter().any(|which| {
        fs::read_to_string(format!("/proc/sys/net/bridge/bridge-nf-call-{which}"))
            .is_ok_and(|text| text.trim() == "1")
    })
}

/// Packets from and to 127.0.0.0/8 may pass this link: those that the host sends to a port published there.
pub(crate) fn route_loopback(link: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys/net/ipv4/conf").join(link).join("route_localnet"), "1")
}

/// IPv6 on or off for one link of the host's. A kernel without IPv6 has nothing to switch.
pub(crate) fn switch_ipv6(link: &str, on: bool) -> io::Result<()> {
    let directory = Path::new(IPV6_SETTINGS).join(link);
    if !directory.exists() && !on {
        return Ok(());
    }
    if on {
        fs::write(directory.join("accept_ra"), "0")?;
        // A link-local address that is still looked for among others cannot ask for neighbours: the first second of every new network.
        fs::write(directory.join("accept_dad"), "0")?;
    }
    fs::write(directory.join("disable_ipv6"), if on { "0" } else { "1" })
}

/// First 40 bits of a private range of this host's own, after RFC 4193.
pub(crate) fn private_range(mark: &str) -> Ipv6Net {
    let identity = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let hash = identity.trim().bytes().chain(mark.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let bits = (0xfd_u128 << 120) | (u128::from(hash >> 24) << 80);
    Ipv6Net::new(Ipv6Addr::from_bits(bits), 48).expect("48 is a prefix length")
}

pub(crate) fn has_legacy_iptables() -> bool {
    fs::read_to_string(LEGACY_TABLES).is_ok_and(|names| names.lines().any(|name| name == "filter"))
}

/// Keeps two engines that start at the same moment from choosing the same subnet: an abstract socket, which belongs to the network
/// namespace and vanishes with its holder.
#[derive(Debug)]
pub(crate) struct ChoiceLock {
    _listener: Option<UnixListener>,
}

impl ChoiceLock {
    /// Waits a few seconds at most: the lock spares a rare collision and must not keep an engine from starting.
    pub(crate) fn take() -> Self {
        let start = Instant::now();
        loop {
            let bound = SocketAddr::from_abstract_name(LOCK_NAME)
                .and_then(|address| UnixListener::bind_addr(&address));
            match bound {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && start.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                result => return Self { _listener: result.ok() },
            }
        }
    }
}
