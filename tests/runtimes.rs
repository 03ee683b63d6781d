//! `minke-oci` where others use an OCI runtime: Podman, Docker with containerd, and a bundle by hand.
//!
//! Beside their own runtime they are compared when somebody says how to start them:
//! - `MINKE_PEER_DOCKERD`: the words that start dockerd (`dockerd`, or a program that enters a chroot first); the daemon is a private
//!   one in a network namespace of its own. Compared with runc, over `tests/runtimes/docker.steps`.
//! - `MINKE_PEER_PODMAN`: the words that start Podman; `MINKE_PEER_RUNTIME` names the runtime to compare with (crun). Over
//!   `tests/runtimes/podman.steps`.
//! - `MINKE_PEER_ROOT`: where the root directory of those programs lies, when it is not this one.

use std::path::{Path, PathBuf};
use std::process::Command;

use minke_testkit::{Run, fixtures, tools};

/// The binary under the name that makes it a runtime.
fn runtime(dir: &Path) -> PathBuf {
    let link = dir.join("minke-oci");
    std::os::unix::fs::symlink(tools::resolve(&tools::minke()), &link).expect("a link");
    link
}

#[track_caller]
fn run(program: &Path, args: &[&str]) -> Run {
    let mut command = Command::new(program);
    command.args(args);
    Run::new(command, b"")
}

/// A bundle whose process is `args`, from `minke-oci spec`.
fn bundle(dir: &Path, oci: &Path, args: &[&str]) -> String {
    let path = dir.join("bundle");
    std::fs::create_dir_all(&path).expect("a directory");
    std::os::unix::fs::symlink(fixtures::busybox_rootfs(), path.join("rootfs")).ok();
    let text = path.to_string_lossy().into_owned();
    std::fs::remove_file(path.join("config.json")).ok();
    run(oci, &["spec", "--bundle", &text]).ok().done();
    let config = std::fs::read_to_string(path.join("config.json")).expect("the spec");
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    config["process"]["args"] = serde_json::json!(args);
    config["process"]["terminal"] = false.into();
    // The limits of the machine may not be raised here.
    config["process"].as_object_mut().expect("an object").remove("rlimits");
    config["root"]["path"] = fixtures::busybox_rootfs().to_string_lossy().into_owned().into();
    std::fs::write(path.join("config.json"), config.to_string()).expect("write");
    text
}

