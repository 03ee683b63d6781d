//! `start`, `kill`, `pause`, `resume`: one step on a container that exists.

use std::process::ExitCode;

use minke_sys::{pidfd, signals};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use super::id;
use crate::flags::Parsed;
use crate::state::{Home, Status, is_frozen};
use crate::{Globals, OciError};

/// Lets a created container's program run.
pub(super) fn start(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let home = Home::new(&globals.root, &id(parsed))?;
    let record = home.load()?;
    match record.status(&home) {
        Status::Created => {}
        Status::Stopped => return Err(OciError::StartStopped),
        Status::Running | Status::Paused => return Err(OciError::StartRunning),
    }
    let path = home.gate();
    // Taken hold of, then removed: whoever removes it is the one that starts, and from then on the container counts as
    // running. Connecting through the handle works for paths longer than a socket address, too.
    let gate = match open(&path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(gate) => gate,
        Err(Errno::NOENT) => return Err(OciError::StartRunning),
        Err(e) => return Err(OciError::io("open", path, e)),
    };
    match rustix::fs::unlink(&path) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Err(OciError::StartRunning),
        Err(e) => return Err(OciError::io("remove", path, e)),
    }
    match UnixStream::connect(format!("/proc/self/fd/{}", gate.as_raw_fd())) {
        Ok(_go) => {}
        // Nobody listens any more.
        Err(e) if e.raw_os_error() == Some(libc::ECONNREFUSED) => return Err(OciError::StartStopped),
        Err(e) => return Err(OciError::io("connect to", path, e)),
    }
    record.run_poststart()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn kill(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let home = Home::new(&globals.root, &id(parsed))?;
    let record = home.load()?;
    let text =
        parsed.arguments.get(1).map_or_else(|| "TERM".to_owned(), |s| s.to_string_lossy().into_owned());
    let signal = signals::parse(&text).ok_or(OciError::Signal(text))?;
    // The first process of a shared pid namespace does not take the others along, so all are meant.
    let all = parsed.is_set("all") || (signal == libc::SIGKILL && !record.own_pid_namespace);
    if all {
        if let Some(group) = record.cgroup()? {
            group.signal_all(signal)?;
            return Ok(ExitCode::SUCCESS);
        }
        if parsed.is_set("all") {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let pid = u32::try_from(record.init_process_pid).unwrap_or(0);
    // Opened before the look, so that it is the process we looked at that gets the signal.
    let process = pidfd::open(pid).map_err(|_gone| OciError::NotRunning)?;
    if !record.is_alive() {
        return Err(OciError::NotRunning);
    }
    match pidfd::send_signal(&process, signal) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Err(OciError::NotRunning),
        Err(e) => return Err(OciError::kernel("signal the container", e)),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pause(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let home = Home::new(&globals.root, &id(parsed))?;
    let record = home.load()?;
    match record.status(&home) {
        Status::Running | Status::Created => record.require_cgroup()?.freeze()?,
        Status::Paused | Status::Stopped => return Err(OciError::NotRunning),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let home = Home::new(&globals.root, &id(parsed))?;
    let record = home.load()?;
    let group = record.cgroup()?.ok_or(OciError::NotPaused)?;
    if !is_frozen(&group)? {
        return Err(OciError::NotPaused);
    }
    group.thaw()?;
    Ok(ExitCode::SUCCESS)
}
