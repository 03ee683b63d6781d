//! `minke-oci` where others use an OCI runtime: Podman, and a bundle by hand.

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
