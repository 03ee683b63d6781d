//! One container's place on a bridge, as a value that the engine keeps in its records.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::address::{Ipv4Net, Mac};

/// A container's interface: what `inspect` shows, what the reconciliation at start needs, what gives the statistics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The container's id; the host's end carries it as its alias.
    pub container: String,
    /// Name of the host's end. Random and never used twice.
    pub host_link: String,
    /// Index of the host's end; counts up, so it tells a link from a later one.
    pub host_index: u32,
    pub address: Ipv4Net,
    pub gateway: Ipv4Addr,
    pub mac: Mac,
}

/// What a container asks of a bridge.
#[derive(Clone, Debug, Default)]
pub struct ClaimRequest<'a> {
    /// The container's id.
    pub container: &'a str,
    /// A fixed address; the lowest free one otherwise.
    pub address: Option<Ipv4Addr>,
    /// A fixed hardware address; one that follows from the address otherwise.
    pub mac: Option<Mac>,
}

/// A network namespace with `lo` and `eth0` up and addressed, ready to be joined.
///
/// The file descriptor is the namespace's only holder: whoever drops the last reference (this one, the container's processes) makes
/// the kernel remove the interface pair. Nothing has to be unplugged.
#[derive(Debug)]
pub struct Claim {
    pub netns: OwnedFd,
    pub endpoint: Endpoint,
}
