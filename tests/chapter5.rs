//! Chapter 5 of the book: network exposure. Where a scenario needs daemon options it runs on minke alone; the others run on
//! a real Docker too. Servers and clients inside containers are threads of the test that enter the container's network
//! namespace; the scan of C5-19 is a connect scan of the subnet done the same way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use minke_testkit::{Client, Daemon, Machine, Netns, Options, ip, wait_until};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];
const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];

fn with_images(images: &[&'static str]) -> Daemon {
    Daemon::with(Options { images: images.to_vec(), ..Options::default() })
}

fn with_args(args: &[&str]) -> Daemon {
    let args = args.iter().map(|a| (*a).to_owned()).collect();
    Daemon::with(Options { args, images: vec!["busybox"], ..Options::default() })
}

/// `run -d --name NAME ARGS… busybox sleep`.
#[track_caller]
fn sleeper(daemon: &Daemon, client: Client, name: &str, args: &[&str]) {
    daemon.run(client, &[&["run", "-d", "--name", name], args, &SLEEP].concat()).ok().done();
}

/// The default bridge's own address.
#[track_caller]
fn gateway(daemon: &Daemon) -> Ipv4Addr {
    let text = daemon.inspect("bridge", "{{(index .IPAM.Config 0).Gateway}}");
    text.parse().unwrap_or_else(|e| panic!("gateway {text:?}: {e}"))
}

/// Host ports of one container port, by `port`.
#[track_caller]
fn published(daemon: &Daemon, name: &str, port: &str) -> Vec<SocketAddr> {
    let run = daemon.minke(&["port", name, port]).ok();
    run.text().lines().map(|line| line.parse().unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// S5-01.
#[test]
fn s5_01_closed() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = |args: &[&str]| {
            daemon.run(client, &[&["run", "--rm", "--net", "none", "busybox"], args].concat())
        };
        let links = run(&["ip", "-o", "link"]).ok();
        let names: Vec<&str> = links.text().lines().filter_map(|l| l.split(": ").nth(1)).collect();
        // Kernels make tunnel devices of their own in every namespace.
        let own: Vec<&&str> = names.iter().filter(|n| !n.contains('@') && !n.contains("tunl")).collect();
        assert_eq!(own, [&"lo"], "{links}");
        run(&["ip", "addr"]).ok().says("127.0.0.1/8").done();
        let far = run(&["ping", "-w", "2", "8.8.8.8"]);
        assert_ne!(far.code, 0);
        far.complains("Network is unreachable").done();
        run(&["ping", "-c", "1", "127.0.0.1"]).ok().done();
        assert_eq!(run(&["ip", "route"]).ok().text(), "");
    }
}

/// S5-02.
#[test]
fn s5_02_bridged_outbound() {
    let daemon = Daemon::start();
    let outside = Machine::new();
    let host = daemon.host_pid();
    ip(host, &format!("link add mkt5a type veth peer name mkt5b netns {}", outside.pid()));
    ip(host, "addr add 198.51.100.1/24 dev mkt5a");
    ip(host, "link set mkt5a up");
    outside.ip("addr add 198.51.100.2/24 dev mkt5b");
    outside.ip("link set mkt5b up");
    let server = outside.netns.serve_tcp("198.51.100.2:8000");
    for client in BOTH {
        let run = daemon.run(client, &["run", "--rm", "--net", "bridge", "busybox", "ip", "addr"]).ok();
        let first = gateway(&daemon).octets();
        run.says("lo").says("eth0").says(&format!("inet {}.{}.", first[0], first[1])).says("mtu 1500").done();
        daemon
            .run(client, &["run", "--rm", "busybox", "ping", "-c", "1", "-w", "2", "198.51.100.2"])
            .ok()
            .done();
        let name = format!("out-{client:?}").to_lowercase();
        sleeper(&daemon, client, &name, &[]);
        // The world sees the host's address, not the container's.
        assert_eq!(daemon.netns_of(&name).ask_tcp(server.address()).expect("an answer"), "198.51.100.1");
    }
    drop((server, outside));
}

/// A name server on `at` that knows a few names, until it is dropped.
struct Names {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Names {
    fn serve(netns: &Netns, at: SocketAddr, names: &[(&str, Ipv4Addr)]) -> Self {
        let socket = netns.run(|| UdpSocket::bind(at)).expect("bind the name server");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        let names: Vec<(String, Ipv4Addr)> = names.iter().map(|(n, a)| ((*n).to_owned(), *a)).collect();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while !seen.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok((count, from)) = socket.recv_from(&mut bytes)
                    && let Some(answer) = answer(&bytes[..count], &names)
                {
                    socket.send_to(&answer, from).ok();
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// One question, one address or NXDOMAIN.
fn answer(query: &[u8], names: &[(String, Ipv4Addr)]) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let question = query.get(12..at + 4)?;
    let wants_v4 = question.get(question.len() - 4..)? == [0, 1, 0, 1];
    let name = labels.join(".");
    let found = names.iter().find(|(n, _)| *n == name).map(|(_, address)| address.octets());
    let code = if found.is_some() { 0x80 } else { 0x83 };
    let answers = u8::from(found.is_some() && wants_v4);
    let mut out = vec![query[0], query[1], 0x81, code, 0, 1, 0, answers, 0, 0, 0, 0];
    out.extend_from_slice(question);
    if let (Some(address), true) = (found, wants_v4) {
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        out.extend_from_slice(&address);
    }
    Some(out)
}

/// S5-03.
#[test]
fn s5_03_dns_set() {
    let daemon = Daemon::start();
    // The bridge has its address once a container is on it.
    sleeper(&daemon, Client::Minke, "anchor", &[]);
    let server = gateway(&daemon);
    let names = [
        ("docker.com", Ipv4Addr::new(10, 1, 1, 1)),
        ("registry.hub.docker.com", Ipv4Addr::new(10, 1, 1, 2)),
        ("myservice.dev.mycompany", Ipv4Addr::new(10, 2, 2, 2)),
        ("myservice.test.mycompany", Ipv4Addr::new(10, 3, 3, 3)),
    ];
    let fixture = Names::serve(&daemon.host_netns(), SocketAddr::from((server, 53)), &names);
    let dns = server.to_string();
    for client in BOTH {
        let run =
            |args: &[&str]| daemon.run(client, &[&["run", "--rm", "--dns", dns.as_str()], args].concat());
        run(&["busybox", "nslookup", "docker.com"]).ok().says(&dns).says("10.1.1.1").done();
        // `ping` names the address that it looked up, and uses the search list as every program does.
        let looked_up = |search: &[&str], name: &str, address: &str| {
            let probe = ["busybox", "ping", "-c", "1", "-W", "1", name];
            let shown = run(&[search, &probe].concat());
            assert!(shown.stdout.contains(&format!("({address})")), "{shown}");
        };
        looked_up(&["--dns-search", "docker.com"], "registry.hub", "10.1.1.2");
        looked_up(&["--dns-search", "dev.mycompany"], "myservice", "10.2.2.2");
        looked_up(&["--dns-search", "test.mycompany"], "myservice", "10.3.3.3");
        looked_up(
            &["--dns-search", "test.mycompany", "--dns-search", "dev.mycompany"],
            "myservice",
            "10.3.3.3",
        );
        let file = daemon
            .run(
                client,
                &[
                    "run",
                    "--rm",
                    "--dns",
                    "8.8.8.8",
                    "--dns",
                    "9.9.9.9",
                    "--dns-search",
                    "mycompany",
                    "--dns-search",
                    "myothercompany",
                    "--dns-option",
                    "timeout:3",
                    "busybox",
                    "cat",
                    "/etc/resolv.conf",
                ],
            )
            .ok();
        let lines: Vec<&str> = file.stdout.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "nameserver 8.8.8.8",
                "nameserver 9.9.9.9",
                "search mycompany myothercompany",
                "options timeout:3"
            ]
        );
        daemon
            .run(client, &["run", "--rm", "--dns", "notanip", "busybox", "true"])
            .exits(125)
            .complains("IP address is not correctly formatted: notanip")
            .done();
    }
    drop(fixture);
}

/// A name server on a loopback address that is given to a container is the container's own; the host's is not asked.
#[test]
fn a_server_on_loopback_is_the_containers_own() {
    let daemon = Daemon::start();
    let loopback: SocketAddr = "127.0.0.1:53".parse().expect("an address");
    let _hosts =
        Names::serve(&daemon.host_netns(), loopback, &[("where.example", Ipv4Addr::new(10, 1, 1, 1))]);
    for client in BOTH {
        daemon.run(client, &["network", "create", "mkt-own"]).ok().done();
        for (name, network) in [("user", "mkt-own"), ("plain", "bridge")] {
            let (name, network) =
                (format!("{name}-{client:?}"), ["--network", network, "--dns", "127.0.0.1"]);
            sleeper(&daemon, client, &name, &network);
            let ask = || daemon.run(client, &["exec", &name, "nslookup", "-type=a", "where.example"]);
            assert!(!ask().stdout.contains("10.1.1.1"), "the host's server was asked");
            let own = Names::serve(
                &daemon.netns_of(&name),
                loopback,
                &[("where.example", Ipv4Addr::new(10, 2, 2, 2))],
            );
            ask().ok().says("10.2.2.2").done();
            drop(own);
            daemon.run(client, &["rm", "-f", &name]).ok().done();
        }
        daemon.run(client, &["network", "rm", "mkt-own"]).ok().done();
    }
}

/// S5-04.
#[test]
fn s5_04_hosts_file() {
    let daemon = Daemon::start();
    for client in BOTH {
        let flags = [
            "run",
            "--rm",
            "--hostname",
            "mycontainer",
            "--add-host",
            "docker.com:127.0.0.1",
            "--add-host",
            "test:10.10.10.2",
            "busybox",
        ];
        let run = |args: &[&str]| daemon.run(client, &[&flags, args].concat());
        let file = run(&["cat", "/etc/hosts"]).ok();
        for line in [
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "127.0.0.1\tdocker.com",
            "10.10.10.2\ttest",
        ] {
            assert!(file.stdout.lines().any(|l| l == line), "{line:?} in {file}");
        }
        let own =
            file.stdout.lines().find_map(|l| l.strip_suffix("\tmycontainer")).map(str::parse::<Ipv4Addr>);
        assert!(matches!(own, Some(Ok(_))), "{file}");
        run(&["ping", "-c", "1", "docker.com"]).ok().says("(127.0.0.1)").done();
        let script = "hostname; hostname -i; ip -o -4 addr show eth0";
        let shown = run(&["sh", "-c", script]).ok().says("mycontainer\n");
        let own = shown.stdout.lines().nth(1).unwrap_or_default().trim().to_owned();
        assert!(shown.stdout.contains(&format!("inet {own}/")), "the name is the own address: {shown}");
        daemon
            .run(client, &["run", "--rm", "--add-host", "gw=host-gateway", "busybox", "cat", "/etc/hosts"])
            .ok()
            .says(&format!("{}\tgw\n", gateway(&daemon)))
            .done();
    }
}

/// S5-05: needs a daemon of its own.
#[test]
fn s5_05_daemon_dns_defaults() {
    let mut daemon = with_args(&["--dns", "192.0.2.1", "--dns-search", "a.example"]);
    if daemon.is_peer() {
        return;
    }
    let file =
        |daemon: &Daemon, name: &str| daemon.minke(&["exec", name, "cat", "/etc/resolv.conf"]).ok().stdout;
    sleeper(&daemon, Client::Minke, "c1", &[]);
    let first = file(&daemon, "c1");
    assert!(first.contains("nameserver 192.0.2.1\nsearch a.example\n"), "{first}");
    daemon.terminate();
    daemon.set_args(&["--dns", "192.0.2.2"]);
    daemon.spawn();
    sleeper(&daemon, Client::Docker, "c2", &[]);
    let second = file(&daemon, "c2");
    assert!(second.contains("nameserver 192.0.2.2\n") && !second.contains("a.example"), "{second}");
    assert_eq!(file(&daemon, "c1"), first, "a running container keeps what it was made with");
}

/// S5-06.
#[test]
fn s5_06_publish_forms() {
    let daemon = Daemon::start();
    let host = daemon.host_netns();
    for client in BOTH {
        let run = |name: &str, form: &str| sleeper(&daemon, client, name, &["-p", form]);
        run("dynamic", "3333");
        run("fixed", "43333:3333");
        run("own-ip", "127.0.0.1::2222");
        run("own-both", "127.0.0.1:41111:1111");
        let _dynamic = daemon.netns_of("dynamic").serve_tcp("0.0.0.0:3333");
        let _fixed = daemon.netns_of("fixed").serve_tcp("0.0.0.0:3333");
        let _ip = daemon.netns_of("own-ip").serve_tcp("0.0.0.0:2222");
        let _both = daemon.netns_of("own-both").serve_tcp("0.0.0.0:1111");
        let outer = IpAddr::V4(gateway(&daemon));
        let port = published(&daemon, "dynamic", "3333")[0].port();
        assert!(port >= 32768);
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), outer, "::1".parse().expect("an address")] {
            for port in [port, 43333] {
                let answer = host.ask_tcp(SocketAddr::from((address, port)));
                assert!(answer.is_ok(), "{address}:{port}: {answer:?}");
            }
        }
        let own = published(&daemon, "own-ip", "2222");
        assert_eq!((own.len(), own[0].ip().to_string().as_str()), (1, "127.0.0.1"));
        assert_eq!(published(&daemon, "own-both", "1111"), ["127.0.0.1:41111".parse().expect("an address")]);
        for port in [own[0].port(), 41111] {
            host.ask_tcp(SocketAddr::from(([127, 0, 0, 1], port))).expect("an answer on 127.0.0.1");
            assert!(host.knock_tcp(SocketAddr::from((outer, port))).is_err(), "only on 127.0.0.1");
        }
        let before = daemon.minke(&["ps", "-q"]).ok().stdout;
        daemon
            .run(client, &["run", "-d", "--name", "second", "-p", "43333:80", "busybox", "sleep", "9"])
            .exits(125)
            .complains("port is already allocated")
            .complains("43333")
            .done();
        assert_eq!(daemon.minke(&["ps", "-q"]).ok().stdout, before);
        daemon.run(client, &["rm", "-f", "dynamic", "fixed", "own-ip", "own-both", "second"]).ok().done();
        // What was taken is free again.
        run("fixed", "43333:3333");
        daemon.run(client, &["rm", "-f", "fixed"]).ok().done();
    }
}

