//! Networks as other hosts see them: three network namespaces are three hosts on one link, and one of them runs containers.
//!
//! What is published is reachable, with the client's own address; what is not published is not, however it is routed. Names,
//! ports and addresses outlive the daemon. Scenarios of the book are in `chapter5.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use minke_testkit::{Client, Daemon, Machine, Netns, Options, ip, wait_until};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];
const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];

/// `run -d --name NAME ARGS… busybox sleep`.
#[track_caller]
fn sleeper(daemon: &Daemon, client: Client, name: &str, args: &[&str]) {
    daemon.run(client, &[&["run", "-d", "--name", name], args, &SLEEP].concat()).ok().done();
}

/// Two more hosts on one link with the daemon's.
struct Link {
    alice: Machine,
    bob: Machine,
    _switch: Machine,
}

const HOST: &str = "198.51.100.1";
const HOST6: &str = "[fd00:5150::1]";

impl Link {
    fn new(daemon: &Daemon) -> Self {
        let [switch, alice, bob] = [Machine::new(), Machine::new(), Machine::new()];
        switch.ip("link add wire type bridge");
        switch.ip("link set wire up");
        for (number, pid) in [(1, daemon.host_pid()), (2, alice.pid()), (3, bob.pid())] {
            switch.ip(&format!("link add port{number} type veth peer name mktlan netns {pid}"));
            switch.ip(&format!("link set port{number} master wire up"));
            ip(pid, &format!("addr add 198.51.100.{number}/24 dev mktlan"));
            ip(pid, &format!("addr add fd00:5150::{number}/64 dev mktlan nodad"));
            ip(pid, "link set mktlan up");
        }
        wait_until("the hosts see each other", Duration::from_secs(5), || {
            let server = alice.netns.serve_tcp("[::]:7");
            bob.netns.knock_tcp(("198.51.100.2", server.address().port())).is_ok()
                && bob.netns.knock_tcp("[fd00:5150::2]:7").is_ok()
        });
        Self { alice, bob, _switch: switch }
    }
}

