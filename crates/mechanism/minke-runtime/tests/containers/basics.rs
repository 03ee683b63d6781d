//! A program starts, is isolated, and ends with its own code.

use std::os::fd::AsFd;

use minke_runtime::{Gate, Rootfs};
use minke_sys::mount::{self, Depth};
use minke_sys::{fds, pidfd};
use serde_json::json;

use crate::harness::{Pipes, Sandbox, both_ways};

#[test]
fn a_program_runs_and_its_output_and_code_come_back() {
    for sandbox in both_ways("echo hello; echo oops >&2; exit 7") {
        let outcome = sandbox.run();
        assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (7, "hello\n", "oops\n"));
    }
}

#[test]
fn every_namespace_is_its_own() {
    let outcome =
        Sandbox::new("for n in mnt uts ipc net pid cgroup user; do readlink /proc/self/ns/$n; done").run();
    let inside: Vec<_> = outcome.out.lines().map(str::to_owned).collect();
    for (name, inside) in ["mnt", "uts", "ipc", "net", "pid", "cgroup", "user"].iter().zip(&inside) {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let same = host.to_str() == Some(inside);
        assert_eq!(same, *name == "user", "{name}: {inside}");
    }
    assert_eq!(inside.len(), 7);
}

#[test]
fn the_program_is_number_one_and_sees_only_its_own_processes() {
    let outcome = Sandbox::new("echo $$; echo /proc/[0-9]*").run();
    assert_eq!(outcome.out, "1\n/proc/1\n");
}

#[test]
fn the_root_is_the_containers_and_nothing_of_the_host_is_mounted_below() {
    let outcome = Sandbox::new("cat /proc/mounts; ls /").run();
    let mounts: Vec<_> = outcome.out.lines().filter_map(|line| line.split_once(" /")).collect();
    assert!(outcome.out.contains("\nbin\ndev\netc\nhome\nproc\nroot\nsys\ntmp\n"), "{}", outcome.out);
    assert!(
        mounts.iter().all(|(_, at)| !at.starts_with("work") && !at.starts_with("opt")),
        "{}",
        outcome.out
    );
}

#[test]
fn host_name_and_loopback_are_set_up() {
    let sandbox = Sandbox::new("hostname; cat /proc/sys/kernel/domainname; ip link show lo")
        .set("/domainname", json!("dom"));
    let outcome = sandbox.run();
    assert!(outcome.out.starts_with("box\ndom\n"), "{}", outcome.out);
    assert!(outcome.out.contains("<LOOPBACK,UP"), "{}", outcome.out);
}

#[test]
fn home_comes_from_the_containers_passwd_file_unless_given() {
    assert_eq!(Sandbox::new("echo $HOME").run().out, "/root\n");
    let user = Sandbox::new("echo $HOME").set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(user.run().out, "/home/user\n");
    assert_eq!(Sandbox::new("echo $HOME").add("/process/env", json!("HOME=/x")).run().out, "/x\n");
}

#[test]
fn a_detached_mount_serves_as_root() {
    let sandbox = Sandbox::new("ls / | wc -l; grep -c . /proc/1/mountinfo");
    let root = mount::clone_tree(rustix::fs::CWD, &*sandbox.root(), Depth::One).unwrap();
    for _ in 0..2 {
        let other = mount::clone_tree(rustix::fs::CWD, &*sandbox.root(), Depth::One).unwrap();
        let outcome = sandbox.run_with(|launch| launch.rootfs = Rootfs::Mount(other.as_fd()));
        assert!(outcome.out.starts_with("8\n"), "{outcome:?}");
    }
    drop(root);
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.contains(sandbox.dir.path().to_str().unwrap()), "nothing shows in the host's mount table");
}

#[test]
fn a_gate_holds_the_program_back_until_it_is_opened() {
    let sandbox = Sandbox::new("echo started");
    let (stdio, pipes) = Pipes::new();
    let launched = sandbox.launch(&stdio, |launch| launch.gate = Gate::Handle).unwrap();
    drop(stdio);
    let name = std::fs::read_to_string(format!("/proc/{}/cmdline", launched.pid)).unwrap();
    assert!(!name.contains("started"), "the program has not been executed: {name}");
    assert!(!pidfd::has_ended(&launched.pidfd));
    rustix::io::write(launched.start.as_ref().unwrap(), b"g").unwrap();
    assert_eq!(pipes.drain().0, "started\n");
    assert_eq!(pidfd::wait(&launched.pidfd).unwrap().code(), 0);
}

#[test]
fn a_gate_that_is_never_opened_ends_the_process() {
    let sandbox = Sandbox::new("echo started");
    let (stdio, pipes) = Pipes::new();
    let mut launched = sandbox.launch(&stdio, |launch| launch.gate = Gate::Handle).unwrap();
    drop(stdio);
    drop(launched.start.take());
    assert_ne!(pidfd::wait(&launched.pidfd).unwrap().code(), 0);
    assert_eq!(pipes.drain().0, "");
}

