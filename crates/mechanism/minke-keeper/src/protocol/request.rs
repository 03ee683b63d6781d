//! Requests: what a daemon asks of a keeper.

use std::{net::SocketAddr, path::PathBuf};

use minke_logs::LogConfig;
use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::{Deserialize, Serialize};

use super::hex;

/// One request, with its number and the count of descriptors that ride with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the daemon; the reply carries it back.
    pub seq: u64,
    /// How many descriptors ride with this frame.
    #[serde(default)]
    pub fds: u8,
    /// What is asked.
    pub body: Body,
}

impl Request {
    /// A request; `fds` is taken from what the body says it needs.
    #[must_use]
    pub fn new(seq: u64, body: Body) -> Self {
        Self { seq, fds: body.fds_needed(), body }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// First word of a connection → [`super::Reply::Hello`].
    Hello {
        /// The daemon's [`super::VERSION`].
        version: u32,
    },
    /// Blank keeper only: become the keeper of this container and start it → `Launched` or `Failed`.
    /// Descriptors: the network namespace when `netns`, then one client socket per entry of `attach`, then one per entry
    /// of `held`; [`super::socket::MAX_FDS`] at most, further ones follow by `Hold`.
    Launch(Box<LaunchRequest>),
    /// Add a client to the container's or an exec's stdio → `Done`. Descriptor: the client's socket.
    Attach {
        /// Whose stdio.
        #[serde(default)]
        target: Target,
        /// What the client wants.
        spec: AttachSpec,
    },
    /// Close a client's connection without touching the container → `Done`.
    Detach {
        /// [`AttachSpec::id`] of the client.
        attach: u64,
    },
    /// Set the terminal's size → `Done`.
    Resize(ResizeRequest),
    /// Send a signal → `Done`.
    Signal(SignalRequest),
    /// Start another process in the container → `ExecStarted` or `Failed`. Descriptors: one client socket
    /// per entry of `attach`.
    Exec(Box<ExecRequest>),
    /// Freeze the container → `Done`.
    Pause,
    /// Thaw it → `Done`.
    Resume,
    /// Change limits of the running container → `Done`. Only the fields that are set are written.
    Update {
        /// The new limits.
        resources: Box<LinuxResources>,
    },
    /// Close the stdin of the container or of an exec → `Done`.
    CloseStdin {
        /// Whose stdin.
        #[serde(default)]
        target: Target,
    },
    /// Hold these descriptors for as long as the container runs → `Done`. One descriptor per entry, in this order; a label
    /// that is there already is replaced. Since version 2.
    Hold {
        /// What they are called.
        held: Vec<Held>,
    },
    /// Drop what is held under these labels → `Done`, also when there is no such label. Proxies of a listener go with it,
    /// and so do their connections. Since version 2.
    Release {
        /// The labels.
        labels: Vec<String>,
    },
    /// Copies of what is held, for a daemon that adopts → `Held` with the descriptors, in the order of the labels. Since
    /// version 2.
    Fetch {
        /// Only labels that begin so.
        #[serde(default)]
        prefix: String,
        /// Only labels behind this one: where the answer before, which was full, ended.
        #[serde(default)]
        after: String,
    },
    /// What of the held listeners is served by a proxy from now on; replaces what was set before → `Done`. A label that is not
    /// held yet is served once it is. Since version 2.
    SetProxies {
        /// All of them.
        proxies: Vec<ProxySpec>,
    },
    /// State of the container and its execs → `State`.
    Query,
    /// The daemon has recorded the exit durably: serve the last clients and leave → `Done`.
    Forget,
    /// Kill what runs, clean up and leave → `Done` when nothing of the container is left.
    Shutdown,
}

impl Body {
    /// How many descriptors a frame with this body must carry.
    #[must_use]
    pub fn fds_needed(&self) -> u8 {
        let count = match self {
            Self::Launch(launch) => usize::from(launch.netns) + launch.attach.len() + launch.held.len(),
            Self::Attach { .. } => 1,
            Self::Hold { held } => held.len(),
            Self::Exec(exec) => exec.attach.len(),
            _ => 0,
        };
        u8::try_from(count).unwrap_or(u8::MAX)
    }
}

/// Which process of the container is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The container's first process.
    #[default]
    Init,
    /// The exec with this id.
    Exec(String),
}

/// Everything a keeper needs to start its container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchRequest {
    /// The container's full id.
    pub id: String,
    /// The OCI configuration; terminal, console size, cgroup path, hooks and mounts are taken from here.
    pub spec: Box<Spec>,
    /// Where the root file system comes from.
    pub rootfs: Rootfs,
    /// Give the process a stdin that clients can write to; otherwise it reads end-of-file.
    #[serde(default)]
    pub open_stdin: bool,
    /// Close stdin when the first client that had it attached goes or half-closes.
    #[serde(default)]
    pub stdin_once: bool,
    /// Where output is recorded.
    pub log: LogConfig,
    /// The container's directory under the data-root; `exit.json` goes here.
    pub container_dir: PathBuf,
    /// The container's directory under the exec-root; `keeper.sock` goes here. Made when missing.
    pub exec_root_dir: PathBuf,
    /// Run the program under minke's own init (`--init`).
    #[serde(default)]
    pub init: bool,
    /// Clients that were attached before the start; one descriptor each, in this order.
    #[serde(default)]
    pub attach: Vec<AttachSpec>,
    /// A network namespace rides as the first descriptor and is the one to join.
    #[serde(default)]
    pub netns: bool,
    /// The filter to install, compiled ahead of time; `None`: the spec's `linux.seccomp` is compiled by the keeper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<SeccompFilter>,
    /// Another runtime builds the container; the filter is in the spec then, not in `seccomp`. Since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeProgram>,
    /// The cgroup path is `slice:prefix:name`, a unit that systemd is asked for.
    #[serde(default)]
    pub systemd: bool,
    /// Fail when a resource limit cannot be raised as far as asked (the user named it); otherwise it is set as far as
    /// allowed, with a warning.
    #[serde(default)]
    pub strict_limits: bool,
    /// What is held beside the container while it runs; one descriptor each, in this order, behind those of `attach`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
    /// Which of the held listeners a proxy serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxies: Vec<ProxySpec>,
}

