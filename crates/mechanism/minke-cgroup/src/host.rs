//! What cgroups this host has: read once from mountinfo, then asked by everybody.
//!
//! A host is pure v2, pure v1, or hybrid (controllers in v1 hierarchies, and a v2 tree beside them with few or none).
//! Everything below works on a list of hierarchies, so that the three differ only in what is on that list.
//! The root directory is a parameter, so that tests can describe a host they do not run on.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::error::CgroupError;

/// Interface generation of one hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    V1,
    V2,
}

/// How the host arranges its controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only v1 hierarchies.
    V1,
    /// Only the unified hierarchy holds controllers.
    V2,
    /// v1 hierarchies hold controllers, and a unified hierarchy is mounted beside them.
    Hybrid,
}

/// One mounted cgroup tree.
#[derive(Debug)]
pub struct Hierarchy {
    version: Version,
    /// v1: `["cpu", "cpuacct"]` or `["name=systemd"]`. v2: empty, see [`Hierarchy::controllers`].
    mounted: Vec<String>,
    mount_point: PathBuf,
    /// Which directory of the hierarchy is mounted there ("/" except inside containers).
    root: PathBuf,
    /// The cgroup of this process, as /proc/self/cgroup names it.
    own: PathBuf,
    unified: OnceLock<Vec<String>>,
}

impl Hierarchy {
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// The controllers of this hierarchy; for v1 a named one appears as `name=systemd`.
    #[must_use]
    pub fn controllers(&self) -> &[String] {
        match self.version {
            Version::V1 => &self.mounted,
            Version::V2 => self.unified.get_or_init(|| {
                let text = std::fs::read_to_string(self.mount_point.join("cgroup.controllers"));
                text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
            }),
        }
    }

    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        self.controllers().iter().any(|c| c == controller)
    }

    /// The last part of the mount point: what the directory is called inside a container (`cpu,cpuacct`, `systemd`).
    #[must_use]
    pub fn name(&self) -> &str {
        self.mount_point.file_name().and_then(|n| n.to_str()).unwrap_or("cgroup")
    }

    /// Data for a v1 `mount -t cgroup` of this very hierarchy.
    #[must_use]
    pub fn mount_data(&self) -> String {
        match self.mounted.first() {
            Some(first) if first.starts_with("name=") => format!("none,{first}"),
            _ => self.mounted.join(","),
        }
    }

    /// The directory of `path`: absolute paths count from the mount point, relative ones from this process's own cgroup.
    #[must_use]
    pub fn locate(&self, path: &Path) -> PathBuf {
        let mut at = self.mount_point.clone();
        if path.is_relative() {
            push_beneath(&mut at, self.own.strip_prefix(&self.root).unwrap_or(&self.own));
        }
        push_beneath(&mut at, path);
        at
    }

    /// Where a container's cgroup of this path lies. As [`Hierarchy::locate`], but on v2 a relative path counts from the cgroup
    /// above this process's own: ours has a process in it, so its children could have no controllers.
    pub(crate) fn place(&self, path: &Path) -> PathBuf {
        if self.version == Version::V1 || path.is_absolute() {
            return self.locate(path);
        }
        let own = self.own.strip_prefix(&self.root).unwrap_or(&self.own);
        let mut at = self.mount_point.clone();
        push_beneath(&mut at, own.parent().unwrap_or(own));
        push_beneath(&mut at, path);
        at
    }

    /// The directory of a path as /proc/PID/cgroup gives it: it counts from the root of the hierarchy, not of the mount.
    pub(crate) fn locate_membership(&self, path: &Path) -> PathBuf {
        let mut at = self.mount_point.clone();
        push_beneath(&mut at, path.strip_prefix(&self.root).unwrap_or(path));
        at
    }
}

