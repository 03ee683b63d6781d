//! The unmodified `docker` CLI and Python's `docker` package, as their users drive them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use minke_testkit::{Client, Daemon, Options, Run, Terminal, fixtures, wait_until};

#[test]
fn the_docker_cli_works_unchanged() {
    let daemon = Daemon::with(Options::default());
    let docker = |args: &[&str]| daemon.docker(args);
    docker(&["load", "-i", &fixtures::archive("busybox").to_string_lossy()])
        .ok()
        .says("Loaded image: busybox:latest")
        .done();
    docker(&["images"]).ok().says("busybox").done();
    assert_eq!(docker(&["run", "--rm", "busybox", "echo", "hi"]).ok().stdout, "hi\n");

    let mut terminal =
        Terminal::spawn(&daemon.command(Client::Docker, &["run", "-it", "--rm", "busybox"]), 30, 90);
    terminal.expect("/ # ");
    terminal.send("tty; stty size; exit 3\r");
    terminal.expect("/dev/pts/0");
    terminal.expect("30 90");
    assert_eq!(terminal.wait(), 3);

    let script = "trap 'echo bye; exit 0' TERM; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.1; done";
    let run = docker(&["run", "-d", "--name", "ticker", "busybox", "sh", "-c", script]).ok();
    assert_eq!(run.text().len(), 64);
    docker(&["ps"]).ok().says("ticker").says("Up ").done();
    let follow = daemon.start_client(Client::Docker, &["logs", "-f", "ticker"]);
    wait_until("it ticked", Duration::from_secs(5), || docker(&["logs", "ticker"]).stdout.contains("tick 2"));

    let mut terminal =
        Terminal::spawn(&daemon.command(Client::Docker, &["exec", "-it", "ticker", "sh"]), 20, 70);
    terminal.expect("/ # ");
    terminal.send("stty size\r");
    terminal.expect("20 70");
    terminal.send("exit 6\r");
    assert_eq!(terminal.wait(), 6);

    docker(&["stop", "-t", "5", "ticker"]).ok().says("ticker").done();
    let followed = follow.finish(Duration::from_secs(10)).ok().says("tick 0\ntick 1\n").says("bye\n");
    assert!(followed.stdout.ends_with("bye\n"), "{followed}");
    docker(&["restart", "ticker"]).ok().done();
    assert_eq!(docker(&["inspect", "-f", "{{.State.Status}}", "ticker"]).ok().text(), "running");
    docker(&["kill", "-s", "KILL", "ticker"]).ok().done();
    assert_eq!(docker(&["wait", "ticker"]).ok().text(), "137");
    docker(&["start", "ticker"]).ok().done();
    docker(&["pause", "ticker"]).ok().done();
    docker(&["ps"]).ok().says("(Paused)").done();
    docker(&["unpause", "ticker"]).ok().done();
    docker(&["rm", "-f", "ticker"]).ok().says("ticker").done();
    docker(&["info"])
        .ok()
        .says("Server Version:")
        .says("Storage Driver: overlay2")
        .says("Cgroup Version:")
        .done();
    docker(&["version"]).ok().says("Client").says("Server").says("API version").done();
    docker(&["system", "df"]).ok().says("Images").says("Containers").done();
    docker(&["network", "ls"]).ok().says("bridge").says("host").says("none").done();
    docker(&["volume", "ls"]).ok().done();
    // The CLI cuts the moment to its second: what happened within this one comes after it.
    std::thread::sleep(Duration::from_millis(1100));
    docker(&["events", "--since", "1h", "--until", "0s"])
        .ok()
        .says("container start")
        .says("container die")
        .done();
}

#[test]
fn a_container_can_be_driven_in_separate_steps() {
    let daemon = Daemon::start();
    let id = daemon.docker(&["create", "-it", "--name", "steps", "busybox"]).ok().text().to_owned();
    let mut terminal = Terminal::spawn(&daemon.command(Client::Docker, &["start", "-ai", "steps"]), 24, 80);
    terminal.expect("/ # ");
    terminal.send("exit 2\r");
    assert_eq!(terminal.wait(), 2);
    let waiting = daemon.start_client(Client::Docker, &["wait", "steps"]);
    assert_eq!(waiting.finish(Duration::from_secs(5)).ok().text(), "2");
    daemon.docker(&["rename", "steps", "stepped"]).ok().done();
    assert_eq!(daemon.docker(&["ps", "-aq", "--no-trunc", "--filter", "name=stepped"]).ok().text(), id);
    daemon.docker(&["container", "prune", "-f"]).ok().says(&id).done();
}

/// Several people on one container: each sees everything, and one who leaves disturbs nobody.
#[test]
fn several_clients_attach_at_once() {
    let daemon = Daemon::start();
    daemon.minke(&["run", "-di", "--name", "many", "busybox", "cat"]).ok().done();
    let watch = |client| daemon.start_client(client, &["attach", "--no-stdin", "many"]);
    let (first, second, third) = (watch(Client::Minke), watch(Client::Docker), watch(Client::Docker));
    daemon.wait_for_events("many", "attach", 3);
    drop(third);
    // Detached containers keep their input open: the one who types is cut off by the container's end.
    let typist = daemon.start_client_with_input(Client::Docker, &["attach", "many"], b"to all\n");
    wait_until("it was typed", Duration::from_secs(10), || {
        daemon.minke(&["logs", "many"]).stdout == "to all\n"
    });
    daemon.docker(&["kill", "many"]).ok().done();
    for client in [typist, first, second] {
        client.finish(Duration::from_secs(10)).exits(137).says("to all\n").done();
    }
}

