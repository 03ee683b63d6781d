//! Tests against the kernel, each on a thread of its own in a fresh network namespace: nothing of the host's is touched, and all of
//! it is gone with the thread. They need root, and say so instead of passing without it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::address::Ipv4Net;
use crate::fabric::FabricError;
use crate::isolated::IsolatedNamespaces;
use crate::links::Which;
use crate::netlink::{Batch, Family, Socket};
use crate::nft::apply::{apply_tables, read_chains, read_rules};
use crate::nft::plan::{NetworkRules, Rules};
use crate::nft::rule::{Expression, Rule, Side, Verdict};
use crate::nft::table::{BaseChain, Chain, Family as Kind, Hook, Table};
use crate::one_bridge::{Bridge, BridgeClaim as Claim, BridgeClaimRequest as ClaimRequest, BridgeConfig};

/// Runs `test` on a thread of its own in a fresh namespace with `lo` up.
pub(crate) fn in_fresh_host<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            minke_sys::network::unshare_network().expect("these tests need root");
            let mut socket = Socket::open(Family::Route).unwrap();
            let mut batch = Batch::new();
            batch.set_up(Which::Index(1));
            socket.apply(batch).unwrap();
            test()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `work` on a thread that stands in `netns`.
pub(crate) fn inside<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn config(ready: usize) -> BridgeConfig {
    BridgeConfig { name: "mk0".into(), ready, ..BridgeConfig::default() }
}

fn open(config: BridgeConfig) -> Bridge {
    let (bridge, warnings) = Bridge::open(config, &[]).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    bridge
}

fn claim(bridge: &Bridge, container: &str) -> Claim {
    bridge.claim(&ClaimRequest { container, ..ClaimRequest::default() }).unwrap()
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn link_names() -> Vec<String> {
    let mut names: Vec<_> = Socket::open(Family::Route)
        .unwrap()
        .read_links()
        .unwrap()
        .into_iter()
        .map(|link| link.name)
        .collect();
    names.sort();
    names
}

/// Whether a connection from `from` to a listener inside `to` carries a byte.
fn talks(from: Option<&OwnedFd>, to: &OwnedFd, address: Ipv4Addr) -> bool {
    let listener = inside(to, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let target = SocketAddr::from((address, listener.local_addr().unwrap().port()));
    // Below a second, in which a lost question for a hardware address would be repeated: the first one must arrive.
    let dial = || TcpStream::connect_timeout(&target, Duration::from_millis(900));
    let dialled = match from {
        Some(netns) => inside(netns, dial),
        None => dial(),
    };
    let Ok(mut stream) = dialled else { return false };
    let (mut served, _) = listener.accept().unwrap();
    served.write_all(b"x").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).is_ok() && byte == *b"x"
}

#[test]
fn a_claimed_namespace_has_its_address_route_and_sysctls() {
    in_fresh_host(|| {
        let bridge = open(config(1));
        until("one is ready", || bridge.ready() == 1);
        let claim = claim(&bridge, "c1");
        assert_eq!(claim.endpoint.address.unwrap().to_string(), "172.17.0.2/16");
        assert_eq!(claim.endpoint.mac.to_string(), "02:42:ac:11:00:02");
        inside(&claim.netns, || {
            let mut socket = Socket::open(Family::Route).unwrap();
            let eth0 = socket.read_link(Which::Name("eth0")).unwrap();
            assert!(eth0.is_up && socket.read_link(Which::Index(1)).unwrap().is_up);
            assert_eq!((eth0.index, eth0.mtu), (2, 1500));
            let addresses = socket.read_addresses().unwrap();
            assert!(addresses.contains(&(2, claim.endpoint.address.unwrap().into())), "{addresses:?}");
            let read = |key: &str| std::fs::read_to_string(format!("/proc/sys/net/{key}")).unwrap();
            assert_eq!(read("ipv4/ip_unprivileged_port_start"), "0\n");
            assert_eq!(read("ipv4/ping_group_range"), "0\t2147483647\n");
            assert_eq!(read("ipv6/conf/eth0/disable_ipv6"), "1\n");
            let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
            assert!(routes.contains("eth0\t00000000\t010011AC"), "{routes}");
        });
        assert!(talks(None, &claim.netns, Ipv4Addr::new(172, 17, 0, 2)));
        let seen = bridge.fabric().read_statistics(&claim.endpoint).unwrap();
        assert!(seen.rx_packets >= 3 && seen.tx_bytes > 100, "{seen:?}");
    });
}

#[test]
fn an_empty_stock_makes_a_namespace_on_the_spot() {
    in_fresh_host(|| {
        let bridge = open(config(0));
        let first = claim(&bridge, "c1");
        let second = claim(&bridge, "c2");
        assert!(talks(Some(&first.netns), &second.netns, second.endpoint.address.unwrap().address()));
    });
}

#[test]
fn an_address_is_free_again_when_the_kernel_has_let_the_link_go() {
    in_fresh_host(|| {
        let bridge = open(config(0));
        let first = claim(&bridge, "c1");
        bridge.release(&first.endpoint);
        // The namespace lives: its address still answers, so the next container gets another.
        assert_eq!(claim(&bridge, "c2").endpoint.address.unwrap().address(), Ipv4Addr::new(172, 17, 0, 3));
        drop(first.netns);
        until("the link is gone", || !link_names().contains(&first.endpoint.host_link));
        until("the lowest address comes back", || {
            let next = claim(&bridge, "c3");
            next.endpoint.address.unwrap().address() == Ipv4Addr::new(172, 17, 0, 2)
        });
    });
}

#[test]
fn a_used_up_subnet_says_so_in_dockers_words_and_recovers() {
    in_fresh_host(|| {
        let bridge = open(BridgeConfig { bip: Some("10.77.0.1/30".parse().unwrap()), ..config(0) });
        let only = claim(&bridge, "c1");
        let refused = bridge.claim(&ClaimRequest { container: "c2", ..ClaimRequest::default() }).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "no available IPv4 addresses on this network's address pools: bridge ()"
        );
        bridge.release(&only.endpoint);
        drop(only.netns);
        assert_eq!(claim(&bridge, "c3").endpoint.address.unwrap(), only.endpoint.address.unwrap());
    });
}

