//! Trees that become layers without being unpacked: what a container or a build step wrote, taken over by rename.
//!
//! No second copy of the bytes is written. A sealed layer stands for its plain blob: [`Store::open_blob`] writes the same tar again,
//! which [`crate::layer::diff::write_layer`] makes sure of (sorted, nothing in it that depends on when or where), and checks its digest
//! while it is read.
//!
//! A [`Snapshot`] can be stood on at once; its digest is computed when there is time ([`Store::finish_snapshot`]). One that was never
//! finished goes when it is dropped, or at the next open.

mod merge;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use minke_base::Digest;
use sha2::{Digest as _, Sha256};

use crate::content::{Blob, ContentError, Verified};
use crate::document::{Descriptor, media_type};
use crate::layer::{Layer, LayerError, diff, usage};
use crate::pipeline::{Feed, Pool, pipe};
use crate::store::{Store, StoreError};

/// A tree in the store whose digest nobody knows yet.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    /// Where it goes to be deleted.
    aside: PathBuf,
    /// It is a layer now, and the store's.
    kept: AtomicBool,
}

impl Snapshot {
    /// The tree, as a lower directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if self.kept.load(Ordering::Acquire) || fs::rename(&self.path, &self.aside).is_err() {
            return;
        }
        let aside = std::mem::take(&mut self.aside);
        // Freeing a large tree can take long; what a crash leaves is removed at the next open.
        thread::spawn(move || {
            if let Err(error) = crate::layer::remove_tree_at(&aside) {
                tracing::warn!(path = %aside.display(), %error, "a dropped snapshot stays until the next start");
            }
        });
    }
}

/// A layer that stands for its plain blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedLayer {
    pub layer: Layer,
    /// The plain tar that it stands for, as a manifest lists it.
    pub blob: Descriptor,
    /// The store had a layer with these contents; that one is used.
    pub already: bool,
}

impl Store {
    /// Takes a tree over by rename: an overlay's upper directory that nobody writes to any more, on this store's file system.
    pub fn take_snapshot(&self, upper: &Path) -> Result<Snapshot, StoreError> {
        let snapshot = self.name_snapshot();
        fs::rename(upper, &snapshot.path).map_err(at("take over", upper))?;
        Ok(snapshot)
    }

    /// An empty tree to be filled.
    pub fn new_snapshot(&self) -> Result<Snapshot, StoreError> {
        let snapshot = self.name_snapshot();
        fs::create_dir(&snapshot.path)
            .and_then(|()| fs::set_permissions(&snapshot.path, fs::Permissions::from_mode(0o755)))
            .map_err(at("create", &snapshot.path))?;
        Ok(snapshot)
    }

    fn name_snapshot(&self) -> Snapshot {
        let (path, aside) = self.layers().new_names();
        Snapshot { path, aside, kept: AtomicBool::new(false) }
    }

    /// Computes a snapshot's digest and makes it a layer. The tree stays where it is, unless the store has these contents already. Take
    /// a [`crate::pins::Hold`] first.
    pub fn finish_snapshot(&self, snapshot: &Snapshot) -> Result<SealedLayer, StoreError> {
        let path = &snapshot.path;
        let mut hash = Hasher { hash: Sha256::new(), bytes: 0 };
        diff::write_layer(path, &mut hash).map_err(at("read", path))?;
        let (diff_id, bytes) = hash.finish();
        let used = usage::of_tree(path).map_err(at("measure", path))?;
        let layer = Layer { diff_id, size: used.bytes, entries: used.inodes, opaque: false };
        let (layer, already) = self.layers().adopt(path, layer, bytes)?;
        if !already {
            snapshot.kept.store(true, Ordering::Release);
        }
        Ok(sealed(layer, bytes, already))
    }

    /// Makes a tree a layer by rename, digest and all. Take a [`crate::pins::Hold`] first.
    pub fn seal(&self, upper: &Path) -> Result<SealedLayer, StoreError> {
        let snapshot = self.take_snapshot(upper)?;
        let sealed = self.finish_snapshot(&snapshot)?;
        self.layers().settle_in_background();
        Ok(sealed)
    }

    /// Makes one layer of several trees of the store, the lowest first. Take a [`crate::pins::Hold`] first.
    pub fn squash(&self, trees: &[PathBuf]) -> Result<SealedLayer, StoreError> {
        let snapshot = self.new_snapshot()?;
        merge::merge(trees, snapshot.path()).map_err(at("merge layers into", snapshot.path()))?;
        self.finish_snapshot(&snapshot)
    }

