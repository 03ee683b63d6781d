//! Makes the kernel's table equal to a plan, in one transaction: either all of it holds afterwards or nothing has changed.

use rustix::io::Errno;

use super::plan::{ADMIN, Chain, FORWARD, Hook, Table, VerdictMap};
use super::rule::{Rule, interface_bytes, write_expressions, write_verdict};
use crate::netlink::message::{APPEND, CREATE};
use crate::netlink::{Attributes, Batch, Message, NetlinkError, Socket};

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const DELETE_CHAIN: u16 = SUBSYSTEM | 5;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DELETE_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const GET_SET: u16 = SUBSYSTEM | 10;
const DELETE_SET: u16 = SUBSYSTEM | 11;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;

const GENERIC_FIXED: usize = 4;
const UNSPECIFIED: u8 = 0;
const INET: u8 = 1;
const MAP: u32 = 8;
const TYPE_INTERFACE_NAME: u32 = 41;
const INTERFACE_NAME_BYTES: u32 = 16;
const TYPE_VERDICT: u32 = 0xffff_ff00;
/// Kinds of notes in a rule's and in a set's user data.
const COMMENT: u8 = 0;
const KEY_BYTE_ORDER: u8 = 0;
const KEYS_OF_HOST_ORDER: u32 = 1;

/// A chain somewhere in the host's packet filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundChain {
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) name: String,
    /// Number of the hook, for base chains.
    pub(crate) hook: Option<u32>,
    pub(crate) drops: bool,
}

/// A rule somewhere in the host's packet filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundRule {
    pub(crate) handle: [u8; 8],
    pub(crate) comment: Option<String>,
}

/// Requests that happen together or not at all.
#[derive(Debug)]
pub(crate) struct Transaction {
    batch: Batch,
}

impl Transaction {
    pub(crate) fn new() -> Self {
        let mut batch = Batch::new();
        batch.push("change packet filter", BATCH_BEGIN, 0, |m| m.fixed(&[UNSPECIFIED, 0, 0, 10]));
        Self { batch }
    }

