//! The daemon killed at bad moments: containers go on, nothing acknowledged is lost, nothing half-made stays.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use minke_testkit::{Client, Daemon, Options, Terminal, wait_until};

fn private() -> Option<Daemon> {
    let daemon = Daemon::with(Options { images: vec!["busybox"], ..Options::default() });
    (!daemon.is_peer()).then_some(daemon)
}

#[test]
fn fifty_containers_do_not_notice_that_the_daemon_is_killed() {
    let Some(mut daemon) = private() else { return };
    // Thirty run on; twenty end while the daemon is away, each with its own status.
    for number in 0..50 {
        let script = if number < 20 {
            format!("i=0; while [ ! -e /stop ]; do echo tick $i; i=$((i+1)); sleep 0.1; done; exit {number}")
        } else {
            "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.1; done".to_owned()
        };
        daemon
            .minke(&["run", "-d", "--name", &format!("c{number}"), "busybox", "sh", "-c", &script])
            .ok()
            .done();
    }
    let pids: Vec<i32> =
        (0..50).map(|n| daemon.inspect(&format!("c{n}"), "{{.State.Pid}}").parse().expect("a pid")).collect();
    let mut attached = daemon.start_client(Client::Minke, &["attach", "--sig-proxy=false", "c30"]);
    daemon.wait_for_events("c30", "attach", 1);
    daemon.kill();
    let runs = |pid: &i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    for pid in &pids[..20] {
        std::fs::write(format!("/proc/{pid}/root/stop"), "").expect("tell it to end");
    }
    // Long enough for the others to log ten lines.
    std::thread::sleep(Duration::from_secs(1));
    wait_until("those that were told to end have ended", Duration::from_secs(20), || {
        !pids[..20].iter().any(runs)
    });
    assert!(pids[20..].iter().all(runs), "the others run on");
    daemon.spawn();
    for (number, pid) in pids.iter().enumerate() {
        let name = format!("c{number}");
        let state = daemon.inspect(&name, "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}");
        let expected = if number < 20 { format!("exited {number} 0") } else { format!("running 0 {pid}") };
        assert_eq!(state, expected, "{name}");
        let log = daemon.minke(&["logs", &name]).ok();
        for (expected, line) in log.stdout.lines().enumerate() {
            assert_eq!(line, format!("tick {expected}"), "no line of {name} is lost or doubled");
        }
        // Those that were told to end did so at once.
        let least = if number < 20 { 2 } else { 10 };
        assert!(log.stdout.lines().count() >= least, "{name} logged while the daemon was away: {log}");
    }
    let mut again = daemon.start_client(Client::Docker, &["attach", "--sig-proxy=false", "c31"]);
    wait_until("attach works again", Duration::from_secs(20), || again.said().contains("tick "));
    daemon.minke(&["kill", "c31"]).ok().done();
    let seen = std::mem::replace(&mut again, daemon.start_client(Client::Minke, &["version"]));
    let seen = seen.finish(Duration::from_secs(10));
    assert!(seen.stdout.contains("tick "), "attach works again: {seen}");
    // The client that was attached all the time never noticed.
    daemon.minke(&["kill", "c30"]).ok().done();
    let seen = std::mem::replace(&mut attached, daemon.start_client(Client::Minke, &["version"]));
    let seen = seen.finish(Duration::from_secs(10));
    let ticks: Vec<u64> =
        seen.stdout.lines().filter_map(|line| line.strip_prefix("tick ")?.parse().ok()).collect();
    assert!(ticks.len() >= 8 && ticks.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen}");
    daemon.minke(&["exec", "c40", "true"]).ok().done();
}

#[test]
fn twenty_kills_at_random_moments_lose_and_leak_nothing() {
    let Some(mut daemon) = private() else { return };
    let mut random = Random(u64::from(std::process::id()) * 2_654_435_761 + 1);
    let mut acknowledged = BTreeSet::new();
    let mut removed = BTreeSet::new();
    for round in 0..20 {
        let mut clients = Vec::new();
        for number in 0..6 {
            let name = format!("r{round}n{number}");
            let args: Vec<&str> = match number % 3 {
                0 => vec!["run", "-d", "--name", &name, "busybox", "sleep", "1000"],
                1 => vec!["create", "--name", &name, "busybox", "true"],
                _ => vec!["run", "--rm", "--name", &name, "busybox", "true"],
            };
            clients.push((name.clone(), number % 3 != 2, daemon.start_client(Client::Minke, &args)));
        }
        let victims: Vec<String> = acknowledged.iter().take(2).cloned().collect();
        let mut removals = Vec::new();
        for name in victims {
            removals.push((name.clone(), daemon.start_client(Client::Minke, &["rm", "-f", &name])));
        }
        std::thread::sleep(Duration::from_millis(random.below(40)));
        daemon.kill();
        for (name, kept, client) in clients {
            if client.finish(Duration::from_secs(20)).code == 0 && kept {
                acknowledged.insert(name);
            }
        }
        for (name, client) in removals {
            acknowledged.remove(&name);
            if client.finish(Duration::from_secs(20)).code == 0 {
                removed.insert(name);
            }
        }
        daemon.spawn();
        let listed = daemon.minke(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok();
        let names: BTreeSet<&str> = listed.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
        for name in &acknowledged {
            assert!(
                names.contains(name.as_str()),
                "round {round}: {name} was acknowledged and is lost:\n{listed}"
            );
        }
        for name in &removed {
            assert!(
                !names.contains(name.as_str()),
                "round {round}: {name} was removed and is back:\n{listed}"
            );
        }
        for line in listed.stdout.lines().filter(|line| line.ends_with(" running")) {
            let name = line.split(' ').next().unwrap_or_default();
            daemon.minke(&["exec", name, "true"]).ok().done();
        }
    }
    let all = daemon.minke(&["ps", "-aq"]).ok();
    let ids: Vec<&str> = all.stdout.split_whitespace().collect();
    if !ids.is_empty() {
        daemon.minke(&[&["rm", "-f"], &ids[..]].concat()).ok().done();
    }
    assert_eq!(zombies(&daemon), Vec::<String>::new());
    // The daemon's end checks for processes, mounts, links, cgroups and files.
}

/// Zombies whose parent is the daemon or one of its helpers.
fn zombies(daemon: &Daemon) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("procfs").flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        if fields.next() == Some("Z") && fields.next() == Some(&daemon.pid().to_string()) {
            found.push(stat);
        }
    }
    found
}

