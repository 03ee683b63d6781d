//! Chapter 2 of the book: running software in containers. Scenarios with volumes and a database are in `farms.rs`; the others are here, through both clients where the client's own behaviour is part of the promise.

use std::time::Duration;

use minke_testkit::{Client, Daemon, Options, Terminal, wait_until};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

fn with_images(images: &[&'static str]) -> Daemon {
    Daemon::with(Options { images: images.to_vec(), ..Options::default() })
}

/// Says that it sends each message that it is told.
const MAILER: &str = "echo CH2 Example Mailer has started.; \
    exec nc -ll -p 33333 -e sh -c 'echo \"Sending email: $(cat)\" > /proc/1/fd/1'";

/// Looks at the site once a second; a site that is down is told to the mailer, and is the end.
const AGENT: &str = "while timeout 2 wget -q -O /dev/null http://$INSIDEWEB_PORT_80_TCP_ADDR:$INSIDEWEB_PORT_80_TCP_PORT/; do \
    echo System up.; sleep 1; done; \
    echo To: admin@work Message: The service is down! | \
    nc -w 1 $INSIDEMAILER_PORT_33333_TCP_ADDR $INSIDEMAILER_PORT_33333_TCP_PORT";

/// S2-01 (C2-03 to C2-08, C2-12, C2-13, C2-15, B2-01, B2-03, B2-07, B2-19 to B2-21, B2-23).
#[test]
fn s2_01_website_monitor() {
    for client in BOTH {
        let daemon = with_images(&["busybox", "nginx"]);
        let run = |args: &[&str]| daemon.run(client, args).ok();
        let web = run(&["run", "-d", "--name", "web", "nginx:latest"]);
        assert_eq!(web.stdout, format!("{}\n", daemon.inspect("web", "{{.Id}}")), "one line, the whole id");
        run(&["run", "-d", "--name", "mailer", "--expose", "33333", "busybox", "sh", "-c", MAILER]).done();
        let args = ["run", "-it", "--link", "web:web", "--name", "web_test", "busybox:latest", "/bin/sh"];
        let mut terminal = Terminal::spawn(&daemon.command(client, &args), 24, 80);
        terminal.expect("/ # ");
        terminal.send("wget -q -O - http://web:80/\r");
        terminal.expect("Welcome to nginx");
        terminal.send("exit\r");
        assert_eq!(terminal.wait(), 0, "{}", terminal.shown());
        assert_eq!(daemon.inspect("web_test", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");

        let agent = [
            "run",
            "-it",
            "--name",
            "agent",
            "--link",
            "web:insideweb",
            "--link",
            "mailer:insidemailer",
            "busybox",
            "sh",
            "-c",
            AGENT,
        ];
        let mut terminal = Terminal::spawn(&daemon.command(client, &agent), 24, 80);
        for _ in 0..3 {
            terminal.expect("System up.\r\n");
        }
        terminal.send("\x10\x11");
        assert_eq!(terminal.wait(), 0, "{}", terminal.shown());
        let ps = run(&["ps"]);
        for name in ["web", "mailer", "agent"] {
            assert!(ps.stdout.lines().any(|line| line.ends_with(name)), "{name}: {ps}");
        }
        run(&["logs", "web"]).says("\"GET / HTTP/1.").says(" 200 ").done();
        assert_eq!(run(&["logs", "mailer"]).text(), "CH2 Example Mailer has started.");
        run(&["logs", "agent"]).says("System up.\r\n").done();

        run(&["stop", "web"]).done();
        let mails = || daemon.minke(&["logs", "mailer"]).stdout.matches("Sending email").count();
        wait_until("the mailer is told", Duration::from_secs(15), || mails() == 1);
        wait_until("the agent ended", Duration::from_secs(5), || {
            daemon.inspect("agent", "{{.State.Status}} {{.State.ExitCode}}") == "exited 0"
        });
        run(&["restart", "web"]).done();
        run(&["restart", "agent"]).done();
        let before = daemon.minke(&["logs", "agent"]).stdout.matches("System up.").count();
        wait_until("the agent sees the site where it is now", Duration::from_secs(10), || {
            daemon.minke(&["logs", "agent"]).stdout.matches("System up.").count() > before
        });
        assert_eq!(mails(), 1);
    }
}

/// S2-06 (C2-32 to C2-36, B2-17, B2-18).
#[test]
fn s2_06_dependency_order() {
    for client in BOTH {
        let daemon = with_images(&["busybox", "nginx"]);
        let run = |args: &[&str]| daemon.run(client, args).ok();
        let mailer = ["run", "-d", "--name", "mailer", "--expose", "33333", "busybox", "sh", "-c", MAILER];
        let mailer = format!("{}:insidemailer", run(&mailer).text());
        let web = format!("{}:insideweb", run(&["create", "--name", "web", "nginx:latest"]).text());
        let links = ["--link", &web, "--link", &mailer];
        run(&[&["create", "--name", "agent"], &links[..], &["busybox", "sh", "-c", AGENT]].concat()).done();
        assert_eq!(run(&["ps", "--format", "{{.Names}}"]).text(), "mailer");
        let all = run(&["ps", "-a", "--format", "{{.Names}}"]);
        assert_eq!(all.text().lines().count(), 3, "{all}");
        let refused = daemon.run(client, &["start", "agent"]).exits(1);
        refused.complains("Cannot link to a non running container: /web AS /agent/insideweb").done();
        assert_ne!(daemon.inspect("agent", "{{.State.Status}}"), "running");
        run(&["start", "web"]).done();
        run(&["start", "agent"]).done();
        wait_until("the agent finds the site", Duration::from_secs(10), || {
            daemon.minke(&["logs", "agent"]).stdout.contains("System up.")
        });
        assert_eq!(daemon.inspect("web", "{{.State.Running}}"), "true");
        // In this order `run -d` will do as well, and a link to what is not there will not.
        let again =
            ["run", "-d", "--name", "again", "--link", &web, "--link", &mailer, "busybox", "sh", "-c", AGENT];
        run(&again).done();
        wait_until("the second agent finds the site", Duration::from_secs(10), || {
            daemon.minke(&["logs", "again"]).stdout.contains("System up.")
        });
        let nobody = daemon.run(client, &["create", "--link", "later:x", "busybox", "true"]).exits(1);
        nobody.complains("could not get container for later").done();
    }
}

/// S2-02 (C2-16 to C2-20, B2-08, B2-09).
#[test]
fn s2_02_pid_isolation() {
    let daemon = Daemon::start();
    daemon
        .minke(&["run", "-d", "--name", "namespaceA", "busybox:latest", "/bin/sh", "-c", "sleep 30000"])
        .ok()
        .done();
    daemon
        .docker(&["run", "-d", "--name", "namespaceB", "busybox:latest", "/bin/sh", "-c", "nc -l -p 80"])
        .ok()
        .done();
    let a = daemon.minke(&["exec", "namespaceA", "ps"]).ok().says("sleep 30000");
    let b = daemon.docker(&["exec", "namespaceB", "ps"]).ok().says("nc -l -p 80");
    assert!(!a.stdout.contains("nc -l") && !b.stdout.contains("sleep"), "{a}\n{b}");
    for ps in [&a, &b] {
        assert!(ps.stdout.lines().any(|line| line.trim_start().starts_with("1 ")), "{ps}");
        assert!(ps.stdout.lines().count() <= 4, "no process of the host: {ps}");
    }
    let host = daemon.minke(&["run", "--rm", "--pid", "host", "busybox:latest", "ps"]).ok();
    let own = std::process::id().to_string();
    assert!(host.stdout.lines().any(|line| line.split_whitespace().next() == Some(&own)), "{host}");
}

/// S2-03 (C2-21 to C2-23, B2-10).
#[test]
fn s2_03_port_conflict_inside_and_across_containers() {
    let daemon = with_images(&["nginx"]);
    daemon.minke(&["run", "-d", "--name", "webConflict", "nginx:latest"]).ok().done();
    let listening =
        || daemon.minke(&["exec", "webConflict", "sh", "-c", "grep -q ':0050 ' /proc/net/tcp"]).code == 0;
    wait_until("nginx listens", Duration::from_secs(10), listening);
    let second = daemon.minke(&["exec", "webConflict", "nginx", "-g", "daemon off;"]);
    assert_ne!(second.code, 0, "{second}");
    second.complains("98: Address already in use").done();
    assert!(listening());
    for name in ["webA", "webB"] {
        daemon.docker(&["run", "-d", "--name", name, "nginx:latest"]).ok().done();
    }
    std::thread::sleep(Duration::from_millis(500));
    for name in ["webA", "webB", "webConflict"] {
        assert_eq!(daemon.inspect(name, "{{.State.Running}}"), "true");
    }
    // SIGQUIT is this image's stop signal: nginx ends with status 0.
    daemon.docker(&["stop", "webA"]).ok().done();
    assert_eq!(daemon.inspect("webA", "{{.State.ExitCode}}"), "0");
}

/// S2-04 (C2-24, C2-25).
#[test]
fn s2_04_name_conflict_and_rename() {
    for client in BOTH {
        let daemon = Daemon::start();
        let first = daemon.run(client, &["run", "-d", "--name", "webid", "busybox", "sleep", "1000"]).ok();
        let count = || daemon.minke(&["ps", "-aq"]).ok().text().lines().count();
        let before = count();
        daemon
            .run(client, &["run", "-d", "--name", "webid", "busybox", "sleep", "1000"])
            .exits(125)
            .complains("Error response from daemon: Conflict.")
            .complains("\"/webid\" is already in use by container")
            .complains(first.text())
            .complains("You have to remove (or rename) that container to be able to reuse that name.")
            .done();
        assert_eq!(count(), before);
        daemon.run(client, &["rename", "webid", "webid-old"]).ok().done();
        daemon.run(client, &["run", "-d", "--name", "webid", "busybox", "sleep", "1000"]).ok().done();
        assert_eq!(
            daemon.inspect("webid-old", "{{.Id}} {{.State.Running}}"),
            format!("{} true", first.text())
        );
    }
}

/// S2-05 (C2-27 to C2-29, B2-15).
#[test]
fn s2_05_id_plumbing() {
    for client in BOTH {
        let daemon = Daemon::start();
        let created = daemon.run(client, &["create", "busybox", "sleep", "1000"]).ok();
        let id = created.text();
        assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{created}");
        assert_eq!(daemon.run(client, &["ps", "-l", "-q"]).ok().text(), &id[..12]);
        assert_eq!(daemon.run(client, &["ps", "-l", "-q", "--no-trunc"]).ok().text(), id);

        let file = daemon.path().join("web.cid");
        let path = file.to_string_lossy().into_owned();
        let args = ["create", "--cidfile", path.as_str(), "busybox", "true"];
        let with_file = daemon.run(client, &args).ok();
        assert_eq!(std::fs::read_to_string(&file).expect("the id file"), with_file.text());
        let count = daemon.minke(&["ps", "-aq"]).ok().text().lines().count();
        let refused = daemon.run(client, &args);
        assert_ne!(refused.code, 0);
        refused.complains("ontainer ID file found").complains(&path).done();
        assert_eq!(daemon.minke(&["ps", "-aq"]).ok().text().lines().count(), count);
        std::fs::remove_file(&file).expect("remove the id file");

        for handle in [id, &id[..12], &id[..7]] {
            daemon.run(client, &["start", handle]).ok().done();
            daemon.run(client, &["exec", handle, "true"]).ok().done();
            daemon.run(client, &["stop", "-t", "0", handle]).ok().done();
        }
        daemon.run(client, &["start", "nosuch"]).exits(1).complains("No such container: nosuch").done();
    }
}

/// S2-10 (C2-45, B2-27, B2-28).
#[test]
fn s2_10_environment_injection() {
    let daemon = with_images(&["busybox", "wordpress"]);
    for client in BOTH {
        daemon
            .run(
                client,
                &["run", "--rm", "--env", "MY_ENVIRONMENT_VAR=this is a test", "busybox:latest", "env"],
            )
            .ok()
            .says("MY_ENVIRONMENT_VAR=this is a test\n")
            .says("HOSTNAME=")
            .says("HOME=/root\n")
            .done();
        let run = daemon.run(
            client,
            &["run", "--rm", "--entrypoint", "env", "-e", "WORDPRESS_VERSION=mine", "wordpress:4"],
        );
        assert_eq!(run.stdout.matches("WORDPRESS_VERSION=").count(), 1, "{run}");
        run.ok().says("WORDPRESS_VERSION=mine").done();
    }
}

/// S2-11 (C2-50 to C2-52).
#[test]
fn s2_11_restart_with_back_off() {
    let daemon = Daemon::start();
    daemon
        .minke(&["run", "-d", "--name", "backoff-detector", "--restart", "always", "busybox", "date", "+%s"])
        .ok()
        .done();
    let restarting = || daemon.inspect("backoff-detector", "{{.State.Status}}") == "restarting";
    wait_until("it is restarting", Duration::from_secs(5), restarting);
    let count = || daemon.inspect("backoff-detector", "{{.RestartCount}}").parse::<u32>().expect("a number");
    wait_until("it restarted four times", Duration::from_secs(20), || count() >= 4);
    wait_until("it is restarting", Duration::from_secs(10), restarting);
    daemon
        .docker(&["exec", "backoff-detector", "echo", "Just a Test"])
        .exits(1)
        .complains("is restarting, wait until the container is running")
        .done();
    // Who follows hears one run to its end, or none when it waits for the next.
    let follow = daemon.start_client(Client::Docker, &["logs", "-f", "backoff-detector"]);
    let follow = follow.finish(Duration::from_secs(20)).ok();
    assert!(follow.stdout.lines().count() >= 3, "{follow}");
    let log = daemon.minke(&["logs", "--timestamps", "backoff-detector"]).ok();
    let starts: Vec<f64> = log.stdout.lines().filter_map(seconds_of).collect();
    let gaps: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() >= 3, "{log}");
    // 100, 200, 400 ms and what a run takes: the third is the largest by far, on however busy a machine.
    assert!(gaps[0] >= 0.1 && gaps[1] >= 0.2 && gaps[2] >= 0.4 && gaps[2] > gaps[0], "{gaps:?}");
    daemon.minke(&["stop", "-t", "1", "backoff-detector"]).ok().done();
    let stopped_at = count();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(
        (daemon.inspect("backoff-detector", "{{.State.Status}}").as_str(), count()),
        ("exited", stopped_at)
    );
}

/// The seconds within the hour of a line that starts with an RFC 3339 moment.
fn seconds_of(line: &str) -> Option<f64> {
    let clock = line.split(' ').next()?.split('T').nth(1)?.trim_end_matches('Z');
    let parts: Vec<f64> = clock.split(':').filter_map(|part| part.parse().ok()).collect();
    (parts.len() == 3).then(|| parts[0] * 3600.0 + parts[1] * 60.0 + parts[2])
}

/// S2-12 (C2-53 to C2-56, B2-34, B2-35).
#[test]
fn s2_12_supervised_self_heal() {
    let daemon = with_images(&["supervised"]);
    daemon.minke(&["run", "-d", "-p", "80:80", "--name", "lamp-test", "supervised"]).ok().done();
    let pids = || {
        let run = daemon.minke(&["exec", "lamp-test", "pgrep", "-o", "nginx"]);
        run.text().parse::<u32>().ok()
    };
    wait_until("nginx runs", Duration::from_secs(20), || pids().is_some());
    let inside = pids().expect("it runs");
    let top = daemon.docker(&["top", "lamp-test"]).ok().says("supervisord").says("nginx");
    assert!(
        top.stdout.lines().skip(1).all(|line| line.split_whitespace().nth(1) != Some("1")),
        "host pids, where 1 is the host's own: {top}"
    );
    daemon.minke(&["exec", "lamp-test", "ps"]).ok().says("supervisord").done();
    let started = daemon.inspect("lamp-test", "{{.State.StartedAt}}");
    daemon.minke(&["exec", "lamp-test", "kill", &inside.to_string()]).ok().done();
    wait_until("nginx is back with another pid", Duration::from_secs(20), || {
        pids().is_some_and(|pid| pid != inside)
    });
    assert_eq!(
        daemon.inspect("lamp-test", "{{.State.StartedAt}} {{.State.Running}}"),
        format!("{started} true")
    );
    let log = daemon.minke(&["logs", "lamp-test"]).ok();
    let all = format!("{}{}", log.stdout, log.stderr);
    for part in ["exited: nginx", "spawned: 'nginx'", "entered RUNNING state"] {
        assert!(all.contains(part), "{part}: {log}");
    }
    if daemon.is_peer() {
        return;
    }
    wait_until("HTTP answers again on the host's port", Duration::from_secs(10), || {
        let mut curl = daemon.in_netns("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:80/"]);
        curl.output().is_ok_and(|answer| answer.stdout == b"200")
    });
}

/// S2-13 (C2-57, C2-58, B2-36).
#[test]
fn s2_13_entry_point_override() {
    let daemon = with_images(&["wordpress"]);
    for client in BOTH {
        let run = daemon.run(client, &["run", "--rm", "wordpress:4", "cat", "/entrypoint.sh"]).exits(1);
        let run = run.complains("error: missing WORDPRESS_DB_HOST and MYSQL_PORT_3306_TCP");
        assert_eq!(run.stdout, "");
        daemon
            .run(client, &["run", "--rm", "--entrypoint=cat", "wordpress:4", "/entrypoint.sh"])
            .ok()
            .says("#!/bin/sh")
            .says("WORDPRESS_DB_HOST")
            .done();
    }
}

/// S2-14 (C2-59 to C2-64, B2-39, B2-42).
#[test]
fn s2_14_clean_up_semantics() {
    const TRAP: &str = "trap 'echo cleaning up; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    for client in BOTH {
        let daemon = Daemon::start();
        let start = |name: &str| {
            daemon.run(client, &["run", "-d", "--name", name, "busybox", "sh", "-c", TRAP]).ok().done();
            wait_until("it is ready", Duration::from_secs(5), || {
                daemon.minke(&["logs", name]).stdout.contains("ready")
            });
        };
        start("stopped");
        let refused = daemon.run(client, &["rm", "stopped"]).exits(1);
        refused.complains("container is running: stop the container before removing or force remove").done();
        assert_eq!(daemon.inspect("stopped", "{{.State.Running}}"), "true");
        assert_eq!(daemon.run(client, &["stop", "stopped"]).ok().text(), "stopped");
        daemon.run(client, &["logs", "stopped"]).ok().says("cleaning up").done();
        assert_eq!(daemon.inspect("stopped", "{{.State.ExitCode}}"), "0");
        assert_eq!(daemon.run(client, &["rm", "stopped"]).ok().text(), "stopped");

        start("killed");
        daemon.run(client, &["kill", "killed"]).ok().done();
        wait_until("it is gone", Duration::from_secs(5), || {
            daemon.inspect("killed", "{{.State.Running}}") == "false"
        });
        assert!(!daemon.minke(&["logs", "killed"]).ok().stdout.contains("cleaning up"));
        assert_eq!(daemon.inspect("killed", "{{.State.ExitCode}}"), "137");

        start("forced");
        daemon.run(client, &["rm", "-f", "forced"]).ok().done();
        daemon.run(client, &["inspect", "forced"]).exits(1).complains("No such object: forced").done();

        daemon
            .run(client, &["run", "--rm", "--name", "auto", "busybox", "echo", "Hello World"])
            .ok()
            .says("Hello World")
            .done();
        assert!(!daemon.run(client, &["ps", "-a"]).ok().stdout.contains("auto"));

        start("one");
        start("two");
        let ids = daemon.run(client, &["ps", "-a", "-q"]).ok();
        let ids: Vec<&str> = ids.text().lines().collect();
        daemon.run(client, &[&["rm", "-vf"], &ids[..]].concat()).ok().done();
        assert_eq!(daemon.run(client, &["ps", "-aq"]).ok().text(), "");
    }
}

