//! What the engine's own tables hold, decided from the networks, ports and holes it has.
//!
//! One table per engine, of family inet. Verdict maps lead from an interface's name to the chains of its bridge, so a further network
//! is a few chains and elements, not another pass over every packet's path; a published port is one element of a map, and no rule.
//!
//! Into a bridge goes what belongs to a connection, what one of its own containers sent, and what was addressed to a published port of
//! the host and rewritten here. A packet that somebody routed straight at a container's address is none of these, whatever its port.
//!
//! The chain `admin` is the administrator's: minke makes it empty, asks it first, and never touches what is in it. An `accept` there
//! lets a packet past minke's own rules; a `drop` closes what minke would let through.
//!
//! Containers that may not talk to each other are neighbours on one bridge, whose frames the inet table sees on some hosts only
//! (br_netfilter). So their ports are of a group of the engine's own, and a second table, of family bridge, drops between ports of that
//! group all but neighbour discovery and links. Where br_netfilter is on, a published port's packet may turn back into the bridge; the
//! inet table, which comes first and knows the connection, marks it for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::rule::{Atom, End, Expression, Field, Ip, Rule, Side, Value, Verdict};
use super::table::{BaseChain, Chain, Element, Family, Holds, Hook, Kind, Set, Table};
use crate::address::{IpNet, Ipv4Net, Ipv6Net};
use crate::network::GatewayMode;
use crate::ports::{Binding, Hole, Protocol};

/// The administrator's chain.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const FORWARD: &str = "forward";
/// Drops what the host would route by IPv6 only because the engine has switched that on.
pub(crate) const GUARD6: &str = "guard6";
const TO: &str = "to";
const FROM: &str = "from";
const INSIDE: &str = "inside";
/// How the names of chains that belong to one bridge begin.
pub(crate) const PER_BRIDGE: [&str; 3] = [TO, FROM, INSIDE];
const BRIDGES: &str = "bridges";
const PORTS: &str = "ports";
const APART: &str = "apart";
/// Set while a packet of a published port turns back into the bridge it came from.
const TURNED: u32 = 0x2000_0000;

/// One network as the packet filter sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkRules {
    pub(crate) bridge: String,
    pub(crate) subnets: Vec<IpNet>,
    pub(crate) masquerade: bool,
    pub(crate) icc: bool,
    pub(crate) internal: bool,
    /// Of IPv4 and of IPv6.
    pub(crate) modes: [GatewayMode; 2],
}

impl NetworkRules {
    fn mode(&self, version: Ip) -> GatewayMode {
        self.modes[usize::from(version == Ip::V6)]
    }
}

/// Everything the plan follows from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) table: String,
    /// Packets between interfaces that are not the engine's are dropped: the state of a host whose forwarding was off until the
    /// engine switched it on.
    pub(crate) guard: bool,
    /// The same for IPv6 alone.
    pub(crate) guard6: bool,
    pub(crate) networks: Vec<NetworkRules>,
    /// Published ports with the container's address and port.
    pub(crate) ports: BTreeMap<Binding, SocketAddr>,
    pub(crate) holes: BTreeSet<Hole>,
}

/// The table's name: one per engine, told apart by its default bridge.
pub(crate) fn table_name(default_bridge: &str) -> String {
    match default_bridge.strip_prefix("minke0") {
        Some("") => "minke".to_owned(),
        _ => format!("minke-{default_bridge}"),
    }
}

/// The other way round: the default bridge of the engine that a table belongs to, if it is an engine's.
pub(crate) fn bridge_of_table(table: &str) -> Option<&str> {
    match table.strip_prefix("minke")? {
        "" => Some("minke0"),
        rest => rest.strip_prefix('-').filter(|bridge| !bridge.is_empty()),
    }
}

/// The group of bridge ports that may not talk to each other: an own number for each engine.
pub(crate) fn group_of_table(table: &str) -> u32 {
    let hash =
        table.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash & 0x3fff_ffff | 0x4000_0000
}

