//! The engine's rules as they shall be, together with the socket that makes them so.
//!
//! What is published or linked changes by single elements in one small transaction; what networks there are by writing everything
//! anew, which is one transaction too, so that there is never a moment without rules.

use std::net::SocketAddr;

use rustix::io::Errno;

use super::apply::{Transaction, apply_tables, has_tables, remove_table, remove_tables};
use super::foreign::{apply_passage, remove_passage};
use super::plan::{NetworkRules, Rules, hole_element, holes, port_element};
use super::rule::Ip;
use super::table::{Element, Family, Table};
use crate::netlink::{NetlinkError, Socket};
use crate::ports::{Binding, Hole};

#[derive(Debug)]
pub(crate) struct Filter {
    rules: Rules,
    socket: Socket,
    /// Whether the kernel filters between the ports of a bridge.
    filters_bridges: bool,
}

/// Whether an error says that the kernel cannot do this at all.
fn is_unknown(error: &NetlinkError) -> bool {
    matches!(
        error.errno(),
        Some(Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::NOENT | Errno::INVAL)
    )
}

impl Filter {
    /// Nothing is applied yet.
    pub(crate) fn new(rules: Rules, socket: Socket) -> Self {
        Self { rules, socket, filters_bridges: true }
    }

    pub(crate) fn filters_bridges(&self) -> bool {
        self.filters_bridges
    }

    pub(crate) fn table(&self) -> &str {
        &self.rules.table
    }

    fn plan(&self) -> Vec<Table> {
        let mut tables = self.rules.plan();
        tables.retain(|table| table.family != Family::Bridge || self.filters_bridges);
        tables
    }

    /// Makes everything hold, whatever is there; answers what stands in the way of it as warnings.
    pub(crate) fn apply(&mut self) -> Result<Vec<String>, NetlinkError> {
        let tables = self.plan();
        let frames = tables.iter().any(|table| table.family == Family::Bridge);
        let mut warnings = Vec::new();
        match apply_tables(&mut self.socket, &tables) {
            Ok(()) => {}
            Err(error) if frames && is_unknown(&error) => {
                self.filters_bridges = false;
                warnings.push(format!(
                    "the kernel cannot filter between the ports of a bridge ({error}): containers of networks without icc are kept \
                     apart by port isolation, and cannot be linked"
                ));
                let without = self.plan();
                apply_tables(&mut self.socket, &without)?;
            }
            Err(error) => return Err(error),
        }
        if !frames {
            remove_table(&mut self.socket, Family::Bridge, &self.rules.table)?;
        }
        warnings.extend(self.open_passages()?);
        Ok(warnings)
    }

    fn open_passages(&mut self) -> Result<Vec<String>, NetlinkError> {
        let bridges: Vec<&str> = self.rules.networks.iter().map(|network| network.bridge.as_str()).collect();
        apply_passage(&mut self.socket, &self.rules.table, &bridges)
    }

    /// Repairs only what is missing.
    pub(crate) fn repair(&mut self) -> Result<(), NetlinkError> {
        let tables = self.plan();
        if !has_tables(&mut self.socket, &tables)? {
            tracing::warn!("tables named {} had been removed; their rules are put back", self.rules.table);
            apply_tables(&mut self.socket, &tables)?;
        }
        self.open_passages().map(|_| ())
    }

    /// From now on nothing is routed by IPv6 between interfaces that are not the engine's.
    pub(crate) fn guard6(&mut self) {
        self.rules.guard6 = true;
    }

    pub(crate) fn add_network(&mut self, network: NetworkRules) -> Result<Vec<String>, NetlinkError> {
        let before = self.rules.clone();
        self.rules.networks.retain(|other| other.bridge != network.bridge);
        self.rules.networks.push(network);
        self.apply().inspect_err(|_| self.rules = before)
    }

    pub(crate) fn remove_network(&mut self, bridge: &str) -> Result<(), NetlinkError> {
        self.rules.networks.retain(|network| network.bridge != bridge);
        let passage = remove_passage(&mut self.socket, bridge);
        self.apply().map(|_| ()).and(passage)
    }

