//! The binary changes under running containers: a newer daemon adopts keepers of an older one, an older daemon those of a newer.
//!
//! Another version of the keeper is played by a go-between on the keeper's socket. Towards the daemon it speaks as that version
//! would: an older one does not know later kinds of requests and says nothing of later fields, a newer one says things that
//! nobody knows yet.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use minke_testkit::{Client, Daemon, wait_until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

#[derive(Clone, Copy)]
enum Version {
    /// The protocol's first: no held descriptors, no bound execs.
    First,
    /// Of a time to come.
    Later,
}

/// Kinds of requests that version 1 knows.
const FIRST_KINDS: &[&str] = &[
    "hello",
    "launch",
    "attach",
    "detach",
    "resize",
    "signal",
    "exec",
    "pause",
    "resume",
    "update",
    "close_stdin",
    "query",
    "forget",
    "shutdown",
];

fn read_frame(from: &mut UnixStream) -> Option<Value> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; usize::try_from(u32::from_le_bytes(length)).ok()?];
    from.read_exact(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn write_frame(to: &mut UnixStream, frame: &Value) -> bool {
    let bytes = serde_json::to_vec(frame).expect("JSON");
    let length = u32::try_from(bytes.len()).expect("short").to_le_bytes();
    to.write_all(&length).is_ok() && to.write_all(&bytes).is_ok()
}

/// What the daemon asks, as the other version understands it; `Err` with the answer when it does not.
fn ask(version: Version, frame: Value) -> Result<Value, Value> {
    let kind = match &frame["body"] {
        Value::String(kind) => kind.clone(),
        body => body.as_object().and_then(|body| body.keys().next().cloned()).unwrap_or_default(),
    };
    match version {
        Version::First if !FIRST_KINDS.contains(&kind.as_str()) => {
            let text = format!("unknown variant `{kind}`");
            Err(
                json!({"reply": {"seq": frame["seq"], "reply": {"refused": {"refusal": "unknown", "text": text}}}}),
            )
        }
        _ => Ok(frame),
    }
}

/// What the keeper says, as the other version would.
fn say(version: Version, mut frame: Value) -> Vec<Value> {
    let number = match version {
        Version::First => 1,
        Version::Later => 4711,
    };
    let reply = &mut frame["reply"]["reply"];
    for kind in ["hello", "state"] {
        if !reply[kind].is_null() {
            reply[kind]["version"] = number.into();
            if matches!(version, Version::Later) {
                reply[kind]["mood"] = json!({"of": ["a", "later", "time"]});
            }
        }
    }
    // Indexing has left nothing where there was none.
    if frame["reply"]["reply"].is_null()
        && let Some(frame) = frame.as_object_mut()
    {
        frame.retain(|_, value| !value.is_null() && *value != json!({"reply": null}));
    }
    match version {
        Version::First => vec![frame],
        // An event that nobody knows yet comes in between.
        Version::Later => vec![json!({"event": {"dreamt": {"of": "sheep"}}}), json!({"whisper": 1}), frame],
    }
}

/// Stands between the daemons and one keeper from now on.
fn stand_between(version: Version, socket: PathBuf) {
    let own = socket.with_file_name("keeper.real");
    std::fs::rename(&socket, &own).expect("the keeper's socket");
    // An address is shorter than these paths: both are reached through the directory.
    let directory = std::fs::File::open(socket.parent().expect("a directory")).expect("opened");
    let near = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&directory)));
    let listener = UnixListener::bind(near.join("keeper.sock")).expect("its place");
    std::thread::spawn(move || {
        let _open = directory;
        for daemon in listener.incoming() {
            let keeper = UnixStream::connect(near.join("keeper.real"));
            let (Ok(daemon), Ok(keeper)) = (daemon, keeper) else { return };
            let (mut from_daemon, mut to_keeper) =
                (daemon.try_clone().expect("a copy"), keeper.try_clone().expect("a copy"));
            let mut refusals = daemon.try_clone().expect("a copy");
            std::thread::spawn(move || {
                while let Some(frame) = read_frame(&mut from_daemon) {
                    let passed = match ask(version, frame) {
                        Ok(frame) => write_frame(&mut to_keeper, &frame),
                        Err(answer) => write_frame(&mut refusals, &answer),
                    };
                    if !passed {
                        break;
                    }
                }
                to_keeper.shutdown(std::net::Shutdown::Both).ok();
            });
            let (mut from_keeper, mut to_daemon) = (keeper, daemon);
            std::thread::spawn(move || {
                while let Some(frame) = read_frame(&mut from_keeper) {
                    if !say(version, frame).iter().all(|frame| write_frame(&mut to_daemon, frame)) {
                        break;
                    }
                }
                to_daemon.shutdown(std::net::Shutdown::Both).ok();
            });
        }
    });
}

fn adopts(version: Version) {
    let mut daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let counter = "trap 'exit 6' TERM; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done";
    let run = ["run", "-d", "--name", "box", "-p", "127.0.0.1:8077:80", "busybox", "sh", "-c", counter];
    let id = daemon.minke(&run).ok().text().to_owned();
    let pid = daemon.inspect("box", "{{.State.Pid}}");
    daemon.kill();
    stand_between(version, daemon.exec_root().join("containers").join(&id).join("keeper.sock"));
    daemon.spawn();
    assert_eq!(daemon.inspect("box", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    for client in [Client::Minke, Client::Docker] {
        daemon.run(client, &["exec", "-d", "box", "sh", "-c", "echo here > /there"]).ok().done();
        wait_until("it was there", SOON, || {
            std::fs::read_to_string(format!("/proc/{pid}/root/there")).is_ok_and(|text| text == "here\n")
        });
        std::fs::remove_file(format!("/proc/{pid}/root/there")).expect("removed");
        daemon.run(client, &["pause", "box"]).ok().done();
        daemon.run(client, &["unpause", "box"]).ok().done();
        daemon.run(client, &["update", "--memory", "64m", "--memory-swap", "-1", "box"]).ok().done();
        daemon.run(client, &["top", "box"]).ok().says("tick").done();
    }
    // Once more, by the gentle way, and its end is recorded.
    daemon.terminate();
    daemon.spawn();
    assert_eq!(daemon.inspect("box", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    daemon.minke(&["stop", "-t", "5", "box"]).ok().done();
    assert_eq!(daemon.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 6");
    let logs = daemon.minke(&["logs", "box"]).ok();
    for (number, line) in logs.stdout.lines().enumerate() {
        assert_eq!(line, format!("tick {number}"));
    }
    // From now on it has a keeper of this version.
    daemon.minke(&["start", "box"]).ok().done();
    daemon.minke(&["exec", "box", "true"]).ok().done();
    daemon.minke(&["rm", "-f", "box"]).ok().done();
}

#[test]
fn a_newer_daemon_adopts_the_keepers_of_the_first_protocol() {
    adopts(Version::First);
}

#[test]
fn an_older_daemon_adopts_the_keepers_of_a_later_protocol() {
    adopts(Version::Later);
}