impl Rules {
    /// The tables that shall be.
    pub(crate) fn plan(&self) -> Vec<Table> {
        let mut tables = vec![self.plan_inet()];
        if self.networks.iter().any(|network| !network.icc) {
            tables.push(self.plan_bridge());
        }
        tables
    }

    fn plan_inet(&self) -> Table {
        let mut chains = vec![
            Chain::plain(ADMIN, []),
            Chain::hooked("raw", Hook::Raw, [into_loopback()]),
            Chain::hooked(
                "prerouting",
                Hook::Prerouting,
                [
                    // Its own loopback addresses the host reaches by the other hook; from a link they are nobody's.
                    rule([
                        Expression::AddressIn { end: End::Destination, net: loopback4(), equal: true },
                        accept(),
                    ]),
                    rule([Expression::DestinationIsLocal, jump(PORTS)]),
                ],
            ),
            Chain::hooked(
                "output",
                Hook::Output,
                [
                    // The kernel sends nothing from ::1 out of a link: a proxy serves that.
                    rule([
                        Expression::AddressIn { end: End::Destination, net: loopback6(), equal: true },
                        accept(),
                    ]),
                    rule([Expression::DestinationIsLocal, jump(PORTS)]),
                ],
            ),
            Chain::plain(PORTS, Ip::BOTH.into_iter().flat_map(rewrite).collect::<Vec<_>>()),
            Chain {
                name: FORWARD.to_owned(),
                base: Some(BaseChain { hook: Hook::Forward, drops: self.guard }),
                rules: vec![
                    rule([jump(ADMIN)]),
                    rule([verdict_of(Side::Input, INSIDE)]),
                    rule([verdict_of(Side::Output, TO)]),
                    rule([verdict_of(Side::Input, FROM)]),
                    rule([jump(GUARD6)]),
                ],
            },
            Chain::plain(GUARD6, self.plan_guard6()),
            Chain::hooked("postrouting", Hook::Postrouting, self.plan_postrouting()),
        ];
        for network in &self.networks {
            chains.push(chain_to(network));
            chains.push(if network.internal { chain_inside(network) } else { chain_from(network) });
        }
        let (internal, open): (Vec<_>, Vec<_>) = self.networks.iter().partition(|network| network.internal);
        let mut sets = vec![
            members(self.networks.iter()),
            chains_of(TO, self.networks.iter()),
            chains_of(FROM, open.iter().copied()),
            chains_of(INSIDE, internal.into_iter()),
        ];
        sets.extend(Ip::BOTH.into_iter().flat_map(|version| self.plan_ports(version)));
        sets.extend(Ip::BOTH.into_iter().map(|version| self.plan_holes(version)));
        let routes = |version: &Ip| open.iter().any(|network| network.mode(*version) == GatewayMode::Routed);
        sets.extend(Ip::BOTH.into_iter().filter(routes).map(|version| self.plan_open(version)));
        Table { family: Family::Inet, name: self.table.clone(), sets, chains }
    }

    fn plan_guard6(&self) -> Vec<Rule> {
        let drops =
            rule([Expression::Version(Ip::V6), Expression::Counter, Expression::Verdict(Verdict::Drop)]);
        if self.guard6 { vec![drops] } else { Vec::new() }
    }

    fn plan_postrouting(&self) -> Vec<Rule> {
        let mut rules = vec![rule([
            Expression::AddressIn { end: End::Source, net: loopback4(), equal: true },
            Expression::InterfaceIn { side: Side::Output, set: BRIDGES.to_owned() },
            Expression::Masquerade,
        ])];
        for network in self.networks.iter().filter(|network| !network.internal) {
            for subnet in &network.subnets {
                let version = if subnet.is_v6() { Ip::V6 } else { Ip::V4 };
                if network.mode(version) == GatewayMode::Routed {
                    continue;
                }
                let from = Expression::AddressIn { end: End::Source, net: *subnet, equal: true };
                let out = |equal| interface(Side::Output, equal, &network.bridge);
                if network.masquerade {
                    rules.push(rule([from.clone(), out(false), Expression::Counter, Expression::Masquerade]));
                }
                // Neighbours answer each other directly, which would go past the rewriting.
                rules.push(rule([from, out(true), Expression::WasDnated, Expression::Masquerade]));
            }
        }
        rules
    }

