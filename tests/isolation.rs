//! What a container can and cannot see of its host.

use minke_testkit::{Client, Daemon};

fn own(namespace: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{namespace}"))
        .expect("this process's namespace")
        .display()
        .to_string()
}

fn inside(daemon: &Daemon, client: Client, namespace: &str, flags: &[&str]) -> String {
    let link = format!("/proc/self/ns/{namespace}");
    let args = [&["run", "--rm"], flags, &["busybox", "readlink", &link]].concat();
    daemon.run(client, &args).ok().text().to_owned()
}

#[test]
fn the_pid_namespace_is_its_own() {
    let daemon = Daemon::start();
    assert_ne!(inside(&daemon, Client::Minke, "pid", &[]), own("pid"));
    assert_eq!(inside(&daemon, Client::Docker, "pid", &["--pid", "host"]), own("pid"));
    let ps = daemon.minke(&["run", "--rm", "busybox", "sh", "-c", "echo $$; ls -d /proc/[0-9]*"]).ok();
    assert!(ps.stdout.starts_with("1\n"), "{ps}");
    assert!(ps.stdout.lines().count() <= 3, "only its own processes: {ps}");
}

#[test]
fn the_mount_namespace_is_its_own() {
    let daemon = Daemon::start();
    assert_ne!(inside(&daemon, Client::Minke, "mnt", &[]), own("mnt"));
    let table = daemon.minke(&["run", "--rm", "busybox", "cat", "/proc/self/mountinfo"]).ok();
    assert!(!table.stdout.contains("/run/minke"), "{table}");
    // The root is an overlay, and nothing of the host's root is left behind it.
    assert!(table.stdout.lines().any(|line| line.contains(" / / ") && line.contains("overlay")), "{table}");
    if !daemon.is_peer() {
        let host = std::fs::read_to_string("/proc/self/mountinfo").expect("the host's mounts");
        daemon.minke(&["run", "-d", "--name", "box1", "busybox", "sleep", "1000"]).ok().done();
        let with = std::fs::read_to_string("/proc/self/mountinfo").expect("the host's mounts");
        let own =
            |table: &str| table.lines().filter(|l| l.contains(&*daemon.path().to_string_lossy())).count();
        assert_eq!(own(&host), own(&with), "a container puts nothing into the host's mount table");
    }
}

#[test]
fn the_host_name_is_its_own() {
    let daemon = Daemon::start();
    assert_ne!(inside(&daemon, Client::Minke, "uts", &[]), own("uts"));
    let before = rustix::system::uname().nodename().to_owned();
    let run = daemon.minke(&["run", "--name", "box1", "busybox", "hostname"]).ok();
    let id = daemon.inspect("box1", "{{.Id}}");
    assert_eq!(run.text(), &id[..12], "the short id is the default host name");
    assert_eq!(daemon.minke(&["run", "--rm", "-h", "box", "busybox", "hostname"]).ok().text(), "box");
    assert_eq!(rustix::system::uname().nodename(), &*before);
}

#[test]
fn the_ipc_namespace_is_its_own() {
    let daemon = Daemon::start();
    assert_ne!(inside(&daemon, Client::Minke, "ipc", &[]), own("ipc"));
    assert_eq!(inside(&daemon, Client::Docker, "ipc", &["--ipc", "host"]), own("ipc"));
}

#[test]
fn the_network_namespace_is_its_own() {
    let daemon = Daemon::start();
    let bridge = inside(&daemon, Client::Minke, "net", &[]);
    let none = inside(&daemon, Client::Docker, "net", &["--network", "none"]);
    assert_ne!(bridge, own("net"));
    assert_ne!(none, own("net"));
    let links = daemon.minke(&["run", "--rm", "busybox", "ip", "-o", "link"]).ok();
    assert!(links.stdout.contains("lo") && links.stdout.contains("eth0"), "{links}");
    let links = daemon.minke(&["run", "--rm", "--network", "none", "busybox", "ip", "-o", "link"]).ok();
    assert!(!links.stdout.contains("eth0"), "{links}");
}

