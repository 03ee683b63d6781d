//! What holds a container in: capabilities, the filter of system calls, devices, its cgroup.

use std::path::PathBuf;

use minke_keeper::protocol::SeccompFilter;
use oci_spec::runtime::{Capabilities, LinuxSeccomp};

use super::Containers;
use super::record::Record;
use crate::error::Result;
use crate::spec::capabilities;
use crate::spec::devices::{self, DevicePlan};
use crate::spec::facts::DEFAULT_PROFILE;
use crate::spec::security::{Seccomp, SecurityOptions};

impl Containers {
    pub(super) fn plan_capabilities(&self, record: &Record) -> Result<Capabilities> {
        let list = |names: &Option<Vec<String>>| names.clone().unwrap_or_default();
        capabilities::plan(
            &list(&record.host.cap_add),
            &list(&record.host.cap_drop),
            record.host.privileged,
            &self.parts.facts.capabilities,
        )
    }

    pub(super) fn plan_seccomp(
        &self,
        record: &Record,
        security: &SecurityOptions,
        capabilities: &Capabilities,
    ) -> Result<Option<SeccompFilter>> {
        // A privileged container is filtered only when a profile is named.
        if record.host.privileged && security.seccomp == Seccomp::Default {
            return Ok(None);
        }
        self.seccomp.filter(&self.seccomp_choice(security), capabilities, &self.parts.facts)
    }

    /// The same as a profile, for a runtime that compiles it itself.
    pub(super) fn plan_profile(
        &self,
        record: &Record,
        security: &SecurityOptions,
        capabilities: &Capabilities,
    ) -> Result<Option<LinuxSeccomp>> {
        if record.host.privileged && security.seccomp == Seccomp::Default {
            return Ok(None);
        }
        crate::seccomp::profile(&self.seccomp_choice(security), capabilities, &self.parts.facts)
    }

    /// What the container says, else what the engine was told.
    fn seccomp_choice(&self, security: &SecurityOptions) -> Seccomp {
        match (&security.seccomp, self.parts.config.containers.seccomp.as_str()) {
            (Seccomp::Default, "unconfined") => Seccomp::Unconfined,
            (Seccomp::Default, text) if !text.is_empty() => Seccomp::Profile(text.to_owned()),
            (own, _) => own.clone(),
        }
    }

    /// What the options say, with the engine's own defaults.
    pub(super) fn security_of(&self, record: &Record) -> Result<SecurityOptions> {
        let options = record.host.security_opt.as_deref().unwrap_or_default();
        let mut security = SecurityOptions::parse(options)?;
        let said = options.iter().any(|option| option.starts_with("no-new-privileges"));
        security.no_new_privileges |= !said && self.parts.config.containers.no_new_privileges;
        Ok(security)
    }

    /// The AppArmor profile of a container: the one it names, else the engine's own where that is loaded.
    pub(super) fn plan_apparmor(&self, record: &Record, security: &SecurityOptions) -> Option<String> {
        let facts = &self.parts.facts;
        match security.apparmor.as_deref() {
            _ if !facts.apparmor => None,
            Some("unconfined") => None,
            Some(named) if !named.is_empty() => Some(named.to_owned()),
            _ if record.host.privileged => None,
            _ => facts.apparmor_default.then(|| DEFAULT_PROFILE.to_owned()),
        }
    }

    /// The container's cgroup, from the root of each hierarchy.
    pub(crate) fn cgroup_path(&self, record: &Record, id: &str) -> PathBuf {
        self.parts.config.cgroup_driver.directory(self.cgroup_parent(record), id)
    }

    pub(super) fn cgroup_parent<'a>(&'a self, record: &'a Record) -> &'a str {
        match record.host.cgroup_parent.as_str() {
            "" => &self.parts.config.cgroup_parent,
            own => own,
        }
    }
}

pub(super) fn read_devices(record: &Record) -> Result<DevicePlan> {
    if record.host.privileged {
        // Devices are all there already; those that are to have another name come on top.
        let mut plan = DevicePlan { nodes: devices::read_all(), rules: devices::all_rules() };
        for mapping in record.host.devices.iter().flatten() {
            if !mapping.path_in_container.is_empty() && mapping.path_in_container != mapping.path_on_host {
                plan.nodes.extend(devices::read_devices(std::slice::from_ref(mapping), &[])?.nodes);
            }
        }
        return Ok(plan);
    }
    devices::read_devices(
        record.host.devices.as_deref().unwrap_or_default(),
        record.host.device_cgroup_rules.as_deref().unwrap_or_default(),
    )
}
