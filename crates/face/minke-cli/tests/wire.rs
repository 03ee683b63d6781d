//! What our CLI sends, beside what docker's own sends: the same requests, the same words when nothing is sent.
//!
//! Both talk to a socket that writes requests down and refuses them, so no engine is needed; without a `docker` program
//! there is nothing to compare with, and the test says so and stops.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Method, path without the version, and body of each request.
type Requests = Vec<(String, Value)>;

/// Serves one connection until its end.
fn serve(stream: UnixStream, seen: &Mutex<Requests>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let (mut length, mut chunked) = (0, false);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            chunked |= header.starts_with("transfer-encoding:");
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        while chunked {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let mut piece = vec![0; usize::from_str_radix(size.trim(), 16).ok()? + 2];
            reader.read_exact(&mut piece).ok()?;
            chunked = piece.len() > 2;
            body.extend_from_slice(&piece[..piece.len() - 2]);
        }
        let target = line.trim().trim_end_matches(" HTTP/1.1");
        let (status, answer) =
            if target.ends_with("/_ping") { ("200 OK", "OK") } else { ("400 Bad", r#"{"message":"no"}"#) };
        let answer = if target.starts_with("HEAD") { "" } else { answer };
        if !target.ends_with("/_ping") {
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            seen.lock().unwrap().push((unversioned(target), body));
        }
        write!(
            writer,
            "HTTP/1.1 {status}\r\nApi-Version: 1.50\r\nOstype: linux\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        )
        .ok()?;
    }
}

fn unversioned(target: &str) -> String {
    let (method, path) = target.split_once(' ').unwrap();
    let rest = path.strip_prefix("/v1.").and_then(|p| p.find('/').map(|at| &p[at..]));
    format!("{method} {}", rest.unwrap_or(path))
}

struct Recorder {
    home: tempfile::TempDir,
    seen: Arc<Mutex<Requests>>,
}

impl Recorder {
    fn open() -> Recorder {
        let home = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(home.path().join("s")).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Recorder { home, seen }
    }

    fn run(&self, program: &Path, line: &str) -> Value {
        self.seen.lock().unwrap().clear();
        let words = line.split(' ').filter(|w| !w.is_empty()).map(|w| if w == "''" { "" } else { w });
        let done = Command::new(program)
            .args(words)
            .env("DOCKER_HOST", format!("unix://{}", self.home.path().join("s").display()))
            .env("DOCKER_CONFIG", self.home.path().join("config"))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let sent: Requests = self.seen.lock().unwrap().drain(..).collect();
        json!({"code": done.status.code(), "out": text(&done.stdout), "err": text(&done.stderr), "sent": sent})
    }
}

/// The leaves that differ.
fn compare(at: &str, theirs: &Value, ours: &Value, out: &mut String) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of =
                    |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(json!("(absent)"));
                compare(&format!("{at}/{key}"), &of(a), &of(b), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{at}/{index}"), a, b, out);
            }
        }
        (a, b) if a != b => out.push_str(&format!("\n  {at}\n    docker: {a}\n    minke:  {b}")),
        _ => {}
    }
}

fn ours(home: &Path) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().and_then(Path::parent).unwrap().join("examples/minke-cli");
    // Called as docker, our CLI calls itself docker.
    let link = home.join("docker");
    std::os::unix::fs::symlink(example, &link).unwrap();
    link
}

#[test]
fn every_line_of_the_list_sends_what_docker_sends() {
    if Command::new("docker").arg("--version").output().is_err() {
        eprintln!("there is no docker program to compare with");
        return;
    }
    let recorder = Recorder::open();
    let ours = ours(recorder.home.path());
    let mut differences = Vec::new();
    for line in include_str!("../testdata/wire.txt").lines().filter(|l| !l.starts_with('#')) {
        let (theirs, mine) = (recorder.run(Path::new("docker"), line), recorder.run(&ours, line));
        if theirs != mine {
            let mut parts = String::new();
            compare("", &theirs, &mine, &mut parts);
            differences.push(format!("{line}{parts}"));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
