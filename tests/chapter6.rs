//! Chapter 6 of the book: limiting risk with isolation. Each test carries its scenario's id; the measured ones (6-S02, 6-S03,
//! 6-S15) are in `limits.rs`, and what a container may not do at all in `sandbox.rs`.
//!
//! The book's images are gone: one image with busybox and the tests' probe stands for `ch6_ipc`, `ch6_stresser` and the image
//! that lets nobody become root; nginx stands for the pair of servers.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use minke_testkit::{Client, Daemon, Options, Run, Terminal, fixtures, tools, wait_until};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];
const IMAGE: &str = "mkt-ch6:1";
const PROBE: &str = env!("CARGO_BIN_EXE_minke-probe");

/// busybox, the probe, the probe again as a setuid program, and a group that has a member.
#[track_caller]
fn load_image(daemon: &Daemon) {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", fixtures::busybox_rootfs()).expect("the root file system");
    let program = std::fs::read(PROBE).expect("the probe is built with the tests");
    for (name, mode) in [("bin/probe", 0o755), ("bin/raise", 0o4755)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(program.len().try_into().expect("a size"));
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, name, &program[..]).expect("the probe");
    }
    let bytes = tar.into_inner().expect("the archive");
    let changes = ["-c", "ENTRYPOINT [\"/bin/probe\"]", "-c", "ENV PATH=/bin:/sbin"];
    let args = [&["import"], &changes[..], &["-", IMAGE]].concat();
    daemon.run_with_input(Client::Minke, &args, &bytes).ok().done();
}