    /// Removes all there is, for good.
    pub(crate) fn remove(&mut self) -> Result<(), NetlinkError> {
        let mut result = remove_tables(&mut self.socket, &self.rules.table);
        for network in std::mem::take(&mut self.rules.networks) {
            result = result.and(remove_passage(&mut self.socket, &network.bridge));
        }
        result
    }

    pub(crate) fn publish(&mut self, ports: &[(Binding, SocketAddr)]) -> Result<(), NetlinkError> {
        self.change(&self.port_changes(ports), true)?;
        self.rules.ports.extend(ports.iter().copied());
        Ok(())
    }

    /// Forgets ports that nobody knows as well as ones that are there.
    /// Answers what was known, with where it led.
    pub(crate) fn unpublish(
        &mut self,
        bindings: &[Binding],
    ) -> Result<Vec<(Binding, SocketAddr)>, NetlinkError> {
        let known: Vec<_> = bindings
            .iter()
            .filter_map(|binding| Some((*binding, self.rules.ports.remove(binding)?)))
            .collect();
        self.change(&self.port_changes(&known), false)?;
        Ok(known)
    }

    fn port_changes(&self, ports: &[(Binding, SocketAddr)]) -> Vec<(Family, String, Vec<Element>)> {
        let mut changes: Vec<(Family, String, Vec<Element>)> = Vec::new();
        for (set, element) in ports.iter().filter_map(|(binding, target)| port_element(binding, *target)) {
            match changes.iter_mut().find(|(_, name, _)| *name == set) {
                Some((_, _, elements)) => elements.push(element),
                None => changes.push((Family::Inet, set, vec![element])),
            }
        }
        changes
    }

    pub(crate) fn open_holes(&mut self, new: &[Hole]) -> Result<(), NetlinkError> {
        let new: Vec<_> = new.iter().filter(|hole| !self.rules.holes.contains(*hole)).cloned().collect();
        self.change(&self.hole_changes(&new), true)?;
        self.rules.holes.extend(new);
        Ok(())
    }

    pub(crate) fn close_holes(&mut self, old: &[Hole]) -> Result<(), NetlinkError> {
        let known: Vec<_> = old.iter().filter(|hole| self.rules.holes.remove(*hole)).cloned().collect();
        self.change(&self.hole_changes(&known), false)
    }

    fn hole_changes(&self, some: &[Hole]) -> Vec<(Family, String, Vec<Element>)> {
        let tables = self.plan();
        let families: Vec<_> = tables.iter().map(|table| table.family).collect();
        let mut changes = Vec::new();
        for version in Ip::BOTH {
            let elements: Vec<_> = some
                .iter()
                .filter_map(hole_element)
                .filter(|(of, _)| *of == version)
                .map(|(_, element)| element)
                .collect();
            if !elements.is_empty() {
                changes.extend(families.iter().map(|family| (*family, holes(version), elements.clone())));
            }
        }
        changes
    }

    /// Changes elements in one transaction. When the tables are not what they were, everything is written anew by what the rules are
    /// then; for an addition that has to wait until they are.
    fn change(&mut self, changes: &[(Family, String, Vec<Element>)], add: bool) -> Result<(), NetlinkError> {
        let mut tried = 0;
        loop {
            let mut transaction = Transaction::new();
            for (family, set, elements) in changes {
                if add {
                    transaction.add_elements(*family, &self.rules.table, set, elements);
                } else {
                    transaction.delete_elements(*family, &self.rules.table, set, elements);
                }
            }
            match transaction.commit(&mut self.socket) {
                Err(error) if error.errno() == Some(Errno::NOENT) && tried == 0 => {
                    tracing::warn!("the rules of {} are not as they were: {error}", self.rules.table);
                    let tables = self.plan();
                    apply_tables(&mut self.socket, &tables)?;
                    if !add {
                        return Ok(());
                    }
                    tried += 1;
                }
                result => return result,
            }
        }
    }
}
