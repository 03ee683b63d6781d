//! Hooks: when, where, with what, and what their failure does.

use minke_runtime::Gate;
use serde_json::json;

use crate::harness::{Pipes, Sandbox};

fn hook(script: &str) -> serde_json::Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin", "A=b"]})
}

#[test]
fn hooks_run_in_order_and_in_their_own_namespaces() {
    let sandbox = Sandbox::new("echo program >> /log; echo out");
    let log = sandbox.root().join("log").display().to_string();
    let host = |name: &str| {
        hook(&format!("echo {name} $A $(readlink /proc/self/ns/mnt) >> {log}; cat >> {log}; echo >> {log}"))
    };
    let sandbox = sandbox.set(
        "/hooks",
        json!({
            "prestart": [host("prestart")],
            "createRuntime": [host("createRuntime")],
            "createContainer": [host("createContainer")],
            "startContainer": [hook("echo startContainer $(pwd) >> /log; cat >> /log; echo >> /log")],
        }),
    );
    assert_eq!(sandbox.run().out, "out\n");
    let text = std::fs::read_to_string(sandbox.root().join("log")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    assert_eq!(lines[0], format!("prestart b {own}"), "{text}");
    assert_eq!(lines[2], format!("createRuntime b {own}"), "{text}");
    assert!(lines[4].starts_with("createContainer b mnt:[") && !lines[4].contains(&own), "{text}");
    assert_eq!(lines[6], "startContainer /", "{text}");
    assert_eq!(lines[8], "program", "{text}");
    let state = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    assert_eq!(
        (state(lines[1])["status"].as_str(), state(lines[1])["id"].as_str()),
        (Some("creating"), Some("test"))
    );
    assert!(state(lines[3])["pid"].as_u64().unwrap() > 1);
    assert_eq!(
        (state(lines[5])["status"].as_str(), state(lines[5])["pid"].as_u64()),
        (Some("creating"), Some(1))
    );
    assert_eq!(
        (state(lines[7])["status"].as_str(), state(lines[7])["pid"].as_u64()),
        (Some("created"), Some(1))
    );
}

#[test]
fn start_container_hooks_wait_for_the_start() {
    let sandbox = Sandbox::new("true").set("/hooks", json!({"startContainer": [hook("touch /ran")]}));
    let (stdio, _pipes) = Pipes::new();
    let launched = sandbox.launch(&stdio, |launch| launch.gate = Gate::Handle).unwrap();
    assert!(!sandbox.root().join("ran").exists());
    rustix::io::write(launched.start.as_ref().unwrap(), b"g").unwrap();
    minke_sys::pidfd::wait(&launched.pidfd).unwrap();
    assert!(sandbox.root().join("ran").exists());
}

#[test]
fn a_failing_hook_fails_the_launch_with_its_words() {
    let error = Sandbox::new("true")
        .set("/hooks", json!({"createRuntime": [hook("echo no good >&2; exit 3")]}))
        .fail();
    let text = error.to_string();
    assert!(
        text.contains("error running createRuntime hook #0")
            && text.contains("exit status: 3")
            && text.contains("no good"),
        "{text}"
    );
    let error = Sandbox::new("true")
        .set("/hooks", json!({"createContainer": [hook("exit 0"), hook("exit 4")]}))
        .fail();
    assert!(
        error.to_string().contains("error running createContainer hook #1 (/bin/sh): exit status 4"),
        "{error}"
    );
}

#[test]
fn a_hook_that_takes_too_long_is_ended() {
    for point in ["createRuntime", "createContainer"] {
        let mut slow = hook("sleep 60");
        slow["timeout"] = json!(1);
        let before = std::time::Instant::now();
        let error = Sandbox::new("true").set(&format!("/hooks/{point}"), json!([slow])).fail();
        assert!(
            error.to_string().contains("too long") || error.to_string().contains("longer than"),
            "{error}"
        );
        assert!(before.elapsed() < std::time::Duration::from_secs(5));
    }
}

#[test]
fn poststart_and_poststop_are_run_by_whoever_starts_and_deletes() {
    let sandbox = Sandbox::new("true");
    let log = sandbox.dir.path().join("log");
    let note = |name: &str| {
        hook(&format!(
            "echo {name} >> {}; grep -o '\"status\":\"[a-z]*\"' >> {}",
            log.display(),
            log.display()
        ))
    };
    let sandbox = sandbox.set(
        "/hooks",
        json!({"poststart": [note("poststart")], "poststop": [hook("exit 1"), note("poststop")]}),
    );
    let spec = sandbox.spec();
    minke_runtime::hooks::run_poststart(&spec, "test", sandbox.dir.path(), 42).unwrap();
    let failed = minke_runtime::hooks::run_poststop(&spec, "test", sandbox.dir.path());
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(
        std::fs::read_to_string(log).unwrap(),
        "poststart\n\"status\":\"running\"\npoststop\n\"status\":\"stopped\"\n"
    );
}
