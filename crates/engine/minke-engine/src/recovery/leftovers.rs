//! Processes and cgroups that a container has left behind.

use std::path::{Path, PathBuf};

use minke_cgroup::{Cgroup, CgroupError, Host};

use crate::error::{Error, Result};

fn open(path: &Path) -> Result<Cgroup, CgroupError> {
    Cgroup::open(&Host::probe()?, path)
}

/// The processes in a container's cgroup, in the host's numbering.
pub(crate) fn read_pids(path: &Path) -> Result<Vec<i32>> {
    open(path)
        .and_then(|cgroup| cgroup.pids())
        .map_err(|source| Error::failed(format!("read the processes in cgroup {}", path.display()), source))
}

/// Ends every process in a cgroup and removes it. `pid` is a process that may still be outside of it.
pub(crate) fn kill_cgroup(path: &Path, pid: i32) -> Result<(), CgroupError> {
    let cgroup = open(path)?;
    if pid > 0 && cgroup.pids()?.contains(&pid) {
        tracing::debug!(pid, "ending a container's program that has no keeper");
    }
    cgroup.kill_and_wait()?;
    cgroup.remove()
}

/// Ends and removes the cgroups of containers that no record knows.
pub(super) fn sweep_cgroups(strays: &[PathBuf]) {
    if strays.is_empty() {
        return;
    }
    let host = match Host::probe() {
        Ok(host) => host,
        Err(error) => {
            tracing::warn!(error = %crate::error::chain(&error), "no cgroups to sweep");
            return;
        }
    };
    for path in strays {
        if !host.hierarchies().iter().any(|hierarchy| hierarchy.locate(path).exists()) {
            continue;
        }
        if let Err(error) = kill_cgroup(path, 0) {
            tracing::warn!(cgroup = %path.display(), error = %crate::error::chain(&error), "it stays");
        }
    }
}
