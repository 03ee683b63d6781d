//! The engine that starts itself: a fresh machine, one command.

use std::process::Command;

use minke_testkit::{Run, tools};

/// Runs `script` where /run, /var/lib and the network are the test's own, as on a machine that has never seen minke. `$MINKE` is
/// the binary.
fn on_a_fresh_machine(script: &str) -> Run {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private", "--", "sh", "-c"]);
    command.arg(format!(
        "set -e; mount -t tmpfs tmpfs /run; mkdir -p /var/lib/minke; mount -t tmpfs tmpfs /var/lib/minke; \
         ip link set lo up; stop() {{ [ -e /run/minke/minke.pid ] && kill $(cat /run/minke/minke.pid); }}; trap stop EXIT; {script}"
    ));
    command.env("MINKE", tools::minke()).env("HOME", "/nonexistent");
    for name in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "MINKE_AUTOSTART"] {
        command.env_remove(name);
    }
    Run::new(command, b"")
}

#[test]
fn the_first_command_on_a_machine_starts_the_engine() {
    let run = on_a_fresh_machine(
        "$MINKE run --rm hello-world; test -S /run/minke/minke.sock; test -S /var/run/docker.sock; \
         $MINKE ps -a; docker ps -a; $MINKE info --format '{{.ServerVersion}}'",
    );
    run.ok().says("Hello from minke!").done();
}

#[test]
fn autostart_can_be_turned_off() {
    let run = on_a_fresh_machine("MINKE_AUTOSTART=0 $MINKE ps");
    run.exits(1).complains("Cannot connect to the Docker daemon").complains("/run/minke/minke.sock").done();
}

#[test]
fn an_engine_named_by_the_user_is_never_started() {
    let run = on_a_fresh_machine("$MINKE -H unix:///run/nosuch.sock ps");
    run.exits(1).complains("unix:///run/nosuch.sock").complains("Is the docker daemon running?").done();
}

#[test]
fn the_binary_answers_to_its_other_names() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["docker", "dockerd", "minke-oci"] {
        std::os::unix::fs::symlink(tools::resolve(&tools::minke()), dir.path().join(name)).expect("a link");
    }
    let run = |name: &str, args: &[&str]| {
        let mut command = Command::new(dir.path().join(name));
        command.args(args);
        Run::new(command, b"")
    };
    run("docker", &["help"]).ok().says("docker [OPTIONS] COMMAND").done();
    run("docker", &["--version"]).ok().says("ersion").done();
    run("dockerd", &["--help"]).ok().says("--data-root").done();
    run("minke-oci", &["--version"]).ok().says("spec:").done();
    run("minke-oci", &["spec", "--help"]).ok().done();
}

#[test]
fn the_binary_is_static() {
    let bytes = std::fs::read(tools::resolve(&tools::minke())).expect("read the binary");
    // Program headers of the ELF64 file: none asks for an interpreter (PT_INTERP, 3).
    let at = |offset: usize| usize::from(u16::from_le_bytes([bytes[offset], bytes[offset + 1]]));
    let start = usize::try_from(u64::from_le_bytes(bytes[32..40].try_into().expect("eight bytes")))
        .expect("an offset");
    let (size, count) = (at(54), at(56));
    assert!(count > 0);
    for header in 0..count {
        assert_ne!(at(start + header * size), 3, "the binary asks for a dynamic linker");
    }
}
