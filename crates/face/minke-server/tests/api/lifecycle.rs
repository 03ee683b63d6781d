//! Containers through their endpoints, and the daemon's own life.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Daemon, read_chunk, read_head, request};

#[test]
fn a_container_lives_through_its_endpoints() {
    let daemon = Daemon::with_busybox();
    daemon.create("life", &["sleep", "100"], &json!({}));
    assert_eq!(daemon.ask("POST", "/containers/life/stop").status, 304);
    assert_eq!(daemon.ask("POST", "/containers/life/kill").status, 409);
    daemon.start_container("life");
    assert_eq!(daemon.ask("POST", "/containers/life/start").status, 304);
    let listed = daemon.get("/containers/json").json();
    assert_eq!(
        (listed[0]["Names"][0].as_str(), listed[0]["State"].as_str()),
        (Some("/life"), Some("running"))
    );
    assert_eq!(daemon.ask("POST", "/containers/life/pause").status, 204);
    assert_eq!(daemon.get("/containers/life/json").json()["State"]["Status"], "paused");
    assert_eq!(daemon.ask("POST", "/containers/life/unpause").status, 204);
    assert_eq!(daemon.get("/containers/life/top").json()["Titles"][0], "UID");
    assert_eq!(daemon.ask("POST", "/containers/life/rename?name=renamed").status, 204);
    let running = daemon.ask("DELETE", "/containers/renamed");
    assert_eq!(running.status, 409, "{}", running.text());
    assert_eq!(daemon.ask("POST", "/containers/renamed/stop?t=0").status, 204);
    assert_eq!(daemon.post("/containers/renamed/wait", &json!({})).json(), json!({"StatusCode": 137}));
    assert_eq!(daemon.ask("DELETE", "/containers/renamed").status, 204);
    assert_eq!(daemon.get("/containers/renamed/json").status, 404);
}

#[test]
fn a_wait_says_at_once_that_it_has_begun() {
    let daemon = Daemon::with_busybox();
    daemon.create("waited", &["sh", "-c", "exit 5"], &json!({}));
    let mut waiting = daemon.connect();
    waiting
        .write_all(&request("POST", "/v1.51/containers/waited/wait?condition=next-exit", &[], b""))
        .unwrap();
    let (status, head) = read_head(&mut waiting);
    assert_eq!(status, 200, "{head}");
    daemon.start_container("waited");
    let body = read_chunk(&mut waiting).unwrap();
    assert_eq!(body, b"{\"StatusCode\":5}\n");
    let bad = daemon.ask("POST", "/containers/waited/wait?condition=foo");
    assert_eq!((bad.status, bad.message().as_str()), (400, "invalid condition: \"foo\""));
}

#[test]
fn an_exec_s_exit_code_is_there_when_its_stream_has_ended() {
    let daemon = Daemon::with_busybox();
    daemon.create("box", &["sleep", "100"], &json!({}));
    daemon.start_container("box");
    for code in 1..20 {
        let body = json!({"Cmd": ["sh", "-c", format!("exit {code}")], "AttachStdout": true});
        let exec = daemon.post("/containers/box/exec", &body).json();
        let id = exec["Id"].as_str().unwrap();
        let mut stream = daemon.connect();
        let start = request(
            "POST",
            &format!("/exec/{id}/start"),
            &[("Content-Type", "application/json"), ("Connection", "Upgrade"), ("Upgrade", "tcp")],
            b"{}",
        );
        stream.write_all(&start).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(daemon.get(&format!("/exec/{id}/json")).json()["ExitCode"], code);
    }
}

#[test]
fn events_come_as_they_happen_and_in_the_form_that_was_asked_for() {
    let daemon = Daemon::with_busybox();
    let mut following = daemon.connect();
    following
        .write_all(&request("GET", "/v1.56/events", &[("Accept", "application/json-seq")], b""))
        .unwrap();
    let (_, head) = read_head(&mut following);
    assert!(head.contains("Content-Type: application/json-seq\r\n"), "{head}");
    daemon.create("happening", &["true"], &json!({}));
    let event = read_chunk(&mut following).unwrap();
    assert_eq!(event[0], 0x1e);
    let event: serde_json::Value = serde_json::from_slice(&event[1..]).unwrap();
    assert_eq!((event["Type"].as_str(), event["Action"].as_str()), (Some("container"), Some("create")));
    assert!(event.get("status").is_none());
    let past = daemon.get("/v1.40/events?since=1&until=1").text();
    assert_eq!(past, "");
    let until = daemon.get("/v1.40/events?since=0&until=0s").text();
    assert!(until.contains("\"status\":\"create\""), "{until}");
}

