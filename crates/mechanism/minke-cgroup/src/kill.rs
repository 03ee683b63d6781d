//! Who is in a cgroup, and ending them all, fork bombs included.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::control::{child_dirs, write_file};
use crate::error::CgroupError;
use crate::group::Cgroup;
use crate::host::Version;

const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// All processes of the cgroup and of those below it. Empty when the cgroup is gone.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        let mut pids = Vec::new();
        if !self.is_absent() {
            collect(&self.primary().path, &mut pids)?;
        }
        Ok(pids)
    }

    /// Sends one signal to every process. The cgroup is frozen meanwhile, so that nobody forks past the list.
    pub fn signal_all(&self, signal: i32) -> Result<(), CgroupError> {
        if signal == libc::SIGKILL {
            return self.kill_all();
        }
        let was_frozen = self.read_freezer()? == crate::Freezer::Frozen;
        let frozen = !was_frozen && self.freeze().is_ok();
        let result = self.signal_each(signal);
        if frozen {
            self.thaw()?;
        }
        result
    }

    /// Sends SIGKILL to every process without waiting for the end: one write where the kernel can do it at once.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        if self.is_absent() {
            return Ok(());
        }
        let unified = self.dirs.iter().find(|d| d.version() == Version::V2);
        let atomic = unified.is_some_and(|dir| write_file(dir, "cgroup.kill", "1").is_ok());
        // In a hybrid tree a process may sit in v1 only (the v2 directory was not available when it joined).
        if !atomic || self.dirs.len() > 1 {
            if self.pids()?.is_empty() {
                return Ok(());
            }
            let frozen = !atomic && self.freeze().is_ok();
            let result = self.signal_each(libc::SIGKILL);
            if frozen || self.read_freezer()? == crate::Freezer::Frozen {
                // v1 delivers even SIGKILL only to thawed tasks.
                self.thaw()?;
            }
            result?;
        }
        Ok(())
    }

    /// Kills until nobody is left. Processes whose parent does not reap them leave the list as zombies do, on exit.
    pub fn kill_and_wait(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(200);
        loop {
            self.kill_all()?;
            let left = self.pids()?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(CgroupError::Unkillable { path: self.primary().path.clone(), count: left.len() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn signal_each(&self, signal: i32) -> Result<(), CgroupError> {
        let fail = |source: std::io::Error| CgroupError::Signal { path: self.primary().path.clone(), source };
        for pid in self.pids()? {
            match minke_sys::kill::kill(pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(e) => return Err(fail(e.into())),
            }
        }
        Ok(())
    }
}

fn collect(path: &Path, pids: &mut Vec<i32>) -> Result<(), CgroupError> {
    let file = path.join("cgroup.procs");
    match std::fs::read_to_string(&file) {
        Ok(text) => pids.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|pid| *pid > 0)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => return Ok(()),
        // A threaded cgroup: its processes are listed where the threads' tree begins.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(e) => return Err(CgroupError::read(&file, e)),
    }
    child_dirs(path).iter().try_for_each(|child| collect(child, pids))
}
