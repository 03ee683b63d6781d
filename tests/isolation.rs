//! What a container can and cannot see of its host; the rows of chapter 6 that are about all of its means together.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use minke_testkit::{Client, Daemon, Run};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

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

/// `run --rm FLAGS busybox COMMAND`.
#[track_caller]
fn once(daemon: &Daemon, client: Client, flags: &[&str], command: &[&str]) -> Run {
    daemon.run(client, &[&["run", "--rm"], flags, &["busybox"], command].concat())
}

fn namespace(daemon: &Daemon, name: &str, kind: &str) -> String {
    let pid = daemon.inspect(name, "{{.State.Pid}}");
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("its namespace").display().to_string()
}

/// A field of `/proc/self/status` inside a container.
#[track_caller]
fn status(daemon: &Daemon, client: Client, flags: &[&str], field: &str) -> String {
    let run = once(daemon, client, flags, &["grep", &format!("^{field}:"), "/proc/self/status"]).ok();
    run.text().rsplit(':').next().unwrap_or_default().trim().to_owned()
}

/// Rows 6-B01, 6-B02, 6-B48: what keeps a container apart, each thing for itself, and the three allowances that are given when it is made, as the
/// kernel has them.
#[test]
fn each_kind_of_isolation_is_there() {
    let daemon = Daemon::start();
    for client in BOTH {
        let name = &minke_testkit::unique(&format!("apart-{client:?}").to_lowercase());
        let limits =
            ["-m", "64m", "--cpu-shares", "512", "--cpuset-cpus", "0", "--device", "/dev/null:/dev/given"];
        let line = [&["run", "-d", "--name", name], &limits[..], &["busybox", "sleep", "1000"]].concat();
        daemon.run(client, &line).ok().done();
        for kind in ["pid", "mnt", "net", "ipc", "uts"] {
            assert_ne!(namespace(&daemon, name, kind), own(kind), "{kind}");
        }
        let inside = |command: &[&str]| {
            daemon.run(client, &[&["exec", name], command].concat()).ok().text().to_owned()
        };
        assert!(inside(&["ls", "/proc"]).lines().filter(|entry| entry.parse::<u32>().is_ok()).count() < 5);
        assert!(!inside(&["ls", "/"]).contains("lost+found"), "its root is its own");
        let host = std::fs::read_to_string("/proc/self/status").expect("this process");
        let capabilities = |text: &str| {
            text.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("a field").to_owned()
        };
        assert_ne!(capabilities(&inside(&["cat", "/proc/1/status"])), capabilities(&host));
        let held = |v1: &str, v2: &str| {
            let files = [format!("/sys/fs/cgroup/{v1}"), format!("/sys/fs/cgroup/{v2}")];
            inside(&["sh", "-c", &format!("cat {} 2>/dev/null || cat {}", files[0], files[1])])
        };
        assert_eq!(held("memory/memory.limit_in_bytes", "memory.max"), "67108864");
        assert_eq!(held("cpuset/cpuset.cpus", "cpuset.cpus"), "0");
        let weight = held("cpu/cpu.shares", "cpu.weight");
        assert!(weight == "512" || weight == "50" || weight == "20", "{weight}");
        assert_eq!(inside(&["stat", "-c", "%F %t:%T", "/dev/given"]), "character special file 1:3");
        let refused = daemon.run(client, &["exec", name, "sh", "-c", "mknod /disk b 7 0 && head -c 1 /disk"]);
        assert_ne!(refused.code, 0, "devices that were not given");
        daemon.run(client, &["rm", "-f", name]).ok().done();
    }
}

