//! How containers are found and followed: filters, names, prefixes, events, the conditions of `wait`. Through the `docker` CLI where
//! both engines are to say the same, so that the tests can be proven on a real Docker first.

use std::time::Duration;

use minke_testkit::{Client, Daemon, unique};

/// C2-10, C2-30, C2-31, C2-33, C2-59: every filter of `ps`.
#[test]
fn c2_59_ps_chooses_by_every_filter_of_docker_s() {
    let daemon = Daemon::start();
    let (a, b, c, d) = (unique("psa"), unique("psb"), unique("psc"), unique("psd"));
    let label = unique("label");
    let front = format!("{label}=front");
    let port = if daemon.is_peer() { "127.0.0.1:18089:80" } else { "127.0.0.1:8089:80" };
    let host_port = port.split(':').nth(1).expect("a port");
    let run = |args: &[&str]| daemon.docker(args);
    run(&[
        "run", "-d", "--name", &a, "--label", &front, "-p", port, "--expose", "90/udp", "busybox", "sleep",
        "1000",
    ])
    .ok()
    .done();
    run(&[
        "run",
        "-d",
        "--name",
        &b,
        "--label",
        &format!("{label}=back"),
        "-v",
        "/tmp:/host",
        "busybox",
        "sleep",
        "1000",
    ])
    .ok()
    .done();
    run(&["run", "--name", &c, "busybox", "sh", "-c", "exit 3"]).exits(3).done();
    run(&["create", "--name", &d, "--label", &front, "busybox", "true"]).ok().done();
    let own = format!("name={}", unique("ps"));
    let check = |filters: &[&str], wanted: &[&String]| {
        let mut args = vec!["ps", "-a", "--format", "{{.Names}}", "--filter", &own];
        for filter in filters {
            args.extend(["--filter", filter]);
        }
        let listed = run(&args).ok();
        let seen: Vec<&str> = listed.stdout.lines().collect();
        assert_eq!(seen, wanted.iter().map(|name| name.as_str()).collect::<Vec<_>>(), "{filters:?}");
    };
    let all = [&d, &c, &b, &a];
    check(&[], &all);
    check(&["ancestor=busybox"], &all);
    check(&["ancestor=busybox:latest"], &all);
    check(&["ancestor=busybox:nosuch"], &[]);
    check(&[&format!("before={c}")], &[&b, &a]);
    check(&[&format!("since={b}")], &[&d, &c]);
    check(&["exited=3"], &[&c]);
    check(&["exited=0"], &[]);
    for ports in
        ["expose=80", "expose=80/tcp", "expose=90/udp", "expose=70-95", &format!("publish={host_port}")]
    {
        check(&[ports], &[&a]);
    }
    check(&["publish=80"], &[]);
    check(&["health=none"], &all);
    check(&["health=healthy"], &[]);
    check(&["isolation=whatever"], &all);
    check(&["is-task=false"], &all);
    check(&["is-task=true"], &[]);
    check(&[&format!("label={label}")], &[&d, &b, &a]);
    check(&[&format!("label={front}")], &[&d, &a]);
    check(&[&format!("label={front}"), "label=nosuch"], &[]);
    check(&["network=bridge"], &all);
    check(&["network=nosuch"], &[]);
    check(&["status=running"], &[&b, &a]);
    check(&["status=created", "status=exited"], &[&d, &c]);
    check(&["volume=/host"], &[&b]);
    check(&["volume=/tmp"], &[&b]);
    let names = |filter: &str| {
        run(&["ps", "-a", "--format", "{{.Names}}", "--filter", filter]).ok().text().to_owned()
    };
    assert_eq!(names(&format!("name=^{}[ab]$", unique("ps"))), format!("{b}\n{a}"));
    assert_eq!(names(&format!("name=^/{a}")), a);
    let id = run(&["inspect", "-f", "{{.Id}}", &a]).ok().text().to_owned();
    assert_eq!(
        (names(&format!("id={}", &id[..10])), names(&format!("id={}", &id[3..20]))),
        (a.clone(), String::new())
    );
    for (filter, words) in [
        ("before=nosuch", "No such container: nosuch"),
        ("exited=x", "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"),
        (
            "health=foo",
            "invalid filter 'health=foo': invalid value for health (foo): must be one of none, starting, healthy, unhealthy",
        ),
        ("is-task=foo", "invalid filter 'is-task=[foo]'"),
        (
            "status=foo",
            "invalid filter 'status=foo': invalid value for state (foo): must be one of created, running, paused, restarting, removing, exited, dead",
        ),
        ("foo=bar", "invalid filter 'foo'"),
    ] {
        run(&["ps", "--filter", filter]).exits(1).complains(words).done();
    }
    let last = |args: &[&str]| {
        run(&[&["ps", "--format", "{{.Names}}", "--filter", &own], args].concat()).ok().text().to_owned()
    };
    assert_eq!((last(&["-n", "2"]), last(&["-l"])), (format!("{d}\n{c}"), d.clone()));
    assert_eq!(last(&[]), format!("{b}\n{a}"), "those that run");
    let sized = run(&["ps", "-as", "--filter", &own, "--format", "{{.Size}}"]).ok();
    assert!(sized.stdout.lines().all(|line| line.ends_with("B)") && line.contains("B (virtual ")), "{sized}");
    run(&["rm", "-f", &a, &b, &c, &d]).ok().done();
}

