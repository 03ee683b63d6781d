//! What a tree takes: bytes of files, hard links once, directories not counted, as Docker counts.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TreeUsage {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

/// Measures a tree that may change meanwhile: what vanishes is not counted.
pub(crate) fn of_tree(root: &Path) -> io::Result<TreeUsage> {
    let mut usage = TreeUsage::default();
    let mut seen = HashSet::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let listing = match fs::read_dir(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && dir != root => continue,
            other => other?,
        };
        for entry in listing {
            let entry = entry?;
            let found = match entry.metadata() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            if found.is_dir() {
                usage.inodes += 1;
                dirs.push(entry.path());
            } else if found.nlink() == 1 || seen.insert((found.dev(), found.ino())) {
                usage.inodes += 1;
                usage.bytes += found.len();
            }
        }
    }
    Ok(usage)
}
