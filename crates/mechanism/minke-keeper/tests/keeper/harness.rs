//! A daemon's side of a keeper, in the hands of a test: one container with a busybox root, its requests and clients.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use minke_keeper::{
    nursery::Nursery,
    protocol::{
        AttachSpec, Body, Decoder, Event, ExecRequest, Exit, LaunchRequest, Message, Reply, Request, Rootfs,
        SOCKET_NAME, State, Target, VERSION, Wire, socket,
    },
};
use minke_logs::{Driver, LogConfig, LogLine};
use oci_spec::runtime::{Process, Spec};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The binary that plays the roles.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/keeper")
}

pub(crate) fn nursery() -> Nursery {
    Nursery::spawn_under(&program(), 1, Some(Path::new("/minke-keeper-test"))).unwrap()
}

pub(crate) fn take(nursery: &Nursery) -> UnixStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(blank) = nursery.try_take().unwrap() {
            blank.set_nonblocking(false).unwrap();
            nursery.refill().unwrap();
            return blank;
        }
        assert!(Instant::now() < deadline, "the nursery gave no blank");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A daemon's end of a connection.
pub(crate) struct Daemon {
    stream: UnixStream,
    decoder: Decoder,
    seq: u64,
    pub(crate) events: VecDeque<Event>,
}

impl Daemon {
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, decoder: Decoder::new(), seq: 0, events: VecDeque::new() }
    }

    pub(crate) fn send(&mut self, body: Body, fds: &[BorrowedFd<'_>]) -> u64 {
        self.seq += 1;
        socket::send_message(&self.stream, &Request::new(self.seq, body), fds).unwrap();
        self.seq
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn receive(&mut self) -> Message {
        self.receive_with().0
    }

    fn receive_with(&mut self) -> (Message, Vec<OwnedFd>) {
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return message;
            }
            let received = socket::receive(&self.stream, &mut self.decoder).expect("the keeper says nothing");
            assert!(received > 0, "the keeper has hung up");
        }
    }

    pub(crate) fn ask(&mut self, body: Body, fds: &[BorrowedFd<'_>]) -> Reply {
        let asked = self.send(body, fds);
        self.reply_to(asked)
    }

    /// As [`Daemon::ask`], for an answer that carries descriptors.
    pub(crate) fn ask_for(&mut self, body: Body) -> (Reply, Vec<OwnedFd>) {
        let asked = self.send(body, &[]);
        loop {
            match self.receive_with() {
                (Message::Reply { seq, reply, .. }, fds) if seq == asked => return (reply, fds),
                (Message::Event(event), _) => self.events.push_back(event),
                (other, _) => panic!("{other:?} instead of the answer to {asked}"),
            }
        }
    }

    pub(crate) fn reply_to(&mut self, asked: u64) -> Reply {
        loop {
            match self.receive() {
                Message::Reply { seq, reply, .. } if seq == asked => return reply,
                Message::Reply { seq, reply, .. } => panic!("reply {reply:?} to {seq} instead of {asked}"),
                Message::Event(event) => self.events.push_back(event),
            }
        }
    }

    pub(crate) fn hello(&mut self) -> Reply {
        self.ask(Body::Hello { version: VERSION }, &[])
    }

    pub(crate) fn event(&mut self) -> Event {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        match self.receive() {
            Message::Event(event) => event,
            Message::Reply { seq, reply, .. } => panic!("reply {reply:?} to {seq} nobody waits for"),
        }
    }

    pub(crate) fn exited(&mut self) -> Exit {
        loop {
            if let Event::Exited(exit) = self.event() {
                return exit;
            }
        }
    }

    pub(crate) fn state(&mut self) -> State {
        match self.ask(Body::Query, &[]) {
            Reply::State(state) => *state,
            other => panic!("{other:?}"),
        }
    }

    /// The keeper has closed the connection.
    pub(crate) fn is_hung_up(&mut self) -> bool {
        loop {
            match socket::receive(&self.stream, &mut self.decoder) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return true,
                Err(_) => return false,
            }
        }
    }
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// One container's directories and what it is to be.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) launch: LaunchRequest,
}

impl Container {
    /// A container that runs `script` in a busybox shell.
    pub(crate) fn new(script: &str) -> Self {
        Self::of(&["/bin/sh", "-c", script])
    }