#[test]
fn fixed_addresses_are_kept_and_conflicts_refused() {
    in_fresh_host(|| {
        let bridge = open(config(1));
        let address = Some(Ipv4Addr::new(172, 17, 9, 9));
        let mac = Some("02:00:00:00:00:99".parse().unwrap());
        let fixed = bridge.claim(&ClaimRequest { container: "c1", address, mac }).unwrap();
        assert_eq!(fixed.endpoint.mac.to_string(), "02:00:00:00:00:99");
        let again = bridge.claim(&ClaimRequest { container: "c2", address, mac: None });
        assert!(matches!(again, Err(FabricError::AddressInUse { .. })), "{again:?}");
        let address = Some(Ipv4Addr::new(10, 0, 0, 1));
        let outside = bridge.claim(&ClaimRequest { container: "c2", address, mac: None });
        assert!(matches!(outside, Err(FabricError::AddressOutside { .. })), "{outside:?}");
    });
}

#[test]
fn without_icc_containers_reach_the_host_but_not_each_other() {
    in_fresh_host(|| {
        let bridge = open(BridgeConfig { icc: false, ..config(0) });
        let first = claim(&bridge, "c1");
        let second = claim(&bridge, "c2");
        assert!(talks(None, &second.netns, second.endpoint.address.unwrap().address()));
        assert!(!talks(Some(&first.netns), &second.netns, second.endpoint.address.unwrap().address()));
    });
}

