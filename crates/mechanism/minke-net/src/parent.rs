//! The link under a macvlan network: one of the host's, a VLAN of one of those, or a link of the network's own that leads nowhere.

use rustix::io::Errno;

use crate::fabric::FabricError;
use crate::links::Which;
use crate::netlink::{Batch, NetlinkError, Socket};
use crate::network::{MacvlanSpec, NetworkSpec};

/// Numbers that a VLAN may have.
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

/// See the page above.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// The engine made it, and it goes with the network.
    pub(crate) own: bool,
    /// Just now.
    made: bool,
}

impl Parent {
    /// Undoes what [`place_parent`] did.
    pub(crate) fn take_back(&self, route: &mut Socket) {
        if self.made {
            let mut batch = Batch::new();
            batch.delete_link(self.index);
            if let Err(error) = route.apply(batch) {
                tracing::warn!("link {} stays: {error}", self.name);
            }
        }
    }
}

/// Finds or makes the link; `alias` marks those that the engine makes for this network.
pub(crate) fn place_parent(
    route: &mut Socket,
    spec: &NetworkSpec,
    macvlan: &MacvlanSpec,
    alias: &str,
) -> Result<Parent, FabricError> {
    let own_name = format!("dm-{}", &spec.id[..spec.id.len().min(12)]);
    let name = if macvlan.parent.is_empty() { &own_name } else { &macvlan.parent };
    if let Ok(link) = route.read_link(Which::Name(name)) {
        let own = link.alias == alias;
        return Ok(Parent { index: link.index, name: link.name, own, made: false });
    }
    if macvlan.parent.is_empty() {
        make_dead_end(route, name)?;
    } else {
        make_vlan(route, name)?;
    }
    let mut batch = Batch::new();
    batch.set_alias(Which::Name(name), alias);
    batch.set_up(Which::Name(name));
    route.apply(batch)?;
    let index = route.read_link(Which::Name(name))?.index;
    Ok(Parent { index, name: name.clone(), own: true, made: true })
}

/// In Docker's words where there is no such link.
fn make_vlan(route: &mut Socket, name: &str) -> Result<(), FabricError> {
    let invalid = || {
        FabricError::Invalid(format!("invalid subinterface vlan name {name}, example formatting is eth0.10"))
    };
    let (of, number) = name.rsplit_once('.').ok_or_else(invalid)?;
    let number: u16 = number.parse().map_err(|_source: std::num::ParseIntError| invalid())?;
    if !VLANS.contains(&number) {
        return Err(FabricError::Invalid(format!(
            "vlan id must be between {} and {}, received: {number}",
            VLANS.start(),
            VLANS.end()
        )));
    }
    let parent = route.read_link(Which::Name(of)).map_err(|_gone| {
        FabricError::Invalid(format!("-o parent interface was not found on the host: {of}"))
    })?;
    let mut batch = Batch::new();
    batch.add_vlan(name, parent.index, number);
    route.apply(batch).map_err(|error| {
        let why = if is_unknown(&error) {
            "operation not supported: this kernel has no VLANs (8021q)".to_owned()
        } else {
            error.to_string()
        };
        FabricError::Unsupported(format!("failed to create {name} vlan link: {why}"))
    })
}

/// A link that leads nowhere. A kernel without such (`dummy`) has a pair that leads to itself.
fn make_dead_end(route: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    let mut batch = Batch::new();
    batch.add_dummy(name);
    match route.apply(batch) {
        Err(error) if is_unknown(&error) => {
            let other = name.replacen("dm-", "dp-", 1);
            let mut batch = Batch::new();
            batch.add_plain_pair(name, &other);
            batch.set_up(Which::Name(&other));
            route.apply(batch)
        }
        result => result,
    }
}

fn is_unknown(error: &NetlinkError) -> bool {
    error.errno() == Some(Errno::OPNOTSUPP)
}