#[test]
fn a_bundle_lives_as_under_runc() {
    let dir = tempfile::tempdir().expect("a directory");
    let oci = runtime(dir.path());
    let root = dir.path().join("state");
    let root = root.to_string_lossy().into_owned();
    let id = format!("mkrt{}", std::process::id());
    let oci_run = |args: &[&str]| run(&oci, &[&["--root", &root], args].concat());

    let path = bundle(dir.path(), &oci, &["sh", "-c", "echo from the bundle; exit 4"]);
    oci_run(&["run", "--bundle", &path, &id]).exits(4).says("from the bundle").done();
    oci_run(&["state", &id]).exits(1).complains("does not exist").done();

    // As crun is asked by `podman run --cgroups=disabled`.
    let path = bundle(dir.path(), &oci, &["cat", "/proc/self/cgroup"]);
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("readable");
    let file = dir.path().join("bundle/config.json");
    let text = std::fs::read_to_string(&file).expect("readable");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|namespace| namespace["type"] != "cgroup");
    std::fs::write(&file, config.to_string()).expect("write");
    let run = oci_run(&["--cgroup-manager", "disabled", "run", "--bundle", &path, &id]).ok();
    assert_eq!(run.stdout, own);

    let path = bundle(dir.path(), &oci, &["sleep", "1000"]);
    // Created, the container waits; its output would keep this test's pipes open, so it gets none.
    let quiet = |args: &[&str]| {
        let mut command = Command::new("sh");
        command
            .args(["-c", "\"$@\" > /dev/null 2> /dev/null < /dev/null", "sh"])
            .arg(&oci)
            .args(["--root", &root])
            .args(args);
        Run::new(command, b"")
    };
    let pid_file = dir.path().join("pid");
    quiet(&["create", "--bundle", &path, "--pid-file", &pid_file.to_string_lossy(), &id]).ok().done();
    let state = oci_run(&["state", &id]).ok().json();
    assert_eq!(
        (state["status"].as_str(), state["ociVersion"].is_string()),
        (Some("created"), true),
        "{state}"
    );
    assert_eq!(state["pid"].to_string(), std::fs::read_to_string(&pid_file).expect("the pid file").trim());
    oci_run(&["create", "--bundle", &path, &id]).exits(1).complains("exist").done();
    oci_run(&["start", &id]).ok().done();
    assert_eq!(oci_run(&["state", &id]).ok().json()["status"], "running");
    oci_run(&["exec", &id, "sh", "-c", "echo inside; exit 6"]).exits(6).says("inside").done();
    oci_run(&["ps", &id]).ok().says("sleep").done();
    oci_run(&["list", "-q"]).ok().says(&id).done();
    oci_run(&["pause", &id]).ok().done();
    assert_eq!(oci_run(&["state", &id]).ok().json()["status"], "paused");
    oci_run(&["resume", &id]).ok().done();
    oci_run(&["update", "--pids-limit", "77", &id]).ok().done();
    oci_run(&["events", "--stats", &id]).ok().says("\"pids\"").done();
    oci_run(&["delete", &id]).exits(1).complains("is not stopped").done();
    oci_run(&["kill", &id, "KILL"]).ok().done();
    minke_testkit::wait_until("it is stopped", std::time::Duration::from_secs(5), || {
        oci_run(&["state", &id]).json()["status"] == "stopped"
    });
    oci_run(&["delete", &id]).ok().done();
    assert_eq!(oci_run(&["list", "-q"]).ok().text(), "");
    oci_run(&["features"]).ok().says("\"namespaces\"").done();
}

#[test]
fn an_ordinary_user_runs_a_container_and_enters_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    // Copies, because nobody may not look into the directories that builds are in.
    std::fs::copy(tools::resolve(&tools::minke()), at("minke-oci")).expect("a copy of minke");
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(fixtures::busybox_rootfs()).arg(at("rootfs"));
    Run::new(copy, b"").ok().done();
    std::fs::create_dir(at("run")).expect("a directory");
    let mut own = Command::new("chown");
    own.args(["-R", "65534:65534"]).arg(dir.path());
    Run::new(own, b"").ok().done();
    let nobody = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(at("minke-oci")).args(args).current_dir(dir.path());
        command.env("XDG_RUNTIME_DIR", at("run"));
        command
    };
    let run = |args: &[&str]| Run::new(nobody(args), b"");
    run(&["spec", "--rootless"]).ok().done();
    let text = std::fs::read_to_string(at("config.json")).expect("the spec");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["process"]["terminal"] = false.into();
    config["process"].as_object_mut().expect("an object").remove("rlimits");
    let mut write = |args: &[&str]| {
        config["process"]["args"] = serde_json::json!(args);
        std::fs::write(at("config.json"), config.to_string()).expect("write");
    };
    write(&["sh", "-c", "id -u; tr -s ' ' < /proc/self/uid_map; exit 5"]);
    let first = run(&["run", "first"]).exits(5);
    assert_eq!(first.stdout, "0\n 0 65534 1\n");

    write(&["sleep", "1000"]);
    let quiet = |mut command: Command| {
        use std::process::Stdio;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().expect("setpriv (util-linux)").success());
    };
    quiet(nobody(&["run", "--detach", "second"]));
    run(&["exec", "second", "sh", "-c", "cat /proc/1/comm; exit 3"]).exits(3).says("sleep").done();
    run(&["pause", "second"]).exits(1).complains("has no cgroup of its own").done();
    run(&["delete", "--force", "second"]).ok().done();
    assert_eq!(run(&["list", "-q"]).ok().text(), "");
}

