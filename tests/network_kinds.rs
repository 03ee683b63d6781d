//! Networks of other kinds than a plain bridge, ports in all their forms, and what others keep in the packet filter.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use minke_testkit::{Client, Daemon, Machine, Netns, ip, wait_until};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];
const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];

/// `run -d --name NAME ARGS… busybox sleep`.
#[track_caller]
fn sleeper(daemon: &Daemon, client: Client, name: &str, args: &[&str]) {
    daemon.run(client, &[&["run", "-d", "--name", name], args, &SLEEP].concat()).ok().done();
}

/// Another host on a link with the daemon's, at 198.51.100.2; the daemon's is 198.51.100.1.
fn neighbour(daemon: &Daemon) -> Machine {
    let machine = Machine::new();
    machine.ip(&format!("link add mktlan type veth peer name mktlan netns {}", daemon.host_pid()));
    for (number, pid) in [(1, daemon.host_pid()), (2, machine.pid())] {
        ip(pid, &format!("addr add 198.51.100.{number}/24 dev mktlan"));
        ip(pid, "link set mktlan up");
    }
    let server = machine.netns.serve_tcp("198.51.100.2:7");
    wait_until("the hosts see each other", Duration::from_secs(5), || {
        daemon.host_netns().knock_tcp(server.address()).is_ok()
    });
    machine
}

#[track_caller]
fn closed(netns: &Netns, address: &str) {
    let answer = netns.knock_tcp(address);
    assert!(answer.is_err(), "{address} answered: {answer:?}");
}

const MODE4: &str = "com.docker.network.bridge.gateway_mode_ipv4";

#[test]
fn gateway_modes_lead_to_containers_as_they_say() {
    let daemon = Daemon::start();
    let alice = neighbour(&daemon);
    alice.ip("route add 10.215.0.0/16 via 198.51.100.1");
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        let create = |name: &str, subnet: &str, mode: &str, more: &[&str]| {
            let option = format!("{MODE4}={mode}");
            run(&[&["network", "create", "--subnet", subnet, "-o", &option], more, &[name]].concat());
        };
        create("mkt-routed", "10.215.1.0/24", "routed", &[]);
        sleeper(&daemon, client, "web", &["--network", "mkt-routed", "-p", "8080:80", "-p", "8083:83/udp"]);
        let web = daemon.netns_of("web");
        let _servers = [web.serve_tcp("0.0.0.0:80"), web.serve_tcp("0.0.0.0:81")];
        assert_eq!(alice.netns.ask_tcp("10.215.1.2:80").expect("the published port"), "198.51.100.2");
        closed(&alice.netns, "10.215.1.2:81");
        closed(&alice.netns, "198.51.100.1:8080");
        // As Docker 28.5 shows them.
        let ports = daemon.inspect("web", "{{json .NetworkSettings.Ports}}");
        assert_eq!(
            ports,
            r#"{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":""},{"HostIp":"::","HostPort":"8080"}],"83/udp":[{"HostIp":"0.0.0.0","HostPort":""},{"HostIp":"::","HostPort":"8083"}]}"#
        );
        let shown = run(&["ps", "--format", "{{.Ports}}"]);
        assert!(shown.contains("0.0.0.0:0->80/tcp, [::]:8080->80/tcp"), "{shown}");
        assert!(run(&["port", "web"]).starts_with("80/tcp -> 0.0.0.0:\n80/tcp -> [::]:8080"));
        // What the container sends out keeps its address.
        let outside = alice.netns.serve_tcp("198.51.100.2:9000");
        assert_eq!(web.ask_tcp(outside.address()).expect("the way out"), "10.215.1.2");
        run(&["rm", "-f", "web"]);

        create("mkt-open", "10.215.2.0/24", "nat-unprotected", &[]);
        sleeper(&daemon, client, "open", &["--network", "mkt-open"]);
        let open = daemon.netns_of("open");
        let server = open.serve_tcp("0.0.0.0:81");
        assert_eq!(alice.netns.ask_tcp("10.215.2.2:81").expect("any port"), "198.51.100.2");
        assert_eq!(open.ask_tcp(outside.address()).expect("the way out"), "198.51.100.1");
        drop(server);

        create("mkt-cut", "10.215.3.0/24", "isolated", &["--internal"]);
        let cut = run(&["run", "--rm", "--network", "mkt-cut", "busybox", "ip", "addr", "show", "eth0"]);
        assert!(cut.contains("inet 10.215.3.1/24"), "{cut}");
        run(&[
            "network",
            "create",
            "-o",
            "com.docker.network.bridge.inhibit_ipv4=true",
            "--subnet",
            "10.215.4.0/24",
            "mkt-gw",
        ]);
        let route = run(&["run", "--rm", "--network", "mkt-gw", "busybox", "ip", "route"]);
        assert!(
            route.contains("default via 10.215.4.1 dev eth0") && route.contains("src 10.215.4.2"),
            "{route}"
        );

        for (mode, complaint) in [
            ("isolated", "gateway mode 'isolated' can only be used for an internal network"),
            ("bogus", "value: bogus (unknown gateway mode bogus)"),
        ] {
            daemon
                .run(client, &["network", "create", "-o", &format!("{MODE4}={mode}"), "mkt-bad"])
                .exits(1)
                .complains(complaint)
                .done();
        }
        run(&["rm", "-f", "open"]);
        run(&["network", "rm", "mkt-routed", "mkt-open", "mkt-cut", "mkt-gw"]);
    }
}

