//! What was picked for `COPY` or `ADD` comes into a stage's root.

use minke_store::copying::{CopyError, Root};
use minke_store::transplant::{self, Dress, Item};

use super::pick::{Chosen, Pick, Piece};
use crate::error::{Error, Result};

/// Where it goes, and how.
#[derive(Debug, Clone)]
pub(super) struct Put {
    pub(super) dress: Dress,
    /// Absolute; with a slash at its end it is a directory.
    pub(super) target: String,
}

/// Writes what was chosen into a stage's root.
pub(super) fn put(put: &Put, pick: &Pick, chosen: &Chosen, root: &Root) -> Result<()> {
    let failed = |source: CopyError| {
        let text = match &source {
            CopyError::NotDirectory { path } => {
                format!("{} failed: cannot copy to non-directory: {path}", pick.verb)
            }
            _ => format!("{} failed: {}", pick.verb, crate::error::chain(&source)),
        };
        Error::invalid(text).caused_by(source)
    };
    let target = put.target.as_bytes();
    let several = chosen.pieces.len() > 1;
    if several && !put.target.ends_with('/') {
        return Err(Error::invalid(format!(
            "When using {} with more than one source file, the destination must be a directory and end with a /",
            pick.verb
        )));
    }
    let into = several
        || pick.parents
        || put.target.ends_with('/')
        || transplant::is_directory(root, target).map_err(failed)? == Some(true);
    let fd = pick.source.fd()?;
    let trimmed = put.target.trim_end_matches('/');
    let (parent, last) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    for piece in &chosen.pieces {
        // Where one file goes: into the directory under its own name, or under the target's.
        let named = |own: &[u8]| -> (Vec<u8>, Vec<u8>) {
            if into {
                (target.to_vec(), own.to_vec())
            } else {
                (format!("{parent}/").into_bytes(), last.as_bytes().to_vec())
            }
        };
        let copy = |source: &std::os::fd::OwnedFd, directory: &[u8], item: Item<'_>| {
            let from = match item {
                Item::Tree { path, .. } => path,
                Item::Bytes { .. } => b"",
            };
            let skip = |name: &[u8], _is_dir: bool| pick.skips(from, name);
            transplant::transplant(source, &[item], &skip, &put.dress, root, directory).map_err(failed)
        };
        match piece {
            Piece::Found(found) if pick.parents => {
                copy(&fd, target, Item::Tree { path: &found.path, name: &found.named })?;
            }
            Piece::Found(found) if found.is_dir => {
                copy(&fd, target, Item::Tree { path: &found.path, name: b"" })?;
            }
            Piece::Found(found) => {
                let base = found.named.rsplit(|b| *b == b'/').next().unwrap_or(&found.named);
                let (directory, name) = named(base);
                copy(&fd, &directory, Item::Tree { path: &found.path, name: &name })?;
            }
            Piece::Inline(name, content) => {
                let (directory, name) = named(name.as_bytes());
                copy(&fd, &directory, Item::Bytes { name: &name, bytes: content.as_bytes() })?;
            }
            Piece::Repository(checkout) => {
                let tree = super::mounts::minke_sys_open(&checkout.directory())?;
                copy(&tree, target, Item::Tree { path: b"", name: b"" })?;
            }
            Piece::Fetched(scratch, name) if pick.unpack == Some(true) => {
                let file = std::fs::File::open(scratch.path())
                    .map_err(|source| Error::failed(format!("open {name}"), source))?;
                transplant::unpack_archive(file, None, root, target).map_err(failed)?;
            }
            Piece::Fetched(scratch, name) => {
                let (directory, name) = named(name.as_bytes());
                let at = scratch.path();
                let holder = at.parent().unwrap_or(at);
                let own = at.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
                let fd = super::mounts::minke_sys_open(holder)?;
                copy(&fd, &directory, Item::Tree { path: own, name: &name })?;
            }
            Piece::Archive(found) => {
                let file = root_file(&fd, &found.path)?;
                let owner = put.dress.owner.filter(|owner| *owner != (0, 0));
                transplant::unpack_archive(file, owner, root, target).map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn root_file(source: &std::os::fd::OwnedFd, path: &[u8]) -> Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags};
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path);
    minke_sys::beneath::open_in_root(source, name, OFlags::RDONLY, Mode::empty())
        .map(std::fs::File::from)
        .map_err(|source| Error::failed("open an archive", std::io::Error::from(source)))
}
