//! Volumes while their containers run: file systems of their own are mounted by the first user and unmounted by the last.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use minke_sys::beneath;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::index::Volume;
use super::local::{self, FileSystem};
use super::{Volumes, place};
use crate::error::{Error, Result};
use crate::spec::mounts::{MountWish, VolumeWish};

/// What a container mounts of one volume.
#[derive(Debug)]
pub(crate) struct Entered {
    /// The path that the runtime binds.
    pub(crate) source: PathBuf,
    /// Keeps a part of a volume what it is until it is bound: the path leads here.
    pub(crate) held: Option<OwnedFd>,
}

impl Volumes {
    /// `container` is about to run with one of its volumes. May take as long as a file server does.
    pub(crate) fn enter(&self, container: &str, wish: &VolumeWish) -> Result<Entered> {
        let name = &wish.name;
        let volume = self.index.find(name).ok_or_else(|| super::service::no_such_volume(name))?;
        {
            let _one_at_a_time = volume.work();
            if self.index.is_idle(name) {
                self.mount(&volume)?;
            }
            if let Some(entry) = self.index.lock().get_mut(name) {
                entry.users.insert(container.to_owned());
            }
        }
        let entered = self.open_part(name, &wish.subpath);
        if entered.is_err() {
            self.leave_one(container, name);
        }
        entered
    }

    /// Tells that a container runs with its volumes.
    pub(crate) fn announce(&self, container: &str, wishes: &[MountWish]) {
        for wish in wishes {
            let Some(volume) = wish.volume() else { continue };
            let more = [
                ("container", container.to_owned()),
                ("destination", wish.target.clone()),
                ("propagation", String::new()),
                ("read/write", wish.writable.to_string()),
            ];
            self.publish(&volume.name, "mount", &more);
        }
    }

    /// A container has ended, or did not come to run.
    pub(crate) fn leave(&self, container: &str, wishes: &[MountWish]) {
        for volume in wishes.iter().filter_map(MountWish::volume) {
            if self.leave_one(container, &volume.name) {
                self.publish(&volume.name, "unmount", &[("container", container.to_owned())]);
            }
        }
    }

    /// Whether it had it.
    fn leave_one(&self, container: &str, name: &str) -> bool {
        let Some(volume) = self.index.find(name) else { return false };
        let _one_at_a_time = volume.work();
        let (had, last) = match self.index.lock().get_mut(name) {
            Some(entry) => (entry.users.remove(container), entry.users.is_empty()),
            None => (false, true),
        };
        if last && volume.record.has_file_system() {
            local::detach(&self.data(name));
        }
        had
    }

    /// Mounts a volume's own file system, if it has one. The caller holds its work.
    pub(super) fn mount(&self, volume: &Volume) -> Result<()> {
        let name = &volume.record.name;
        let data = self.data(name);
        let failed =
            |text: String| Error::system(format!("error while mounting volume '{}': {text}", data.display()));
        // Somebody may have removed the directory behind the engine's back.
        place::make_directory(&self.directory(name)).map_err(|error| failed(error.to_string()))?;
        let Some(options) = volume.record.options.as_ref().filter(|_| volume.record.has_file_system()) else {
            return Ok(());
        };
        local::detach(&data);
        FileSystem::of(options).mount(&data).map_err(failed)
    }

    /// A volume's data, or a part of it. The part is opened once, beneath the volume; what a container that writes to the
    /// volume makes of its path afterwards changes nothing.
    fn open_part(&self, name: &str, subpath: &str) -> Result<Entered> {
        let data = self.data(name);
        if subpath.is_empty() {
            return Ok(Entered { source: data, held: None });
        }
        let part = open_beneath(&data, subpath)?;
        let source = PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            std::os::fd::AsRawFd::as_raw_fd(&part)
        ));
        Ok(Entered { source, held: Some(part) })
    }

    /// At the engine's start: mounts that nobody uses any more go.
    pub(super) fn unmount_unused(&self) {
        for (volume, _) in self.all() {
            let name = &volume.record.name;
            if volume.record.has_file_system() && self.index.is_idle(name) {
                local::detach(&self.data(name));
            }
        }
    }
}

fn open_beneath(data: &Path, subpath: &str) -> Result<OwnedFd> {
    let failed = |errno: Errno| {
        let (base, full) = (data.display(), data.join(subpath));
        match errno {
            Errno::XDEV => Error::system(format!(
                "path concatenation escapes the base directory, base: {base}, subpath: {subpath}"
            )),
            Errno::NOENT => Error::system(format!(
                "cannot access path {0}: lstat {0}: no such file or directory",
                full.display()
            )),
            other => {
                Error::failed(format!("cannot access path {}", full.display()), std::io::Error::from(other))
            }
        }
    };
    let root = beneath::open_root(data).map_err(failed)?;
    beneath::open_beneath(&root, subpath, OFlags::PATH, Mode::empty()).map_err(failed)
}
