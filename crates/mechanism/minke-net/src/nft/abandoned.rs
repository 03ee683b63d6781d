//! Rules of engines that are no more: tables and marked rules whose bridge does not exist.
//!
//! An engine that is killed leaves its rules for its next start, as it must. When its bridge has been deleted since, nobody will come
//! for them; whichever engine starts next takes them away. An engine makes its bridge before its rules, so rules without a bridge are
//! never those of one that is just starting.

use super::apply::{FoundChain, read_chains, remove_tables};
use super::foreign::{marked_bridges, remove_passage};
use super::plan::bridge_of_table;
use crate::netlink::{NetlinkError, Socket};

const INET: u8 = 1;

/// Names of minke's tables whose bridge is not among `links`.
fn plan_sweep(chains: &[FoundChain], links: &[String]) -> Vec<String> {
    let mut tables: Vec<String> = chains
        .iter()
        .filter(|chain| chain.family == INET && chain.name == super::plan::ADMIN)
        .filter(|chain| {
            bridge_of_table(&chain.table).is_some_and(|bridge| !links.iter().any(|link| link == bridge))
        })
        .map(|chain| chain.table.clone())
        .collect();
    tables.dedup();
    tables
}

/// Removes what no bridge among `links` stands behind, but for the table `own`, whose engine may do without a default bridge; answers the names of the bridges that once did.
pub(crate) fn sweep(socket: &mut Socket, links: &[String], own: &str) -> Result<Vec<String>, NetlinkError> {
    let mut swept = Vec::new();
    for table in plan_sweep(&read_chains(socket)?, links).into_iter().filter(|table| table != own) {
        remove_tables(socket, &table)?;
        swept.extend(bridge_of_table(&table).map(str::to_owned));
    }
    for bridge in marked_bridges(socket)? {
        if !links.contains(&bridge) {
            remove_passage(socket, &bridge)?;
            if !swept.contains(&bridge) {
                swept.push(bridge);
            }
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_tables_without_a_bridge_are_abandoned() {
        let chain = |family, table: &str, name: &str| FoundChain {
            family,
            table: table.into(),
            name: name.into(),
            hook: None,
            drops: false,
        };
        let chains = [
            chain(INET, "minke", "admin"),
            chain(INET, "minke-here", "admin"),
            chain(INET, "minke-gone", "admin"),
            chain(INET, "minke-gone", "forward"),
            chain(INET, "theirs", "admin"),
            chain(INET, "minke-ish", "other"),
            chain(2, "minke-four", "admin"),
        ];
        assert_eq!(plan_sweep(&chains, &["here".into(), "minke0".into()]), ["minke-gone"]);
        assert_eq!(plan_sweep(&chains, &["here".into()]), ["minke", "minke-gone"]);
    }
}
