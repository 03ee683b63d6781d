//! Rules as values: the handful of matches and statements that minke's tables are made of, and their text in `nft`'s own notation, in
//! which golden files are written and an administrator reads them. Their wire form is [`super::wire`]'s.

use std::fmt;
use std::net::SocketAddr;

use crate::address::IpNet;
use crate::ports::Protocol;

/// The interface a packet came by, or leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Output,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Self::Input => "iif",
            Self::Output => "oif",
        }
    }
}

/// Which end of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Destination,
}

/// The two versions of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ip {
    V4,
    V6,
}

impl Ip {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn word(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// As it stands in the names of maps.
    pub(crate) fn digit(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Jump(String),
}

/// A part of a packet by which a set or map is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Address(Ip, End),
    Transport,
    Port(End),
}

/// One part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    Interface {
        side: Side,
        equal: bool,
        name: String,
    },
    /// The interface is a member of the set.
    InterfaceIn {
        side: Side,
        set: String,
    },
    /// The interface is of a group.
    Group {
        side: Side,
        group: u32,
    },
    AddressIn {
        end: End,
        net: IpNet,
        equal: bool,
    },
    /// In a table of both versions: the packet's.
    Version(Ip),
    /// In a table of frames: what the frame carries.
    Carries(Ip),
    CarriesArp,
    /// What IPv6 has instead of ARP.
    NeighbourDiscovery,
    /// ICMP, of the packet's version.
    ControlMessage(Ip),
    /// The destination is an address of the host.
    DestinationIsLocal,
    EstablishedOrRelated,
    /// The connection's destination was rewritten.
    WasDnated,
    Port {
        end: End,
        protocol: Protocol,
        port: u16,
    },
    /// Changes a port and nothing else: no connection is tracked for it.
    SetPort {
        end: End,
        protocol: Protocol,
        port: u16,
    },
    /// The fields together are a member of the set.
    Member {
        fields: Vec<Field>,
        set: String,
    },
    /// The verdict that a map holds for the interface.
    VerdictOf {
        side: Side,
        map: String,
    },
    /// Rewrites the destination to what the map holds for the fields; a packet without an element goes on.
    Dnat {
        version: Ip,
        fields: Vec<Field>,
        map: String,
    },
    MarkBit(u32),
    SetMarkBit(u32),
    Counter,
    Masquerade,
    Verdict(Verdict),
}

/// A rule, perhaps with a comment by which it is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) expressions: Vec<Expression>,
    pub(crate) comment: Option<String>,
}

impl Rule {
    pub(crate) fn new(expressions: impl Into<Vec<Expression>>) -> Self {
        Self { expressions: expressions.into(), comment: None }
    }
}

/// A part of an element's key, or what an element holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Atom {
    Interface(String),
    Address(std::net::IpAddr),
    Transport(Protocol),
    Port(u16),
}

/// What a set's element holds besides its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Nothing,
    Verdict(Verdict),
    Target(SocketAddr),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
        }
    }
}

impl End {
    fn letter(self) -> char {
        match self {
            Self::Source => 's',
            Self::Destination => 'd',
        }
    }
}

fn not(equal: bool) -> &'static str {
    if equal { "" } else { "!= " }
}

fn joined(fields: &[Field]) -> String {
    let texts: Vec<String> = fields
        .iter()
        .map(|field| match field {
            Field::Address(version, end) => format!("{} {}addr", version.word(), end.letter()),
            Field::Transport => "meta l4proto".to_owned(),
            Field::Port(end) => format!("th {}port", end.letter()),
        })
        .collect();
    texts.join(" . ")
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface { side, equal, name } => {
                write!(f, "{}name {}\"{name}\"", side.word(), not(*equal))
            }
            Self::InterfaceIn { side, set } => write!(f, "{}name @{set}", side.word()),
            Self::Group { side, group } => write!(f, "{}group {group}", side.word()),
            Self::AddressIn { end, net, equal } => {
                let word = if net.is_v6() { Ip::V6.word() } else { Ip::V4.word() };
                write!(f, "{word} {}addr {}{}", end.letter(), not(*equal), net.network())
            }
            Self::Version(Ip::V4) => f.write_str("meta nfproto ipv4"),
            Self::Version(Ip::V6) => f.write_str("meta nfproto ipv6"),
            Self::Carries(version) => write!(f, "meta protocol {}", version.word()),
            Self::CarriesArp => f.write_str("meta protocol arp"),
            Self::NeighbourDiscovery => f.write_str("icmpv6 type 133-137"),
            Self::ControlMessage(Ip::V4) => f.write_str("meta l4proto icmp"),
            Self::ControlMessage(Ip::V6) => f.write_str("meta l4proto ipv6-icmp"),
            Self::DestinationIsLocal => f.write_str("fib daddr type local"),
            Self::EstablishedOrRelated => f.write_str("ct state established,related"),
            Self::WasDnated => f.write_str("ct status dnat"),
            Self::Port { end, protocol, port } => write!(f, "{protocol} {}port {port}", end.letter()),
            Self::SetPort { end, protocol, port } => {
                write!(f, "{protocol} {}port set {port}", end.letter())
            }
            Self::Member { fields, set } => write!(f, "{} @{set}", joined(fields)),
            Self::VerdictOf { side, map } => write!(f, "{}name vmap @{map}", side.word()),
            Self::Dnat { version, fields, map } => {
                write!(f, "dnat {} to {} map @{map}", version.word(), joined(fields))
            }
            Self::MarkBit(bit) => write!(f, "meta mark & {bit:#x} == {bit:#x}"),
            Self::SetMarkBit(bit) => write!(f, "meta mark set meta mark | {bit:#x}"),
            Self::Counter => f.write_str("counter"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, expression) in self.expressions.iter().enumerate() {
            write!(f, "{}{expression}", if index == 0 { "" } else { " " })?;
        }
        match &self.comment {
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "\"{name}\""),
            Self::Address(address) => address.fmt(f),
            Self::Transport(protocol) => protocol.fmt(f),
            Self::Port(port) => port.fmt(f),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Verdict(verdict) => write!(f, " : {verdict}"),
            Self::Target(target) => write!(f, " : {} . {}", target.ip(), target.port()),
        }
    }
}
