//! Other managers' chains on the way of forwarded packets.
//!
//! Every base chain of the forward hook must let a packet pass; an `accept` in minke's table says nothing for the others. The one that
//! commonly refuses is iptables' `FORWARD` with the policy DROP, which Docker itself sets: its chains are open to everyone by
//! convention, so two marked rules are appended there, after whatever its owners decided. Chains of other makers are reported.

use super::apply::{FoundChain, FoundRule, Transaction, read_chains, read_rules};
use super::plan::plan_passage;
use crate::netlink::{NetlinkError, Socket};

const IPV4: u8 = 2;
const IPV6: u8 = 10;
const INET: u8 = 1;
const FORWARD_HOOK: u32 = 2;
const IPTABLES_TABLE: &str = "filter";
const IPTABLES_FORWARD: &str = "FORWARD";

/// How every comment of ours begins.
const MARK: &str = "minke: ";

fn comment(bridge: &str) -> String {
    format!("{MARK}{bridge}")
}

/// What stands in the way of forwarded packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Obstacles {
    /// The families of the FORWARD chains of iptables that drop by policy.
    pub(crate) iptables: Vec<u8>,
    /// Other base chains that drop by policy, as `table chain`.
    pub(crate) others: Vec<String>,
}

pub(crate) fn find_obstacles(chains: &[FoundChain], own_table: &str) -> Obstacles {
    let mut obstacles = Obstacles::default();
    for chain in chains {
        let forwards = chain.hook == Some(FORWARD_HOOK) && matches!(chain.family, IPV4 | IPV6 | INET);
        if !forwards || !chain.drops || (chain.family == INET && chain.table == own_table) {
            continue;
        }
        if is_iptables(chain) {
            obstacles.iptables.push(chain.family);
        } else {
            obstacles.others.push(format!("{} {}", chain.table, chain.name));
        }
    }
    obstacles
}

fn is_iptables(chain: &FoundChain) -> bool {
    matches!(chain.family, IPV4 | IPV6) && chain.table == IPTABLES_TABLE && chain.name == IPTABLES_FORWARD
}

/// Opens the way for the bridges through iptables' FORWARD where it drops, and answers what it could not open as warnings.
pub(crate) fn apply_passage(
    socket: &mut Socket,
    own_table: &str,
    bridges: &[&str],
) -> Result<Vec<String>, NetlinkError> {
    let obstacles = find_obstacles(&read_chains(socket)?, own_table);
    for family in obstacles.iptables {
        let rules = read_rules(socket, family, IPTABLES_TABLE, IPTABLES_FORWARD)?;
        let mut transaction = Transaction::new();
        for bridge in bridges {
            let mark = comment(bridge);
            let planned = plan_passage(bridge, &mark);
            let ours: Vec<_> = marked(&rules, &mark).collect();
            if ours.len() == planned.len() {
                continue;
            }
            for rule in ours {
                transaction.delete_rule(family, IPTABLES_TABLE, IPTABLES_FORWARD, rule.handle);
            }
            for rule in &planned {
                transaction.append_rule(family, IPTABLES_TABLE, IPTABLES_FORWARD, rule);
            }
        }
        transaction.commit(socket)?;
    }
    let warn = |chain: String| {
        format!(
            "the packet filter's chain \"{chain}\" drops forwarded packets by policy; containers on {} reach other hosts only if its \
             owner accepts that interface there",
            bridges.join(" ")
        )
    };
    Ok(obstacles.others.into_iter().map(warn).collect())
}

/// The families in which iptables has its FORWARD chain.
fn iptables_families(socket: &mut Socket) -> Result<Vec<u8>, NetlinkError> {
    let chains = read_chains(socket)?;
    Ok(chains.iter().filter(|chain| is_iptables(chain)).map(|chain| chain.family).collect())
}

/// Takes the marked rules out again.
pub(crate) fn remove_passage(socket: &mut Socket, bridge: &str) -> Result<(), NetlinkError> {
    for family in iptables_families(socket)? {
        let rules = read_rules(socket, family, IPTABLES_TABLE, IPTABLES_FORWARD)?;
        let mut transaction = Transaction::new();
        for rule in marked(&rules, &comment(bridge)) {
            transaction.delete_rule(family, IPTABLES_TABLE, IPTABLES_FORWARD, rule.handle);
        }
        transaction.commit(socket)?;
    }
    Ok(())
}

/// The bridges that rules in iptables' FORWARD are marked with.
pub(crate) fn marked_bridges(socket: &mut Socket) -> Result<Vec<String>, NetlinkError> {
    let mut bridges: Vec<String> = Vec::new();
    for family in iptables_families(socket)? {
        let rules = read_rules(socket, family, IPTABLES_TABLE, IPTABLES_FORWARD)?;
        let bridge = |rule: &FoundRule| Some(rule.comment.as_deref()?.strip_prefix(MARK)?.to_owned());
        bridges.extend(rules.iter().filter_map(bridge));
    }
    bridges.sort();
    bridges.dedup();
    Ok(bridges)
}

fn marked<'a>(rules: &'a [FoundRule], mark: &str) -> impl Iterator<Item = &'a FoundRule> {
    rules.iter().filter(move |rule| rule.comment.as_deref() == Some(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(family: u8, table: &str, name: &str, hook: Option<u32>, drops: bool) -> FoundChain {
        FoundChain { family, table: table.into(), name: name.into(), hook, drops }
    }

    #[test]
    fn only_chains_that_drop_what_is_forwarded_stand_in_the_way() {
        let chains = [
            chain(IPV4, "filter", "FORWARD", Some(2), true),
            chain(IPV4, "filter", "INPUT", Some(1), true),
            chain(10, "filter", "FORWARD", Some(2), true),
            chain(INET, "fw", "fwd", Some(2), true),
            chain(INET, "open", "fwd", Some(2), false),
            chain(INET, "minke", "forward", Some(2), true),
            chain(INET, "fw", "side", None, false),
        ];
        let found = find_obstacles(&chains, "minke");
        assert_eq!(found, Obstacles { iptables: vec![IPV4, IPV6], others: vec!["fw fwd".into()] });
    }
}