#[track_caller]
fn with_probe() -> Daemon {
    let daemon = Daemon::start();
    load_image(&daemon);
    daemon
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

fn own(kind: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("the host's namespace").display().to_string()
}

/// A field of `/proc/self/status` inside a container.
#[track_caller]
fn status(daemon: &Daemon, client: Client, flags: &[&str], field: &str) -> String {
    let run = once(daemon, client, flags, &["grep", &format!("^{field}:"), "/proc/self/status"]).ok();
    run.text().rsplit(':').next().unwrap_or_default().trim().to_owned()
}

/// 6-S01, rows 6-C01 to 6-C04, 6-B06: two servers with limits, users and few capabilities, one of them published.
#[test]
fn s6_01_a_constrained_pair() {
    let daemon = Daemon::with(Options { images: vec!["nginx"], ..Options::default() });
    let inside = "exec nginx -c /tmp/n.conf -g 'daemon off;'";
    let conf = "printf 'pid /tmp/p; error_log /dev/stderr; events {} http { access_log off; client_body_temp_path /tmp/a; \
        proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e; \
        server { listen 80; location / { return 200 here; } } }' > /tmp/n.conf; ";
    let script = format!("{conf}{inside}");
    let run = |client, name: &str, flags: &[&str]| {
        let common = [
            "run",
            "-d",
            "--name",
            name,
            "--user",
            "nobody",
            "--entrypoint",
            "sh",
            "--tmpfs",
            "/tmp:mode=1777",
        ];
        daemon.run(client, &[&common, flags, &["nginx", "-c", &script]].concat()).ok().done();
    };
    run(Client::Docker, "db", &["--memory", "256m", "--cpu-shares", "1024", "--cap-drop", "all"]);
    run(
        Client::Minke,
        "web",
        &["-P", "--memory", "512m", "--cpu-shares", "512", "--cap-drop", "net_raw", "--link", "db"],
    );
    let facts = |name: &str| {
        daemon.inspect(
            name,
            "{{.HostConfig.Memory}} {{.HostConfig.CpuShares}} {{.Config.User}} {{.HostConfig.CapDrop}}",
        )
    };
    assert_eq!(facts("db"), "268435456 1024 nobody [ALL]");
    assert_eq!(facts("web"), "536870912 512 nobody [CAP_NET_RAW]");
    assert_eq!(daemon.inspect("db", "{{.State.Running}}"), "true");
    assert_eq!(daemon.minke(&["port", "db"]).ok().text(), "", "nothing of it is open on the host");
    let ports = daemon.minke(&["port", "web"]).ok();
    let port =
        ports.text().lines().next().and_then(|line| line.rsplit(':').next()).unwrap_or_default().to_owned();
    let fetch = || {
        let url = format!("http://127.0.0.1:{port}/");
        let mut command = daemon.in_netns("curl");
        command.args(["-s", "--max-time", "2", &url]);
        Run::new(command, b"").stdout
    };
    if !daemon.is_peer() {
        wait_until("the page comes", Duration::from_secs(10), || fetch() == "here");
    }
}

/// 6-C07: a program that fills the screen, until it is told to quit; its container goes with it.
#[test]
fn a_monitor_runs_in_a_terminal_until_its_key() {
    let daemon = Daemon::start();
    for client in BOTH {
        let top = daemon.command(client, &["run", "-it", "--rm", "--name", "screen", "busybox", "top"]);
        let mut terminal = Terminal::spawn(&top, 24, 100);
        terminal.expect("PID");
        terminal.expect("COMMAND");
        terminal.send("q");
        assert_eq!(terminal.wait(), 0, "{}", terminal.shown());
        daemon.run(client, &["inspect", "screen"]).exits(1).done();
    }
}

/// 6-S04, rows 6-C09, 6-B14 to 6-B16.
#[test]
fn s6_04_devices() {
    let daemon = Daemon::start();
    for client in BOTH {
        let script =
            "stat -c %t:%T /dev/full /dev/again; exec 3< /dev/again && echo readable; exec 3> /dev/again";
        let flags = ["--device", "/dev/full", "--device", "/dev/loop-control:/dev/again:r"];
        let run = once(&daemon, client, &flags, &["sh", "-c", script]);
        // Writing is not among what the second may be used for; root has no say in that.
        assert_ne!(run.code, 0, "{run}");
        assert_eq!(run.stdout, "1:7\na:ed\nreadable\n", "{run}");
        run.complains("Operation not permitted").done();
        let run = once(
            &daemon,
            client,
            &[],
            &["sh", "-c", "ls /dev/again; mknod /tmp/disk b 254 0 && cat /tmp/disk"],
        );
        run.exits(1).complains("/dev/again").complains("Operation not permitted").done();
        let run =
            daemon.run(client, &["run", "--name", "gone", "--device", "/dev/nosuch", "busybox", "true"]);
        assert_ne!(run.code, 0);
        run.complains("/dev/nosuch").done();
        assert_eq!(daemon.inspect("gone", "{{.State.Running}}"), "false");
        daemon.run(client, &["rm", "gone"]).ok().done();
        let rule = ["--device-cgroup-rule", "c 10:237 rw"];
        let open = ["sh", "-c", "mknod /tmp/l c 10 237 && exec 3< /tmp/l && echo opened"];
        once(&daemon, client, &rule, &open).ok().says("opened").done();
        assert_ne!(once(&daemon, client, &[], &open).code, 0);
    }
}

/// 6-S05, rows 6-C10 to 6-C15, 6-B17 to 6-B19, 6-B21.
#[test]
fn s6_05_message_queues_are_private_until_joined() {
    let daemon = with_probe();
    for client in BOTH {
        let run = |name: &str, flags: &[&str], what: &str| {
            let common = ["run", "-d", "-u", "nobody", "--name", name];
            daemon.run(client, &[&common, flags, &[IMAGE, what]].concat()).ok().done();
        };
        let logs = |name: &str| daemon.run(client, &["logs", name]).ok().stdout;
        run("producer", &["--ipc", "shareable"], "-producer");
        run("consumer", &[], "-consumer");
        wait_until("messages are sent", Duration::from_secs(5), || {
            logs("producer").matches("sent").count() > 5
        });
        assert_eq!(logs("consumer"), "", "another namespace: the same key is another queue");
        assert_ne!(namespace(&daemon, "producer", "ipc"), namespace(&daemon, "consumer", "ipc"));
        daemon.run(client, &["rm", "-v", "consumer"]).exits(1).complains("running").done();
        daemon.run(client, &["rm", "-vf", "consumer"]).ok().done();
        run("consumer", &["--ipc", "container:producer"], "-consumer");
        wait_until("messages arrive", Duration::from_secs(5), || {
            logs("consumer").contains("received message")
        });
        assert_eq!(namespace(&daemon, "producer", "ipc"), namespace(&daemon, "consumer", "ipc"));
        let removed = daemon.run(client, &["rm", "-vf", "producer", "consumer"]).ok();
        assert_eq!(removed.stdout, "producer\nconsumer\n");
        let run = daemon.run(client, &["run", "--rm", "--ipc", "container:nosuch", "busybox", "true"]);
        assert_ne!(run.code, 0);
        run.complains("No such container: nosuch").done();
    }
}

/// 6-S06, rows 6-C16, 6-B20.
#[test]
fn s6_06_the_hosts_message_queues() {
    let daemon = with_probe();
    daemon.minke(&["run", "-d", "--name", "producer", "--ipc", "host", IMAGE, "-producer"]).ok().done();
    daemon.docker(&["run", "-d", "--name", "consumer", "--ipc", "host", IMAGE, "-consumer"]).ok().done();
    wait_until("messages arrive", Duration::from_secs(5), || {
        daemon.minke(&["logs", "consumer"]).stdout.contains("received message")
    });
    assert_eq!(namespace(&daemon, "producer", "ipc"), own("ipc"));
    // The key in hexadecimal, as the kernel's table of queues has it in decimal.
    let queues = std::fs::read_to_string("/proc/sysvipc/msg").expect("the host's queues");
    let queue = queues.lines().find(|line| line.trim_start().starts_with(&0x006d_6b06.to_string()));
    let id =
        queue.and_then(|line| line.split_whitespace().nth(1)).expect("the queue is on the host").to_owned();
    daemon.minke(&["rm", "-vf", "producer", "consumer"]).ok().done();
    Run::new(
        {
            let mut command = std::process::Command::new("ipcrm");
            command.args(["-q", &id]);
            command
        },
        b"",
    )
    .ok()
    .done();
}

/// 6-S07, rows 6-C17 to 6-C23, 6-B22, 6-B25 to 6-B27.
#[test]
fn s6_07_who_runs_by_default() {
    let daemon = Daemon::start();
    for client in BOTH {
        daemon.run(client, &["create", "--name", "bob", "busybox:latest", "ping", "localhost"]).ok().done();
        assert_eq!(daemon.inspect("bob", "{{.State.Status}} {{.State.Pid}}"), "created 0");
        assert!(daemon.run(client, &["inspect", "bob"]).ok().json()[0]["Config"].is_object());
        assert_eq!(daemon.run(client, &["inspect", "-f", "{{.Config.User}}", "bob"]).ok().stdout, "\n");
        assert_eq!(once(&daemon, client, &["--entrypoint", ""], &["whoami"]).ok().text(), "root");
        once(&daemon, client, &["--entrypoint", ""], &["id"]).ok().says("uid=0(root) gid=0(root)").done();
        let names = once(&daemon, client, &[], &["awk", "-F:", "{print $1}", "/etc/passwd"]).ok();
        assert!(names.stdout.lines().any(|name| name == "nobody"), "{names}");
        daemon.run(client, &["rm", "bob"]).ok().done();
    }
}

/// 6-S08, rows 6-C23 to 6-C25, 6-B28 to 6-B30.
#[test]
fn s6_08_running_as_others() {
    let daemon = Daemon::start();
    for client in BOTH {
        let id = |user: &str| once(&daemon, client, &["-u", user], &["id"]).ok().text().to_owned();
        assert!(id("root").starts_with("uid=0(root) gid=0(root)"));
        assert!(id("nobody").starts_with("uid=65534(nobody) gid=65534"));
        assert!(id("nobody:root").starts_with("uid=65534(nobody) gid=0(root)"));
        assert!(id("10000:20000").starts_with("uid=10000 gid=20000"));
        assert!(id("10000").starts_with("uid=10000 gid=0(root)"));
        let groups =
            once(&daemon, client, &["-u", "7:8", "--group-add", "root", "--group-add", "99"], &["id", "-G"]);
        assert_eq!(groups.ok().text(), "8 0 99");
        for (user, text) in [
            ("nosuch", "unable to find user nosuch: no matching entries in passwd file"),
            ("nobody:nosuch", "unable to find group nosuch: no matching entries in group file"),
        ] {
            let run = once(&daemon, client, &["-u", user], &["id"]);
            assert_ne!(run.code, 0);
            run.complains(text).done();
        }
    }
}

/// 6-S09, rows 6-C26, 6-B32.
#[test]
fn s6_09_setuid_programs() {
    let daemon = with_probe();
    for client in BOTH {
        let raise = |flags: &[&str]| {
            let common = ["run", "--rm", "-u", "65534", "--entrypoint", "/bin/raise"];
            daemon.run(client, &[&common, flags, &[IMAGE, "ids"]].concat()).ok().text().to_owned()
        };
        assert_eq!(raise(&[]), "uid=65534 euid=0", "setuid is honoured");
        for option in ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"] {
            assert_eq!(raise(&["--security-opt", option]), "uid=65534 euid=65534", "{option}");
        }
        assert_eq!(raise(&["--security-opt", "no-new-privileges=false"]), "uid=65534 euid=0");
    }
}

