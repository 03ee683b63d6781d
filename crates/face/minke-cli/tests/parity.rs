//! Docker's CLI and ours side by side on one Docker engine: same output, same errors, same exit codes.
//!
//! Needs an engine that is Docker's own and a `docker` program, so it runs when asked:
//! `MINKE_PEER=unix:///var/run/docker.sock cargo test -p minke-cli --test parity -- --ignored`.
//! The engine needs an image `busybox:latest`. What is never equal is levelled first: ids, ages, temporary names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What one command line gave.
#[derive(Debug, PartialEq)]
struct Seen {
    code: Option<i32>,
    out: String,
    err: String,
}

struct Peer {
    host: String,
    home: tempfile::TempDir,
    ours: PathBuf,
}

impl Peer {
    fn open() -> Peer {
        let host = std::env::var("MINKE_PEER").expect("MINKE_PEER names the socket of a Docker engine");
        let home = tempfile::tempdir().unwrap();
        // Called as docker, our CLI calls itself docker.
        let ours = home.path().join("docker");
        std::os::unix::fs::symlink(example(), &ours).unwrap();
        Peer { host, home, ours }
    }

    fn run(&self, program: &Path, words: &[String], input: &str) -> Seen {
        let mut child = Command::new(program)
            .args(words)
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_CONFIG", self.home.path().join("config"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let sent = child.stdin.take().unwrap().write_all(input.as_bytes());
        // A command that reads nothing may have ended already.
        drop(sent);
        let done = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| level(&String::from_utf8_lossy(bytes));
        Seen { code: done.status.code(), out: text(&done.stdout), err: text(&done.stderr) }
    }

    fn docker(&self, line: &str) -> Seen {
        self.run(Path::new("docker"), &words(line), "")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.docker("rm -f -v pcli-a pcli-b pcli-p");
        self.docker("network rm pcli-n1 pcli-n2");
    }
}

/// The example binary beside this test.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(Path::parent).unwrap();
    target.join("examples/minke-cli")
}

/// Splits as a shell does: blanks, single and double quotes.
fn words(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = None::<String>;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => out.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

/// Takes out what differs from call to call.
fn level(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let hex = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if hex == word && hex >= 10 {
            out.push_str("<ID>");
            rest = &rest[hex..];
        } else if rest.starts_with("0xc0") {
            out.push_str("<POINTER>");
            rest = &rest[word..];
        } else {
            let step = word.max(c.len_utf8());
            out.push_str(&rest[..step]);
            rest = &rest[step..];
        }
    }
    ages(&out)
}

/// `3 minutes`, `About an hour`, `Less than a second`.
fn ages(text: &str) -> String {
    let mut out = text.replace("About a minute", "1 minutes").replace("About an hour", "1 hours");
    out = out.replace("Less than a second", "1 seconds");
    for unit in [" seconds", " second", " minutes", " minute", " hours"] {
        let mut levelled = String::new();
        for (at, part) in out.split(unit).enumerate() {
            if at > 0 {
                levelled.truncate(levelled.trim_end_matches(|c: char| c.is_ascii_digit()).len());
                levelled.push_str("<AGE>");
            }
            levelled.push_str(part);
        }
        out = levelled;
    }
    // Columns are as wide as their ages.
    while out.contains("   ") {
        out = out.replace("   ", "  ");
    }
    out
}

#[test]
#[ignore = "needs a Docker engine: MINKE_PEER"]
fn every_line_of_the_list_gives_what_docker_gives() {
    let peer = Peer::open();
    peer.docker("rm -f -v pcli-a pcli-b pcli-p");
    peer.docker("network rm pcli-n1 pcli-n2");
    peer.docker("network create pcli-n1 --label a=b --label c --subnet 10.213.1.0/24 --ip-range 10.213.1.128/25 --aux-address x=10.213.1.5");
    peer.docker("run -d --network pcli-n1 --name pcli-p -p 41080:80 -p 41081:81/udp -p 127.0.0.1:41100-41102:41100-41102 -p 41200:41200 --expose 7000-7002 --expose 9 busybox sleep 1000");
    let made = peer.docker("run -d --network none --name pcli-a -l a=b -l com.x-y=zz -v /anon -e X=Y --init -m 64m busybox sleep 1000");
    assert_eq!(made.code, Some(0), "{made:?}");
    peer.docker(
        "run --network none --name pcli-b --health-cmd true busybox sh -c 'echo out; echo err >&2; exit 4'",
    );
    let mut differences = Vec::new();
    for line in include_str!("../testdata/parity.txt").lines().filter(|l| !l.starts_with('#')) {
        let (command, input) = line.split_once(" <<< ").unwrap_or((line, ""));
        let input = input.replace("\\n", "\n");
        let theirs = peer.run(Path::new("docker"), &words(command), &input);
        let ours = peer.run(&peer.ours, &words(command), &input);
        if theirs != ours {
            differences.push(format!("{line}\n  docker: {theirs:?}\n  minke:  {ours:?}"));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
