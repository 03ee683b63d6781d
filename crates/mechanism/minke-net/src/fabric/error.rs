//! Why a network, an endpoint or a port could not be had: in Docker's words where Docker has some, because clients match on them.

use std::net::IpAddr;

use minke_base::Kind;

use crate::namespace::NamespaceError;
use crate::netlink::NetlinkError;
use crate::ports::Protocol;

/// A network, an endpoint or a port could not be had. The text is what Docker says where Docker says something.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    #[error("network {network} not found")]
    NoSuchNetwork { network: String },
    #[error("network {name} cannot be used: {reason}")]
    Unusable { name: String, reason: String },
    #[error("network with name {name} already exists")]
    Exists { name: String },
    #[error("all predefined address pools have been fully subnetted")]
    NoSubnet,
    #[error("network bridge {link} is used by network {other} already")]
    Taken { link: String, other: String },
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    Overlap,
    #[error("{0}")]
    Invalid(String),
    #[error("no available IPv{family} addresses on this network's address pools: {name} ({id})")]
    Exhausted { family: u8, name: String, id: String },
    #[error("Address already in use")]
    AddressInUse { address: IpAddr },
    #[error("invalid address {address}: It does not belong to any of this network's subnets")]
    AddressOutside { address: IpAddr },
    #[error("{0}")]
    Unsupported(String),
    #[error("Bind for {host_ip}:{port} failed: port is already allocated", host_ip = bracketed(*host_ip))]
    Allocated { host_ip: IpAddr, port: u16 },
    #[error("failed to bind host port {wish}: {}", bind_words(source))]
    Bind { wish: String, protocol: Protocol, source: std::io::Error },
    #[error("set up the packet filter")]
    Firewall { source: NetlinkError },
    #[error("prepare a network namespace")]
    Namespace(#[from] NamespaceError),
    #[error("configure the network")]
    Netlink(#[from] NetlinkError),
    #[error("start the threads of the network")]
    Thread { source: std::io::Error },
}

impl FabricError {
    /// What a client is told.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoSuchNetwork { .. } => Kind::NotFound,
            Self::Exists { .. } | Self::AddressInUse { .. } => Kind::Conflict,
            Self::Overlap | Self::Taken { .. } | Self::AddressOutside { .. } => Kind::Forbidden,
            Self::Invalid(_) => Kind::InvalidParameter,
            Self::Unsupported(_) => Kind::NotImplemented,
            _ => Kind::System,
        }
    }
}

/// An address as it stands before a port.
pub(crate) fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The kernel's words without their number, in small letters as Docker's.
pub(crate) fn bind_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
