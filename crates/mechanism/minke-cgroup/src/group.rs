//! One container's cgroup: the same directory in every hierarchy, made, entered, limited and removed as one thing.
//!
//! Life: [`Parent::create`] makes the directories, [`Cgroup::apply_limits`] fills in the files, the container's first
//! process goes in through [`Entry`], [`Cgroup::update`] changes limits, [`Cgroup::remove`] ends it.
//! A `Cgroup` holds a directory descriptor per hierarchy, so each later step is one `openat`.
//!
//! How to get in matters: writing `cgroup.procs` on v1 waits for an RCU grace period (5-20 ms) while it holds the kernel's
//! cgroup lock. A single-threaded child that writes "0" into `tasks` does not wait; on v2, clone3 makes it in place.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode as FileMode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use crate::error::CgroupError;
use crate::host::{Hierarchy, Host, Layout, Version, read_memberships};
use crate::{control, limits};

/// One hierarchy's directory of a cgroup.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) hierarchy: Arc<Hierarchy>,
    pub(crate) path: PathBuf,
    pub(crate) fd: OwnedFd,
}

impl Dir {
    fn open(hierarchy: &Arc<Hierarchy>, path: PathBuf) -> Result<Option<Self>, CgroupError> {
        match control::open_dir(&path) {
            Ok(fd) => Ok(Some(Self { hierarchy: Arc::clone(hierarchy), path, fd })),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(CgroupError::Open { path, source: source.into() }),
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.hierarchy.version()
    }
}

/// A directory that containers' cgroups are made in, held open so that making one is a `mkdirat` per hierarchy.
#[derive(Debug)]
pub struct Parent {
    dirs: Vec<ParentDir>,
}

#[derive(Debug)]
struct ParentDir {
    dir: Dir,
    /// cpuset only: children copy cpus and mems by themselves, because we made this directory and told it so.
    clones_cpuset: bool,
}

impl Parent {
    /// Opens `path` in every hierarchy, making what is missing and, on v2, handing controllers down.
    pub fn open(host: &Host, path: &Path) -> Result<Self, CgroupError> {
        let mut dirs = Vec::with_capacity(host.hierarchies().len());
        for hierarchy in host.hierarchies() {
            match open_parent(hierarchy, path) {
                Ok(dir) => dirs.push(dir),
                Err(e) if may_go_without(hierarchy, host, &e) => {}
                Err(e) => return Err(e),
            }
        }
        if dirs.is_empty() {
            return Err(CgroupError::NoHierarchy);
        }
        Ok(Self { dirs })
    }

    /// Makes the cgroup `name`. One that exists already is taken over when it is empty, as runc does.
    pub fn create(&self, name: &str) -> Result<Cgroup, CgroupError> {
        let group = self.adopt(name)?;
        if !group.fresh {
            let count = group.pids()?.len();
            if count > 0 {
                return Err(CgroupError::NotEmpty { path: group.primary().path.clone(), count });
            }
        }
        Ok(group)
    }

    /// The cgroup `name`, made where it is missing, whoever is in it.
    fn adopt(&self, name: &str) -> Result<Cgroup, CgroupError> {
        let mut group = Cgroup { dirs: Vec::with_capacity(self.dirs.len()), fresh: true };
        for parent in &self.dirs {
            if let Err(e) = group.create_in(parent, name) {
                // The first error is the one worth telling.
                drop(group.remove());
                return Err(e);
            }
        }
        Ok(group)
    }
}

/// The v2 tree of a hybrid host is a convenience (atomic kill): without it v1 does the work.
fn may_go_without(hierarchy: &Hierarchy, host: &Host, error: &CgroupError) -> bool {
    let refused = [libc::EROFS, libc::EACCES, libc::EPERM];
    hierarchy.version() == Version::V2
        && host.hierarchies().len() > 1
        && error.errno().is_some_and(|e| refused.contains(&e))
}

fn open_parent(hierarchy: &Arc<Hierarchy>, path: &Path) -> Result<ParentDir, CgroupError> {
    let at = hierarchy.place(path);
    let cpuset = hierarchy.version() == Version::V1 && hierarchy.has("cpuset");
    if let Some(dir) = Dir::open(hierarchy, at.clone())? {
        if hierarchy.version() == Version::V2 {
            control::hand_down_controllers(hierarchy.mount_point(), &at);
        }
        // Where children are told to copy, somebody has filled it: us, or systemd.
        let clones_cpuset = cpuset && control::read_flag(&dir, "cgroup.clone_children");
        if cpuset && !clones_cpuset {
            control::fill_cpuset(hierarchy.mount_point(), &at)?;
        }
        return Ok(ParentDir { dir, clones_cpuset });
    }
    std::fs::create_dir_all(&at).map_err(|source| CgroupError::Create { path: at.clone(), source })?;
    if hierarchy.version() == Version::V2 {
        control::hand_down_controllers(hierarchy.mount_point(), &at);
    }
    if cpuset {
        control::fill_cpuset(hierarchy.mount_point(), &at)?;
    }
    let opened = Dir::open(hierarchy, at.clone())?;
    let gone = || CgroupError::Open { path: at, source: Errno::NOENT.into() };
    let dir = opened.ok_or_else(gone)?;
    // Best effort: where it fails, children are filled by hand.
    let clones_cpuset = cpuset && control::write_file(&dir, "cgroup.clone_children", "1").is_ok();
    Ok(ParentDir { dir, clones_cpuset })
}

/// How often a parent that is taken away at the wrong moment is made again.
const PARENT_TRIES: usize = 8;

/// What a process needs to start inside the cgroup.
#[derive(Debug)]
pub struct Entry {
    /// v1: the new, still single-threaded process writes "0" to each.
    pub tasks: Vec<OwnedFd>,
    /// v2: the directory for clone3's `CLONE_INTO_CGROUP`.
    pub into: Option<OwnedFd>,
}

/// A container's cgroup in all hierarchies.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) dirs: Vec<Dir>,
    fresh: bool,
}

