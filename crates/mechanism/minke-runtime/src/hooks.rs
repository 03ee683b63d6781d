//! Hooks that the runtime itself runs: programs with the state document on their standard input.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Hook, Spec};

use crate::error::{LaunchError, Stage};
use crate::plan::Plan;
use crate::plan::hooks::StateDocument;

/// How much of a failing hook's complaint is passed on.
const COMPLAINT: u64 = 4096;

/// The state document of a container.
#[must_use]
pub fn state_document(spec: &Spec, id: &str, bundle: &Path, status: &str, pid: u32) -> String {
    let document = StateDocument {
        oci_version: spec.version(),
        id,
        status,
        pid,
        bundle,
        annotations: spec.annotations().clone().unwrap_or_default(),
    };
    serde_json::to_string(&document).unwrap_or_default()
}

/// `prestart` and `createRuntime`; the first failure ends the launch.
pub(crate) fn run_runtime(
    plan: &Plan,
    id: &str,
    bundle: &Path,
    spec: &Spec,
    pid: u32,
) -> Result<(), LaunchError> {
    let state = state_document(spec, id, bundle, "creating", pid);
    for (name, index, hook) in &plan.hooks.runtime {
        run(hook, &state, bundle).map_err(|reason| {
            LaunchError::new(Stage::Hook, format!("error running {name} hook #{index}: {reason}"))
        })?;
    }
    Ok(())
}

/// `poststart`: after the program has been started. The first failure is answered; the caller ends the container then, as
/// runc does.
pub fn run_poststart(spec: &Spec, id: &str, bundle: &Path, pid: u32) -> Result<(), LaunchError> {
    let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_deref()).unwrap_or_default();
    let state = state_document(spec, id, bundle, "running", pid);
    for (index, hook) in hooks.iter().enumerate() {
        run(hook, &state, bundle).map_err(|reason| {
            LaunchError::new(Stage::Hook, format!("error running poststart hook #{index}: {reason}"))
        })?;
    }
    Ok(())
}

/// `poststop`: after the container has been deleted. All of them run; what failed is answered as sentences.
#[must_use]
pub fn run_poststop(spec: &Spec, id: &str, bundle: &Path) -> Vec<String> {
    let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststop().as_deref()).unwrap_or_default();
    let state = state_document(spec, id, bundle, "stopped", 0);
    let failed = hooks.iter().enumerate().filter_map(|(index, hook)| {
        run(hook, &state, bundle)
            .err()
            .map(|reason| format!("error running poststop hook #{index}: {reason}"))
    });
    failed.collect()
}

/// Runs one hook to its end. Its own words are answered when it fails.
fn run(hook: &Hook, state: &str, bundle: &Path) -> Result<(), String> {
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        use std::os::unix::process::CommandExt;
        command.arg0(name).args(rest);
    }
    command.env_clear();
    for entry in hook.env().iter().flatten() {
        if let Some((key, value)) = entry.split_once('=') {
            command.env(key, value);
        }
    }
    command.current_dir(bundle).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", hook.path().display()))?;
    // A hook that does not read its state must not hold the runtime up: the document fits into the pipe, and a closed one
    // is the hook's own choice.
    if let Some(mut stdin) = child.stdin.take() {
        drop(stdin.write_all(state.as_bytes()));
    }
    let limit = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let status = wait(&mut child, limit)?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        drop(stderr.take(COMPLAINT).read_to_string(&mut said));
    }
    Err(format!("{}: {status}, stderr: {}", hook.path().display(), said.trim_end()))
}

fn wait(child: &mut Child, limit: Option<Duration>) -> Result<ExitStatus, String> {
    let Some(limit) = limit else { return child.wait().map_err(|error| error.to_string()) };
    let until = Instant::now() + limit;
    let pidfd = minke_sys::pidfd::open(child.id()).map_err(|errno| errno.to_string())?;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            drop(child.kill());
            drop(child.wait());
            return Err(format!("it took longer than its {} seconds", limit.as_secs()));
        }
        let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let left = rustix::event::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        if rustix::event::poll(&mut poll, Some(&left)).is_ok_and(|ready| ready > 0) {
            return child.wait().map_err(|error| error.to_string());
        }
    }
}
