//! What is remembered of a container between two commands: `<root>/<id>/state.json`, and what the kernel says of it.
//!
//! States: *created* (the first process waits at `start.sock`), *running*, *paused* (its cgroup is frozen), *stopped* (the
//! process is gone; the record stays until `delete`). The record names the process by pid and start time, so that another
//! process with the same pid is never taken for it. The file is written to a new name and renamed: it is whole or not there.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use minke_cgroup::systemd::Of;
use minke_cgroup::{Cgroup, Freezer, Host};
use oci_spec::runtime::{ContainerState, Hooks, Spec, State};
use serde::{Deserialize, Serialize};

use crate::OciError;

pub(crate) const RECORD: &str = "state.json";
pub(crate) const GATE: &str = "start.sock";
/// Of the runtime specification that minke follows.
pub(crate) const OCI_VERSION: &str = "1.2.1";

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// The record. The first five keys are named as in runc's file, which other tools peek into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) init_process_pid: i32,
    /// In clock ticks since boot, field 22 of /proc/PID/stat.
    pub(crate) init_process_start: u64,
    pub(crate) created: String,
    #[serde(default)]
    pub(crate) cgroup_paths: BTreeMap<String, PathBuf>,
    /// The unit that systemd made for it, by the user's systemd or the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) systemd_unit: Option<String>,
    #[serde(default)]
    pub(crate) systemd_user: bool,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) oci_version: String,
    #[serde(default)]
    pub(crate) annotations: HashMap<String, String>,
    pub(crate) owner: u32,
    /// Has a pid namespace of its own, so that its first process takes all others with it.
    pub(crate) own_pid_namespace: bool,
    /// Those that run after `create` has ended: poststart and poststop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hooks: Option<Hooks>,
}

/// A container's directory under the root.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
}

impl Home {
    /// Checks the name: it becomes a file name and a cgroup name.
    pub(crate) fn new(root: &Path, id: &str) -> Result<Self, OciError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if id.is_empty() || id == "." || id == ".." || !id.chars().all(allowed) || id.len() > 1024 {
            return Err(OciError::Id(id.to_owned()));
        }
        Ok(Self { id: id.to_owned(), dir: root.join(id) })
    }

    /// Claims the name: whoever makes the directory has it.
    pub(crate) fn claim(root: &Path, id: &str) -> Result<Self, OciError> {
        use std::os::unix::fs::DirBuilderExt;
        let home = Self::new(root, id)?;
        let make = |path: &Path| std::fs::DirBuilder::new().mode(0o711).create(path);
        let mut made = make(&home.dir);
        if made.as_ref().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            std::fs::DirBuilder::new()
                .mode(0o700)
                .recursive(true)
                .create(root)
                .map_err(|e| OciError::io("create", root, e))?;
            made = make(&home.dir);
        }
        match made {
            Ok(()) => Ok(home),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(OciError::Exists),
            Err(e) => Err(OciError::io("create", &home.dir, e)),
        }
    }

    /// Where the waiting process of a created container listens; gone once it has been started.
    pub(crate) fn gate(&self) -> PathBuf {
        self.dir.join(GATE)
    }

    pub(crate) fn load(&self) -> Result<Record, OciError> {
        let path = self.dir.join(RECORD);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| OciError::Parse { path, source }),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(OciError::NotFound),
            Err(e) => Err(OciError::io("read", path, e)),
        }
    }

    pub(crate) fn save(&self, record: &Record) -> Result<(), OciError> {
        let bytes = serde_json::to_vec(record).expect("a record has string keys only");
        let (new, path) = (self.dir.join(".state.json.new"), self.dir.join(RECORD));
        std::fs::write(&new, bytes).map_err(|e| OciError::io("write", &new, e))?;
        std::fs::rename(&new, &path).map_err(|e| OciError::io("write", &path, e))
    }

    pub(crate) fn remove(&self) -> Result<(), OciError> {
        // The usual content by name; anything else by walking.
        for file in [RECORD, GATE] {
            match std::fs::remove_file(self.dir.join(file)) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(OciError::io("remove", self.dir.join(file), e)),
            }
        }
        match std::fs::remove_dir(&self.dir).or_else(|_not_empty| std::fs::remove_dir_all(&self.dir)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(OciError::io("remove", &self.dir, e)),
            _ => Ok(()),
        }
    }
}

