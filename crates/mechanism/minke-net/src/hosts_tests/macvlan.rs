//! Containers that are hosts on a link of the host's, in each mode, on VLANs, and on a link that leads nowhere.

use super::*;

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
        assert_eq!(refused, "invalid subinterface vlan name nope0, example formatting is eth0.10");
    });
}

fn macvlan(id: &str, parent: &str, mode: MacvlanMode) -> NetworkSpec {
    NetworkSpec {
        driver: Driver::Macvlan(MacvlanSpec { parent: parent.into(), mode }),
        ipv4: Some(SubnetSpec { subnet: Some(net("10.31.0.0/24")), ..SubnetSpec::default() }),
        ..bridge(id, "0.0.0.0/0", None)
    }
}

#[test]
fn vepa_leaves_neighbours_to_the_switch_and_passthru_has_room_for_one() {
    in_world(|_world| {
        let fabric = open(&[]);
        fabric.add_network(&macvlan("1", "eth0", MacvlanMode::Vepa)).unwrap();
        let (one, two) = (claim_on(&fabric, "one", &["1"]), claim_on(&fabric, "two", &["1"]));
        let servers = serve(&one.netns, 80);
        // The switch of this link does not send frames back where they came from.
        assert_eq!(servers.tcp(Some(&two.netns), (v4(&one.endpoints[0]), 80)), None);
        for endpoint in one.endpoints.iter().chain(&two.endpoints) {
            fabric.release(endpoint);
        }
        drop((one, two, servers));
        fabric.remove_network("1").unwrap();

        fabric.add_network(&macvlan("2", "eth0", MacvlanMode::Passthru)).unwrap();
        let passthru = || {
            let wish = EndpointWish { network: "2".into(), ..EndpointWish::default() };
            fabric.claim(&ClaimRequest { container: "c", wishes: &[wish], dns: false })
        };
        // The links of before go in the background.
        let mut alone = None;
        until("the link is free", || {
            alone = passthru().ok();
            alone.is_some()
        });
        assert!(passthru().is_err(), "a second one");
        drop(alone);
    });
}

#[test]
fn a_network_without_a_parent_leads_nowhere_and_its_containers_talk() {
    in_world(|world| {
        let before = link_names();
        let spec = macvlan("0123456789abcdef", "", MacvlanMode::Bridge);
        let fabric = open(&[]);
        let facts = fabric.add_network(&spec).unwrap();
        assert_eq!(facts.link, "dm-0123456789ab");
        let claimed = claim_on(&fabric, "one", &["0123456789abcdef"]);
        assert_eq!(claimed.endpoints[0].gateway, None);
        drop(fabric);
        // The next engine finds the link to be the network's.
        let (fabric, warnings) = Fabric::open(
            config(),
            std::slice::from_ref(&facts.spec),
            &[LiveEndpoint { endpoint: claimed.endpoints[0].clone(), bindings: vec![], holes: vec![] }],
        )
        .unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        let other = claim_on(&fabric, "two", &["0123456789abcdef"]);
        let servers = serve(&claimed.netns, 80);
        let target = v4(&claimed.endpoints[0]);
        until("they talk", || servers.tcp(Some(&other.netns), (target, 80)) == Some(v4(&other.endpoints[0])));
        assert_eq!(servers.tcp(Some(&world.near.netns), (target, 80)), None);
        assert_eq!(servers.tcp(None, (target, 80)), None);
        drop((claimed, other, servers));
        fabric.remove_network("0123456789abcdef").unwrap();
        until("its link is gone", || link_names() == before);

        // One whose network nobody knows any more goes at the next start.
        fabric.add_network(&spec).unwrap();
        drop(fabric);
        let fabric = open(&[]);
        until("nobody's link is gone", || link_names() == before);
        drop(fabric);
    });
}

#[test]
fn a_vlan_of_the_parent_is_made_and_goes_with_the_network() {
    in_world(|_world| {
        let before = link_names();
        let fabric = open(&[]);
        let refused = |parent: &str| {
            fabric.add_network(&macvlan("1", parent, MacvlanMode::Bridge)).unwrap_err().to_string()
        };
        assert_eq!(refused("nope0.10"), "-o parent interface was not found on the host: nope0");
        assert_eq!(refused("eth0.x"), "invalid subinterface vlan name eth0.x, example formatting is eth0.10");
        assert_eq!(refused("eth0.4095"), "vlan id must be between 1 and 4094, received: 4095");
        match fabric.add_network(&macvlan("1", "eth0.10", MacvlanMode::Bridge)) {
            Ok(_) => {
                assert!(link_names().contains(&"eth0.10".to_owned()));
                drop(claim_on(&fabric, "one", &["1"]));
                fabric.remove_network("1").unwrap();
            }
            Err(error) => {
                println!("this kernel has no VLANs: {error}");
                let sentence = "failed to create eth0.10 vlan link: operation not supported: this kernel has no VLANs (8021q)";
                assert_eq!(error.to_string(), sentence);
            }
        }
        until("nothing is left", || link_names() == before);
    });
}
