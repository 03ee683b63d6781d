//! Chapter 1 of the book: first contact, the socket's permission, immutable images.

use minke_testkit::{Client, Daemon, Options, Run};

fn with_hello_world() -> Daemon {
    Daemon::with(Options { images: vec!["hello_world", "busybox"], ..Options::default() })
}

/// S1-01. The image is there already (pulling is chapter 9's), so both runs print exactly the line.
#[test]
fn s1_01_first_contact() {
    let daemon = with_hello_world();
    for client in [Client::Minke, Client::Docker] {
        let run = daemon.run(client, &["run", "dockerinaction/hello_world"]).ok();
        assert_eq!(run.stdout, "hello world\n");
        assert_eq!(run.stderr, "");
    }
    assert_eq!(daemon.minke(&["ps", "-q"]).ok().text(), "");
    let all = daemon.minke(&["ps", "-a", "--format", "{{.ID}} {{.Status}}"]).ok();
    let lines: Vec<&str> = all.text().lines().collect();
    assert_eq!(lines.len(), 2, "{all}");
    assert!(lines.iter().all(|line| line.contains("Exited (0)")), "{all}");
    assert_ne!(lines[0].split(' ').next(), lines[1].split(' ').next());
}

/// S1-01, the image that the binary carries: no network, no archive.
#[test]
fn hello_world_needs_nothing_but_the_binary() {
    let daemon = Daemon::with(Options::default());
    if daemon.is_peer() {
        return;
    }
    daemon.minke(&["run", "--rm", "hello-world"]).ok().says("Hello from minke!").done();
    daemon.docker(&["run", "--rm", "hello-world"]).ok().says("Hello from minke!").done();
    daemon.minke(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok().says("hello-world:latest").done();
}

/// S1-01, an image that is not there and cannot be had.
#[test]
fn an_unknown_image_is_an_error_of_the_daemon() {
    let daemon = Daemon::with(Options::default());
    if daemon.is_peer() {
        return;
    }
    for client in [Client::Minke, Client::Docker] {
        daemon
            .run(client, &["run", "--rm", "nosuch/image"])
            .exits(125)
            .complains("Unable to find image 'nosuch/image:latest' locally")
            .complains("nosuch/image")
            .done();
    }
}

/// S1-02. Who may not use the socket is told its name; a member of its group may.
#[test]
fn s1_02_socket_permission() {
    let daemon = Daemon::with(Options::default());
    if daemon.is_peer() {
        return;
    }
    // The directory is private to the test: let others reach the socket in it.
    open_to_others(daemon.path());
    for client in [Client::Minke, Client::Docker] {
        let run = as_user(&daemon, client, 65534, "--clear-groups").exits(1).complains("permission denied");
        let run = run.complains(&daemon.socket().to_string_lossy());
        assert!(!run.stderr.contains("panicked"), "{run}");
    }
    rustix::fs::chown(daemon.socket(), None, Some(rustix::fs::Gid::from_raw(54321)))
        .expect("give the socket a group");
    rustix::fs::chmod(daemon.socket(), rustix::fs::Mode::from_raw_mode(0o660)).expect("let the group in");
    as_user(&daemon, Client::Minke, 65534, "--groups=54321").ok().done();
    as_user(&daemon, Client::Docker, 65534, "--groups=54321").ok().done();
}

fn as_user(daemon: &Daemon, client: Client, uid: u32, groups: &str) -> Run {
    let inner = daemon.command(client, &["ps"]);
    let binary = tempfile::Builder::new().prefix("minke-cli-").tempdir().expect("a directory");
    open_to_others(binary.path());
    // The build's own directory may be closed to other users.
    let program = binary.path().join("client");
    let found = minke_testkit::tools::resolve(&inner.get_program().to_string_lossy());
    std::fs::copy(found, &program).expect("copy the client");
    let mut command = std::process::Command::new("setpriv");
    command
        .arg(format!("--reuid={uid}"))
        .arg("--regid=65534")
        .arg(groups)
        .arg(&program)
        .args(inner.get_args());
    command.env("HOME", "/nonexistent").env_remove("DOCKER_HOST").env_remove("DOCKER_CONFIG");
    Run::new(command, b"")
}

fn open_to_others(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("open the directory");
}

/// S1-03. What one container writes no other sees.
#[test]
fn s1_03_image_immutability() {
    let daemon = Daemon::start();
    daemon
        .minke(&["run", "--name", "first", "busybox", "sh", "-c", "echo mine > /note; cat /note"])
        .ok()
        .says("mine")
        .done();
    daemon
        .minke(&["run", "--name", "second", "busybox", "cat", "/note"])
        .exits(1)
        .complains("No such file")
        .done();
    daemon.docker(&["run", "--name", "third", "busybox", "ls", "/"]).ok().done();
    assert!(!daemon.minke(&["logs", "third"]).ok().stdout.contains("note"));
    // The first keeps its file when it is started again.
    daemon.minke(&["start", "-a", "first"]).ok().says("mine").done();
}