    fn plan_ports(&self, version: Ip) -> [Set; 2] {
        let target = || Holds::These(vec![Kind::Address(version), Kind::Port]);
        let set = |name: String, key: Vec<Kind>| Set {
            elements: self
                .ports
                .iter()
                .filter_map(|(binding, target)| port_element(binding, *target))
                .filter(|(of, _)| *of == name)
                .map(|(_, element)| element)
                .collect(),
            name,
            key,
            holds: target(),
        };
        [
            set(ports_at(version), vec![Kind::Address(version), Kind::Transport, Kind::Port]),
            set(ports_any(version), vec![Kind::Transport, Kind::Port]),
        ]
    }

    /// Ports of containers that are open at the containers' own addresses.
    fn plan_open(&self, version: Ip) -> Set {
        let elements = self.ports.iter().filter_map(|(binding, target)| port_element(binding, *target));
        let name = open(version);
        Set {
            elements: elements.filter(|(of, _)| *of == name).map(|(_, element)| element).collect(),
            name,
            key: vec![Kind::Address(version), Kind::Transport, Kind::Port],
            holds: Holds::Nothing,
        }
    }

    fn plan_holes(&self, version: Ip) -> Set {
        let address = Kind::Address(version);
        Set {
            name: holes(version),
            key: vec![address, address, Kind::Transport, Kind::Port],
            holds: Holds::Nothing,
            elements: self
                .holes
                .iter()
                .filter_map(hole_element)
                .filter(|(of, _)| *of == version)
                .map(|(_, element)| element)
                .collect(),
        }
    }

    fn plan_bridge(&self) -> Table {
        let group = group_of_table(&self.table);
        let among = |side| Expression::Group { side, group };
        let mut rules = vec![
            rule([Expression::MarkBit(TURNED), accept()]),
            rule([Expression::CarriesArp, accept()]),
            rule([Expression::Carries(Ip::V6), Expression::NeighbourDiscovery, accept()]),
        ];
        for version in Ip::BOTH {
            for (asks, answers, port) in [
                (End::Source, End::Destination, End::Destination),
                (End::Destination, End::Source, End::Source),
            ] {
                let fields = vec![
                    Field::Address(version, asks),
                    Field::Address(version, answers),
                    Field::Transport,
                    Field::Port(port),
                ];
                let member = Expression::Member { fields, set: holes(version) };
                rules.push(rule([Expression::Carries(version), member, accept()]));
            }
        }
        rules.push(rule([Expression::Counter, Expression::Verdict(Verdict::Drop)]));
        Table {
            family: Family::Bridge,
            name: self.table.clone(),
            sets: Ip::BOTH.into_iter().map(|version| self.plan_holes(version)).collect(),
            chains: vec![
                Chain::plain(APART, rules),
                Chain::hooked(
                    FORWARD,
                    Hook::BridgeForward,
                    [rule([among(Side::Input), among(Side::Output), jump(APART)])],
                ),
            ],
        }
    }
}

/// The map and the element for a published port; none where the kernel cannot do the work, as between the versions of IP.
pub(crate) fn port_element(binding: &Binding, target: SocketAddr) -> Option<(String, Element)> {
    let version = if binding.host_ip.is_ipv4() { Ip::V4 } else { Ip::V6 };
    if let Some(address) = binding.routed {
        let port = Atom::Port(binding.container_port);
        let key = vec![Atom::Address(address), Atom::Transport(binding.protocol), port];
        return Some((open(version), Element { key, value: Value::Nothing }));
    }
    if binding.host_ip.is_ipv4() != target.is_ipv4() || binding.host_ip == IpAddr::V6(Ipv6Addr::LOCALHOST) {
        return None;
    }
    let port = [Atom::Transport(binding.protocol), Atom::Port(binding.host_port)];
    let (name, key) = if binding.host_ip.is_unspecified() {
        (ports_any(version), port.to_vec())
    } else {
        (ports_at(version), [&[Atom::Address(binding.host_ip)][..], &port].concat())
    };
    Some((name, Element { key, value: Value::Target(target) }))
}

