//! Containers that take all they can get: host and engine stay well.

use std::time::{Duration, Instant};

use minke_testkit::{Client, Daemon, wait_until};

#[test]
fn a_fork_bomb_stays_within_its_pids_limit() {
    let daemon = Daemon::start();
    let bomb = "bomb() { bomb | bomb & }; bomb; sleep 2; echo done";
    daemon
        .minke(&["run", "-d", "--name", "bomb", "--pids-limit", "50", "busybox", "sh", "-c", bomb])
        .ok()
        .done();
    std::thread::sleep(Duration::from_millis(500));
    let top = daemon.docker(&["top", "bomb"]);
    assert!(top.stdout.lines().count() <= 52, "{top}");
    let start = Instant::now();
    daemon.minke(&["run", "--rm", "busybox", "true"]).ok().done();
    assert!(start.elapsed() < Duration::from_secs(5), "another container still starts");
    daemon.minke(&["rm", "-f", "bomb"]).ok().done();
    assert_eq!(daemon.minke(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn a_memory_hog_is_killed_at_its_limit_and_reported() {
    let daemon = Daemon::start();
    for client in [Client::Minke, Client::Docker] {
        let hog =
            ["run", "--name", "hog", "-m", "32m", "busybox", "sh", "-c", "x=a; while :; do x=$x$x; done"];
        daemon.run(client, &hog).exits(137).done();
        assert_eq!(daemon.inspect("hog", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
        daemon.minke(&["rm", "hog"]).ok().done();
    }
}

#[test]
fn a_flood_without_a_reader_stops_nobody() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    // A client that attaches and never reads.
    let name = "flood";
    daemon.minke(&["run", "-d", "--name", name, "--log-driver", "none", "busybox", "yes"]).ok().done();
    let stuck = attach_without_reading(&daemon, name);
    std::thread::sleep(Duration::from_secs(2));
    let written = || bytes_written(&daemon, name);
    let before = written();
    wait_until("the container goes on writing", Duration::from_secs(10), || written() > before + (1 << 20));
    let keeper = keeper_of(&daemon, name);
    let status = std::fs::read_to_string(format!("/proc/{keeper}/status")).expect("the keeper's status");
    let resident: u64 = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kb| kb.parse().ok())
        .expect("RssAnon in kB");
    assert!(resident < 8 << 10, "the keeper holds {resident} kB of its own");
    daemon.minke(&["run", "--rm", "busybox", "true"]).ok().done();
    drop(stuck);
    daemon.minke(&["rm", "-f", name]).ok().done();
}

/// A raw attach whose socket is never read.
fn attach_without_reading(daemon: &Daemon, name: &str) -> std::os::unix::net::UnixStream {
    use std::io::{Read, Write};
    let mut socket = std::os::unix::net::UnixStream::connect(daemon.socket()).expect("connect");
    write!(
        socket,
        "POST /v1.41/containers/{name}/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    )
    .expect("ask");
    let mut head = [0; 12];
    socket.read_exact(&mut head).expect("the status line");
    assert_eq!(&head, b"HTTP/1.1 101");
    socket
}

fn pid_of(daemon: &Daemon, name: &str) -> u32 {
    daemon.inspect(name, "{{.State.Pid}}").parse().expect("a pid")
}

/// The parent of the container's first process.
fn keeper_of(daemon: &Daemon, name: &str) -> u32 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", pid_of(daemon, name))).expect("its status");
    let line = status.lines().find(|line| line.starts_with("PPid:")).expect("a parent");
    line.split_whitespace().nth(1).and_then(|pid| pid.parse().ok()).expect("a pid")
}

fn bytes_written(daemon: &Daemon, name: &str) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", pid_of(daemon, name))).expect("its counters");
    let line = io.lines().find(|line| line.starts_with("wchar:")).expect("a counter");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

#[test]
fn a_keeper_is_small() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    for number in 0..5 {
        daemon.minke(&["run", "-d", "--name", &format!("c{number}"), "busybox", "sleep", "1000"]).ok().done();
    }
    std::thread::sleep(Duration::from_millis(300));
    let keeper = keeper_of(&daemon, "c2");
    let rollup =
        std::fs::read_to_string(format!("/proc/{keeper}/smaps_rollup")).expect("the keeper's memory");
    let pss: u64 = rollup
        .lines()
        .find(|line| line.starts_with("Pss:"))
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kb| kb.parse().ok())
        .expect("PSS in kB");
    // The promise in SPECIFICATION.md is 150 kB on a release build with many containers; this only catches a leak.
    assert!(pss < 1500, "a keeper takes {pss} kB");
}
