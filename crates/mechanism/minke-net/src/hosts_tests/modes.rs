//! Gateway modes: networks that are reached by their own addresses, and ones that their own host does not reach.

use super::*;
use crate::network::GatewayMode;

fn with_modes(id: &str, v4: &str, v6: &str, mode: GatewayMode) -> NetworkSpec {
    let mut spec = bridge(id, v4, Some(v6));
    let bridge = spec_of(&mut spec);
    (bridge.mode4, bridge.mode6) = (mode, mode);
    spec
}

#[test]
fn a_routed_network_is_reached_by_its_own_addresses_at_published_ports() {
    in_world(|world| {
        let fabric =
            open(&[default_bridge(), with_modes("1", "172.18.0.0/16", "fd00:18::/64", GatewayMode::Routed)]);
        let claim = claim_on(&fabric, "c", &["1"]);
        let endpoint = &claim.endpoints[0];
        let (open_servers, closed) = (serve(&claim.netns, 80), serve(&claim.netns, 81));
        let near = Some(&world.near.netns);
        assert_eq!(open_servers.tcp(near, (v4(endpoint), 80)), None, "nothing is published yet");
        let published = publish(&fabric, endpoint, None, 8080);
        // No port of the host's is taken, and none is held.
        assert_eq!(published.held.len(), 0);
        assert_eq!(published.bindings.len(), 4);
        assert!(published.bindings.iter().all(|binding| binding.host_port == 0 && binding.routed.is_some()));
        assert_eq!(open_servers.all(near, v4(endpoint), 80), open_for(world.near.v4));
        assert_eq!(open_servers.all(near, v6(endpoint), 80), open_for(world.near.v6));
        assert_eq!(open_servers.tcp(near, (HOST4, 8080)), None);
        assert_eq!(closed.all(near, v4(endpoint), 81), CLOSED);
        assert_eq!(closed.all(near, v6(endpoint), 81), CLOSED);
        // The host itself reaches everything, and other bridges what is published.
        assert_eq!(closed.tcp(None, (v4(endpoint), 81)), Some(ip("172.18.0.1")));
        let other = claim_on(&fabric, "other", &["0"]);
        assert!(open_servers.tcp(Some(&other.netns), (v4(endpoint), 80)).is_some());
        assert_eq!(closed.tcp(Some(&other.netns), (v4(endpoint), 81)), None);
        // What goes out keeps its address.
        let outside = serve(&world.far.netns, 90);
        assert_eq!(outside.all(Some(&claim.netns), world.far.v4, 90), open_for(v4(endpoint)));
        assert_eq!(outside.all(Some(&claim.netns), world.far.v6, 90), open_for(v6(endpoint)));

        // A second container with the same ports has them too, and keeps them when the first gives its up.
        let second = claim_on(&fabric, "d", &["1"]);
        let servers = serve(&second.netns, 80);
        let also = publish(&fabric, &second.endpoints[0], None, 8080);
        fabric.unpublish(&published.bindings).unwrap();
        assert_eq!(open_servers.all(near, v4(endpoint), 80), CLOSED);
        assert_eq!(servers.tcp(near, (v4(&second.endpoints[0]), 80)), Some(world.near.v4));

        // All of it is the same for the next engine.
        let live = LiveEndpoint {
            endpoint: second.endpoints[0].clone(),
            bindings: also.bindings.clone(),
            holes: vec![],
        };
        let specs = [default_bridge(), fabric.facts("1").unwrap().spec];
        drop(fabric);
        let (fabric, _) = Fabric::open(config(), &specs, &[live]).unwrap();
        assert_eq!(servers.all(near, v6(&second.endpoints[0]), 80), open_for(world.near.v6));
        fabric.unpublish(&also.bindings).unwrap();
        assert_eq!(servers.all(near, v6(&second.endpoints[0]), 80), CLOSED);
    });
}

#[test]
fn an_unprotected_network_is_open_at_every_port_and_its_published_ports_are_the_hosts_too() {
    in_world(|world| {
        let spec = with_modes("1", "172.18.0.0/16", "fd00:18::/64", GatewayMode::NatUnprotected);
        let fabric = open(&[default_bridge(), spec]);
        let claim = claim_on(&fabric, "c", &["1"]);
        let endpoint = &claim.endpoints[0];
        let servers = serve(&claim.netns, 80);
        let near = Some(&world.near.netns);
        assert_eq!(servers.all(near, v4(endpoint), 80), open_for(world.near.v4));
        assert_eq!(servers.all(near, v6(endpoint), 80), open_for(world.near.v6));
        let published = publish(&fabric, endpoint, None, 8080);
        assert!(!published.held.is_empty());
        assert_eq!(servers.all(near, HOST4, 8080), open_for(world.near.v4));
        // What goes out has the host's address.
        let outside = serve(&world.far.netns, 90);
        assert_eq!(outside.tcp(Some(&claim.netns), (world.far.v4, 90)), Some(HOST4.into()));
    });
}

#[test]
fn an_isolated_network_has_no_gateway_and_an_inhibited_one_has_somebody_elses() {
    in_world(|_world| {
        let mut isolated = with_modes("1", "172.18.0.0/16", "fd00:18::/64", GatewayMode::Isolated);
        isolated.internal = true;
        let mut inhibited = bridge("2", "172.19.0.0/16", None);
        spec_of(&mut inhibited).inhibit_ipv4 = true;
        let fabric = open(&[default_bridge(), isolated, inhibited]);
        let (one, two) = (claim_on(&fabric, "one", &["1"]), claim_on(&fabric, "two", &["1"]));
        // Nobody has the first address.
        assert_eq!(v4(&one.endpoints[0]), ip("172.18.0.1"));
        assert_eq!(one.endpoints[0].gateway, None);
        let servers = serve(&one.netns, 80);
        assert_eq!(servers.all(Some(&two.netns), v4(&one.endpoints[0]), 80), open_for(v4(&two.endpoints[0])));
        assert_eq!(servers.all(Some(&two.netns), v6(&one.endpoints[0]), 80), open_for(v6(&two.endpoints[0])));
        assert_eq!(servers.tcp(None, (v4(&one.endpoints[0]), 80)), None, "not even the host");

        let third = claim_on(&fabric, "third", &["2"]);
        assert_eq!(v4(&third.endpoints[0]), ip("172.19.0.2"));
        assert_eq!(third.endpoints[0].gateway, Some("172.19.0.1".parse().unwrap()));
        let mut socket = Socket::open(Family::Route).unwrap();
        let addresses = socket.read_addresses().unwrap();
        for link in ["br1", "br2"] {
            let index = socket.read_link(Which::Name(link)).unwrap().index;
            assert!(addresses.iter().all(|(of, _)| *of != index), "{link}: {addresses:?}");
        }
    });
}