    pub(crate) fn of(args: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("minke-keeper-").tempdir().unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:0>60}{number:04x}", format!("{:x}", std::process::id()));
        for part in [
            "lower/bin",
            "lower/proc",
            "lower/dev",
            "lower/sys",
            "lower/tmp",
            "lower/sbin",
            "lower/etc",
            "upper",
            "work",
        ] {
            std::fs::create_dir_all(directory.path().join(part)).unwrap();
        }
        let busybox = directory.path().join("lower/bin/busybox");
        std::fs::copy("/bin/busybox", &busybox).expect("these tests need Debian's busybox-static");
        for applet in [
            "sh", "cat", "sleep", "echo", "seq", "yes", "head", "stty", "true", "kill", "dd", "id", "ps",
            "ls", "tty",
        ] {
            std::os::unix::fs::symlink("busybox", directory.path().join("lower/bin").join(applet)).unwrap();
        }
        let path = directory.path().to_owned();
        let launch = LaunchRequest {
            id: id.clone(),
            spec: Box::new(spec(args, &id)),
            rootfs: Rootfs::Overlay {
                lower: vec![path.join("lower")],
                upper: path.join("upper"),
                work: path.join("work"),
                volatile: true,
                readonly: false,
            },
            open_stdin: false,
            stdin_once: false,
            log: LogConfig {
                driver: Driver::JsonFile,
                path: path.join(format!("{id}-json.log")),
                max_size: None,
                max_file: 1,
                compress: false,
                attrs: BTreeMap::new(),
            },
            container_dir: path.clone(),
            exec_root_dir: path.join("run"),
            runtime: None,
            init: false,
            attach: Vec::new(),
            netns: false,
            seccomp: None,
            systemd: false,
            strict_limits: false,
            held: Vec::new(),
            proxies: Vec::new(),
        };
        *live() += 1;
        Self { id, directory, launch }
    }

    pub(crate) fn with_tty(mut self) -> Self {
        self.process(|process| {
            process.set_terminal(Some(true));
        });
        self
    }

    pub(crate) fn with_stdin(mut self, once: bool) -> Self {
        (self.launch.open_stdin, self.launch.stdin_once) = (true, once);
        self
    }

    pub(crate) fn process(&mut self, change: impl FnOnce(&mut Process)) {
        change(self.launch.spec.process_mut().as_mut().unwrap());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Launches with these clients; gives the daemon's end, and the pid.
    pub(crate) fn start(&self, nursery: &Nursery, clients: Vec<(AttachSpec, OwnedFd)>) -> (Daemon, i32) {
        let (daemon, reply) = self.try_start(nursery, clients);
        match reply {
            Reply::Launched { pid, .. } => (daemon, pid),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn try_start(
        &self,
        nursery: &Nursery,
        clients: Vec<(AttachSpec, OwnedFd)>,
    ) -> (Daemon, Reply) {
        let mut daemon = Daemon::new(take(nursery));
        let mut launch = self.launch.clone();
        let (specs, sockets): (Vec<_>, Vec<_>) = clients.into_iter().unzip();
        launch.attach = specs;
        let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        let reply = daemon.ask(Body::Launch(Box::new(launch)), &fds);
        (daemon, reply)
    }

    /// The daemon is gone before it has its answer.
    pub(crate) fn start_unheard(&self, nursery: &Nursery) {
        let mut daemon = Daemon::new(take(nursery));
        daemon.send(Body::Launch(Box::new(self.launch.clone())), &[]);
    }

    pub(crate) fn reconnect(&self) -> Daemon {
        let mut daemon = Daemon::new(UnixStream::connect(self.path("run").join(SOCKET_NAME)).unwrap());
        match daemon.hello() {
            Reply::Hello { id, .. } => assert_eq!(id.as_deref(), Some(self.id.as_str())),
            other => panic!("{other:?}"),
        }
        daemon
    }

    pub(crate) fn log(&self) -> Vec<LogLine> {
        let mut cursor = minke_logs::read(&self.launch.log, minke_logs::Options::default()).unwrap();
        let mut lines = Vec::new();
        loop {
            let batch = cursor.next_batch().unwrap();
            if batch.is_empty() {
                return lines;
            }
            lines.extend(batch);
        }
    }

    pub(crate) fn log_text(&self) -> String {
        self.log().iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
    }

    pub(crate) fn cgroup(&self) -> PathBuf {
        Path::new("/sys/fs/cgroup/pids/minke-keeper-test").join(&self.id)
    }
}

/// How many containers there are in this process.
fn live() -> std::sync::MutexGuard<'static, usize> {
    static LIVE: std::sync::Mutex<usize> = std::sync::Mutex::new(0);
    LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Drop for Container {
    fn drop(&mut self) {
        // A test that failed leaves its container running.
        if let Ok(stream) = UnixStream::connect(self.path("run").join(SOCKET_NAME)) {
            for (seq, body) in [(1, Body::Hello { version: VERSION }), (2, Body::Shutdown)] {
                drop(socket::send_message(&stream, &Request::new(seq, body), &[]));
            }
            drop(std::io::copy(&mut &stream, &mut std::io::sink()));
        }
        // The parent of all containers' cgroups goes with the last of them: sooner, another test may be about to use it.
        let mut live = live();
        *live -= 1;
        if *live > 0 {
            return;
        }
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
            drop(std::fs::remove_dir(hierarchy.unwrap().path().join("minke-keeper-test")));
        }
    }
}

fn spec(args: &[&str], id: &str) -> Spec {
    let json = serde_json::json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/",
            "env": ["PATH=/bin:/sbin", "TERM=xterm"],
            "capabilities": {
                "bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL", "CAP_CHOWN"],
                "permitted": ["CAP_KILL", "CAP_CHOWN"]
            }
        },
        "root": {"path": "rootfs"},
        "hostname": "tested",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}
        ],
        "linux": {
            "cgroupsPath": format!("/minke-keeper-test/{id}"),
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}],
            "resources": {"devices": [{"allow": true, "access": "rwm"}]}
        }
    });
    serde_json::from_value(json).unwrap()
}

