//! `delete`: the end of a container, with whatever of it is left.

use std::process::ExitCode;
use std::time::Duration;

use minke_sys::pidfd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::id;
use crate::flags::Parsed;
use crate::state::{Home, Record, Status};
use crate::{Globals, OciError};

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn delete(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let home = Home::new(&globals.root, &id(parsed))?;
    let force = parsed.is_set("force");
    let record = match home.load() {
        Ok(record) => record,
        Err(OciError::NotFound) => {
            // A create that was interrupted leaves a directory without a record.
            home.remove()?;
            return if force { Ok(ExitCode::SUCCESS) } else { Err(OciError::NotFound) };
        }
        Err(e) => return Err(e),
    };
    match record.status(&home) {
        Status::Stopped => {}
        // A created container has nothing of its user's to lose.
        Status::Created => kill(&record)?,
        Status::Running | Status::Paused if force => kill(&record)?,
        status => return Err(OciError::NotStopped { id: home.id, status: status.word() }),
    }
    destroy(&home, &record, globals)?;
    Ok(ExitCode::SUCCESS)
}

/// SIGKILL to the first process and a wait for its end; a frozen one is thawed, or it would never get there.
fn kill(record: &Record) -> Result<(), OciError> {
    let pid = u32::try_from(record.init_process_pid).unwrap_or(0);
    let Ok(process) = pidfd::open(pid) else { return Ok(()) };
    if !record.is_alive() {
        return Ok(());
    }
    // Gone already is what is wanted.
    pidfd::send_signal(&process, libc::SIGKILL).ok();
    if let Some(group) = record.cgroup()? {
        group.kill_all()?;
    }
    use std::os::fd::AsFd;
    let mut watched = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    let timeout = Timespec::try_from(PATIENCE).expect("ten seconds fit a timespec");
    match poll(&mut watched, Some(&timeout)) {
        Ok(0) => Err(OciError::Unkillable(record.id.clone())),
        Ok(_) => Ok(()),
        Err(e) => Err(OciError::kernel("wait for the container's end", e)),
    }
}

/// Cgroup, poststop hooks, directory. Failing hooks are warnings: nothing would be gained by keeping the rest.
pub(super) fn destroy(home: &Home, record: &Record, globals: &Globals) -> Result<(), OciError> {
    if !record.cgroup_paths.is_empty() {
        remove_cgroup(record)?;
    }
    if let Some((unit, of)) = record.unit() {
        minke_cgroup::systemd::stop(unit, of)?;
    }
    record.run_poststop().iter().for_each(|w| globals.log.warn(w));
    home.remove()
}

/// Without a pid namespace of its own the first process does not take the others along.
fn remove_cgroup(record: &Record) -> Result<(), OciError> {
    let paths = record.cgroup_paths.values();
    if record.own_pid_namespace && minke_cgroup::remove_paths(paths.clone()).is_ok() {
        return Ok(());
    }
    if let Some(group) = record.cgroup()? {
        group.kill_and_wait()?;
        group.remove()?;
    }
    Ok(())
}
