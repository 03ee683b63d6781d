//! Flows of datagrams that the kernel remembers.
//!
//! A connection's fate is decided by its first packet. A flow of datagrams has no end, so one that began before its port was published
//! is led past the container as long as it goes on, and one that goes on after its container has left is led to whoever has the
//! address then. So the flows of a port are forgotten when it opens and when it closes.

use std::net::SocketAddr;

use crate::netlink::{Attributes, Batch, Message, NetlinkError, Socket};
use crate::ports::{Binding, Protocol};

const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const GENERIC_FIXED: usize = 4;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const TUPLE_TRANSPORT: u16 = 2;
const TRANSPORT_NUMBER: u16 = 1;
const TRANSPORT_SOURCE_PORT: u16 = 2;
const TRANSPORT_DESTINATION_PORT: u16 = 3;
const TUPLE_ADDRESSES: u16 = 1;
const NESTED: u16 = 0x8000;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const UDP: u8 = 17;
const IPV4_SOURCE: u16 = 1;
const IPV6_SOURCE: u16 = 3;

/// A flow's two halves as the kernel told them.
#[derive(Debug)]
struct Flow {
    family: u8,
    original: Vec<u8>,
    destination_port: u16,
    /// Who answers, and from which port.
    answers: Option<(Vec<u8>, u16)>,
}

fn be16(bytes: Option<&[u8]>) -> Option<u16> {
    bytes?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn read(kind: u16, payload: &[u8]) -> Option<Flow> {
    if kind != NEW {
        return None;
    }
    let family = *payload.first()?;
    let attributes = Attributes::after(payload, GENERIC_FIXED);
    let original = attributes.get(ORIGINAL)?;
    let transport = Attributes(original).nested(TUPLE_TRANSPORT);
    if transport.get(TRANSPORT_NUMBER)?.first() != Some(&UDP) {
        return None;
    }
    let reply = attributes.nested(REPLY);
    let source = if family == IPV4 { IPV4_SOURCE } else { IPV6_SOURCE };
    let answers = reply
        .nested(TUPLE_ADDRESSES)
        .get(source)
        .map(<[u8]>::to_vec)
        .zip(be16(reply.nested(TUPLE_TRANSPORT).get(TRANSPORT_SOURCE_PORT)));
    Some(Flow {
        family,
        original: original.to_vec(),
        destination_port: be16(transport.get(TRANSPORT_DESTINATION_PORT))?,
        answers,
    })
}

/// Whether the flow was begun to one of the published ports, or leads to one of the containers' ports behind them.
fn concerns(flow: &Flow, ports: &[(Binding, SocketAddr)]) -> bool {
    ports.iter().any(|(binding, target)| {
        let same_family = (flow.family == IPV4) == binding.host_ip.is_ipv4();
        let behind = flow.answers.as_ref().is_some_and(|(address, port)| {
            let octets = match target.ip() {
                std::net::IpAddr::V4(address) => address.octets().to_vec(),
                std::net::IpAddr::V6(address) => address.octets().to_vec(),
            };
            *address == octets && *port == target.port()
        });
        binding.protocol == Protocol::Udp
            && ((same_family && flow.destination_port == binding.host_port) || behind)
    })
}

/// Forgets the flows of published ports; answers how many there were. Ports of other transports have none.
pub(crate) fn forget_flows(
    socket: &mut Socket,
    ports: &[(Binding, SocketAddr)],
) -> Result<usize, NetlinkError> {
    if ports.iter().all(|(binding, _)| binding.protocol != Protocol::Udp) {
        return Ok(0);
    }
    let mut forgotten = 0;
    for family in [IPV4, IPV6] {
        let mut batch = Batch::new();
        batch.push("list flows", GET, 0, |m| m.fixed(&[family, 0, 0, 0]));
        for flow in socket.dump(batch, read)?.iter().filter(|flow| concerns(flow, ports)) {
            let mut batch = Batch::new();
            batch.push("forget a flow", DELETE, 0, |m: &mut Message<'_>| {
                m.fixed(&[family, 0, 0, 0]);
                m.bytes(ORIGINAL | NESTED, &flow.original);
            });
            // One that has ended by itself meanwhile is forgotten as well.
            if socket.apply(batch).is_ok() {
                forgotten += 1;
            }
        }
    }
    Ok(forgotten)
}