#[test]
fn a_second_start_finds_everything_and_keeps_what_is_live() {
    in_fresh_host(|| {
        let first = open(config(2));
        let live = claim(&first, "live");
        let unowned = claim(&first, "unowned");
        let subnet = first.facts().subnet;
        drop(first);
        until("the ready namespaces are gone", || link_names().len() == 4);

        let endpoints = [live.endpoint.clone()];
        let (second, warnings) = Bridge::open(config(1), &endpoints).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(second.facts().subnet, subnet);
        assert!(talks(None, &live.netns, live.endpoint.address.unwrap().address()));
        until("the link nobody owns is dropped", || !link_names().contains(&unowned.endpoint.host_link));
        assert!(link_names().contains(&live.endpoint.host_link));
        assert_eq!(claim(&second, "new").endpoint.address.unwrap().address(), Ipv4Addr::new(172, 17, 0, 3));
    });
}

#[test]
fn a_bridge_deleted_under_running_containers_is_made_again_with_them_on_it() {
    in_fresh_host(|| {
        let first = open(config(0));
        let live = claim(&first, "live");
        first.remove().unwrap();
        assert!(!talks(None, &live.netns, live.endpoint.address.unwrap().address()));
        let (_second, warnings) = Bridge::open(config(0), std::slice::from_ref(&live.endpoint)).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        until("it talks again", || talks(None, &live.netns, live.endpoint.address.unwrap().address()));
    });
}

#[test]
fn a_live_endpoint_without_its_interface_is_reported() {
    in_fresh_host(|| {
        let first = open(config(0));
        let gone = claim(&first, "c0ffee").endpoint;
        until("the link is gone", || !link_names().contains(&gone.host_link));
        let (second, _warnings) = Bridge::open(config(0), std::slice::from_ref(&gone)).unwrap();
        assert_eq!(second.lost(), [gone]);
    });
}

#[test]
fn two_engines_side_by_side_choose_different_subnets_and_tables_and_leave_nothing() {
    in_fresh_host(|| {
        let one = open(BridgeConfig { name: "mka".into(), ..config(1) });
        let two = open(BridgeConfig { name: "mkb".into(), ..config(1) });
        assert_eq!(one.facts().subnet.to_string(), "172.17.0.0/16");
        assert_eq!(two.facts().subnet.to_string(), "172.18.0.0/16");
        let (here, there) = (claim(&one, "here"), claim(&two, "there"));
        assert!(
            !talks(Some(&here.netns), &there.netns, there.endpoint.address.unwrap().address()),
            "bridges are isolated"
        );

        let mut filter = Socket::open(Family::Netfilter).unwrap();
        let tables = |filter: &mut Socket| {
            let mut tables: Vec<_> =
                read_chains(filter).unwrap().into_iter().map(|chain| chain.table).collect();
            tables.dedup();
            tables
        };
        assert_eq!(tables(&mut filter), ["minke-mka", "minke-mkb"]);
        one.remove().unwrap();
        assert_eq!(tables(&mut filter), ["minke-mkb"]);
        two.remove().unwrap();
        drop((here, there));
        until("no link is left", || link_names() == ["lo"]);
        assert_eq!(tables(&mut filter), Vec::<String>::new());
    });
}

#[test]
fn a_link_that_is_no_bridge_is_refused_by_name() {
    in_fresh_host(|| {
        let refused = Bridge::open(BridgeConfig { name: "lo".into(), ..config(0) }, &[]).unwrap_err();
        assert!(
            refused.to_string().ends_with("interface lo exists and is not a bridge but a device"),
            "{refused}"
        );
    });
}

#[test]
fn bip_moves_an_existing_bridge() {
    in_fresh_host(|| {
        drop(open(config(0)));
        let bip: Ipv4Net = "10.5.0.1/24".parse().unwrap();
        let bridge = open(BridgeConfig { bip: Some(bip), ..config(0) });
        assert_eq!(claim(&bridge, "c").endpoint.address.unwrap().to_string(), "10.5.0.2/24");
        let index = Socket::open(Family::Route).unwrap().read_link(Which::Name("mk0")).unwrap().index;
        let mut addresses = Socket::open(Family::Route).unwrap().read_addresses().unwrap();
        addresses.retain(|(of, _)| *of == index);
        assert_eq!(addresses, [(index, bip.into())]);
    });
}

