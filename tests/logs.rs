//! Logs: drivers and their options, reading across rotation, compression and restarts of the daemon, clients that attach.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use minke_testkit::{Client, Daemon, Options, wait_until};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

fn name(client: Client, what: &str) -> String {
    format!("copy-{what}-{client:?}").to_lowercase()
}

/// Runs a shell script in a container to its end.
#[track_caller]
fn finish(daemon: &Daemon, client: Client, name: &str, args: &[&str], script: &str) {
    let command = [&["run", "-d", "--name", name], args, &["busybox", "sh", "-c", script]].concat();
    daemon.run(client, &command).ok().done();
    daemon.run(client, &["wait", name]).ok().done();
}

#[track_caller]
fn drop_all(daemon: &Daemon, names: &[&str]) {
    daemon.docker(&[&["rm", "-f", "-v"], names].concat()).ok().done();
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

#[test]
fn rotated_and_compressed_logs_read_back_whole() {
    let daemon = Daemon::start();
    for (client, driver) in BOTH.into_iter().flat_map(|client| [(client, "json-file"), (client, "local")]) {
        let own = name(client, driver);
        let size = "max-size=40k";
        let args = [
            "--log-driver",
            driver,
            "--log-opt",
            size,
            "--log-opt",
            "max-file=20",
            "--log-opt",
            "compress=true",
        ];
        finish(&daemon, client, &own, &args, "seq 1 6000");
        let logs =
            |args: &[&str]| daemon.run(client, &[&["logs"], args, &[own.as_str()]].concat()).ok().stdout;
        // Docker compresses in the background, and reads what is there.
        wait_until("all of it is there", Duration::from_secs(10), || logs(&[]) == numbers(1..=6000));
        assert_eq!(logs(&["--tail", "3"]), "5998\n5999\n6000\n");
        assert_eq!(logs(&["--tail", "0"]), "");
        assert_eq!(logs(&["-n", "4000"]), numbers(2001..=6000));
        drop_all(&daemon, &[&own]);
    }
}

#[test]
fn a_follower_misses_nothing_while_files_are_rotated() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "follow");
        let script =
            "i=1; while [ $i -le 3000 ]; do echo line $i of many that fill the file; i=$((i+1)); done";
        let args = ["--log-opt", "max-size=60k", "--log-opt", "max-file=50"];
        let run = [&["create", "--name", &own], &args[..], &["busybox", "sh", "-c", script]].concat();
        daemon.run(client, &run).ok().done();
        daemon.run(client, &["start", &own]).ok().done();
        let follow = daemon.start_client(client, &["logs", "-f", &own]);
        let all = follow.finish(Duration::from_secs(60)).ok().stdout;
        let expected: String = (1..=3000).map(|i| format!("line {i} of many that fill the file\n")).collect();
        assert!(all == expected, "{} lines of 3000", all.lines().count());
        drop_all(&daemon, &[&own]);
    }
}

#[test]
fn moments_choose_lines() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "since");
        finish(&daemon, client, &own, &[], "echo one; sleep 1.2; echo two; sleep 1.2; echo three");
        let stamped = daemon.run(client, &["logs", "-t", &own]).ok().stdout;
        let moments: Vec<&str> = stamped.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(moments.len(), 3, "{stamped}");
        assert!(
            moments.iter().all(|moment| moment.len() == "2026-01-02T03:04:05.000000000Z".len()),
            "{stamped}"
        );
        let logs =
            |args: &[&str]| daemon.run(client, &[&["logs"], args, &[own.as_str()]].concat()).ok().stdout;
        assert_eq!(logs(&["--since", moments[1]]), "two\nthree\n");
        assert_eq!(logs(&["--until", moments[1]]), "one\ntwo\n");
        assert_eq!(logs(&["--since", moments[1], "--until", moments[1]]), "two\n");
        assert_eq!(logs(&["--since", "1h", "--tail", "2"]), "two\nthree\n");
        drop_all(&daemon, &[&own]);
    }
}