/// 6-S10 and 6-S11, rows 6-C27 to 6-C30, 6-B23, 6-B33, 6-B34. The directory is the daemon's host's, so minke alone.
#[test]
fn s6_10_and_11_files_of_the_host_belong_to_numbers() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let host = tempfile::tempdir().expect("a directory of the host");
    let garbage = host.path().join("garbage");
    std::fs::write(&garbage, "e=mc^2\n").expect("written");
    std::fs::set_permissions(&garbage, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let logs = host.path().join("logs");
    std::fs::create_dir(&logs).expect("made");
    std::os::unix::fs::chown(&logs, Some(2000), Some(2000)).expect("chown");
    for client in BOTH {
        let bind = format!("{}:/test/garbage", garbage.display());
        let read = |user: &str| once(&daemon, client, &["-v", &bind, "-u", user], &["cat", "/test/garbage"]);
        read("nobody").exits(1).complains("Permission denied").done();
        assert_eq!(read("root").ok().stdout, "e=mc^2\n");
        let bind = format!("{}:/logFiles", logs.display());
        let file = logs.join("important.log");
        let append = |user: &str, text: &str| {
            let script = format!("echo {text} >> /logFiles/important.log");
            once(&daemon, client, &["-v", &bind, "-u", user], &["sh", "-c", &script])
        };
        append("2000:2000", "This is important info").ok().done();
        append("2000:2000", "More info").ok().done();
        assert_eq!(std::fs::read_to_string(&file).expect("readable"), "This is important info\nMore info\n");
        let owner = file.metadata().expect("there");
        assert_eq!((owner.uid(), owner.gid()), (2000, 2000));
        append("2001:2001", "no").exits(1).complains("Permission denied").done();
        std::fs::remove_file(&file).expect("removed");
    }
}

