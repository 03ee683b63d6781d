//! The first process and later ones start inside the container's cgroup.

use std::os::fd::AsFd;
use std::path::Path;

use minke_cgroup::{Cgroup, Host, Mode};
use minke_runtime::{Exec, Limits, Stdio};
use minke_sys::pidfd;
use serde_json::json;

use crate::harness::{Pipes, Sandbox, both_ways};

fn fresh(name: &str) -> (Host, Cgroup) {
    let host = Host::probe().unwrap();
    let path = format!("/minke-runtime-test-{}-{name}/box", std::process::id());
    let group = Cgroup::create(&host, Path::new(&path)).unwrap();
    (host, group)
}

/// Where a container finds its own processes: the one tree of v2, or the hierarchy of the pids controller.
fn shown() -> &'static str {
    match Host::probe().unwrap().mode() {
        Mode::V2 => "/sys/fs/cgroup",
        Mode::V1 | Mode::Hybrid => "/sys/fs/cgroup/pids",
    }
}

/// Removes the cgroup, and its parent when it was the last in it.
fn remove(group: &Cgroup) {
    group.remove().unwrap();
    for path in group.paths() {
        std::fs::remove_dir(path.parent().unwrap()).ok();
    }
}

#[test]
fn the_program_starts_in_its_cgroup_and_sees_it_as_root() {
    let script = format!("cat /proc/self/cgroup; cat {}/cgroup.procs 2>/dev/null | head -n1", shown());
    for (number, sandbox) in both_ways(&script).into_iter().enumerate() {
        let (host, group) = fresh(&format!("root{number}"));
        let outcome = sandbox.run_with(|launch| {
            launch.cgroup = Some(&group);
            launch.cgroup_host = Some(&host);
        });
        assert!(
            outcome.out.lines().filter(|line| line.contains(':')).all(|line| line.ends_with(":/")),
            "{outcome:?}"
        );
        assert!(outcome.out.ends_with("\n1\n"), "{outcome:?}");
        remove(&group);
    }
}

#[test]
fn without_a_cgroup_namespace_the_containers_own_directory_is_shown() {
    let (host, group) = fresh("shared");
    let script = format!("cat {0}/cgroup.procs | head -n1; touch {0}/x", shown());
    let sandbox = Sandbox::new(&script).without_namespace("cgroup");
    let outcome = sandbox.run_with(|launch| {
        launch.cgroup = Some(&group);
        launch.cgroup_host = Some(&host);
    });
    assert_eq!(outcome.out, "1\n", "{outcome:?}");
    assert!(outcome.err.contains("Read-only file system"), "{outcome:?}");
    remove(&group);
}

#[test]
fn an_exec_joins_the_cgroup_too() {
    let (_host, group) = fresh("exec");
    let sandbox = Sandbox::new("sleep 60");
    let (stdio, _pipes) = Pipes::new();
    let launched = sandbox.launch(&stdio, |launch| launch.cgroup = Some(&group)).unwrap();
    let process = serde_json::from_value(
        json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/bin/cat", "/proc/self/cgroup"]}),
    )
    .unwrap();
    let (fds, pipes) = Pipes::new();
    let [stdin, stdout, stderr] = &fds;
    let exec = minke_runtime::exec(&Exec {
        init_pid: launched.pid,
        init: launched.pidfd.as_fd(),
        process: &process,
        stdio: Stdio::Fds { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() },
        cgroup: Some(&group),
        seccomp: None,
        preserve_fds: &[],
        listen_fds: 0,
        limits: Limits::Strict,
    })
    .unwrap();
    drop(fds);
    let (out, _) = pipes.drain();
    pidfd::wait(&exec.pidfd).unwrap();
    assert!(!out.is_empty() && out.lines().all(|line| line.ends_with(":/")), "{out}");
    pidfd::send_signal(&launched.pidfd, 9).unwrap();
    pidfd::wait(&launched.pidfd).unwrap();
    remove(&group);
}
