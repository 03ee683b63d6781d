//! Namespaces that wait plugged into networks that are used, and what claims and ports cost.

use super::*;

#[test]
fn a_network_that_is_used_has_namespaces_ready_until_it_goes_or_lies_idle() {
    in_world(|_world| {
        let networks = [
            default_bridge(),
            bridge("1", "172.18.0.0/16", Some("fd00:18::/64")),
            bridge("2", "172.19.0.0/16", None),
        ];
        let shelves = FabricConfig { shelved: 4, shelf_life: Duration::from_millis(700), ..config() };
        let (fabric, _) = Fabric::open(shelves, &networks, &[]).unwrap();
        let claim_of = |container: &str, wish: &EndpointWish| {
            let wishes = std::slice::from_ref(wish);
            fabric.claim(&ClaimRequest { container, wishes, dns: true }).unwrap()
        };
        let plain = EndpointWish { network: "1".into(), ..EndpointWish::default() };
        assert_eq!((fabric.shelved("1"), fabric.shelved("2")), (0, 0));
        let first = claim_of("first", &plain);
        until("the network has a stock", || fabric.shelved("1") == 2);
        assert_eq!(fabric.shelved("2"), 0);

        // What comes from the stock is like what is made on the spot.
        let second = claim_of("second", &plain);
        assert!(fabric.shelved("1") < 2, "{}", fabric.shelved("1"));
        assert!(second.dns.is_some());
        assert_eq!(second.endpoints[0].mac.to_string(), "02:42:ac:12:00:03");
        let seen = |claim: &Claim| {
            inside(&claim.netns, || {
                let mut socket = Socket::open(Family::Route).unwrap();
                let link = socket.read_link(Which::Name("eth0")).unwrap();
                let mut addresses = socket.read_addresses().unwrap();
                addresses.retain(|(index, _)| *index == link.index);
                let local = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
                let local: Vec<String> = local
                    .lines()
                    .filter(|line| line.starts_with("fe80"))
                    .map(|line| line[..32].to_owned())
                    .collect();
                (link.mac.unwrap(), addresses.into_iter().map(|(_, net)| net).collect::<Vec<_>>(), local)
            })
        };
        let (mac, addresses, links) = seen(&second);
        assert_eq!(mac, second.endpoints[0].mac);
        assert_eq!(addresses, [net("172.18.0.3/16"), net("fd00:18::3/64")]);
        assert_eq!(links, ["fe800000000000000042acfffe120003"]);
        assert_eq!(seen(&first).2, ["fe800000000000000042acfffe120002"]);
        let servers = serve(&first.netns, 80);
        assert_eq!(
            servers.all(Some(&second.netns), v4(&first.endpoints[0]), 80),
            open_for(v4(&second.endpoints[0]))
        );
        assert_eq!(
            servers.all(Some(&second.netns), v6(&first.endpoints[0]), 80),
            open_for(v6(&second.endpoints[0]))
        );
        let alias = || {
            let mut socket = Socket::open(Family::Route).unwrap();
            socket.read_link(Which::Name(&second.endpoints[0].host_link)).unwrap().alias
        };
        until("its link is known as the container's", || alias() == "minke:second");

        // One that wants something else is made for it, and leaves the stock alone.
        until("the stock is full", || fabric.shelved("1") == 2);
        let named = EndpointWish { interface: Some("lan0".into()), ..plain.clone() };
        assert_eq!(claim_of("named", &named).endpoints[0].interface, "lan0");
        assert_eq!(fabric.shelved("1"), 2);

        // Who empties it finds more the next time.
        let many: Vec<Claim> = (0..6).map(|n| claim_of(&format!("many{n}"), &plain)).collect();
        until("the stock has grown", || fabric.shelved("1") == 4);
        drop(many);

        // Ones that lie idle go, and their links with them.
        until("nothing lies ready", || fabric.shelved("1") == 0);
        let ready = || {
            let links = Socket::open(Family::Route).unwrap().read_links().unwrap();
            links.iter().filter(|link| link.alias == "minke:ready").count()
        };
        until("their links are gone", || ready() == 0);

        let on_second = claim_of("third", &EndpointWish { network: "2".into(), ..EndpointWish::default() });
        until("the other network has a stock", || fabric.shelved("2") == 2);
        drop(on_second);
        fabric.remove_network("2").unwrap();
        assert_eq!(fabric.shelved("2"), 0);
        until("their links are gone", || ready() == 0);
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
            FabricConfig { bare_ready: 4, ready: 4, shelved: 8, ..config() },
            &[default_bridge(), user],
            &[],
        )
        .unwrap();
        for (name, network) in [("default network", "0"), ("user network", "1")] {
            let (mut claims, mut publishes, mut kept) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..300 {
                until("stocked", || {
                    fabric.ready() == (4, 4) && (network == "0" || kept.is_empty() || fabric.shelved("1") > 0)
                });
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
