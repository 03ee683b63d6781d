//! Why a container or a process in it did not start: which stage, which error number, in whose words.
//!
//! Clients match on Docker's texts (`exec: "x": executable file not found in $PATH`), so the texts here are Docker's where
//! it has one. The exit code of the failure class (126, 127, 128) rides along.

use std::fmt;

use minke_sys::Errno;

use crate::words::errno_text;

/// Where a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The configuration asks for what cannot be: nothing was started.
    Plan,
    /// The parent's half: opening namespaces, sources, descriptors.
    Prepare,
    /// Making the process and its namespaces.
    Spawn,
    /// Joining the cgroup or a namespace, or mapping identities.
    Enter,
    /// Network devices inside the namespace.
    Network,
    /// The root file system and the mounts on it.
    Mount,
    /// Device nodes, terminal.
    Device,
    /// Kernel parameters, host name, limits, scheduling.
    Settings,
    /// A hook.
    Hook,
    /// Identity, capabilities, seccomp, labels.
    Credentials,
    /// The working directory.
    WorkingDirectory,
    /// Finding the program to execute.
    Program,
    /// Waiting for the order to start.
    Start,
}

/// Why a process was not started. Displays as the part of Docker's message that follows `OCI runtime create failed: …:`.
#[derive(Debug)]
pub struct LaunchError {
    stage: Stage,
    text: String,
    errno: Option<Errno>,
    exit_code: i32,
    in_exec: bool,
}

impl LaunchError {
    pub(crate) fn new(stage: Stage, text: impl Into<String>) -> Self {
        Self { stage, text: text.into(), errno: None, exit_code: 128, in_exec: false }
    }

    pub(crate) fn with_errno(stage: Stage, doing: impl fmt::Display, errno: Errno) -> Self {
        let text = format!("{doing}: {}", errno_text(errno));
        Self { stage, text, errno: Some(errno), exit_code: 128, in_exec: false }
    }

    /// With a sentence that helps.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.text = format!("{}: {hint}", self.text);
        self
    }

    pub(crate) fn plan(text: impl Into<String>) -> Self {
        Self::new(Stage::Plan, text)
    }

    /// The failure to find or execute the user's program, with the exit code a shell would give.
    pub(crate) fn program(text: String, errno: Errno) -> Self {
        let exit_code = match errno {
            Errno::NOENT | Errno::NOTDIR => 127,
            Errno::ACCESS | Errno::PERM | Errno::ISDIR | Errno::NOEXEC => 126,
            _ => 128,
        };
        Self { stage: Stage::Program, text, errno: Some(errno), exit_code, in_exec: false }
    }

    /// The same of a further process: Docker does not speak of the container's init then.
    pub(crate) fn of_exec(mut self) -> Self {
        self.in_exec = true;
        self
    }

    /// Where it failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The kernel's error number, when it was a system call that failed.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.errno.map(Errno::raw_os_error)
    }

    /// 127 when the program does not exist, 126 when it cannot be executed, 128 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        self.exit_code
    }
}

/// An error with everything that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            Stage::Plan => f.write_str(&self.text),
            _ if self.in_exec || matches!(self.stage, Stage::Prepare | Stage::Spawn) => {
                write!(f, "unable to start container process: {}", self.text)
            }
            _ => write!(f, "unable to start container process: error during container init: {}", self.text),
        }
    }
}

impl std::error::Error for LaunchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.errno.as_ref().map(|errno| errno as &(dyn std::error::Error + 'static))
    }
}