/// 6-S12, rows 6-C31 to 6-C35, 6-B35 to 6-B38.
#[test]
fn s6_12_capabilities() {
    const NET_RAW: u64 = 1 << 13;
    const SYS_ADMIN: u64 = 1 << 21;
    let daemon = Daemon::start();
    for client in BOTH {
        let mask = |flags: &[&str], field: &str| {
            u64::from_str_radix(&status(&daemon, client, flags, field), 16).expect("a mask")
        };
        let nobody = |flags: &[&str]| mask(&[&["-u", "nobody"], flags].concat(), "CapBnd");
        assert_eq!(nobody(&[]) & NET_RAW, NET_RAW);
        assert_eq!(nobody(&["--cap-drop", "net_raw"]) & NET_RAW, 0);
        assert_eq!(nobody(&[]) & SYS_ADMIN, 0);
        assert_eq!(nobody(&["--cap-add", "sys_admin"]) & SYS_ADMIN, SYS_ADMIN);
        assert_eq!(
            mask(&["-u", "nobody", "--cap-add", "sys_admin"], "CapEff"),
            0,
            "only a bound for who is not root"
        );
        assert_eq!(mask(&[], "CapEff"), 0xa804_25fb);
        assert_eq!(mask(&["--cap-drop", "all", "--cap-add", "chown"], "CapBnd"), 1);
        assert_eq!(mask(&["--cap-drop", "ALL", "--cap-add", "CAP_CHOWN"], "CapEff"), 1);
        let all = mask(&["--cap-add", "all"], "CapEff");
        assert_eq!(mask(&["--cap-add", "ALL", "--cap-drop", "Chown"], "CapEff"), all & !1);
        assert_eq!(mask(&["--cap-add", "all", "--cap-drop", "all"], "CapEff"), all);
        let run = once(&daemon, client, &["--cap-add", "fly"], &["true"]);
        run.exits(125).complains("invalid CapAdd: unknown capability: \"CAP_FLY\"").done();
    }
}