#[test]
fn podman_runs_containers_with_minke_oci() {
    let dir = tempfile::tempdir().expect("a directory");
    let oci = runtime(dir.path()).to_string_lossy().into_owned();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    // This host may not let limits be raised, which Podman's defaults do.
    std::fs::write(
        dir.path().join("containers.conf"),
        "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=4096:4096\"]\n",
    )
    .expect("write");
    let (root, runroot, conf) = (path("root"), path("runroot"), path("containers.conf"));
    let podman = |args: &[&str]| {
        // Podman mounts its storage: the mounts go with this namespace.
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "--",
            "podman",
            "--root",
            &root,
            "--runroot",
            &runroot,
        ]);
        command
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", &oci])
            .args(args);
        command.env("CONTAINERS_CONF", &conf).env_remove("DOCKER_HOST");
        Run::new(command, b"")
    };
    let loaded = podman(&["load", "-q", "-i", &fixtures::archive("busybox").to_string_lossy()]).ok();
    let image = loaded.text().trim_start_matches("Loaded image: ");
    podman(&["run", "--rm", "--network", "none", image, "sh", "-c", "echo under podman; exit 3"])
        .exits(3)
        .says("under podman")
        .done();
    podman(&["run", "-d", "--network", "none", "--name", "box1", image, "sleep", "1000"]).ok().done();
    podman(&["exec", "box1", "sh", "-c", "echo in exec; exit 4"]).exits(4).says("in exec").done();
    podman(&["rm", "-f", "-t", "0", "box1"]).ok().done();
}

/// A directory that the peer and this test both see, with minke in it.
struct Shared {
    /// As this test sees it; removed at the end.
    here: PathBuf,
    /// As the peer sees it.
    there: String,
}

impl Shared {
    fn new(name: &str) -> Self {
        let root = std::env::var("MINKE_PEER_ROOT").unwrap_or_default();
        let there = format!("/var/lib/minke-parity-{name}-{}", std::process::id());
        let here = PathBuf::from(format!("{}{there}", root.trim_end_matches('/')));
        std::fs::create_dir_all(&here).expect("a directory below the peer's root");
        std::fs::copy(tools::resolve(&tools::minke()), here.join("minke-oci")).expect("a copy of minke");
        Self { here, there }
    }

    /// A program of this name in a directory of its own, for the PATH of the steps.
    fn program(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.here.join("bin").join(name);
        std::fs::create_dir_all(self.here.join("bin")).expect("a directory");
        // What it starts is not itself.
        std::fs::write(&path, format!("#!/bin/sh\nPATH=${{PATH#*:}}\n{script}\n")).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    }

    /// Every step with both runtimes; tells which differ in exit code, output or errors.
    fn compare(&self, steps: &str, runtimes: [&str; 2], environment: &[(&str, &str)]) {
        let mut different = Vec::new();
        let mut count = 0;
        for step in steps.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            count += 1;
            let [theirs, ours] = runtimes.map(|runtime| self.step(step, runtime, environment));
            if theirs != ours {
                different.push(format!("{step}\n--- {}\n{theirs}--- {}\n{ours}", runtimes[0], runtimes[1]));
            }
        }
        assert!(
            different.is_empty(),
            "{} of {count} steps differ:\n\n{}",
            different.len(),
            different.join("\n")
        );
    }

    /// One step's exit code and output, without what differs from run to run.
    fn step(&self, step: &str, runtime: &str, environment: &[(&str, &str)]) -> String {
        let name = format!("par{}", Path::new(runtime).file_name().unwrap_or_default().to_string_lossy());
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "60", "sh", "-c", step]);
        command.env("PATH", format!("{}:{path}", self.here.join("bin").display()));
        command.env("R", runtime).env("N", &name).envs(environment.iter().copied());
        let run = Run::new(command, b"");
        let text = format!("exit {}\n{}\n{}\n", run.code, run.stdout, run.stderr);
        let text = text.replace("\r\n", "\n").replace(&name, "NAME").replace(runtime, "RUNTIME");
        let text = text.replace("^@", "").replace('\0', "");
        without_ids(&text).replace("minke", "RUNTIME").replace("runc ", "RUNTIME ")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.here) {
            #[expect(clippy::print_stderr, reason = "shown by the test runner beside a failure")]
            {
                eprintln!("{} stays: {error}", self.here.display());
            }
        }
    }
}