/// A port that another program of the host has is refused as well, and the program keeps it.
#[test]
fn a_port_that_the_host_uses_is_refused() {
    let daemon = Daemon::start();
    let host = daemon.host_netns();
    let theirs = host.serve_tcp("0.0.0.0:43444");
    for client in BOTH {
        daemon
            .run(client, &["run", "-d", "--name", "late", "-p", "43444:80", "busybox", "sleep", "9"])
            .exits(125)
            .complains("address already in use")
            .complains("43444")
            .done();
        daemon.run(client, &["rm", "-f", "late"]).ok().done();
    }
    host.ask_tcp("127.0.0.1:43444").expect("the program still answers");
    drop(theirs);
}

/// S5-07.
#[test]
fn s5_07_publish_all() {
    let daemon = with_images(&["busybox", "ch5_expose"]);
    let image = "dockerinaction/ch5_expose";
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        run(&["run", "-d", "--name", "dawson", "-p", "5000", "-p", "6000", "-p", "7000", image]);
        run(&["run", "-d", "--name", "woolery", "-P", image]);
        let philbin = run(&["run", "-d", "--name", "philbin", "--expose", "8000", "-P", image]);
        let mut all = Vec::new();
        for (name, ports) in [
            ("dawson", vec!["5000", "6000", "7000"]),
            ("woolery", vec!["5000", "6000", "7000"]),
            (philbin.as_str(), vec!["5000", "6000", "7000", "8000"]),
        ] {
            let shown = run(&["port", name]);
            let v4: Vec<&str> = shown.lines().filter(|l| l.contains("-> 0.0.0.0:")).collect();
            let inner: Vec<&str> = v4.iter().filter_map(|l| l.split("/tcp").next()).collect();
            assert_eq!(inner, ports, "{shown}");
            all.extend(v4.iter().filter_map(|l| l.rsplit(':').next()).map(str::to_owned));
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!((all.len(), count), (10, 10), "every host port is given once");
        let ps = daemon.run(client, &["ps", "--no-trunc"]).ok();
        assert!(all.iter().all(|port| ps.stdout.contains(&format!("0.0.0.0:{port}->"))), "{ps}");
        daemon.run(client, &["rm", "-f", "dawson", "woolery", "philbin"]).ok().done();
    }
}

