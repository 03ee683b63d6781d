//! Blobs by digest: `content/sha256/<hex>`, written to `content/tmp/`, fsynced, renamed, never modified.
//!
//! A blob has its final name only when its bytes are complete, hashed and on disk, so whoever finds one may trust it; a crash
//! leaves only files in `tmp`, which the next [`ContentStore::open`] empties. Which blobs are worth keeping is not known here: the
//! caller brings the live set, and [`crate::pins::Pins`] keep what somebody is just adding.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minke_base::Digest;
use sha2::{Digest as _, Sha256};

use crate::pins::Pins;

mod arrivals;

use arrivals::{Arrival, Arrivals};

/// Documents (manifests, configurations, indexes) larger than this are refused: no real one comes near.
pub const DOCUMENT_MAX: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("no blob {0} in the content store")]
    Missing(Digest),
    #[error("blob {expected} arrived as {found}: the data is corrupt")]
    Digest { expected: Digest, found: Digest },
    #[error("blob {name} has {found} bytes where {expected} were announced")]
    Size { name: String, expected: u64, found: u64 },
    #[error("{name} is larger than the {max} bytes that are allowed")]
    TooLarge { name: String, max: u64 },
    #[error("read the data of blob {name}")]
    Source { name: String, source: io::Error },
    #[error("{action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

fn io_at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ContentError + 'a {
    move |source| ContentError::Io { action, path: path.to_owned(), source }
}

/// What is known about a blob before its bytes are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    pub digest: Option<Digest>,
    pub size: Option<u64>,
    /// Refuse more bytes than this, whatever was announced.
    pub max: Option<u64>,
}

impl Expected {
    #[must_use]
    pub const fn exactly(digest: Digest, size: u64) -> Self {
        Self { digest: Some(digest), size: Some(size), max: None }
    }
}

/// A blob that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    pub digest: Digest,
    pub size: u64,
}

#[derive(Debug)]
pub struct ContentStore {
    blobs: PathBuf,
    tmp: PathBuf,
    next: AtomicU64,
    pins: Arc<Pins>,
    arriving: Arrivals,
}

impl ContentStore {
    /// Opens (or makes) the store under `root` and removes what a crash left half-written. Only one process may have it open.
    pub fn open(root: &Path, pins: Arc<Pins>) -> Result<Self, ContentError> {
        let store = Self {
            blobs: root.join("sha256"),
            tmp: root.join("tmp"),
            next: AtomicU64::new(0),
            pins,
            arriving: Arrivals::default(),
        };
        for dir in [&store.blobs, &store.tmp] {
            make_private_dir(dir).map_err(io_at("create", dir))?;
        }
        for leftover in fs::read_dir(&store.tmp).map_err(io_at("list", &store.tmp))? {
            let path = leftover.map_err(io_at("list", &store.tmp))?.path();
            if !arrivals::is_part(&path) {
                fs::remove_file(&path).map_err(io_at("remove leftover", &path))?;
            }
        }
        store.trim_parts()?;
        Ok(store)
    }

