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

fn published_reaches(shown: bool) {
    in_world(|world| {
        show_packets(shown);
        let other = bridge("1", "172.18.0.0/16", Some("fd00:18::/64"));
        let fabric = open(&[default_bridge(), other]);
        let server = claim_on(&fabric, "server", &["0"]);
        let beside = claim_on(&fabric, "beside", &["0"]);
        let across = claim_on(&fabric, "across", &["1"]);
        let (web, hidden) = (serve(&server.netns, 80), serve(&server.netns, 81));
        let published = publish(&fabric, &server.endpoints[0], None, 8080);
        assert_eq!(published.bindings.len(), 4);
        let text: Vec<_> = published.bindings.iter().map(ToString::to_string).collect();
        assert_eq!(text[..2], ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"]);
        // Until the port may turn packets back.
        std::thread::sleep(Duration::from_millis(120));

        for host in [&world.near, &world.far] {
            assert_eq!(
                web.all(Some(&host.netns), HOST4, 8080),
                open_for(host.v4),
                "clients keep their address"
            );
            assert_eq!(web.all(Some(&host.netns), host6(), 8080), open_for(host.v6));
        }
        let at = Some(&world.near.netns);
        assert_eq!(hidden.all(at, HOST4, 81), CLOSED);
        assert_eq!(hidden.all(at, host6(), 81), CLOSED);
        for port in [80, 81] {
            let servers = if port == 80 { &web } else { &hidden };
            assert_eq!(
                servers.all(at, v4(&server.endpoints[0]), port),
                CLOSED,
                "routed straight at the container"
            );
            assert_eq!(servers.all(at, v6(&server.endpoints[0]), port), CLOSED);
        }
        // From the host: by its own addresses and by loopback.
        assert_eq!(web.all(None, HOST4, 8080), open_for(HOST4.into()));
        assert_eq!(web.all(None, host6(), 8080), open_for(host6()));
        assert_eq!(web.all(None, LOOP4, 8080), open_for(ip("172.17.0.1")));
        // By hairpin: itself, a neighbour, another network's.
        for (who, from) in [("itself", &server), ("a neighbour", &beside), ("another network's", &across)] {
            for address in [IpAddr::from(HOST4), host6()] {
                let seen = web.all(Some(&from.netns), address, 8080);
                assert!(seen.iter().all(Option::is_some), "{who} by {address}: {seen:?}");
            }
        }
        // Another network's containers only that way.
        assert_eq!(web.all(Some(&across.netns), v4(&server.endpoints[0]), 80), CLOSED);
        assert_eq!(web.all(Some(&across.netns), v6(&server.endpoints[0]), 80), CLOSED);

        fabric.unpublish(&published.bindings).unwrap();
        drop(published.held);
        assert_eq!(web.all(at, HOST4, 8080), CLOSED);
        assert_eq!(web.all(at, host6(), 8080), CLOSED);
        publish(&fabric, &server.endpoints[0], None, 8080);
        assert_eq!(web.tcp(at, (HOST4, 8080)), Some(world.near.v4));
    });
}

#[test]
fn what_is_published_is_reachable_from_everywhere_and_nothing_else() {
    published_reaches(false);
}

#[test]
fn what_is_published_is_reachable_where_bridges_show_their_packets_too() {
    published_reaches(true);
}

#[test]
fn a_loopback_port_is_the_hosts_alone() {
    in_world(|world| {
        let fabric = open(&[default_bridge()]);
        let server = claim_on(&fabric, "server", &["0"]);
        let web = serve(&server.netns, 80);
        let published = publish(&fabric, &server.endpoints[0], Some("127.0.0.1"), 8080);
        assert_eq!(published.bindings.len(), 2);
        assert_eq!(published.proxies, []);
        assert_eq!(web.all(None, LOOP4, 8080), open_for(ip("172.17.0.1")));
        let at = Some(&world.near.netns);
        assert_eq!(web.all(at, HOST4, 8080), CLOSED);
        // The neighbours' own loopback is down: what they send to 127.0.0.1 goes to the host, which may be told to take such.
        assert_eq!(web.all(at, LOOP4, 8080), CLOSED);
        for link in ["eth0", "all"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{link}/route_localnet"), "1").unwrap();
        }
        assert_eq!(web.all(at, LOOP4, 8080), CLOSED);
    });
}

#[test]
fn a_port_of_one_address_is_closed_on_the_others() {
    in_world(|world| {
        let fabric = open(&[default_bridge()]);
        let server = claim_on(&fabric, "server", &["0"]);
        let web = serve(&server.netns, 80);
        let _four = publish(&fabric, &server.endpoints[0], Some("192.0.2.2"), 8080);
        let _six = publish(&fabric, &server.endpoints[0], Some("2001:db8::2"), 8081);
        let at = Some(&world.near.netns);
        assert_eq!(web.all(at, HOST4, 8080), open_for(world.near.v4));
        assert_eq!(web.all(at, host6(), 8081), open_for(world.near.v6));
        assert_eq!(web.all(at, host6(), 8080), CLOSED);
        assert_eq!(web.all(at, HOST4, 8081), CLOSED);
        assert_eq!(web.all(None, LOOP4, 8080), CLOSED);
        assert_eq!(web.all(None, host6(), 8081), open_for(host6()));
    });
}

#[test]
fn an_ipv6_port_of_a_container_without_ipv6_is_a_proxys() {
    in_world(|_world| {
        let fabric = open(&[bridge("0", "172.17.0.0/16", None)]);
        let server = claim_on(&fabric, "server", &["0"]);
        let published = publish(&fabric, &server.endpoints[0], None, 8080);
        assert_eq!(published.bindings.len(), 4);
        let labels: Vec<_> = published.proxies.iter().map(|proxy| proxy.label.as_str()).collect();
        assert_eq!(labels, ["port:tcp:[::]:8080", "port:udp:[::]:8080"]);
        assert_eq!(published.proxies[0].target.to_string(), "172.17.0.2:80");
        // The keeper polls the held socket.
        let (_, held) = published.held.into_iter().find(|(label, _)| label == "port:tcp:[::]:8080").unwrap();
        let listener = TcpListener::from(held);
        let _client = TcpStream::connect("[::1]:8080").unwrap();
        assert!(poll(|| listener.accept()).is_some());
    });
}

fn kept_apart(shown: bool) {
    in_world(|_world| {
        show_packets(shown);
        let mut quiet = default_bridge();
        spec_of(&mut quiet).icc = false;
        let fabric = open(&[quiet]);
        let (db, app, rogue) = (
            claim_on(&fabric, "db", &["0"]),
            claim_on(&fabric, "app", &["0"]),
            claim_on(&fabric, "rogue", &["0"]),
        );
        let (web, other) = (serve(&db.netns, 80), serve(&db.netns, 81));
        let back = serve(&app.netns, 80);
        let target = &db.endpoints[0];
        assert_eq!(web.all(None, v4(target), 80), open_for(ip("172.17.0.1")), "the host may");
        assert_eq!(web.all(Some(&app.netns), v4(target), 80), CLOSED);
        assert_eq!(web.all(Some(&app.netns), v6(target), 80), CLOSED);

        let hole = |from: IpAddr, to: IpAddr| Hole {
            network: "0".into(),
            from,
            to,
            protocol: Protocol::Tcp,
            port: 80,
        };
        let holes = [hole(v4(&app.endpoints[0]), v4(target)), hole(v6(&app.endpoints[0]), v6(target))];
        fabric.open_holes(&holes).unwrap();
        assert_eq!(web.all(Some(&app.netns), v4(target), 80), [Some(v4(&app.endpoints[0])), None]);
        assert_eq!(web.all(Some(&app.netns), v6(target), 80), [Some(v6(&app.endpoints[0])), None]);
        assert_eq!(other.all(Some(&app.netns), v4(target), 81), CLOSED, "another port");
        assert_eq!(web.all(Some(&rogue.netns), v4(target), 80), CLOSED, "another container");
        assert_eq!(web.all(Some(&rogue.netns), v6(target), 80), CLOSED);
        assert_eq!(back.all(Some(&db.netns), v4(&app.endpoints[0]), 80), CLOSED, "the other direction");

        // What is published is for all, neighbours included.
        let published = publish(&fabric, target, None, 8080);
        std::thread::sleep(Duration::from_millis(120));
        for from in [&rogue, &db] {
            for address in [IpAddr::from(HOST4), host6()] {
                let seen = web.all(Some(&from.netns), address, 8080);
                assert!(seen.iter().all(Option::is_some), "by {address}: {seen:?}");
            }
        }
        fabric.unpublish(&published.bindings).unwrap();
        fabric.close_holes(&holes).unwrap();
        assert_eq!(web.all(Some(&app.netns), v4(target), 80), CLOSED);
        fabric.close_holes(&holes).unwrap();
    });
}

#[test]
fn without_icc_only_links_pass() {
    kept_apart(false);
}

#[test]
fn without_icc_only_links_pass_where_bridges_show_their_packets() {
    kept_apart(true);
}

#[test]
fn an_internal_network_is_closed_both_ways_and_open_within() {
    in_world(|world| {
        let internal = NetworkSpec { internal: true, ..bridge("1", "172.18.0.0/16", Some("fd00:18::/64")) };
        let fabric = open(&[default_bridge(), internal]);
        let (one, two) = (claim_on(&fabric, "one", &["1"]), claim_on(&fabric, "two", &["1"]));
        let outer = claim_on(&fabric, "outer", &["0"]);
        assert_eq!((one.endpoints[0].gateway, one.endpoints[0].gateway6), (None, None));
        let servers = serve(&one.netns, 80);
        let target = &one.endpoints[0];
        assert_eq!(servers.all(Some(&two.netns), v4(target), 80), open_for(v4(&two.endpoints[0])));
        assert_eq!(servers.all(Some(&two.netns), v6(target), 80), open_for(v6(&two.endpoints[0])));
        assert_eq!(servers.all(Some(&world.near.netns), v4(target), 80), CLOSED);
        assert_eq!(servers.all(Some(&world.near.netns), v6(target), 80), CLOSED);
        assert_eq!(servers.all(Some(&outer.netns), v4(target), 80), CLOSED);
        assert!(fabric.publish(target, &[wish(Protocol::Tcp, None, 8080, 80)]).unwrap().bindings.is_empty());

        let outside = serve(&world.near.netns, 80);
        // Not even if it had a way out.
        inside(&two.netns, || {
            let mut socket = Socket::open(Family::Route).unwrap();
            let index = socket.read_link(Which::Name("eth0")).unwrap().index;
            let mut batch = Batch::new();
            batch.add_default_route(index, ip("172.18.0.1"));
            batch.add_default_route(index, ip("fd00:18::1"));
            socket.apply(batch).unwrap();
        });
        assert_eq!(outside.all(Some(&two.netns), world.near.v4, 80), CLOSED);
        assert_eq!(outside.all(Some(&two.netns), world.near.v6, 80), CLOSED);
        assert_eq!(outside.all(Some(&outer.netns), world.near.v4, 80), open_for(HOST4.into()), "masqueraded");
        let inner = serve(&outer.netns, 80);
        let _published = publish(&fabric, &outer.endpoints[0], None, 8080);
        assert_eq!(inner.all(Some(&two.netns), HOST4, 8080), CLOSED, "nor to a published port");
    });
}

#[test]
fn a_running_container_is_plugged_in_and_out_and_its_way_out_follows() {
    in_world(|_world| {
        let a = bridge("1", "172.18.0.0/16", None);
        let b = bridge("2", "172.19.0.0/16", Some("fd00:19::/64"));
        let fabric = open(&[default_bridge(), a, b]);
        let other = claim_on(&fabric, "other", &["2"]);
        let servers = serve(&other.netns, 80);
        let claim = claim_on(&fabric, "c", &["1"]);
        let routes =
            || inside(&claim.netns, || std::fs::read_to_string("/proc/thread-self/net/route").unwrap());
        let via = |interface: &str| {
            routes().lines().any(|line| line.starts_with(&format!("{interface}\t00000000\t")))
        };
        assert!(via("eth0"));
        assert_eq!(servers.tcp(Some(&claim.netns), (v4(&other.endpoints[0]), 80)), None);
        let wish = EndpointWish { network: "2".into(), gateway_priority: 1, ..EndpointWish::default() };
        let new = fabric.plug(claim.netns.as_fd(), "c", &wish, &claim.endpoints).unwrap();
        assert_eq!((new.interface.as_str(), v4(&new)), ("eth1", ip("172.19.0.3")));
        assert!(via("eth1") && !via("eth0"), "{}", routes());
        assert_eq!(servers.all(Some(&claim.netns), v4(&other.endpoints[0]), 80), open_for(v4(&new)));
        assert_eq!(servers.all(Some(&claim.netns), v6(&other.endpoints[0]), 80), open_for(v6(&new)));

        fabric.unplug(claim.netns.as_fd(), &new, &claim.endpoints).unwrap();
        assert_eq!(inside(&claim.netns, link_names), ["eth0", "lo"]);
        assert!(via("eth0"), "{}", routes());
        until("its address is free again", || {
            let again = fabric.plug(claim.netns.as_fd(), "c", &wish, &claim.endpoints).unwrap();
            let first = v4(&again) == v4(&new);
            fabric.unplug(claim.netns.as_fd(), &again, &claim.endpoints).unwrap();
            first
        });
    });
}

#[test]
fn a_claim_of_several_networks_has_them_in_order_with_names_macs_and_sysctls_as_wished() {
    in_world(|_world| {
        let fabric = open(&[default_bridge(), bridge("1", "172.18.0.0/16", None)]);
        let wishes = [
            EndpointWish {
                network: "1".into(),
                address: Some(Ipv4Addr::new(172, 18, 7, 7)),
                sysctls: vec![("net.ipv4.conf.IFNAME.log_martians".into(), "1".into())],
                ..EndpointWish::default()
            },
            EndpointWish {
                network: "0".into(),
                interface: Some("wan0".into()),
                mac: Some("02:00:00:00:00:77".parse().unwrap()),
                address6: Some("fd00:17::77".parse().unwrap()),
                link_local: vec![ip("169.254.3.3")],
                ..EndpointWish::default()
            },
        ];
        let claim = fabric.claim(&ClaimRequest { container: "c", wishes: &wishes, dns: false }).unwrap();
        let names: Vec<_> = claim.endpoints.iter().map(|endpoint| endpoint.interface.as_str()).collect();
        assert_eq!(names, ["eth0", "wan0"]);
        assert_eq!(claim.endpoints[0].address.unwrap().to_string(), "172.18.7.7/16");
        assert_eq!(claim.endpoints[1].address6.unwrap().to_string(), "fd00:17::77/64");
        inside(&claim.netns, || {
            let mut socket = Socket::open(Family::Route).unwrap();
            let wan0 = socket.read_link(Which::Name("wan0")).unwrap();
            assert_eq!(wan0.mac.unwrap().to_string(), "02:00:00:00:00:77");
            let addresses = socket.read_addresses().unwrap();
            assert!(addresses.contains(&(wan0.index, net("169.254.3.3/16"))), "{addresses:?}");
            let read = |key: &str| std::fs::read_to_string(format!("/proc/sys/net/{key}")).unwrap();
            assert_eq!(read("ipv4/conf/eth0/log_martians"), "1\n");
            assert_eq!(read("ipv6/conf/eth0/disable_ipv6"), "1\n");
            assert_eq!(read("ipv6/conf/wan0/disable_ipv6"), "0\n");
            // By name the default bridge comes first.
            let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
            assert!(routes.contains("wan0\t00000000"), "{routes}");
        });
        let refused = fabric.claim(&ClaimRequest { container: "d", wishes: &wishes, dns: false });
        assert!(matches!(refused, Err(FabricError::AddressInUse { .. })), "{refused:?}");
        let unknown = EndpointWish { network: "9".into(), ..EndpointWish::default() };
        let refused =
            fabric.claim(&ClaimRequest { container: "d", wishes: &[unknown], dns: false }).unwrap_err();
        assert_eq!(refused.to_string(), "network 9 not found");
    });
}

#[test]
fn questions_to_the_resolver_arrive_at_its_sockets_and_leave_port_53_to_the_container() {
    in_world(|_world| {
        let (fabric, _) = Fabric::open(
            FabricConfig { bare_ready: 1, ..config() },
            &[default_bridge(), bridge("1", "172.18.0.0/16", None)],
            &[],
        )
        .unwrap();
        until("one is ready", || fabric.ready().1 == 1);
        let ask = |netns: &OwnedFd, dns: crate::DnsSockets| {
            let (udp, tcp) = (UdpSocket::from(dns.udp), TcpListener::from(dns.tcp));
            let (client, stream) = inside(netns, || {
                // The container's own server.
                let _own = UdpSocket::bind("0.0.0.0:53").unwrap();
                let _too = TcpListener::bind("0.0.0.0:53").unwrap();
                let client = UdpSocket::bind("0.0.0.0:0").unwrap();
                client.connect("127.0.0.11:53").unwrap();
                client.send(b"?").unwrap();
                (client, TcpStream::connect_timeout(&"127.0.0.11:53".parse().unwrap(), TRY).unwrap())
            });
            let mut byte = [0];
            let (_, who) = poll(|| udp.recv_from(&mut byte)).unwrap();
            udp.send_to(b"!", who).unwrap();
            client.set_read_timeout(Some(TRY)).unwrap();
            assert_eq!((client.recv(&mut byte).unwrap(), byte), (1, *b"!"));
            let (mut served, _) = poll(|| tcp.accept()).unwrap();
            served.write_all(b"over").unwrap();
            let mut word = [0; 4];
            (&stream).read_exact(&mut word).unwrap();
            assert_eq!(&word, b"over");
        };
        let wish = EndpointWish { network: "1".into(), ..EndpointWish::default() };
        let wishes = [wish];
        for container in ["ready", "made on the spot"] {
            let claim = fabric.claim(&ClaimRequest { container, wishes: &wishes, dns: true }).unwrap();
            ask(&claim.netns, claim.dns.unwrap());
        }
        let running = claim_on(&fabric, "running", &["0"]);
        ask(&running.netns, fabric.open_dns(running.netns.as_fd()).unwrap());
    });
}

#[test]
fn a_taken_port_is_named_as_docker_names_it_and_nothing_is_left_of_the_attempt() {
    in_world(|world| {
        let fabric = open(&[default_bridge()]);
        let (one, two) = (claim_on(&fabric, "one", &["0"]), claim_on(&fabric, "two", &["0"]));
        let _first = publish(&fabric, &one.endpoints[0], None, 8080);
        let wishes = [wish(Protocol::Tcp, None, 9090, 80), wish(Protocol::Tcp, None, 8080, 80)];
        let refused = fabric.publish(&two.endpoints[0], &wishes).unwrap_err();
        assert_eq!(refused.to_string(), "Bind for 0.0.0.0:8080 failed: port is already allocated");
        let web = serve(&two.netns, 80);
        assert_eq!(web.tcp(Some(&world.near.netns), (HOST4, 9090)), None);
        let foreign = TcpListener::bind((HOST4, 9090)).unwrap();
        let refused = fabric.publish(&two.endpoints[0], &wishes[..1]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "failed to bind host port for 0.0.0.0:9090:172.17.0.3:80/tcp: address already in use"
        );
        let range = PortWish { host_ports: (9090, 9092), ..wishes[0] };
        let got = fabric.publish(&two.endpoints[0], &[range]).unwrap();
        assert!(got.bindings.iter().all(|binding| binding.host_port == 9091), "{:?}", got.bindings);
        drop(foreign);
        let elsewhere = wish(Protocol::Tcp, Some("203.0.113.9"), 80, 80);
        let refused = fabric.publish(&two.endpoints[0], &[elsewhere]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "failed to bind host port for 203.0.113.9:80:172.17.0.3:80/tcp: cannot assign requested address"
        );
        // Any port, for both versions the same, and never one twice.
        let any = PortWish { host_ports: (0, 0), ..wishes[0] };
        let got = fabric.publish(&two.endpoints[0], &[any, any]).unwrap();
        let ports: Vec<_> = got.bindings.iter().map(|binding| binding.host_port).collect();
        assert!(ports[0] == ports[1] && ports[2] == ports[3] && ports[0] != ports[2], "{ports:?}");
        assert_eq!(web.tcp(Some(&world.near.netns), (HOST4, ports[2])), Some(world.near.v4));
    });
}

#[test]
fn datagrams_that_flow_already_follow_a_port_to_its_new_container() {
    in_world(|world| {
        let fabric = open(&[default_bridge()]);
        let (one, two) = (claim_on(&fabric, "one", &["0"]), claim_on(&fabric, "two", &["0"]));
        let servers = [serve(&one.netns, 80), serve(&two.netns, 80)];
        let client = inside(&world.near.netns, || UdpSocket::bind("0.0.0.0:0").unwrap());
        let hears = |server: &Servers| {
            client.send_to(b"?", (HOST4, 8080)).unwrap();
            server.udp[0].recv_from(&mut [0]).is_ok()
        };
        // Before the port is open the flow leads nowhere.
        assert!(!hears(&servers[0]));
        for (claim, server) in [(&one, &servers[0]), (&two, &servers[1])] {
            let published =
                fabric.publish(&claim.endpoints[0], &[wish(Protocol::Udp, None, 8080, 80)]).unwrap();
            until("it hears", || hears(server));
            fabric.unpublish(&published.bindings).unwrap();
            drop(published.held);
            until("it hears no more", || !(0..20).any(|_| hears(server)));
        }
    });
}

#[test]
fn a_new_daemon_puts_back_what_the_kernel_lost_and_removes_what_nobody_owns() {
    in_world(|world| {
        let user = bridge("1", "172.18.0.0/16", Some("fd00:18::/64"));
        let mut quiet = bridge("2", "172.19.0.0/16", None);
        spec_of(&mut quiet).icc = false;
        let gone = bridge("3", "172.20.0.0/16", None);
        let fabric = open(&[default_bridge(), user.clone(), quiet.clone(), gone]);
        let server = claim_on(&fabric, "server", &["1"]);
        let (db, app) = (claim_on(&fabric, "db", &["2"]), claim_on(&fabric, "app", &["2"]));
        let stale = claim_on(&fabric, "stale", &["1"]);
        let (web, data) = (serve(&server.netns, 80), serve(&db.netns, 80));
        let published = publish(&fabric, &server.endpoints[0], None, 8080);
        let _stale = publish(&fabric, &stale.endpoints[0], None, 8081);
        let hole = Hole {
            network: "2".into(),
            from: v4(&app.endpoints[0]),
            to: v4(&db.endpoints[0]),
            protocol: Protocol::Tcp,
            port: 80,
        };
        fabric.open_holes(std::slice::from_ref(&hole)).unwrap();
        drop(fabric);

        // The rules, a bridge with a live container on it, ...
        let mut filter = Socket::open(Family::Netfilter).unwrap();
        crate::nft::apply::remove_tables(&mut filter, "minke-br0").unwrap();
        let mut route = Socket::open(Family::Route).unwrap();
        let mut batch = Batch::new();
        for name in ["br1", "br2"] {
            batch.delete_link(route.read_link(Which::Name(name)).unwrap().index);
        }
        route.apply(batch).unwrap();

        let live = |endpoint: &Endpoint, bindings: &[crate::Binding], holes: &[Hole]| LiveEndpoint {
            endpoint: endpoint.clone(),
            bindings: bindings.to_vec(),
            holes: holes.to_vec(),
        };
        let known = [
            live(&server.endpoints[0], &published.bindings, &[]),
            live(&db.endpoints[0], &[], &[]),
            live(&app.endpoints[0], &[], std::slice::from_ref(&hole)),
        ];
        let (again, warnings) = Fabric::open(config(), &[default_bridge(), user, quiet], &known).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(again.lost(), []);
        let at = Some(&world.near.netns);
        until("it is reachable again", || web.tcp(at, (HOST4, 8080)) == Some(world.near.v4));
        assert_eq!(web.all(at, host6(), 8080), open_for(world.near.v6));
        assert_eq!(web.tcp(at, (v4(&server.endpoints[0]), 80)), None);
        assert_eq!(data.all(Some(&app.netns), v4(&db.endpoints[0]), 80), [Some(v4(&app.endpoints[0])), None]);
        assert_eq!(data.tcp(Some(&server.netns), (v4(&db.endpoints[0]), 80)), None);
        until("the bridge of no network is gone", || !link_names().contains(&"br3".to_owned()));
        let next = claim_on(&again, "next", &["1"]);
        assert!(![v4(&server.endpoints[0])].contains(&v4(&next.endpoints[0])));
        let taken = again.publish(&next.endpoints[0], &[wish(Protocol::Tcp, None, 8080, 80)]).unwrap_err();
        assert_eq!(taken.to_string(), "Bind for 0.0.0.0:8080 failed: port is already allocated");

        // ... and rules that somebody flushes while it runs: ports come back with them.
        crate::nft::apply::remove_tables(&mut filter, "minke-br0").unwrap();
        until("the ports are back", || web.tcp(at, (HOST4, 8080)) == Some(world.near.v4));
        assert_eq!(web.tcp(at, (v4(&server.endpoints[0]), 80)), None);
    });
}

#[test]
fn networks_come_and_go_while_others_work() {
    in_world(|world| {
        let fabric = open(&[default_bridge()]);
        let server = claim_on(&fabric, "server", &["0"]);
        let web = serve(&server.netns, 80);
        let _published = publish(&fabric, &server.endpoints[0], None, 8080);
        let automatic = NetworkSpec {
            ipv4: Some(SubnetSpec::default()),
            ipv6: Some(SubnetSpec::default()),
            driver: Driver::Bridge(BridgeSpec::default()),
            ..bridge("5b7f6e5d4c3b2a19", "0.0.0.0/0", None)
        };
        let facts = fabric.add_network(&automatic).unwrap();
        assert_eq!(facts.link, "br-5b7f6e5d4c3b");
        assert_eq!(facts.ipv4.unwrap().subnet.to_string(), "172.18.0.0/16");
        assert_eq!(facts.ipv4.unwrap().gateway, ip("172.18.0.1"));
        assert!(facts.ipv6.unwrap().subnet.to_string().starts_with("fd"));
        assert_eq!(facts.spec.ipv6.as_ref().unwrap().subnet.unwrap(), facts.ipv6.unwrap().subnet.into());
        let claim = claim_on(&fabric, "c", &["5b7f6e5d4c3b2a19"]);
        let servers = serve(&claim.netns, 80);
        assert_eq!(servers.all(None, v6(&claim.endpoints[0]), 80), open_for(facts.ipv6.unwrap().gateway));
        assert_eq!(web.tcp(Some(&world.near.netns), (HOST4, 8080)), Some(world.near.v4));

        let refused = |spec: &NetworkSpec| fabric.add_network(spec).unwrap_err().to_string();
        assert_eq!(
            refused(&bridge("7", "172.18.9.0/24", None)),
            "invalid pool request: Pool overlaps with other one on this address space"
        );
        assert_eq!(
            refused(&bridge("7", "192.0.2.0/28", None)),
            "invalid pool request: Pool overlaps with other one on this address space",
            "the host's own"
        );
        let mut wrong = bridge("7", "10.0.0.0/24", None);
        wrong.ipv4.as_mut().unwrap().gateway = Some(ip("10.0.1.1"));
        assert_eq!(refused(&wrong), "no matching subnet for gateway 10.0.1.1");
        let mut same = bridge("8", "10.0.0.0/24", None);
        spec_of(&mut same).link = "br0".into();
        assert_eq!(refused(&same), "network bridge br0 is used by network net-0 already");

        let endpoint = claim.endpoints[0].clone();
        drop((claim, servers));
        fabric.release(&endpoint);
        fabric.remove_network("5b7f6e5d4c3b2a19").unwrap();
        assert!(!link_names().contains(&facts.link));
        assert_eq!(fabric.add_network(&automatic).unwrap(), facts, "its name and subnet are free at once");
        fabric.remove().unwrap();
        until("all is gone", || !link_names().iter().any(|name| name.starts_with("br")));
    });
}

#[test]
fn a_host_that_did_not_route_ipv6_routes_it_for_containers_only() {
    in_world(|world| {
        // A link to somewhere else.
        let beyond = fresh_namespace();
        let mut route = Socket::open(Family::Route).unwrap();
        let mut batch = Batch::new();
        batch.add_bridge("lan", crate::Mac([2, 0, 0, 0, 0, 7]), 1500);
        route.apply(batch).unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/lan/accept_dad", "0").unwrap();
        let lan = route.read_link(Which::Name("lan")).unwrap().index;
        let mut batch = Batch::new();
        batch.add_veth(&VethPlan {
            host_name: "port",
            bridge: lan,
            peer_name: "eth0",
            mac: None,
            netns: beyond.as_fd(),
            mtu: 1500,
            group: 0,
        });
        batch.set_up(Which::Name("port"));
        batch.add_address(lan, net("2001:db8:1::1/64"));
        batch.set_up(Which::Index(lan));
        route.apply(batch).unwrap();
        inside(&beyond, || {
            let mut socket = Socket::open(Family::Route).unwrap();
            std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0").unwrap();
            let index = socket.read_link(Which::Name("eth0")).unwrap().index;
            let mut batch = Batch::new();
            batch.set_up(Which::Index(index));
            batch.add_address(index, net("2001:db8:1::2/64"));
            batch.add_default_route(index, ip("2001:db8:1::1"));
            socket.apply(batch).unwrap();
        });
        let servers = serve(&beyond, 80);
        until("the host reaches it", || servers.tcp(None, (ip("2001:db8:1::2"), 80)).is_some());
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let reached = || servers.tcp(Some(&world.near.netns), (ip("2001:db8:1::2"), 80)).is_some();
        assert!(!reached(), "not a router");
        let fabric = open(&[]);
        fabric.add_network(&bridge("1", "172.18.0.0/16", Some("fd00:18::/64"))).unwrap();
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding").unwrap(), "1\n");
        assert!(!reached(), "not a router for others");
        let claim = claim_on(&fabric, "c", &["1"]);
        assert!(servers.tcp(Some(&claim.netns), (ip("2001:db8:1::2"), 80)).is_some());
        drop(fabric);
        let (again, _) =
            Fabric::open(config(), &[bridge("1", "172.18.0.0/16", Some("fd00:18::/64"))], &[]).unwrap();
        assert!(!reached(), "the next daemon remembers");
        let narrow = NetworkSpec { mtu: 1200, ..bridge("2", "172.19.0.0/16", Some("fd00:19::/64")) };
        assert_eq!(
            again.add_network(&narrow).unwrap_err().to_string(),
            "network net-2 has IPv6, which needs an MTU of at least 1280, not 1200"
        );
    });
}

#[test]
fn reserved_addresses_and_ranges_are_kept() {
    in_world(|_world| {
        let mut spec = bridge("1", "10.4.0.0/16", None);
        let subnet = spec.ipv4.as_mut().unwrap();
        subnet.range = Some(net("10.4.5.0/30"));
        subnet.reserved = vec![ip("10.4.5.1")];
        let fabric = open(&[spec]);
        assert_eq!(fabric.facts("1").unwrap().ipv4.unwrap().gateway, ip("10.4.0.1"));
        let addresses =
            ["a", "b", "c"].map(|name| v4(&claim_on(&fabric, name, &["1"]).endpoints[0]).to_string());
        assert_eq!(addresses, ["10.4.5.0", "10.4.5.2", "10.4.5.3"]);
    });
}

#[test]
fn an_administrators_bridge_is_used_as_it_is_and_stays() {
    in_world(|world| {
        let mut spec = bridge("0", "0.0.0.0/0", None);
        spec.ipv4 = Some(SubnetSpec::default());
        *spec_of(&mut spec) = BridgeSpec { link: "mine".into(), admins: true, ..BridgeSpec::default() };
        let (fabric, warnings) = Fabric::open(config(), std::slice::from_ref(&spec), &[]).unwrap();
        assert!(warnings[0].contains("bridge mine does not exist"), "{warnings:?}");
        let wish = EndpointWish { network: "0".into(), ..EndpointWish::default() };
        let refused =
            fabric.claim(&ClaimRequest { container: "c", wishes: &[wish], dns: false }).unwrap_err();
        assert!(refused.to_string().starts_with("network net-0 cannot be used: bridge mine"), "{refused}");
        drop(fabric);

        let mut route = Socket::open(Family::Route).unwrap();
        let mut batch = Batch::new();
        batch.add_bridge("mine", crate::Mac([2, 0, 0, 0, 0, 5]), 1400);
        route.apply(batch).unwrap();
        let index = route.read_link(Which::Name("mine")).unwrap().index;
        let mut batch = Batch::new();
        batch.add_address(index, net("10.6.0.254/24"));
        route.apply(batch).unwrap();
        let fabric = open(&[spec]);
        let claim = claim_on(&fabric, "c", &["0"]);
        assert_eq!(claim.endpoints[0].address.unwrap().to_string(), "10.6.0.1/24");
        assert_eq!(claim.endpoints[0].gateway.unwrap().to_string(), "10.6.0.254");
        let web = serve(&claim.netns, 80);
        let _published = publish(&fabric, &claim.endpoints[0], None, 8080);
        assert_eq!(web.tcp(Some(&world.near.netns), (HOST4, 8080)), Some(world.near.v4));
        fabric.remove().unwrap();
        assert!(route.read_link(Which::Name("mine")).unwrap().is_up);
        assert!(route.read_addresses().unwrap().contains(&(index, net("10.6.0.254/24"))));
    });
}

#[test]
fn macvlan_containers_are_hosts_on_the_link_themselves() {
    in_world(|world| {
        let spec = |mode| NetworkSpec {
            driver: Driver::Macvlan(MacvlanSpec { parent: "eth0".into(), mode }),
            ipv4: Some(SubnetSpec {
                subnet: Some(net("192.0.2.0/24")),
                range: Some(net("192.0.2.128/25")),
                gateway: Some(ip("192.0.2.3")),
                ..SubnetSpec::default()
            }),
            ipv6: Some(SubnetSpec {
                subnet: Some(net("2001:db8::/64")),
                gateway: Some(ip("2001:db8::3")),
                range: Some(net("2001:db8::100/120")),
                ..SubnetSpec::default()
            }),
            ..bridge("1", "0.0.0.0/0", None)
        };
        let fabric = open(&[]);
        for (mode, among) in [(MacvlanMode::Bridge, true), (MacvlanMode::Private, false)] {
            fabric.add_network(&spec(mode)).unwrap();
            let (one, two) = (claim_on(&fabric, "one", &["1"]), claim_on(&fabric, "two", &["1"]));
            let servers = serve(&one.netns, 80);
            let target = &one.endpoints[0];
            assert_eq!(v4(target), ip("192.0.2.128"));
            assert_eq!(servers.all(Some(&world.near.netns), v4(target), 80), open_for(world.near.v4));
            assert_eq!(servers.all(Some(&world.far.netns), v6(target), 80), open_for(world.far.v6));
            let seen = servers.all(Some(&two.netns), v4(target), 80);
            assert_eq!(seen, if among { open_for(v4(&two.endpoints[0])) } else { CLOSED });
            let counted = fabric.read_statistics_inside(one.netns.as_fd(), target).unwrap();
            assert!(counted.rx_packets > 3, "{counted:?}");
            let plain = EndpointWish { network: "1".into(), ..EndpointWish::default() };
            let alone = crate::IsolatedNamespaces::open(0).unwrap().claim().unwrap();
            let plugged = fabric.plug(alone.as_fd(), "late", &plain, &[]).unwrap();
            assert!(servers.tcp(Some(&alone), (v4(target), 80)).is_some() == among);
            fabric.unplug(alone.as_fd(), &plugged, &[]).unwrap();
            assert_eq!(inside(&alone, link_names), ["lo"]);
            for endpoint in one.endpoints.iter().chain(&two.endpoints) {
                fabric.release(endpoint);
            }
            drop((one, two, servers));
            fabric.remove_network("1").unwrap();
        }
        let missing = NetworkSpec {
            driver: Driver::Macvlan(MacvlanSpec { parent: "nope0".into(), mode: MacvlanMode::Bridge }),
            ..spec(MacvlanMode::Bridge)
        };
        let refused = fabric.add_network(&missing).unwrap_err().to_string();
        assert!(refused.starts_with("macvlan parent interface nope0: "), "{refused}");
    });
}

/// Prints what publishing costs; run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn measure_publishing() {
    in_world(|_world| {
        let mut user = bridge("1", "172.18.0.0/16", None);
        user.mtu = 1500;
        let (fabric, _) = Fabric::open(
            FabricConfig { bare_ready: 4, ready: 4, ..config() },
            &[default_bridge(), user],
            &[],
        )
        .unwrap();
        for (name, network) in [("default network", "0"), ("user network", "1")] {
            let (mut claims, mut publishes, mut kept) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..300 {
                until("stocked", || fabric.ready() == (4, 4));
                let place = EndpointWish { network: network.into(), ..EndpointWish::default() };
                let start = Instant::now();
                let request = ClaimRequest { container: "c", wishes: &[place], dns: network == "1" };
                let claim = fabric.claim(&request).unwrap();
                claims.push(start.elapsed());
                let start = Instant::now();
                let any = wish(Protocol::Tcp, None, 0, 80);
                let published = fabric.publish(&claim.endpoints[0], &[any]).unwrap();
                publishes.push(start.elapsed());
                kept.push((claim, published));
            }
            let middle = |times: &[Duration]| {
                let mut sorted = times.to_vec();
                sorted.sort();
                (sorted[sorted.len() / 2], sorted[sorted.len() * 19 / 20])
            };
            println!("{name}: claim p50/p95 {:?}, publish {:?}", middle(&claims), middle(&publishes));
            println!("  first 30: claim {:?}, publish {:?}", middle(&claims[..30]), middle(&publishes[..30]));
            println!(
                "  last 30: claim {:?}, publish {:?}",
                middle(&claims[270..]),
                middle(&publishes[270..])
            );
            let start = Instant::now();
            for (claim, published) in kept {
                fabric.unpublish(&published.bindings).unwrap();
                fabric.release(&claim.endpoints[0]);
            }
            println!("  unpublish + release each: {:?}", start.elapsed() / 300);
        }
    });
}
