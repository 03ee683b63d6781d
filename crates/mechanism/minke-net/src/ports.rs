//! Published ports and link holes as values.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A transport that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The number in an IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that names no transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid proto: {text}")]
pub struct ProtocolParseError {
    pub text: String,
}

impl FromStr for Protocol {
    type Err = ProtocolParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(ProtocolParseError { text: text.to_owned() }),
        }
    }
}

/// A container's port that shall be reachable at the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortWish {
    pub protocol: Protocol,
    pub container_port: u16,
    /// `None`: the network's `host_binding`, else every address of both families, with the same port.
    pub host_ip: Option<IpAddr>,
    /// First and last host port; the first that is free is taken. `(0, 0)`: any from the host's ephemeral range.
    pub host_ports: (u16, u16),
}

/// A published port as it was chosen: one entry of `inspect`'s `Ports`, in the order of the wishes, IPv4 before IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Binding {
    pub protocol: Protocol,
    pub container_port: u16,
    pub host_ip: IpAddr,
    /// 0 when it is `routed`.
    pub host_port: u16,
    /// On a network that is routed: the container's address, at which the port is open. No port of the host's is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routed: Option<IpAddr>,
}

impl Binding {
    /// The name under which the keeper holds the binding's socket.
    #[must_use]
    pub fn label(&self) -> String {
        format!("port:{}:{}", self.protocol, SocketAddr::new(self.host_ip, self.host_port))
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = SocketAddr::new(self.host_ip, self.host_port);
        write!(f, "{}/{} -> {host}", self.container_port, self.protocol)
    }
}

/// A held listener for whose connections the kernel cannot do the work; the keeper forks a proxy when one comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// The label of the socket among [`Published::held`].
    pub label: String,
    pub protocol: Protocol,
    /// The container's address and port.
    pub target: SocketAddr,
}

/// What [`crate::Fabric::publish`] did.
#[derive(Debug)]
pub struct Published {
    pub bindings: Vec<Binding>,
    /// Sockets that keep each host port from everybody else, for the keeper to hold: with the label each goes by.
    pub held: Vec<(String, OwnedFd)>,
    pub proxies: Vec<Proxy>,
}

/// A link on a network whose containers may otherwise not talk: from one container's address to one port of another, and the answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hole {
    /// The network's id.
    pub network: String,
    /// The container that may ask.
    pub from: IpAddr,
    /// The container that answers.
    pub to: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
}