    /// Makes a layer of what `write` writes, a tar as [`diff::write_layer`] and the rootfs drivers' `diff` write it: for trees that
    /// somebody goes on using. Take a [`crate::pins::Hold`] first.
    pub fn seal_copy(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), StoreError> + Send,
    ) -> Result<SealedLayer, StoreError> {
        let (feed, reader) = pipe();
        let layers = self.layers();
        thread::scope(|scope| {
            let unpacking = scope.spawn(move || layers.stage_plain(reader));
            let mut hash = Hasher { hash: Sha256::new(), bytes: 0 };
            let written = {
                let mut chunks = Chunks::new(&feed);
                write(&mut Tee { hash: &mut hash, output: &mut chunks })
                    .and_then(|()| chunks.flush().map_err(at("copy", layers.root())))
            };
            if written.is_err() {
                drop(feed.send(Err(io::Error::other("the stream broke off"))));
            }
            drop(feed);
            let staged = crate::layer::unpack::join(unpacking);
            // Who unpacks says better why it stopped than who found nobody listening.
            let mut staged = match (written, staged) {
                (Ok(()), staged) => staged?,
                (Err(_), Err(error)) if !matches!(error, LayerError::Tar(_)) => return Err(error.into()),
                (Err(error), _) => return Err(error),
            };
            let (diff_id, bytes) = hash.finish();
            staged.diff_id = diff_id;
            let (layer, already) = layers.commit_sealed(staged, bytes)?;
            layers.settle_in_background();
            Ok(sealed(layer, bytes, already))
        })
    }

    /// The size of a blob that is here, as a file or as a sealed layer.
    pub fn blob_size(&self, digest: Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.content().size(digest)?.or_else(|| self.layers().plain_size(digest)))
    }

    /// Opens a blob, as a file or written anew from its sealed layer; reading it to the end fails when its bytes are not those of the
    /// digest. Keep a [`crate::pins::Hold`] while it is read.
    pub fn open_blob(&self, digest: Digest) -> Result<Box<dyn Read + Send>, StoreError> {
        match self.content().open_verified(digest) {
            Err(ContentError::Missing(_)) if self.layers().plain_size(digest).is_some() => {}
            other => return Ok(Box::new(other?)),
        }
        let (feed, reader) = pipe();
        let path = self.layers().path(digest);
        thread::spawn(move || {
            let mut chunks = Chunks::new(&feed);
            let written = diff::write_layer(&path, &mut chunks).and_then(|()| chunks.flush());
            if let Err(error) = written {
                // Who reads has gone, or hears of it.
                drop(feed.send(Err(error)));
            }
        });
        Ok(Box::new(Verified::new(reader, digest)))
    }

    /// Opens a blob behind its first `offset` bytes. The bytes before are still part of what is checked.
    pub fn open_blob_at(&self, digest: Digest, offset: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        let mut blob = self.open_blob(digest)?;
        let skipped = io::copy(&mut (&mut blob).take(offset), &mut io::sink());
        match skipped {
            Ok(skipped) if skipped == offset => Ok(blob),
            Ok(_) => Err(ContentError::Missing(digest).into()),
            Err(source) => Err(ContentError::Source { name: digest.to_string(), source }.into()),
        }
    }
}

/// What a manifest says of a layer whose blob is plain.
fn sealed(layer: Layer, bytes: u64, already: bool) -> SealedLayer {
    let blob = Descriptor::new(media_type::OCI_LAYER, layer.diff_id, bytes);
    SealedLayer { layer, blob, already }
}

impl SealedLayer {
    /// The blob's digest and size.
    #[must_use]
    pub const fn as_blob(&self) -> Blob {
        Blob { digest: self.blob.digest, size: self.blob.size }
    }
}

struct Hasher {
    hash: Sha256,
    bytes: u64,
}

impl Hasher {
    fn finish(self) -> (Digest, u64) {
        (Digest::from_sha256(self.hash.finalize().into()), self.bytes)
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Tee<'a> {
    hash: &'a mut Hasher,
    output: &'a mut dyn Write,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write_all(bytes)?;
        self.hash.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gathers what is written into chunks and feeds them to who reads.
pub(crate) struct Chunks<'a> {
    feed: &'a Feed,
    pool: Pool,
    pending: Vec<u8>,
}

/// As much as a chunk holds.
const GATHERED: usize = 256 << 10;

impl<'a> Chunks<'a> {
    pub(crate) fn new(feed: &'a Feed) -> Self {
        Self { feed, pool: Pool::new(), pending: Vec::with_capacity(GATHERED) }
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(GATHERED - self.pending.len());
        self.pending.extend_from_slice(&bytes[..count]);
        if self.pending.len() == GATHERED {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(chunk) = self.pool.fill(&mut &self.pending[..])? {
            let nobody = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads the layer any more");
            self.feed.send(Ok(chunk)).map_err(nobody)?;
            self.pending.clear();
        }
        Ok(())
    }
}

fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