/// A client's two ends: the one that goes to the keeper, and the test's.
pub(crate) fn client(spec: AttachSpec) -> ((AttachSpec, OwnedFd), UnixStream) {
    let (theirs, ours) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    ((spec, theirs.into()), ours)
}

pub(crate) fn attach(id: u64, stdin: bool, wire: Wire) -> AttachSpec {
    AttachSpec { id, stdin, stdout: true, stderr: true, wire, ..AttachSpec::default() }
}

pub(crate) fn exec(id: &str, script: &str) -> ExecRequest {
    let process = serde_json::json!({
        "terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", script], "cwd": "/",
        "env": ["PATH=/bin"]
    });
    ExecRequest {
        id: id.into(),
        process: Box::new(serde_json::from_value(process).unwrap()),
        open_stdin: false,
        attach: Vec::new(),
        seccomp: None,
        strict_limits: false,
        bound: false,
    }
}

pub(crate) fn of_exec(id: &str) -> Target {
    Target::Exec(id.into())
}

/// All frames until the end of the connection.
pub(crate) fn frames(client: &mut UnixStream) -> Vec<(u8, String)> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let mut rest = bytes.as_slice();
    let mut frames: Vec<(u8, String)> = Vec::new();
    while let Some((header, payload)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let text = String::from_utf8_lossy(&payload[..length]).into_owned();
        match frames.last_mut() {
            Some((kind, last)) if *kind == header[0] && *kind < 4 => last.push_str(&text),
            _ => frames.push((header[0], text)),
        }
        rest = &payload[length..];
    }
    frames
}

pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind, 0, 0, 0];
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Reads until the text comes.
pub(crate) fn read_until(client: &mut UnixStream, text: &str) -> String {
    let mut got = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&got).contains(text) {
        match client.read(&mut byte) {
            Ok(1) => got.push(byte[0]),
            other => panic!("{other:?} after {:?}, waiting for {text:?}", String::from_utf8_lossy(&got)),
        }
    }
    String::from_utf8(got).unwrap()
}

pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A value of /proc/PID/smaps_rollup, in kB.
pub(crate) fn memory(pid: i32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

pub(crate) fn keeper_of(daemon: &mut Daemon) -> i32 {
    match daemon.hello() {
        Reply::Hello { pid, .. } => pid,
        other => panic!("{other:?}"),
    }
}
