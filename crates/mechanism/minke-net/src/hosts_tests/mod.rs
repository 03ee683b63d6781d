//! Tests with three namespaces that stand for three hosts on one link: the engine's host and two others, who try what they can.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::address::IpNet;
use crate::endpoint::{Claim, ClaimRequest, Endpoint, EndpointWish, LiveEndpoint};
use crate::fabric::{Fabric, FabricConfig, FabricError};
use crate::links::{VethPlan, Which};
use crate::namespace::open_own;
use crate::netlink::{Batch, Family, Socket};
use crate::network::{BridgeSpec, Driver, MacvlanMode, MacvlanSpec, NetworkSpec, SubnetSpec};
use crate::ports::{Hole, PortWish, Protocol, Published};
use crate::tests::{in_fresh_host, inside, link_names, until};

mod life;
mod macvlan;
mod modes;
mod reach;
mod sctp;
mod stock;

/// Long enough for one repetition of a question that was lost; short, because what is closed is waited for this long.
const TRY: Duration = Duration::from_millis(1200);
const HOST4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const LOOP4: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn host6() -> IpAddr {
    ip("2001:db8::2")
}

/// Another host on the link, which routes through the engine's.
struct Neighbour {
    netns: OwnedFd,
    v4: IpAddr,
    v6: IpAddr,
}

struct World {
    /// Holds the switch.
    _switch: OwnedFd,
    near: Neighbour,
    far: Neighbour,
}

fn fresh_namespace() -> OwnedFd {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            minke_sys::network::unshare_network().unwrap();
            open_own().unwrap()
        });
        thread.join().unwrap()
    })
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Links the calling thread's namespace and two others by a switch.
fn world() -> World {
    let here = open_own().unwrap();
    let (switch, near, far) = (fresh_namespace(), fresh_namespace(), fresh_namespace());
    inside(&switch, || {
        let mut socket = Socket::open(Family::Route).unwrap();
        let mut batch = Batch::new();
        batch.add_bridge("sw", crate::Mac([2, 0, 0, 0, 0, 9]), 1500);
        batch.set_up(Which::Name("sw"));
        socket.apply(batch).unwrap();
        let bridge = socket.read_link(Which::Name("sw")).unwrap().index;
        for (name, netns) in [("p0", &here), ("p1", &near), ("p2", &far)] {
            let mut batch = Batch::new();
            batch.add_veth(&VethPlan {
                host_name: name,
                bridge,
                peer_name: "eth0",
                mac: None,
                netns: netns.as_fd(),
                mtu: 1500,
                group: 0,
            });
            batch.set_up(Which::Name(name));
            socket.apply(batch).unwrap();
        }
    });
    let address = |v4: &'static str, v6: &'static str, through: Option<[IpAddr; 2]>| {
        move || {
            let mut socket = Socket::open(Family::Route).unwrap();
            let index = socket.read_link(Which::Name("eth0")).unwrap().index;
            let mut batch = Batch::new();
            // At once, as after some seconds of life.
            std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0").unwrap();
            batch.set_up(Which::Index(index));
            batch.add_address(index, net(v4));
            batch.add_address(index, net(v6));
            for gateway in through.into_iter().flatten() {
                batch.add_default_route(index, gateway);
            }
            socket.apply(batch).unwrap();
            until("the link carries", || socket.read_link(Which::Index(index)).unwrap().carries);
        }
    };
    let through = Some([HOST4.into(), host6()]);
    address("192.0.2.2/24", "2001:db8::2/64", None)();
    inside(&near, address("192.0.2.3/24", "2001:db8::3/64", through));
    inside(&far, address("192.0.2.4/24", "2001:db8::4/64", through));
    World {
        _switch: switch,
        near: Neighbour { netns: near, v4: ip("192.0.2.3"), v6: ip("2001:db8::3") },
        far: Neighbour { netns: far, v4: ip("192.0.2.4"), v6: ip("2001:db8::4") },
    }
}

fn in_world(test: impl FnOnce(&World) + Send) {
    in_fresh_host(|| test(&world()));
}

fn bridge(id: &str, v4: &str, v6: Option<&str>) -> NetworkSpec {
    let subnet = |text: &str| Some(SubnetSpec { subnet: Some(net(text)), ..SubnetSpec::default() });
    NetworkSpec {
        id: id.into(),
        name: format!("net-{id}"),
        driver: Driver::Bridge(BridgeSpec { link: format!("br{id}"), ..BridgeSpec::default() }),
        ipv4: subnet(v4),
        ipv6: v6.and_then(subnet),
        internal: false,
        mtu: 1500,
    }
}

fn spec_of(spec: &mut NetworkSpec) -> &mut BridgeSpec {
    let Driver::Bridge(bridge) = &mut spec.driver else { panic!("not a bridge") };
    bridge
}

fn config() -> FabricConfig {
    FabricConfig {
        mark: "br0".into(),
        default_network: Some("0".into()),
        ready: 0,
        bare_ready: 0,
        shelved: 0,
        ..FabricConfig::default()
    }
}

