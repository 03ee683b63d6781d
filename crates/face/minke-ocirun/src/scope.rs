//! `--systemd-cgroup`: the container's cgroup as a unit of systemd's.
//!
//! A scope must hold a process from the start, before there is a container. So a placeholder is forked that does nothing, the
//! scope is started around it, the container's first process is born into the scope's cgroup as into any other, and the
//! placeholder goes.

use std::collections::HashMap;
use std::path::Path;

use minke_cgroup::systemd::{Manager, Of, Start, SystemdError, SystemdPath, open_cgroup, require_systemd};
use minke_cgroup::{Cgroup, Host, Mode, Version};
use minke_sys::{pidfd, spawn};
use oci_spec::runtime::LinuxResources;

use crate::{Globals, OciError};

/// Whose systemd: without root, or as the root of a user namespace only, the user's own.
pub(crate) fn whose(globals: &Globals) -> Of {
    if globals.rootless || in_user_namespace() { Of::User } else { Of::Machine }
}

fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole = ["0", "0", "4294967295"];
    !map.is_empty() && map.split_whitespace().ne(whole)
}

/// What `cgroupsPath` names; without one, a scope of minke's own.
pub(crate) fn path(given: Option<&Path>, id: &str, of: Of) -> Result<SystemdPath, SystemdError> {
    let default_slice = match of {
        Of::Machine => "system.slice",
        Of::User => "user.slice",
    };
    let text = given.map_or_else(|| format!(":minke:{id}"), |path| path.display().to_string());
    SystemdPath::parse_with(&text, default_slice)
}

/// How limits are spelled where systemd has them.
pub(crate) fn version(host: &Host) -> Version {
    if host.mode() == Mode::V2 { Version::V2 } else { Version::V1 }
}

/// A unit that was started for a container which is not there yet.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) unit: String,
    of: Of,
    /// Held for as long as it is to live.
    _placeholder: Option<Placeholder>,
}

impl Scope {
    /// Starts the unit; answers it with its cgroup.
    pub(crate) fn start(
        host: &Host,
        path: &SystemdPath,
        id: &str,
        of: Of,
        resources: &LinuxResources,
        annotations: Option<&HashMap<String, String>>,
    ) -> Result<(Self, Cgroup), OciError> {
        require_systemd(Path::new("/"))?;
        let mut manager = Manager::connect(of)?;
        let placeholder = if path.is_slice() { None } else { Some(Placeholder::new()?) };
        let pid = placeholder.as_ref().map(|p| p.child.pid);
        manager.start(&Start { path, id, pid, version: version(host), resources, annotations })?;
        let scope = Self { unit: path.unit(), of, _placeholder: placeholder };
        match open_cgroup(host, path, pid) {
            Ok(group) => Ok((scope, group)),
            Err(e) => {
                scope.undo();
                Err(e.into())
            }
        }
    }

    /// Takes the unit back after a later step failed, whose error is the one to tell.
    pub(crate) fn undo(self) {
        let Self { unit, of, .. } = self;
        drop(stop(&unit, of));
    }
}

/// Ends the unit of a container that has ended.
pub(crate) fn stop(unit: &str, of: Of) -> Result<(), OciError> {
    Ok(Manager::connect(of)?.stop(unit)?)
}

/// Tells systemd of changed limits, lest it write the old ones again when it reloads.
pub(crate) fn update(unit: &str, of: Of, host: &Host, resources: &LinuxResources) -> Result<(), OciError> {
    Ok(Manager::connect(of)?.update(unit, version(host), resources)?)
}

/// A process that waits for its end.
#[derive(Debug)]
struct Placeholder {
    child: spawn::Child,
}

impl Placeholder {
    fn new() -> Result<Self, OciError> {
        let parent = rustix::process::getpid();
        let mut wait = || {
            // Nobody else would end it when this process is killed.
            let tied = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            while tied.is_ok() && rustix::process::getppid() == Some(parent) {
                rustix::event::pause();
            }
            1
        };
        // SAFETY: the body makes system calls only; it neither allocates nor locks.
        #[expect(unsafe_code, reason = "a forked child that does nothing")]
        let child = unsafe { spawn::fork(&spawn::Options::default(), &mut wait) };
        let child = child.map_err(|e| OciError::kernel("fork a process for the scope to begin with", e))?;
        Ok(Self { child })
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        // Gone already is as good.
        pidfd::send_signal(&self.child.pidfd, libc::SIGKILL).ok();
        pidfd::wait(&self.child.pidfd).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_path_the_unit_is_named_after_the_container() {
        let path = path(None, "abc", Of::Machine).unwrap();
        assert_eq!(path.cgroup_path().unwrap(), Path::new("/system.slice/minke-abc.scope"));
        let path = super::path(Some(Path::new("::x")), "abc", Of::User).unwrap();
        assert_eq!((path.slice.as_str(), path.unit().as_str()), ("user.slice", "x.scope"));
    }

    #[test]
    fn a_placeholder_lives_until_it_is_dropped() {
        let placeholder = Placeholder::new().unwrap();
        let pid = placeholder.child.pid;
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(placeholder);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