/// Both protocols and both families, to the same port.
struct Service(#[expect(dead_code, reason = "held for their threads")] [minke_testkit::Server; 2]);

impl Service {
    fn at(netns: &Netns, port: u16) -> Self {
        Self([netns.serve_tcp(("::", port)), netns.serve_udp(("::", port))])
    }
}

#[track_caller]
fn reached(netns: &Netns, protocol: &str, address: &str) -> String {
    let answer = if protocol == "udp" { netns.ask_udp(address) } else { netns.ask_tcp(address) };
    answer.unwrap_or_else(|e| panic!("{protocol} to {address}: {e}"))
}

#[track_caller]
fn closed(netns: &Netns, protocol: &str, address: &str) {
    let answer = if protocol == "udp" { netns.knock_udp(address) } else { netns.knock_tcp(address) };
    assert!(answer.is_err(), "{protocol} to {address} answered: {answer:?}");
}

#[test]
fn what_is_published_is_reachable_and_nothing_else() {
    let daemon = Daemon::start();
    let link = Link::new(&daemon);
    let (alice, bob, host) = (&link.alice.netns, &link.bob.netns, daemon.host_netns());
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().done();
        run(&[
            "network",
            "create",
            "--ipv6",
            "--subnet",
            "fd00:77::/64",
            "--subnet",
            "10.214.7.0/24",
            "mkt-pub",
        ]);
        let ports = [
            "--network",
            "mkt-pub",
            "-p",
            "8080:80",
            "-p",
            "8080:80/udp",
            "-p",
            "127.0.0.1:8081:81",
            "-p",
            "198.51.100.1:8082:80",
            "-p",
            "8100-8102:80-82",
            "-p",
            "[::1]:8083:80",
        ];
        sleeper(&daemon, client, "web", &ports);
        sleeper(&daemon, client, "peer", &["--network", "mkt-pub"]);
        sleeper(&daemon, client, "stranger", &[]);
        let web = daemon.netns_of("web");
        let _services = [80, 81, 82, 90].map(|port| Service::at(&web, port));
        let (peer, stranger) = (daemon.netns_of("peer"), daemon.netns_of("stranger"));

        // From other hosts, with their own addresses.
        for protocol in ["tcp", "udp"] {
            assert_eq!(reached(alice, protocol, &format!("{HOST}:8080")), "198.51.100.2");
            assert_eq!(reached(bob, protocol, &format!("{HOST6}:8080")), "fd00:5150::3");
        }
        reached(alice, "tcp", &format!("{HOST}:8082"));
        for port in 8100..=8102 {
            reached(bob, "tcp", &format!("{HOST}:{port}"));
        }
        // From the host, by each of its addresses.
        for address in ["127.0.0.1:8080", "[::1]:8080", "198.51.100.1:8080", "127.0.0.1:8081", "[::1]:8083"] {
            reached(&host, "tcp", address);
        }
        reached(&host, "udp", "127.0.0.1:8080");
        // From containers: of the same network, of another one, and the container itself.
        for netns in [&peer, &stranger, &web] {
            reached(netns, "tcp", &format!("{HOST}:8080"));
        }
        reached(&peer, "tcp", &format!("{}:90", daemon.address_of("web", "mkt-pub")));

        // Bound to 127.0.0.1 or to one address: closed for others.
        closed(alice, "tcp", &format!("{HOST}:8081"));
        closed(alice, "tcp", &format!("{HOST6}:8083"));
        closed(&host, "tcp", "127.0.0.1:8082");
        closed(alice, "tcp", &format!("{HOST}:90"));
        // Routed straight to the container: closed, published or not.
        let inner = daemon.address_of("web", "mkt-pub");
        let inner6 =
            daemon.inspect("web", "{{(index .NetworkSettings.Networks \"mkt-pub\").GlobalIPv6Address}}");
        link.alice.ip("route replace 10.214.7.0/24 via 198.51.100.1");
        link.alice.ip("-6 route replace fd00:77::/64 via fd00:5150::1");
        for port in [80, 90] {
            closed(alice, "tcp", &format!("{inner}:{port}"));
            closed(alice, "udp", &format!("{inner}:{port}"));
            closed(alice, "tcp", &format!("[{inner6}]:{port}"));
            closed(&stranger, "tcp", &format!("{inner}:{port}"));
        }
        run(&["rm", "-f", "web"]);
        closed(alice, "tcp", &format!("{HOST}:8080"));
        run(&["rm", "-f", "peer", "stranger"]);
        run(&["network", "rm", "mkt-pub"]);
    }
}

#[test]
fn an_internal_network_has_no_way_in_or_out() {
    let daemon = Daemon::start();
    let link = Link::new(&daemon);
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().done();
        run(&["network", "create", "--internal", "--subnet", "10.214.8.0/24", "mkt-int"]);
        sleeper(&daemon, client, "inner", &["--network", "mkt-int", "-p", "8084:80"]);
        sleeper(&daemon, client, "other", &["--network", "mkt-int"]);
        sleeper(&daemon, client, "stranger", &[]);
        let inner = daemon.netns_of("inner");
        let _service = Service::at(&inner, 80);
        let _outside = link.alice.netns.serve_tcp("0.0.0.0:8000");
        let address = format!("{}:80", daemon.address_of("inner", "mkt-int"));
        reached(&daemon.netns_of("other"), "tcp", &address);
        closed(&inner, "tcp", "198.51.100.2:8000");
        closed(&daemon.netns_of("stranger"), "tcp", &address);
        closed(&link.alice.netns, "tcp", &format!("{HOST}:8084"));
        link.alice.ip("route replace 10.214.8.0/24 via 198.51.100.1");
        closed(&link.alice.netns, "tcp", &address);
        run(&["rm", "-f", "inner", "other", "stranger"]);
        run(&["network", "rm", "mkt-int"]);
    }
}

