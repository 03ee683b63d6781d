//! Rules as values: the handful of matches and statements that minke's table is made of, their wire form, and their text in `nft`'s
//! own notation, in which golden files are written and an administrator reads them.

use std::fmt;

use crate::address::Ipv4Net;
use crate::netlink::Message;

const EXPRESSION_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;

const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_PROTOCOL_FAMILY: u32 = 15;
const PROTOCOL_IPV4: u8 = 2;
const COMPARE_EQUAL: u32 = 0;
const COMPARE_UNEQUAL: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const IPV4_SOURCE: u32 = 12;
const CT_STATE: u32 = 0;
const CT_ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const INTERFACE_NAME: usize = 16;

/// The interface a packet came by, or leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Output,
}

impl Side {
    fn key(self) -> u32 {
        match self {
            Self::Input => META_INPUT_NAME,
            Self::Output => META_OUTPUT_NAME,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Input => "iifname",
            Self::Output => "oifname",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Jump(String),
}

/// One part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    Interface {
        side: Side,
        equal: bool,
        name: String,
    },
    SourceIn(Ipv4Net),
    EstablishedOrRelated,
    /// The verdict that a map holds for the interface.
    VerdictOf {
        side: Side,
        map: String,
    },
    Counter,
    Masquerade,
    Verdict(Verdict),
}

/// A rule, perhaps with a comment by which it is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) expressions: Vec<Expression>,
    pub(crate) comment: Option<String>,
}

impl Rule {
    pub(crate) fn new(expressions: impl Into<Vec<Expression>>) -> Self {
        Self { expressions: expressions.into(), comment: None }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface { side, equal, name } => {
                write!(f, "{} {}\"{name}\"", side.word(), if *equal { "" } else { "!= " })
            }
            Self::SourceIn(net) => write!(f, "ip saddr {net}"),
            Self::EstablishedOrRelated => f.write_str("ct state established,related"),
            Self::VerdictOf { side, map } => write!(f, "{} vmap @{map}", side.word()),
            Self::Counter => f.write_str("counter"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, expression) in self.expressions.iter().enumerate() {
            write!(f, "{}{expression}", if index == 0 { "" } else { " " })?;
        }
        match &self.comment {
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

/// An interface's name as the kernel compares it: padded with zeros to its full width.
pub(crate) fn interface_bytes(name: &str) -> [u8; INTERFACE_NAME] {
    let mut bytes = [0; INTERFACE_NAME];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(INTERFACE_NAME - 1)) {
        *to = from;
    }
    bytes
}

/// A verdict as the data of an immediate or of a map's element.
pub(crate) fn write_verdict(m: &mut Message<'_>, kind: u16, verdict: &Verdict) {
    m.nest(kind, |m| {
        m.nest(DATA_VERDICT, |m| match verdict {
            Verdict::Drop => m.be32(VERDICT_CODE, 0),
            Verdict::Accept => m.be32(VERDICT_CODE, 1),
            Verdict::Jump(chain) => {
                m.be32(VERDICT_CODE, (-3_i32).cast_unsigned());
                m.text(VERDICT_CHAIN, chain);
            }
        });
    });
}

/// Writes the expressions as list elements.
pub(crate) fn write_expressions(m: &mut Message<'_>, expressions: &[Expression]) {
    for expression in expressions {
        write_expression(m, expression);
    }
}

fn element(m: &mut Message<'_>, name: &str, data: impl FnOnce(&mut Message<'_>)) {
    m.nest(EXPRESSION_ELEMENT, |m| {
        m.text(EXPRESSION_NAME, name);
        m.nest(EXPRESSION_DATA, data);
    });
}

fn write_expression(m: &mut Message<'_>, expression: &Expression) {
    match expression {
        Expression::Interface { side, equal, name } => {
            load_meta(m, side.key());
            compare(m, *equal, &interface_bytes(name));
        }
        Expression::SourceIn(net) => {
            // The table is of both families: make sure that this is IPv4 before reading its header.
            load_meta(m, META_PROTOCOL_FAMILY);
            compare(m, true, &[PROTOCOL_IPV4]);
            element(m, "payload", |m| {
                m.be32(1, REGISTER);
                m.be32(2, NETWORK_HEADER);
                m.be32(3, IPV4_SOURCE);
                m.be32(4, 4);
            });
            mask(m, &net.mask().to_be_bytes());
            compare(m, true, &net.network().address().octets());
        }
        Expression::EstablishedOrRelated => {
            element(m, "ct", |m| {
                m.be32(1, REGISTER);
                m.be32(2, CT_STATE);
            });
            // Connection state is a number of the host's byte order.
            mask(m, &CT_ESTABLISHED_OR_RELATED.to_ne_bytes());
            compare(m, false, &[0; 4]);
        }
        Expression::VerdictOf { side, map } => {
            load_meta(m, side.key());
            element(m, "lookup", |m| {
                m.text(1, map);
                m.be32(2, REGISTER);
                m.be32(3, VERDICT_REGISTER);
            });
        }
        Expression::Counter => element(m, "counter", |m| {
            m.be64(1, 0);
            m.be64(2, 0);
        }),
        Expression::Masquerade => element(m, "masq", |_| {}),
        Expression::Verdict(verdict) => element(m, "immediate", |m| {
            m.be32(1, VERDICT_REGISTER);
            write_verdict(m, 2, verdict);
        }),
    }
}

fn load_meta(m: &mut Message<'_>, key: u32) {
    element(m, "meta", |m| {
        m.be32(1, REGISTER);
        m.be32(2, key);
    });
}

fn compare(m: &mut Message<'_>, equal: bool, value: &[u8]) {
    element(m, "cmp", |m| {
        m.be32(1, REGISTER);
        m.be32(2, if equal { COMPARE_EQUAL } else { COMPARE_UNEQUAL });
        m.nest(3, |m| m.bytes(DATA_VALUE, value));
    });
}

fn mask(m: &mut Message<'_>, bits: &[u8; 4]) {
    element(m, "bitwise", |m| {
        m.be32(1, REGISTER);
        m.be32(2, REGISTER);
        m.be32(3, 4);
        m.nest(4, |m| m.bytes(DATA_VALUE, bits));
        m.nest(5, |m| m.bytes(DATA_VALUE, &[0; 4]));
    });
}
