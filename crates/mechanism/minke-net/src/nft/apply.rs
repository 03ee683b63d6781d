//! Makes the kernel's table equal to a plan, in one transaction: either all of it holds afterwards or nothing has changed.

use rustix::io::Errno;

use super::plan::{ADMIN, FORWARD, GUARD6, PER_BRIDGE};
use super::rule::Rule;
use super::table::{Chain, Element, Family, Holds, Kind, Set, Table};
use super::wire::{key_bytes, write_expressions, write_value};
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
const MAP: u32 = 8;
const TYPE_VERDICT: u32 = 0xffff_ff00;
/// How many bits `nft` gives to each type of a compound key.
const TYPE_BITS: u32 = 6;
/// An attribute holds less than 64 KiB; of elements this many fit by far.
const ELEMENTS_AT_ONCE: usize = 400;
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

    fn push(
        &mut self,
        what: String,
        family: Family,
        kind: u16,
        flags: u16,
        fill: impl FnOnce(&mut Message<'_>),
    ) {
        self.push_raw(what, family.number(), kind, flags, fill);
    }

    fn push_raw(
        &mut self,
        what: String,
        family: u8,
        kind: u16,
        flags: u16,
        fill: impl FnOnce(&mut Message<'_>),
    ) {
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

    fn add_table(&mut self, family: Family, name: &str) {
        self.push(format!("add table {name}"), family, NEW_TABLE, CREATE, |m| {
            m.text(1, name);
            m.be32(2, 0);
        });
    }

    fn add_chain(&mut self, family: Family, table: &str, chain: &Chain) {
        self.push(format!("add chain {table} {}", chain.name), family, NEW_CHAIN, CREATE, |m| {
            m.text(1, table);
            m.text(3, &chain.name);
            if let Some(base) = &chain.base {
                let (kind, number, priority) = base.hook.place();
                m.nest(4, |m| {
                    m.be32(1, number);
                    m.be32(2, priority.cast_unsigned());
                });
                m.be32(5, u32::from(!base.drops));
                m.text(7, kind);
            }
        });
    }

    fn add_set(&mut self, family: Family, table: &str, set: &Set, id: u32) {
        self.push(format!("add set {table} {}", set.name), family, NEW_SET, CREATE, |m| {
            let (number, width) = compound(&set.key);
            m.text(1, table);
            m.text(2, &set.name);
            m.be32(3, if set.holds == Holds::Nothing { 0 } else { MAP });
            m.be32(4, number);
            m.be32(5, width);
            match &set.holds {
                Holds::Nothing => {}
                Holds::Verdict => {
                    m.be32(6, TYPE_VERDICT);
                    m.be32(7, 0);
                }
                Holds::These(kinds) => {
                    let (number, width) = compound(kinds);
                    m.be32(6, number);
                    m.be32(7, width);
                }
            }
            m.be32(10, id);
            if set.key == [Kind::Interface] {
                // A note to `nft`, without which it lists the names as empty: keys are in the host's byte order.
                let [a, b, c, d] = KEYS_OF_HOST_ORDER.to_ne_bytes();
                m.bytes(13, &[KEY_BYTE_ORDER, 4, a, b, c, d]);
            }
        });
    }

    /// Adds elements to a set that is there. Ones that are there already with the same content stay.
    pub(crate) fn add_elements(&mut self, family: Family, table: &str, set: &str, elements: &[Element]) {
        self.elements(NEW_ELEMENT, CREATE, "add elements to", family, table, set, elements);
    }

    /// Takes elements out of a set; the whole is refused if one is not there.
    pub(crate) fn delete_elements(&mut self, family: Family, table: &str, set: &str, elements: &[Element]) {
        self.elements(DELETE_ELEMENT, 0, "delete elements of", family, table, set, elements);
    }

    #[expect(clippy::too_many_arguments, reason = "what the two above have in common")]
    fn elements(
        &mut self,
        kind: u16,
        flags: u16,
        what: &str,
        family: Family,
        table: &str,
        set: &str,
        elements: &[Element],
    ) {
        for some in elements.chunks(ELEMENTS_AT_ONCE) {
            self.push(format!("{what} set {table} {set}"), family, kind, flags, |m| {
                m.text(1, table);
                m.text(2, set);
                m.nest(3, |m| {
                    for element in some {
                        m.nest(1, |m| {
                            m.nest(1, |m| m.bytes(1, &key_bytes(&element.key)));
                            write_value(m, 2, &element.value);
                        });
                    }
                });
            });
        }
    }

    pub(crate) fn append_rule(&mut self, family: u8, table: &str, chain: &str, rule: &Rule) {
        self.push_raw(format!("add rule {table} {chain} {rule}"), family, NEW_RULE, CREATE | APPEND, |m| {
            m.text(1, table);
            m.text(2, chain);
            m.nest(4, |m| write_expressions(m, &rule.expressions));
            if let Some(comment) = &rule.comment {
                m.bytes(7, &comment_bytes(comment));
            }
        });
    }

    pub(crate) fn delete_rule(&mut self, family: u8, table: &str, chain: &str, handle: [u8; 8]) {
        self.push_raw(format!("delete rule of {table} {chain}"), family, DELETE_RULE, 0, |m| {
            m.text(1, table);
            m.text(2, chain);
            m.bytes(3, &handle);
        });
    }

    fn flush_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.push(format!("flush chain {table} {chain}"), family, DELETE_RULE, 0, |m| {
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

/// `nft`'s number for a compound of types, and its width.
fn compound(kinds: &[Kind]) -> (u32, u32) {
    kinds.iter().fold((0, 0), |(number, width), kind| {
        let (one, bytes) = kind.number_and_width();
        (number << TYPE_BITS | one, width + bytes)
    })
}

/// What of a table is there already.
#[derive(Debug, Default)]
struct Existing {
    chains: Vec<FoundChain>,
    sets: Vec<String>,
}

/// Replaces the tables' content by the plan's. The administrator's chain keeps what is in it.
pub(crate) fn apply_tables(socket: &mut Socket, plan: &[Table]) -> Result<(), NetlinkError> {
    let mut transaction = Transaction::new();
    for table in plan {
        let existing = read_existing(socket, table.family, &table.name)?;
        transaction.add_table(table.family, &table.name);
        clear(&mut transaction, table, &existing);
        add(&mut transaction, table, &existing);
    }
    transaction.commit(socket)
}

fn add(transaction: &mut Transaction, plan: &Table, existing: &Existing) {
    let (family, name) = (plan.family, plan.name.as_str());
    for chain in &plan.chains {
        transaction.add_chain(family, name, chain);
    }
    for (id, set) in (1..).zip(&plan.sets) {
        if !existing.sets.contains(&set.name) {
            transaction.add_set(family, name, set, id);
        }
        transaction.add_elements(family, name, &set.name, &set.elements);
    }
    for chain in &plan.chains {
        for rule in &chain.rules {
            transaction.append_rule(family.number(), name, &chain.name, rule);
        }
    }
}

fn clear(transaction: &mut Transaction, plan: &Table, existing: &Existing) {
    let (family, table) = (plan.family, plan.name.as_str());
    for chain in existing.chains.iter().filter(|chain| chain.name != ADMIN) {
        transaction.flush_chain(family, table, &chain.name);
    }
    for set in &existing.sets {
        transaction.push(format!("flush set {table} {set}"), family, DELETE_ELEMENT, 0, |m| {
            m.text(1, table);
            m.text(2, set);
        });
    }
    let stale_set = |name: &&String| plan.sets.iter().all(|set| set.name != **name);
    for set in existing.sets.iter().filter(stale_set) {
        transaction.push(format!("delete set {table} {set}"), family, DELETE_SET, 0, |m| {
            m.text(1, table);
            m.text(2, set);
        });
    }
    // The administrator may have added chains too; only those named like minke's own per-bridge chains are minke's to delete.
    let stale_chain = |chain: &&FoundChain| {
        let ours = PER_BRIDGE
            .iter()
            .any(|start| chain.name.strip_prefix(start).is_some_and(|rest| rest.starts_with('-')));
        ours && plan.chains.iter().all(|planned| planned.name != chain.name)
    };
    for chain in existing.chains.iter().filter(stale_chain) {
        transaction.push(format!("delete chain {table} {}", chain.name), family, DELETE_CHAIN, 0, |m| {
            m.text(1, table);
            m.text(3, &chain.name);
        });
    }
}

/// Removes a table with all it holds; one that is not there is no error.
pub(crate) fn remove_table(socket: &mut Socket, family: Family, name: &str) -> Result<(), NetlinkError> {
    let mut transaction = Transaction::new();
    transaction.push(format!("delete table {name}"), family, DELETE_TABLE, 0, |m| m.text(1, name));
    match transaction.commit(socket) {
        // A kernel without frames' tables has none to remove.
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP)) => {
            Ok(())
        }
        result => result,
    }
}

/// Removes both of an engine's tables.
pub(crate) fn remove_tables(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    remove_table(socket, Family::Bridge, name).and(remove_table(socket, Family::Inet, name))
}

fn read_existing(socket: &mut Socket, family: Family, table: &str) -> Result<Existing, NetlinkError> {
    let chains = read_chains(socket)?
        .into_iter()
        .filter(|chain| chain.family == family.number() && chain.table == table)
        .collect();
    let mut batch = Batch::new();
    batch.push("list sets", GET_SET, 0, |m| {
        m.fixed(&[family.number(), 0, 0, 0]);
    });
    let sets = socket.dump(batch, |kind, payload| {
        let attributes = Attributes::after(payload, GENERIC_FIXED);
        (kind == NEW_SET && attributes.text(1)? == table).then(|| attributes.text(2)).flatten()
    })?;
    // Anonymous sets belong to the rules that use them and go with them.
    let sets = sets.into_iter().filter(|name| !name.starts_with("__")).collect();
    Ok(Existing { chains, sets })
}

/// Whether every chain of the plan is there. Rules within are not compared: who removes single ones means it.
pub(crate) fn has_tables(socket: &mut Socket, plan: &[Table]) -> Result<bool, NetlinkError> {
    let chains = read_chains(socket)?;
    Ok(plan.iter().all(|table| {
        let there = |name: &str| {
            chains
                .iter()
                .any(|c| c.family == table.family.number() && c.table == table.name && c.name == name)
        };
        table.chains.iter().all(|chain| there(&chain.name))
    }))
}

/// Whether the table's forward chain drops what nobody accepts: the sign that the engine once switched forwarding on.
pub(crate) fn read_guard(socket: &mut Socket, table: &str) -> Result<bool, NetlinkError> {
    let chains = read_chains(socket)?;
    Ok(chains.iter().any(|chain| {
        chain.family == Family::Inet.number() && chain.table == table && chain.name == FORWARD && chain.drops
    }))
}

/// Whether the table drops what would be routed by IPv6: the sign that the engine once switched that on.
pub(crate) fn read_guard6(socket: &mut Socket, table: &str) -> Result<bool, NetlinkError> {
    let there = read_chains(socket)?
        .iter()
        .any(|chain| chain.family == Family::Inet.number() && chain.table == table && chain.name == GUARD6);
    Ok(there && !read_rules(socket, Family::Inet.number(), table, GUARD6)?.is_empty())
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