#[test]
fn details_are_what_labels_variables_and_tag_say() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "details");
        let args = [
            "--label",
            "com.example.a=1",
            "--label",
            "other=2",
            "-e",
            "APP_X=3",
            "-e",
            "REST=4",
            "--hostname",
            "inside",
            "--log-opt",
            "labels=other",
            "--log-opt",
            "labels-regex=^com\\.",
            "--log-opt",
            "env-regex=^APP_",
            "--log-opt",
            "tag={{.Name}}/{{.ImageName}}/{{printf \"%.4s\" .ID}}/{{.Command}}",
        ];
        finish(&daemon, client, &own, &args, "true; echo said");
        let id = daemon.inspect(&own, "{{.Id}}");
        let shown = daemon.run(client, &["logs", "--details", &own]).ok().stdout;
        let (details, line) = shown.split_once(' ').expect("details and a line");
        assert_eq!(line, "said\n", "{shown}");
        let mut pairs: Vec<&str> = details.split(',').collect();
        pairs.sort_unstable();
        let tag = format!("tag={own}%2Fbusybox%2F{}%2Fsh+-c+true%3B+echo+said", &id[..4]);
        assert_eq!(pairs, ["APP_X=3", "com.example.a=1", "other=2", &tag], "{client:?}");
        drop_all(&daemon, &[&own]);
    }
}

#[test]
fn options_are_refused_in_docker_s_words() {
    let daemon = Daemon::start();
    for client in BOTH {
        let refuse = |args: &[&str], text: &str| {
            let run = daemon.run(client, &[&["create"], args, &["busybox"]].concat());
            assert_ne!(run.code, 0, "{run}");
            run.complains(text).done();
        };
        refuse(&["--log-driver", "nosuch"], "plugin \"nosuch\" not found");
        refuse(&["--log-opt", "nosuch=1"], "unknown log opt 'nosuch' for json-file log driver");
        refuse(&["--log-opt", "mode=sometimes"], "logger: logging mode not supported: sometimes");
        refuse(
            &["--log-opt", "max-buffer-size=1m"],
            "max-buffer-size option is only supported with 'mode=non-blocking'",
        );
        let own = name(client, "none");
        finish(&daemon, client, &own, &["--log-driver", "none"], "echo lost");
        daemon
            .run(client, &["logs", &own])
            .exits(1)
            .complains("configured logging driver does not support reading")
            .done();
        let modes = name(client, "modes");
        let args = ["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=2m"];
        finish(&daemon, client, &modes, &args, "seq 1 500");
        assert_eq!(daemon.run(client, &["logs", &modes]).ok().stdout, numbers(1..=500));
        drop_all(&daemon, &[&own, &modes]);
    }
}

/// What the daemon's options say counts where a container says nothing.
#[test]
fn the_daemon_has_a_driver_and_options_for_all() {
    let args =
        ["--log-driver", "local", "--log-opt", "max-size=1m", "--log-opt", "max-file=2"].map(str::to_owned);
    let daemon = Daemon::with(Options { args: args.to_vec(), images: vec!["busybox"], ..Options::default() });
    if daemon.is_peer() {
        return;
    }
    finish(&daemon, Client::Docker, "plain", &[], "echo kept");
    assert_eq!(
        daemon.inspect(
            "plain",
            "{{.HostConfig.LogConfig.Type}} {{index .HostConfig.LogConfig.Config \"max-size\"}}"
        ),
        "local 1m"
    );
    assert_eq!(daemon.minke(&["logs", "plain"]).ok().stdout, "kept\n");
    finish(&daemon, Client::Docker, "own", &["--log-driver", "json-file"], "echo kept");
    assert_eq!(
        daemon.inspect("own", "{{.HostConfig.LogConfig.Type}} {{len .HostConfig.LogConfig.Config}}"),
        "json-file 0"
    );
    drop_all(&daemon, &["plain", "own"]);
}

/// The daemon killed and started again while a container writes and files are rotated.
#[test]
fn a_restart_of_the_daemon_loses_no_line() {
    let mut daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let script = "i=1; while [ $i -le 400 ]; do echo $i; i=$((i+1)); usleep 5000; done";
    let args = ["--log-opt", "max-size=5k", "--log-opt", "max-file=9", "--log-opt", "compress=true"];
    let run = [&["run", "-d", "--name", "writer"], &args[..], &["busybox", "sh", "-c", script]].concat();
    daemon.minke(&run).ok().done();
    daemon.kill();
    daemon.spawn();
    let follow = daemon.start_client(Client::Minke, &["logs", "-f", "writer"]);
    assert_eq!(follow.finish(Duration::from_secs(30)).ok().stdout, numbers(1..=400));
    daemon.minke(&["rm", "-f", "writer"]).ok().done();
}