    /// Where the blob is, or would be.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// The blob's size, when it is here.
    pub fn size(&self, digest: Digest) -> Result<Option<u64>, ContentError> {
        let path = self.path(digest);
        match fs::symlink_metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_at("look up", &path)(e)),
        }
    }

    /// Opens a blob as it lies there.
    pub fn open_blob(&self, digest: Digest) -> Result<File, ContentError> {
        let path = self.path(digest);
        File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => ContentError::Missing(digest),
            _ => io_at("open", &path)(e),
        })
    }

    /// Opens a blob such that reading it to the end fails when its bytes are no longer those of its digest.
    pub fn open_verified(&self, digest: Digest) -> Result<Verified<File>, ContentError> {
        Ok(Verified::new(self.open_blob(digest)?, digest))
    }

    /// Reads a document whole, verified.
    pub fn read(&self, digest: Digest) -> Result<Vec<u8>, ContentError> {
        let size = self.size(digest)?.ok_or(ContentError::Missing(digest))?;
        if size > DOCUMENT_MAX {
            return Err(ContentError::TooLarge { name: digest.to_string(), max: DOCUMENT_MAX });
        }
        let mut bytes = Vec::new();
        let path = self.path(digest);
        self.open_blob(digest)?.read_to_end(&mut bytes).map_err(io_at("read", &path))?;
        let found = hash(&bytes);
        if found != digest {
            return Err(ContentError::Digest { expected: digest, found });
        }
        Ok(bytes)
    }

    /// Starts a blob whose bytes come piece by piece.
    pub fn writer(&self) -> Result<BlobWriter<'_>, ContentError> {
        let path = self.tmp.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_at("create", &path))?;
        Ok(BlobWriter::new(self, file, Temporary { path, kept: false, arrival: None, whole: false }, 0))
    }

    /// Takes in a stream, refusing it when it is not what was expected.
    pub fn ingest(&self, source: &mut dyn Read, expected: Expected) -> Result<Blob, ContentError> {
        let name = expected.digest.map_or_else(|| "of unknown digest".to_owned(), |d| d.to_string());
        let mut writer = self.writer()?;
        let mut buffer = vec![0_u8; 256 << 10];
        loop {
            let got = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(ContentError::Source { name, source }),
            };
            writer.append(&buffer[..got])?;
            if let Some(max) = expected.max.filter(|max| writer.size > *max) {
                return Err(ContentError::TooLarge { name: format!("blob {name}"), max });
            }
            if let Some(size) = expected.size.filter(|size| writer.size > *size) {
                return Err(ContentError::Size { name, expected: size, found: writer.size });
            }
        }
        writer.commit(expected)
    }

    /// Stores bytes at hand.
    pub fn put(&self, bytes: &[u8]) -> Result<Blob, ContentError> {
        let digest = hash(bytes);
        self.pins.pin(digest);
        let size = bytes.len() as u64;
        if self.size(digest)? == Some(size) {
            return Ok(Blob { digest, size });
        }
        let mut writer = self.writer()?;
        writer.append(bytes)?;
        writer.commit(Expected::exactly(digest, size))
    }

    /// Removes a blob; one that is not here is fine.
    pub fn delete(&self, digest: Digest) -> Result<(), ContentError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_at("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    /// Takes a blob out of the store at once; its bytes go with [`Self::delete_retired`]. Freeing a large file can take long.
    pub fn retire(&self, digest: Digest) -> Result<(), ContentError> {
        let path = self.path(digest);
        let aside = self.tmp.join(format!("retired-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        match fs::rename(&path, &aside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_at("set aside", &path)(e)),
            _ => Ok(()),
        }
    }

    /// Frees what retired blobs take.
    pub fn delete_retired(&self) -> Result<(), ContentError> {
        for entry in fs::read_dir(&self.tmp).map_err(io_at("list", &self.tmp))? {
            let path = entry.map_err(io_at("list", &self.tmp))?.path();
            let name = path.file_name().unwrap_or_default();
            if !name.as_encoded_bytes().starts_with(b"retired-") {
                continue;
            }
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_at("remove", &path)(e)),
                _ => {}
            }
        }
        self.trim_parts()
    }

    /// Makes names given by [`FinishedBlob::publish`] durable.
    pub fn sync_names(&self) -> Result<(), ContentError> {
        crate::durable::sync_dir(&self.blobs).map_err(io_at("sync", &self.blobs))
    }

    /// Every blob with its size, in no order.
    pub fn list(&self) -> Result<Vec<Blob>, ContentError> {
        let mut blobs = Vec::new();
        for entry in fs::read_dir(&self.blobs).map_err(io_at("list", &self.blobs))? {
            let entry = entry.map_err(io_at("list", &self.blobs))?;
            let Some(digest) = entry.file_name().to_str().and_then(|name| Digest::from_hex(name).ok()) else {
                continue;
            };
            let size = entry.metadata().map_err(io_at("look up", &entry.path()))?.len();
            blobs.push(Blob { digest, size });
        }
        Ok(blobs)
    }
}

/// A blob being written. Dropped without [`BlobWriter::commit`], it never was.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    store: &'a ContentStore,
    file: File,
    temporary: Temporary,
    hash: Sha256,
    size: u64,
    /// Bytes that are in the file from before: they are given once more, for the hash.
    before: u64,
    flushed: u64,
}

/// How much may pile up in the page cache before the kernel is told to start writing: the fsync at the end is then short.
const WRITEBACK_STEP: u64 = 16 << 20;