#[test]
fn the_administrators_chain_and_other_tables_survive_a_restart() {
    in_fresh_host(|| {
        let mut filter = Socket::open(Family::Netfilter).unwrap();
        let chains = vec![Chain::plain("c", [Rule::new([Expression::Counter])])];
        let other = Table { family: Kind::Inet, name: "theirs".into(), sets: vec![], chains };
        apply_tables(&mut filter, &[other]).unwrap();
        drop(open(config(0)));
        let mut theirs = crate::nft::apply::Transaction::new();
        theirs.append_rule(1, "minke-mk0", "admin", &Rule::new([Expression::Counter]));
        theirs.commit(&mut filter).unwrap();
        drop(open(config(0)));
        assert_eq!(read_rules(&mut filter, 1, "minke-mk0", "admin").unwrap().len(), 1);
        assert_eq!(read_rules(&mut filter, 1, "theirs", "c").unwrap().len(), 1);
        assert_eq!(read_rules(&mut filter, 1, "minke-mk0", "forward").unwrap().len(), 5);
        assert_eq!(read_rules(&mut filter, 1, "minke-mk0", "to-mk0").unwrap().len(), 4);
    });
}

#[test]
fn chains_of_a_bridge_that_is_gone_are_cleaned_away() {
    in_fresh_host(|| {
        let mut filter = Socket::open(Family::Netfilter).unwrap();
        let network = |bridge: &&str| NetworkRules {
            bridge: (*bridge).into(),
            subnets: vec!["10.1.0.0/16".parse().unwrap()],
            masquerade: true,
            icc: true,
            internal: false,
            modes: Default::default(),
        };
        let plan = |bridges: &[&str]| {
            let networks = bridges.iter().map(network).collect();
            Rules { table: "minke-t".into(), networks, ..Rules::default() }.plan()
        };
        apply_tables(&mut filter, &plan(&["a", "b"])).unwrap();
        apply_tables(&mut filter, &plan(&["b"])).unwrap();
        let names: Vec<_> = read_chains(&mut filter).unwrap().into_iter().map(|chain| chain.name).collect();
        assert_eq!(
            names,
            [
                "admin",
                "raw",
                "prerouting",
                "output",
                "ports",
                "forward",
                "guard6",
                "postrouting",
                "to-b",
                "from-b"
            ]
        );
    });
}

/// Another manager's FORWARD chain that drops by policy, as Docker makes it, and one that is not iptables'.
fn hostile_forward(filter: &mut Socket, table: &str, chain: &str, family: u8) {
    // The planner speaks inet only; a chain of the plain family is made by hand.
    let mut batch = Batch::new();
    batch.push("begin", 0x10, 0, |m| m.fixed(&[0, 0, 0, 10]));
    batch.push("table", 10 << 8, 0x400, |m| {
        m.fixed(&[family, 0, 0, 0]);
        m.text(1, table);
    });
    batch.push("chain", 10 << 8 | 3, 0x400, |m| {
        m.fixed(&[family, 0, 0, 0]);
        m.text(1, table);
        m.text(3, chain);
        m.nest(4, |m| {
            m.be32(1, 2);
            m.be32(2, 0);
        });
        m.be32(5, 0);
        m.text(7, "filter");
    });
    batch.push("end", 0x11, 0, |m| m.fixed(&[0, 0, 0, 10]));
    batch.is_transaction = true;
    filter.apply(batch).unwrap();
}

#[test]
fn traffic_passes_an_iptables_forward_chain_whose_policy_is_drop() {
    in_fresh_host(|| {
        let mut filter = Socket::open(Family::Netfilter).unwrap();
        hostile_forward(&mut filter, "filter", "FORWARD", 2);
        let bridge = open(config(0));
        // A second bridge without rules of its own plays the outside world.
        let world = open(BridgeConfig { name: "world".into(), firewall: false, ..config(0) });
        let (here, there) = (claim(&bridge, "here"), claim(&world, "there"));
        assert!(talks(Some(&here.netns), &there.netns, there.endpoint.address.unwrap().address()));
        assert!(
            !talks(Some(&there.netns), &here.netns, here.endpoint.address.unwrap().address()),
            "unpublished ports stay closed to the outside"
        );
        drop(open(config(0)));
        assert_eq!(
            read_rules(&mut filter, 2, "filter", "FORWARD").unwrap().len(),
            2,
            "no rule is added twice"
        );
        bridge.remove().unwrap();
        assert_eq!(read_rules(&mut filter, 2, "filter", "FORWARD").unwrap().len(), 0);
    });
}

