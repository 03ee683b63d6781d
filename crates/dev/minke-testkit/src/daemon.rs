//! A daemon that belongs to one test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::command::{Run, Spawned};
use crate::leaks::Leaks;
use crate::netns::Netns;
use crate::{fixtures, tools, wait_until};

/// Which client drives the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// minke's own CLI.
    Minke,
    /// The unmodified `docker` CLI of this machine.
    Docker,
}

/// What differs from the usual private daemon.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// More arguments for the daemon.
    pub args: Vec<String>,
    /// Images to load at the start, by fixture name.
    pub images: Vec<&'static str>,
    /// Keep what it leaves behind without failing the test (for tests that break things on purpose and look themselves).
    pub tolerate_leaks: bool,
}

/// A running daemon with everything of its own. See the crate's page.
#[derive(Debug)]
pub struct Daemon {
    dir: tempfile::TempDir,
    tag: String,
    options: Options,
    netns: Child,
    process: Option<Child>,
    /// A real Docker that stands in for minke: parity tests are proven on it first.
    peer: Option<String>,
    /// What others had there when the test began: containers and volumes.
    others: Vec<String>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Daemon {
    /// With the `busybox` image loaded.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(Options { images: vec!["busybox"], ..Options::default() })
    }

    #[track_caller]
    pub fn with(options: Options) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let tag = format!("mkt{}x{number}", std::process::id());
        let dir =
            tempfile::Builder::new().prefix("minke-test-").tempdir().expect("a directory for the daemon");
        let netns = Command::new("unshare")
            .args(["-n", "--", "sleep", "infinity"])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare (util-linux) gives a network namespace; tests run as root");
        let peer = tools::peer_docker();
        let mut daemon = Self { dir, tag, options, netns, process: None, peer, others: Vec::new() };
        let ns = format!("/proc/{}/ns/net", daemon.netns.id());
        wait_until("the network namespace is there", Duration::from_secs(5), || {
            std::fs::read_link(&ns).ok() != std::fs::read_link("/proc/self/ns/net").ok()
        });
        daemon.in_netns("ip").args(["link", "set", "lo", "up"]).status().expect("ip (iproute2) sets lo up");
        if daemon.peer.is_none() {
            daemon.spawn();
        } else {
            daemon.others = daemon.of_a_peer();
        }
        for image in daemon.options.images.clone() {
            daemon.load(image);
        }
        daemon
    }

    /// Starts the process again after [`Self::kill`] or [`Self::terminate`].
    #[track_caller]
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "the daemon runs already");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the daemon's log");
        let mut command = self.in_netns(&tools::minke());
        command
            .arg("daemon")
            .arg("--data-root")
            .arg(self.data_root())
            .arg("--exec-root")
            .arg(self.exec_root())
            .args(["-H", &self.host(), "--pidfile"])
            .arg(self.path().join("pid"))
            .args(["--cgroup-parent", &self.tag])
            .args(&self.options.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log);
        self.process = Some(command.spawn().expect("start the daemon"));
        let socket = self.socket();
        wait_until("the daemon answers", Duration::from_secs(20), || {
            if let Some(process) = &mut self.process
                && let Ok(Some(status)) = process.try_wait()
            {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
    }

    /// A command that runs inside the daemon's network namespace.
    #[must_use]
    pub fn in_netns(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.netns.id())).arg("--").arg(program);
        command
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
    #[must_use]
    pub fn data_root(&self) -> PathBuf {
        self.path().join("data")
    }
    #[must_use]
    pub fn exec_root(&self) -> PathBuf {
        self.path().join("run")
    }
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path().join("s")
    }
    #[must_use]
    pub fn host(&self) -> String {
        self.peer.clone().unwrap_or_else(|| format!("unix://{}", self.socket().display()))
    }

    /// Whether a real Docker stands in (`MINKE_PEER_DOCKER`).
    #[must_use]
    pub fn is_peer(&self) -> bool {
        self.peer.is_some()
    }
    /// The bridge that a daemon makes when nothing else is said; the namespace is its own, so the name is free.
    #[must_use]
    pub fn bridge(&self) -> String {
        "minke0".to_owned()
    }
    /// The cgroup parent, which no other daemon has.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.path().join("daemon.log")
    }
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Child::id)
    }
    #[must_use]
    pub fn netns_pid(&self) -> u32 {
        self.netns.id()
    }

    /// A client's command with the daemon named by `-H`.
    #[must_use]
    pub fn command(&self, client: Client, args: &[&str]) -> Command {
        let mut command = Command::new(match client {
            Client::Minke if self.peer.is_none() => tools::minke(),
            _ => tools::docker(),
        });
        command.arg("-H").arg(self.host()).args(args);
        command.env("HOME", self.path()).env("DOCKER_CONFIG", self.path().join("config"));
        for name in
            ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"]
        {
            command.env_remove(name);
        }
        command
    }

    /// minke's CLI, to its end.
    #[track_caller]
    pub fn minke(&self, args: &[&str]) -> Run {
        Run::new(self.command(Client::Minke, args), b"")
    }

    /// The `docker` CLI, to its end.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> Run {
        Run::new(self.command(Client::Docker, args), b"")
    }

    #[track_caller]
    pub fn run(&self, client: Client, args: &[&str]) -> Run {
        Run::new(self.command(client, args), b"")
    }

    #[track_caller]
    pub fn run_with_input(&self, client: Client, args: &[&str], input: &[u8]) -> Run {
        Run::new(self.command(client, args), input)
    }

    /// A client that goes on while the test does something else.
    #[track_caller]
    pub fn start_client(&self, client: Client, args: &[&str]) -> Spawned {
        Spawned::new(self.command(client, args))
    }

    /// The same with something typed, whose end the client sees.
    #[track_caller]
    pub fn start_client_with_input(&self, client: Client, args: &[&str], input: &[u8]) -> Spawned {
        let spawned = Spawned::new(self.command(client, args));
        spawned.feed(input);
        spawned
    }

    /// A process of the network namespace that this daemon's containers call the host: its own, or a real Docker's.
    #[must_use]
    pub fn host_pid(&self) -> u32 {
        if self.is_peer() { std::process::id() } else { self.netns.id() }
    }

    /// The network namespace that this daemon's containers call the host.
    #[must_use]
    #[track_caller]
    pub fn host_netns(&self) -> Netns {
        Netns::of(self.host_pid())
    }

    /// The network namespace of a running container.
    #[must_use]
    #[track_caller]
    pub fn netns_of(&self, name: &str) -> Netns {
        Netns::of(self.inspect(name, "{{.State.Pid}}").parse().expect("the pid of a running container"))
    }

    /// The container's first IPv4 address on `network`.
    #[must_use]
    #[track_caller]
    pub fn address_of(&self, name: &str, network: &str) -> String {
        self.inspect(name, &format!("{{{{(index .NetworkSettings.Networks {network:?}).IPAddress}}}}"))
    }

    /// Other arguments from the next [`Self::spawn`] on.
    pub fn set_args(&mut self, args: &[&str]) {
        self.options.args = args.iter().map(|a| (*a).to_owned()).collect();
    }

    /// Loads a fixture image.
    #[track_caller]
    pub fn load(&self, fixture: &str) {
        let path = fixtures::archive(fixture);
        self.minke(&["load", "-q", "-i", &path.to_string_lossy()]).ok().done();
    }

    /// `inspect --format` of one thing, trimmed.
    #[track_caller]
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.minke(&["inspect", "--format", format, name]).ok().text().to_owned()
    }

    /// What happened to one container, in a template's form.
    #[track_caller]
    pub fn events_of(&self, name: &str, format: &str) -> Vec<String> {
        let (now, filter) = (crate::now_and_a_second().to_string(), format!("container={name}"));
        let args = ["events", "--since", "0", "--until", &now, "--filter", &filter, "--format", format];
        self.docker(&args).ok().stdout.lines().map(str::to_owned).collect()
    }

    /// Waits until something has happened to a container so many times: `attach`, say, when clients were only just started.
    #[track_caller]
    pub fn wait_for_events(&self, name: &str, action: &str, count: usize) {
        crate::wait_until(&format!("{name} has seen {count} x {action}"), Duration::from_secs(20), || {
            self.events_of(name, "{{.Action}}").iter().filter(|seen| *seen == action).count() >= count
        });
    }

    /// Containers, volumes and images of a real Docker.
    #[track_caller]
    fn of_a_peer(&self) -> Vec<String> {
        let list = |args: &[&str]| {
            let run = self.minke(args);
            run.stdout.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut all = list(&["ps", "-aq", "--no-trunc"]);
        all.extend(list(&["volume", "ls", "-q"]));
        all.extend(list(&["images", "--format", "{{.Repository}}:{{.Tag}}"]));
        all.extend(list(&["images", "-aq", "--no-trunc"]));
        all
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// SIGTERM, and waits until it is gone.
    pub fn terminate(&mut self) {
        self.end(Signal::TERM);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut process) = self.process.take() {
            if let Some(pid) = Pid::from_raw(process.id().cast_signed()) {
                kill_process(pid, signal).ok();
            }
            process.wait().expect("wait for the daemon");
        }
    }

    /// What this daemon has on the host now, besides itself.
    #[must_use]
    pub fn leaks(&self) -> Leaks {
        Leaks::read(&self.tag, self.path(), self.netns.id())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        if panicking {
            #[expect(clippy::print_stderr, reason = "shown by the test runner beside the failure")]
            {
                eprintln!("--- log of the daemon\n{}", tail(&self.log(), 60));
            }
        }
        if self.process.is_none() && self.peer.is_none() {
            self.spawn();
        }
        // A real Docker that others use too keeps what is not named as tests name things there.
        let shared = self.peer.is_some() && std::env::var_os("MINKE_PEER_SHARED").is_some();
        let own = if shared { "name=^mkt" } else { "name=" };
        let ids = self.minke(&["ps", "-aq", "--no-trunc", "--filter", own]);
        let ids: Vec<&str> =
            ids.stdout.split_whitespace().filter(|id| !self.others.iter().any(|other| other == id)).collect();
        if !ids.is_empty() {
            let removed = self.minke(&[&["rm", "-f"], &ids[..]].concat());
            if !panicking && !self.options.tolerate_leaks {
                removed.ok().done();
            }
        }
        // A real Docker may have others' networks: only those that tests name are removed there.
        let filter = if self.peer.is_some() { "name=^mkt" } else { "type=custom" };
        let networks = self.minke(&["network", "ls", "-q", "--filter", filter]);
        let networks: Vec<&str> = networks.stdout.split_whitespace().collect();
        if !networks.is_empty() {
            self.minke(&[&["network", "rm"], &networks[..]].concat());
        }
        if self.peer.is_some() {
            for name in self.of_a_peer().iter().filter(|name| !self.others.contains(name)) {
                // Names of images hold a colon, those of volumes do not. Nameless parents go with their last child.
                if !name.contains(':') {
                    self.minke(&["volume", "rm", name]);
                } else if !shared {
                    self.minke(&["rmi", "-f", name]);
                }
            }
            self.netns.kill().ok();
            self.netns.wait().ok();
            return;
        }
        self.terminate();
        let mut left = self.leaks();
        for _ in 0..600 {
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            left = self.leaks();
        }
        let log = self.log();
        left.sweep();
        self.netns.kill().ok();
        self.netns.wait().ok();
        if !panicking && !self.options.tolerate_leaks {
            assert!(
                left.is_empty(),
                "the daemon left something behind: {left:#?}\n--- log\n{}",
                tail(&log, 40)
            );
        }
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
