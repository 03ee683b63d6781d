//! What a question means to its asker: addresses of a neighbour, nothing although the name exists, or somebody else's business.

use std::{cell::RefCell, collections::HashMap, os::fd::OwnedFd, rc::Rc};

use crate::{
    table::{Entry, Table},
    upstream::Upstreams,
    view::View,
    wire::{Answer, Code, Name, Question, kind},
};

const CLASS_IN: u16 = 1;
const CLASS_ANY: u16 = 255;

/// A view with its tables at hand.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    networks: Vec<Network>,
    pub(crate) upstreams: Rc<Upstreams>,
    forward: bool,
    ndots_set: bool,
}

#[derive(Debug)]
struct Network {
    table: Rc<RefCell<Table>>,
    /// From alias to what it means.
    links: HashMap<Box<[u8]>, Name>,
}

/// What becomes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer is written and has this length.
    Answered(usize),
    /// It is to be passed on.
    Forward,
}

/// All networks' tables.
#[derive(Debug, Default)]
pub(crate) struct Tables(HashMap<String, Rc<RefCell<Table>>>);

impl Tables {
    /// The table of a network, made when there is none.
    pub(crate) fn of(&mut self, network: &str) -> Rc<RefCell<Table>> {
        match self.0.get(network) {
            Some(table) => Rc::clone(table),
            None => Rc::clone(self.0.entry(network.to_owned()).or_default()),
        }
    }

    /// Empties and drops a network's table.
    pub(crate) fn forget(&mut self, network: &str) {
        if let Some(table) = self.0.remove(network) {
            // Views may still hold it.
            table.take();
        }
    }

    /// Whether an address is of one of our subnets.
    fn cover(&self, address: std::net::IpAddr) -> bool {
        self.0.values().any(|table| table.borrow().covers(address))
    }
}

impl Sight {
    /// `socket` is one of the container's.
    pub(crate) fn new(view: View, tables: &mut Tables, socket: Option<&OwnedFd>) -> Self {
        let networks = view
            .networks
            .into_iter()
            .map(|network| Network {
                table: tables.of(&network.id),
                links: network
                    .links
                    .iter()
                    .filter_map(|link| {
                        let (alias, target) =
                            Name::from_text(&link.alias).zip(Name::from_text(&link.target))?;
                        Some((Box::from(alias.as_bytes()), target))
                    })
                    .collect(),
            })
            .collect();
        Self {
            networks,
            upstreams: Rc::new(Upstreams::new(view.upstreams, socket.filter(|_| view.own_loopback))),
            forward: view.forward,
            ndots_set: view.ndots_set,
        }
    }

    /// Answers a question, or says that it is to be passed on. `limit` is the longest answer its asker takes.
    pub(crate) fn answer(
        &self,
        question: &Question<'_>,
        tables: &Tables,
        buffer: &mut [u8],
        limit: usize,
    ) -> Outcome {
        let name = &question.name;
        let any = question.kind == kind::ANY;
        let inside = matches!(question.class, CLASS_IN | CLASS_ANY);
        let v4 = inside && (any || question.kind == kind::A);
        let v6 = inside && (any || question.kind == kind::AAAA);
        let begin = |buffer| Answer::to(question, buffer, limit);
        let write = |entry: &Entry, buffer| {
            let mut answer = begin(buffer);
            for address in entry.addresses(v4, v6) {
                answer.address(address);
                if answer.is_full() {
                    break;
                }
            }
            answer.finish(Code::NoError)
        };
        let mut exists = false;
        for (key, network) in readings(name) {
            for pass in [Pass::Links, Pass::Names] {
                for own in &self.networks {
                    let table = own.table.borrow();
                    if network.is_some_and(|network| !table.is_called(network)) {
                        continue;
                    }
                    let meant = match (pass, own.links.get(key)) {
                        (Pass::Links, Some(target)) => target.as_bytes(),
                        (Pass::Names, None) => key,
                        _ => continue,
                    };
                    let Some(entry) = table.get(meant) else { continue };
                    if entry.has(v4, v6) {
                        return Outcome::Answered(write(entry, buffer));
                    }
                    exists = true;
                }
            }
        }
        if exists {
            // The name is ours, and nobody else is asked about it.
            return Outcome::Answered(begin(buffer).finish(Code::NoError));
        }
        if (any || question.kind == kind::PTR)
            && inside
            && let Some(address) = name.reverse()
        {
            for own in &self.networks {
                if let Some(pointer) = own.table.borrow().pointer(address) {
                    let mut answer = begin(buffer);
                    answer.pointer(pointer);
                    return Outcome::Answered(answer.finish(Code::NoError));
                }
            }
            if tables.cover(address) {
                return Outcome::Answered(begin(buffer).finish(Code::NxDomain));
            }
        }
        if self.ndots_set && (v4 || v6) && !any && name.labels() <= 1 {
            return Outcome::Answered(begin(buffer).finish(Code::NoError));
        }
        if !self.forward || self.upstreams.addresses.is_empty() {
            return Outcome::Answered(begin(buffer).finish(Code::ServFail));
        }
        Outcome::Forward
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Links,
    Names,
}

/// The whole name on any network, then split into a name and the network's: `a.b.c`, then `a.b` on `c`, `a` on `b.c`.
fn readings(name: &Name) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let parts = name.splits().map(|(key, network)| (key, Some(network)));
    std::iter::once((name.as_bytes(), None)).chain(parts)
}
