//! Who makes containers' cgroups, and what they are called: minke itself, below one directory, or systemd, a scope for each.
//!
//! Names only; making and removing them is the keeper's and [`minke_cgroup`]'s.

use std::path::{Path, PathBuf};

use minke_cgroup::systemd::{self, SystemdPath};

/// `native.cgroupdriver`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// Directories that minke makes.
    #[default]
    Cgroupfs,
    /// Scopes that systemd makes.
    Systemd,
}

impl CgroupDriver {
    /// As `info` and the option call it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }

    /// The parent where none is given.
    #[must_use]
    pub fn default_parent(self) -> &'static str {
        match self {
            Self::Cgroupfs => "/minke",
            Self::Systemd => "system.slice",
        }
    }

    /// Refuses a parent that this driver cannot use; an empty one stands for the default.
    pub fn check(self, parent: &str) -> Result<(), String> {
        if self == Self::Systemd && !parent.is_empty() && systemd::expand_slice(parent).is_err() {
            let text = "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"";
            return Err(text.to_owned());
        }
        Ok(())
    }

    /// Refuses a driver that this host has nothing for.
    pub(crate) fn require(self) -> Result<(), String> {
        match self {
            Self::Cgroupfs => Ok(()),
            Self::Systemd => systemd::require_systemd(Path::new("/")).map_err(|_none| {
                "native.cgroupdriver=systemd: systemd does not run this host; leave it out for cgroupfs"
                    .to_owned()
            }),
        }
    }

    /// What a container's configuration calls its cgroup.
    pub(crate) fn name(self, parent: &str, id: &str) -> PathBuf {
        match self {
            Self::Cgroupfs => self.directory(parent, id),
            Self::Systemd => format!("{parent}:minke:{id}").into(),
        }
    }

    /// Where it lies, from the root of each hierarchy.
    pub(crate) fn directory(self, parent: &str, id: &str) -> PathBuf {
        let plain = || Path::new("/").join(parent.trim_start_matches('/')).join(id);
        match self {
            Self::Cgroupfs => plain(),
            Self::Systemd => SystemdPath::parse(&format!("{parent}:minke:{id}"))
                .and_then(|path| path.cgroup_path())
                // The parent was checked when it was given.
                .unwrap_or_else(|_unchecked| plain()),
        }
    }

    /// The directory that is made ahead of containers; systemd makes its own.
    pub(crate) fn prepared(self, parent: &str) -> Option<PathBuf> {
        (self == Self::Cgroupfs).then(|| Path::new("/").join(parent.trim_start_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_below_the_parent_and_a_scope_in_its_slice() {
        let (own, systemd) = (CgroupDriver::Cgroupfs, CgroupDriver::Systemd);
        assert_eq!(own.name("minke", "abc"), Path::new("/minke/abc"));
        assert_eq!(own.directory("/minke", "abc"), Path::new("/minke/abc"));
        assert_eq!(systemd.name("system.slice", "abc"), Path::new("system.slice:minke:abc"));
        let place = systemd.directory("a-b.slice", "abc");
        assert_eq!(place, Path::new("/a.slice/a-b.slice/minke-abc.scope"));
        assert_eq!(own.prepared("minke").as_deref(), Some(Path::new("/minke")));
        assert_eq!(systemd.prepared("system.slice"), None);
    }

    #[test]
    fn systemd_takes_slices_only() {
        assert!(CgroupDriver::Systemd.check("").is_ok());
        assert!(CgroupDriver::Systemd.check("a.slice").is_ok());
        assert!(CgroupDriver::Systemd.check("/minke").unwrap_err().contains("xxx.slice"));
        assert!(CgroupDriver::Cgroupfs.check("/any/where").is_ok());
    }
}