#[test]
fn a_client_that_leaves_does_not_stop_a_stop() {
    let daemon = Daemon::with_busybox();
    daemon.create("stubborn", &["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], &json!({}));
    daemon.start_container("stubborn");
    std::thread::sleep(Duration::from_millis(200));
    let mut leaving = daemon.connect();
    leaving.write_all(&request("POST", "/containers/stubborn/stop?t=1", &[], b"")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(leaving);
    let end = Instant::now() + Duration::from_secs(10);
    while daemon.get("/containers/stubborn/json").json()["State"]["Running"] == true {
        assert!(Instant::now() < end, "the stop was forgotten");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_daemon_ends_cleanly_and_its_containers_run_on() {
    let mut daemon = Daemon::with_busybox();
    daemon.create("survivor", &["sleep", "100"], &json!({}));
    daemon.start_container("survivor");
    let pid = daemon.get("/containers/survivor/json").json()["State"]["Pid"].as_i64().unwrap();
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait(), Some(0));
    assert!(!daemon.path("api.sock").exists() && !daemon.path("run/minke.pid").exists());
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} of the container is gone");
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_hangup_takes_over_what_can_change_and_a_bad_file_changes_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("daemon.json");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write(r#"{"labels": ["a=1"], "mtu": 1400}"#);
    let daemon = Daemon::with(&["--config-file", &file.to_string_lossy()]);
    let labels = || daemon.get("/info").json()["Labels"].clone();
    assert_eq!(labels(), json!(["a=1"]));
    let hang_up_until = |what: &str| {
        daemon.signal(rustix::process::Signal::HUP);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !daemon.log().contains(what) {
            assert!(std::time::Instant::now() < end, "{what} is not in {}", daemon.log());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    write(
        r#"{"labels": ["b=2"], "debug": true, "mtu": 1300, "registry-mirrors": ["https://mirror.example"]}"#,
    );
    hang_up_until("configuration read again");
    let info = daemon.get("/info").json();
    assert_eq!((&info["Labels"], &info["Debug"]), (&json!(["b=2"]), &json!(true)));
    assert_eq!(info["RegistryConfig"]["Mirrors"], json!(["https://mirror.example/"]));
    assert!(daemon.log().contains("changes of mtu take effect when the daemon starts again"));
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let events =
        daemon.get(&format!("/events?since=1&until={}&filters=%7B%22type%22:%5B%22daemon%22%5D%7D", now + 1));
    assert!(events.text().contains("\"Action\":\"reload\""), "{}", events.text());

    write(r#"{"labels": ["c=3"], "debug": "yes"}"#);
    hang_up_until("everything stays as it was");
    assert!(daemon.log().contains("Config.debug"), "{}", daemon.log());
    assert_eq!(labels(), json!(["b=2"]));
}

#[test]
fn a_daemon_that_is_started_with_blocked_signals_ends_when_told_to() {
    let mut daemon = Daemon::blocked();
    assert_eq!(daemon.get("/_ping").status, 200);
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait(), Some(0));
}

/// Processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("procfs").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        if after_name.split(' ').nth(1) == Some(&parent.to_string()) {
            found.push(pid);
        }
    }
    found
}

#[test]
fn blank_keepers_that_died_while_they_waited_do_not_fail_a_start() {
    let daemon = Daemon::with_busybox();
    daemon.create("lucky", &["sleep", "100"], &json!({}));
    let blanks: Vec<u32> = children(daemon.pid()).into_iter().flat_map(children).collect();
    assert!(!blanks.is_empty(), "the nursery has blanks");
    for blank in &blanks {
        let pid = i32::try_from(*blank).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it waits");
    }
    std::thread::sleep(Duration::from_millis(100));
    daemon.start_container("lucky");
}