/// A request on a connection of its own; the connection, unread.
fn ask(daemon: &Daemon, path: &str, more: &str, body: &str) -> UnixStream {
    let mut socket = UnixStream::connect(daemon.socket()).expect("connect");
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n"
    );
    socket.write_all(format!("{head}{body}").as_bytes()).expect("send");
    socket
}

/// docker-py's HTTP library reads ahead while it parses the head, and what it got of the output is lost.
#[test]
fn output_does_not_come_in_one_piece_with_the_head_of_the_answer() {
    let daemon = Daemon::start();
    daemon.minke(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok().done();
    let body = r#"{"Cmd": ["echo", "hi"], "AttachStdout": true}"#;
    let mut answer = String::new();
    ask(&daemon, "/v1.41/containers/box/exec", "Connection: close\r\n", body)
        .read_to_string(&mut answer)
        .expect("an answer");
    let id = answer.split('"').nth(3).expect("an id");
    let upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
    let mut socket = ask(&daemon, &format!("/v1.41/exec/{id}/start"), upgrade, "{}");
    // The client is busy for a moment.
    std::thread::sleep(Duration::from_millis(20));
    let mut first = [0; 8192];
    let length = socket.read(&mut first).expect("the head");
    assert!(first[..length].ends_with(b"\r\n\r\n"), "{:?}", String::from_utf8_lossy(&first[..length]));
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).expect("the output");
    assert_eq!(rest, b"\x01\0\0\0\0\0\0\x03hi\n");
}

/// Debian's python3-docker, or whichever `docker` package `MINKE_TEST_PYTHON` has.
#[test]
fn pythons_docker_package_works() {
    let daemon = Daemon::start();
    let python = std::env::var("MINKE_TEST_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    let script = minke_testkit::tools::workspace().join("tests/clients.py");
    let mut command = Command::new(python);
    command.arg(script).arg(daemon.host()).arg(fixtures::archive("wordpress"));
    Run::new(command, b"").ok().says("all of it works").done();
}

/// Every API version that a client since 2016 may ask for answers, and the others are refused in Docker's words.
#[test]
fn every_api_version_answers() {
    let daemon = Daemon::start();
    daemon.minke(&["run", "-d", "--name", "box1", "busybox", "sleep", "1000"]).ok().done();
    let curl = |path: &str| {
        let mut command = Command::new("curl");
        let socket = daemon.host().replace("unix://", "");
        command.args(["-s", "-w", "\n%{http_code}", "--unix-socket", &socket, &format!("http://d{path}")]);
        Run::new(command, b"").ok()
    };
    if daemon.is_peer() {
        return;
    }
    for version in ["v1.24", "v1.30", "v1.41", "v1.44", "v1.51", "v1.56"] {
        for path in [
            "/_ping",
            "/version",
            "/info",
            "/containers/json?all=1",
            "/containers/box1/json",
            "/images/json",
            "/images/busybox/json",
        ] {
            let run = curl(&format!("/{version}{path}"));
            assert!(run.stdout.ends_with("\n200"), "{version}{path}: {run}");
        }
    }
    assert!(curl("/containers/json").stdout.ends_with("\n200"));
    let old = curl("/v1.23/version");
    assert!(old.stdout.contains("client version 1.23 is too old") && old.stdout.ends_with("\n400"), "{old}");
    let new = curl("/v1.99/version");
    assert!(
        new.stdout.contains("client version 1.99 is too new. Maximum supported API version is 1.56"),
        "{new}"
    );
    let missing = curl("/v1.56/nosuch");
    assert!(
        missing.stdout.contains("{\"message\":\"page not found\"}") && missing.stdout.ends_with("\n404"),
        "{missing}"
    );
}

#[test]
fn tls_on_tcp_wants_the_right_certificate() {
    let certificates = tempfile::tempdir().expect("a directory");
    let dir = certificates.path();
    let script = "set -e; cd $0
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -days 2 -subj /CN=ca
        for who in server client; do
          openssl req -newkey rsa:2048 -nodes -keyout $who-key.pem -out $who.csr -subj /CN=$who
          printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=%sAuth\\n' $who > $who.ext
          openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile $who.ext -out $who.pem
        done";
    let mut openssl = Command::new("sh");
    openssl.args(["-c", script]).arg(dir);
    Run::new(openssl, b"").ok().done();
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let args = [
        "-H",
        "tcp://127.0.0.1:2376",
        "--tlsverify",
        "--tlscacert",
        &file("ca.pem"),
        "--tlscert",
        &file("server.pem"),
        "--tlskey",
        &file("server-key.pem"),
    ];
    let args = args.map(str::to_owned).to_vec();
    let daemon = Daemon::with(Options { args, images: vec!["busybox"], ..Options::default() });
    if daemon.is_peer() {
        return;
    }
    let client = |program: &str, more: &[&str]| {
        let mut command = daemon.in_netns(program);
        command
            .args(["-H", "tcp://127.0.0.1:2376"])
            .args(more)
            .env_remove("DOCKER_HOST")
            .env("HOME", daemon.path());
        Run::new(command, b"")
    };
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client-key.pem"));
    let tls = ["--tlsverify", "--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    for program in [minke_testkit::tools::minke(), minke_testkit::tools::docker()] {
        let run = [&tls[..], &["run", "--rm", "-i", "busybox", "echo", "over tls"]].concat();
        client(&program, &run).ok().says("over tls").done();
        assert_ne!(client(&program, &["ps"]).code, 0, "without TLS");
        let own = ["--tlsverify", "--tlscacert", &ca, "--tlscert", &ca, "--tlskey", &key, "ps"];
        assert_ne!(client(&program, &own).code, 0, "with a certificate that is not the key's");
    }
}