#[test]
fn masquerading_hides_the_container_behind_the_host() {
    in_fresh_host(|| {
        let bridge = open(config(0));
        let world = open(BridgeConfig { name: "world".into(), firewall: false, ..config(0) });
        let (here, there) = (claim(&bridge, "here"), claim(&world, "there"));
        let listener = inside(&there.netns, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        let target = (there.endpoint.address.unwrap().address(), listener.local_addr().unwrap().port());
        let _stream = inside(&here.netns, || TcpStream::connect(target).unwrap());
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), world.facts().address);
    });
}

#[test]
fn rules_that_somebody_removes_or_blocks_while_the_engine_runs_come_back() {
    in_fresh_host(|| {
        let mut filter = Socket::open(Family::Netfilter).unwrap();
        let bridge = open(config(0));
        hostile_forward(&mut filter, "filter", "FORWARD", 2);
        let passage = |filter: &mut Socket| read_rules(filter, 2, "filter", "FORWARD").unwrap().len();
        until("the passage is opened", || passage(&mut filter) == 2);
        crate::nft::apply::remove_table(&mut filter, Kind::Inet, "minke-mk0").unwrap();
        let rules =
            |filter: &mut Socket| read_rules(filter, 1, "minke-mk0", "to-mk0").map_or(0, |rules| rules.len());
        until("the table is back", || rules(&mut filter) == 4);
        bridge.remove().unwrap();
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(
            (passage(&mut filter), rules(&mut filter)),
            (0, 0),
            "a bridge that was removed stays removed"
        );
    });
}

#[test]
fn the_rules_of_an_engine_whose_bridge_is_gone_are_swept_by_the_next() {
    in_fresh_host(|| {
        let mut filter = Socket::open(Family::Netfilter).unwrap();
        hostile_forward(&mut filter, "filter", "FORWARD", 2);
        drop(open(BridgeConfig { name: "gone".into(), ..config(0) }));
        drop(open(BridgeConfig { name: "stays".into(), ..config(0) }));
        let mut route = Socket::open(Family::Route).unwrap();
        let mut batch = Batch::new();
        batch.delete_link(route.read_link(Which::Name("gone")).unwrap().index);
        route.apply(batch).unwrap();
        drop(open(config(0)));
        let chains = read_chains(&mut filter).unwrap();
        let tables: Vec<_> = chains.iter().filter(|c| c.name == "admin").map(|c| c.table.as_str()).collect();
        assert_eq!(tables, ["minke-stays", "minke-mk0"]);
        assert_eq!(read_rules(&mut filter, 2, "filter", "FORWARD").unwrap().len(), 4);
    });
}

#[test]
fn a_foreign_chain_that_drops_is_reported() {
    in_fresh_host(|| {
        let mut filter = Socket::open(Family::Netfilter).unwrap();
        hostile_forward(&mut filter, "fortress", "gate", 1);
        let (_bridge, warnings) = Bridge::open(config(0), &[]).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("\"fortress gate\" drops forwarded packets"), "{warnings:?}");
    });
}

#[test]
fn forwarding_is_switched_on_and_guarded_until_the_table_goes() {
    in_fresh_host(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let guard =
            |filter: &mut Socket| read_chains(filter).unwrap().iter().any(|c| c.name == "forward" && c.drops);
        let mut filter = Socket::open(Family::Netfilter).unwrap();
        drop(open(config(0)));
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "1\n");
        assert!(guard(&mut filter));
        let again = open(config(0));
        assert!(guard(&mut filter), "the second start remembers");
        again.remove().unwrap();
        drop(open(config(0)));
        assert!(!guard(&mut filter), "a host that routes already is not guarded");
    });
}

