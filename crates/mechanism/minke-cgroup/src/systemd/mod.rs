//! systemd's way of having cgroups: a unit per container, asked for over D-Bus, named `slice:prefix:name` with
//! `--systemd-cgroup`.
//!
//! The names are understood here; `scope` brings a unit about, `unit` talks to systemd, over `bus`, in the bytes of `wire`;
//! `properties` says what it is told. Nothing of this is on the way of a container that does not ask for it.

use std::path::{Path, PathBuf};

use crate::error::CgroupError;

mod bus;
mod properties;
mod scope;
mod unit;
mod wire;

pub use bus::BusError;
pub use scope::{Scope, Wish, stop, update};
pub use unit::Of;

/// Why a systemd cgroup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    #[error(
        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {0:?} instead"
    )]
    Format(String),
    #[error("invalid slice name {0:?}: it is like test-a.slice, without slashes and empty parts")]
    Slice(String),
    #[error(
        "systemd not running on this host, cannot use systemd cgroups manager; leave out --systemd-cgroup"
    )]
    NotRunning,
    #[error("no systemd of the user: XDG_RUNTIME_DIR is not set; leave out --systemd-cgroup")]
    NoUserSession,
    #[error("{doing}")]
    Bus { doing: String, source: BusError },
    #[error("start unit {unit}: its job ended with {result:?}")]
    Job { unit: String, result: String },
    #[error("fork a process for the scope to begin with")]
    Placeholder(#[from] rustix::io::Errno),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

/// A parsed `slice:prefix:name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemdPath {
    pub slice: String,
    pub prefix: String,
    pub name: String,
}

impl SystemdPath {
    /// Parses; an empty slice means `system.slice`.
    pub fn parse(text: &str) -> Result<Self, SystemdError> {
        Self::parse_with(text, "system.slice")
    }

    /// Parses with another slice for where none is given.
    pub fn parse_with(text: &str, default_slice: &str) -> Result<Self, SystemdError> {
        let parts: Vec<&str> = text.split(':').collect();
        let [slice, prefix, name] = parts[..] else { return Err(SystemdError::Format(text.to_owned())) };
        if name.is_empty() {
            return Err(SystemdError::Format(text.to_owned()));
        }
        let slice = if slice.is_empty() { default_slice } else { slice };
        expand_slice(slice)?;
        Ok(Self { slice: slice.to_owned(), prefix: prefix.to_owned(), name: name.to_owned() })
    }

    /// The unit systemd would make: the name itself when it is a slice, else a scope.
    #[must_use]
    pub fn unit(&self) -> String {
        if self.is_slice() {
            return self.name.clone();
        }
        if self.prefix.is_empty() {
            return format!("{}.scope", self.name);
        }
        format!("{}-{}.scope", self.prefix, self.name)
    }

    /// The container is to be a slice of its own.
    #[must_use]
    pub fn is_slice(&self) -> bool {
        Path::new(&self.name).extension().is_some_and(|e| e == "slice")
    }

    /// Where that unit's cgroup lies in a hierarchy.
    pub fn cgroup_path(&self) -> Result<PathBuf, SystemdError> {
        if self.is_slice() {
            return expand_slice(&self.name);
        }
        Ok(expand_slice(&self.slice)?.join(self.unit()))
    }
}

/// `test-a-b.slice` lies at `/test.slice/test-a.slice/test-a-b.slice`; `-.slice` is the root.
pub fn expand_slice(slice: &str) -> Result<PathBuf, SystemdError> {
    let invalid = || SystemdError::Slice(slice.to_owned());
    let name =
        slice.strip_suffix(".slice").filter(|n| !n.is_empty() && !n.contains('/')).ok_or_else(invalid)?;
    let mut path = PathBuf::from("/");
    if name == "-" {
        return Ok(path);
    }
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(invalid());
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
        prefix.push('-');
    }
    Ok(path)
}

/// Whether systemd runs the host whose file systems lie under `root`.
pub fn require_systemd(root: &Path) -> Result<(), SystemdError> {
    if root.join("run/systemd/system").is_dir() { Ok(()) } else { Err(SystemdError::NotRunning) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_expands_to_its_ancestors() {
        assert_eq!(
            expand_slice("test-a-b.slice").unwrap(),
            Path::new("/test.slice/test-a.slice/test-a-b.slice")
        );
        assert_eq!(expand_slice("-.slice").unwrap(), Path::new("/"));
        for wrong in ["test", "a/b.slice", "-a.slice", "a--b.slice", ".slice", "a-.slice"] {
            assert!(
                matches!(expand_slice(wrong), Err(SystemdError::Slice(name)) if name == wrong),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_path_names_slice_prefix_and_name() {
        let path = SystemdPath::parse("machine.slice:libpod:abc").unwrap();
        assert_eq!(path.cgroup_path().unwrap(), Path::new("/machine.slice/libpod-abc.scope"));
        let path = SystemdPath::parse("::abc").unwrap();
        assert_eq!(path.cgroup_path().unwrap(), Path::new("/system.slice/abc.scope"));
        let path = SystemdPath::parse_with(":crio:p-x.slice", "user.slice").unwrap();
        assert_eq!((path.slice.as_str(), path.is_slice()), ("user.slice", true));
        assert_eq!(path.cgroup_path().unwrap(), Path::new("/p.slice/p-x.slice"));
        assert!(matches!(SystemdPath::parse("/a/b"), Err(SystemdError::Format(text)) if text == "/a/b"));
    }

    #[test]
    fn without_systemd_the_manager_is_refused_for_that_reason() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(require_systemd(root.path()), Err(SystemdError::NotRunning)));
        std::fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
        require_systemd(root.path()).unwrap();
    }
}
