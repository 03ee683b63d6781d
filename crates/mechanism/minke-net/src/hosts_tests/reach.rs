//! Who reaches what: published ports, closed ones, networks kept apart.

use super::*;

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