impl<'a> BlobWriter<'a> {
    fn new(store: &'a ContentStore, file: File, temporary: Temporary, before: u64) -> Self {
        Self { store, file, temporary, hash: Sha256::new(), size: 0, before, flushed: before }
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        let there = usize::try_from(self.before.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let new = &bytes[there.min(bytes.len())..];
        self.file.write_all(new).map_err(|e| io_at("write", &self.temporary.path)(e))?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        if self.size.saturating_sub(self.flushed) >= WRITEBACK_STEP {
            crate::durable::start_writeback(&self.file, self.flushed, self.size - self.flushed);
            self.flushed = self.size;
        }
        Ok(())
    }

    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Checks, syncs and names the blob. A blob of that digest that is already here stays, and this copy goes.
    pub fn commit(self, expected: Expected) -> Result<Blob, ContentError> {
        let store = self.store;
        let blob = self.finish(expected)?.publish()?;
        store.sync_names()?;
        Ok(blob)
    }

    /// Checks and syncs the blob and leaves it without its name, to be published or dropped.
    pub fn finish(mut self, expected: Expected) -> Result<FinishedBlob<'a>, ContentError> {
        let found = Digest::from_sha256(std::mem::take(&mut self.hash).finalize().into());
        if let Some(want) = expected.digest.filter(|want| *want != found) {
            // What has all its bytes and is wrong does not become right by more of them.
            if expected.size.is_none_or(|size| size <= self.size) {
                self.temporary.whole = true;
            }
            return Err(ContentError::Digest { expected: want, found });
        }
        if let Some(want) = expected.size.filter(|want| *want != self.size) {
            return Err(ContentError::Size { name: found.to_string(), expected: want, found: self.size });
        }
        let blob = Blob { digest: found, size: self.size };
        self.store.pins.pin(found);
        if self.store.size(found)? != Some(self.size) {
            self.file.sync_all().map_err(|e| io_at("sync", &self.temporary.path)(e))?;
        }
        self.temporary.whole = true;
        Ok(FinishedBlob { store: self.store, temporary: self.temporary, blob })
    }
}

/// A whole blob that has no name yet. Dropped, it never was.
#[derive(Debug)]
pub struct FinishedBlob<'a> {
    store: &'a ContentStore,
    temporary: Temporary,
    blob: Blob,
}

impl FinishedBlob<'_> {
    #[must_use]
    pub const fn blob(&self) -> Blob {
        self.blob
    }

    pub fn open(&self) -> Result<File, ContentError> {
        File::open(&self.temporary.path).map_err(|e| io_at("open", &self.temporary.path)(e))
    }

    /// Gives the blob its name. [`ContentStore::sync_names`] makes the name durable.
    pub fn publish(mut self) -> Result<Blob, ContentError> {
        if self.store.size(self.blob.digest)? != Some(self.blob.size) {
            let path = self.store.path(self.blob.digest);
            fs::rename(&self.temporary.path, &path).map_err(io_at("name", &path))?;
            self.temporary.kept = true;
        }
        self.temporary.arrival = None;
        Ok(self.blob)
    }
}

/// A file in `tmp` that goes unless it was kept.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    kept: bool,
    /// It is what came of a blob so far: it stays when the rest does not come.
    arrival: Option<Arrival>,
    /// There is no rest.
    whole: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept
            && (self.whole || self.arrival.is_none())
            && let Err(e) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), error = %e, "unfinished blob could not be removed");
        }
    }
}

/// A reader that hashes as it goes and fails at the end when the bytes are not those of the digest.
#[derive(Debug)]
pub struct Verified<R> {
    inner: R,
    hash: Sha256,
    expected: Digest,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(inner: R, expected: Digest) -> Self {
        Self { inner, hash: Sha256::new(), expected }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        if got > 0 || buffer.is_empty() {
            self.hash.update(&buffer[..got]);
            return Ok(got);
        }
        let found = Digest::from_sha256(self.hash.clone().finalize().into());
        if found == self.expected {
            return Ok(0);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            ContentError::Digest { expected: self.expected, found },
        ))
    }
}

/// The digest of bytes at hand.
#[must_use]
pub fn hash(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

/// Makes a directory only the engine's user may enter, with its parents.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests;
