//! What a private daemon has on the host: found by its tag (cgroups), its directory (processes, mounts) and its network
//! namespace (links). Used to prove that nothing is left.

use std::fs;
use std::path::{Path, PathBuf};

/// Everything that was found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Leaks {
    /// Pid and command line.
    pub processes: Vec<(i32, String)>,
    pub mounts: Vec<String>,
    pub links: Vec<String>,
    pub cgroups: Vec<PathBuf>,
    pub files: Vec<PathBuf>,
}

impl Leaks {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What bears `tag` as a cgroup or touches `dir`; `netns_pid` is a process of the daemon's network namespace.
    #[must_use]
    pub fn read(tag: &str, dir: &Path, netns_pid: u32) -> Self {
        Self {
            processes: processes(tag, dir, netns_pid),
            mounts: mounts(dir),
            links: links(netns_pid),
            cgroups: cgroups(tag),
            files: files(dir),
        }
    }

    /// Ends and removes what was found, so that one failed test does not disturb the next.
    pub fn sweep(&self) {
        for (pid, _) in &self.processes {
            if let Some(pid) = rustix::process::Pid::from_raw(*pid) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(if self.processes.is_empty() { 0 } else { 100 }));
        for cgroup in self.cgroups.iter().rev() {
            fs::remove_dir(cgroup).ok();
        }
    }
}

/// Processes in a cgroup of the tag, or with the daemon's directory in their command line, environment left aside.
fn processes(tag: &str, dir: &Path, netns_pid: u32) -> Vec<(i32, String)> {
    let dir = dir.to_string_lossy().into_owned();
    let own = std::process::id().cast_signed();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        if pid == own || pid == netns_pid.cast_signed() {
            continue;
        }
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let group = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let in_group = group.lines().any(|line| line.split('/').any(|part| part == tag));
        if in_group || line.contains(&dir) || holds_a_file_of(&entry.path(), &dir) {
            found.push((pid, line));
        }
    }
    found
}

/// Keepers have no tell-tale command line; their sockets and logs lie in the daemon's directory.
fn holds_a_file_of(process: &Path, dir: &str) -> bool {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    name.starts_with("minke")
        && fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|target| target.to_string_lossy().contains(dir))
}

fn mounts(dir: &Path) -> Vec<String> {
    let dir = dir.to_string_lossy().into_owned();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect()
}

/// Links of the daemon's namespace other than lo and the bridge itself.
fn links(netns_pid: u32) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{netns_pid}/net/dev")).unwrap_or_default();
    table
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next())
        .map(|name| name.trim().to_owned())
        .filter(|name| name != "lo" && name != "minke0")
        .collect()
}

/// The daemon's own cgroup in every hierarchy, and those of containers in it.
fn cgroups(tag: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path());
    for root in roots.chain([PathBuf::from("/sys/fs/cgroup")]) {
        let parent = root.join(tag);
        for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                found.push(entry.path());
            }
        }
        if parent.is_dir() {
            found.push(parent);
        }
    }
    found.sort();
    found
}

/// Container directories and unfinished downloads or layers.
fn files(dir: &Path) -> Vec<PathBuf> {
    ["data/containers", "data/content/tmp", "data/layers/tmp", "run/containers"]
        .iter()
        .flat_map(|sub| fs::read_dir(dir.join(sub)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect()
}
