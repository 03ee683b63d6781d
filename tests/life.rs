//! The life of a container: restart policies, a reboot of the host, stopping, freezing, running out of memory. Through the `docker`
//! CLI where both engines are to say the same, so that the tests can be proven on a real Docker first.

use std::time::Duration;

use minke_testkit::{Daemon, Options, Run, unique, wait_until};

const SOON: Duration = Duration::from_secs(20);

fn status(daemon: &Daemon, name: &str) -> String {
    let filter = format!("name=^{name}$");
    daemon.docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Status}}"]).ok().text().to_owned()
}

/// B2-31, B2-32, B2-33, C2-61: the loop of a restart policy, and what ends it.
#[test]
fn b2_33_while_a_container_waits_for_its_restart_verbs_say_so_and_stop_kill_and_rm_end_it() {
    let daemon = Daemon::start();
    let name = unique("loop");
    let state = || {
        daemon
            .docker(&["inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.State.Pid}}", &name])
            .text()
            .to_owned()
    };
    let count = || {
        daemon.docker(&["inspect", "-f", "{{.RestartCount}}", &name]).text().parse::<u32>().expect("a number")
    };
    let restarting = || {
        wait_until("it waits for its restart", SOON, || count() >= 4 && state() == "restarting true 0");
    };
    daemon.docker(&["run", "-d", "--name", &name, "--restart", "always", "busybox", "false"]).ok().done();
    restarting();
    assert!(status(&daemon, &name).starts_with("Restarting (1) "));
    let wait = "is restarting, wait until the container is running";
    daemon.docker(&["exec", &name, "true"]).exits(1).complains(wait).done();
    daemon.docker(&["pause", &name]).exits(1).complains(wait).done();
    let refused = format!(
        "cannot remove container \"{name}\": container is restarting: stop the container before removing"
    );
    daemon.docker(&["rm", &name]).exits(1).complains(&refused).done();
    for verb in [&["stop", "-t", "1"][..], &["kill"]] {
        restarting();
        daemon.docker(&[verb, &[&name]].concat()).ok().done();
        assert_eq!(state(), "exited false 0");
        let ended = count();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!((state().as_str(), count()), ("exited false 0", ended), "it stays ended");
        daemon.docker(&["start", &name]).ok().done();
    }
    // A start by hand begins anew: four restarts take one and a half seconds, not half a minute.
    restarting();
    daemon.docker(&["update", "--restart", "no", &name]).ok().done();
    wait_until("the new policy ends it", SOON, || state() == "exited false 0");
    daemon.docker(&["update", "--restart", "on-failure:2", &name]).ok().done();
    daemon.docker(&["start", &name]).ok().done();
    wait_until("it was restarted twice", SOON, || state() == "exited false 0" && count() == 2);
    daemon
        .docker(&["update", "--restart", "always:2", &name])
        .exits(1)
        .complains("invalid restart policy: maximum retry count can only be used with 'on-failure'")
        .done();
    daemon.docker(&["update", "--restart", "always", &name]).ok().done();
    daemon.docker(&["start", &name]).ok().done();
    restarting();
    daemon.docker(&["rm", "-f", &name]).ok().done();
    daemon.docker(&["inspect", &name]).exits(1).done();
}