/// Every address of the container's /24 that accepts connections at `port`.
fn scan(from: &Netns, base: Ipv4Addr, port: u16) -> Vec<u8> {
    let [a, b, c, _] = base.octets();
    (1..=12).filter(|last| from.knock_tcp(SocketAddr::from(([a, b, c, *last], port))).is_ok()).collect()
}

/// S5-08, the open half.
#[test]
fn s5_08_containers_reach_each_other_unless_told_otherwise() {
    let daemon = Daemon::start();
    for name in ["listener", "scanner"] {
        sleeper(&daemon, Client::Minke, name, &[]);
    }
    let _server = daemon.netns_of("listener").serve_tcp("0.0.0.0:3333");
    let address: Ipv4Addr = daemon.address_of("listener", "bridge").parse().expect("an address");
    assert_eq!(scan(&daemon.netns_of("scanner"), address, 3333), [address.octets()[3]]);
}

/// S5-08, the closed half: `--icc=false` is a daemon option.
#[test]
fn s5_08_icc_closed() {
    let daemon = with_args(&["--icc=false"]);
    if daemon.is_peer() {
        return;
    }
    sleeper(&daemon, Client::Minke, "listener", &["--expose", "3333", "-p", "43335:3333"]);
    sleeper(&daemon, Client::Docker, "scanner", &[]);
    let _server = daemon.netns_of("listener").serve_tcp("0.0.0.0:3333");
    let address: Ipv4Addr = daemon.address_of("listener", "bridge").parse().expect("an address");
    let scanner = daemon.netns_of("scanner");
    let refused = scanner.knock_tcp(SocketAddr::from((address, 3333))).expect_err("nothing gets through");
    assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut);
    daemon.host_netns().ask_tcp("127.0.0.1:43335").expect("published ports still work");
    let host = daemon.host_netns().serve_tcp((IpAddr::V4(gateway(&daemon)), 8001));
    scanner.ask_tcp(host.address()).expect("the way out is open");
}

