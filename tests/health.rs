//! Health checks: from flags and from images, as states, events and listings show them, and across restarts of the daemon.

use std::time::Duration;

use minke_testkit::{Daemon, unique, wait_until};

const SOON: Duration = Duration::from_secs(20);

fn health(daemon: &Daemon, name: &str) -> serde_json::Value {
    daemon.docker(&["inspect", "-f", "{{json .State.Health}}", name]).ok().json()
}

fn status(daemon: &Daemon, name: &str) -> String {
    let filter = format!("name=^{name}$");
    daemon.docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Status}}"]).ok().text().to_owned()
}

/// P2-07, the answer to it: a container says whether it serves.
#[test]
fn a_check_that_succeeds_makes_a_container_healthy_everywhere_it_is_shown() {
    let daemon = Daemon::start();
    let name = unique("well");
    let run =
        ["run", "-d", "--name", &name, "--health-cmd", "echo hi; echo err >&2", "--health-interval", "300ms"];
    daemon.docker(&[&run[..], &["busybox", "sleep", "1000"]].concat()).ok().done();
    assert!(status(&daemon, &name).ends_with("(health: starting)"));
    assert_eq!(
        health(&daemon, &name),
        serde_json::json!({"Status": "starting", "FailingStreak": 0, "Log": []})
    );
    wait_until("it is healthy", SOON, || health(&daemon, &name)["Status"] == "healthy");
    wait_until("five answers are kept", SOON, || {
        health(&daemon, &name)["Log"].as_array().is_some_and(|log| log.len() == 5)
    });
    std::thread::sleep(Duration::from_millis(400));
    let seen = health(&daemon, &name);
    let log = seen["Log"].as_array().expect("answers");
    assert_eq!((log.len(), &seen["FailingStreak"]), (5, &serde_json::json!(0)));
    for answer in log {
        assert_eq!(answer["ExitCode"], 0);
        assert!(
            answer["Output"].as_str().is_some_and(|said| said.contains("hi\n") && said.contains("err\n"))
        );
        assert!(answer["Start"].as_str() < answer["End"].as_str(), "{answer}");
    }
    assert!(status(&daemon, &name).ends_with("(healthy)"));
    let chosen = |health: &str| {
        let filter = format!("health={health}");
        let args =
            ["ps", "-a", "--filter", &filter, "--filter", &format!("name={name}"), "--format", "{{.Names}}"];
        daemon.docker(&args).ok().text().to_owned()
    };
    assert_eq!(
        [chosen("healthy"), chosen("none"), chosen("starting")],
        [name.clone(), String::new(), String::new()]
    );
    let told = daemon.events_of(&name, "{{.Action}}");
    let at = told.iter().position(|action| action == "health_status: healthy").expect("told");
    let shell = "/bin/sh -c echo hi; echo err >&2";
    assert_eq!(
        told[at - 3..at],
        [format!("exec_create: {shell}"), format!("exec_start: {shell}"), "exec_die".into()]
    );
    daemon.docker(&["pause", &name]).ok().done();
    assert!(status(&daemon, &name).ends_with("(Paused)"));
    daemon.docker(&["unpause", &name]).ok().done();
    wait_until("it is healthy again", SOON, || health(&daemon, &name)["Status"] == "healthy");
    daemon.docker(&["stop", "-t", "0", &name]).ok().done();
    assert_eq!(health(&daemon, &name)["Status"], "unhealthy", "nobody asks any more");
    assert!(status(&daemon, &name).starts_with("Exited (137)"));
    daemon.docker(&["start", &name]).ok().done();
    assert_eq!(health(&daemon, &name)["Status"], "starting");
    assert_ne!(health(&daemon, &name)["Log"], serde_json::json!([]), "answers of the run before are kept");
}

