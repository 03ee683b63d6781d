//! Control files: reading, writing, and the three chores of a new directory (controllers, cpuset, removal).

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode as FileMode, OFlags, open, openat};
use rustix::io::Errno;

use crate::error::CgroupError;
use crate::group::Dir;

/// How long a directory may stay busy after its last process was reaped.
const REMOVE_PATIENCE: Duration = Duration::from_secs(3);

pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, FileMode::empty())
}

pub(crate) fn open_write(dir: &Dir, file: &str) -> Result<OwnedFd, CgroupError> {
    openat(&dir.fd, file, OFlags::WRONLY | OFlags::CLOEXEC, FileMode::empty())
        .map_err(|source| CgroupError::Open { path: dir.path.join(file), source: source.into() })
}

/// One write(2): control files take a value whole or not at all.
pub(crate) fn write_file(dir: &Dir, file: &str, value: &str) -> Result<(), Errno> {
    let fd = openat(&dir.fd, file, OFlags::WRONLY | OFlags::CLOEXEC, FileMode::empty())?;
    write_whole(&fd, value)
}

pub(crate) fn write_whole(fd: &OwnedFd, value: &str) -> Result<(), Errno> {
    loop {
        match rustix::io::write(fd, value.as_bytes()) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

pub(crate) fn read_file(dir: &Dir, file: &str) -> io::Result<String> {
    let fd = openat(&dir.fd, file, OFlags::RDONLY | OFlags::CLOEXEC, FileMode::empty())?;
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn read_flag(dir: &Dir, file: &str) -> bool {
    read_file(dir, file).is_ok_and(|text| text.trim() == "1")
}

/// Enables every controller for children in each directory from the mount point down to `leaf`, `leaf` included.
///
/// A controller that cannot be handed down (processes in the directory, real-time tasks) is left out: the limit that
/// needs it will say so.
pub(crate) fn hand_down_controllers(mount_point: &Path, leaf: &Path) {
    let mut at = mount_point.to_owned();
    let rest = leaf.strip_prefix(mount_point).unwrap_or(Path::new(""));
    for part in std::iter::once(None).chain(rest.components().map(Some)) {
        at.extend(part);
        let read = |file: &str| std::fs::read_to_string(at.join(file)).unwrap_or_default();
        let (available, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
        let missing: Vec<String> = available
            .split_whitespace()
            .filter(|c| enabled.split_whitespace().all(|e| e != *c))
            .map(|c| format!("+{c}"))
            .collect();
        // Below the true root, whose type nobody can read, a directory with processes of its own has nothing to hand down.
        // The kernel would let the controllers of threads go, and then refuse processes in every child.
        let is_taken = || !read("cgroup.procs").is_empty() && !read("cgroup.type").is_empty();
        if missing.is_empty() || is_taken() {
            continue;
        }
        let file = at.join("cgroup.subtree_control");
        if std::fs::write(&file, missing.join(" ")).is_err() {
            for controller in missing {
                // One that is refused must not hold back the others; see above.
                drop(std::fs::write(&file, controller));
            }
        }
    }
}

const CPUSET_FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// v1: a cpuset without cpus or mems admits no process, so every empty one from the top down to `leaf` copies its parent's.
pub(crate) fn fill_cpuset(mount_point: &Path, leaf: &Path) -> Result<(), CgroupError> {
    let rest = leaf.strip_prefix(mount_point).unwrap_or(Path::new(""));
    let mut at = mount_point.to_owned();
    for part in rest.components() {
        let above = at.clone();
        at.push(part);
        for file in CPUSET_FILES {
            let read = |dir: &Path| {
                let path = dir.join(file);
                std::fs::read_to_string(&path).map_err(|e| CgroupError::read(&path, e))
            };
            if read(&at)?.trim().is_empty() {
                let value = read(&above)?;
                let path = at.join(file);
                std::fs::write(&path, value.trim()).map_err(|e| CgroupError::write(path, value.trim(), e))?;
            }
        }
    }
    Ok(())
}

/// The same for one new directory whose parent is known to be filled.
pub(crate) fn copy_cpuset(parent: &Dir, child: &Dir) -> Result<(), CgroupError> {
    for file in CPUSET_FILES {
        if crate::group::read(child, file)?.trim().is_empty() {
            let value = crate::group::read(parent, file)?;
            let value = value.trim();
            write_file(child, file, value)
                .map_err(|e| CgroupError::write(child.path.join(file), value, e))?;
        }
    }
    Ok(())
}

/// Removes a directory and the cgroups below it, deepest first.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + REMOVE_PATIENCE;
    let mut pause = Duration::from_micros(200);
    loop {
        match rustix::fs::rmdir(path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY | Errno::AGAIN) => {}
            Err(e) => return Err(e.into()),
        }
        let children = child_dirs(path);
        if children.is_empty() {
            if Instant::now() >= deadline {
                return Err(Errno::BUSY.into());
            }
            // A process that was just reaped still leaves its cgroup for an instant.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        for child in children {
            remove_tree(&child)?;
        }
    }
}

pub(crate) fn child_dirs(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}