fn default_bridge() -> NetworkSpec {
    bridge("0", "172.17.0.0/16", Some("fd00:17::/64"))
}

fn open(networks: &[NetworkSpec]) -> Fabric {
    let (fabric, warnings) = Fabric::open(config(), networks, &[]).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    fabric
}

fn claim_on(fabric: &Fabric, container: &str, networks: &[&str]) -> Claim {
    let wishes: Vec<_> = networks
        .iter()
        .map(|network| EndpointWish { network: (*network).into(), ..EndpointWish::default() })
        .collect();
    fabric.claim(&ClaimRequest { container, wishes: &wishes, dns: false }).unwrap()
}

/// Servers inside a container, of both transports and versions, on one port.
struct Servers {
    tcp: [TcpListener; 2],
    udp: [UdpSocket; 2],
}

fn serve(netns: &OwnedFd, port: u16) -> Servers {
    inside(netns, || {
        let at = [ip("0.0.0.0"), ip("::")].map(|address| SocketAddr::new(address, port));
        // These leave IPv4 alone.
        let tcp6 = crate::reserve::reserve(Protocol::Tcp, at[1], true).unwrap().unwrap();
        let udp6 = crate::reserve::reserve(Protocol::Udp, at[1], true).unwrap().unwrap();
        let servers = Servers {
            tcp: [TcpListener::bind(at[0]).unwrap(), tcp6.into()],
            udp: [UdpSocket::bind(at[0]).unwrap(), udp6.into()],
        };
        for tcp in &servers.tcp {
            tcp.set_nonblocking(true).unwrap();
        }
        for udp in &servers.udp {
            udp.set_nonblocking(true).unwrap();
        }
        servers
    })
}

fn poll<T>(mut ready: impl FnMut() -> std::io::Result<T>) -> Option<T> {
    let start = Instant::now();
    while start.elapsed() < TRY {
        if let Ok(value) = ready() {
            return Some(value);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

impl Servers {
    /// Whom the server sees when somebody at `from` speaks to `target`; nobody when no byte went both ways.
    fn tcp(&self, from: Option<&OwnedFd>, target: (impl Into<IpAddr>, u16)) -> Option<IpAddr> {
        let target = SocketAddr::new(target.0.into(), target.1);
        let dial = || TcpStream::connect_timeout(&target, TRY).ok();
        let mut stream = match from {
            Some(netns) => inside(netns, dial),
            None => dial(),
        }?;
        stream.set_read_timeout(Some(TRY)).unwrap();
        let (mut served, who) = poll(|| self.tcp[0].accept().or_else(|_| self.tcp[1].accept()))?;
        served.write_all(b"x").unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        Some(who.ip())
    }

    fn udp(&self, from: Option<&OwnedFd>, target: (impl Into<IpAddr>, u16)) -> Option<IpAddr> {
        let target = SocketAddr::new(target.0.into(), target.1);
        let any = if target.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
        let dial = || {
            let socket = UdpSocket::bind((any, 0)).unwrap();
            socket.connect(target).ok()?;
            socket.send(b"?").ok()?;
            Some(socket)
        };
        let client = match from {
            Some(netns) => inside(netns, dial),
            None => dial(),
        }?;
        let mut byte = [0];
        let server = &self.udp[usize::from(target.is_ipv6())];
        let (_, who) = poll(|| server.recv_from(&mut byte))?;
        server.send_to(b"!", who).ok()?;
        client.set_read_timeout(Some(TRY)).unwrap();
        client.recv(&mut byte).ok()?;
        Some(who.ip())
    }

    fn all(&self, from: Option<&OwnedFd>, address: impl Into<IpAddr>, port: u16) -> [Option<IpAddr>; 2] {
        let address = address.into();
        [self.tcp(from, (address, port)), self.udp(from, (address, port))]
    }
}

const CLOSED: [Option<IpAddr>; 2] = [None, None];

fn open_for(address: IpAddr) -> [Option<IpAddr>; 2] {
    [Some(address), Some(address)]
}

fn wish(protocol: Protocol, host_ip: Option<&str>, host: u16, container: u16) -> PortWish {
    PortWish { protocol, container_port: container, host_ip: host_ip.map(ip), host_ports: (host, host) }
}

fn publish(fabric: &Fabric, endpoint: &Endpoint, host_ip: Option<&str>, host: u16) -> Published {
    let wishes = [Protocol::Tcp, Protocol::Udp].map(|protocol| wish(protocol, host_ip, host, 80));
    fabric.publish(endpoint, &wishes).unwrap()
}

fn v4(endpoint: &Endpoint) -> IpAddr {
    endpoint.address.unwrap().address().into()
}

fn v6(endpoint: &Endpoint) -> IpAddr {
    endpoint.address6.unwrap().address().into()
}

/// Whether bridges show their packets to the rules of IP: what br_netfilter does on some hosts.
fn show_packets(on: bool) {
    for which in ["iptables", "ip6tables", "arptables"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{which}");
        if std::path::Path::new(&path).exists() {
            std::fs::write(path, if on { "1" } else { "0" }).unwrap();
        }
    }
}