/// B2-11, B2-12, B2-13, C2-26: names and prefixes.
#[test]
fn b2_12_names_are_made_up_and_unique_and_a_prefix_must_be_unique_too() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let mut ids: Vec<String> = Vec::new();
    // Seventeen ids share a first digit somewhere.
    for _ in 0..17 {
        ids.push(daemon.minke(&["create", "busybox", "true"]).ok().text().to_owned());
    }
    let names = daemon.minke(&["ps", "-a", "--format", "{{.Names}}"]).ok();
    let unique: std::collections::BTreeSet<&str> = names.stdout.lines().collect();
    assert_eq!(unique.len(), 17);
    for name in &unique {
        let (mood, person) = name.split_once('_').expect("two words");
        assert!(!mood.is_empty() && person.bytes().all(|b| b.is_ascii_alphanumeric()), "{name}");
    }
    let shared = (0..16u32)
        .filter_map(|digit| char::from_digit(digit, 16))
        .find(|digit| ids.iter().filter(|id| id.starts_with(*digit)).count() > 1)
        .expect("two ids begin alike")
        .to_string();
    for client in [Client::Minke, Client::Docker] {
        daemon
            .run(client, &["start", &shared])
            .exits(1)
            .complains(&format!("multiple IDs found with provided prefix: {shared}"))
            .done();
    }
    let mut unique = 1;
    while ids.iter().filter(|id| id.starts_with(&ids[0][..unique])).count() > 1 {
        unique += 1;
    }
    daemon.docker(&["rm", &ids[0][..unique]]).ok().done();
    daemon
        .docker(&["rm", "nosuch", &ids[1], "nosuch2"])
        .exits(1)
        .complains("No such container: nosuch2")
        .says(&ids[1])
        .done();
    // A name counts more than a prefix.
    let prefix = ids[2][..12].to_owned();
    let called = daemon.minke(&["create", "--name", &prefix, "busybox", "true"]).ok().text().to_owned();
    assert_eq!(daemon.inspect(&prefix, "{{.Id}}"), called);
    let pruned = daemon.docker(&["container", "prune", "-f", "--filter", "label=nosuch"]).ok();
    assert_eq!(pruned.text(), "Total reclaimed space: 0B");
    daemon.docker(&["container", "prune", "-f", "--filter", "until=24h"]).ok().done();
    assert_eq!(daemon.minke(&["ps", "-aq"]).ok().text().lines().count(), 16);
    daemon.docker(&["container", "prune", "-f"]).ok().says("Deleted Containers:").done();
    assert_eq!(daemon.minke(&["ps", "-aq"]).ok().text(), "");
}