impl Cgroup {
    /// Makes `path`, its parents included. For many containers under one parent, keep a [`Parent`].
    pub fn create(host: &Host, path: &Path) -> Result<Self, CgroupError> {
        Self::with_parent(host, path, Parent::create)
    }

    /// Opens `path` in every hierarchy, made where it is missing, for whoever has processes in it already.
    pub(crate) fn adopt(host: &Host, path: &Path) -> Result<Self, CgroupError> {
        Self::with_parent(host, path, Parent::adopt)
    }

    /// The parent may go between its opening and the making of what is in it: whoever tidies up takes empty ones away.
    fn with_parent(
        host: &Host,
        path: &Path,
        make: impl Fn(&Parent, &str) -> Result<Self, CgroupError>,
    ) -> Result<Self, CgroupError> {
        let mut tries = 0;
        loop {
            let made = Self::split(host, path).and_then(|(parent, name)| make(&parent, name));
            match made {
                Err(error) if error.errno() == Some(libc::ENOENT) && tries < PARENT_TRIES => tries += 1,
                made => return made,
            }
        }
    }

    fn split<'a>(host: &Host, path: &'a Path) -> Result<(Parent, &'a str), CgroupError> {
        let invalid = || CgroupError::Invalid {
            limit: "cgroup path",
            value: path.display().to_string(),
            reason: "it has no last part",
        };
        let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(invalid)?;
        Ok((Parent::open(host, path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// Opens an existing cgroup; hierarchies that do not have it are left out.
    pub fn open(host: &Host, path: &Path) -> Result<Self, CgroupError> {
        Self::open_dirs(host.hierarchies().iter().map(|h| (h, h.place(path))))
    }

    /// Opens the cgroup a running process is in (for exec, when the container has moved its own processes deeper).
    pub fn of_process(host: &Host, pid: i32) -> Result<Self, CgroupError> {
        let memberships = read_memberships(pid)?;
        Self::open_dirs(host.hierarchies().iter().filter_map(|h| {
            let wanted: &[String] = if h.version() == Version::V2 { &[] } else { h.controllers() };
            let found = memberships.iter().find(|m| m.controllers == wanted)?;
            Some((h, h.locate_membership(&found.path)))
        }))
    }

    /// Opens a cgroup by the directories that [`Cgroup::paths`] gave, after a restart of whoever keeps it.
    pub fn reopen(host: &Host, paths: &[PathBuf]) -> Result<Self, CgroupError> {
        Self::open_dirs(host.hierarchies().iter().filter_map(|h| {
            let path = paths.iter().find(|p| p.starts_with(h.mount_point()))?;
            Some((h, path.clone()))
        }))
    }

    fn open_dirs<'a>(
        wanted: impl Iterator<Item = (&'a Arc<Hierarchy>, PathBuf)>,
    ) -> Result<Self, CgroupError> {
        let mut dirs = Vec::new();
        for (hierarchy, path) in wanted {
            dirs.extend(Dir::open(hierarchy, path)?);
        }
        Ok(Self { dirs, fresh: false })
    }

    fn create_in(&mut self, parent: &ParentDir, name: &str) -> Result<(), CgroupError> {
        let path = parent.dir.path.join(name);
        match mkdirat(&parent.dir.fd, name, FileMode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => self.fresh = false,
            Err(source) => return Err(CgroupError::Create { path, source: source.into() }),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(&parent.dir.fd, name, flags, FileMode::empty())
            .map_err(|source| CgroupError::Open { path: path.clone(), source: source.into() })?;
        let dir = Dir { hierarchy: Arc::clone(&parent.dir.hierarchy), path, fd };
        if dir.version() == Version::V1 && dir.hierarchy.has("cpuset") && !parent.clones_cpuset {
            control::copy_cpuset(&parent.dir, &dir)?;
        }
        self.dirs.push(dir);
        Ok(())
    }

    /// True when no hierarchy has this cgroup (any more).
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.dirs.is_empty()
    }

    /// Whether `create` made it, rather than found it.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The directory in each hierarchy, to be kept for [`Cgroup::reopen`].
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|d| d.path.clone()).collect()
    }

    /// Controllers and directory, for the state files of tools that expect runc's `cgroup_paths`.
    pub fn locations(&self) -> impl Iterator<Item = (String, &Path)> {
        self.dirs.iter().flat_map(|dir| {
            let names = match dir.version() {
                Version::V1 => dir
                    .hierarchy
                    .controllers()
                    .iter()
                    .map(|c| c.trim_start_matches("name=").to_owned())
                    .collect(),
                Version::V2 => vec![String::new()],
            };
            names.into_iter().map(|name| (name, dir.path.as_path()))
        })
    }

    /// Opens what the first process (or one added by exec) needs to get in.
    pub fn entry(&self) -> Result<Entry, CgroupError> {
        let mut entry = Entry { tasks: Vec::with_capacity(self.dirs.len()), into: None };
        for dir in &self.dirs {
            match dir.version() {
                Version::V1 => entry.tasks.push(control::open_write(dir, "tasks")?),
                Version::V2 => {
                    let copy = dir.fd.try_clone();
                    let fail = |source| CgroupError::Open { path: dir.path.clone(), source };
                    entry.into = Some(copy.map_err(fail)?);
                }
            }
        }
        Ok(entry)
    }

    /// The same for a process that joins the container of `first`, by exec. On v2 a cgroup whose children have controllers
    /// admits no process of its own; the container has moved its processes below then, and the first one's place will do.
    pub fn entry_beside(&self, first: i32) -> Result<Entry, CgroupError> {
        let mut entry = self.entry()?;
        let unified = self.dirs.iter().find(|d| d.version() == Version::V2);
        if let Some(dir) = unified.filter(|dir| gives_controllers_away(dir)) {
            let memberships = read_memberships(first)?;
            if let Some(found) = memberships.iter().find(|m| m.controllers.is_empty()) {
                let place = Dir::open(&dir.hierarchy, dir.hierarchy.locate_membership(&found.path))?;
                entry.into = place.map(|place| place.fd).or(entry.into);
            }
        }
        Ok(entry)
    }

    /// v2 fallback for kernels or sandboxes without `CLONE_INTO_CGROUP`: the child writes "0" here.
    pub fn procs(&self) -> Result<Option<OwnedFd>, CgroupError> {
        let unified = self.dirs.iter().find(|d| d.version() == Version::V2);
        unified.map(|dir| control::open_write(dir, "cgroup.procs")).transpose()
    }

    /// The directory descriptor in the unified hierarchy.
    #[must_use]
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.dirs.iter().find(|d| d.version() == Version::V2).map(|d| d.fd.as_fd())
    }

    /// Sets the limits of a new cgroup, device list included. Answers with warnings, each a sentence.
    pub fn apply_limits(&self, resources: &LinuxResources) -> Result<Vec<String>, CgroupError> {
        limits::apply(self, resources, limits::When::Create)
    }

    /// Changes the limits of a cgroup in use; what `resources` does not name stays.
    pub fn update(&self, resources: &LinuxResources) -> Result<Vec<String>, CgroupError> {
        limits::apply(self, resources, limits::When::Update)
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::from_hierarchies(self.dirs.iter().map(|d| d.hierarchy.as_ref()))
    }

    pub(crate) fn dir_of(&self, controller: &str) -> Option<&Dir> {
        let named = self.dirs.iter().find(|d| d.hierarchy.has(controller));
        // Files of the cgroup core (cgroup.max.descendants …) belong to no controller.
        named.or_else(|| self.dirs.iter().find(|d| controller == "cgroup" && d.version() == Version::V2))
    }

    /// The directory that speaks for the whole in messages and in counting processes.
    pub(crate) fn primary(&self) -> &Dir {
        let by_name = ["pids", "memory"].into_iter().find_map(|c| self.dir_of(c));
        by_name.or(self.dirs.first()).expect("a cgroup is created with at least one directory")
    }

    /// Removes the cgroup with everything below it. What is gone already is fine; what stays busy is retried for a while.
    pub fn remove(&self) -> Result<(), CgroupError> {
        remove_paths(self.dirs.iter().map(|d| &d.path))
    }
}

fn gives_controllers_away(dir: &Dir) -> bool {
    control::read_file(dir, "cgroup.subtree_control").is_ok_and(|text| !text.trim().is_empty())
}

/// Removes a cgroup by the directories that [`Cgroup::paths`] gave, without looking at the host first.
pub fn remove_paths<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), CgroupError> {
    let mut first = None;
    for path in paths {
        if let Err(source) = control::remove_tree(path) {
            first.get_or_insert(CgroupError::Remove { path: path.clone(), source });
        }
    }
    first.map_or(Ok(()), Err)
}

/// Reads a control file of a directory.
pub(crate) fn read(dir: &Dir, file: &str) -> Result<String, CgroupError> {
    control::read_file(dir, file).map_err(|source: io::Error| CgroupError::read(&dir.path.join(file), source))
}

#[cfg(test)]
mod tests;
