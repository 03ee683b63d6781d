//! A unit around a container that is not there yet.
//!
//! A scope must hold a process from the start. So a placeholder is forked that does nothing, the scope is started around it,
//! the container's first process is born into the scope's cgroup as into any other, and the placeholder goes.

use std::collections::HashMap;
use std::path::Path;

use minke_sys::placeholder::Placeholder;
use oci_spec::runtime::LinuxResources;

use super::unit::{Manager, Of, Start, open_cgroup};
use super::{SystemdError, SystemdPath, require_systemd};
use crate::group::Cgroup;
use crate::host::{Host, Mode, Version};

/// Whose unit it is to be, and what systemd is told besides the limits.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub path: &'a SystemdPath,
    /// Of the container, for the description.
    pub id: &'a str,
    pub of: Of,
    pub resources: &'a LinuxResources,
    /// `org.systemd.property.NAME` sets a property.
    pub annotations: Option<&'a HashMap<String, String>>,
    /// systemd forgets the unit even when it failed: for whoever does not come back to reset it.
    pub collect: bool,
}

/// A unit that was started. Dropping it leaves the unit alone and takes the placeholder away.
#[derive(Debug)]
pub struct Scope {
    unit: String,
    of: Of,
    _placeholder: Option<Placeholder>,
}

impl Scope {
    /// Starts the unit; answers it with its cgroup, whose limits are the caller's to apply.
    pub fn start(host: &Host, wish: &Wish<'_>) -> Result<(Self, Cgroup), SystemdError> {
        require_systemd(Path::new("/"))?;
        let mut manager = Manager::connect(wish.of)?;
        let placeholder = if wish.path.is_slice() { None } else { Some(Placeholder::new()?) };
        let pid = placeholder.as_ref().map(Placeholder::pid);
        manager.start(&Start { wish: *wish, pid, version: spelling(host) })?;
        let scope = Self { unit: wish.path.unit(), of: wish.of, _placeholder: placeholder };
        match open_cgroup(host, wish.path, pid) {
            Ok(group) => Ok((scope, group)),
            Err(e) => {
                scope.undo();
                Err(e)
            }
        }
    }

    /// The unit's name.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// Takes the unit back after a later step failed, whose error is the one to tell.
    pub fn undo(self) {
        drop(stop(&self.unit, self.of));
    }
}

/// Ends the unit of a container that has ended.
pub fn stop(unit: &str, of: Of) -> Result<(), SystemdError> {
    Manager::connect(of)?.stop(unit)
}

/// Tells systemd of changed limits, lest it write the old ones again when it reloads.
pub fn update(unit: &str, of: Of, host: &Host, resources: &LinuxResources) -> Result<(), SystemdError> {
    Manager::connect(of)?.update(unit, spelling(host), resources)
}

/// How systemd spells limits on this host.
fn spelling(host: &Host) -> Version {
    if host.mode() == Mode::V2 { Version::V2 } else { Version::V1 }
}