#[test]
fn without_icc_only_published_ports_are_open_between_containers() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().done();
        let icc = "com.docker.network.bridge.enable_icc=false";
        run(&["network", "create", "-o", icc, "--subnet", "10.214.9.0/24", "mkt-icc"]);
        sleeper(&daemon, client, "one", &["--network", "mkt-icc", "-p", "8085:80"]);
        sleeper(&daemon, client, "two", &["--network", "mkt-icc"]);
        let _service = Service::at(&daemon.netns_of("one"), 80);
        let two = daemon.netns_of("two");
        let address = format!("{}:80", daemon.address_of("one", "mkt-icc"));
        closed(&two, "tcp", &address);
        closed(&two, "udp", &address);
        reached(&daemon.host_netns(), "tcp", "127.0.0.1:8085");
        let host = daemon.host_netns().serve_tcp("10.214.9.1:8001");
        two.ask_tcp(host.address()).expect("the way out is open");
        drop(host);
        run(&["rm", "-f", "one", "two"]);
        run(&["network", "rm", "mkt-icc"]);
    }
}

/// What a container's resolver says: the addresses of a name, by the program that asks for them.
#[track_caller]
fn looked_up(daemon: &Daemon, from: &str, name: &str) -> Option<String> {
    let run = daemon.minke(&["exec", from, "ping", "-c", "1", "-w", "1", name]);
    let address = run.stdout.split_once('(')?.1.split_once(')')?.0.to_owned();
    Some(address)
}

#[test]
fn names_are_those_of_the_networks_one_is_on() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        run(&["network", "create", "mkt-red"]);
        run(&["network", "create", "--label", "colour=blue", "mkt-blue"]);
        sleeper(
            &daemon,
            client,
            "web",
            &["--network", "mkt-red", "--network-alias", "www", "--hostname", "webhost"],
        );
        sleeper(&daemon, client, "reader", &["--network", "mkt-red"]);
        sleeper(&daemon, client, "loner", &["--network", "mkt-blue"]);
        let address = daemon.address_of("web", "mkt-red");
        let id = daemon.inspect("web", "{{.Id}}");
        for name in ["web", "www", &id[..12], "WEB"] {
            assert_eq!(looked_up(&daemon, "reader", name).as_deref(), Some(address.as_str()), "{name}");
        }
        run(&["exec", "reader", "grep", "-q", "nameserver 127.0.0.11", "/etc/resolv.conf"]);
        let reverse = run(&["exec", "reader", "nslookup", &address]);
        assert!(reverse.contains("web.mkt-red"), "{reverse}");
        assert_eq!(looked_up(&daemon, "loner", "web"), None);

        run(&["network", "connect", "--alias", "site", "mkt-blue", "web"]);
        let blue = daemon.address_of("web", "mkt-blue");
        for name in ["web", "site"] {
            assert_eq!(looked_up(&daemon, "loner", name).as_deref(), Some(blue.as_str()), "{name}");
        }
        assert_eq!(looked_up(&daemon, "loner", "www"), None, "an alias belongs to its network");
        let _service = Service::at(&daemon.netns_of("web"), 80);
        reached(&daemon.netns_of("loner"), "tcp", &format!("{blue}:80"));
        run(&["network", "disconnect", "mkt-blue", "web"]);
        assert_eq!(looked_up(&daemon, "loner", "web"), None);

        // Several containers with one alias take turns or are at least all known.
        let both = ["--network", "mkt-red", "--network-alias", "pool"];
        sleeper(&daemon, client, "pool1", &both);
        sleeper(&daemon, client, "pool2", &both);
        let answer = run(&["exec", "reader", "nslookup", "pool"]);
        for name in ["pool1", "pool2"] {
            assert!(answer.contains(&daemon.address_of(name, "mkt-red")), "{name} in {answer}");
        }
        // A link on such a network is an alias for whoever made it.
        sleeper(&daemon, client, "linked", &["--network", "mkt-red", "--link", "web:db"]);
        assert_eq!(looked_up(&daemon, "linked", "db").as_deref(), Some(address.as_str()));
        assert_eq!(looked_up(&daemon, "reader", "db"), None);

        daemon.run(client, &["network", "rm", "mkt-red"]).exits(1).complains("has active endpoints").done();
        run(&["rm", "-f", "web", "reader", "loner", "pool1", "pool2", "linked"]);
        let pruned = run(&["network", "prune", "-f", "--filter", "label=colour=blue"]);
        assert_eq!(pruned, "Deleted Networks:\nmkt-blue");
        run(&["network", "rm", "mkt-red"]);
    }
}