/// Docker's default: private on a pure v2 host, the host's elsewhere.
#[test]
fn the_cgroup_namespace_is_as_docker_has_it() {
    let daemon = Daemon::start();
    let pure_v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert_eq!(inside(&daemon, Client::Minke, "cgroup", &[]) == own("cgroup"), !pure_v2);
    assert_ne!(inside(&daemon, Client::Minke, "cgroup", &["--cgroupns", "private"]), own("cgroup"));
    assert_eq!(inside(&daemon, Client::Docker, "cgroup", &["--cgroupns", "host"]), own("cgroup"));
}

#[test]
fn the_user_namespace_is_the_hosts_by_default() {
    let daemon = Daemon::start();
    assert_eq!(inside(&daemon, Client::Minke, "user", &[]), own("user"));
}

#[test]
fn capabilities_seccomp_and_no_new_privs_are_dockers_defaults() {
    let daemon = Daemon::start();
    let status = |flags: &[&str]| {
        let args = [&["run", "--rm"], flags, &["busybox", "cat", "/proc/self/status"]].concat();
        daemon.minke(&args).ok().stdout
    };
    let field = |status: &str, name: &str| {
        let line = status.lines().find(|line| line.starts_with(&format!("{name}:")));
        line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default().to_owned()
    };
    let default = status(&[]);
    assert_eq!(field(&default, "CapEff"), "00000000a80425fb");
    assert_eq!(field(&default, "CapBnd"), "00000000a80425fb");
    assert_eq!(field(&default, "CapInh"), "0000000000000000");
    assert_eq!(field(&default, "CapAmb"), "0000000000000000");
    assert_eq!(field(&default, "Seccomp"), "2");
    assert_eq!(field(&default, "NoNewPrivs"), "0");
    assert_eq!(field(&status(&["--security-opt", "no-new-privileges"]), "NoNewPrivs"), "1");
    assert_eq!(field(&status(&["--security-opt", "seccomp=unconfined"]), "Seccomp"), "0");
    assert_eq!(field(&status(&["--cap-drop", "ALL"]), "CapEff"), "0000000000000000");
    assert_eq!(field(&status(&["-u", "1000"]), "CapEff"), "0000000000000000");
}

#[test]
fn what_reaches_the_host_is_masked_or_read_only() {
    let daemon = Daemon::start();
    let script = "for f in /proc/kcore /proc/keys /proc/timer_list; do [ ! -s $f ] && echo masked; done; \
        echo 1 > /proc/sys/kernel/hostname 2>/dev/null || echo sys-read-only; \
        echo b > /proc/sysrq-trigger 2>/dev/null || echo sysrq-read-only; \
        mkdir $(ls -d /sys/fs/cgroup/memory 2>/dev/null || echo /sys/fs/cgroup)/x 2>/dev/null || echo cgroup-read-only; \
        [ $(stat -c %d /proc/keys) = $(stat -c %d /dev) ] && echo own-null; \
        mount -t tmpfs t /tmp 2>/dev/null || echo no-mount; ls /dev | sort | tr '\\n' ' '";
    let run = daemon.minke(&["run", "--rm", "busybox", "sh", "-c", script]).ok();
    assert_eq!(run.stdout.matches("masked\n").count(), 3, "{run}");
    for part in ["sys-read-only", "sysrq-read-only", "cgroup-read-only", "own-null", "no-mount"] {
        assert!(run.stdout.contains(part), "{part}: {run}");
    }
    assert!(
        run.stdout.ends_with("fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "),
        "the devices: {run}"
    );
}

#[test]
fn no_descriptor_or_directory_of_the_engine_reaches_a_container() {
    let daemon = Daemon::start();
    let script =
        "sleep 5 & ls /proc/$!/fd | tr '\\n' ' '; echo; readlink /proc/1/cwd; readlink /proc/self/exe";
    let run = daemon.minke(&["run", "--rm", "busybox", "sh", "-c", script]).ok();
    let lines: Vec<&str> = run.text().lines().collect();
    assert_eq!(lines, ["0 1 2 ", "/", "/bin/busybox"], "{run}");
    daemon.minke(&["run", "-d", "--name", "box1", "busybox", "sleep", "1000"]).ok().done();
    let run = daemon.minke(&["exec", "box1", "sh", "-c", script]).ok();
    let lines: Vec<&str> = run.text().lines().collect();
    assert_eq!(lines[0], "0 1 2 ", "{run}");
}
