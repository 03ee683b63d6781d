//! What ends a command early, in the words that runc's callers know.

use std::io;
use std::path::{Path, PathBuf};

use crate::flags::FlagError;

/// A failed command. Callers match on some of these texts (containerd: "container does not exist", "container not running").
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    #[error(transparent)]
    Flag(#[from] FlagError),
    #[error("{0}")]
    Usage(String),
    #[error("invalid container ID format: {0}")]
    Id(String),
    #[error("container does not exist")]
    NotFound,
    #[error("container with given ID already exists")]
    Exists,
    #[error("container not running")]
    NotRunning,
    #[error("container not paused")]
    NotPaused,
    #[error("cannot delete container {id} that is not stopped: {status}")]
    NotStopped { id: String, status: &'static str },
    #[error("cannot start a container that has stopped")]
    StartStopped,
    #[error("cannot start an already running container")]
    StartRunning,
    #[error("cannot exec in a stopped container")]
    ExecStopped,
    #[error("cannot exec in a paused container (use --ignore-paused to override)")]
    ExecPaused,
    #[error("container {0} is still running 10 s after SIGKILL")]
    Unkillable(String),
    #[error("JSON specification file {} not found", .0.display())]
    NoSpec(PathBuf),
    #[error("parse {}", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("{0}")]
    Spec(String),
    #[error("unknown signal {0:?}")]
    Signal(String),
    #[error("{doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{doing}")]
    Kernel { doing: &'static str, source: io::Error },
    #[error(transparent)]
    Launch(#[from] minke_runtime::LaunchError),
    #[error("unable to apply cgroup configuration")]
    Cgroup(#[from] minke_cgroup::CgroupError),
    #[error(transparent)]
    Systemd(#[from] minke_cgroup::systemd::SystemdError),
    #[error("{command} is not built into minke: {reason}")]
    Refused { command: &'static str, reason: &'static str },
}

impl OciError {
    pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::File { doing, path: path.as_ref().to_owned(), source: source.into() }
    }

    pub(crate) fn kernel(doing: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Kernel { doing, source: source.into() }
    }

    /// The message with everything that led to it, as Go chains errors.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            // The launcher's text has the kernel's answer in it already.
            if cause.is::<rustix::io::Errno>() {
                break;
            }
            let cause_text = cause.downcast_ref::<io::Error>().map_or_else(|| cause.to_string(), go_words);
            text = format!("{text}: {cause_text}");
            source = cause.source();
        }
        text
    }
}

/// `No such file or directory (os error 2)` as Go says it, because that is what callers look for.
fn go_words(error: &io::Error) -> String {
    let known = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    let words = known.map(minke_runtime::words::errno_text).filter(|w| *w != "unexpected system error");
    words.map_or_else(|| error.to_string(), str::to_owned)
}
