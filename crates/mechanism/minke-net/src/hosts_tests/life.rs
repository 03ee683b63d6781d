//! What comes and goes: endpoints of running containers, daemons, networks, ranges, links of others.

use super::*;

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
        // A part of the host's own subnet: whoever names it may have it.
        let hosts = fabric.add_network(&bridge("9", "192.0.2.128/28", None)).unwrap();
        assert_eq!(hosts.ipv4.unwrap().gateway, ip("192.0.2.129"));
        fabric.remove_network("9").unwrap();
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
fn a_link_goes_with_its_container_even_where_something_holds_its_namespace() {
    in_world(|_world| {
        let fabric = open(&[default_bridge()]);
        // As a connection does whose other end never answers again.
        let held = [claim_on(&fabric, "a", &["0"]), claim_on(&fabric, "b", &["0"])];
        let [first, second] = &held;
        fabric.release(&first.endpoints[0]);
        until("the link is dropped", || !link_names().contains(&first.endpoints[0].host_link));
        assert!(link_names().contains(&second.endpoints[0].host_link), "the other container lives");
        fabric.release(&second.endpoints[0]);
        drop(fabric);
        assert!(!link_names().contains(&second.endpoints[0].host_link), "an engine that ends does not wait");
    });
}