/// What runs, waits or was stopped when the host goes down, and is there when it is up again.
#[test]
fn after_a_reboot_of_the_host_policies_are_honoured() {
    let mut daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let run = |name: &str, policy: &str| {
        daemon
            .minke(&["run", "-d", "--name", name, "--restart", policy, "busybox", "sleep", "1000"])
            .ok()
            .done();
    };
    for (name, policy) in
        [("none", "no"), ("always", "always"), ("unless", "unless-stopped"), ("failure", "on-failure:1")]
    {
        run(name, policy);
        run(&format!("stopped-{name}"), policy);
        daemon.minke(&["stop", "-t", "0", &format!("stopped-{name}")]).ok().done();
    }
    daemon.minke(&["run", "-d", "--rm", "--name", "passing", "busybox", "sleep", "1000"]).ok().done();
    daemon
        .minke(&["create", "--name", "fresh", "--restart", "always", "busybox", "sleep", "1000"])
        .ok()
        .done();
    daemon
        .minke(&["run", "-d", "--name", "frozen", "--restart", "always", "busybox", "sleep", "1000"])
        .ok()
        .done();
    daemon.minke(&["pause", "frozen"]).ok().done();
    daemon.kill();
    // A host that goes down takes every process with it, and what lies in /run.
    let left = daemon.leaks();
    wait_until("everything is gone", SOON, || {
        let now = daemon.leaks();
        for cgroup in &now.cgroups {
            // What is frozen dies when it is thawed; each file is there on one kind of host.
            drop(std::fs::write(cgroup.join("freezer.state"), "THAWED"));
            drop(std::fs::write(cgroup.join("cgroup.freeze"), "0"));
        }
        now.sweep();
        now.processes.is_empty()
    });
    assert!(left.processes.len() >= 6, "keepers and programs were there: {left:?}");
    std::fs::remove_dir_all(daemon.exec_root()).expect("what is in memory is gone");
    daemon.spawn();
    let state = |name: &str| daemon.inspect(name, "{{.State.Status}} {{.State.ExitCode}}");
    for name in ["always", "unless", "failure", "stopped-always", "frozen"] {
        wait_until(&format!("{name} is back"), SOON, || state(name) == "running 0");
        daemon.minke(&["exec", name, "true"]).ok().done();
    }
    assert_eq!(state("none"), "exited 255", "how it ended nobody knows");
    for name in ["stopped-none", "stopped-unless", "stopped-failure"] {
        assert_eq!(state(name), "exited 137", "{name}");
    }
    assert_eq!(state("fresh"), "created 0", "a container that never ran is nobody's to start");
    daemon.minke(&["inspect", "passing"]).exits(1).complains("passing").done();
}