/// 6-S13, rows 6-C36 to 6-C40, 6-B39. Inside runs an engine of its own, with a container.
#[test]
fn s6_13_privileged() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = |flags: &[&str], script: &str| {
            let flags = [&["--privileged"], flags].concat();
            once(&daemon, client, &flags, &["sh", "-c", script]).ok().stdout
        };
        assert!(run(&[], "id").starts_with("uid=0(root)"));
        let all = status(&daemon, client, &["--cap-add", "all"], "CapEff");
        assert_eq!(status(&daemon, client, &["--privileged"], "CapEff"), all);
        assert_eq!(status(&daemon, client, &["--privileged"], "Seccomp"), "0");
        let inside = run(&[], "ls /dev");
        for name in std::fs::read_dir("/dev").expect("the host's devices").flatten() {
            use std::os::unix::fs::FileTypeExt as _;
            let kind = name.file_type().expect("its type");
            let text = name.file_name().to_string_lossy().into_owned();
            if (kind.is_block_device() || kind.is_char_device()) && text != "console" {
                assert!(inside.lines().any(|line| line == text), "{text} is missing in {inside}");
            }
        }
        let links = run(&[], "ip -o link");
        assert!(links.contains("eth0"), "its own interfaces: {links}");
        assert!(!run(&["--net", "host"], "ip -o link").contains("eth0@"), "the host's");
        assert!(run(&[], "mount -t tmpfs t /tmp && echo mounted").contains("mounted"));
        run(&["--device", "/dev/null:/dev/again"], "ls /dev/again");
        if !daemon.is_peer() {
            let binary = format!("{}:/bin/minke:ro", tools::resolve(&tools::minke()).display());
            let engine = ["-v", &binary, "-v", "/var/lib/minke"];
            let said = run(&engine, "minke run --rm hello-world && minke ps -aq && minke images -q");
            assert!(said.contains("Hello from minke!"), "{said}");
            assert_eq!(said.lines().last().map(str::len), Some(12), "an image and no container: {said}");
        }
    }
}