#[test]
fn addresses_are_those_that_were_asked_for() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        run(&[
            "network",
            "create",
            "--subnet",
            "10.214.10.0/24",
            "--gateway",
            "10.214.10.254",
            "--ip-range",
            "10.214.10.128/28",
            "--aux-address",
            "printer=10.214.10.128",
            "-o",
            "com.docker.network.driver.mtu=1400",
            "mkt-a",
        ]);
        run(&["network", "create", "--subnet", "10.214.11.0/24", "mkt-b"]);
        sleeper(&daemon, client, "ranged", &["--network", "mkt-a"]);
        assert_eq!(
            daemon.address_of("ranged", "mkt-a"),
            "10.214.10.129",
            "within the range, behind what is reserved"
        );
        let long = "name=mkt-a,ip=10.214.10.20,mac-address=02:42:0a:d6:0a:14,alias=here";
        sleeper(&daemon, client, "exact", &["--network", long, "--network", "name=mkt-b,ip=10.214.11.9"]);
        let links = run(&["exec", "exact", "ip", "addr"]);
        for part in ["inet 10.214.10.20/24", "inet 10.214.11.9/24", "02:42:0a:d6:0a:14", "mtu 1400"] {
            assert!(links.contains(part), "{part}: {links}");
        }
        let route = run(&["exec", "exact", "ip", "route"]);
        assert!(route.contains("default via 10.214.10.254 "), "{route}");
        daemon
            .run(client, &["run", "-d", "--network", "mkt-a", "--ip", "10.214.10.20", "busybox", "true"])
            .exits(125)
            .complains("Address already in use")
            .done();
        // Stopped and started, it has the same address again.
        run(&["restart", "-t", "0", "exact"]);
        assert_eq!(daemon.address_of("exact", "mkt-a"), "10.214.10.20");
        run(&["network", "create", "mkt-c"]);
        daemon
            .run(client, &["network", "create", "--subnet", "10.214.11.128/25", "mkt-d"])
            .exits(1)
            .complains("overlaps with other one")
            .done();
        let all = run(&["ps", "-aq"]);
        run(&[&["rm", "-f"], &all.lines().collect::<Vec<_>>()[..]].concat());
        run(&["network", "rm", "mkt-a", "mkt-b", "mkt-c"]);
    }
}

