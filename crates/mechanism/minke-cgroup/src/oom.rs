//! Noticing that the kernel killed for lack of memory: by a counter after the fact, by a descriptor while it happens.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFlags, eventfd};

use crate::control::{open_write, read_file, write_whole};
use crate::error::CgroupError;
use crate::group::{Cgroup, Dir};
use crate::host::Version;

impl Cgroup {
    /// How many processes of the cgroup the OOM killer has ended. 0 when memory is not accounted.
    pub fn read_oom_kills(&self) -> Result<u64, CgroupError> {
        let Some(dir) = self.dir_of("memory") else { return Ok(0) };
        let file = counter_file(dir);
        let text = read_file(dir, file).map_err(|e| CgroupError::read(&dir.path.join(file), e))?;
        Ok(parse_kills(&text))
    }

    /// A watch whose descriptor becomes ready when the cgroup runs out of memory; `None` without a memory controller.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>, CgroupError> {
        let Some(dir) = self.dir_of("memory") else { return Ok(None) };
        let file = counter_file(dir);
        let path = dir.path.join(file);
        let counter = std::fs::File::open(&path).map_err(|e| CgroupError::read(&path, e))?;
        let event = match dir.version() {
            Version::V2 => None,
            Version::V1 => Some(register(dir, &counter)?),
        };
        let seen = self.read_oom_kills()?;
        Ok(Some(OomWatch { counter, event, seen, path }))
    }
}

fn counter_file(dir: &Dir) -> &'static str {
    match dir.version() {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    }
}

fn parse_kills(text: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    value.and_then(|v| v.trim().parse().ok()).unwrap_or(0)
}

/// v1: an eventfd tied to memory.oom_control through cgroup.event_control.
fn register(dir: &Dir, oom_control: &std::fs::File) -> Result<OwnedFd, CgroupError> {
    use std::os::fd::AsRawFd;
    let fail = |source: std::io::Error| CgroupError::OomWatch { path: dir.path.clone(), source };
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| fail(e.into()))?;
    let control = open_write(dir, "cgroup.event_control")?;
    let line = format!("{} {}", event.as_raw_fd(), oom_control.as_raw_fd());
    write_whole(&control, &line).map_err(|e| fail(e.into()))?;
    Ok(event)
}

/// Poll [`OomWatch::fd`] for [`OomWatch::interest`]; when it is ready, [`OomWatch::take`] says what happened.
#[derive(Debug)]
pub struct OomWatch {
    counter: std::fs::File,
    event: Option<OwnedFd>,
    seen: u64,
    path: std::path::PathBuf,
}

impl OomWatch {
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_ref().map_or_else(|| self.counter.as_fd(), AsFd::as_fd)
    }

    /// An eventfd becomes readable; memory.events has an exceptional condition.
    #[must_use]
    pub fn interest(&self) -> PollFlags {
        if self.event.is_some() { PollFlags::IN } else { PollFlags::PRI }
    }

    /// Acknowledges what the descriptor announced; answers how many processes were killed since the last call.
    /// The end of the cgroup announces itself as well and answers 0.
    pub fn take(&mut self) -> Result<u64, CgroupError> {
        if let Some(event) = &self.event
            && let Err(e) = rustix::io::read(event, &mut [0; 8])
            // Not ready is fine: the counter decides.
            && e != rustix::io::Errno::AGAIN
        {
            return Err(CgroupError::read(&self.path, e));
        }
        let mut buffer = [0; 512];
        let total = match rustix::io::pread(&self.counter, &mut buffer, 0) {
            Ok(count) => parse_kills(&String::from_utf8_lossy(&buffer[..count])),
            Err(rustix::io::Errno::NODEV | rustix::io::Errno::NOENT) => self.seen,
            Err(e) => return Err(CgroupError::read(&self.path, e)),
        };
        let new = total.saturating_sub(self.seen);
        self.seen = total;
        Ok(new)
    }
}