/// B2-43: PID 1 without a handler ignores SIGTERM, so `stop` waits and kills.
#[test]
fn stop_waits_then_kills_what_ignores_its_signal() {
    let daemon = Daemon::start();
    daemon.minke(&["run", "-d", "--name", "deaf", "busybox", "sleep", "1000"]).ok().done();
    let start = std::time::Instant::now();
    daemon.docker(&["stop", "-t", "1", "deaf"]).ok().done();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(daemon.inspect("deaf", "{{.State.ExitCode}}"), "137");
    daemon.minke(&["start", "deaf"]).ok().done();
    daemon.minke(&["kill", "-s", "KILL", "deaf"]).ok().done();
    assert_eq!(daemon.minke(&["wait", "deaf"]).ok().text(), "137");
}

/// C2-09, B2-04: Ctrl-P Ctrl-Q leaves the container running; attach comes back to it; exit ends it.
#[test]
fn a_terminal_can_be_left_and_come_back_to() {
    let daemon = Daemon::start();
    for client in BOTH {
        let name = if client == Client::Minke { "agent-m" } else { "agent-d" };
        let script = "while :; do echo System up.; sleep 1; done";
        let args = ["run", "-it", "--name", name, "busybox", "sh", "-c", script];
        let mut terminal = Terminal::spawn(&daemon.command(client, &args), 24, 80);
        terminal.expect("System up.\r\n");
        terminal.send("\x10\x11");
        assert_eq!(terminal.wait(), 0, "{}", terminal.shown());
        assert_eq!(daemon.inspect(name, "{{.State.Running}}"), "true");
        daemon.run(client, &["logs", name]).ok().says("System up.\r\n").done();
        let mut terminal = Terminal::spawn(&daemon.command(client, &["attach", name]), 24, 80);
        terminal.expect("System up.\r\n");
        terminal.send("\x10\x11");
        terminal.wait();
        daemon.run(client, &["rm", "-f", name]).ok().done();
    }
}

