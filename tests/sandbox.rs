//! What escape kits try inside a default container, beside what Docker 28.5 answers to the same.
//!
//! `tests/sandbox/docker-28.5.txt` is Docker's table, recorded by this test with `MINKE_PEER_DOCKER` and `MINKE_BLESS=1`. What
//! Docker refuses must be refused here; what it allows may be refused as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minke_testkit::{Client, Daemon};

const PROBE: &str = env!("CARGO_BIN_EXE_minke-probe");
const DOCKER: &str = include_str!("sandbox/docker-28.5.txt");

/// Allowed on purpose, by Docker and here: the capability to do it is among the default ones, or it shows nothing.
const HARMLESS: [&str; 9] = [
    "raw ICMP socket",
    "packet socket",
    "audit socket",
    "device: null 1:3",
    "read /proc/kallsyms",
    "read /proc/slabinfo",
    "process_vm_readv",
    "write /proc/1/oom_score_adj",
    "modify_ldt",
];

fn table(text: &str) -> BTreeMap<String, bool> {
    text.lines()
        .filter_map(|line| line.rsplit_once(": "))
        .map(|(name, result)| (name.to_owned(), result == "ok"))
        .collect()
}

/// The probe, handed in over standard input so that it works on any engine, run with `args`.
#[track_caller]
fn probe(daemon: &Daemon, client: Client, how: &[&str], what: &str) -> String {
    let program = std::fs::read(PROBE).expect("the probe is built with the tests");
    let script = format!("cat > /probe && chmod 755 /probe && exec /probe {what}");
    let args = [how, &["sh", "-c", &script]].concat();
    daemon.run_with_input(client, &args, &program).ok().stdout
}

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sandbox/docker-28.5.txt")
}

/// Names of attempts that succeed although they must not.
fn beyond(found: &BTreeMap<String, bool>) -> Vec<&str> {
    let docker = table(DOCKER);
    found
        .iter()
        .filter(|(name, ok)| **ok && !docker.get(*name).copied().unwrap_or(false))
        .map(|(name, _)| name.as_str())
        .collect()
}

#[test]
fn escape_kits_get_nothing_that_docker_does_not_give() {
    let daemon = Daemon::start();
    let text = probe(&daemon, Client::Minke, &["run", "--rm", "-i", "busybox"], "escape");
    if daemon.is_peer() && std::env::var_os("MINKE_BLESS").is_some() {
        std::fs::write(recorded(), &text).expect("write Docker's table");
        return;
    }
    let found = table(&text);
    assert!(found.len() > 100, "every attempt says how it went: {text}");
    let known = table(DOCKER);
    let unknown: Vec<&String> = found.keys().filter(|name| !known.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "attempts that Docker was not asked: {unknown:?}");
    assert_eq!(beyond(&found), Vec::<&str>::new(), "allowed here and refused by Docker");
    let harmful: Vec<&String> = found
        .iter()
        .filter(|(name, ok)| **ok && !HARMLESS.contains(&name.as_str()))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(harmful, Vec::<&String>::new(), "allowed, and on no list of what is harmless");
}

#[test]
fn a_further_process_gets_no_more_than_the_first() {
    let daemon = Daemon::start();
    daemon.minke(&["run", "-d", "--name", "box1", "busybox", "sleep", "1000"]).ok().done();
    let text = probe(&daemon, Client::Minke, &["exec", "-i", "box1"], "escape");
    assert_eq!(beyond(&table(&text)), Vec::<&str>::new(), "allowed to an exec and refused by Docker");
}

#[test]
fn nobody_gets_less_than_root() {
    let daemon = Daemon::start();
    let program = std::fs::read(PROBE).expect("the probe is built with the tests");
    let script = "cat > /tmp/probe && chmod 755 /tmp/probe && exec /tmp/probe escape";
    let args = ["run", "--rm", "-i", "-u", "nobody", "busybox", "sh", "-c", script];
    let text = daemon.run_with_input(Client::Docker, &args, &program).ok().stdout;
    let found = table(&text);
    assert_eq!(beyond(&found), Vec::<&str>::new());
    for name in ["raw ICMP socket", "packet socket", "device: null 1:3"] {
        // The kernel answers "not permitted" to who lacks the capability.
        assert_eq!(found.get(name), Some(&false), "{name}: {text}");
    }
}

/// Every door that is open without the filter is one the filter closes: it is the filter that is seen, not chance.
#[test]
fn without_the_filter_more_would_succeed() {
    let daemon = Daemon::start();
    let how = ["run", "--rm", "-i", "--security-opt", "seccomp=unconfined", "busybox"];
    let open = table(&probe(&daemon, Client::Minke, &how, "escape"));
    for name in ["unshare user", "keyctl", "add_key"] {
        assert_eq!(open.get(name), Some(&true), "{name}");
    }
    assert_eq!(open.get("mount tmpfs"), Some(&false), "no capability");
}

/// Links inside the image lead mounts and the working directory nowhere but into the container.
#[test]
fn links_in_the_image_lead_no_mount_out_of_the_container() {
    let daemon = Daemon::start();
    let outside = tempfile::tempdir().expect("a directory of the host");
    let target = outside.path().join("made");
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", minke_testkit::fixtures::busybox_rootfs()).expect("the root file system");
    for (name, link) in [
        ("far", format!("../../../../../../..{}", target.display())),
        ("absolute", target.display().to_string()),
        ("etc-link", "/etc".to_owned()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, name, &link).expect("a link");
    }
    let bytes = tar.into_inner().expect("the archive");
    daemon.run_with_input(Client::Minke, &["import", "-", "mkt-links:1"], &bytes).ok().done();
    for args in [
        &["--tmpfs", "/far/deep"][..],
        &["--tmpfs", "/absolute/deep"],
        &["-w", "/far/deep"],
        &["-w", "/absolute/deep"],
        &["-v", "/dev/null:/far"],
        &["-v", "/dev/null:/absolute/file"],
        &["--device", "/dev/null:/far/node"],
    ] {
        // Whether it starts is the container's affair; that the host is left alone is ours.
        daemon.minke(&[&["run", "--rm"], args, &["mkt-links:1", "true"]].concat());
        assert!(!target.exists(), "{args:?} made {} on the host", target.display());
    }
    let run = daemon.minke(&[
        "run",
        "--rm",
        "-v",
        "/dev/null:/etc-link/passwd",
        "mkt-links:1",
        "wc",
        "-c",
        "/etc/passwd",
    ]);
    run.ok().says("0 /etc/passwd").done();
    daemon.minke(&["rmi", "mkt-links:1"]).ok().done();
}