#[test]
fn a_refused_transaction_changes_nothing_and_names_the_rule() {
    in_fresh_host(|| {
        let mut filter = Socket::open(Family::Netfilter).unwrap();
        let jump = Rule::new([Expression::Verdict(Verdict::Jump("nowhere".into()))]);
        let fine = Rule::new([Expression::VerdictOf { side: Side::Input, map: "missing".into() }]);
        for (rule, named) in [(jump, "jump nowhere"), (fine, "vmap @missing")] {
            let base = Some(BaseChain { hook: Hook::Forward, drops: true });
            let chains = vec![Chain { name: "c".into(), base, rules: vec![rule] }];
            let refused = apply_tables(
                &mut filter,
                &[Table { family: Kind::Inet, name: "t".into(), sets: vec![], chains }],
            )
            .unwrap_err();
            assert!(refused.to_string().contains(named), "{refused}");
            assert_eq!(read_chains(&mut filter).unwrap(), []);
        }
    });
}

#[test]
fn a_refusal_of_rtnetlink_comes_with_the_kernels_words() {
    in_fresh_host(|| {
        let mut socket = Socket::open(Family::Route).unwrap();
        let mut batch = Batch::new();
        batch.add_default_route(1, Ipv4Addr::new(10, 0, 0, 1).into());
        let refused = socket.apply(batch).unwrap_err().to_string();
        assert!(refused.starts_with("add default route via 10.0.0.1: Network is unreachable"), "{refused}");
        assert!(refused.contains("Nexthop has invalid gateway"), "{refused}");
        let missing = socket.read_link(Which::Name("nope")).unwrap_err().to_string();
        assert!(missing.starts_with("read interface nope: No such device"), "{missing}");
    });
}

#[test]
fn an_isolated_namespace_has_only_lo_and_nowhere_to_go() {
    in_fresh_host(|| {
        let namespaces = IsolatedNamespaces::open(1).unwrap();
        for _ in 0..3 {
            let netns = namespaces.claim().unwrap();
            inside(&netns, || {
                assert_eq!(link_names(), ["lo"]);
                let nowhere = TcpStream::connect("192.0.2.1:9").unwrap_err();
                assert_eq!(nowhere.kind(), ErrorKind::NetworkUnreachable);
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            });
        }
    });
}

#[test]
fn many_claims_at_once_get_different_addresses() {
    in_fresh_host(|| {
        let bridge = open(config(4));
        let mut all = std::thread::scope(|scope| {
            let claims = |from: u32| {
                let bridge = &bridge;
                move || (from..from + 6).map(|n| claim(bridge, &format!("c{n}"))).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(claims(n * 6))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        all.sort_by_key(|claim| claim.endpoint.address.unwrap());
        all.dedup_by_key(|claim| claim.endpoint.address.unwrap());
        assert_eq!(all.len(), 24);
        let (first, last) = (&all[0], &all[23]);
        assert!(talks(Some(&first.netns), &last.netns, last.endpoint.address.unwrap().address()));
    });
}

/// Prints what FLOOR-like figures this machine gives; run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn measure_claims() {
    in_fresh_host(|| {
        let measure = |name: &str, ready: usize, pause: Duration| {
            let bridge = open(config(ready));
            let mut times = Vec::new();
            for n in 0..200 {
                until("stocked", || bridge.ready() == ready);
                std::thread::sleep(pause);
                let start = Instant::now();
                let claim = claim(&bridge, &format!("c{n}"));
                times.push(start.elapsed());
                bridge.release(&claim.endpoint);
            }
            times.sort();
            println!("{name}: p50 {:?} p95 {:?} max {:?}", times[100], times[190], times[199]);
        };
        for name in ["first", "second", "third"] {
            let start = Instant::now();
            let bridge = open(config(0));
            println!("open, {name} time: {:?}", start.elapsed());
            drop(bridge);
        }
        measure("claim from stock, idle 60 ms", 4, Duration::from_millis(60));
        measure("claim from stock", 4, Duration::ZERO);
        measure("claim made inline, idle 60 ms", 0, Duration::from_millis(60));
        measure("claim made inline", 0, Duration::ZERO);
    });
}