/// A descriptor that a keeper keeps open for its daemons: a port that stays taken, a socket that names are asked over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What it is called, unique per keeper. Labels are sorted by their bytes.
    pub label: String,
}

/// A held listener whose connections are carried to the container by a process, because the kernel's rules cannot.
///
/// The process is forked from the keeper at the first connection, serves all listeners of the container, and leaves after
/// a minute without work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxySpec {
    /// [`Held::label`] of the listener: a bound stream or datagram socket in the daemon's network namespace. The keeper makes
    /// a stream socket listen; whoever binds it sets `SO_REUSEADDR`, or lingering connections keep the port taken afterwards.
    pub label: String,
    /// What it carries.
    pub protocol: ProxyProtocol,
    /// Where to; of either family, whatever the listener's.
    pub target: SocketAddr,
}

/// What a proxy carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// Streams, with half-close.
    Tcp,
    /// Datagrams, one socket towards the container per client, for 90 s after the last.
    Udp,
}

/// Another OCI runtime, instead of the keeper's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeProgram {
    /// The program: runc's command line is what it is called with.
    pub path: PathBuf,
    /// Arguments before all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

/// A compiled seccomp filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompFilter {
    /// The program as the kernel takes it: 8 bytes per instruction (`struct sock_filter`, this machine's byte order).
    #[serde(with = "hex")]
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`.
    #[serde(default)]
    pub flags: u32,
}

/// Where a container's root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// Mounted by the keeper with the new mount API; never shows in the host's mount table.
    Overlay {
        /// Read-only layers, topmost first.
        lower: Vec<PathBuf>,
        /// The container's own layer.
        upper: PathBuf,
        /// Overlayfs's work directory, on the file system of `upper`.
        work: PathBuf,
        /// Skip every sync on unmount: for containers that are thrown away (`--rm`).
        #[serde(default)]
        volatile: bool,
        /// `--read-only`.
        #[serde(default)]
        readonly: bool,
    },
    /// A directory that is the root already.
    Path(PathBuf),
}

/// How bytes to and from an attached client are wrapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// Bare bytes both ways: what Docker sends for a terminal.
    #[default]
    Raw,
    /// Output in Docker's 8-byte-header frames, input bare.
    Stdcopy,
    /// minke's own client: 8-byte-header frames both ways, type 0 stdin (empty payload = end of input),
    /// 1 stdout, 2 stderr, 3 error text, 4 control JSON.
    Framed,
}

/// What an attached client wants. Its socket rides with the frame.
///
/// The daemon replays old log lines itself (`logs=1`) before it hands the socket over, and keeps a copy of it until the
/// answer: when a launch fails, what the client is told is the daemon's word, and the keeper only closes its copy.
/// The keeper ends the connection when the process has ended and its output is delivered. A `Framed` client gets
/// `{"started":true}` at the start, `{"detached":true}` by its keys, `{"exit":{"code":N}}` as its last frame.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachSpec {
    /// Chosen by the daemon, named in [`super::Event::Detached`]; unique per keeper.
    pub id: u64,
    /// The client's bytes go to the process.
    #[serde(default)]
    pub stdin: bool,
    /// The client gets stdout (and, with a terminal, everything).
    #[serde(default)]
    pub stdout: bool,
    /// The client gets stderr.
    #[serde(default)]
    pub stderr: bool,
    /// How bytes are wrapped.
    #[serde(default)]
    pub wire: Wire,
    /// The byte sequence that detaches this client; empty = none. The daemon puts Docker's default here when
    /// there is a terminal and the client named none.
    #[serde(default, with = "hex", skip_serializing_if = "Vec::is_empty")]
    pub detach_keys: Vec<u8>,
    /// Bytes the daemon had read from the socket before it handed it over.
    #[serde(default, with = "hex", skip_serializing_if = "Vec::is_empty")]
    pub early: Vec<u8>,
}

/// A process to start beside the first one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The exec's id.
    pub id: String,
    /// What to run, as whom, with which terminal.
    pub process: Box<Process>,
    /// Give it a stdin that clients can write to.
    #[serde(default)]
    pub open_stdin: bool,
    /// Its clients; one descriptor each, in this order. Without any its output is dropped.
    #[serde(default)]
    pub attach: Vec<AttachSpec>,
    /// The container's filter; `None`: the process runs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<SeccompFilter>,
    /// As [`LaunchRequest::strict_limits`].
    #[serde(default)]
    pub strict_limits: bool,
    /// It is killed when the daemon that asked for it is gone: a question that nobody waits for. Since version 3.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bound: bool,
}

/// A new terminal size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResizeRequest {
    /// Whose terminal.
    #[serde(default)]
    pub target: Target,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A signal to send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalRequest {
    /// To whom.
    #[serde(default)]
    pub target: Target,
    /// The signal's number.
    pub signo: i32,
    /// To every process of the container instead of the target alone.
    #[serde(default)]
    pub all: bool,
}
