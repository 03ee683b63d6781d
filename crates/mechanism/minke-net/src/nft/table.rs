//! Tables as values: chains, sets and maps of one name, and their text in `nft`'s own notation.

use std::fmt;

use super::rule::{Atom, Ip, Rule, Value};

/// What kind of packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Both versions of IP.
    Inet,
    /// IPv4 alone.
    Ipv4,
    /// Frames between the ports of a bridge.
    Bridge,
}

impl Family {
    /// The number in netlink's header.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ipv4 => 2,
            Self::Bridge => 7,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ipv4 => "ip",
            Self::Bridge => "bridge",
        }
    }
}

/// Where in a packet's way a chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Before connections are tracked.
    Raw,
    /// Where destinations are rewritten, for what comes in.
    Prerouting,
    /// The same for what the host itself sends.
    Output,
    Forward,
    Postrouting,
    /// Before connections are tracked, for what the host itself sends.
    RawOutput,
    /// Between ports of a bridge, behind what br_netfilter shows to the IP tables.
    BridgeForward,
}

impl Hook {
    /// Kind, number and priority.
    pub(crate) fn place(self) -> (&'static str, u32, i32) {
        match self {
            Self::Raw => ("filter", 0, -300),
            Self::Prerouting => ("nat", 0, -100),
            Self::Output => ("nat", 3, -100),
            Self::Forward => ("filter", 2, 0),
            Self::Postrouting => ("nat", 4, 100),
            Self::RawOutput => ("filter", 3, -300),
            Self::BridgeForward => ("filter", 2, 1),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Raw => "type filter hook prerouting priority raw",
            Self::Prerouting => "type nat hook prerouting priority dstnat",
            Self::Output => "type nat hook output priority -100",
            Self::Forward => "type filter hook forward priority filter",
            Self::Postrouting => "type nat hook postrouting priority srcnat",
            Self::RawOutput => "type filter hook output priority raw",
            Self::BridgeForward => "type filter hook forward priority 1",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseChain {
    pub(crate) hook: Hook,
    /// Drop what no rule accepts.
    pub(crate) drops: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: String,
    pub(crate) base: Option<BaseChain>,
    pub(crate) rules: Vec<Rule>,
}

impl Chain {
    pub(crate) fn hooked(name: &str, hook: Hook, rules: impl Into<Vec<Rule>>) -> Self {
        Self { name: name.to_owned(), base: Some(BaseChain { hook, drops: false }), rules: rules.into() }
    }

    pub(crate) fn plain(name: &str, rules: impl Into<Vec<Rule>>) -> Self {
        Self { name: name.to_owned(), base: None, rules: rules.into() }
    }
}

/// The type of a set's key, or of what a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Interface,
    Address(Ip),
    Transport,
    Port,
}

impl Kind {
    /// `nft`'s number for it, and how many bytes it takes.
    pub(crate) fn number_and_width(self) -> (u32, u32) {
        match self {
            Self::Interface => (41, 16),
            Self::Address(Ip::V4) => (7, 4),
            Self::Address(Ip::V6) => (8, 16),
            Self::Transport => (12, 4),
            Self::Port => (13, 4),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Interface => "ifname",
            Self::Address(Ip::V4) => "ipv4_addr",
            Self::Address(Ip::V6) => "ipv6_addr",
            Self::Transport => "inet_proto",
            Self::Port => "inet_service",
        }
    }
}

/// What the elements of a set hold besides their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Nothing,
    Verdict,
    These(Vec<Kind>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) key: Vec<Atom>,
    pub(crate) value: Value,
}

/// A set, or a map, which is a set whose elements hold something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) key: Vec<Kind>,
    pub(crate) holds: Holds,
    pub(crate) elements: Vec<Element>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) family: Family,
    pub(crate) name: String,
    pub(crate) sets: Vec<Set>,
    pub(crate) chains: Vec<Chain>,
}

fn words(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(" . ")
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Vec<String> = self.key.iter().map(ToString::to_string).collect();
        write!(f, "{}{}", key.join(" . "), self.value)
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, holds) = match &self.holds {
            Holds::Nothing => ("set", String::new()),
            Holds::Verdict => ("map", " : verdict".to_owned()),
            Holds::These(kinds) => ("map", format!(" : {}", words(kinds))),
        };
        writeln!(f, "\t{what} {} {{\n\t\ttype {}{holds}", self.name, words(&self.key))?;
        if !self.elements.is_empty() {
            let elements: Vec<String> = self.elements.iter().map(ToString::to_string).collect();
            writeln!(f, "\t\telements = {{ {} }}", elements.join(",\n\t\t             "))?;
        }
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family.word(), self.name)?;
        for set in &self.sets {
            set.fmt(f)?;
        }
        for chain in &self.chains {
            writeln!(f, "\tchain {} {{", chain.name)?;
            if let Some(base) = &chain.base {
                let policy = if base.drops { "drop" } else { "accept" };
                writeln!(f, "\t\t{}; policy {policy};", base.hook.text())?;
            }
            for rule in &chain.rules {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}
