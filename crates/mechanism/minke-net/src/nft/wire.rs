//! The kernel's form of rules, keys and values: registers, offsets and numbers of `linux/netfilter/nf_tables.h`.
//!
//! Fields that are asked for together lie side by side in registers of four bytes, each padded to a whole one.

use std::net::IpAddr;

use super::rule::{Atom, End, Expression, Field, Ip, Side, Value, Verdict};
use crate::address::IpNet;
use crate::netlink::Message;
use crate::ports::Protocol;

const EXPRESSION_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const VERDICT_REGISTER: u32 = 0;
/// The first of the registers of four bytes.
const REGISTER: u32 = 8;
/// Where a map's answer goes: behind the widest key.
const ANSWER: u32 = REGISTER + 8;

const META_PROTOCOL: u32 = 1;
const META_MARK: u32 = 3;
const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_FAMILY: u32 = 15;
const META_TRANSPORT: u32 = 16;
const META_INPUT_GROUP: u32 = 21;
const META_OUTPUT_GROUP: u32 = 22;
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_ARP: u16 = 0x0806;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const COMPARE_EQUAL: u32 = 0;
const COMPARE_UNEQUAL: u32 = 1;
const COMPARE_AT_MOST: u32 = 3;
const COMPARE_AT_LEAST: u32 = 5;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const CT_ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const CT_DNAT: u32 = 1 << 5;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 2;
const ROUTE_LOCAL: u32 = 2;
const NAT_DNAT: u32 = 1;
const CHECKSUM_INTERNET: u32 = 1;
const INTERFACE_NAME: usize = 16;

/// An interface's name as the kernel compares it: padded with zeros to its full width.
pub(crate) fn interface_bytes(name: &str) -> [u8; INTERFACE_NAME] {
    let mut bytes = [0; INTERFACE_NAME];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(INTERFACE_NAME - 1)) {
        *to = from;
    }
    bytes
}