#[test]
fn a_listening_socket_can_be_the_gate() {
    let sandbox = Sandbox::new("echo started");
    let (stdio, pipes) = Pipes::new();
    let path = sandbox.dir.path().join("start.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let launched = sandbox.launch(&stdio, |launch| launch.gate = Gate::Listener(listener.as_fd())).unwrap();
    drop((stdio, listener));
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    let printed = pipes.drain();
    let exit = pidfd::wait(&launched.pidfd).unwrap();
    assert_eq!((printed.0.as_str(), printed.1.as_str(), exit), ("started\n", "", pidfd::Exit::Code(0)));
}

#[test]
fn only_the_three_descriptors_and_the_preserved_ones_are_inherited() {
    let leaky = std::fs::File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).unwrap();
    for sandbox in both_ways("ls /proc/self/fd") {
        // ls opens 3 for the directory itself.
        assert_eq!(sandbox.run().out, "0\n1\n2\n3\n");
    }
    let (one, two) = (std::fs::File::open("/dev/zero").unwrap(), std::fs::File::open("/dev/full").unwrap());
    let list = [one.as_fd(), two.as_fd()];
    for sandbox in both_ways(
        "readlink /proc/self/fd/3; readlink /proc/self/fd/4; ls /proc/self/fd; echo $LISTEN_FDS $LISTEN_PID",
    ) {
        let outcome = sandbox.run_with(|launch| {
            launch.preserve_fds = &list;
            launch.listen_fds = 2;
        });
        assert_eq!(outcome.out, "/dev/zero\n/dev/full\n0\n1\n2\n3\n4\n5\n2 1\n");
    }
    drop(leaky);
}

#[test]
fn signals_start_out_unblocked_and_default() {
    for sandbox in both_ways("") {
        let sandbox = sandbox.args(&["grep", "-E", "SigBlk|SigIgn", "/proc/1/status"]);
        assert_eq!(sandbox.run().out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    }
}

#[test]
fn a_launch_leaves_no_descriptor_behind() {
    for sandbox in both_ways("true") {
        sandbox.run();
        // Other tests run in this process at the same time, so a leak is looked for in a child of its own.
        let count = crate::harness::in_a_fork(|| {
            let before = fds::list_open().unwrap().len();
            for _ in 0..5 {
                sandbox.run();
            }
            drop(sandbox.fail_with_args(&["/nosuch"]));
            fds::list_open().unwrap().len() - before
        });
        assert_eq!(count, 0);
    }
}

#[test]
fn the_mount_namespace_is_handed_over_when_asked_for() {
    let sandbox = Sandbox::new("sleep 5");
    let (stdio, _pipes) = Pipes::new();
    let launched = sandbox.launch(&stdio, |launch| launch.keep_mount_namespace = true).unwrap();
    let namespace = launched.mount_namespace.as_ref().unwrap();
    let inode = rustix::fs::fstat(namespace).unwrap().st_ino;
    let theirs = std::fs::read_link(format!("/proc/{}/ns/mnt", launched.pid)).unwrap();
    assert_eq!(theirs.to_str().unwrap(), format!("mnt:[{inode}]"));
    pidfd::send_signal(&launched.pidfd, 9).unwrap();
    assert_eq!(pidfd::wait(&launched.pidfd).unwrap().code(), 137);
}

#[test]
fn the_pid_namespace_of_another_container_can_be_joined() {
    let first = Sandbox::new("sleep 5");
    let (stdio, _pipes) = Pipes::new();
    let launched = first.launch(&stdio, |_| {}).unwrap();
    let path = format!("/proc/{}/ns/pid", launched.pid);
    let second = Sandbox::new("test $$ -ne 1 && cat /proc/1/cmdline")
        .without_namespace("pid")
        .add("/linux/namespaces", json!({"type": "pid", "path": path}));
    assert_eq!(second.run().out, "sleep\x005\x00");
    pidfd::send_signal(&launched.pidfd, 9).unwrap();
    pidfd::wait(&launched.pidfd).unwrap();
}

#[test]
fn the_hosts_namespaces_are_kept_where_none_is_named() {
    let sandbox =
        Sandbox::new("readlink /proc/self/ns/net; readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc")
            .without_namespace("network")
            .without_namespace("pid")
            .without_namespace("ipc");
    let expected: Vec<_> = ["net", "pid", "ipc"]
        .iter()
        .map(|name| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string())
        .collect();
    assert_eq!(sandbox.run().out.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn time_offsets_apply() {
    let sandbox = Sandbox::new("head -n1 /proc/uptime")
        .add("/linux/namespaces", json!({"type": "time"}))
        .set("/linux/timeOffsets", json!({"boottime": {"secs": 1_000_000_000, "nanosecs": 0}}));
    let uptime: f64 = sandbox.run().out.split_whitespace().next().unwrap().parse().unwrap();
    assert!(uptime > 1e9, "{uptime}");
}