/// The element for a hole, and the version of IP it is of.
pub(crate) fn hole_element(hole: &Hole) -> Option<(Ip, Element)> {
    let version = match (hole.from, hole.to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => Ip::V4,
        (IpAddr::V6(_), IpAddr::V6(_)) => Ip::V6,
        _ => return None,
    };
    let key = vec![
        Atom::Address(hole.from),
        Atom::Address(hole.to),
        Atom::Transport(hole.protocol),
        Atom::Port(hole.port),
    ];
    Some((version, Element { key, value: Value::Nothing }))
}

/// Name of the set of holes.
pub(crate) fn holes(version: Ip) -> String {
    format!("holes{}", version.digit())
}

fn open(version: Ip) -> String {
    format!("open{}", version.digit())
}

fn ports_at(version: Ip) -> String {
    format!("ports{}-at", version.digit())
}

fn ports_any(version: Ip) -> String {
    format!("ports{}", version.digit())
}

fn loopback4() -> IpNet {
    IpNet::V4(Ipv4Net::new(Ipv4Addr::new(127, 0, 0, 0), 8).expect("8 is a prefix length"))
}

fn loopback6() -> IpNet {
    IpNet::V6(Ipv6Net::new(Ipv6Addr::LOCALHOST, 128).expect("128 is a prefix length"))
}

fn rule(expressions: impl Into<Vec<Expression>>) -> Rule {
    Rule::new(expressions)
}

fn accept() -> Expression {
    Expression::Verdict(Verdict::Accept)
}

fn jump(chain: &str) -> Expression {
    Expression::Verdict(Verdict::Jump(chain.to_owned()))
}

fn verdict_of(side: Side, map: &str) -> Expression {
    Expression::VerdictOf { side, map: map.to_owned() }
}

fn interface(side: Side, equal: bool, name: &str) -> Expression {
    Expression::Interface { side, equal, name: name.to_owned() }
}

/// The bridges take packets for 127.0.0.0/8 since the host's own may come back that way; containers shall not send such.
fn into_loopback() -> Rule {
    rule([
        Expression::InterfaceIn { side: Side::Input, set: BRIDGES.to_owned() },
        Expression::AddressIn { end: End::Destination, net: loopback4(), equal: true },
        Expression::Verdict(Verdict::Drop),
    ])
}

/// One address of the host before all of them.
fn rewrite(version: Ip) -> [Rule; 2] {
    let at = vec![Field::Address(version, End::Destination), Field::Transport, Field::Port(End::Destination)];
    let any = at[1..].to_vec();
    [(at, ports_at(version)), (any, ports_any(version))]
        .map(|(fields, map)| rule([Expression::Version(version), Expression::Dnat { version, fields, map }]))
}

fn members<'a>(networks: impl Iterator<Item = &'a NetworkRules>) -> Set {
    let element =
        |n: &NetworkRules| Element { key: vec![Atom::Interface(n.bridge.clone())], value: Value::Nothing };
    Set {
        name: BRIDGES.to_owned(),
        key: vec![Kind::Interface],
        holds: Holds::Nothing,
        elements: networks.map(element).collect(),
    }
}

fn chains_of<'a>(name: &str, networks: impl Iterator<Item = &'a NetworkRules>) -> Set {
    let element = |n: &NetworkRules| Element {
        key: vec![Atom::Interface(n.bridge.clone())],
        value: Value::Verdict(Verdict::Jump(format!("{name}-{}", n.bridge))),
    };
    Set {
        name: name.to_owned(),
        key: vec![Kind::Interface],
        holds: Holds::Verdict,
        elements: networks.map(element).collect(),
    }
}

/// The rules that let this bridge's traffic through a chain whose policy is to drop: other managers' `FORWARD`.
pub(crate) fn plan_passage(bridge: &str, comment: &str) -> Vec<Rule> {
    [Side::Input, Side::Output]
        .into_iter()
        .map(|side| Rule {
            expressions: vec![interface(side, true, bridge), Expression::Counter, accept()],
            comment: Some(comment.to_owned()),
        })
        .collect()
}