/// An element's key.
pub(crate) fn key_bytes(key: &[Atom]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24);
    for atom in key {
        match atom {
            Atom::Interface(name) => bytes.extend(interface_bytes(name)),
            Atom::Address(IpAddr::V4(address)) => bytes.extend(address.octets()),
            Atom::Address(IpAddr::V6(address)) => bytes.extend(address.octets()),
            Atom::Transport(protocol) => bytes.push(protocol.number()),
            Atom::Port(port) => bytes.extend(port.to_be_bytes()),
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// What an element holds, as attribute `kind`.
pub(crate) fn write_value(m: &mut Message<'_>, kind: u16, value: &Value) {
    match value {
        Value::Nothing => {}
        Value::Verdict(verdict) => write_verdict(m, kind, verdict),
        Value::Target(target) => {
            let bytes = key_bytes(&[Atom::Address(target.ip()), Atom::Port(target.port())]);
            m.nest(kind, |m| m.bytes(DATA_VALUE, &bytes));
        }
    }
}

fn write_verdict(m: &mut Message<'_>, kind: u16, verdict: &Verdict) {
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
            load_meta(m, interface_name(*side), REGISTER);
            compare(m, *equal, &interface_bytes(name));
        }
        Expression::InterfaceIn { side, set } => {
            load_meta(m, interface_name(*side), REGISTER);
            look_up(m, set, None);
        }
        Expression::Group { side, group } => {
            let key = if *side == Side::Input { META_INPUT_GROUP } else { META_OUTPUT_GROUP };
            load_meta(m, key, REGISTER);
            compare(m, true, &group.to_ne_bytes());
        }
        Expression::AddressIn { end, net, equal } => address_in(m, *end, *net, *equal),
        Expression::Version(version) => is_version(m, *version),
        Expression::Carries(Ip::V4) => carries(m, ETHERTYPE_IPV4),
        Expression::Carries(Ip::V6) => carries(m, ETHERTYPE_IPV6),
        Expression::CarriesArp => carries(m, ETHERTYPE_ARP),
        Expression::NeighbourDiscovery => {
            carries(m, ETHERTYPE_IPV6);
            load_meta(m, META_TRANSPORT, REGISTER);
            compare(m, true, &[ICMPV6]);
            load_payload(m, TRANSPORT_HEADER, 0, 1, REGISTER);
            compare_as(m, COMPARE_AT_LEAST, &[133]);
            compare_as(m, COMPARE_AT_MOST, &[137]);
        }
        Expression::ControlMessage(version) => {
            load_meta(m, META_TRANSPORT, REGISTER);
            compare(m, true, &[if *version == Ip::V4 { ICMP } else { ICMPV6 }]);
        }
        Expression::DestinationIsLocal => {
            element(m, "fib", |m| {
                m.be32(1, REGISTER);
                m.be32(2, FIB_ADDRESS_TYPE);
                m.be32(3, FIB_DESTINATION);
            });
            compare(m, true, &ROUTE_LOCAL.to_ne_bytes());
        }
        Expression::EstablishedOrRelated => connection(m, CT_STATE, CT_ESTABLISHED_OR_RELATED),
        Expression::WasDnated => connection(m, CT_STATUS, CT_DNAT),
        Expression::Port { end, protocol, port } => {
            is_transport(m, *protocol);
            load_payload(m, TRANSPORT_HEADER, port_offset(*end), 2, REGISTER);
            compare(m, true, &port.to_be_bytes());
        }
        Expression::SetPort { end, protocol, port } => set_port(m, *end, *protocol, *port),
        Expression::Member { fields, set } => {
            load_fields(m, fields);
            look_up(m, set, None);
        }
        Expression::VerdictOf { side, map } => {
            load_meta(m, interface_name(*side), REGISTER);
            look_up(m, map, Some(VERDICT_REGISTER));
        }
        Expression::Dnat { version, fields, map } => dnat(m, *version, fields, map),
        Expression::MarkBit(bit) => {
            load_meta(m, META_MARK, REGISTER);
            bitwise(m, *bit, 0);
            compare(m, false, &[0; 4]);
        }
        Expression::SetMarkBit(bit) => {
            load_meta(m, META_MARK, REGISTER);
            bitwise(m, !*bit, *bit);
            element(m, "meta", |m| {
                m.be32(2, META_MARK);
                m.be32(3, REGISTER);
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

fn interface_name(side: Side) -> u32 {
    match side {
        Side::Input => META_INPUT_NAME,
        Side::Output => META_OUTPUT_NAME,
    }
}

fn port_offset(end: End) -> u32 {
    match end {
        End::Source => 0,
        End::Destination => 2,
    }
}

/// Offset and length of an address in its header.
fn address_place(version: Ip, end: End) -> (u32, u32) {
    match (version, end) {
        (Ip::V4, End::Source) => (12, 4),
        (Ip::V4, End::Destination) => (16, 4),
        (Ip::V6, End::Source) => (8, 16),
        (Ip::V6, End::Destination) => (24, 16),
    }
}

/// Loads the fields side by side.
fn load_fields(m: &mut Message<'_>, fields: &[Field]) {
    let mut register = REGISTER;
    for field in fields {
        match *field {
            Field::Address(version, end) => {
                let (offset, length) = address_place(version, end);
                load_payload(m, NETWORK_HEADER, offset, length, register);
                register += length / 4;
            }
            Field::Transport => {
                load_meta(m, META_TRANSPORT, register);
                register += 1;
            }
            Field::Port(end) => {
                load_payload(m, TRANSPORT_HEADER, port_offset(end), 2, register);
                register += 1;
            }
        }
    }
}

/// Asks a set; with a register to answer to, a map.
fn look_up(m: &mut Message<'_>, set: &str, answer: Option<u32>) {
    element(m, "lookup", |m| {
        m.text(1, set);
        m.be32(2, REGISTER);
        if let Some(register) = answer {
            m.be32(3, register);
        }
    });
}

fn dnat(m: &mut Message<'_>, version: Ip, fields: &[Field], map: &str) {
    let (family, width) = match version {
        Ip::V4 => (FAMILY_IPV4, 1),
        Ip::V6 => (FAMILY_IPV6, 4),
    };
    load_fields(m, fields);
    look_up(m, map, Some(ANSWER));
    element(m, "nat", |m| {
        m.be32(1, NAT_DNAT);
        m.be32(2, family.into());
        m.be32(3, ANSWER);
        m.be32(5, ANSWER + width);
    });
}

fn set_port(m: &mut Message<'_>, end: End, protocol: Protocol, port: u16) {
    let checksum = match protocol {
        Protocol::Udp => 6,
        Protocol::Tcp | Protocol::Sctp => 16,
    };
    element(m, "immediate", |m| {
        m.be32(1, REGISTER);
        m.nest(2, |m| m.bytes(DATA_VALUE, &port.to_be_bytes()));
    });
    element(m, "payload", |m| {
        m.be32(2, TRANSPORT_HEADER);
        m.be32(3, port_offset(end));
        m.be32(4, 2);
        m.be32(5, REGISTER);
        m.be32(6, CHECKSUM_INTERNET);
        m.be32(7, checksum);
    });
}

fn address_in(m: &mut Message<'_>, end: End, net: IpNet, equal: bool) {
    // Tables are of both versions: make sure of this one's before reading its header.
    let (version, bits, network) = match net {
        IpNet::V4(net) => {
            (Ip::V4, net.mask().to_be_bytes().to_vec(), net.network().address().octets().to_vec())
        }
        IpNet::V6(net) => {
            (Ip::V6, net.mask().to_be_bytes().to_vec(), net.network().address().octets().to_vec())
        }
    };
    is_version(m, version);
    let (offset, length) = address_place(version, end);
    load_payload(m, NETWORK_HEADER, offset, length, REGISTER);
    mask(m, &bits);
    compare(m, equal, &network);
}

fn is_version(m: &mut Message<'_>, version: Ip) {
    let family = match version {
        Ip::V4 => FAMILY_IPV4,
        Ip::V6 => FAMILY_IPV6,
    };
    load_meta(m, META_FAMILY, REGISTER);
    compare(m, true, &[family]);
}

fn carries(m: &mut Message<'_>, ethertype: u16) {
    load_meta(m, META_PROTOCOL, REGISTER);
    compare(m, true, &ethertype.to_be_bytes());
}

fn is_transport(m: &mut Message<'_>, protocol: Protocol) {
    load_meta(m, META_TRANSPORT, REGISTER);
    compare(m, true, &[protocol.number()]);
}

/// A connection's state and status are numbers of the host's byte order.
fn connection(m: &mut Message<'_>, key: u32, any_of: u32) {
    element(m, "ct", |m| {
        m.be32(1, REGISTER);
        m.be32(2, key);
    });
    mask(m, &any_of.to_ne_bytes());
    compare(m, false, &[0; 4]);
}

fn load_meta(m: &mut Message<'_>, key: u32, register: u32) {
    element(m, "meta", |m| {
        m.be32(1, register);
        m.be32(2, key);
    });
}

fn load_payload(m: &mut Message<'_>, base: u32, offset: u32, length: u32, register: u32) {
    element(m, "payload", |m| {
        m.be32(1, register);
        m.be32(2, base);
        m.be32(3, offset);
        m.be32(4, length);
    });
}

fn compare(m: &mut Message<'_>, equal: bool, value: &[u8]) {
    compare_as(m, if equal { COMPARE_EQUAL } else { COMPARE_UNEQUAL }, value);
}

fn compare_as(m: &mut Message<'_>, how: u32, value: &[u8]) {
    element(m, "cmp", |m| {
        m.be32(1, REGISTER);
        m.be32(2, how);
        m.nest(3, |m| m.bytes(DATA_VALUE, value));
    });
}

fn mask(m: &mut Message<'_>, bits: &[u8]) {
    bitwise_bytes(m, bits, &vec![0; bits.len()]);
}

fn bitwise(m: &mut Message<'_>, and: u32, xor: u32) {
    bitwise_bytes(m, &and.to_ne_bytes(), &xor.to_ne_bytes());
}

fn bitwise_bytes(m: &mut Message<'_>, and: &[u8], xor: &[u8]) {
    let length = u32::try_from(and.len()).expect("a mask has at most sixteen bytes");
    element(m, "bitwise", |m| {
        m.be32(1, REGISTER);
        m.be32(2, REGISTER);
        m.be32(3, length);
        m.nest(4, |m| m.bytes(DATA_VALUE, and));
        m.nest(5, |m| m.bytes(DATA_VALUE, xor));
    });
}