#[test]
fn networks_are_made_from_configurations() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        let refused = |args: &[&str], complaint: &str| {
            daemon
                .run(client, &[&["network", "create"], args, &["mkt-bad"]].concat())
                .exits(1)
                .complains(complaint)
                .done();
        };
        let mtu = "com.docker.network.driver.mtu=1400";
        run(&[
            "network",
            "create",
            "--config-only",
            "--subnet",
            "10.215.20.0/24",
            "--label",
            "a=b",
            "-o",
            mtu,
            "mkt-cfg",
        ]);
        let inspect = |name: &str, format: &str| run(&["network", "inspect", "-f", format, name]);
        assert_eq!(
            inspect("mkt-cfg", "{{.ConfigOnly}} {{.Driver}} {{.Scope}} {{.EnableIPv4}}"),
            "true null local true"
        );
        run(&["network", "create", "--config-from", "mkt-cfg", "mkt-use"]);
        assert_eq!(
            inspect(
                "mkt-use",
                "{{.ConfigFrom.Network}} {{.Driver}} {{(index .IPAM.Config 0).Subnet}} {{.Labels.a}}"
            ),
            "mkt-cfg bridge 10.215.20.0/24 b"
        );
        let eth0 = run(&["run", "--rm", "--network", "mkt-use", "busybox", "ip", "addr", "show", "eth0"]);
        assert!(eth0.contains("mtu 1400") && eth0.contains("inet 10.215.20.2/24"), "{eth0}");
        refused(
            &["--config-from", "mkt-cfg", "--label", "c=d"],
            "user specified configurations are not supported if the network depends on a configuration network",
        );
        refused(
            &["--config-from", "mkt-cfg", "-o", "a=b"],
            "network driver options are not supported if the network depends on a configuration network",
        );
        refused(&["--config-from", "nosuch"], "configuration network \"nosuch\" does not exist");
        refused(&["--config-from", "bridge"], "configuration network \"bridge\" does not exist");
        refused(
            &["--config-only", "--internal"],
            "configuration network can only contain network specific fields.",
        );
        daemon
            .run(client, &["run", "--rm", "--network", "mkt-cfg", "busybox", "true"])
            .exits(125)
            .complains("cannot create endpoint on configuration-only network")
            .done();
        daemon
            .run(client, &["network", "rm", "mkt-cfg"])
            .exits(1)
            .complains("configuration network \"mkt-cfg\" is in use")
            .done();
        run(&["network", "rm", "mkt-use"]);
        // A prune leaves configurations alone.
        assert_eq!(run(&["network", "prune", "-f"]), "");
        run(&["network", "rm", "mkt-cfg"]);
    }
}