impl Record {
    pub(crate) fn new(home: &Home, spec: &Spec, bundle: &Path, rootfs: &Path) -> Self {
        use oci_spec::runtime::LinuxNamespaceType;
        let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_deref()).unwrap_or_default();
        let own_pid_namespace =
            namespaces.iter().any(|n| n.typ() == LinuxNamespaceType::Pid && n.path().is_none());
        let hooks = spec.hooks().as_ref().map(|all| {
            let mut late = Hooks::default();
            late.set_poststart(all.poststart().clone()).set_poststop(all.poststop().clone());
            late
        });
        Self {
            id: home.id.clone(),
            init_process_pid: 0,
            init_process_start: 0,
            created: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
            cgroup_paths: BTreeMap::new(),
            systemd_unit: None,
            systemd_user: false,
            bundle: bundle.to_owned(),
            rootfs: rootfs.to_owned(),
            oci_version: spec.version().clone(),
            annotations: spec.annotations().clone().unwrap_or_default(),
            owner: rustix::process::getuid().as_raw(),
            own_pid_namespace,
            hooks: hooks.filter(|h| h.poststart().is_some() || h.poststop().is_some()),
        }
    }

    pub(crate) fn set_process(&mut self, pid: u32) {
        self.init_process_pid = i32::try_from(pid).unwrap_or(0);
        self.init_process_start = read_process(self.init_process_pid).map_or(0, |p| p.start);
    }

    pub(crate) fn set_cgroup(&mut self, group: Option<&Cgroup>) {
        let places = group.into_iter().flat_map(Cgroup::locations);
        self.cgroup_paths = places.map(|(controller, path)| (controller, path.to_owned())).collect();
    }

    /// Whether the first process is still the one that was started, and has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        read_process(self.init_process_pid).is_some_and(|p| p.start == self.init_process_start && !p.ended)
    }

    /// What the kernel says now.
    pub(crate) fn status(&self, home: &Home) -> Status {
        if !self.is_alive() {
            return Status::Stopped;
        }
        if home.gate().exists() {
            return Status::Created;
        }
        // Frozen or not is read from the one file, without looking at the host's mounts.
        let frozen = match (self.cgroup_paths.get("freezer"), self.cgroup_paths.get("")) {
            (Some(v1), _) => read_trimmed(&v1.join("freezer.state")).is_some_and(|s| s != "THAWED"),
            (None, Some(v2)) => read_trimmed(&v2.join("cgroup.freeze")).is_some_and(|s| s == "1"),
            (None, None) => false,
        };
        if frozen { Status::Paused } else { Status::Running }
    }

    /// systemd's unit, and whose systemd it is.
    pub(crate) fn unit(&self) -> Option<(&str, Of)> {
        let of = if self.systemd_user { Of::User } else { Of::Machine };
        self.systemd_unit.as_deref().map(|unit| (unit, of))
    }

    /// Opens the container's cgroup; `None` when it has none or it is gone.
    pub(crate) fn cgroup(&self) -> Result<Option<Cgroup>, OciError> {
        if self.cgroup_paths.is_empty() {
            return Ok(None);
        }
        let paths: Vec<PathBuf> = self.cgroup_paths.values().cloned().collect();
        let group = Cgroup::reopen(&Host::probe()?, &paths)?;
        Ok(if group.is_absent() { None } else { Some(group) })
    }

    /// The same, for commands that make no sense without.
    pub(crate) fn require_cgroup(&self) -> Result<Cgroup, OciError> {
        self.cgroup()?
            .ok_or_else(|| OciError::Usage(format!("container {} has no cgroup of its own", self.id)))
    }

    /// The document hooks and `state` print.
    pub(crate) fn document(&self, status: ContainerState) -> State {
        let mut state = State::default();
        state
            .set_version(self.oci_version.clone())
            .set_id(self.id.clone())
            .set_status(status)
            .set_pid(if status == ContainerState::Stopped { None } else { Some(self.init_process_pid) })
            .set_bundle(self.bundle.clone())
            .set_annotations(Some(self.annotations.clone()));
        state
    }
}

