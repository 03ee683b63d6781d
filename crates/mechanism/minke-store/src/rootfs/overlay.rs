//! overlayfs: a stack of layers below, the container's own directory on top.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{PrepareOptions, Rootfs, RootfsDriver, RootfsError, Usage, io_at, points, remove_if_there};
use crate::content::make_private_dir;
use crate::layer::{Change, diff, remove_tree_at, usage};
use crate::stack::Stack;

#[derive(Debug)]
pub struct Overlay {
    init: PathBuf,
    next: AtomicU64,
}

impl Overlay {
    /// Checks with a mount that overlayfs takes this filesystem as its upper layer.
    pub fn open(data_root: &Path) -> Result<Self, RootfsError> {
        let init = data_root.join("init");
        make_private_dir(&init).map_err(io_at("create", &init))?;
        let overlay = Self { init, next: AtomicU64::new(0) };
        overlay.remove_leftovers()?;
        let scratch = overlay.scratch()?;
        let lower = scratch.path.join("lower");
        make_dir(&lower)?;
        let dirs = (scratch.upper(), scratch.work());
        let try_mount = |volatile| mount(std::slice::from_ref(&lower), Some((&dirs.0, &dirs.1)), volatile);
        // Volatile, because the end of any other overlay syncs the whole filesystem; kernels before 5.10 know no such thing.
        try_mount(true)
            .or_else(|_reason| try_mount(false))
            .map_err(|reason| RootfsError::NoOverlay { path: data_root.to_owned(), reason })?;
        Ok(overlay)
    }

    fn remove_leftovers(&self) -> Result<(), RootfsError> {
        for entry in fs::read_dir(&self.init).map_err(io_at("list", &self.init))? {
            let entry = entry.map_err(io_at("list", &self.init))?;
            if entry.file_name().as_encoded_bytes().starts_with(b"tmp-") {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }

    fn scratch(&self) -> Result<Scratch, RootfsError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let scratch = Scratch { path: self.init.join(format!("tmp-{number}")) };
        for dir in [&scratch.path, &scratch.upper(), &scratch.work()] {
            make_dir(dir)?;
        }
        Ok(scratch)
    }
}

/// An upper and a work directory that go when they have served.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }

    fn work(&self) -> PathBuf {
        self.path.join("work")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_tree_at(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "scratch directory could not be removed");
        }
    }
}

/// A detached overlay; what went wrong comes in the kernel's words.
fn mount(lowers: &[PathBuf], upper: Option<(&Path, &Path)>, volatile: bool) -> Result<OwnedFd, String> {
    // The upper must hold whole files under their own names, or it is no layer.
    let off = ["redirect_dir", "metacopy", "index"].as_slice();
    let overlay = minke_sys::overlay::Overlay { lower: lowers, upper, off, volatile };
    overlay.mount().map_err(|e| format!("mount overlay of {} layers: {e}", lowers.len()))
}

fn make_dir(path: &Path) -> Result<(), RootfsError> {
    // 0755: the upper directory's mode is the container's `/`.
    fs::DirBuilder::new().mode(0o755).create(path).map_err(io_at("create", path))?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(io_at("set mode of", path))
}

/// Opens a root from outside, see [`RootfsDriver::open_root`].
pub(crate) fn open(rootfs: &Rootfs) -> Result<OwnedFd, RootfsError> {
    match rootfs {
        Rootfs::Path(path) => diff::open_dir(path).map_err(io_at("open", path)),
        Rootfs::Overlay { lower, upper, work, .. } => {
            // overlayfs refuses a work directory that an earlier volatile mount marked; nobody uses it now.
            remove_if_there(&work.join("work/incompat"))?;
            mount(lower, Some((upper, work)), false)
                .map_err(|reason| RootfsError::Mount { path: upper.clone(), reason })
        }
    }
}

