//! The root that files are carried in and out of, put together for the purpose.
//!
//! Of a running container that is its root and its volumes, as it has them, without what else is mounted there: with Docker, too,
//! `/proc`, `/sys`, `/dev` and memory are empty to those who copy, and a copy of `/` ends.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use minke_sys::beneath::{self, Missing};
use minke_sys::mount::{self, AttrChange, Attrs, Depth, Propagation};
use minke_sys::ns;
use minke_sys::overlay::Overlay;
use minke_sys::spawn::flags;
use rustix::fs::{self, CWD, FileType, Mode, OFlags};

use super::{Failure, Place, Staged, Why};
use crate::rootfs::{Rootfs, overlay};

/// The root with everything that is mounted into it.
pub(super) fn whole_root(place: &Place) -> Result<OwnedFd, Failure> {
    match place {
        Place::Live { pid, at, points } => {
            let (bare, trees) = clone_live(*pid, points)?;
            enter_own_namespace()?;
            mount::attach_at(&bare, CWD, at).map_err(io::Error::from)?;
            let root = beneath::open_root(at).map_err(io::Error::from)?;
            for (point, tree) in &trees {
                put_tree(&root, point, tree)
                    .map_err(|error| Failure::new(Why::Other, format!("mount to {point}: {error}")))?;
            }
            Ok(root)
        }
        Place::Rest { rootfs, at, mounts } => {
            // Before: a handle of the daemon's belongs to the namespace that is left.
            let trees = mounts.iter().map(take_tree).collect::<Result<Vec<_>, _>>()?;
            enter_own_namespace()?;
            put_root(rootfs, at)?;
            let root = beneath::open_root(at).map_err(io::Error::from)?;
            for (staged, tree) in mounts.iter().zip(trees) {
                put_mount(&root, staged, &tree)?;
            }
            Ok(root)
        }
    }
}

/// The root without what is mounted into it.
pub(super) fn bare_root(place: &Place) -> Result<OwnedFd, Failure> {
    match place {
        Place::Live { pid, .. } => {
            let (bare, _none) = clone_live(*pid, &[])?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(fs::openat(&bare, c".", flags, Mode::empty()).map_err(io::Error::from)?)
        }
        Place::Rest { rootfs, .. } => open(rootfs),
    }
}

fn open(rootfs: &Rootfs) -> Result<OwnedFd, Failure> {
    overlay::open(rootfs).map_err(|error| Failure::new(Why::Other, super::chain(&error)))
}

fn enter_own_namespace() -> io::Result<()> {
    ns::unshare(flags::NEWNS)?;
    // Nothing of this comes back to the host; what the host unmounts goes here too.
    Ok(mount::set_propagation(c"/", Propagation::Slave, Depth::Recursive)?)
}

fn put_root(rootfs: &Rootfs, at: &Path) -> Result<(), Failure> {
    let mounted = match rootfs {
        Rootfs::Path(path) => mount::clone_tree(CWD, path, Depth::One).map_err(io::Error::from)?,
        Rootfs::Overlay { .. } => open(rootfs)?,
    };
    mount::attach_at(&mounted, CWD, at).map_err(io::Error::from)?;
    Ok(())
}

fn failed(staged: &Staged, error: &io::Error) -> Failure {
    let text = format!("mount {} to {}: {error}", staged.source.display(), staged.target);
    Failure::new(Why::Other, text)
}

/// What is to be mounted, as a mount that is nowhere yet and tells no other of its own.
fn take_tree(staged: &Staged) -> Result<OwnedFd, Failure> {
    let take = || -> io::Result<OwnedFd> {
        if !staged.layers.is_empty() {
            let overlay = Overlay { lower: &staged.layers, upper: None, off: &[], volatile: false };
            return Ok(overlay.mount()?);
        }
        let depth = if staged.recursive { Depth::Recursive } else { Depth::One };
        let tree = mount::clone_tree(CWD, &staged.source, depth)?;
        let mut change = AttrChange { propagation: Some(Propagation::Private), ..AttrChange::default() };
        if !staged.writable {
            change.set = AttrChange::setting(Attrs::MOUNT_ATTR_RDONLY).set;
        }
        mount::set_attributes(&tree, change, depth)?;
        Ok(tree)
    };
    take().map_err(|error| failed(staged, &error))
}

/// Mounts it, making its mount point where it is missing, as a start would.
fn put_mount(root: &OwnedFd, staged: &Staged, tree: &OwnedFd) -> Result<(), Failure> {
    put_tree(root, &staged.target, tree).map_err(|error| failed(staged, &error))
}

fn put_tree(root: &OwnedFd, target: &str, tree: &OwnedFd) -> io::Result<()> {
    let is_dir = FileType::from_raw_mode(fs::fstat(tree)?.st_mode) == FileType::Directory;
    let mode = Mode::from_raw_mode(0o755);
    let missing = if is_dir { Missing::Directory(mode) } else { Missing::File(mode) };
    let target = CString::new(target)?;
    let target = beneath::ensure_in_root(root, &target, missing)?;
    Ok(mount::attach(tree, &target)?)
}

/// A copy of a running container's root mount alone, and of those of `points` that are there. They can only be made from inside its
/// mount namespace; this process goes there and comes back.
fn clone_live(pid: u32, points: &[String]) -> io::Result<(OwnedFd, Vec<(String, OwnedFd)>)> {
    let own = ns::open(Path::new("/proc/self/ns/mnt"))?;
    let theirs = ns::open(Path::new(&format!("/proc/{pid}/ns/mnt")))?;
    ns::join(&theirs, flags::NEWNS)?;
    let cloned = clone_here(points);
    ns::join(&own, flags::NEWNS)?;
    let (bare, trees) = cloned?;
    // The number may have become another process's: the root that was handed over is the one.
    let (handed, found) = (fs::fstat(io::stderr())?, fs::fstat(&bare)?);
    if (handed.st_dev, handed.st_ino) != (found.st_dev, found.st_ino) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the container has ended"));
    }
    Ok((bare, trees))
}

fn clone_here(points: &[String]) -> io::Result<(OwnedFd, Vec<(String, OwnedFd)>)> {
    let clone = |dir: &OwnedFd, depth| -> io::Result<OwnedFd> {
        let tree = mount::clone_tree(dir, c"", depth)?;
        let change = AttrChange { propagation: Some(Propagation::Private), ..AttrChange::default() };
        mount::set_attributes(&tree, change, depth)?;
        Ok(tree)
    };
    let root = beneath::open_root(Path::new("/"))?;
    let mut trees = Vec::new();
    for point in points {
        // What the container has made of the path is its own affair: nothing outside its root is reached.
        let Ok(found) = beneath::open_in_root(&root, point.as_str(), OFlags::PATH, Mode::empty()) else {
            continue;
        };
        trees.push((point.clone(), clone(&found, Depth::Recursive)?));
    }
    Ok((clone(&root, Depth::One)?, trees))
}