    fn push(&mut self, what: String, family: u8, kind: u16, flags: u16, fill: impl FnOnce(&mut Message<'_>)) {
        self.batch.push(what, kind, flags, |m| {
            m.fixed(&[family, 0, 0, 0]);
            fill(m);
        });
    }

    pub(crate) fn commit(mut self, socket: &mut Socket) -> Result<(), NetlinkError> {
        if self.batch.messages.len() == 1 {
            return Ok(());
        }
        self.batch.push("close the transaction", BATCH_END, 0, |m| m.fixed(&[UNSPECIFIED, 0, 0, 10]));
        self.batch.is_transaction = true;
        socket.apply(self.batch)
    }

    fn add_chain(&mut self, table: &str, chain: &Chain) {
        self.push(format!("add chain {table} {}", chain.name), INET, NEW_CHAIN, CREATE, |m| {
            m.text(1, table);
            m.text(3, &chain.name);
            if let Some(base) = &chain.base {
                let (number, priority, kind) = match base.hook {
                    Hook::Forward => (2, 0, "filter"),
                    Hook::Postrouting => (4, 100, "nat"),
                };
                m.nest(4, |m| {
                    m.be32(1, number);
                    m.be32(2, priority);
                });
                m.be32(5, u32::from(!base.drops));
                m.text(7, kind);
            }
        });
    }

    fn add_map(&mut self, table: &str, map: &VerdictMap, id: u32) {
        self.push(format!("add map {table} {}", map.name), INET, NEW_SET, CREATE, |m| {
            m.text(1, table);
            m.text(2, &map.name);
            m.be32(3, MAP);
            m.be32(4, TYPE_INTERFACE_NAME);
            m.be32(5, INTERFACE_NAME_BYTES);
            m.be32(6, TYPE_VERDICT);
            m.be32(7, 0);
            m.be32(10, id);
            // A note to `nft`, without which it lists the names as empty: keys are in the host's byte order.
            let [a, b, c, d] = KEYS_OF_HOST_ORDER.to_ne_bytes();
            m.bytes(13, &[KEY_BYTE_ORDER, 4, a, b, c, d]);
        });
    }

    fn add_elements(&mut self, table: &str, map: &VerdictMap) {
        if map.elements.is_empty() {
            return;
        }
        self.push(format!("add elements to map {table} {}", map.name), INET, NEW_ELEMENT, CREATE, |m| {
            m.text(1, table);
            m.text(2, &map.name);
            m.nest(3, |m| {
                for (interface, verdict) in &map.elements {
                    m.nest(1, |m| {
                        m.nest(1, |m| m.bytes(1, &interface_bytes(interface)));
                        write_verdict(m, 2, verdict);
                    });
                }
            });
        });
    }

    pub(crate) fn append_rule(&mut self, family: u8, table: &str, chain: &str, rule: &Rule) {
        self.push(format!("add rule {table} {chain} {rule}"), family, NEW_RULE, CREATE | APPEND, |m| {
            m.text(1, table);
            m.text(2, chain);
            m.nest(4, |m| write_expressions(m, &rule.expressions));
            if let Some(comment) = &rule.comment {
                m.bytes(7, &comment_bytes(comment));
            }
        });
    }

    pub(crate) fn delete_rule(&mut self, family: u8, table: &str, chain: &str, handle: [u8; 8]) {
        self.push(format!("delete rule of {table} {chain}"), family, DELETE_RULE, 0, |m| {
            m.text(1, table);
            m.text(2, chain);
            m.bytes(3, &handle);
        });
    }

    fn flush_chain(&mut self, table: &str, chain: &str) {
        self.push(format!("flush chain {table} {chain}"), INET, DELETE_RULE, 0, |m| {
            m.text(1, table);
            m.text(2, chain);
        });
    }
}

fn comment_bytes(comment: &str) -> Vec<u8> {
    let mut text = comment.as_bytes().to_vec();
    text.truncate(127);
    text.push(0);
    let length = u8::try_from(text.len()).expect("truncated to 128 bytes");
    [&[COMMENT, length][..], &text].concat()
}

/// What of a table is there already.
#[derive(Debug, Default)]
struct Existing {
    chains: Vec<FoundChain>,
    maps: Vec<String>,
}

/// Replaces the table's content by the plan's. The administrator's chain keeps what is in it.
pub(crate) fn apply_table(socket: &mut Socket, plan: &Table) -> Result<(), NetlinkError> {
    let existing = read_existing(socket, &plan.name)?;
    let mut transaction = Transaction::new();
    transaction.push(format!("add table {}", plan.name), INET, NEW_TABLE, CREATE, |m| {
        m.text(1, &plan.name);
        m.be32(2, 0);
    });
    clear(&mut transaction, plan, &existing);
    for chain in &plan.chains {
        transaction.add_chain(&plan.name, chain);
    }
    for (id, map) in (1..).zip(&plan.maps) {
        if !existing.maps.contains(&map.name) {
            transaction.add_map(&plan.name, map, id);
        }
        transaction.add_elements(&plan.name, map);
    }
    for chain in &plan.chains {
        for rule in &chain.rules {
            transaction.append_rule(INET, &plan.name, &chain.name, rule);
        }
    }
    transaction.commit(socket)
}

fn clear(transaction: &mut Transaction, plan: &Table, existing: &Existing) {
    let table = &plan.name;
    for chain in existing.chains.iter().filter(|chain| chain.name != ADMIN) {
        transaction.flush_chain(table, &chain.name);
    }
    for map in &existing.maps {
        transaction.push(format!("flush map {table} {map}"), INET, DELETE_ELEMENT, 0, |m| {
            m.text(1, table);
            m.text(2, map);
        });
    }
    let stale_map = |name: &&String| plan.maps.iter().all(|map| map.name != **name);
    for map in existing.maps.iter().filter(stale_map) {
        transaction.push(format!("delete map {table} {map}"), INET, DELETE_SET, 0, |m| {
            m.text(1, table);
            m.text(2, map);
        });
    }
    // The administrator may have added chains too; only those named like minke's own per-bridge chains are minke's to delete.
    let stale_chain = |chain: &&FoundChain| {
        let ours = plan
            .maps
            .iter()
            .any(|map| chain.name.strip_prefix(&map.name).is_some_and(|rest| rest.starts_with('-')));
        ours && plan.chains.iter().all(|planned| planned.name != chain.name)
    };
    for chain in existing.chains.iter().filter(stale_chain) {
        transaction.push(format!("delete chain {table} {}", chain.name), INET, DELETE_CHAIN, 0, |m| {
            m.text(1, table);
            m.text(3, &chain.name);
        });
    }
}

/// Removes the table with all it holds; one that is not there is no error.
pub(crate) fn remove_table(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    let mut transaction = Transaction::new();
    transaction.push(format!("delete table {name}"), INET, DELETE_TABLE, 0, |m| m.text(1, name));
    match transaction.commit(socket) {
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn read_existing(socket: &mut Socket, table: &str) -> Result<Existing, NetlinkError> {
    let chains = read_chains(socket)?
        .into_iter()
        .filter(|chain| chain.family == INET && chain.table == table)
        .collect();
    let mut batch = Batch::new();
    batch.push("list sets", GET_SET, 0, |m| {
        m.fixed(&[INET, 0, 0, 0]);
    });
    let maps = socket.dump(batch, |kind, payload| {
        let attributes = Attributes::after(payload, GENERIC_FIXED);
        (kind == NEW_SET && attributes.text(1)? == table).then(|| attributes.text(2)).flatten()
    })?;
    // Anonymous sets belong to the rules that use them and go with them.
    let maps = maps.into_iter().filter(|name| !name.starts_with("__")).collect();
    Ok(Existing { chains, maps })
}

/// Whether every chain of the plan is there. Rules within are not compared: who removes single ones means it.
pub(crate) fn has_table(socket: &mut Socket, plan: &Table) -> Result<bool, NetlinkError> {
    let chains = read_chains(socket)?;
    let there =
        |name: &str| chains.iter().any(|c| c.family == INET && c.table == plan.name && c.name == name);
    Ok(plan.chains.iter().all(|chain| there(&chain.name)))
}

/// Whether the table's forward chain drops what nobody accepts: the sign that the engine once switched forwarding on.
pub(crate) fn read_guard(socket: &mut Socket, table: &str) -> Result<bool, NetlinkError> {
    let chains = read_chains(socket)?;
    Ok(chains
        .iter()
        .any(|chain| chain.family == INET && chain.table == table && chain.name == FORWARD && chain.drops))
}

/// Every chain of the host's namespace.
pub(crate) fn read_chains(socket: &mut Socket) -> Result<Vec<FoundChain>, NetlinkError> {
    let mut batch = Batch::new();
    batch.push("list chains", GET_CHAIN, 0, |m| m.fixed(&[UNSPECIFIED, 0, 0, 0]));
    socket.dump(batch, |kind, payload| {
        if kind != NEW_CHAIN {
            return None;
        }
        let attributes = Attributes::after(payload, GENERIC_FIXED);
        Some(FoundChain {
            family: *payload.first()?,
            table: attributes.text(1)?,
            name: attributes.text(3)?,
            hook: attributes.nested(4).be32(1),
            drops: attributes.be32(5) == Some(0),
        })
    })
}

/// The rules of one chain, in order.
pub(crate) fn read_rules(
    socket: &mut Socket,
    family: u8,
    table: &str,
    chain: &str,
) -> Result<Vec<FoundRule>, NetlinkError> {
    let mut batch = Batch::new();
    batch.push(format!("list rules of {table} {chain}"), GET_RULE, 0, |m| {
        m.fixed(&[family, 0, 0, 0]);
        m.text(1, table);
        m.text(2, chain);
    });
    socket.dump(batch, |kind, payload| {
        let attributes = Attributes::after(payload, GENERIC_FIXED);
        if kind != NEW_RULE || attributes.text(1)? != table || attributes.text(2)? != chain {
            return None;
        }
        let handle = *attributes.get(3)?.first_chunk()?;
        Some(FoundRule { handle, comment: attributes.get(7).and_then(read_comment) })
    })
}

fn read_comment(mut userdata: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = userdata {
        let value = rest.get(..usize::from(*length))?;
        if *kind == COMMENT {
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
            return Some(String::from_utf8_lossy(&value[..end]).into_owned());
        }
        userdata = rest.get(usize::from(*length)..)?;
    }
    None
}
