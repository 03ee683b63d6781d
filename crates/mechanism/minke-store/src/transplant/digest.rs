//! The digest of what a copy would bring.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use minke_base::Digest;
use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};

use super::{Item, Sums, visit};
use crate::copying::CopyError;
use crate::layer::diff::{Sink, write_layer_into};
use crate::tar::{Entry, Moment};

/// Digests items: what is in `sums` is not read again. With `owners`, whose files they are counts.
pub fn digest(
    source: &OwnedFd,
    items: &[Item<'_>],
    skip: &dyn Fn(&[u8], bool) -> bool,
    sums: &Sums,
    owners: bool,
) -> Result<Digest, CopyError> {
    let mut whole = Sha256::new();
    for item in items {
        match item {
            Item::Bytes { name, bytes } => {
                part(&mut whole, b"bytes");
                part(&mut whole, name);
                part(&mut whole, &Sha256::digest(bytes));
            }
            Item::Tree { path, name } => visit(source, path, name, skip, &mut |own, node| {
                part(&mut whole, node.path);
                whole.update(node.stat.st_mode.to_le_bytes());
                if owners {
                    whole.update(node.stat.st_uid.to_le_bytes());
                    whole.update(node.stat.st_gid.to_le_bytes());
                }
                match node.kind() {
                    FileType::RegularFile => {
                        let sum = match sums.get(own) {
                            Some(sum) => *sum,
                            None => file_digest(&File::from(node.open()?))?,
                        };
                        part(&mut whole, sum.as_bytes());
                    }
                    FileType::Symlink => part(&mut whole, &node.link()?),
                    FileType::CharacterDevice | FileType::BlockDevice => {
                        whole.update(node.stat.st_rdev.to_le_bytes());
                    }
                    _ => {}
                }
                for (name, value) in node.attributes()? {
                    if name.starts_with(b"trusted.overlay.") || name == b"security.selinux" {
                        continue;
                    }
                    part(&mut whole, &name);
                    part(&mut whole, &value);
                }
                Ok(())
            })
            .map_err(CopyError::at("read", path))?,
        }
    }
    Ok(Digest::from_sha256(whole.finalize().into()))
}

/// Digests a layer's tree, whenever its files were written.
pub fn tree_digest(tree: &Path) -> io::Result<Digest> {
    let mut hash = Hashing(Sha256::new());
    let timeless = |entry: &mut Entry| entry.mtime = Moment::default();
    write_layer_into(tree, Sink::new(&mut hash).adjusting(&timeless))?;
    Ok(Digest::from_sha256(hash.0.finalize().into()))
}

struct Hashing(Sha256);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The digest of a file's bytes.
pub fn file_digest(mut file: &File) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash)?;
    Ok(Digest::from_sha256(hash.finalize().into()))
}

/// Parts cannot run into each other.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