/// S5-09.
#[test]
fn s5_09_links_as_firewall_holes() {
    let daemon = with_args(&["--icc=false"]);
    if daemon.is_peer() {
        return;
    }
    for client in BOTH {
        sleeper(&daemon, client, "importantData", &["--expose", "3306"]);
        sleeper(&daemon, client, "importantWebapp", &["--link", "importantData:db"]);
        sleeper(&daemon, client, "buggyProgram", &[]);
        let data = daemon.netns_of("importantData");
        let _exposed = data.serve_tcp("0.0.0.0:3306");
        let _hidden = data.serve_tcp("0.0.0.0:3307");
        let address: Ipv4Addr = daemon.address_of("importantData", "bridge").parse().expect("an address");
        let at = |port: u16| SocketAddr::from((address, port));
        let webapp = daemon.netns_of("importantWebapp");
        webapp.ask_tcp(at(3306)).expect("the link lets through");
        assert!(webapp.knock_tcp(at(3307)).is_err(), "what is not exposed stays closed");
        assert!(daemon.netns_of("buggyProgram").knock_tcp(at(3306)).is_err());
        let old = daemon.address_of("importantWebapp", "bridge");
        daemon.run(client, &["rm", "-f", "importantWebapp"]).ok().done();
        // Whoever gets the address next does not get the hole.
        sleeper(&daemon, client, "next", &[]);
        let next = daemon.netns_of("next");
        assert!(next.knock_tcp(at(3306)).is_err(), "{old} is {} now", daemon.address_of("next", "bridge"));
        daemon.run(client, &["rm", "-f", "importantData", "buggyProgram", "next"]).ok().done();
    }
}