#[test]
fn without_live_restore_containers_end_with_the_daemon_and_come_back_with_it() {
    let mut daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    daemon.terminate();
    let file = daemon.path().join("daemon.json");
    std::fs::write(&file, r#"{"live-restore": false, "shutdown-timeout": 3}"#).expect("a file");
    let path = file.to_string_lossy().into_owned();
    daemon.set_args(&["--config-file", &path]);
    daemon.spawn();
    assert_eq!(daemon.docker(&["info", "-f", "{{.LiveRestoreEnabled}}"]).ok().text(), "false");
    let trap = "trap 'echo asked; exit 0' TERM; while :; do sleep 0.05; done";
    for (name, policy) in [("polite", "no"), ("always", "always")] {
        daemon
            .minke(&["run", "-d", "--name", name, "--restart", policy, "busybox", "sh", "-c", trap])
            .ok()
            .done();
    }
    daemon
        .minke(&["run", "-d", "--name", "deaf", "--stop-timeout", "60", "busybox", "sleep", "1000"])
        .ok()
        .done();
    daemon
        .minke(&["run", "-d", "--rm", "--name", "passing", "--init", "busybox", "sleep", "1000"])
        .ok()
        .done();
    let start = std::time::Instant::now();
    daemon.terminate();
    let took = start.elapsed();
    assert!(took < minke_testkit::patience(Duration::from_secs(12)), "{took:?}");
    assert_eq!(daemon.leaks().processes, Vec::new(), "nothing runs on");
    daemon.spawn();
    let state = |name: &str| daemon.inspect(name, "{{.State.Status}} {{.State.ExitCode}}");
    assert_eq!((state("polite"), state("deaf")), ("exited 0".to_owned(), "exited 137".to_owned()));
    wait_until("its policy brings it back", SOON, || state("always") == "running 0");
    assert!(daemon.minke(&["logs", "always"]).ok().stdout.contains("asked"));
    daemon.minke(&["inspect", "passing"]).exits(1).complains("passing").done();
    // The file is read again on SIGHUP.
    std::fs::write(&file, r#"{"live-restore": true, "shutdown-timeout": 3}"#).expect("a file");
    let daemon_pid = rustix::process::Pid::from_raw(daemon.pid().cast_signed()).expect("a pid");
    rustix::process::kill_process(daemon_pid, rustix::process::Signal::HUP).expect("told");
    wait_until("it knows", SOON, || {
        daemon.docker(&["info", "-f", "{{.LiveRestoreEnabled}}"]).text() == "true"
    });
    let pid = daemon.inspect("always", "{{.State.Pid}}");
    daemon.terminate();
    daemon.spawn();
    assert_eq!(daemon.inspect("always", "{{.State.Pid}}"), pid);
}

/// B2-40, B2-41, B2-43, C2-62: ways to stop.
#[test]
fn b2_40_a_container_is_stopped_by_its_own_signal_and_within_its_own_time() {
    let daemon = Daemon::start();
    let name = unique("signals");
    let script = "trap 'exit 7' TERM; trap 'exit 8' USR1; trap 'exit 9' 37; trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done";
    let run = |flags: &[&str], script: &str| {
        daemon.docker(&["rm", "-f", &name]).done();
        daemon
            .docker(&[&["run", "-d", "--name", &name], flags, &["busybox", "sh", "-c", script]].concat())
            .ok()
            .done();
        wait_until("it is ready", SOON, || daemon.docker(&["logs", &name]).stdout.contains("ready"));
    };
    let code = || daemon.docker(&["wait", &name]).ok().text().to_owned();
    let did = |args: &[&str]| daemon.docker(&[args, &[&name]].concat()).ok().done();
    run(&[], script);
    did(&["stop"]);
    assert_eq!(code(), "7");
    run(&["--stop-signal", "USR1"], script);
    did(&["stop"]);
    assert_eq!(code(), "8");
    run(&["--stop-signal", "SIGRTMIN+3"], script);
    did(&["stop"]);
    assert_eq!(code(), "9");
    run(&[], script);
    did(&["stop", "-s", "10"]);
    assert_eq!(code(), "8");
    for signal in ["RTMIN+3", "37", "SIGRTMIN+3", "rtmin+3"] {
        run(&[], script);
        did(&["kill", "-s", signal]);
        assert_eq!(code(), "9", "{signal}");
    }
    run(&[], script);
    did(&["kill", "-s", "HUP"]);
    wait_until("it heard", SOON, || daemon.docker(&["logs", &name]).stdout.contains("hup"));
    for (signal, words) in [
        ("FOO", "invalid signal: FOO"),
        ("0", "invalid signal: 0"),
        ("77", "the linux daemon does not support signal 77"),
    ] {
        let words = format!("cannot kill container: {name}: {words}");
        daemon.docker(&["kill", "-s", signal, &name]).exits(1).complains(&words).done();
    }
    did(&["kill"]);
    assert_eq!(code(), "137");
    daemon
        .docker(&["kill", &name])
        .exits(1)
        .complains(&format!("cannot kill container: {name}: container "))
        .done();
    // B2-43: nothing handles the signal, so that its time passes.
    run(&["--stop-timeout", "1"], "echo ready; trap '' TERM; while :; do sleep 0.05; done");
    let start = std::time::Instant::now();
    did(&["stop"]);
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(950) && took < minke_testkit::patience(Duration::from_secs(8)),
        "{took:?}"
    );
    assert_eq!(code(), "137");
    did(&["stop"]);
    daemon
        .docker(&["create", "--stop-signal", "FOO", "busybox"])
        .exits(1)
        .complains("invalid signal: FOO")
        .done();
    did(&["rm", "-f"]);
}

/// C2-61, B2-16: what a frozen container can and cannot.
#[test]
fn b2_16_a_frozen_container_is_told_apart_from_others() {
    let daemon = Daemon::start();
    let name = unique("frozen");
    let id = daemon.docker(&["create", "--name", &name, "busybox", "sleep", "1000"]).ok().text().to_owned();
    let refused = |args: &[&str], words: &str| {
        daemon.docker(&[args, &[&name]].concat()).exits(1).complains(&words.replace("ID", &id)).done();
    };
    refused(&["pause"], "container ID is not running");
    refused(&["unpause"], "Container ID is not paused");
    assert_eq!(status(&daemon, &name), "Created");
    daemon.docker(&["start", &name]).ok().done();
    refused(&["unpause"], "Container ID is not paused");
    daemon.docker(&["pause", &name]).ok().done();
    refused(&["pause"], "Container ID is already paused");
    refused(
        &["rm"],
        &format!("cannot remove container \"{name}\": container is paused and must be unpaused first"),
    );
    refused(&["start"], "cannot start a paused container, try unpause instead");
    daemon
        .docker(&["exec", &name, "true"])
        .exits(1)
        .complains(&format!("Container {name} is paused, unpause the container before exec"))
        .done();
    assert!(status(&daemon, &name).starts_with("Up ") && status(&daemon, &name).ends_with("(Paused)"));
    daemon.docker(&["top", &name]).ok().says("sleep 1000").done();
    assert_eq!(
        daemon
            .docker(&[
                "ps",
                "-q",
                "--no-trunc",
                "--filter",
                "status=paused",
                "--filter",
                &format!("name={name}")
            ])
            .ok()
            .text(),
        id
    );
    daemon.docker(&["stop", "-t", "0", &name]).ok().done();
    assert!(status(&daemon, &name).starts_with("Exited (137)"));
    daemon.docker(&["start", &name]).ok().done();
    daemon.docker(&["pause", &name]).ok().done();
    daemon.docker(&["rm", "-f", &name]).ok().done();
}

#[test]
fn a_container_that_runs_out_of_memory_says_so() {
    let daemon = Daemon::start();
    let name = unique("hungry");
    let grow = "x=a; while :; do x=$x$x; done";
    let run = daemon.docker(&["run", "--name", &name, "-m", "8m", "busybox", "sh", "-c", grow]);
    run.exits(137).done();
    assert_eq!(
        daemon.docker(&["inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", &name]).ok().text(),
        "true 137"
    );
    let told = daemon.events_of(&name, "{{.Action}}");
    let place = |wanted: &str| told.iter().position(|action| action == wanted);
    assert!(place("oom").is_some() && place("oom") < place("die"), "{told:?}");
    daemon.docker(&["rm", &name]).ok().done();
    let args = ["run", "--rm", "--oom-score-adj", "321", "busybox", "cat", "/proc/self/oom_score_adj"];
    assert_eq!(daemon.docker(&args).ok().text(), "321");
    let refused = ["create", "--oom-score-adj", "2000", "busybox"];
    daemon
        .docker(&refused)
        .exits(1)
        .complains("Invalid value 2000, range for oom score adj is [-1000, 1000]")
        .done();
    let v1 = std::path::Path::new("/sys/fs/cgroup/memory/memory.oom_control").exists();
    let args = ["create", "--name", &name, "--oom-kill-disable", "-m", "64m", "busybox", "true"];
    let created = daemon.docker(&args).ok();
    let disabled = daemon.docker(&["inspect", "-f", "{{.HostConfig.OomKillDisable}}", &name]).ok();
    if v1 {
        assert_eq!((disabled.text(), created.stderr.as_str()), ("true", ""));
        daemon.docker(&["start", &name]).ok().done();
    } else {
        created.complains("Your kernel does not support OomKillDisable. OomKillDisable discarded.").done();
    }
    daemon.docker(&["rm", "-f", &name]).ok().done();
}

/// B2-44, C2-64: cleaning up goes on past what cannot be removed.
#[test]
fn b2_44_what_can_be_removed_is_removed_though_another_cannot() {
    let daemon = Daemon::start();
    let (running, ended) = (unique("running"), unique("ended"));
    daemon.docker(&["run", "-d", "--name", &running, "busybox", "sleep", "1000"]).ok().done();
    daemon.docker(&["run", "--name", &ended, "busybox", "true"]).ok().done();
    let removed: Run = daemon.docker(&["rm", "nosuch", &running, &ended]).exits(1);
    assert_eq!(removed.text(), ended);
    removed.complains("No such container: nosuch").complains(&format!("cannot remove container \"{running}\": container is running: stop the container before removing or force remove")).done();
    daemon.docker(&["rm", "-vf", &running]).ok().done();
}

/// Five hundred, as on a crowded host.
#[test]
fn five_hundred_sleeping_containers_are_listed_and_removed() {
    let daemon = Daemon::with(Options { images: vec!["busybox"], ..Options::default() });
    if daemon.is_peer() {
        return;
    }
    std::thread::scope(|scope| {
        for client in 0..4 {
            let daemon = &daemon;
            scope.spawn(move || {
                for number in 0..125 {
                    let name = format!("s{client}x{number}");
                    let args =
                        ["run", "-d", "--network", "none", "--name", &name, "busybox", "sleep", "100000"];
                    daemon.minke(&args).ok().done();
                }
            });
        }
    });
    let listed = daemon.minke(&["ps", "-q"]).ok();
    assert_eq!(listed.text().lines().count(), 500);
    let start = std::time::Instant::now();
    daemon.minke(&["ps"]).ok().done();
    let took = start.elapsed();
    assert!(took < minke_testkit::patience(Duration::from_secs(2)), "a listing took {took:?}");
    let ids: Vec<&str> = listed.stdout.split_whitespace().collect();
    daemon.minke(&[&["rm", "-f"], &ids[..]].concat()).ok().done();
    assert_eq!(daemon.minke(&["ps", "-aq"]).ok().text(), "");
}

/// B2-05, B2-14, C2-11: a container that is started again is what it was made to be.
#[test]
fn b2_05_a_restart_keeps_what_the_container_was_made_with() {
    let daemon = Daemon::start();
    let name = unique("kept");
    let flags = [
        "-i",
        "-t",
        "-e",
        "WHO=me",
        "--label",
        "a=b",
        "-w",
        "/tmp",
        "-h",
        "inside",
        "--restart",
        "on-failure:3",
    ];
    let create = [&["create", "--name", &name], &flags[..], &["busybox", "cat"]].concat();
    let id = daemon.docker(&create).ok().text().to_owned();
    let all = || {
        let format = "{{.Id}} {{json .Config}} {{json .HostConfig.RestartPolicy}} {{.Path}} {{.Args}}";
        daemon.docker(&["inspect", "-f", format, &name]).ok().text().to_owned()
    };
    let made = all();
    assert!(made.starts_with(&id) && made.contains("\"Tty\":true") && made.contains("WHO=me"), "{made}");
    for verb in ["start", "restart", "restart"] {
        assert_eq!(daemon.docker(&[verb, &name]).ok().text(), name);
        assert_eq!(all(), made, "after {verb}");
        let seen = daemon.docker(&["exec", &name, "sh", "-c", "echo $WHO $(pwd) $(hostname)"]).ok();
        assert_eq!(seen.text(), "me /tmp inside");
        daemon.docker(&["stop", "-t", "0", &name]).ok().done();
    }
    assert_eq!(daemon.docker(&["rm", &name]).ok().text(), name, "C2-60");
    daemon.docker(&["create", "--name", &name, "busybox", "true"]).ok().done();
    daemon.docker(&["rm", &name]).ok().done();
}

/// B2-37: a start-up script that is not ready yet is tried again until it is.
#[test]
fn b2_37_a_script_that_fails_twice_is_up_the_third_time() {
    let daemon = Daemon::start();
    let name = unique("third");
    let script = "echo try >> /tries; test $(wc -l < /tries) -ge 3 || exit 9; echo up; exit 0";
    let run = ["run", "-d", "--name", &name, "--restart", "on-failure", "busybox", "sh", "-c", script];
    daemon.docker(&run).ok().done();
    let state = || {
        let format = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}";
        daemon.docker(&["inspect", "-f", format, &name]).text().to_owned()
    };
    wait_until("it is up", SOON, || state() == "exited 0 2");
    assert_eq!(daemon.docker(&["logs", &name]).ok().text(), "up");
    daemon.docker(&["rm", &name]).ok().done();
}

