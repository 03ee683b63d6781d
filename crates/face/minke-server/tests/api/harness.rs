//! A private daemon in a network namespace of its own, and an HTTP client that shows every byte.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use minke_testkit::Leaks;
use serde_json::{Value, json};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The daemon; killed with its containers when dropped.
pub(crate) struct Daemon {
    process: Child,
    directory: tempfile::TempDir,
    tag: String,
}

/// The daemon's role, built beside this test.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this test has a path");
    let target = own.parent().and_then(Path::parent).expect("it lies in target/…/deps");
    let program = target.join("examples/minke-daemon");
    assert!(
        program.exists(),
        "{} is missing: run `cargo build -p minke-server --example minke-daemon` first",
        program.display()
    );
    program
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With more flags.
    pub(crate) fn with(args: &[&str]) -> Self {
        Self::launch("", args)
    }

    /// Started by a program that blocks signals.
    pub(crate) fn blocked() -> Self {
        Self::launch("env --block-signal=TERM,INT,HUP", &[])
    }

    /// Loopback is up, so that it can listen on TCP.
    fn launch(through: &str, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        let log = fs::File::create(at("log")).expect("a log");
        // A daemon takes away what is under its cgroup parent and not its own, so no two may share one.
        let tag = format!("mks{}x{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let process = Command::new("unshare")
            .args(["-n", "--", "sh", "-c"])
            .arg(format!("ip link set lo up && exec {through} \"$0\" \"$@\""))
            .arg(program())
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("run"))
            .args(["--bridge", &tag, "--cgroup-parent", &format!("/{tag}")])
            .args(["-H", &format!("unix://{}", at("api.sock").display())])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("unshare (util-linux) and root");
        let daemon = Self { process, directory, tag };
        let end = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(daemon.socket()).is_err() {
            assert!(Instant::now() < end, "the daemon does not answer:\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    pub(crate) fn with_busybox() -> Self {
        let daemon = Self::start();
        let answer = daemon.ask_with(
            "POST",
            "/images/create?fromSrc=-&repo=busybox&changes=ENV%20PATH%3D/bin",
            &[("Content-Type", "application/x-tar")],
            &busybox_archive(),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        daemon
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("api.sock")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).expect("the daemon answers");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has time limits");
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path)
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask_with("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub(crate) fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(&request(method, path, headers, body)).expect("the daemon reads");
        read_answer(&mut stream, method == "HEAD")
    }

    /// A container that is made and not started; no network, so that nothing of the host is touched.
    pub(crate) fn create(&self, name: &str, words: &[&str], more: &Value) -> String {
        let mut body = json!({"Image": "busybox", "Cmd": words, "HostConfig": {"NetworkMode": "none"}});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let answer = self.post(&format!("/containers/create?name={name}"), &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["Id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn start_container(&self, name: &str) {
        let answer = self.ask("POST", &format!("/containers/{name}/start"));
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    pub(crate) fn signal(&self, name: rustix::process::Signal) {
        let pid =
            i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, name).expect("it runs");
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.process.wait().expect("it is our child").code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        if let Ok(None) = self.process.try_wait() {
            // A daemon that made a test fail may not answer any more.
            if !panicking {
                let list = self.get("/containers/json?all=1");
                for container in list.json().as_array().into_iter().flatten() {
                    let id = container["Id"].as_str().unwrap_or("");
                    self.ask("DELETE", &format!("/containers/{id}?force=1"));
                }
            }
            self.signal(rustix::process::Signal::TERM);
        }
        let ended = self.process.wait();
        // Keepers and blanks leave when their daemon's end of the socket closes; what is there after a second stays for good.
        let left = || Leaks::read(&self.tag, self.directory.path(), std::process::id());
        for _ in 0..50 {
            if left().processes.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = left();
        left.sweep();
        if panicking {
            eprintln!("--- the daemon ended with {ended:?}; its log:\n{}", self.log());
        } else {
            // A daemon that ended while a container ran leaves the cgroup that it was in.
            let cgroups: Vec<_> = left.cgroups.iter().filter(|path| !path.ends_with(&self.tag)).collect();
            let processes = &left.processes;
            assert!(processes.is_empty() && cgroups.is_empty(), "left: {processes:?} {cgroups:?}");
        }
    }
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As sent, without the status line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or("")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// Reads status line and headers, byte by byte so that nothing behind them is lost.
pub(crate) fn read_head(stream: &mut impl Read) -> (u16, String) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).expect("a head"), 1, "ended in the head: {head:?}");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("heads are text");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.split_once("\r\n").map_or(String::new(), |(_, rest)| rest.to_owned()))
}

pub(crate) fn read_answer(stream: &mut impl Read, bodiless: bool) -> Answer {
    let (status, head) = read_head(stream);
    let mut answer = Answer { status, head, body: Vec::new() };
    if bodiless || status == 204 || status == 304 {
        return answer;
    }
    if answer.header("Transfer-Encoding") == "chunked" {
        while let Some(piece) = read_chunk(stream) {
            answer.body.extend(piece);
        }
    } else {
        let len: usize = answer.header("Content-Length").parse().expect("a length");
        answer.body.resize(len, 0);
        stream.read_exact(&mut answer.body).expect("the whole body");
    }
    answer
}

/// One chunk of a chunked body; `None` at its end.
pub(crate) fn read_chunk(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).expect("a chunk's head");
        line.push(byte[0]);
    }
    let len = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).expect("a chunk's length");
    let mut piece = vec![0; len + 2];
    stream.read_exact(&mut piece).expect("a whole chunk");
    piece.truncate(len);
    (len > 0).then_some(piece)
}

pub(crate) fn busybox_archive() -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("the package busybox-static is installed");
    let mut archive = tar::Builder::new(Vec::new());
    let mut file = |path: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        archive.append_data(&mut header, path, bytes).expect("into memory");
    };
    file("bin/busybox", 0o755, &busybox);
    file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    for applet in ["sh", "echo", "sleep", "true", "cat"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("into memory");
    }
    archive.into_inner().expect("into memory")
}