/// S5-10.
#[test]
fn s5_10_bridge_tuning() {
    let daemon =
        with_args(&["--bip", "192.168.0.129/25", "--fixed-cidr", "192.168.0.192/26", "--mtu", "1200"]);
    if daemon.is_peer() {
        return;
    }
    assert_eq!(gateway(&daemon), Ipv4Addr::new(192, 168, 0, 129));
    for (at, client) in BOTH.into_iter().enumerate() {
        let name = format!("c{at}");
        sleeper(&daemon, client, &name, &[]);
        let address: Ipv4Addr = daemon.address_of(&name, "bridge").parse().expect("an address");
        assert!(address.octets()[..3] == [192, 168, 0] && address.octets()[3] >= 192, "{address}");
        daemon.run(client, &["exec", &name, "ip", "link", "show", "eth0"]).ok().says("mtu 1200").done();
    }
    let shown = daemon.in_netns("ip").args(["-o", "-4", "addr"]).output().expect("ip (iproute2)");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("192.168.0.129/25"));
}

/// S5-11.
#[test]
fn s5_11_joined() {
    let daemon = Daemon::start();
    for client in BOTH {
        let brady = [
            "run", "-d", "--name", "brady", "--net", "none", "busybox", "nc", "-ll", "-p", "3333", "-e",
            "cat",
        ];
        daemon.run(client, &brady).ok().done();
        let joined = |args: &[&str]| {
            daemon.run(client, &[&["run", "--rm", "--net", "container:brady", "busybox"], args].concat())
        };
        wait_until("it listens", Duration::from_secs(5), || {
            joined(&["netstat", "-ltn"]).stdout.contains(":3333")
        });
        joined(&["sh", "-c", "echo hello | nc -w 1 127.0.0.1 3333"]).ok().says("hello").done();
        let ps = joined(&["ps"]).ok();
        assert!(!ps.stdout.contains("nc -ll"), "processes are apart: {ps}");
        daemon.run(client, &["exec", "brady", "touch", "/only-here"]).ok().done();
        assert_ne!(joined(&["ls", "/only-here"]).code, 0, "files are apart");
        joined(&["nc", "-l", "-p", "3333"]).exits(1).complains("Address already in use").done();
        sleeper(&daemon, client, "bridged", &[]);
        let address = daemon.address_of("bridged", "bridge");
        daemon
            .run(client, &["run", "--rm", "--net", "container:bridged", "busybox", "ip", "addr"])
            .ok()
            .says(&format!("inet {address}/"))
            .done();
        daemon.run(client, &["rm", "-f", "bridged"]).ok().done();
        daemon.run(client, &["create", "--name", "stopped", "busybox", "true"]).ok().done();
        for target in ["stopped", "nosuch"] {
            let run = daemon
                .run(client, &["run", "--rm", "--net", &format!("container:{target}"), "busybox", "true"]);
            run.exits(125).complains(target).done();
        }
        daemon.run(client, &["rm", "-f", "brady", "stopped"]).ok().done();
    }
}