#[test]
fn checks_that_fail_or_take_too_long_make_a_container_unhealthy() {
    let daemon = Daemon::start();
    let start = |name: &str, command: &str, more: &[&str]| {
        let run = ["run", "-d", "--name", name, "--health-cmd", command, "--health-interval", "200ms"];
        daemon.docker(&[&run[..], more, &["busybox", "sleep", "1000"]].concat()).ok().done();
    };
    let (failing, slow, mute) = (unique("failing"), unique("slow"), unique("mute"));
    start(&failing, "echo no; exit 3", &["--health-retries", "2"]);
    start(&slow, "echo waiting; sleep 77", &["--health-timeout", "300ms", "--health-retries", "1"]);
    start(&mute, "yes | head -c 10000; exit 1", &["--health-start-period", "1h"]);
    for name in [&failing, &slow] {
        wait_until("it is unhealthy", SOON, || health(&daemon, name)["Status"] == "unhealthy");
        assert!(status(&daemon, name).ends_with("(unhealthy)"));
        assert!(daemon.events_of(name, "{{.Action}}").contains(&"health_status: unhealthy".to_owned()));
    }
    let seen = health(&daemon, &failing);
    assert!(seen["FailingStreak"].as_u64() >= Some(2), "{seen}");
    assert_eq!((&seen["Log"][0]["ExitCode"], &seen["Log"][0]["Output"]), (&3.into(), &"no\n".into()));
    let seen = health(&daemon, &slow);
    assert_eq!(seen["Log"][0]["ExitCode"], -1);
    assert_eq!(seen["Log"][0]["Output"], "Health check exceeded timeout (300ms): waiting\n");
    // What took too long is gone, except for the one that is being asked now.
    let left = daemon.docker(&["exec", &slow, "sh", "-c", "ps | grep -c '[s]leep 77'"]);
    assert!(left.text().parse::<u32>().expect("a number") <= 4, "{left}");
    // While it starts failures do not count; of what is said 4096 bytes are kept.
    wait_until("it was asked", SOON, || health(&daemon, &mute)["Log"][0]["ExitCode"] == 1);
    let seen = health(&daemon, &mute);
    assert_eq!((&seen["Status"], &seen["FailingStreak"]), (&"starting".into(), &0.into()));
    let said = seen["Log"][0]["Output"].as_str().expect("text");
    assert_eq!((said.len(), said.ends_with("...")), (4096 + 3, true));
}

#[test]
fn an_image_s_check_is_inherited_field_by_field_and_can_be_switched_off() {
    let daemon = Daemon::start();
    let image = unique("checked");
    let archive = daemon.path().join("empty.tar");
    tar::Builder::new(std::fs::File::create(&archive).expect("a file")).finish().expect("an archive");
    let change = "HEALTHCHECK --interval=7s --retries=9 CMD exit 1";
    let import =
        ["import", "--change", change, "--change", "CMD [\"true\"]", "--change", "STOPSIGNAL SIGQUIT"];
    let path = archive.to_string_lossy().into_owned();
    daemon.docker(&[&import[..], &[&path, &image]].concat()).ok().done();
    let created = |name: &str, flags: &[&str]| {
        let name = unique(name);
        daemon.docker(&[&["create", "--name", &name], flags, &[&image]].concat()).ok().done();
        daemon
            .docker(&["inspect", "-f", "{{json .Config.Healthcheck}} {{.Config.StopSignal}}", &name])
            .ok()
            .text()
            .to_owned()
    };
    assert_eq!(
        created("inherits", &[]),
        r#"{"Test":["CMD-SHELL","exit 1"],"Interval":7000000000,"Retries":9} SIGQUIT"#
    );
    assert_eq!(
        created("mixes", &["--health-interval", "2s", "--stop-signal", "RTMIN+3"]),
        r#"{"Test":["CMD-SHELL","exit 1"],"Interval":2000000000,"Retries":9} RTMIN+3"#
    );
    assert!(created("none", &["--no-healthcheck"]).starts_with(r#"{"Test":["NONE"],"#));
    let short = ["create", "--health-cmd", "x", "--health-timeout", "1us", "busybox"];
    daemon.docker(&short).exits(1).complains("Timeout in Healthcheck cannot be less than 1ms").done();
    for name in ["inherits", "mixes", "none"] {
        daemon.docker(&["rm", &unique(name)]).ok().done();
    }
    daemon.docker(&["rmi", &image]).ok().done();
}

#[test]
fn checks_go_on_after_the_daemon_was_killed_and_leave_no_probe_behind() {
    let mut daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let check = ["--health-interval", "200ms", "--health-timeout", "1h"];
    let run = ["run", "-d", "--name", "box", "--health-cmd", "test ! -e /hang || exec sleep 5555"];
    daemon.minke(&[&run[..], &check, &["busybox", "sleep", "1000"]].concat()).ok().done();
    wait_until("it is healthy", SOON, || health(&daemon, "box")["Status"] == "healthy");
    daemon.minke(&["exec", "box", "touch", "/hang"]).ok().done();
    let pid = daemon.inspect("box", "{{.State.Pid}}");
    let hangs = |daemon: &Daemon| {
        daemon.minke(&["exec", "box", "sh", "-c", "ps | grep -c '[s]leep 5555'"]).text().to_owned()
    };
    wait_until("a probe hangs", SOON, || hangs(&daemon) == "1");
    daemon.kill();
    std::fs::remove_file(format!("/proc/{pid}/root/hang")).expect("removed");
    daemon.spawn();
    assert_eq!(health(&daemon, "box")["Status"], "healthy", "it was, and nothing else is known");
    wait_until("the probe of the daemon before is gone", SOON, || hangs(&daemon) == "0");
    let asked = |daemon: &Daemon| health(daemon, "box")["Log"].as_array().map_or(0, Vec::len);
    wait_until("it is asked again", SOON, || asked(&daemon) >= 3);
    daemon.terminate();
    daemon.spawn();
    assert!(asked(&daemon) >= 3, "a daemon that ends well keeps the answers");
}
