//! git as a program: alone with itself, and gone with who waits for it.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::builds::blocking;
use crate::error::{Error, Result};

/// What is shown of its complaints.
const COMPLAINT: u64 = 64 << 10;

/// Settings beyond git's own: what a repository or a server could make it do, and where it could wait for ever.
const SETTINGS: [&str; 8] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "credential.helper=",
    "init.templateDir=",
    "gc.auto=0",
    "advice.detachedHead=false",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
];

/// Variables of the engine's that git may see: how to get out.
const PASSED: [&str; 11] = [
    "PATH",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// One repository's git.
#[derive(Debug)]
pub(super) struct Git {
    directory: PathBuf,
    home: PathBuf,
    /// What errors call the repository.
    shown: String,
}

impl Git {
    pub(super) const fn new(directory: PathBuf, home: PathBuf, shown: String) -> Self {
        Self { directory, home, shown }
    }

    /// Runs it to its end; what it said, without the line's end. It is killed with all it started when nobody waits any more.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        command.current_dir(&self.directory).env_clear().process_group(0);
        command.envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs([
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "false"),
            ("SSH_ASKPASS", "false"),
            ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
            ("LC_ALL", "C"),
        ]);
        command.env("HOME", &self.home).env("XDG_CONFIG_HOME", &self.home);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::invalid(format!(
                "{} is a git repository, and no git is installed where the engine runs: install it, or give a directory or an archive",
                self.shown
            )),
            _ => Error::failed("start git", source),
        })?;
        let group = Group::of(&child);
        let (worker, shown) = (group.clone(), self.shown.clone());
        let ended = blocking(move || worker.follow(child, &shown)).await;
        drop(group);
        ended
    }
}

/// A process and what it started, until it has been waited for.
#[derive(Debug, Clone)]
struct Group(Arc<Mutex<Option<Pid>>>);

/// Kills the group when its waiter goes away.
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            rustix::process::kill_process_group(leader, Signal::KILL).ok();
        }
    }
}

impl Group {
    fn of(child: &Child) -> Self {
        Self(Arc::new(Mutex::new(Pid::from_raw(child.id().cast_signed()))))
    }

    fn follow(self, mut child: Child, shown: &str) -> Result<String> {
        let failed = |source| Error::failed(format!("run git for {shown}"), source);
        let complaints = child.stderr.take().map(|stream| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                drop(stream.take(COMPLAINT).read_to_end(&mut bytes));
                bytes
            })
        });
        let mut said = Vec::new();
        if let Some(stream) = child.stdout.take() {
            stream.take(COMPLAINT).read_to_end(&mut said).map_err(failed)?;
        }
        // Its number stays its own until nobody can kill by it.
        let leader = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leader) = leader {
            rustix::process::waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).ok();
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let status = child.wait().map_err(failed)?;
        let complaints = complaints.and_then(|thread| thread.join().ok()).unwrap_or_default();
        if !status.success() {
            let text = String::from_utf8_lossy(&complaints);
            return Err(Error::invalid(format!("fetch {shown} with git: {}", text.trim())));
        }
        Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
    }
}