#[test]
fn interfaces_are_called_set_and_preferred_as_asked_in_run_and_in_connect() {
    let daemon = Daemon::start();
    const IFNAME: &str = "driver-opt=com.docker.network.endpoint.ifname=";
    const SYSCTLS: &str = "driver-opt=com.docker.network.endpoint.sysctls=";
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        run(&[
            "network",
            "create",
            "--ipv6",
            "--subnet",
            "fd00:81::/64",
            "--subnet",
            "10.214.81.0/24",
            "mkt-six",
        ]);
        run(&["network", "create", "--subnet", "10.214.82.0/24", "mkt-way"]);
        let six = format!(
            "name=mkt-six,ip6=fd00:81::7,ip=10.214.81.7,{IFNAME}lan0,\"{SYSCTLS}net.ipv4.conf.IFNAME.log_martians=1,\
             net.ipv6.conf.IFNAME.autoconf=0\""
        );
        sleeper(&daemon, client, "box", &["--network", &six, "--network", "name=mkt-way,gw-priority=5"]);
        let inside = |args: &[&str]| run(&[&["exec", "box"], args].concat());
        let lan0 = inside(&["ip", "addr", "show", "lan0"]);
        for part in ["inet 10.214.81.7/24", "inet6 fd00:81::7/64", "inet6 fe80::"] {
            assert!(lan0.contains(part), "{part}: {lan0}");
        }
        assert_eq!(inside(&["cat", "/proc/sys/net/ipv4/conf/lan0/log_martians"]), "1");
        assert_eq!(inside(&["cat", "/proc/sys/net/ipv6/conf/lan0/autoconf"]), "0");
        // The other one has the first free name, and carries what goes out of IPv4; IPv6 has only one way.
        let via = || inside(&["ip", "route", "show", "default"]);
        assert!(via().contains("via 10.214.82.1 dev eth0"), "{}", via());
        let six = inside(&["ip", "-6", "route", "show", "default"]);
        assert!(six.contains("via fd00:81::1 dev lan0"), "{six}");

        // A network that is joined later may be preferred, and named; leaving it leads back.
        run(&["network", "create", "--subnet", "10.214.83.0/24", "mkt-late"]);
        run(&[
            "network",
            "connect",
            "--ip",
            "10.214.83.9",
            "--gw-priority",
            "9",
            "--driver-opt",
            "com.docker.network.endpoint.ifname=late0",
            "--driver-opt",
            "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1",
            "mkt-late",
            "box",
        ]);
        assert!(inside(&["ip", "addr", "show", "late0"]).contains("inet 10.214.83.9/24"));
        assert_eq!(inside(&["cat", "/proc/sys/net/ipv4/conf/late0/log_martians"]), "1");
        assert!(via().contains("via 10.214.83.1 dev late0"), "{}", via());
        let priority = "{{(index .NetworkSettings.Networks \"mkt-late\").GwPriority}}";
        assert_eq!(daemon.inspect("box", priority), "9");
        run(&["network", "disconnect", "mkt-late", "box"]);
        assert!(via().contains("via 10.214.82.1 dev eth0"), "{}", via());
        // Started again it is the same.
        run(&["restart", "-t", "0", "box"]);
        assert!(via().contains("via 10.214.82.1 dev eth0"), "{}", via());
        assert!(inside(&["ip", "addr", "show", "lan0"]).contains("inet6 fd00:81::7/64"));

        // The short form, and what cannot be.
        let six = run(&[
            "run",
            "--rm",
            "--network",
            "mkt-six",
            "--ip6",
            "fd00:81::9",
            "busybox",
            "ip",
            "-6",
            "addr",
        ]);
        assert!(six.contains("inet6 fd00:81::9/64"), "{six}");
        for (network, complaint) in [
            (
                "name=mkt-six,ip6=fd00:99::1",
                "no configured subnet or ip-range contain the IP address fd00:99::1",
            ),
            ("name=mkt-six,driver-opt=com.docker.network.endpoint.ifname=lo", "lo"),
            (
                "name=mkt-six,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.ip_forward=1",
                "unrecognised network interface sysctl 'net.ipv4.ip_forward=1'",
            ),
        ] {
            daemon
                .run(client, &["run", "--rm", "--network", network, "busybox", "true"])
                .exits(125)
                .complains(complaint)
                .done();
        }
        let all = run(&["ps", "-aq"]);
        run(&[&["rm", "-f"], &all.lines().collect::<Vec<_>>()[..]].concat());
        run(&["network", "rm", "mkt-six", "mkt-way", "mkt-late"]);
    }
}

#[test]
fn a_subnet_with_an_address_of_the_host_is_taken_when_it_is_named_and_never_chosen() {
    let daemon = Daemon::start();
    let host = daemon.host_pid();
    ip(host, "link add mktown type bridge");
    ip(host, "addr add 10.214.90.77/24 dev mktown");
    ip(host, "link set mktown up");
    for client in BOTH {
        daemon.run(client, &["network", "create", "--subnet", "10.214.90.0/24", "mkt-host"]).ok().done();
        sleeper(&daemon, client, "inner", &["--network", "mkt-host"]);
        assert_eq!(daemon.address_of("inner", "mkt-host"), "10.214.90.2");
        daemon
            .run(client, &["network", "create", "--subnet", "10.214.90.0/25", "mkt-two"])
            .exits(1)
            .complains("Pool overlaps with other one on this address space")
            .done();
        // Docker fails too, but leaves the bridge behind.
        if !daemon.is_peer() {
            daemon
                .run(
                    client,
                    &["network", "create", "--ipv6", "-o", "com.docker.network.driver.mtu=1200", "mkt-two"],
                )
                .exits(1)
                .complains("has IPv6, which needs an MTU of at least 1280, not 1200")
                .done();
        }
        daemon.run(client, &["rm", "-f", "inner"]).ok().done();
        daemon.run(client, &["network", "rm", "mkt-host"]).ok().done();
    }
    ip(host, "link del mktown");
}