/// Appends `path` without ever leaving `at`: `..` stops at the starting directory, as if it were the root.
fn push_beneath(at: &mut PathBuf, path: &Path) {
    let mut kept: Vec<&std::ffi::OsStr> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => kept.push(name),
            Component::ParentDir => drop(kept.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    at.extend(kept);
}

/// The cgroup hierarchies of this host.
#[derive(Debug, Clone)]
pub struct Host {
    mode: Mode,
    hierarchies: Vec<Arc<Hierarchy>>,
}

impl Host {
    /// Reads the host this process runs on.
    pub fn probe() -> Result<Self, CgroupError> {
        Self::probe_under(Path::new("/"))
    }

    /// Reads a host whose `/proc` and `/sys` lie under `root`.
    pub fn probe_under(root: &Path) -> Result<Self, CgroupError> {
        let read = |name: &str| {
            let path = root.join(name);
            read_at_once(&path).map_err(|e| CgroupError::read(&path, e))
        };
        let own = parse_own(&read("proc/self/cgroup")?);
        let mounts = read("proc/self/mountinfo")?;
        let mut hierarchies = Vec::new();
        let mut unified = None;
        for mount in mounts.lines().filter_map(CgroupMount::parse) {
            let mount_point =
                if root == Path::new("/") { mount.point } else { join_under(root, &mount.point) };
            let membership = |wanted: &[String]| {
                own.iter().find(|o| o.controllers == *wanted).map_or_else(|| "/".into(), |o| o.path.clone())
            };
            if mount.version == Version::V2 {
                unified.get_or_insert_with(|| Hierarchy {
                    version: Version::V2,
                    own: membership(&[]),
                    mounted: Vec::new(),
                    mount_point,
                    root: mount.root,
                    unified: OnceLock::new(),
                });
                continue;
            }
            let Some(of) = own.iter().find(|o| {
                !o.controllers.is_empty() && o.controllers.iter().all(|c| mount.options.contains(&c.as_str()))
            }) else {
                continue;
            };
            if hierarchies.iter().any(|h: &Arc<Hierarchy>| h.mounted == of.controllers) {
                continue;
            }
            hierarchies.push(Arc::new(Hierarchy {
                version: Version::V1,
                own: of.path.clone(),
                mounted: of.controllers.clone(),
                mount_point,
                root: mount.root,
                unified: OnceLock::new(),
            }));
        }
        let v1 = hierarchies.iter().any(|h| h.mounted.iter().any(|c| !c.starts_with("name=")));
        let mode = match (v1, unified.is_some()) {
            (false, false) => return Err(CgroupError::NoHierarchy),
            (true, false) => Mode::V1,
            (true, true) => Mode::Hybrid,
            (false, true) => Mode::V2,
        };
        if mode == Mode::V2 {
            hierarchies.clear();
        }
        hierarchies.extend(unified.map(Arc::new));
        Ok(Self { mode, hierarchies })
    }

    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// All hierarchies: v1 first, the unified one last.
    #[must_use]
    pub fn hierarchies(&self) -> &[Arc<Hierarchy>] {
        &self.hierarchies
    }

    /// The hierarchy that holds `controller`; a v1 hierarchy wins, because a controller lives in one place only.
    #[must_use]
    pub fn hierarchy_of(&self, controller: &str) -> Option<&Arc<Hierarchy>> {
        self.hierarchies.iter().find(|h| h.has(controller))
    }

    #[must_use]
    pub fn unified(&self) -> Option<&Arc<Hierarchy>> {
        self.hierarchies.iter().find(|h| h.version == Version::V2)
    }

    /// Where each controller lives, for [`crate::plan_limits`].
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout::from_hierarchies(self.hierarchies.iter().map(Arc::as_ref))
    }
}

/// Files of /proc do not know their size; a roomy buffer spares the kernel from making them piece by piece.
fn read_at_once(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::with_capacity(16 * 1024);
    std::fs::File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

fn join_under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Which interface generation holds which controller: all that planning needs to know of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    pub v1: BTreeSet<String>,
    pub v2: BTreeSet<String>,
    /// A unified hierarchy exists (it filters devices by BPF even when it holds no controller).
    pub unified: bool,
}

impl Layout {
    pub(crate) fn from_hierarchies<'a>(list: impl Iterator<Item = &'a Hierarchy>) -> Self {
        let mut layout = Self::default();
        for hierarchy in list {
            match hierarchy.version {
                Version::V1 => layout.v1.extend(hierarchy.controllers().iter().cloned()),
                Version::V2 => {
                    layout.unified = true;
                    layout.v2.extend(hierarchy.controllers().iter().cloned());
                }
            }
        }
        layout
    }

    #[must_use]
    pub fn version_of(&self, controller: &str) -> Option<Version> {
        if self.v1.contains(controller) {
            Some(Version::V1)
        } else if self.v2.contains(controller) {
            Some(Version::V2)
        } else {
            None
        }
    }
}

/// One line of /proc/PID/cgroup.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Empty for the unified hierarchy.
    pub(crate) controllers: Vec<String>,
    pub(crate) path: PathBuf,
}

/// Parses /proc/PID/cgroup: `4:memory:/a/b`, `2:cpu,cpuacct:/`, `1:name=systemd:/`, `0::/`.
pub(crate) fn parse_own(text: &str) -> Vec<Membership> {
    let line = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let controllers = controllers.split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
        Some(Membership { controllers, path: path.into() })
    };
    text.lines().filter_map(line).collect()
}

/// Reads which cgroups a process is in.
pub(crate) fn read_memberships(pid: i32) -> Result<Vec<Membership>, CgroupError> {
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = std::fs::read_to_string(&path).map_err(|e: io::Error| CgroupError::read(&path, e))?;
    Ok(parse_own(&text))
}

struct CgroupMount<'a> {
    version: Version,
    root: PathBuf,
    point: PathBuf,
    options: Vec<&'a str>,
}

impl<'a> CgroupMount<'a> {
    /// `ID PARENT MAJ:MIN ROOT POINT OPTIONS [TAGS…] - TYPE SOURCE SUPER_OPTIONS`
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let version = match filesystem.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = filesystem.nth(1).unwrap_or_default().split(',').collect();
        let mut mount = mount.split(' ').skip(3);
        Some(Self { version, root: unescape(mount.next()?), point: unescape(mount.next()?), options })
    }
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        match octal.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(value) if byte == b'\\' => {
                out.push(value);
                rest = &tail[3..];
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests;
