//! Replies and events: what a keeper tells a daemon.

use serde::{Deserialize, Serialize};

/// One frame from the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The answer to a request.
    Reply {
        /// The request's number.
        seq: u64,
        /// How many descriptors ride with this frame.
        #[serde(default, skip_serializing_if = "is_zero")]
        fds: u8,
        /// The answer.
        reply: Reply,
    },
    /// Something happened that nobody asked for.
    Event(Event),
}

impl Message {
    /// The answer to request `seq`; `fds` is taken from what the reply says it carries.
    #[must_use]
    pub fn reply(seq: u64, reply: Reply) -> Self {
        let fds = match &reply {
            Reply::Held { labels, .. } => u8::try_from(labels.len()).unwrap_or(u8::MAX),
            _ => 0,
        };
        Self::Reply { seq, fds, reply }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_zero(count: &u8) -> bool {
    *count == 0
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To `Hello`.
    Hello {
        /// The keeper's version.
        version: u32,
        /// The keeper's own process.
        pid: i32,
        /// Its container; `None` for a blank.
        id: Option<String>,
    },
    /// The container's program runs (its execve succeeded).
    Launched {
        /// The first process, in the host's numbering.
        pid: i32,
        /// When, in nanoseconds since 1970.
        started_at: i64,
        /// What was asked for and could not be had, in sentences for the person.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    /// The exec's program runs.
    ExecStarted {
        /// Its process, in the host's numbering.
        pid: i32,
    },
    /// `Launch` or `Exec` did not get as far as the program. A blank that failed to launch leaves.
    Failed(Failure),
    /// To `Query`.
    State(Box<State>),
    /// To `Fetch`. One descriptor rides per label, in this order, sorted.
    Held {
        /// What they are called.
        labels: Vec<String>,
        /// There are further labels behind the last.
        #[serde(default)]
        more: bool,
    },
    /// It is done.
    Done,
    /// It was not done.
    Refused {
        /// Why, for the program.
        refusal: Refusal,
        /// Why, for the person.
        text: String,
    },
}

/// Why a request was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The container has exited or was never launched.
    NotRunning,
    /// No such exec or client.
    NotFound,
    /// The frame could not be understood.
    Malformed,
    /// This keeper does not know that kind of request, or it is not legal in this phase.
    Unknown,
    /// The kernel refused.
    System,
}

/// Why a program could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// How far it got.
    pub stage: Stage,
    /// Full text; the innermost words are those clients match on (`exec: "x": executable file not found in $PATH`).
    pub text: String,
    /// The kernel's error, when there was one.
    #[serde(default)]
    pub errno: Option<i32>,
    /// 127 = program not found, 126 = not executable, 128 = anything else.
    pub exit_code: i32,
}

/// How far a launch got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The request itself makes no sense.
    Request,
    /// Log file, terminal, pipes, sockets.
    Stdio,
    /// The root file system.
    Rootfs,
    /// The cgroup and its limits.
    Cgroup,
    /// Namespaces, mounts and identity inside the container.
    Setup,
    /// The user's program.
    Program,
    /// A hook.
    Hook,
    /// Said by a newer keeper.
    #[serde(other)]
    Other,
}

/// Something happened that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The container's first process is gone and its output is in the log. Answer with `Forget`.
    Exited(Exit),
    /// An exec is gone.
    ExecExited {
        /// The exec's id.
        exec: String,
        /// Its end.
        exit: Exit,
    },
    /// The kernel killed a process of the container for memory; the container may live on.
    OomKilled,
    /// A client left by its detach keys or was dropped.
    Detached {
        /// [`super::AttachSpec::id`].
        attach: u64,
        /// It typed its detach keys (otherwise: gone, or too slow).
        by_keys: bool,
    },
}

/// A process's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, 128 + signal when killed.
    pub code: i32,
    /// The kernel killed a process of the container for memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}

/// A container as its keeper knows it: the answer to `Query`, and what `exit.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The keeper's version.
    pub version: u32,
    /// The container.
    pub id: String,
    /// The first process, in the host's numbering; 0 once it is gone.
    pub pid: i32,
    /// When it started, in nanoseconds since 1970.
    pub started_at: i64,
    /// How it is.
    pub status: Status,
    /// Its end, once it is gone.
    #[serde(default)]
    pub exit: Option<Exit>,
    /// Every exec this keeper still knows, finished ones included until `Forget`.
    #[serde(default)]
    pub execs: Vec<ExecState>,
    /// Clients attached now.
    #[serde(default)]
    pub attached: Vec<u64>,
}

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its first process lives.
    Running,
    /// It lives and is frozen.
    Paused,
    /// It is gone.
    Exited,
}

/// An exec as its keeper knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// The exec's id.
    pub id: String,
    /// Its process; 0 once it is gone.
    pub pid: i32,
    /// Its end, once it is gone.
    #[serde(default)]
    pub exit: Option<Exit>,
}
