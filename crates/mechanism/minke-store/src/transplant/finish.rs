//! What is put right in a written tree before it becomes a layer.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use minke_sys::beneath;
use rustix::fs::{self, AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::layer::diff::open_dir;
use crate::layer::walk::{Descend, walk};

/// Gives everything in a tree that is younger than `latest` (seconds since 1970) that time.
pub fn clamp_times(tree: &Path, latest: i64) -> io::Result<()> {
    let at = Timespec { tv_sec: latest, tv_nsec: 0 };
    let times = Timestamps { last_access: at, last_modification: at };
    walk(&open_dir(tree)?, &mut |node| {
        let (seconds, nanoseconds) = (node.stat.st_mtime, node.stat.st_mtime_nsec);
        if seconds > latest || (seconds == latest && nanoseconds > 0) {
            fs::utimensat(node.dir, node.name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(Descend::Yes)
    })
}

/// Removes what was only made for something to be mounted on: `paths` (without a slash in front), and directories above them as far as
/// `made` says that they were not there before. What is not empty by now stays.
pub fn remove_stubs(tree: &Path, paths: &[Vec<u8>], made: &dyn Fn(&[u8]) -> bool) -> io::Result<()> {
    let root = open_dir(tree)?;
    for path in paths {
        let mut path = &path[..];
        while !path.is_empty() && made(path) {
            let (parent, name) = path
                .iter()
                .rposition(|b| *b == b'/')
                .map_or((&b"."[..], path), |at| (&path[..at], &path[at + 1..]));
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let parent_dir =
                match beneath::open_beneath(&root, OsStr::from_bytes(parent), flags, Mode::empty()) {
                    Err(Errno::NOENT | Errno::NOTDIR) => break,
                    other => other?,
                };
            let name = OsStr::from_bytes(name);
            let stat = match fs::statat(&parent_dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => break,
                other => other?,
            };
            let removed = match fs::FileType::from_raw_mode(stat.st_mode) {
                fs::FileType::Directory => fs::unlinkat(&parent_dir, name, AtFlags::REMOVEDIR),
                fs::FileType::RegularFile if stat.st_size == 0 => {
                    fs::unlinkat(&parent_dir, name, AtFlags::empty())
                }
                _ => break,
            };
            match removed {
                Err(Errno::NOTEMPTY | Errno::EXIST) => break,
                other => other?,
            }
            path = if parent == b"." { b"" } else { parent };
        }
    }
    Ok(())
}