fn chain_to(network: &NetworkRules) -> Chain {
    let from_here = || interface(Side::Input, true, &network.bridge);
    let mut rules = Vec::new();
    if !network.icc && !network.internal {
        rules.push(rule([from_here(), Expression::WasDnated, Expression::SetMarkBit(TURNED), accept()]));
    }
    rules.push(rule([Expression::EstablishedOrRelated, accept()]));
    if network.icc {
        rules.push(rule([from_here(), accept()]));
    } else {
        rules.extend(Ip::BOTH.map(|version| {
            let fields = vec![
                Field::Address(version, End::Source),
                Field::Address(version, End::Destination),
                Field::Transport,
                Field::Port(End::Destination),
            ];
            let member = Expression::Member { fields, set: holes(version) };
            rule([from_here(), Expression::Version(version), member, accept()])
        }));
        rules.push(rule([from_here(), Expression::NeighbourDiscovery, accept()]));
        rules.push(rule([from_here(), Expression::Verdict(Verdict::Drop)]));
    }
    if !network.internal {
        rules.push(rule([Expression::WasDnated, accept()]));
        rules.extend(Ip::BOTH.into_iter().flat_map(|version| let_routed(network, version)));
    }
    rules.push(rule([Expression::Counter, Expression::Verdict(Verdict::Drop)]));
    Chain::plain(&format!("{TO}-{}", network.bridge), rules)
}

/// What may come to containers by their own addresses.
fn let_routed(network: &NetworkRules, version: Ip) -> Vec<Rule> {
    if !network.subnets.iter().any(|subnet| subnet.is_v6() == (version == Ip::V6)) {
        return Vec::new();
    }
    let of = Expression::Version(version);
    match network.mode(version) {
        GatewayMode::Nat | GatewayMode::Isolated => Vec::new(),
        GatewayMode::NatUnprotected => vec![rule([of, Expression::Counter, accept()])],
        GatewayMode::Routed => {
            let end = End::Destination;
            let fields = vec![Field::Address(version, end), Field::Transport, Field::Port(end)];
            let member = Expression::Member { fields, set: open(version) };
            vec![
                rule([of, Expression::ControlMessage(version), accept()]),
                rule([Expression::Version(version), member, accept()]),
            ]
        }
    }
}

/// Out of the bridge to anywhere that is not another bridge of the engine.
fn chain_from(network: &NetworkRules) -> Chain {
    Chain::plain(&format!("{FROM}-{}", network.bridge), [rule([Expression::Counter, accept()])])
}

/// Out of an internal bridge to anywhere at all.
fn chain_inside(network: &NetworkRules) -> Chain {
    let leaves = interface(Side::Output, false, &network.bridge);
    Chain::plain(
        &format!("{INSIDE}-{}", network.bridge),
        [rule([leaves, Expression::Counter, Expression::Verdict(Verdict::Drop)])],
    )
}

/// Inside a container's namespace: what it asks of 127.0.0.11:53 goes to the ports the resolver's sockets have, and the answers come
/// from where they were asked. Ports alone change, so no connection is tracked for it.
pub(crate) fn plan_resolver_passage(udp: u16, tcp: u16) -> Table {
    let resolver = |end| Expression::AddressIn {
        end,
        net: IpNet::V4(Ipv4Net::new(crate::endpoint::RESOLVER, 32).expect("32 is a prefix length")),
        equal: true,
    };
    let both = [(Protocol::Udp, udp), (Protocol::Tcp, tcp)];
    let rules: Vec<Rule> = both
        .into_iter()
        .flat_map(|(protocol, port)| {
            [(End::Destination, 53, port), (End::Source, port, 53)].map(|(end, from, to)| {
                rule([
                    resolver(end),
                    Expression::Port { end, protocol, port: from },
                    Expression::SetPort { end, protocol, port: to },
                ])
            })
        })
        .collect();
    Table {
        family: Family::Ipv4,
        name: "minke-dns".to_owned(),
        sets: Vec::new(),
        chains: vec![Chain::hooked("output", Hook::RawOutput, rules)],
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
