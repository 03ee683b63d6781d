//! Blobs that come from far away, and what is there of them when the rest does not come.
//!
//! Such a blob is written to `tmp/partial-<hex>`, which stays when its writer is dropped: the next one to fetch the blob goes on
//! behind it. Nothing of it is believed: its bytes are hashed again together with those that follow. What nobody has touched for a
//! day goes, and so do the oldest when all parts together take too much room.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use minke_base::Digest;

use super::{BlobWriter, ContentError, ContentStore, Temporary, io_at};

/// How long a part waits for its rest.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes that all parts may take which nobody writes.
const ROOM: u64 = 4 << 30;

/// The parts that are being written.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    paths: Arc<Mutex<HashSet<PathBuf>>>,
}

/// One of them; given up when dropped.
#[derive(Debug)]
pub(super) struct Arrival {
    path: PathBuf,
    paths: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.remove(&self.path);
        if let Some(directory) = self.path.parent()
            && let Err(error) = trim(directory, &paths, ROOM)
        {
            tracing::warn!("remove what came of other blobs: {error}");
        }
    }
}

impl Arrivals {
    /// `None`: somebody else writes it.
    fn take(&self, path: &Path) -> Option<Arrival> {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = paths.insert(path.to_owned());
        taken.then(|| Arrival { path: path.to_owned(), paths: Arc::clone(&self.paths) })
    }

    /// Removes the parts in a directory that nobody writes, but for the newest that have room; how many bytes went.
    pub(super) fn trim(&self, directory: &Path, room: u64) -> Result<u64, ContentError> {
        // While this is held nobody goes on with a part.
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        trim(directory, &paths, room)
    }
}

/// Whether a file in `tmp` is what came of a blob.
pub(super) fn is_part(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"partial-"))
}

fn trim(directory: &Path, written: &HashSet<PathBuf>, room: u64) -> Result<u64, ContentError> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory).map_err(io_at("list", directory))? {
        let path = entry.map_err(io_at("list", directory))?.path();
        if !is_part(&path) || written.contains(&path) {
            continue;
        }
        // One that has become a blob in between is no part any more.
        let Ok(found) = fs::metadata(&path) else { continue };
        parts.push((found.modified().unwrap_or(SystemTime::UNIX_EPOCH), found.len(), path));
    }
    parts.sort();
    let (mut kept, mut gone) = (0, 0);
    for (touched, size, path) in parts.into_iter().rev() {
        let worth = size > 0 && touched.elapsed().unwrap_or_default() < PATIENCE;
        if worth && kept + size <= room {
            kept += size;
            continue;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_at("remove", &path)(error));
            }
            _ => gone += size,
        }
    }
    Ok(gone)
}

/// A writer that goes on where the last one stopped.
#[derive(Debug)]
pub struct Resumed<'a> {
    /// To be given all bytes, those from before as well.
    pub writer: BlobWriter<'a>,
    /// The bytes from before.
    pub file: File,
    /// How many.
    pub length: u64,
}

impl ContentStore {
    /// Removes what came of blobs whose rest nobody is fetching; how many bytes went.
    pub fn delete_parts(&self) -> Result<u64, ContentError> {
        self.arriving.trim(&self.tmp, 0)
    }

    /// The same for what is old, or too much.
    pub(super) fn trim_parts(&self) -> Result<(), ContentError> {
        self.arriving.trim(&self.tmp, ROOM).map(drop)
    }

    /// Starts a blob of this digest and size, or goes on with it. When somebody else is at it, this is a writer beside theirs.
    pub fn resume(&self, digest: Digest, size: u64) -> Result<Resumed<'_>, ContentError> {
        let path = self.tmp.join(format!("partial-{}", digest.hex()));
        let Some(arrival) = self.arriving.take(&path) else {
            let writer = self.writer()?;
            let file = File::open(&writer.temporary.path).map_err(io_at("open", &writer.temporary.path))?;
            return Ok(Resumed { writer, file, length: 0 });
        };
        let open = || -> io::Result<(File, File, u64)> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            let mut length = file.metadata()?.len();
            // As long as the whole, and it was not finished: something is wrong with it.
            if length >= size {
                file.set_len(0)?;
                length = 0;
            }
            file.seek(SeekFrom::Start(length))?;
            Ok((file, File::open(&path)?, length))
        };
        let (file, before, length) = open().map_err(io_at("go on with", &path))?;
        let temporary = Temporary { path, kept: false, arrival: Some(arrival), whole: false };
        Ok(Resumed { writer: BlobWriter::new(self, file, temporary, length), file: before, length })
    }
}