#[test]
fn macvlan_networks_stand_on_a_link_a_vlan_or_on_nothing() {
    let daemon = Daemon::start();
    let _alice = neighbour(&daemon);
    let host = daemon.host_netns();
    let links =
        || host.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).expect("the host's links");
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        let on = |parent: &str| {
            daemon.run(
                client,
                &["network", "create", "-d", "macvlan", "-o", &format!("parent={parent}"), "mkt-bad"],
            )
        };
        on("nosuch0")
            .exits(1)
            .complains("invalid subinterface vlan name nosuch0, example formatting is eth0.10")
            .done();
        on("nosuch0.10").exits(1).complains("-o parent interface was not found on the host: nosuch0").done();
        let vlan = on("mktlan.10");
        if vlan.code == 0 {
            assert!(links().contains("mktlan.10:"));
            run(&["network", "rm", "mkt-bad"]);
        } else {
            println!("this kernel has no VLANs, so none was made: {}", vlan.stderr);
            vlan.complains("failed to create mktlan.10 vlan link: operation not supported").done();
        }
        wait_until("no VLAN is left", Duration::from_secs(5), || !links().contains("mktlan.10"));

        run(&["network", "create", "-d", "macvlan", "--subnet", "10.215.30.0/24", "mkt-island"]);
        sleeper(&daemon, client, "one", &["--network", "mkt-island"]);
        let talk = ["run", "--rm", "--network", "mkt-island", "busybox", "ping", "-c", "1", "-w", "5", "one"];
        run(&talk);
        let route = run(&["exec", "one", "ip", "route"]);
        assert!(!route.contains("default"), "{route}");
        run(&["rm", "-f", "one"]);
        run(&["network", "rm", "mkt-island"]);
        wait_until("its link is gone", Duration::from_secs(5), || !links().contains("dm-"));

        for mode in ["private", "vepa", "bridge", "passthru"] {
            let option = format!("macvlan_mode={mode}");
            run(&[
                "network",
                "create",
                "-d",
                "macvlan",
                "-o",
                "parent=mktlan",
                "-o",
                &option,
                "--subnet",
                "10.215.31.0/24",
                "mkt-mode",
            ]);
            wait_until("the parent is free", Duration::from_secs(5), || {
                daemon
                    .run(client, &["run", "--rm", "--network", "mkt-mode", "busybox", "ip", "addr"])
                    .stdout
                    .contains("10.215.31.")
            });
            run(&["network", "rm", "mkt-mode"]);
        }
    }
}

#[test]
fn ports_of_all_forms_are_published_and_turn_back_to_their_own_container() {
    let daemon = Daemon::start();
    let _alice = neighbour(&daemon);
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        run(&["network", "create", "mkt-ports"]);
        let forms = [
            "--network",
            "mkt-ports",
            "-p",
            "7000-7003:80-83/udp",
            "-p",
            "7010-7012:90",
            "-p",
            "0:91/udp",
            "-p",
            "92",
        ];
        sleeper(&daemon, client, "web", &forms);
        let ports = run(&["port", "web"]);
        for part in ["80/udp -> 0.0.0.0:7000", "83/udp -> [::]:7003", "90/tcp -> 0.0.0.0:7010"] {
            assert!(ports.contains(part), "{part}: {ports}");
        }
        let host_port = |port: &str| {
            run(&["port", "web", port]).lines().next().unwrap_or_default().replace("0.0.0.0:", "")
        };
        let web = daemon.netns_of("web");
        let _servers = [80, 83, 91].map(|port| web.serve_udp(("0.0.0.0", port)));
        let _tcp = [90, 92].map(|port| web.serve_tcp(("0.0.0.0", port)));
        sleeper(&daemon, client, "peer", &["--network", "mkt-ports"]);
        let peer = daemon.netns_of("peer");
        // From the host, from a neighbour on the bridge, and from the container itself.
        for netns in [&daemon.host_netns(), &peer, &web] {
            for port in ["7000", "7003", &host_port("91/udp")] {
                netns.ask_udp(format!("198.51.100.1:{port}")).unwrap_or_else(|e| panic!("udp {port}: {e}"));
            }
            for port in ["7010", &host_port("92/tcp")] {
                netns.ask_tcp(format!("198.51.100.1:{port}")).unwrap_or_else(|e| panic!("tcp {port}: {e}"));
            }
        }
        // The second takes the next of the range, and the third none.
        sleeper(&daemon, client, "second", &["-p", "7010-7011:90"]);
        assert!(run(&["port", "second"]).contains("90/tcp -> 0.0.0.0:7011"));
        let taken = |range: &str, complaint: &str| {
            daemon
                .run(client, &["run", "--rm", "-p", range, "busybox", "true"])
                .exits(125)
                .complains(complaint)
                .done();
        };
        taken("7010-7011:90", "all ports are allocated");
        taken("0-5:90", "invalid port range: 0-5");
        taken("7020-7021:80-82", "80-82");
        run(&["rm", "-f", "second"]);

        // All that is exposed, of both transports, numbered by transport.
        sleeper(&daemon, client, "all", &["--expose", "5000-5001", "--expose", "6000/udp", "-P"]);
        let all = run(&["port", "all"]);
        for part in ["5000/tcp -> 0.0.0.0:", "5001/tcp -> [::]:", "6000/udp -> 0.0.0.0:", "6000/udp -> [::]:"]
        {
            assert!(all.contains(part), "{part}: {all}");
        }
        run(&["rm", "-f", "all", "web", "peer"]);
        run(&["network", "rm", "mkt-ports"]);
    }
}

