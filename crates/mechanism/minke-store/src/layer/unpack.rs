//! From a stream to a staged tree: decompress, hash and extract at the same time, each on its own thread.

use std::fs;
use std::io::{self, BufRead, Read};
use std::mem;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use minke_base::Digest;
use sha2::{Digest as _, Sha256};

use super::extract::{Contents, Extractor};
use super::{LayerError, Limits, Privilege};
use crate::compression::Decoder;
use crate::pipeline::{Chunk, Feed, Pool, pipe};
use crate::tar::Reader;

/// A tree in `layers/tmp` that becomes a layer or goes.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(super) dir: StagingDir,
    pub(super) contents: Contents,
    pub(crate) diff_id: Digest,
}

/// Removes its tree when dropped.
#[derive(Debug)]
pub(super) struct StagingDir {
    pub(super) path: PathBuf,
}

impl StagingDir {
    fn make(path: PathBuf) -> Result<Self, LayerError> {
        // 0755: a layer's own mode is what `/` shows. Others are kept out by the directory above.
        let made = fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
        made.map_err(|source| LayerError::Io { action: "create", path: path.clone(), source })?;
        Ok(Self { path })
    }

    /// The tree found another place.
    pub(super) fn keep(mut self) {
        self.path = PathBuf::new();
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        if let Err(e) = super::remove_tree_at(&self.path) {
            tracing::warn!(path = %self.path.display(), error = %e, "unfinished layer could not be removed");
        }
    }
}

/// Unpacks `input` into `dir`.
pub(super) fn unpack(
    input: impl Read + Send,
    dir: PathBuf,
    privilege: Privilege,
    limits: Limits,
) -> Result<Staged, LayerError> {
    let dir = StagingDir::make(dir)?;
    let (chunks_in, reader) = pipe();
    let (hash_in, to_hash) = sync_channel(4);
    let given_up = AtomicBool::new(false);
    let (contents, pumped, digest) = thread::scope(|scope| {
        let pump = scope.spawn(|| {
            let result = pump(input, limits, &chunks_in, &given_up, |chunk| {
                // The hasher only ever ends with its channel.
                drop(hash_in.send(chunk));
            });
            drop((chunks_in, hash_in));
            result
        });
        let hasher = scope.spawn(move || hash(&to_hash));
        let contents = extract(reader, &dir.path, privilege, limits);
        if contents.is_err() {
            given_up.store(true, Ordering::Relaxed);
        }
        (contents, join(pump), join(hasher))
    });
    // What was wrong with the stream says more than what the extractor made of its end.
    pumped.map_err(LayerError::Stream)?;
    Ok(Staged { dir, contents: contents?, diff_id: digest })
}

/// Unpacks a plain tar whose digest somebody else computes. `diff_id` is that of nothing until they fill it in.
pub(super) fn unpack_plain(
    input: impl BufRead,
    dir: PathBuf,
    privilege: Privilege,
    limits: Limits,
) -> Result<Staged, LayerError> {
    let dir = StagingDir::make(dir)?;
    let contents = extract(input, &dir.path, privilege, limits)?;
    Ok(Staged { dir, contents, diff_id: Digest::from_sha256([0; 32]) })
}

/// A thread's result, or its panic passed on.
pub(crate) fn join<T>(handle: thread::ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Reads to the end, past the tar's own end, because the digest covers every byte.
fn pump(
    input: impl Read + Send,
    limits: Limits,
    extractor: &Feed,
    given_up: &AtomicBool,
    mut also: impl FnMut(Chunk),
) -> io::Result<()> {
    let pool = Pool::new();
    let mut extracting = true;
    let broken = |e: &io::Error| Err(io::Error::new(e.kind(), "the stream is broken"));
    let mut decoder = match Decoder::new(input, limits) {
        Ok(decoder) => decoder,
        Err(e) => {
            drop(extractor.send(broken(&e)));
            return Err(e);
        }
    };
    while !given_up.load(Ordering::Relaxed) {
        match pool.fill(&mut decoder) {
            Ok(Some(chunk)) => {
                extracting = extracting && extractor.send(Ok(Chunk::clone(&chunk))).is_ok();
                also(chunk);
            }
            Ok(None) => break,
            Err(e) => {
                drop(extractor.send(broken(&e)));
                return Err(e);
            }
        }
    }
    Ok(())
}

fn hash(chunks: &Receiver<Chunk>) -> Digest {
    let mut hash = Sha256::new();
    for chunk in chunks {
        hash.update(&**chunk);
    }
    Digest::from_sha256(hash.finalize().into())
}

fn extract(
    input: impl BufRead,
    root: &Path,
    privilege: Privilege,
    limits: Limits,
) -> Result<Contents, LayerError> {
    let extractor = Extractor::new(root, privilege, limits).map_err(|source| LayerError::Io {
        action: "open",
        path: root.to_owned(),
        source,
    })?;
    let mut reader = Reader::new(input);
    let contents = extractor.run(&mut reader, root);
    // From here on only the digest needs the rest of the stream.
    mem::drop(reader);
    contents
}