/// C2-05, C2-07, B2-02: a shell on a terminal; its end is the container's.
#[test]
fn an_interactive_shell_ends_with_its_container() {
    let daemon = Daemon::start();
    for client in BOTH {
        let name = if client == Client::Minke { "shell-m" } else { "shell-d" };
        let args = ["run", "--interactive", "--tty", "--name", name, "busybox:latest", "/bin/sh"];
        let mut terminal = Terminal::spawn(&daemon.command(client, &args), 33, 101);
        terminal.expect("/ # ");
        terminal.send("stty size; echo $((6*7))\r");
        terminal.expect("42\r\n");
        terminal.expect("33 101");
        terminal.resize(40, 120);
        wait_until("the new size arrives", Duration::from_secs(5), || {
            terminal.send("stty size\r");
            std::thread::sleep(Duration::from_millis(50));
            terminal.shown().contains("40 120")
        });
        terminal.send("exit 7\r");
        assert_eq!(terminal.wait(), 7, "{}", terminal.shown());
        assert_eq!(daemon.inspect(name, "{{.State.Status}} {{.State.ExitCode}}"), "exited 7");
    }
}

/// C2-14: follow ends by itself when the container does.
#[test]
fn following_a_log_ends_with_the_container() {
    let daemon = Daemon::start();
    for client in BOTH {
        let script = "for i in 1 2 3; do echo line $i; sleep 0.2; done; echo err >&2";
        let id = daemon.minke(&["run", "-d", "busybox", "sh", "-c", script]).ok().text().to_owned();
        let log = daemon.run(client, &["logs", "-f", &id]).ok();
        assert_eq!((log.stdout.as_str(), log.stderr.as_str()), ("line 1\nline 2\nline 3\n", "err\n"));
        assert_eq!(daemon.run(client, &["logs", "--tail", "1", &id]).ok().stderr, "err\n");
    }
}

