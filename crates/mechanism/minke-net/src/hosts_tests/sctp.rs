//! SCTP through a published port. Few kernels have its sockets, but each that tracks it rewrites it: packets are written by hand.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::*;

const SCTP: u32 = 132;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;

fn raw(netns: &OwnedFd) -> OwnedFd {
    inside(netns, || {
        let protocol = rustix::net::Protocol::from_raw(std::num::NonZero::new(SCTP).unwrap());
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(protocol),
        )
        .unwrap();
        let patience = Some(TRY);
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, patience)
            .unwrap();
        socket
    })
}

/// CRC32c, bit by bit.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).to_le_bytes()
}

/// A packet with one chunk that opens an association, or agrees to it.
fn packet(from: u16, to: u16, tag: u32, chunk: u8, own_tag: u32) -> Vec<u8> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend([chunk, 0, 0, 20]);
    bytes.extend(own_tag.to_be_bytes());
    bytes.extend(65536_u32.to_be_bytes());
    bytes.extend([0, 1, 0, 1]);
    bytes.extend(own_tag.to_be_bytes());
    let sum = checksum(&bytes);
    bytes[8..12].copy_from_slice(&sum);
    bytes
}

/// Ports, and who sent it, of the next packet with such a chunk.
fn receive(socket: &OwnedFd, chunk: u8) -> Option<(IpAddr, u16, u16, Vec<u8>)> {
    let mut bytes = [0; 512];
    let start = Instant::now();
    while start.elapsed() < TRY {
        let Ok((count, _)) = rustix::net::recv(socket, &mut bytes[..], RecvFlags::empty()) else { continue };
        let (header, rest) = bytes[..count].split_at(usize::from(bytes[0] & 15) * 4);
        if rest.get(12) == Some(&chunk) {
            let from = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
            let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
            return Some((from.into(), port(0), port(2), rest.to_vec()));
        }
    }
    None
}

fn send(socket: &OwnedFd, to: IpAddr, bytes: &[u8]) {
    let to = SocketAddr::new(to, 0);
    rustix::net::sendto(socket, bytes, SendFlags::empty(), &to).unwrap();
}

#[test]
fn a_published_port_of_sctp_carries_packets_both_ways() {
    in_world(|world| {
        let fabric = open(&[default_bridge()]);
        let claim = claim_on(&fabric, "c", &["0"]);
        let endpoint = &claim.endpoints[0];
        let wish = PortWish {
            protocol: Protocol::Sctp,
            container_port: 80,
            host_ip: None,
            host_ports: (9899, 9899),
        };
        let published = fabric.publish(endpoint, &[wish]).unwrap();
        let (client, server) = (raw(&world.near.netns), raw(&claim.netns));
        send(&client, HOST4.into(), &packet(5000, 9899, 0, INIT, 7));
        let (from, source, destination, seen) = receive(&server, INIT).expect("the packet arrives");
        assert_eq!((from, source, destination), (world.near.v4, 5000, 80));
        // The checksum was made anew with the port.
        let mut plain = seen.clone();
        plain[8..12].fill(0);
        assert_eq!(seen[8..12], checksum(&plain));
        send(&server, world.near.v4, &packet(80, 5000, 7, INIT_ACK, 9));
        let (from, source, destination, _) = receive(&client, INIT_ACK).expect("the answer arrives");
        assert_eq!((from, source, destination), (HOST4.into(), 9899, 5000));

        fabric.unpublish(&published.bindings).unwrap();
        send(&client, HOST4.into(), &packet(5001, 9899, 0, INIT, 8));
        assert!(receive(&server, INIT).is_none());
        send(&client, v4(endpoint), &packet(5002, 80, 0, INIT, 8));
        assert!(receive(&server, INIT).is_none(), "routed straight to the container");
    });
}