/// 6-S14, rows 6-C41 to 6-C46, 6-B40: this host has neither SELinux nor AppArmor, where Docker takes the options and records them.
#[test]
fn s6_14_security_options() {
    let daemon = Daemon::start();
    for client in BOTH {
        for option in [
            "label:user:U",
            "label=role:R",
            "label=type:T",
            "label:level:s0:c1,c2",
            "label:disable",
            "apparmor:unconfined",
            "apparmor=unconfined",
        ] {
            daemon.run(client, &["create", "--name", "box", "--security-opt", option, "busybox"]).ok().done();
            assert_eq!(daemon.inspect("box", "{{.HostConfig.SecurityOpt}}"), format!("[{option}]"));
            daemon.run(client, &["rm", "box"]).ok().done();
        }
        once(&daemon, client, &["--security-opt", "foo"], &["true"]).exits(125).complains("\"foo\"").done();
        once(&daemon, client, &["--security-opt", "foo=bar"], &["true"])
            .exits(125)
            .complains("\"foo=bar\"")
            .done();
        let masked = once(&daemon, client, &[], &["sh", "-c", "mount | grep -c ' /proc/'"]);
        assert_ne!(masked.ok().text(), "0");
        let open = once(
            &daemon,
            client,
            &["--security-opt", "systempaths=unconfined"],
            &["sh", "-c", "mount | grep -c ' /proc/'"],
        );
        open.exits(1).says("0").done();
        let cgroup = |flags: &[&str]| {
            once(&daemon, client, flags, &["grep", "-m1", " - cgroup", "/proc/self/mountinfo"]).ok().stdout
        };
        assert!(cgroup(&[]).contains(" ro,"));
        assert!(cgroup(&["--security-opt", "writable-cgroups=true"]).contains(" rw,"));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let profile = dir.path().join("no-mkdir.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(&profile, text).expect("written");
    for (client, separator) in [(Client::Minke, "="), (Client::Docker, ":")] {
        let option = format!("seccomp{separator}{}", profile.display());
        let run = once(&daemon, client, &["--security-opt", &option], &["mkdir", "/x"]);
        run.exits(1).complains("Operation not permitted").done();
        assert_eq!(status(&daemon, client, &["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
        assert_eq!(status(&daemon, client, &["--security-opt", "seccomp=builtin"], "Seccomp"), "2");
    }
}

/// 6-S16, rows 6-C47, 6-C48, 6-B41: what LXC was is an OCI runtime today; the old flags are refused, never ignored.
#[test]
fn s6_16_lxc_is_refused_and_other_runtimes_run() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = once(&daemon, client, &["--lxc-conf", "lxc.cgroup.cpuset.cpus=0,1"], &["true"]);
        run.exits(125).complains("unknown flag: --lxc-conf").done();
        let run = once(&daemon, client, &["--runtime", "lxc"], &["true"]);
        run.exits(125).complains("unknown or invalid runtime name: lxc").done();
        if minke_testkit::tools::on_path("runc") || daemon.is_peer() {
            let flags = ["--runtime", "runc", "--cpuset-cpus", "0"];
            assert_eq!(status(&daemon, client, &flags, "Cpus_allowed_list"), "0");
            once(&daemon, client, &flags, &["sh", "-c", "exit 7"]).exits(7).done();
            once(&daemon, client, &flags, &["nosuch"])
                .exits(127)
                .complains("\"nosuch\": executable file not found in $PATH")
                .done();
        }
    }
}

/// Rows 6-B41, 6-B42: a runtime that daemon.json names, with arguments of its own, from start to removal.
#[test]
fn a_registered_runtime_does_everything() {
    if !minke_testkit::tools::on_path("runc") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let calls = dir.path().join("calls");
    let program = dir.path().join("mine");
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\nshift\nexec runc \"$@\"\n", calls.display());
    std::fs::write(&program, script).expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let file = dir.path().join("daemon.json");
    let json = serde_json::json!({"runtimes": {"mine": {"path": program, "runtimeArgs": ["--mine"]}}, "default-runtime": "mine"});
    std::fs::write(&file, json.to_string()).expect("written");
    let args = vec!["--config-file".to_owned(), file.display().to_string()];
    let daemon = Daemon::with(Options { args, images: vec!["busybox"], ..Options::default() });
    if daemon.is_peer() {
        return;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the host's mounts").lines().count();
    daemon.docker(&["run", "-d", "--name", "box1", "-m", "64m", "busybox", "sleep", "1000"]).ok().done();
    assert_eq!(daemon.inspect("box1", "{{.HostConfig.Runtime}}"), "mine");
    let now = std::fs::read_to_string("/proc/self/mountinfo").expect("the host's mounts").lines().count();
    assert_eq!(mounts, now, "nothing appears in the host's mount table");
    daemon.docker(&["exec", "box1", "sh", "-c", "echo from exec; exit 3"]).exits(3).says("from exec").done();
    assert_eq!(daemon.minke(&["exec", "box1", "nosuch"]).code, 127);
    daemon.minke(&["pause", "box1"]).ok().done();
    daemon.minke(&["unpause", "box1"]).ok().done();
    daemon.minke(&["update", "-m", "128m", "--memory-swap", "256m", "box1"]);
    daemon.minke(&["stop", "-t", "0", "box1"]).ok().done();
    assert_eq!(daemon.inspect("box1", "{{.State.ExitCode}}"), "137");
    daemon.minke(&["start", "box1"]).ok().done();
    daemon.minke(&["rm", "-f", "box1"]).ok().done();
    assert_eq!(
        daemon.minke(&["run", "--rm", "--runtime", "minke", "busybox", "echo", "own"]).ok().text(),
        "own"
    );
    let calls = std::fs::read_to_string(&calls).expect("it was called");
    for verb in [" create --bundle ", " start ", " exec --detach ", " delete --force "] {
        assert!(
            calls.lines().any(|line| line.starts_with("--mine ") && line.contains(verb)),
            "{verb}: {calls}"
        );
    }
}

/// Rows 6-C02, 6-B03, 6-B04, 6-B12 and what Docker 28.5 refuses, in its words.
#[test]
fn limits_are_checked_in_dockers_words() {
    let daemon = Daemon::start();
    for client in BOTH {
        for (flag, bytes) in [
            ("67108864", 67_108_864i64),
            ("65536k", 67_108_864),
            ("64m", 67_108_864),
            ("1g", 1 << 30),
            ("1000g", 1000 << 30),
        ] {
            daemon.run(client, &["create", "--name", "box", "-m", flag, "busybox"]).ok().done();
            assert_eq!(daemon.inspect("box", "{{.HostConfig.Memory}}"), bytes.to_string());
            daemon.run(client, &["rm", "box"]).ok().done();
        }
        for (flags, text) in [
            (&["-m", "foo"][..], "invalid size: 'foo'"),
            (&["-m", "64x"], "invalid suffix: 'x'"),
            (&["-m", "-1"], "invalid size: '-1'"),
            (&["-m", "4m"], "Minimum memory limit allowed is 6MB"),
            (
                &["-m", "64m", "--memory-swap", "32m"],
                "Minimum memoryswap limit should be larger than memory limit",
            ),
            (&["--memory-swap", "64m"], "You should always set the Memory limit when using Memoryswap limit"),
            (
                &["-m", "64m", "--memory-reservation", "128m"],
                "Minimum memory limit can not be less than memory reservation limit",
            ),
            (&["--memory-swappiness", "101"], "memory swappiness range is 0-100"),
            (&["--cpus", "100"], "range of CPUs is from 0.01 to"),
            (&["--cpus", "1", "--cpu-period", "1000"], "Nano CPUs and CPU Period cannot both be set"),
            (&["--cpu-period", "999"], "CPU cfs period can not be less than 1ms"),
            (&["--cpu-quota", "999"], "CPU cfs quota can not be less than 1ms"),
            (&["--cpu-shares", "-1"], "invalid CPU shares (-1)"),
            (&["--cpuset-cpus", "4095"], "Requested CPUs are not available"),
            (&["--cpuset-cpus", "99999"], "value of out range, maximum is 8192"),
            (&["--cpuset-cpus", "x"], "Invalid value x for cpuset cpus"),
            (&["--oom-score-adj", "1001"], "range for oom score adj is [-1000, 1000]"),
            (&["--ulimit", "nope=1"], "invalid ulimit type: nope"),
            (&["--device-cgroup-rule", "x 1:1 r"], "invalid device cgroup format 'x 1:1 r'"),
            (&["--device", "foo"], "foo is not an absolute path"),
        ] {
            let run = once(&daemon, client, flags, &["true"]);
            run.exits(125).complains(text).done();
        }
        let run = once(&daemon, client, &["--cpu-count", "2"], &["true"]).exits(1);
        run.complains("only supported on a Docker daemon running on windows").done();
    }
}
