//! What the host's network looks like before the engine touches it: addresses in use, and whether it routes.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use crate::address::{IpNet, Ipv4Net, Ipv6Net};
use crate::files::{nameservers, read_host_resolv_conf};
use crate::netlink::{NetlinkError, Socket};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// Tables of the old, separate iptables of the kernel, which nftables cannot see.
const LEGACY_TABLES: &str = "/proc/net/ip_tables_names";
const LOCK_NAME: &[u8] = b"minke-subnet-choice";
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Everything a new bridge's subnet must not cover; `except` is the bridge's own link.
pub(crate) fn read_taken(socket: &mut Socket, except: Option<u32>) -> Result<Vec<IpNet>, NetlinkError> {
    let mut taken = Vec::new();
    let found = socket.read_addresses()?.into_iter().chain(socket.read_routes()?);
    taken.extend(found.filter(|(index, _)| Some(*index) != except).map(|(_, net)| IpNet::V4(net)));
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