/// Row 6-B24: whoever writes, what is in no volume stays in the container.
#[test]
fn what_is_written_stays_in_the_container() {
    let daemon = Daemon::start();
    for client in BOTH {
        let name = &minke_testkit::unique(&format!("writes-{client:?}").to_lowercase());
        let line = ["run", "-d", "--name", name, "-v", "/volume", "busybox", "sleep", "1000"];
        daemon.run(client, &line).ok().done();
        for user in ["0:0", "1000:1000", "65534:65534"] {
            let file = format!("/tmp/of-{user}");
            daemon.run(client, &["exec", "-u", user, name, "sh", "-c", "echo x > $0", &file]).ok().done();
        }
        daemon.run(client, &["exec", name, "touch", "/volume/kept"]).ok().done();
        let diff = daemon.run(client, &["diff", name]).ok();
        for line in ["A /tmp/of-0:0", "A /tmp/of-1000:1000", "A /tmp/of-65534:65534"] {
            assert!(diff.stdout.lines().any(|found| found == line), "{line}: {diff}");
        }
        assert!(!diff.stdout.contains("kept"), "{diff}");
        let other =
            daemon.run(client, &["run", "--rm", "--volumes-from", name, "busybox", "ls", "/tmp", "/volume"]);
        assert_eq!(other.ok().text(), "/tmp:\n\n/volume:\nkept");
        daemon.run(client, &["rm", "-fv", name]).ok().done();
    }
}

/// Row 6-B31: who may speak to the daemon is root of its host.
#[test]
fn who_speaks_to_the_daemon_owns_the_host() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let secret = daemon.path().join("of-root");
    std::fs::write(&secret, "only root reads this").expect("write");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let inside = format!("/host{}", secret.display());
    for client in BOTH {
        let read = once(&daemon, client, &["-v", "/:/host"], &["cat", &inside]).ok();
        assert_eq!(read.text(), "only root reads this");
        let made = format!("{inside}-{client:?}");
        once(&daemon, client, &["-v", "/:/host"], &["touch", &made]).ok().done();
        let made = std::path::PathBuf::from(made.trim_start_matches("/host"));
        assert_eq!(std::fs::metadata(made).expect("it is there").uid(), 0);
        let refused = once(&daemon, client, &["-v", "/:/host", "-u", "1000"], &["cat", &inside]);
        assert_ne!(refused.code, 0, "for others the host's modes count");
    }
    let socket = std::fs::metadata(daemon.socket()).expect("the socket");
    assert_eq!((socket.uid(), socket.mode() & 0o007), (0, 0), "nobody else may speak to it");
}

/// Rows 6-B43 to 6-B47: the defaults are a compromise, with a system call filter, that nobody is forced to tighten; what the book recommends for an
/// application, for a service and for work on the host itself.
#[test]
fn recipes_for_applications_services_and_the_host() {
    let daemon = Daemon::start();
    for client in BOTH {
        let field = |flags: &[&str], field: &str| status(&daemon, client, flags, field);
        assert_eq!(field(&[], "Seccomp"), "2");
        assert_eq!(field(&["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
        assert_eq!(field(&[], "CapEff"), "00000000a80425fb", "root, and some of its rights");
        assert_eq!(field(&[], "Uid").split_whitespace().next(), Some("0"));

        // An application: somebody else, no rights, limits, the devices it needs.
        let application = [
            "-u",
            "1000:1000",
            "--cap-drop",
            "all",
            "--security-opt",
            "no-new-privileges",
            "--read-only",
            "-m",
            "32m",
            "--cpu-shares",
            "256",
            "--device",
            "/dev/zero:/dev/given:r",
        ];
        assert_eq!(field(&application, "CapBnd"), "0000000000000000");
        assert_eq!(field(&application, "NoNewPrivs"), "1");
        let ran = once(
            &daemon,
            client,
            &application,
            &["sh", "-c", "id -u; head -c 2 /dev/given | wc -c; touch /x"],
        );
        assert!(ran.code != 0 && ran.stdout.starts_with("1000\n2\n"), "{ran}");

        // A service: the rights that it needs, and not all.
        let service = ["--cap-drop", "all", "--cap-add", "CHOWN"];
        assert_eq!(field(&service, "CapEff"), "0000000000000001");
        let ran = once(&daemon, client, &service, &["sh", "-c", "chown 1 /tmp && echo given; hostname x"]);
        assert!(ran.code != 0 && ran.stdout == "given\n", "{ran}");

        // Work on the host: a short-lived container that may everything, which leaves nothing.
        let mount = ["sh", "-c", "mount -t tmpfs x /mnt 2>/dev/null || { mkdir /m && mount -t tmpfs x /m; }"];
        assert_ne!(once(&daemon, client, &[], &mount).code, 0);
        once(&daemon, client, &["--privileged"], &mount).ok().done();
    }
}