#[test]
fn a_container_that_spoils_its_hosts_file_harms_nobody() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        run(&["network", "create", "mkt-late"]);
        sleeper(&daemon, client, "db", &[]);
        sleeper(&daemon, client, "web", &["--link", "db:database"]);
        // A tebibyte of holes: the engine, which follows links and networks in that file, does not read it.
        run(&["exec", "web", "truncate", "-s", "1024G", "/etc/hosts"]);
        run(&["restart", "-t", "0", "db"]);
        run(&["network", "connect", "mkt-late", "web"]);
        run(&["exec", "web", "nslookup", "web", "127.0.0.11"]);
        run(&["network", "disconnect", "mkt-late", "web"]);
        assert_eq!(run(&["exec", "web", "stat", "-c", "%s", "/etc/hosts"]), (1_u64 << 40).to_string());
        // The next start makes it anew.
        run(&["restart", "-t", "0", "web"]);
        assert!(run(&["exec", "web", "cat", "/etc/hosts"]).contains("database"));
        run(&["rm", "-f", "db", "web"]);
        run(&["network", "rm", "mkt-late"]);
    }
}

#[test]
fn ports_answer_and_names_come_back_when_the_daemon_is_killed() {
    let mut daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let link = Link::new(&daemon);
    daemon.minke(&["network", "create", "mkt-n"]).ok().done();
    sleeper(&daemon, Client::Minke, "web", &["--network", "mkt-n", "-p", "8086:80"]);
    sleeper(&daemon, Client::Docker, "reader", &["--network", "mkt-n"]);
    let _service = Service::at(&daemon.netns_of("web"), 80);
    let address = daemon.address_of("web", "mkt-n");
    let port = daemon.minke(&["port", "web"]).ok().stdout;
    let at = format!("{HOST}:8086");
    for kill in [true, false] {
        reached(&link.alice.netns, "tcp", &at);
        if kill {
            daemon.kill();
        } else {
            daemon.terminate();
        }
        reached(&link.alice.netns, "tcp", &at);
        reached(&daemon.host_netns(), "tcp", "127.0.0.1:8086");
        let taken = daemon
            .host_netns()
            .run(|| std::net::TcpListener::bind(SocketAddr::from(([0; 4], 8086))).is_err());
        assert!(taken, "the port stays reserved while the daemon is away");
        daemon.spawn();
        reached(&link.alice.netns, "tcp", &at);
        assert_eq!(daemon.minke(&["port", "web"]).ok().stdout, port);
        assert_eq!(daemon.address_of("web", "mkt-n"), address);
        assert_eq!(looked_up(&daemon, "reader", "web").as_deref(), Some(address.as_str()));
        daemon
            .minke(&["run", "--rm", "-p", "8086:80", "busybox", "true"])
            .exits(125)
            .complains("port is already allocated")
            .done();
        daemon.minke(&["run", "--rm", "--network", "mkt-n", "busybox", "ping", "-c", "1", "web"]).ok().done();
    }
    daemon.minke(&["rm", "-f", "web", "reader"]).ok().done();
    closed(&link.alice.netns, "tcp", &at);
}

/// How many containers each of the eight clients makes and removes.
const TURNS: usize = 100;