/// What is told of a container's life, in Docker's words and attributes.
#[test]
fn events_tell_a_whole_life_with_docker_s_attributes() {
    let daemon = Daemon::start();
    let (name, other) = (unique("told"), unique("renamed"));
    let did = |args: &[&str]| daemon.docker(args);
    did(&["create", "--name", &name, "--label", "a=b", "busybox", "sleep", "1000"]).ok().done();
    did(&["start", &name]).ok().done();
    did(&["exec", &name, "sh", "-c", "exit 3"]).exits(3).done();
    did(&["pause", &name]).ok().done();
    did(&["unpause", &name]).ok().done();
    did(&["rename", &name, &other]).ok().done();
    did(&["kill", "-s", "WINCH", &other]).ok().done();
    did(&["top", &other]).ok().done();
    did(&["stop", "-t", "0", &other]).ok().done();
    did(&["restart", "-t", "0", &other]).ok().done();
    did(&["rm", "-f", &other]).ok().done();
    let told = daemon.events_of(&other, "{{.Action}} {{json .Actor.Attributes}}");
    let told: Vec<(String, serde_json::Value)> = told
        .iter()
        .map(|line| {
            let (action, attributes) = line.split_once(" {").expect("attributes");
            (action.to_owned(), serde_json::from_str(&format!("{{{attributes}")).expect("JSON"))
        })
        .collect();
    let actions: Vec<&str> = told.iter().map(|(action, _)| action.as_str()).collect();
    // Whether the stop or the death is told first differs from run to run on Docker.
    let wanted = [
        "rename", "kill", "top", "kill", "kill", "die", "stop", "start", "restart", "kill", "die", "destroy",
    ];
    let (mut seen, mut expected) = (actions.clone(), wanted.to_vec());
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected, "{actions:?}");
    for (action, attributes) in &told {
        assert_eq!((&attributes["a"], &attributes["image"]), (&"b".into(), &"busybox".into()), "{action}");
    }
    let of = |action: &str, key: &str| {
        told.iter()
            .find(|(told, _)| told == action)
            .map(|(_, attributes)| attributes[key].clone())
            .expect("told")
    };
    assert_eq!(of("rename", "oldName"), format!("/{name}"));
    assert_eq!(of("kill", "signal"), "28");
    assert_eq!((of("die", "exitCode"), of("die", "execDuration").is_string()), ("137".into(), true));
    let before = daemon.events_of(&name, "{{.Action}}");
    let wanted = [
        "create",
        "start",
        "exec_create: sh -c exit 3",
        "exec_start: sh -c exit 3",
        "exec_die",
        "pause",
        "unpause",
    ];
    assert_eq!(before, wanted);
    let now = minke_testkit::now_and_a_second().to_string();
    let filtered = |filters: &[&str]| {
        let mut args = vec!["events", "--since", "0", "--until", &now, "--format", "{{.Action}}"];
        for filter in filters {
            args.extend(["--filter", filter]);
        }
        did(&args).ok().stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let own = format!("container={name}");
    assert_eq!(filtered(&[&own, "event=exec_start"]), ["exec_start: sh -c exit 3"]);
    assert_eq!(filtered(&[&own, "event=pause", "event=create"]), ["create", "pause"]);
    assert_eq!(filtered(&[&own, "type=network"]), Vec::<String>::new());
    assert_eq!(filtered(&[&own, "label=a=b", "event=start"]), ["start"]);
    assert_eq!(filtered(&[&own, "image=busybox", "event=start"]), ["start"]);
    assert_eq!(filtered(&[&own, "label=a=c"]), Vec::<String>::new());
    let backwards = ["events", "--since", "200", "--until", "100"];
    daemon
        .docker(&backwards)
        .exits(1)
        .complains("`since` time (200) cannot be after `until` time (100)")
        .done();
}

/// The three conditions of `wait`, which only the API has.
#[test]
fn a_wait_ends_when_its_condition_holds() {
    let daemon = Daemon::start();
    let name = unique("waited");
    daemon.docker(&["create", "--name", &name, "busybox", "sh", "-c", "sleep 0.3; exit 4"]).ok().done();
    let wait = |condition: &str| {
        let socket = daemon.host().trim_start_matches("unix://").to_owned();
        let path = format!("/v1.41/containers/{name}/wait?condition={condition}");
        Asked::new(&socket, &path)
    };
    let code = Asked::whole;
    assert!(code(wait("not-running")).contains("\"StatusCode\":0"), "it does not run");
    assert!(code(wait("nosuch")).contains("400 Bad Request"));
    let (next, mut gone) = (wait("next-exit"), wait("removed"));
    daemon.docker(&["start", &name]).ok().done();
    assert!(code(wait("not-running")).contains("\"StatusCode\":4"));
    assert!(code(next).contains("\"StatusCode\":4"));
    assert!(gone.is_unanswered());
    daemon.docker(&["rm", &name]).ok().done();
    assert!(code(gone).contains("\"StatusCode\":4"));
}

/// One request without a body, whose head was answered: what it waits for is awaited.
struct Asked {
    stream: std::os::unix::net::UnixStream,
    answer: Vec<u8>,
}

impl Asked {
    fn new(socket: &str, path: &str) -> Self {
        use std::io::{Read as _, Write as _};
        let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the answer's head");
            answer.push(byte[0]);
        }
        Self { stream, answer }
    }

    fn is_unanswered(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket can");
        let read = std::io::Read::read(&mut self.stream, &mut [0]);
        self.stream.set_nonblocking(false).expect("a socket can");
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    fn whole(mut self) -> String {
        std::io::Read::read_to_end(&mut self.stream, &mut self.answer).expect("answered");
        String::from_utf8(self.answer).expect("text")
    }
}
