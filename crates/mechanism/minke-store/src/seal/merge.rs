//! Several layers as one: what the upper one hides goes, what it holds wins. Files are linked, not copied: layers do not change.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::layer::diff::{is_opaque_mark, open_dir};
use crate::layer::walk::{Descend, Node, walk};
use crate::layer::{is_whiteout, remove_tree};

/// What directories get when everything is in them.
type Directories = BTreeMap<Vec<u8>, (fs::Stat, Vec<(Vec<u8>, Vec<u8>)>)>;

/// Merges `trees`, the lowest first, into the empty directory `target`.
pub(super) fn merge(trees: &[std::path::PathBuf], target: &Path) -> io::Result<()> {
    let root = open_dir(target)?;
    let mut directories = Directories::new();
    for tree in trees {
        walk(&open_dir(tree)?, &mut |node| {
            place(&root, node, &mut directories)?;
            Ok(Descend::Yes)
        })?;
    }
    for (path, (stat, attributes)) in directories.into_iter().rev() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match fs::openat(&root, OsStr::from_bytes(&path), flags, Mode::empty()) {
            // A later layer put something else there.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            other => other?,
        };
        dress(&directory, &stat, &attributes)?;
    }
    Ok(())
}

fn place(root: &OwnedFd, node: &Node<'_>, directories: &mut Directories) -> io::Result<()> {
    let path = OsStr::from_bytes(node.path);
    let there = match fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Some(FileType::from_raw_mode(found.st_mode)),
        Err(Errno::NOENT) => None,
        Err(e) => return Err(e.into()),
    };
    let is_dir = node.kind() == FileType::Directory;
    let attributes = if is_dir { node.attributes()? } else { Vec::new() };
    let opaque = attributes.iter().any(|(name, value)| is_opaque_mark(name, value));
    match there {
        Some(FileType::Directory) if is_dir && !opaque => {}
        Some(kind) => {
            clear(root, node.path, kind)?;
            directories.retain(|known, _| {
                !(known.starts_with(node.path) && matches!(known.get(node.path.len()), None | Some(b'/')))
            });
            if is_dir {
                fs::mkdirat(root, path, Mode::RWXU)?;
            }
        }
        None if is_dir => fs::mkdirat(root, path, Mode::RWXU)?,
        None => {}
    }
    if is_dir {
        let mut kept = attributes;
        // What hid something once hides it still.
        if let Some((_, old)) = directories.get(node.path)
            && !opaque
        {
            kept.extend(old.iter().filter(|(name, value)| is_opaque_mark(name, value)).cloned());
        }
        // A directory in the place of something else hides what the base has there.
        if there.is_some_and(|kind| kind != FileType::Directory) && !opaque {
            kept.push((b"trusted.overlay.opaque".to_vec(), b"y".to_vec()));
        }
        directories.insert(node.path.to_vec(), (node.stat, kept));
        return Ok(());
    }
    if is_whiteout(&node.stat) {
        return Ok(fs::mknodat(root, path, FileType::CharacterDevice, Mode::empty(), 0)?);
    }
    Ok(fs::linkat(node.dir, node.name, root, path, AtFlags::empty())?)
}

fn clear(root: &OwnedFd, path: &[u8], kind: FileType) -> io::Result<()> {
    if kind != FileType::Directory {
        return Ok(fs::unlinkat(root, OsStr::from_bytes(path), AtFlags::empty())?);
    }
    let (parent, name) =
        path.iter().rposition(|b| *b == b'/').map_or((&b"."[..], path), |at| (&path[..at], &path[at + 1..]));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = fs::openat(root, OsStr::from_bytes(parent), flags, Mode::empty())?;
    remove_tree(parent.as_fd(), OsStr::from_bytes(name))
}

fn dress(directory: &OwnedFd, stat: &fs::Stat, attributes: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    fs::fchown(directory, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fs::fchmod(directory, Mode::from_raw_mode(stat.st_mode))?;
    for (name, value) in attributes {
        let name = [&name[..], b"\0"].concat();
        let name = CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
        if name.to_bytes().starts_with(b"trusted.overlay.") && name.to_bytes() != b"trusted.overlay.opaque" {
            continue;
        }
        match fs::fsetxattr(directory, name, value, XattrFlags::empty()) {
            Err(Errno::NOTSUP | Errno::PERM) => {}
            other => other?,
        }
    }
    let at = |tv_sec, nanoseconds: u64| Timespec { tv_sec, tv_nsec: nanoseconds as _ };
    #[expect(clippy::unnecessary_cast, reason = "field types differ between architectures")]
    let times = Timestamps {
        last_access: at(stat.st_atime, stat.st_atime_nsec as u64),
        last_modification: at(stat.st_mtime, stat.st_mtime_nsec as u64),
    };
    Ok(fs::futimens(directory, &times)?)
}
