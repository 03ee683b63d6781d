//! What faces hand to the containers service besides the wire types: whole runs, attachments, log and list options.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use minke_api::container::ContainerCreateRequest;
use minke_base::ContainerId;

use super::Containers;
use super::container::Container;
use super::exec::Exec;
use crate::clock::Moment;
use crate::filters::Filters;

/// A client's connection after the HTTP upgrade, taken out of the server.
#[derive(Debug)]
pub struct ClientStream {
    /// The raw socket (unix or TCP). It goes to the keeper, the daemon keeps no copy.
    pub socket: OwnedFd,
    /// Bytes that the server had read beyond the request.
    pub early: Vec<u8>,
}

/// One container, from nothing to its end, in one request.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// The name wanted, if any.
    pub name: Option<String>,
    /// The platform wanted, if any.
    pub platform: Option<String>,
    /// The create body.
    pub create: ContainerCreateRequest,
    /// Answer once it runs, with nothing attached.
    pub detach: bool,
    /// Which streams the client wants.
    pub attach: Streams,
    /// The keys that detach, as typed by the user; `None` for the default.
    pub detach_keys: Option<String>,
    /// The terminal's height and width.
    pub console_size: Option<[u32; 2]>,
}

/// Which of the three standard streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Error output.
    pub stderr: bool,
}

/// A container that was created by `begin_run` and whose start is being prepared.
///
/// Give it to `run_detached` or `run_attached`. Dropped instead, it leaves nothing behind.
#[derive(Debug)]
pub struct BegunRun {
    /// Its id.
    pub id: ContainerId,
    /// What the client should be told.
    pub warnings: Vec<String>,
    pub(super) container: Option<Arc<Container>>,
    pub(super) containers: Arc<Containers>,
    pub(super) attach: Streams,
    pub(super) detach_keys: Vec<u8>,
    pub(super) console_size: Option<[u32; 2]>,
}

/// What a client of `attach` wants.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Which streams.
    pub streams: Streams,
    /// Replay what was logged so far.
    pub logs: bool,
    /// Follow what comes (`stream=1`).
    pub stream: bool,
    /// The keys that detach; `None` for the default.
    pub detach_keys: Option<String>,
}

/// An accepted attach: say the status line, then hand over the socket with `attach`.
#[derive(Debug)]
pub struct AcceptedAttach {
    /// Whether the container has a terminal: then bytes are raw, else stdcopy frames.
    pub tty: bool,
    pub(super) container: Arc<Container>,
    pub(super) options: AttachOptions,
    pub(super) detach_keys: Vec<u8>,
}

/// An accepted exec start: say the status line, then hand over the socket with `exec_start`.
#[derive(Debug)]
pub struct AcceptedExec {
    /// Whether the exec has a terminal.
    pub tty: bool,
    pub(super) container: Arc<Container>,
    pub(super) exec: Arc<Exec>,
    pub(super) console_size: Option<[u32; 2]>,
    /// The client wants frames that carry the exit code as well.
    pub(super) framed: bool,
}

impl AcceptedExec {
    /// The exec's id.
    pub fn id(&self) -> &str {
        &self.exec.id
    }
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run (returns at once when it does not).
    #[default]
    NotRunning,
    /// Its next end.
    NextExit,
    /// It is gone.
    Removed,
}

impl WaitCondition {
    /// Reads the query parameter.
    pub fn parse(text: &str) -> crate::Result<Self> {
        match text {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            _ => Err(crate::Error::invalid(format!("invalid condition: \"{text}\""))),
        }
    }
}

/// Which lines of the log.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Go on with what comes.
    pub follow: bool,
    /// Not before.
    pub since: Option<Moment>,
    /// Not after.
    pub until: Option<Moment>,
    /// Only the last so many lines.
    pub tail: Option<usize>,
}

/// How containers are listed.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Stopped ones too.
    pub all: bool,
    /// Only the newest so many, in any state; zero for no limit.
    pub limit: usize,
    /// Measure the writable layers.
    pub size: bool,
    /// Which ones.
    pub filters: Filters,
}

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first when it runs.
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
    /// Only the link that is called so.
    pub link: bool,
}
