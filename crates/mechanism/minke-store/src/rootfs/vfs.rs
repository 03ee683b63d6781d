//! Plain copies: for hosts whose filesystem overlayfs does not take, and for engines inside containers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use super::{PrepareOptions, Rootfs, RootfsDriver, RootfsError, Usage, copy, io_at, points, remove_if_there};
use crate::layer::diff::{self, Sink, add_change, as_changes, as_path};
use crate::layer::walk::{Descend, moment, walk};
use crate::layer::{Change, ChangeKind, usage};
use crate::stack::{MergedDir, Stack};

#[derive(Debug)]
pub struct Vfs;

impl Vfs {
    fn tree(dir: &Path) -> PathBuf {
        dir.join("rootfs")
    }
}

impl RootfsDriver for Vfs {
    fn name(&self) -> &'static str {
        "vfs"
    }

    /// Copies have no layers to share: the mount points are made in each.
    fn init_layer(&self, _key: &str, lowers: &[PathBuf]) -> Result<Vec<PathBuf>, RootfsError> {
        Ok(lowers.to_vec())
    }

    fn remove_init_layers(&self, _keep: &dyn Fn(&str) -> bool) -> Result<(), RootfsError> {
        Ok(())
    }

    fn prepare(
        &self,
        lowers: &[PathBuf],
        dir: &Path,
        options: PrepareOptions,
    ) -> Result<Rootfs, RootfsError> {
        let tree = Self::tree(dir);
        fs::create_dir(&tree).map_err(io_at("create", &tree))?;
        fs::set_permissions(&tree, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(io_at("set mode of", &tree))?;
        if !lowers.is_empty() {
            copy::copy_stack(&Stack::new(lowers.to_vec()), &tree)
                .map_err(io_at("copy the image to", &tree))?;
        }
        let root = diff::open_dir(&tree).map_err(io_at("open", &tree))?;
        points::make(&root).map_err(io_at("make the mount points in", &tree))?;
        Ok(self.rootfs(lowers, dir, options))
    }

    fn rootfs(&self, _lowers: &[PathBuf], dir: &Path, _options: PrepareOptions) -> Rootfs {
        Rootfs::Path(Self::tree(dir))
    }

    fn open_view(&self, lowers: &[PathBuf]) -> Result<Option<OwnedFd>, RootfsError> {
        let _all = lowers;
        Ok(None)
    }

    fn open_root(&self, rootfs: &Rootfs) -> Result<OwnedFd, RootfsError> {
        let (Rootfs::Path(path) | Rootfs::Overlay { upper: path, .. }) = rootfs;
        diff::open_dir(path).map_err(io_at("open", path))
    }

    /// A copy is the container's own from the first byte; what counts is what differs from the image.
    fn usage(&self, lowers: &[PathBuf], dir: &Path) -> Result<Usage, RootfsError> {
        let tree = Self::tree(dir);
        let whole = usage::of_tree(&tree).map_err(io_at("measure", &tree))?;
        let mut usage = Usage::default();
        let changes = self.changes(lowers, dir)?;
        for change in changes.iter().filter(|change| change.kind != ChangeKind::Deleted) {
            let path = tree.join(change.path.strip_prefix("/").unwrap_or(&change.path));
            if let Ok(found) =
                fs::symlink_metadata(&path).map(|found| if found.is_dir() { 0 } else { found.len() })
            {
                usage.bytes += found;
                usage.inodes += 1;
            }
        }
        usage.bytes = usage.bytes.min(whole.bytes);
        Ok(usage)
    }

    fn changes(&self, lowers: &[PathBuf], dir: &Path) -> Result<Vec<Change>, RootfsError> {
        let tree = Self::tree(dir);
        compare(&tree, lowers).map(as_changes).map_err(io_at("compare", &tree))
    }

    fn diff(&self, lowers: &[PathBuf], dir: &Path, output: &mut dyn Write) -> Result<(), RootfsError> {
        let tree = Self::tree(dir);
        if !tree.exists() {
            return super::write_nothing(output);
        }
        write_diff(&tree, lowers, output).map_err(io_at("archive", &tree))
    }

    fn remove(&self, dir: &Path) -> Result<(), RootfsError> {
        remove_if_there(&Self::tree(dir))
    }
}

/// What differs between the copy and the image it was made from.
fn compare(tree: &Path, lowers: &[PathBuf]) -> io::Result<BTreeMap<Vec<u8>, ChangeKind>> {
    let stack = Stack::new(lowers.to_vec());
    let mut found = BTreeMap::new();
    let root = diff::open_dir(tree)?;
    walk(&root, &mut |node| {
        let Some(old) = stack.lstat(&as_path(node.path))? else {
            if !points::is_one(node.path) {
                add_change(&mut found, node.path, ChangeKind::Added);
            }
            return Ok(Descend::Yes);
        };
        if differs(&old, &node.stat) && !points::is_one(node.path) {
            add_change(&mut found, node.path, ChangeKind::Modified);
        }
        Ok(Descend::Yes)
    })?;
    if !lowers.is_empty() {
        find_deleted(&stack.root()?, &mut Vec::new(), &root, &mut found)?;
    }
    Ok(found)
}

/// A directory's size and time say nothing about it: they change with what is inside.
fn differs(old: &Stat, new: &Stat) -> bool {
    let kind = FileType::from_raw_mode(new.st_mode);
    old.st_mode != new.st_mode
        || (old.st_uid, old.st_gid, old.st_rdev) != (new.st_uid, new.st_gid, new.st_rdev)
        || (kind != FileType::Directory && (old.st_size != new.st_size || moment(old) != moment(new)))
}

fn find_deleted(
    dir: &MergedDir,
    path: &mut Vec<u8>,
    tree: &OwnedFd,
    found: &mut BTreeMap<Vec<u8>, ChangeKind>,
) -> io::Result<()> {
    for (name, entry) in dir.entries()? {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        match diff::lstat_at(tree, &as_path(path))? {
            None if points::is_one(path) => {}
            None => add_change(found, path, ChangeKind::Deleted),
            Some(now) => {
                let both = [entry.stat.st_mode, now.st_mode].map(FileType::from_raw_mode);
                if both == [FileType::Directory; 2] {
                    find_deleted(&dir.enter(&entry)?, path, tree, found)?;
                }
            }
        }
        path.truncate(length);
    }
    Ok(())
}

fn write_diff(tree: &Path, lowers: &[PathBuf], output: &mut dyn Write) -> io::Result<()> {
    let changes = compare(tree, lowers)?;
    let mut sink = Sink::new(output);
    walk(&diff::open_dir(tree)?, &mut |node| {
        if changes.contains_key(node.path) {
            sink.node(node, false)?;
        }
        Ok(Descend::Yes)
    })?;
    for (path, _) in changes.iter().filter(|(_, kind)| **kind == ChangeKind::Deleted) {
        sink.gone(path, crate::tar::Moment::default())?;
    }
    sink.finish()
}