impl Record {
    /// As much of the configuration as late hooks are told about; `None` when there are none.
    fn hook_spec(&self) -> Option<Spec> {
        let hooks = self.hooks.clone()?;
        let mut spec = Spec::default();
        spec.set_version(self.oci_version.clone())
            .set_annotations(Some(self.annotations.clone()))
            .set_hooks(Some(hooks));
        Some(spec)
    }

    pub(crate) fn run_poststart(&self) -> Result<(), OciError> {
        let Some(spec) = self.hook_spec() else { return Ok(()) };
        let pid = u32::try_from(self.init_process_pid).unwrap_or(0);
        Ok(minke_runtime::hooks::run_poststart(&spec, &self.id, &self.bundle, pid)?)
    }

    /// Answers what went wrong, as sentences: a container is deleted in spite of it.
    pub(crate) fn run_poststop(&self) -> Vec<String> {
        let spec = self.hook_spec();
        spec.map_or_else(Vec::new, |spec| minke_runtime::hooks::run_poststop(&spec, &self.id, &self.bundle))
    }
}

pub(crate) fn is_frozen(group: &Cgroup) -> Result<bool, OciError> {
    Ok(group.read_freezer()? == Freezer::Frozen)
}

fn read_trimmed(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|t| t.trim().to_owned())
}

/// What /proc says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) start: u64,
    /// A zombie: only its exit status is left.
    pub(crate) ended: bool,
}

pub(crate) fn read_process(pid: i32) -> Option<Process> {
    if pid <= 0 {
        return None;
    }
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `PID (NAME) STATE …`: the name may hold anything, so fields count from the last parenthesis.
fn parse_stat(text: &str) -> Option<Process> {
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    Some(Process { start: fields.nth(18)?.trim().parse().ok()?, ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_root_are_refused() {
        for id in ["", ".", "..", "a/b", "a b", "é"] {
            assert!(matches!(Home::new(Path::new("/r"), id), Err(OciError::Id(_))), "{id:?}");
        }
        assert_eq!(Home::new(Path::new("/r"), "a_B-1.2+3").unwrap().dir, Path::new("/r/a_B-1.2+3"));
    }

    #[test]
    fn a_name_can_be_claimed_once() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("made/on/demand");
        let home = Home::claim(&root, "c").unwrap();
        assert!(matches!(Home::claim(&root, "c"), Err(OciError::Exists)));
        assert!(matches!(home.load(), Err(OciError::NotFound)));
        home.remove().unwrap();
        home.remove().unwrap();
        assert!(!home.dir.exists());
    }

    #[test]
    fn a_record_comes_back_as_it_was_saved() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::claim(root.path(), "c").unwrap();
        let mut record = Record::new(&home, &Spec::default(), Path::new("/b"), Path::new("/b/rootfs"));
        record.set_process(std::process::id());
        home.save(&record).unwrap();
        assert_eq!(home.load().unwrap(), record);
        assert_eq!(record.status(&home), Status::Running);
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_the_container() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::claim(root.path(), "c").unwrap();
        let mut record = Record::new(&home, &Spec::default(), Path::new("/b"), Path::new("/b/rootfs"));
        record.set_process(std::process::id());
        record.init_process_start += 1;
        assert_eq!(record.status(&home), Status::Stopped);
    }

    #[test]
    fn a_process_waiting_at_its_gate_is_created() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::claim(root.path(), "c").unwrap();
        let mut record = Record::new(&home, &Spec::default(), Path::new("/b"), Path::new("/b/rootfs"));
        record.set_process(std::process::id());
        std::fs::write(home.gate(), "").unwrap();
        assert_eq!(record.status(&home), Status::Created);
    }

    #[test]
    fn stat_is_read_behind_names_with_parentheses() {
        let stat = "7 (a) Z) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1 1";
        assert_eq!(parse_stat(stat), Some(Process { start: 12345, ended: false }));
        assert!(parse_stat(&stat.replace(") S", ") Z")).unwrap().ended);
        assert_eq!(parse_stat("nonsense"), None);
    }
}