/// xorshift, so that a failing order can be told from the seed alone.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn a_terminal_lives_through_a_restart_of_the_daemon() {
    let Some(mut daemon) = private() else { return };
    let args = ["run", "-it", "--name", "shell", "busybox", "sh"];
    let mut terminal = Terminal::spawn(&daemon.command(Client::Minke, &args), 24, 80);
    terminal.expect("/ # ");
    daemon.kill();
    terminal.send("echo still $((40+2))\r");
    terminal.expect("still 42");
    daemon.spawn();
    terminal.send("exit 9\r");
    assert_eq!(terminal.wait(), 9, "{}", terminal.shown());
    wait_until("the exit is recorded", Duration::from_secs(5), || {
        daemon.inspect("shell", "{{.State.Status}} {{.State.ExitCode}}") == "exited 9"
    });
}

#[test]
fn a_terminated_daemon_leaves_its_containers_running() {
    let Some(mut daemon) = private() else { return };
    daemon.minke(&["run", "-d", "--name", "box1", "busybox", "sleep", "1000"]).ok().done();
    let pid = daemon.inspect("box1", "{{.State.Pid}}");
    let start = Instant::now();
    daemon.terminate();
    assert!(start.elapsed() < Duration::from_secs(5));
    daemon.spawn();
    assert_eq!(daemon.inspect("box1", "{{.State.Running}} {{.State.Pid}}"), format!("true {pid}"));
    daemon.minke(&["stop", "-t", "0", "box1"]).ok().done();
}

#[test]
fn a_second_daemon_on_the_same_directories_is_refused() {
    let Some(daemon) = private() else { return };
    let mut second = daemon.in_netns(&minke_testkit::tools::minke());
    second
        .arg("daemon")
        .arg("--data-root")
        .arg(daemon.data_root())
        .arg("--exec-root")
        .arg(daemon.exec_root());
    second.arg("-H").arg(format!("unix://{}/second.sock", daemon.path().display()));
    let run = minke_testkit::Run::new(second, b"");
    assert_ne!(run.code, 0);
    run.complains(&daemon.pid().to_string()).done();
    daemon.minke(&["run", "--rm", "busybox", "true"]).ok().done();
}

#[test]
fn a_container_whose_keeper_is_killed_is_not_left_half_alive() {
    let Some(daemon) = private() else { return };
    daemon.minke(&["run", "-d", "--name", "box1", "busybox", "sleep", "1000"]).ok().done();
    let pid = daemon.inspect("box1", "{{.State.Pid}}");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let parent =
        status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent").trim().to_owned();
    let keeper = rustix::process::Pid::from_raw(parent.parse().expect("a pid")).expect("a pid");
    rustix::process::kill_process(keeper, rustix::process::Signal::KILL).expect("kill the keeper");
    wait_until("the daemon knows", Duration::from_secs(5), || {
        daemon.inspect("box1", "{{.State.Running}}") == "false"
    });
    wait_until("its process is gone", Duration::from_secs(5), || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
    daemon.minke(&["start", "box1"]).ok().done();
    assert_eq!(daemon.inspect("box1", "{{.State.Running}}"), "true");
}

#[test]
fn a_daemon_leaves_the_containers_of_another_alone() {
    let Some(first) = private() else { return };
    first.minke(&["run", "-d", "--name", "box1", "busybox", "sleep", "1000"]).ok().done();
    let parent = ["--cgroup-parent".to_owned(), first.tag().to_owned()];
    let second = Daemon::with(Options { args: parent.to_vec(), ..Options::default() });
    second.minke(&["ps", "-a"]).ok().done();
    assert_eq!(first.inspect("box1", "{{.State.Running}}"), "true");
    first.minke(&["exec", "box1", "true"]).ok().done();
}