/// Hexadecimal words of twelve digits or more become `ID`.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_id = [12, 64].contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_hexdigit());
        if is_id {
            out.push_str("ID");
            out.push_str(&word[bare.len()..]);
        } else {
            out.push_str(word);
        }
    }
    out
}

#[test]
fn docker_with_containerd_cannot_tell_minke_oci_from_runc() {
    let Ok(words) = std::env::var("MINKE_PEER_DOCKERD") else {
        eprintln!("skipped: MINKE_PEER_DOCKERD does not say how to start a dockerd");
        return;
    };
    let shared = Shared::new("docker");
    let at = |name: &str| format!("{}/{name}", shared.there);
    let log = std::fs::File::create(shared.here.join("log")).expect("a log");
    let mut starter = Command::new("unshare")
        .args(["-n", "--", "sh", "-c"])
        .arg(format!("ip link set lo up; exec {words} \"$@\""))
        .args(["sh", "--data-root", &at("data"), "--exec-root", &at("run"), "-p", &at("pid")])
        .args(["-H", &format!("unix://{}", at("s")), "--add-runtime", &format!("minke={}", at("minke-oci"))])
        .args(["--iptables=false", "--ip6tables=false", "--bip", "172.29.0.1/16"])
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("unshare (util-linux) and root");
    let socket = shared.here.join("s");
    minke_testkit::wait_until("dockerd answers", std::time::Duration::from_secs(60), || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    let host = format!("unix://{}", socket.display());
    shared.program("docker", &format!("exec {} -H {host} \"$@\"", tools::docker()));
    let archive = fixtures::archive("busybox");
    let mut load = Command::new(tools::docker());
    load.args(["-H", &host, "load", "-q", "-i", &archive.to_string_lossy()]);
    Run::new(load, b"").ok().done();

    let steps = include_str!("runtimes/docker.steps");
    let compared = std::panic::catch_unwind(|| shared.compare(steps, ["runc", "minke"], &[]));

    let pid = std::fs::read_to_string(shared.here.join("pid")).ok().and_then(|text| text.trim().parse().ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("dockerd runs");
    }
    starter.wait().expect("it ends");
    if let Err(panic) = compared {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn podman_cannot_tell_minke_oci_from_its_own_runtime() {
    let Ok(words) = std::env::var("MINKE_PEER_PODMAN") else {
        eprintln!("skipped: MINKE_PEER_PODMAN does not say how to start Podman");
        return;
    };
    let theirs = std::env::var("MINKE_PEER_RUNTIME").unwrap_or_else(|_| "crun".to_owned());
    let shared = Shared::new("podman");
    let at = |name: &str| format!("{}/{name}", shared.there);
    // Limits that this host may not let be raised; and what Podman knows of crun by its name it is told of minke.
    let conf = format!(
        "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=4096:4096\"]\n[engine]\nruntime_supports_json=[\"{}\",\"{theirs}\"]\n",
        at("minke-oci")
    );
    std::fs::write(shared.here.join("containers.conf"), conf).expect("write");
    shared.program(
        "podman",
        &format!(
            "unset DOCKER_HOST\nexec {words} --root {} --runroot {} --cgroup-manager cgroupfs --events-backend none --runtime \"$R\" \"$@\"",
            at("root"),
            at("runroot"),
        ),
    );
    let conf = at("containers.conf");
    let environment = [("CONTAINERS_CONF", conf.as_str()), ("PODMAN_IGNORE_CGROUPSV1_WARNING", "1")];
    let podman = |line: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("R", &theirs).envs(environment);
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", shared.here.join("bin").display()));
        Run::new(command, b"")
    };
    podman(&format!("podman load -q < {}", fixtures::archive("busybox").display())).ok().done();
    let steps = include_str!("runtimes/podman.steps");
    let ours = at("minke-oci");
    let compared = std::panic::catch_unwind(|| shared.compare(steps, [&theirs, &ours], &environment));
    // Its storage is mounted in places that only Podman knows.
    podman("podman system reset -f").ok().done();
    if let Err(panic) = compared {
        std::panic::resume_unwind(panic);
    }
}
