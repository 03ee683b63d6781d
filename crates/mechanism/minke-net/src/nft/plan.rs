//! What the engine's own table holds, decided from the bridges it has.
//!
//! One table per engine, of family inet. Two verdict maps lead from an interface's name to the chains of its bridge, so a further
//! network is two chains and two elements, not another pass over every packet's path. The chain `admin` is the administrator's: minke
//! makes it empty, asks it first, and never touches what is in it. An `accept` there lets a packet past minke's own rules.

use std::fmt;

use super::rule::{Expression, Rule, Side, Verdict};
use crate::address::Ipv4Net;

/// The administrator's chain.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const FORWARD: &str = "forward";
const POSTROUTING: &str = "postrouting";
const TO: &str = "to";
const FROM: &str = "from";

/// One bridge as the packet filter sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkRules {
    pub(crate) bridge: String,
    pub(crate) subnet: Ipv4Net,
    pub(crate) masquerade: bool,
    pub(crate) icc: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Forward,
    Postrouting,
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

/// From an interface's name to a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VerdictMap {
    pub(crate) name: String,
    pub(crate) elements: Vec<(String, Verdict)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) chains: Vec<Chain>,
    pub(crate) maps: Vec<VerdictMap>,
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

/// Plans the table. With `guard`, packets between interfaces that are not the engine's are dropped: the state of a host whose
/// forwarding was off until the engine switched it on.
pub(crate) fn plan_rules(name: &str, networks: &[NetworkRules], guard: bool) -> Table {
    let mut chains = vec![
        Chain { name: ADMIN.to_owned(), base: None, rules: Vec::new() },
        Chain {
            name: FORWARD.to_owned(),
            base: Some(BaseChain { hook: Hook::Forward, drops: guard }),
            rules: vec![
                Rule::new([Expression::Verdict(Verdict::Jump(ADMIN.to_owned()))]),
                Rule::new([Expression::VerdictOf { side: Side::Output, map: TO.to_owned() }]),
                Rule::new([Expression::VerdictOf { side: Side::Input, map: FROM.to_owned() }]),
            ],
        },
        Chain {
            name: POSTROUTING.to_owned(),
            base: Some(BaseChain { hook: Hook::Postrouting, drops: false }),
            rules: networks.iter().filter(|network| network.masquerade).map(masquerade).collect(),
        },
    ];
    for network in networks {
        chains.push(chain_to(network));
        chains.push(chain_from(network));
    }
    let map = |name: &str| VerdictMap {
        name: name.to_owned(),
        elements: networks
            .iter()
            .map(|n| (n.bridge.clone(), Verdict::Jump(format!("{name}-{}", n.bridge))))
            .collect(),
    };
    Table { name: name.to_owned(), chains, maps: vec![map(TO), map(FROM)] }
}

fn interface(side: Side, equal: bool, name: &str) -> Expression {
    Expression::Interface { side, equal, name: name.to_owned() }
}

/// The rules that let this bridge's traffic through a chain whose policy is to drop: other managers' `FORWARD`.
pub(crate) fn plan_passage(bridge: &str, comment: &str) -> Vec<Rule> {
    [Side::Input, Side::Output]
        .into_iter()
        .map(|side| Rule {
            expressions: vec![
                interface(side, true, bridge),
                Expression::Counter,
                Expression::Verdict(Verdict::Accept),
            ],
            comment: Some(comment.to_owned()),
        })
        .collect()
}

fn masquerade(network: &NetworkRules) -> Rule {
    Rule::new([
        Expression::SourceIn(network.subnet.network()),
        interface(Side::Output, false, &network.bridge),
        Expression::Counter,
        Expression::Masquerade,
    ])
}

/// Into the bridge: its own containers, and answers. Nothing else reaches a port that was not published, wherever it comes from.
fn chain_to(network: &NetworkRules) -> Chain {
    let among = if network.icc { Verdict::Accept } else { Verdict::Drop };
    Chain {
        name: format!("{TO}-{}", network.bridge),
        base: None,
        rules: vec![
            Rule::new([Expression::EstablishedOrRelated, Expression::Verdict(Verdict::Accept)]),
            Rule::new([interface(Side::Input, true, &network.bridge), Expression::Verdict(among)]),
            Rule::new([Expression::Counter, Expression::Verdict(Verdict::Drop)]),
        ],
    }
}

/// Out of the bridge to anywhere that is not another bridge of the engine.
fn chain_from(network: &NetworkRules) -> Chain {
    Chain {
        name: format!("{FROM}-{}", network.bridge),
        base: None,
        rules: vec![Rule::new([Expression::Counter, Expression::Verdict(Verdict::Accept)])],
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {} {{", self.name)?;
        for map in &self.maps {
            writeln!(f, "\tmap {} {{\n\t\ttype ifname : verdict", map.name)?;
            for (interface, verdict) in &map.elements {
                writeln!(f, "\t\telements = {{ \"{interface}\" : {verdict} }}")?;
            }
            writeln!(f, "\t}}")?;
        }
        for chain in &self.chains {
            writeln!(f, "\tchain {} {{", chain.name)?;
            if let Some(base) = &chain.base {
                let hook = match base.hook {
                    Hook::Forward => "type filter hook forward priority filter",
                    Hook::Postrouting => "type nat hook postrouting priority srcnat",
                };
                writeln!(f, "\t\t{hook}; policy {};", if base.drops { "drop" } else { "accept" })?;
            }
            for rule in &chain.rules {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(bridge: &str, subnet: &str) -> NetworkRules {
        NetworkRules { bridge: bridge.into(), subnet: subnet.parse().unwrap(), masquerade: true, icc: true }
    }

    #[test]
    fn the_default_bridge_alone() {
        let networks = [network("minke0", "172.17.0.1/16")];
        insta::assert_snapshot!(plan_rules(&table_name("minke0"), &networks, false).to_string());
    }

    #[test]
    fn two_bridges_without_masquerading_or_talk_and_with_the_guard() {
        let quiet = NetworkRules { icc: false, masquerade: false, ..network("mk1", "10.9.0.0/24") };
        let networks = [network("mk0", "172.18.0.0/16"), quiet];
        insta::assert_snapshot!(plan_rules(&table_name("mk0"), &networks, true).to_string());
    }

    #[test]
    fn passage_through_anothers_chain_is_two_marked_rules() {
        let text: Vec<_> = plan_passage("minke0", "minke: minke0").iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                r#"iifname "minke0" counter accept comment "minke: minke0""#,
                r#"oifname "minke0" counter accept comment "minke: minke0""#
            ]
        );
    }

    #[test]
    fn each_engine_has_a_table_of_its_own() {
        assert_eq!(table_name("minke0"), "minke");
        assert_eq!(table_name("minke01"), "minke-minke01");
        assert_eq!(table_name("t4"), "minke-t4");
        for bridge in ["minke0", "minke01", "t4"] {
            assert_eq!(bridge_of_table(&table_name(bridge)), Some(bridge));
        }
        assert_eq!(bridge_of_table("minkey"), None);
    }
}