/// Runs `nft` in the daemon's host.
#[track_caller]
fn nft(daemon: &Daemon, args: &[&str], input: &str) -> String {
    let mut child = daemon
        .in_netns("nft")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nft (Debian: nftables)");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("write to nft");
    let done = child.wait_with_output().expect("nft ends");
    assert!(done.status.success(), "nft {args:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// What other programs keep: a firewall manager's table, and what iptables makes.
const FOREIGN: &str = "
table inet firewalld {
    set allowed { type inet_service; elements = { 22, 80 } }
    chain filter_INPUT { type filter hook input priority filter + 10; policy accept; ct state established,related accept; tcp dport @allowed accept; }
    chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; ip daddr 203.0.113.0/24 drop; }
    chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; ip saddr 203.0.113.0/24 masquerade; }
}
table ip filter {
    chain INPUT { type filter hook input priority filter; policy accept; }
    chain FORWARD { type filter hook forward priority filter; policy accept; ip saddr 203.0.113.7 drop; }
    chain DOCKER-USER { return; }
}
table ip nat {
    chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; ip daddr 203.0.113.9 dnat to 203.0.113.10; }
}
";

#[test]
fn rules_of_others_stay_and_own_ones_come_back() {
    let mut daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let alice = neighbour(&daemon);
    nft(&daemon, &["-f", "-"], FOREIGN);
    const OTHERS: [[&str; 3]; 3] = [["inet", "firewalld", ""], ["ip", "filter", ""], ["ip", "nat", ""]];
    let foreign = |daemon: &Daemon| {
        OTHERS.map(|[family, table, _]| nft(daemon, &["-s", "list", "table", family, table], "")).concat()
    };
    let before = foreign(&daemon);
    let same = |daemon: &Daemon, when: &str| assert_eq!(foreign(daemon), before, "{when}");
    let answers = || alice.netns.ask_tcp("198.51.100.1:8088").is_ok();
    for client in BOTH {
        daemon.run(client, &["network", "create", "mkt-rules"]).ok().done();
        daemon
            .run(
                client,
                &["network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "mkt-apart"],
            )
            .ok()
            .done();
        same(&daemon, "networks made");
        sleeper(&daemon, client, "web", &["--network", "mkt-rules", "-p", "8088:80"]);
        let _server = daemon.netns_of("web").serve_tcp("0.0.0.0:80");
        assert!(answers());
        same(&daemon, "a port published");
        daemon.terminate();
        same(&daemon, "the daemon ended");
        daemon.spawn();
        same(&daemon, "the daemon started");
        daemon.kill();
        daemon.spawn();
        same(&daemon, "the daemon killed and started");
        assert!(answers());

        // Somebody sweeps everything away, as reloading a firewall does: what is the engine's comes back, and nothing else.
        nft(&daemon, &["flush", "ruleset"], "");
        wait_until("the port answers again", Duration::from_secs(10), answers);
        let tables = nft(&daemon, &["list", "tables"], "");
        assert!(!tables.contains("firewalld") && tables.contains("minke"), "{tables}");
        // While nobody watches: at the next start.
        daemon.kill();
        nft(&daemon, &["flush", "ruleset"], "");
        closed(&alice.netns, "198.51.100.1:8088");
        daemon.spawn();
        wait_until("the port answers after the start", Duration::from_secs(10), answers);
        // And with the next change.
        nft(&daemon, &["flush", "ruleset"], "");
        sleeper(&daemon, client, "other", &["--network", "mkt-rules", "-p", "8089:80"]);
        let _second = daemon.netns_of("other").serve_tcp("0.0.0.0:80");
        assert!(answers() && alice.netns.ask_tcp("198.51.100.1:8089").is_ok());

        nft(&daemon, &["-f", "-"], FOREIGN);
        daemon.run(client, &["rm", "-f", "web", "other"]).ok().done();
        daemon.run(client, &["network", "rm", "mkt-rules", "mkt-apart"]).ok().done();
        same(&daemon, "all removed");
    }
}

/// docker-compose 1.29 as Debian packages it: dependencies, links, aliases, a network from elsewhere, fixed addresses.
#[test]
fn docker_compose_joins_networks_that_are_there_links_and_takes_all_of_its_own_down() {
    let daemon = Daemon::start();
    let project = daemon.path().join("compose");
    std::fs::create_dir_all(&project).expect("a directory for the project");
    daemon.minke(&["network", "create", "--subnet", "10.215.40.0/24", "mkt-outer"]).ok().done();
    let page = "version: '2.4'
services:
  db:
    image: busybox
    command: httpd -f -p 3306 -h /etc
    expose: ['3306']
    networks:
      back: {aliases: [store], ipv4_address: 10.215.41.9}
  web:
    image: busybox
    command: httpd -f -p 80 -h /etc
    depends_on: [db]
    links: ['db:database']
    ports: ['8090:80', '127.0.0.1:8091:80/tcp', '8092-8093:81-82/udp']
    extra_hosts: ['elsewhere:10.9.8.7']
    networks:
      back: {}
      outer: {aliases: [site]}
networks:
  back:
    driver: bridge
    driver_opts: {com.docker.network.driver.mtu: '1400'}
    ipam: {config: [{subnet: 10.215.41.0/24}]}
  outer: {external: true, name: mkt-outer}
";
    std::fs::write(project.join("docker-compose.yml"), page).expect("write the file");
    let compose = |args: &[&str]| daemon.compose(&project, "mktd", args);
    compose(&["up", "-d"]);
    let web = "mktd_web_1";
    for name in ["db", "store", "database", "mktd_db_1"] {
        wait_until("the database answers by each of its names", Duration::from_secs(5), || {
            let page = format!("http://{name}:3306/passwd");
            daemon.minke(&["exec", web, "wget", "-q", "-O", "-", &page]).stdout.contains("root:")
        });
    }
    assert_eq!(daemon.address_of("mktd_db_1", "mktd_back"), "10.215.41.9");
    assert!(daemon.minke(&["exec", web, "cat", "/etc/hosts"]).ok().stdout.contains("10.9.8.7\telsewhere"));
    daemon
        .minke(&["run", "--rm", "--network", "mkt-outer", "busybox", "ping", "-c", "1", "-w", "5", "site"])
        .ok()
        .done();
    let host = daemon.host_netns();
    for port in [8090, 8091] {
        host.run(|| std::net::TcpStream::connect(("127.0.0.1", port)))
            .unwrap_or_else(|e| panic!("{port}: {e}"));
    }
    assert!(compose(&["port", "--protocol", "udp", "web", "82"]).contains("0.0.0.0:8093"));
    compose(&["restart", "-t", "0"]);
    // On Docker since 25 this ends it with KeyError: 'ContainerConfig'.
    compose(&["up", "-d", "--force-recreate", "-t", "0"]);
    assert_eq!(daemon.address_of("mktd_db_1", "mktd_back"), "10.215.41.9");
    compose(&["down", "-v", "-t", "0"]);
    let networks = daemon.minke(&["network", "ls", "--format", "{{.Name}}"]).ok().stdout;
    assert!(!networks.contains("mktd_back") && networks.contains("mkt-outer"), "{networks}");
    assert_eq!(daemon.minke(&["ps", "-aq"]).ok().text(), "");
    daemon.minke(&["network", "rm", "mkt-outer"]).ok().done();
}

/// What the command line shows of networks, by both clients the same.
#[test]
fn network_commands_show_what_docker_s_show() {
    let daemon = Daemon::start();
    let own = |args: &[&str]| daemon.minke(args).ok().text().to_owned();
    own(&[
        "network",
        "create",
        "--driver",
        "bridge",
        "--ipv6",
        "--subnet",
        "fd00:91::/64",
        "--subnet",
        "10.215.91.0/24",
        "--gateway",
        "10.215.91.1",
        "--ip-range",
        "10.215.91.128/25",
        "--aux-address",
        "a=10.215.91.200",
        "--internal",
        "--attachable",
        "--label",
        "tier=back",
        "--opt",
        "com.docker.network.driver.mtu=1400",
        "--scope",
        "local",
        "mkt-full",
    ]);
    let same = |args: &[&str]| {
        let [minke, docker] = BOTH.map(|client| daemon.run(client, args));
        assert_eq!((minke.code, &minke.stdout), (docker.code, &docker.stdout), "{args:?}: {}", minke.stderr);
        minke.stdout
    };
    for placeholder in [
        ".ID",
        ".Name",
        ".Driver",
        ".Scope",
        ".IPv4",
        ".IPv6",
        ".Internal",
        ".Labels",
        ".CreatedAt",
        "(.Label \"tier\")",
        "json .",
    ] {
        same(&["network", "ls", "--format", &format!("{{{{{placeholder}}}}}")]);
    }
    for args in [
        &["network", "ls"][..],
        &["network", "ls", "-q"],
        &["network", "ls", "-q", "--no-trunc"],
        &["network", "ls", "--no-trunc"],
        &["network", "list", "--format", "table {{.Name}}\t{{.Driver}}"],
        &["network", "ls", "--format", "json"],
        &["network", "ls", "-f", "driver=bridge", "-f", "name=full"],
        &["network", "ls", "-f", "label=tier=back"],
        &["network", "ls", "-f", "type=custom", "-q"],
        &["network", "ls", "-f", "type=builtin"],
        &["network", "ls", "-f", "dangling=true"],
        &["network", "ls", "-f", "scope=local"],
        &[
            "network",
            "inspect",
            "-f",
            "{{json .IPAM}} {{json .Options}} {{json .Labels}} {{.Attachable}}",
            "mkt-full",
        ],
        &[
            "network",
            "inspect",
            "-v",
            "-f",
            "{{.Id}} {{.Created}} {{.EnableIPv6}} {{.Scope}}",
            "mkt-full",
            "bridge",
        ],
        &["network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{end}}{{.Internal}}", "mkt-full"],
        &["network", "inspect", "nosuch"],
        &["network", "rm", "-f", "nosuch"],
    ] {
        same(args);
    }
    // Names are completed where a network is meant.
    let bin = daemon.path().join("bin");
    std::fs::create_dir_all(&bin).expect("a directory for the program");
    std::os::unix::fs::symlink(minke_testkit::tools::minke(), bin.join("minke")).expect("link the program");
    let script = r#"source <(minke completion bash)
        COMP_WORDS=(minke network rm mkt) COMP_CWORD=3 COMP_LINE='minke network rm mkt' COMP_POINT=20
        $(complete -p minke | sed 's/.*-F \([^ ]*\) .*/\1/') minke mkt rm
        printf '%s\n' "${COMPREPLY[@]}""#;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = std::process::Command::new("bash");
    let done =
        bash.args(["-c", script]).env("PATH", path).env("DOCKER_HOST", daemon.host()).output().expect("bash");
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        "mkt-full\n",
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    own(&["network", "rm", "-f", "mkt-full"]);
}