/// A million short lines, some in pieces: every one is there, in order.
#[test]
fn a_flood_of_lines_is_kept_whole() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    finish(&daemon, Client::Minke, "flood", &[], "seq 1 200000");
    let lines = daemon.minke(&["logs", "flood"]).ok().stdout;
    assert!(lines == numbers(1..=200_000), "{} lines", lines.lines().count());
    drop_all(&daemon, &["flood"]);
}

/// Lines that come one by one and fast are gathered by the keeper; none is late by more than a moment.
#[test]
fn lines_that_are_gathered_come_soon_and_in_order() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let script = "i=1; while [ $i -le 2000 ]; do echo $i; i=$((i+1)); done; echo last";
    let run = daemon.minke(&["run", "--rm", "busybox", "sh", "-c", script]).ok();
    assert_eq!(run.stdout, numbers(1..=2000) + "last\n");
}

/// A client that attaches and reads nothing does not stop the container, nor another client.
#[test]
fn a_client_that_reads_nothing_stops_nobody() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let script = "read go; seq 1 300000; echo done > /finished; sleep 1000";
    daemon.minke(&["run", "-di", "--name", "talker", "busybox", "sh", "-c", script]).ok().done();
    let attach = |query: &str| {
        let mut socket = UnixStream::connect(daemon.socket()).expect("connect");
        let head = format!(
            "POST /v1.44/containers/talker/attach?stream=1&{query} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).expect("ask");
        socket
    };
    let mute = attach("stdout=1&stderr=1");
    let mut typist = attach("stdin=1");
    daemon.wait_for_events("talker", "attach", 2);
    typist.write_all(b"go\n").expect("type");
    wait_until("it has written everything", Duration::from_secs(30), || {
        daemon.minke(&["exec", "talker", "cat", "/finished"]).code == 0
    });
    // What it has written is in its pipe, and in the log soon after.
    wait_until("all of it is in the log", Duration::from_secs(30), || {
        daemon.minke(&["logs", "--tail", "1", "talker"]).ok().stdout == "300000\n"
    });
    drop(mute);
    daemon.minke(&["rm", "-f", "talker"]).ok().done();
}

/// `-i` without `-t`: the end of the client's input is the end of the program's, and its output still comes.
#[test]
fn a_half_closed_stream_still_brings_the_answer() {
    let daemon = Daemon::start();
    for client in BOTH {
        let said = daemon.run_with_input(
            client,
            &["run", "-i", "--rm", "busybox", "sh", "-c", "wc -c; sleep 0.3; echo end"],
            b"12345",
        );
        assert_eq!(said.ok().stdout, "5\nend\n", "{client:?}");
    }
}

#[test]
fn attach_without_input_and_without_signals() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "proxy");
        let script = "trap 'echo caught' TERM INT; while :; do sleep 0.1; done";
        daemon.run(client, &["run", "-d", "--name", &own, "busybox", "sh", "-c", script]).ok().done();
        let watcher = daemon.start_client(client, &["attach", "--no-stdin", "--sig-proxy=false", &own]);
        daemon.wait_for_events(&own, "attach", 1);
        watcher.signal(rustix::process::Signal::TERM);
        std::thread::sleep(Duration::from_millis(300));
        // Docker's own stays until it is made to go.
        watcher.signal(rustix::process::Signal::KILL);
        let gone = watcher.finish(Duration::from_secs(10));
        assert!(!gone.stdout.contains("caught"), "{gone}");
        assert_eq!(daemon.inspect(&own, "{{.State.Running}}"), "true");
        assert_eq!(daemon.run(client, &["logs", &own]).ok().stdout, "");
        drop_all(&daemon, &[&own]);
    }
}

/// A websocket carries output without frames of docker's, and takes input.
#[test]
fn a_websocket_attaches() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    daemon.minke(&["run", "-di", "--name", "ws", "busybox", "cat"]).ok().done();
    let mut socket = UnixStream::connect(daemon.socket()).expect("connect");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    let head = "GET /v1.44/containers/ws/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n\
                Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(head.as_bytes()).expect("ask");
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).expect("a head");
        seen.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&seen);
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    // A masked text frame of three bytes, the mask being zeros.
    socket.write_all(&[0x81, 0x83, 0, 0, 0, 0, b'h', b'i', b'\n']).expect("type");
    let mut answer = [0; 5];
    socket.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer[1..], &[3, b'h', b'i', b'\n']);
    drop(socket);
    daemon.minke(&["rm", "-f", "ws"]).ok().done();
}