/// Exit statuses of `run`: the program's, 127 and 126 for a program that cannot be, 125 for the rest, 128 + signal.
#[test]
fn run_exits_as_dockers_does() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, &[&["run", "--rm"], args].concat());
        run(&["busybox", "sh", "-c", "exit 3"]).exits(3).done();
        run(&["--pid", "host", "busybox", "sh", "-c", "kill -9 $$"]).exits(137).done();
        run(&["busybox", "nosuch"])
            .exits(127)
            .complains("exec: \"nosuch\": executable file not found in $PATH")
            .done();
        run(&["busybox", "/nosuch"])
            .exits(127)
            .complains("exec: \"/nosuch\": stat /nosuch: no such file or directory")
            .done();
        run(&["busybox", "/etc"]).exits(126).complains("exec: \"/etc\": is a directory").done();
        run(&["busybox", "/etc/passwd"])
            .exits(126)
            .complains("exec: \"/etc/passwd\": permission denied")
            .done();
        run(&["--nosuch", "busybox"]).exits(125).complains("unknown flag: --nosuch").done();
        run(&["-m", "1x", "busybox"]).exits(125).done();
        run(&["-w", "relative", "busybox"])
            .exits(125)
            .complains("is invalid, it needs to be an absolute path")
            .done();
        run(&["-u", "nosuch", "busybox"])
            .exits(125)
            .complains("unable to find user nosuch: no matching entries in passwd file")
            .done();
        assert_eq!(daemon.minke(&["ps", "-aq"]).ok().text(), "", "nothing half-made stays");
    }
    daemon.minke(&["run", "-d", "--name", "box1", "busybox", "sleep", "1000"]).ok().done();
    for client in BOTH {
        daemon.run(client, &["exec", "box1", "sh", "-c", "exit 5"]).exits(5).done();
        daemon.run(client, &["exec", "box1", "nosuch"]).exits(127).done();
        daemon.run(client, &["exec", "box1", "/etc/passwd"]).exits(126).done();
        daemon
            .run(client, &["exec", "nosuch", "true"])
            .exits(1)
            .complains("No such container: nosuch")
            .done();
    }
}