/// B2-06, B2-38: what a container that ended still has, and what goes with it.
#[test]
fn b2_38_an_ended_container_keeps_its_files_and_log_and_frees_its_port() {
    let daemon = Daemon::start();
    let (name, other) = (unique("ended"), unique("other"));
    let port = if daemon.is_peer() { "127.0.0.1:18090:80" } else { "127.0.0.1:8090:80" };
    let script = "echo out; echo err >&2; echo kept > /kept; exec sleep 1000";
    daemon.docker(&["run", "-d", "-p", port, "--name", &name, "busybox", "sh", "-c", script]).ok().done();
    let taken = ["run", "-d", "-p", port, "--name", &other, "busybox", "sleep", "1000"];
    daemon.docker(&taken).exits(125).complains("port is already allocated").done();
    daemon.docker(&["rm", "-f", &other]).ok().done();
    daemon.docker(&["stop", "-t", "0", &name]).ok().done();
    daemon.docker(&taken).ok().done();
    let logs = daemon.docker(&["logs", &name]).ok();
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));
    daemon.docker(&["rm", "-f", &other]).ok().done();
    daemon.docker(&["start", &name]).ok().done();
    assert_eq!(daemon.docker(&["exec", &name, "cat", "/kept"]).ok().text(), "kept");
    let log = daemon.docker(&["inspect", "-f", "{{.LogPath}}", &name]).ok().text().to_owned();
    if !daemon.is_peer() {
        assert_eq!(
            std::fs::read_to_string(&log).expect("its log").lines().count(),
            4,
            "it goes on in the same file"
        );
    }
    daemon.docker(&["rm", "-f", &name]).ok().done();
    wait_until("its log is gone", SOON, || !std::path::Path::new(&log).exists());
}