#[test]
fn eight_clients_and_a_killed_daemon_leave_nothing_double_and_nothing_behind() {
    let mut daemon = Daemon::with(Options { images: vec!["busybox"], ..Options::default() });
    if daemon.is_peer() {
        return;
    }
    let done = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let commands: Vec<_> = (0..8)
            .map(|client| {
                // A client that finds no daemon fails; its next turn finds one again.
                let make = |number: usize| {
                    let name = format!("c{client}x{number}");
                    daemon.command(
                        Client::Minke,
                        &["run", "-d", "--name", &name, "-p", "80", "busybox", "sleep", "1000"],
                    )
                };
                let made: Vec<_> = (0..TURNS).map(make).collect();
                let gone: Vec<_> = (0..TURNS)
                    .map(|number| {
                        daemon.command(Client::Minke, &["rm", "-f", &format!("c{client}x{number}")])
                    })
                    .collect();
                made.into_iter().zip(gone).collect::<Vec<_>>()
            })
            .collect();
        for turns in commands {
            let done = &done;
            scope.spawn(move || {
                for (mut make, mut remove) in turns {
                    make.output().expect("start a client");
                    remove.output().expect("start a client");
                }
                done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            });
        }
        let mut kills = 0;
        while done.load(std::sync::atomic::Ordering::Relaxed) < 8 {
            std::thread::sleep(Duration::from_millis(700 + 130 * (kills % 7)));
            daemon.kill();
            daemon.spawn();
            kills += 1;
            let shown = daemon.minke(&["ps", "--format", "{{.Names}} {{.Ports}}"]).stdout;
            let mut ports: Vec<&str> =
                shown.split([' ', ',']).filter(|w| w.starts_with("0.0.0.0:")).collect();
            let count = ports.len();
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports.len(), count, "no port twice: {shown}");
        }
        assert!(kills >= 3, "the daemon was killed {kills} times");
    });
    let left = daemon.minke(&["ps", "-aq"]).ok().text().to_owned();
    if !left.is_empty() {
        daemon.minke(&[&["rm", "-f"], &left.lines().collect::<Vec<_>>()[..]].concat()).ok().done();
    }
    // One more start puts right what the last kill left; then nothing of the 800 is there any more.
    daemon.kill();
    daemon.spawn();
    let rules = daemon.in_netns("nft").args(["-j", "list", "ruleset"]).output();
    if let Ok(rules) = rules.map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        && !rules.is_empty()
    {
        let rules: serde_json::Value = serde_json::from_str(&rules).expect("nft prints JSON");
        let elements: usize = rules["nftables"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item.get("map"))
            .filter(|map| map["name"].as_str().is_some_and(|name| name.contains("port")))
            .filter_map(|map| map["elem"].as_array())
            .map(Vec::len)
            .sum();
        assert_eq!(elements, 0, "no port is left in the rules: {rules}");
    }
    // Every address is free: as many as before can be had, and the links are looked at when the daemon goes.
    daemon.minke(&["run", "--rm", "-p", "80", "busybox", "true"]).ok().done();
}

/// docker-compose 1.29 as Debian packages it.
#[test]
fn docker_compose_brings_up_two_services_on_a_named_network() {
    let daemon = Daemon::start();
    let project = daemon.path().join("compose");
    std::fs::create_dir_all(&project).expect("a directory for the project");
    let page = "version: '3.8'\nservices:\n  web:\n    image: busybox\n    command: httpd -f -p 80 -h /etc\n    \
        ports: ['8087:80']\n    networks: [front]\n  client:\n    image: busybox\n    command: sleep 1000\n    \
        depends_on: [web]\n    networks:\n      front:\n        aliases: [visitor]\nnetworks:\n  front:\n    name: mkt-front\n";
    std::fs::write(project.join("docker-compose.yml"), page).expect("write the file");
    let compose = |args: &[&str]| daemon.compose(&project, "mktc", args);
    compose(&["up", "-d"]);
    let client = "mktc_client_1";
    wait_until("the web service answers by its name", Duration::from_secs(5), || {
        daemon.minke(&["exec", client, "wget", "-q", "-O", "-", "http://web/passwd"]).stdout.contains("root:")
    });
    assert_eq!(looked_up(&daemon, "mktc_web_1", "visitor"), Some(daemon.address_of(client, "mkt-front")));
    let host = daemon.host_netns();
    host.run(|| std::net::TcpStream::connect("127.0.0.1:8087")).expect("the port answers");
    let ps = compose(&["ps"]);
    assert!(ps.contains("0.0.0.0:8087->80/tcp") && ps.matches("Up").count() == 2, "{ps}");
    compose(&["restart", "-t", "0"]);
    wait_until("it answers again", Duration::from_secs(5), || {
        daemon.minke(&["exec", client, "wget", "-q", "-O", "-", "http://web/passwd"]).stdout.contains("root:")
    });
    compose(&["down", "-t", "0"]);
    assert!(!daemon.minke(&["network", "ls"]).ok().stdout.contains("mkt-front"));
    assert_eq!(daemon.minke(&["ps", "-aq"]).ok().text(), "");
}
