//! Stopping and resuming every process of a cgroup at once.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::control::{read_file, write_file};
use crate::error::CgroupError;
use crate::group::{Cgroup, Dir, read};
use crate::host::Version;

const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the processes of a cgroup run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freezer {
    Thawed,
    Frozen,
}

impl Cgroup {
    /// Freezes all processes and waits until the last one has stopped. On failure they run on.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        let dir = self.freezer()?;
        let result = match dir.version() {
            Version::V1 => freeze_v1(dir),
            Version::V2 => freeze_v2(dir),
        };
        if result.is_err() {
            // The reason for the failure is worth more than that of the undoing.
            drop(self.thaw());
        }
        result
    }

    /// Lets all processes run again.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        let dir = self.freezer()?;
        match dir.version() {
            Version::V1 => put(dir, "freezer.state", "THAWED"),
            Version::V2 => put(dir, "cgroup.freeze", "0"),
        }
    }

    /// Reads whether the processes are stopped by [`Cgroup::freeze`]. A cgroup that is gone is not frozen.
    pub fn read_freezer(&self) -> Result<Freezer, CgroupError> {
        let Ok(dir) = self.freezer() else { return Ok(Freezer::Thawed) };
        let (file, frozen) = match dir.version() {
            Version::V1 => ("freezer.state", ["FROZEN", "FREEZING"].as_slice()),
            Version::V2 => ("cgroup.freeze", ["1"].as_slice()),
        };
        match read_file(dir, file) {
            Ok(text) if frozen.contains(&text.trim()) => Ok(Freezer::Frozen),
            Ok(_) => Ok(Freezer::Thawed),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(Freezer::Thawed),
            Err(e) => Err(CgroupError::read(&dir.path.join(file), e)),
        }
    }

    fn freezer(&self) -> Result<&Dir, CgroupError> {
        let v1 = self.dirs.iter().find(|d| d.hierarchy.has("freezer"));
        let unified = || self.dirs.iter().find(|d| d.version() == Version::V2);
        v1.or_else(unified).ok_or(CgroupError::NoFreezer)
    }
}

fn put(dir: &Dir, file: &str, value: &str) -> Result<(), CgroupError> {
    write_file(dir, file, value).map_err(|e| CgroupError::write(dir.path.join(file), value, e))
}

fn too_slow(dir: &Dir) -> CgroupError {
    CgroupError::FreezeTimeout { path: dir.path.clone(), seconds: PATIENCE.as_secs() }
}

/// The state reads FREEZING until the last task has stopped. A task that forks meanwhile can hold that up for ever;
/// thawing for an instant and asking again gets past it.
fn freeze_v1(dir: &Dir) -> Result<(), CgroupError> {
    let deadline = Instant::now() + PATIENCE;
    let mut attempt = 0u32;
    loop {
        if attempt.is_multiple_of(50) && attempt > 0 {
            put(dir, "freezer.state", "THAWED")?;
            std::thread::sleep(Duration::from_millis(10));
        }
        put(dir, "freezer.state", "FROZEN")?;
        for _ in 0..25 {
            if read(dir, "freezer.state")?.trim() == "FROZEN" {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        if Instant::now() > deadline {
            return Err(too_slow(dir));
        }
        std::thread::sleep(Duration::from_micros(500));
        attempt += 1;
    }
}

/// `cgroup.events` raises an exceptional condition when its `frozen` line changes.
fn freeze_v2(dir: &Dir) -> Result<(), CgroupError> {
    let events = dir.path.join("cgroup.events");
    let file = std::fs::File::open(&events).map_err(|e| CgroupError::read(&events, e))?;
    put(dir, "cgroup.freeze", "1")?;
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 256];
    loop {
        let count = rustix::io::pread(&file, &mut buffer, 0).map_err(|e| CgroupError::read(&events, e))?;
        if String::from_utf8_lossy(&buffer[..count]).lines().any(|l| l == "frozen 1") {
            return Ok(());
        }
        let Some(left) = deadline.checked_duration_since(Instant::now()) else { return Err(too_slow(dir)) };
        let timeout = Timespec::try_from(left).expect("ten seconds fit a timespec");
        let mut watched = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::PRI)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(CgroupError::read(&events, e)),
        }
    }
}
