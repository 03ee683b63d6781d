//! What containers get when nobody says otherwise, and the OCI runtimes they may choose from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minke_api::container::Ulimit;
pub use minke_keeper::protocol::RuntimeProgram;

use crate::error::{Error, Result};

/// The name of the runtime that is part of this program.
pub const BUILT_IN: &str = "minke";

/// Docker's names for its own default, which stand for the built-in one unless a runtime of that name is there.
const ALIASES: [&str; 2] = ["runc", "io.containerd.runc.v2"];

/// Runtimes that need not be registered: they are found where programs are.
const WELL_KNOWN: [&str; 2] = ["crun", "runc"];

/// Each field has the daemon flag of the same meaning.
#[derive(Clone, Debug, Default)]
pub struct ContainerDefaults {
    /// `--add-runtime`, `runtimes`.
    pub runtimes: BTreeMap<String, RuntimeProgram>,
    /// `--default-runtime`; empty for the built-in one.
    pub runtime: String,
    /// `--default-ipc-mode`; empty for `private`.
    pub ipc_mode: String,
    /// `--default-cgroupns-mode`; empty for what suits the host.
    pub cgroupns_mode: String,
    /// `--default-shm-size` in bytes; 0 for Docker's 64 MiB.
    pub shm_size: i64,
    /// `--default-ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--no-new-privileges`.
    pub no_new_privileges: bool,
    /// `--seccomp-profile`: `unconfined`, a profile's text, or empty for the built-in one.
    pub seccomp: String,
}

impl ContainerDefaults {
    /// The name a container is recorded with: the one asked for, when there is such a runtime.
    pub(crate) fn choose(&self, asked: &str) -> Result<String> {
        let name = if asked.is_empty() { self.runtime.as_str() } else { asked };
        if matches!(name, "" | BUILT_IN) {
            return Ok(BUILT_IN.to_owned());
        }
        if self.find(name).is_some() {
            return Ok(name.to_owned());
        }
        if ALIASES.contains(&name) {
            return Ok(BUILT_IN.to_owned());
        }
        let mut known: Vec<String> = self.all().into_keys().collect();
        known.sort();
        Err(Error::invalid(format!(
            "unknown or invalid runtime name: {name}; there are {}: register others as \"runtimes\" in daemon.json",
            known.join(", ")
        )))
    }

    /// The program of a runtime that is not the built-in one.
    pub(crate) fn find(&self, name: &str) -> Option<RuntimeProgram> {
        if name.is_empty() || name == BUILT_IN {
            return None;
        }
        let known = self.runtimes.get(name).cloned();
        known.or_else(|| {
            let path = WELL_KNOWN.contains(&name).then(|| in_path(Path::new(name)))??;
            Some(RuntimeProgram { path, args: Vec::new() })
        })
    }

    /// Every runtime there is, for `info`; the built-in one has no program.
    pub(crate) fn all(&self) -> BTreeMap<String, Option<RuntimeProgram>> {
        let mut all = BTreeMap::from([(BUILT_IN.to_owned(), None)]);
        for name in WELL_KNOWN {
            all.extend(self.find(name).map(|program| (name.to_owned(), Some(program))));
        }
        all.extend(self.runtimes.iter().map(|(name, program)| (name.clone(), Some(program.clone()))));
        all
    }

    /// Refuses runtimes that cannot be run, when the engine opens rather than when a container starts.
    pub fn check(&mut self) -> std::result::Result<(), String> {
        for (name, program) in &mut self.runtimes {
            if name.is_empty() || name == BUILT_IN {
                return Err(format!("runtimes: {name:?} is the name of the built-in runtime: take another"));
            }
            program.path = in_path(&program.path).ok_or_else(|| {
                format!("runtimes: {name}: {}: there is no such program", program.path.display())
            })?;
        }
        self.choose("").map(drop).map_err(|error| format!("default-runtime: {}", error.message()))
    }
}

/// A program by its path, or by its name in `PATH`.
fn in_path(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return name.is_file().then(|| name.to_owned());
    }
    let path =
        std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_default_name_stands_for_the_built_in_one_where_it_is_not_installed() {
        let defaults = ContainerDefaults::default();
        assert_eq!(defaults.choose("").expect("built in"), BUILT_IN);
        assert_eq!(defaults.choose("io.containerd.runc.v2").expect("an alias"), BUILT_IN);
        let error = defaults.choose("nosuch").expect_err("not registered");
        assert!(
            error.message().starts_with("unknown or invalid runtime name: nosuch; there are "),
            "{error}"
        );
    }

    #[test]
    fn a_registered_runtime_must_be_there() {
        let program = |path: &str| RuntimeProgram { path: path.into(), args: vec!["--x".into()] };
        let mut defaults = ContainerDefaults {
            runtimes: [("mine".to_owned(), program("sh"))].into(),
            runtime: "mine".to_owned(),
            ..ContainerDefaults::default()
        };
        defaults.check().expect("there is a shell");
        assert!(defaults.find("mine").is_some_and(|found| found.path.is_absolute()));
        assert_eq!(defaults.choose("").expect("the default"), "mine");
        defaults.runtimes.insert("gone".to_owned(), program("/nonexistent/runtime"));
        assert!(defaults.check().is_err_and(|text| text.contains("gone: /nonexistent/runtime")));
    }
}
