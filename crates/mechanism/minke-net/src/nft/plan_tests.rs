//! The engine's rules as golden files.

use std::net::SocketAddr;

use super::*;

fn network(bridge: &str, subnets: &[&str]) -> NetworkRules {
    NetworkRules {
        bridge: bridge.into(),
        subnets: subnets.iter().map(|subnet| subnet.parse().unwrap()).collect(),
        masquerade: true,
        icc: true,
        internal: false,
        modes: [GatewayMode::Nat; 2],
    }
}

fn text(rules: &Rules) -> String {
    rules.plan().iter().map(ToString::to_string).collect()
}

fn rules(networks: Vec<NetworkRules>) -> Rules {
    Rules { table: table_name("minke0"), networks, ..Rules::default() }
}

fn port(protocol: Protocol, host: &str, container: &str) -> (Binding, SocketAddr) {
    let (host, target): (SocketAddr, SocketAddr) = (host.parse().unwrap(), container.parse().unwrap());
    let binding = Binding {
        protocol,
        container_port: target.port(),
        host_ip: host.ip(),
        host_port: host.port(),
        routed: None,
    };
    (binding, target)
}

#[test]
fn the_default_bridge_alone() {
    insta::assert_snapshot!(text(&rules(vec![network("minke0", &["172.17.0.0/16"])])));
}

#[test]
fn a_users_network_with_both_versions_beside_the_default_one() {
    let user = network("br-0123456789ab", &["172.18.0.0/16", "fd12:3456:789a::/64"]);
    insta::assert_snapshot!(text(&rules(vec![network("minke0", &["172.17.0.0/16"]), user])));
}

#[test]
fn an_internal_network() {
    let internal = NetworkRules { internal: true, ..network("br-1", &["10.5.0.0/24", "fd00:5::/64"]) };
    insta::assert_snapshot!(text(&rules(vec![internal])));
}

#[test]
fn a_network_without_icc_and_with_links() {
    let quiet = NetworkRules { icc: false, ..network("minke0", &["172.17.0.0/16"]) };
    let hole = |from: &str, to: &str, protocol, port| Hole {
        network: "n".into(),
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        protocol,
        port,
    };
    let holes = BTreeSet::from([
        hole("172.17.0.3", "172.17.0.2", Protocol::Tcp, 3306),
        hole("172.17.0.3", "172.17.0.2", Protocol::Udp, 4444),
        hole("fd00::3", "fd00::2", Protocol::Tcp, 3306),
    ]);
    insta::assert_snapshot!(text(&Rules { holes, ..rules(vec![quiet]) }));
}

#[test]
fn ports_of_all_kinds() {
    let ports = [
        port(Protocol::Tcp, "0.0.0.0:8080", "172.17.0.2:80"),
        port(Protocol::Tcp, "[::]:8080", "[fd00::2]:80"),
        // No address of IPv6 behind it: a proxy's work.
        port(Protocol::Tcp, "[::]:8081", "172.17.0.3:80"),
        port(Protocol::Udp, "0.0.0.0:53", "172.17.0.2:5353"),
        port(Protocol::Sctp, "0.0.0.0:9899", "172.17.0.2:9899"),
        port(Protocol::Tcp, "192.0.2.2:443", "172.17.0.2:443"),
        port(Protocol::Tcp, "[2001:db8::2]:443", "[fd00::2]:443"),
    ];
    let bridge = network("minke0", &["172.17.0.0/16", "fd00::/64"]);
    insta::assert_snapshot!(text(&Rules { ports: ports.into(), ..rules(vec![bridge]) }));
}

#[test]
fn ports_bound_to_loopback_addresses() {
    let ports = [
        port(Protocol::Tcp, "127.0.0.1:8080", "172.17.0.2:80"),
        // The kernel sends nothing from ::1 out of a link: a proxy's work.
        port(Protocol::Tcp, "[::1]:8080", "[fd00::2]:80"),
    ];
    let bridge = network("minke0", &["172.17.0.0/16", "fd00::/64"]);
    insta::assert_snapshot!(text(&Rules { ports: ports.into(), ..rules(vec![bridge]) }));
}

#[test]
fn a_bridge_without_masquerading_on_a_host_that_did_not_route() {
    let plain = NetworkRules { masquerade: false, ..network("mk0", &["10.9.0.0/24"]) };
    insta::assert_snapshot!(text(&Rules { guard: true, ..rules(vec![plain]) }));
}

#[test]
fn networks_that_are_routed_and_unprotected() {
    let modes = [GatewayMode::Routed, GatewayMode::NatUnprotected];
    let routed = NetworkRules { modes, ..network("br-r", &["10.7.0.0/24", "fd00:7::/64"]) };
    let (mut binding, target) = port(Protocol::Tcp, "0.0.0.0:0", "10.7.0.2:80");
    binding.routed = Some(target.ip());
    let six = port(Protocol::Tcp, "[::]:8080", "[fd00:7::2]:80");
    insta::assert_snapshot!(text(&Rules { ports: [(binding, target), six].into(), ..rules(vec![routed]) }));
}

#[test]
fn the_way_to_the_resolver_inside_a_namespace() {
    insta::assert_snapshot!(plan_resolver_passage(40001, 40002).to_string());
}

#[test]
fn passage_through_anothers_chain_is_two_marked_rules() {
    let text: Vec<_> = plan_passage("minke0", "minke: minke0").iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            r#"iifname "minke0" counter accept comment "minke: minke0""#,
            r#"oifname "minke0" counter accept comment "minke: minke0""#
        ]
    );
}

#[test]
fn each_engine_has_a_table_and_a_group_of_its_own() {
    assert_eq!(table_name("minke0"), "minke");
    assert_eq!(table_name("minke01"), "minke-minke01");
    assert_eq!(table_name("t4"), "minke-t4");
    for bridge in ["minke0", "minke01", "t4"] {
        assert_eq!(bridge_of_table(&table_name(bridge)), Some(bridge));
    }
    assert_eq!(bridge_of_table("minkey"), None);
    assert_ne!(group_of_table("minke"), group_of_table("minke-t4"));
}
