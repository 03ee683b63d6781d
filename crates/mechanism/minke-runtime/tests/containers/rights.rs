//! Capabilities, filters, limits, identity.

use minke_runtime::Limits;
use serde_json::json;

use crate::harness::{Sandbox, both_ways};

#[test]
fn the_five_capability_sets_are_as_configured() {
    for sandbox in both_ways("grep Cap /proc/self/status") {
        let out = sandbox.run().out;
        let expected = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n";
        assert_eq!(out, expected);
    }
    let two = json!(["CAP_NET_RAW", "CAP_CHOWN"]);
    let one = json!(["CAP_NET_RAW"]);
    let sandbox = Sandbox::new("grep Cap /proc/self/status")
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set(
            "/process/capabilities",
            json!({"bounding": two, "permitted": two, "effective": one, "inheritable": two, "ambient": one}),
        );
    let expected = "CapInh:\t0000000000002001\nCapPrm:\t0000000000002000\nCapEff:\t0000000000002000\nCapBnd:\t0000000000002001\nCapAmb:\t0000000000002000\n";
    assert_eq!(sandbox.run().out, expected);
}

#[test]
fn a_user_has_its_ids_groups_and_umask() {
    for sandbox in both_ways("id -u; id -g; id -G; umask; touch /tmp/x; stat -c %a /tmp/x") {
        let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o027});
        std::fs::set_permissions(
            sandbox.root().join("tmp"),
            std::os::unix::fs::PermissionsExt::from_mode(0o1777),
        )
        .unwrap();
        assert_eq!(sandbox.set("/process/user", user).run().out, "1000\n1001\n1001 5 6\n0027\n640\n");
    }
}

#[test]
fn a_filter_refuses_what_the_profile_refuses() {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]});
    for no_new_privs in [false, true] {
        for sandbox in both_ways("mkdir /x; grep -E 'Seccomp:|NoNew' /proc/self/status") {
            let outcome = sandbox
                .set("/linux/seccomp", profile.clone())
                .set("/process/noNewPrivileges", json!(no_new_privs))
                .run();
            assert!(
                outcome.err.contains("Not supported") || outcome.err.contains("not supported"),
                "{outcome:?}"
            );
            assert_eq!(outcome.out, format!("NoNewPrivs:\t{}\nSeccomp:\t2\n", u8::from(no_new_privs)));
        }
    }
}

#[test]
fn limits_are_set_and_those_that_cannot_be_raised_are_reported() {
    let sandbox = Sandbox::new("ulimit -n; ulimit -Hn; ulimit -c")
        .set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]));
    assert_eq!(sandbox.run().out, "100\n200\n0\n");
    let hard = minke_sys::limits::get(0, 7).unwrap().hard;
    let can_raise = minke_sys::caps::get().unwrap().effective.has(24);
    if can_raise || hard == u64::MAX {
        return;
    }
    let sandbox = Sandbox::new("ulimit -Hn")
        .set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": hard + 1, "hard": hard + 1}]));
    let (stdio, pipes) = crate::harness::Pipes::new();
    let launched = sandbox.launch(&stdio, |_| {}).unwrap();
    drop(stdio);
    assert_eq!(pipes.drain().0.trim(), hard.to_string());
    minke_sys::pidfd::wait(&launched.pidfd).unwrap();
    assert!(launched.warnings[0].contains("RLIMIT_NOFILE"), "{:?}", launched.warnings);
    let error = sandbox.try_run(|launch| launch.limits = Limits::Strict).unwrap_err();
    assert!(error.to_string().contains("error setting rlimit type 7"), "{error}");
}

#[test]
fn scheduling_and_score_are_as_configured() {
    let sandbox = Sandbox::new("cat /proc/self/oom_score_adj; cut -d' ' -f19 /proc/1/stat")
        .set("/process/oomScoreAdj", json!(100))
        .set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5}))
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}));
    assert_eq!(sandbox.run().out, "100\n5\n");
}

#[test]
fn the_personality_changes_the_machines_name() {
    let sandbox =
        Sandbox::new("/bin/busybox uname -m").set("/linux/personality", json!({"domain": "LINUX32"}));
    assert_eq!(sandbox.run().out, "i686\n");
}

#[test]
fn stdio_can_be_reopened_by_a_user_who_is_not_root() {
    let sandbox = Sandbox::new("echo hi > /dev/stdout; echo err > /dev/stderr")
        .set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let outcome = sandbox.run();
    assert_eq!((outcome.out.as_str(), outcome.err.as_str(), outcome.code), ("hi\n", "err\n", 0));
}

#[test]
fn the_session_keyring_is_the_containers_own() {
    let sandbox = Sandbox::new("cat /proc/keys").set("/linux/maskedPaths", json!([]));
    let out = sandbox.run().out;
    assert!(out.contains("_ses.test"), "{out}");
}

#[test]
fn a_listener_is_handed_to_the_agent_of_the_configuration() {
    let sandbox = Sandbox::new("sleep 0.1; mkdir /x");
    let path = sandbox.dir.path().join("agent.sock");
    let agent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "listenerPath": path,
        "listenerMetadata": "meta", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]});
    let sandbox = sandbox.set("/linux/seccomp", profile);
    let serving = std::thread::spawn(move || {
        let (stream, _) = agent.accept().unwrap();
        let mut buf = [0; 8192];
        let got = minke_sys::scm::receive(&stream, &mut buf).unwrap();
        (String::from_utf8_lossy(&buf[..got.len]).into_owned(), got.fds.len())
        // The listener is closed here: whoever waits on it gets ENOSYS.
    });
    let outcome = sandbox.run();
    let (text, fds) = serving.join().unwrap();
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (fds, told["fds"][0].as_str(), told["metadata"].as_str()),
        (1, Some("seccompFd"), Some("meta"))
    );
    assert_eq!(told["state"]["id"], "test");
    assert!(outcome.err.contains("Function not implemented"), "{outcome:?}");
}