impl RootfsDriver for Overlay {
    fn name(&self) -> &'static str {
        "overlay2"
    }

    fn init_layer(&self, key: &str, lowers: &[PathBuf]) -> Result<Vec<PathBuf>, RootfsError> {
        let layer = self.init.join(key);
        let stack = || std::iter::once(layer.clone()).chain(lowers.iter().cloned()).collect();
        if layer.is_dir() {
            return Ok(stack());
        }
        let scratch = self.scratch()?;
        // An image without layers still needs something below.
        let nothing = scratch.path.join("nothing");
        make_dir(&nothing)?;
        let below = if lowers.is_empty() { std::slice::from_ref(&nothing) } else { lowers };
        let (upper, work) = (scratch.upper(), scratch.work());
        let root = mount(below, Some((&upper, &work)), true)
            .map_err(|reason| RootfsError::Mount { path: upper.clone(), reason })?;
        points::make(&root).map_err(io_at("make the mount points in", &upper))?;
        drop(root);
        match fs::rename(&upper, &layer) {
            // Someone else was faster; both made the same.
            Err(_) if layer.is_dir() => {}
            other => other.map_err(io_at("name", &layer))?,
        }
        Ok(stack())
    }

    fn remove_init_layers(&self, keep: &dyn Fn(&str) -> bool) -> Result<(), RootfsError> {
        for entry in fs::read_dir(&self.init).map_err(io_at("list", &self.init))? {
            let entry = entry.map_err(io_at("list", &self.init))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !name.starts_with("tmp-") && !keep(&name) {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }

    fn prepare(
        &self,
        lowers: &[PathBuf],
        dir: &Path,
        options: PrepareOptions,
    ) -> Result<Rootfs, RootfsError> {
        make_dir(&dir.join("upper"))?;
        make_dir(&dir.join("work"))?;
        Ok(self.rootfs(lowers, dir, options))
    }

    fn rootfs(&self, lowers: &[PathBuf], dir: &Path, options: PrepareOptions) -> Rootfs {
        Rootfs::Overlay {
            lower: lowers.to_vec(),
            upper: dir.join("upper"),
            work: dir.join("work"),
            volatile: options.volatile,
            readonly: options.readonly,
        }
    }

    fn open_work(&self, lowers: &[PathBuf], dir: &Path) -> Result<OwnedFd, RootfsError> {
        let (upper, work) = (dir.join("upper"), dir.join("work"));
        make_dir(&upper)?;
        make_dir(&work)?;
        let nothing = [dir.join("nothing")];
        let lowers = if lowers.is_empty() {
            make_dir(&nothing[0])?;
            &nothing
        } else {
            lowers
        };
        mount(lowers, Some((&upper, &work)), true)
            .map_err(|reason| RootfsError::Mount { path: upper.clone(), reason })
    }

    fn open_view(&self, lowers: &[PathBuf]) -> Result<Option<OwnedFd>, RootfsError> {
        let failed =
            |reason| RootfsError::Mount { path: lowers.first().cloned().unwrap_or_default(), reason };
        Ok(Some(match lowers {
            [] => {
                // An image without layers: its root is empty.
                let scratch = self.scratch()?;
                diff::open_dir(&scratch.path.join("upper")).map_err(io_at("open", &scratch.path))?
            }
            // overlayfs wants two; whiteouts mean nothing where nothing is below.
            [only] => diff::open_dir(only).map_err(io_at("open", only))?,
            several => mount(several, None, false).map_err(failed)?,
        }))
    }

    fn open_root(&self, rootfs: &Rootfs) -> Result<OwnedFd, RootfsError> {
        open(rootfs)
    }

    fn usage(&self, _lowers: &[PathBuf], dir: &Path) -> Result<Usage, RootfsError> {
        let upper = dir.join("upper");
        let found = usage::of_tree(&upper).map_err(io_at("measure", &upper))?;
        Ok(Usage { bytes: found.bytes, inodes: found.inodes })
    }

    fn changes(&self, lowers: &[PathBuf], dir: &Path) -> Result<Vec<Change>, RootfsError> {
        let upper = dir.join("upper");
        diff::read_changes(&upper, &Stack::new(lowers.to_vec())).map_err(io_at("compare", &upper))
    }

    fn diff(&self, _lowers: &[PathBuf], dir: &Path, output: &mut dyn Write) -> Result<(), RootfsError> {
        let upper = dir.join("upper");
        if !upper.exists() {
            return super::write_nothing(output);
        }
        diff::write_layer(&upper, output).map_err(io_at("archive", &upper))
    }

    fn remove(&self, dir: &Path) -> Result<(), RootfsError> {
        remove_if_there(&dir.join("upper"))?;
        remove_if_there(&dir.join("work"))
    }
}