/// S5-12.
#[test]
fn s5_12_open() {
    let daemon = Daemon::start();
    sleeper(&daemon, Client::Minke, "anchor", &[]);
    let own = gateway(&daemon).to_string();
    for client in BOTH {
        let run = |args: &[&str]| {
            daemon.run(client, &[&["run", "--rm", "--net", "host", "busybox"], args].concat())
        };
        run(&["ip", "addr"]).ok().says("lo:").says(&own).done();
        run(&["ip", "link", "add", "mkt5x", "type", "dummy"])
            .exits(2)
            .complains("Operation not permitted")
            .done();
        let httpd = ["run", "-d", "--name", "open", "--net", "host", "busybox", "httpd", "-f", "-p", "81"];
        daemon.run(client, &httpd).ok().done();
        let host = daemon.host_netns();
        wait_until("port 81 of the host answers", Duration::from_secs(5), || {
            host.run(|| std::net::TcpStream::connect("127.0.0.1:81").is_ok())
        });
        daemon.run(client, &["rm", "-f", "open"]).ok().done();
    }
}

/// S5-13.
#[test]
fn s5_13_fail_fast_link() {
    let daemon = with_images(&["busybox", "ch5_ff"]);
    for client in BOTH {
        sleeper(&daemon, client, "mydb", &["--expose", "3306"]);
        let run = |args: &[&str]| daemon.run(client, &[&["run", "--rm"], args].concat()).ok();
        let image = "dockerinaction/ch5_ff";
        let missing = "Link alias 'database' was not set!\n";
        assert_eq!(run(&[image, "echo", "This shouldn't work."]).stdout, missing);
        assert_eq!(run(&["--link", "mydb:wrongalias", image, "echo", "Wrong."]).stdout, missing);
        assert_eq!(run(&["--link", "mydb:database", image, "echo", "It worked."]).stdout, "It worked.\n");
        daemon.run(client, &["stop", "-t", "0", "mydb"]).ok().done();
        daemon.run(client, &["rm", "mydb"]).ok().done();
    }
}

/// S5-14.
#[test]
fn s5_14_link_environment() {
    let daemon = Daemon::start();
    for client in BOTH {
        let ports = ["--expose", "2222", "--expose", "3333", "--expose", "4444/udp", "-e", "SECRET=x y"];
        sleeper(&daemon, client, "mydb", &ports);
        let address = daemon.address_of("mydb", "bridge");
        let id = daemon.inspect("mydb", "{{.Id}}");
        // By name and by id.
        for target in ["mydb", &id[..12]] {
            let link = format!("{target}:database");
            let script = "env; echo --; cat /etc/hosts";
            let run = daemon
                .run(
                    client,
                    &["run", "--rm", "--name", "linked", "--link", &link, "busybox", "sh", "-c", script],
                )
                .ok();
            let (env, hosts) = run.stdout.split_once("--\n").expect("two parts");
            let mut seen: Vec<&str> = env.lines().filter(|l| l.starts_with("DATABASE_")).collect();
            seen.sort_unstable();
            let mut wanted = vec![
                "DATABASE_NAME=/linked/database".to_owned(),
                format!("DATABASE_PORT=tcp://{address}:2222"),
                "DATABASE_ENV_SECRET=x y".to_owned(),
            ];
            for (port, protocol) in [("2222", "tcp"), ("3333", "tcp"), ("4444", "udp")] {
                let name = format!("DATABASE_PORT_{port}_{}", protocol.to_uppercase());
                wanted.push(format!("{name}={protocol}://{address}:{port}"));
                wanted.push(format!("{name}_ADDR={address}"));
                wanted.push(format!("{name}_PORT={port}"));
                wanted.push(format!("{name}_PROTO={protocol}"));
            }
            wanted.sort();
            assert_eq!(seen, wanted, "{run}");
            assert!(hosts.contains(&format!("{address}\tdatabase {} mydb\n", &id[..12])), "{run}");
        }
        daemon.run(client, &["rm", "-f", "mydb"]).ok().done();
    }
}

/// S5-15.
#[test]
fn s5_15_link_nature() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        sleeper(&daemon, client, "first", &["--expose", "1000"]);
        sleeper(&daemon, client, "second", &["--link", "first:ay", "--expose", "1001"]);
        sleeper(&daemon, client, "third", &["--link", "second:bee"]);
        let seen_by = |name: &str, what: &[&str]| run(&[&["exec", name], what].concat());
        // `exec` would be told afresh; the process that runs is not.
        let of_its_process = || seen_by("second", &["sh", "-c", "tr '\\0' '\\n' < /proc/1/environ"]);
        let of_c = seen_by("third", &["sh", "-c", "env; cat /etc/hosts"]);
        assert!(of_c.contains("BEE_") && !of_c.contains("AY_") && !of_c.contains("\tay "), "{of_c}");
        let old = daemon.address_of("first", "bridge");
        run(&["stop", "-t", "0", "first"]);
        // Somebody else takes its address.
        let mut thieves = 0;
        while thieves < 8
            && (thieves == 0 || daemon.address_of(&format!("thief{}", thieves - 1), "bridge") != old)
        {
            sleeper(&daemon, client, &format!("thief{thieves}"), &[]);
            thieves += 1;
        }
        run(&["start", "first"]);
        let new = daemon.address_of("first", "bridge");
        let hosts = seen_by("second", &["cat", "/etc/hosts"]);
        assert!(hosts.contains(&format!("{new}\tay ")), "hosts follow: {hosts}");
        let environment = of_its_process();
        assert!(
            environment.contains(&format!("AY_PORT=tcp://{old}:1000")),
            "a process keeps its own: {environment}"
        );
        run(&["restart", "-t", "0", "second"]);
        let environment = of_its_process();
        assert!(environment.contains(&format!("AY_PORT=tcp://{new}:1000")), "{environment}");
        run(&["stop", "-t", "0", "first"]);
        daemon
            .run(client, &["run", "--rm", "--link", "first:x", "busybox", "true"])
            .exits(125)
            .complains("Cannot link to a non running container: /first AS /")
            .done();
        let all = run(&["ps", "-aq"]);
        run(&[&["rm", "-f"], &all.lines().collect::<Vec<_>>()[..]].concat());
    }
}

/// S5-16.
#[test]
fn s5_16_duplicate_alias() {
    let daemon = Daemon::start();
    for client in BOTH {
        sleeper(&daemon, client, "one", &["--expose", "80"]);
        sleeper(&daemon, client, "two", &["--expose", "80"]);
        let addresses = [daemon.address_of("one", "bridge"), daemon.address_of("two", "bridge")];
        let run = daemon.run(
            client,
            &[
                "run", "--rm", "--link", "one:db", "--link", "two:db", "busybox", "ping", "-c", "1", "-w",
                "2", "db",
            ],
        );
        let run = run.ok();
        assert!(addresses.iter().any(|a| run.stdout.contains(&format!("({a})"))), "{run}");
        daemon.run(client, &["rm", "-f", "one", "two"]).ok().done();
    }
}
