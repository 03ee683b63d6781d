//! Layers as directory trees: `layers/<short>/`, each the difference its tar described, in the form overlayfs wants.
//!
//! A layer is unpacked into `layers/tmp/` and renamed when it is whole, so a layer that has its name is complete. Layers stand
//! alone (nothing in one refers to another) and are therefore named and shared by diff ID, not by chain. What is known about a
//! layer is a small record beside it, `layers/records/<short>.json`, written before the rename.
//!
//! Nobody waits for a layer to reach the disk: its record names the boot of the host that wrote it until a sync in the background
//! has passed ([`LayerStore::settle_in_background`]). A layer whose record still names another boot may have lost bytes in a power
//! cut; it is dropped at the next open and can be unpacked again from its blob, which was synced.

pub mod diff;
pub(crate) mod extract;
pub(crate) mod place;
pub(crate) mod unpack;
pub(crate) mod usage;
pub(crate) mod walk;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, BufRead, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use minke_base::Digest;
use serde::{Deserialize, Serialize};

use crate::content::{Blob, make_private_dir};
use crate::durable;
use crate::pins::Pins;
use crate::tar::TarError;

pub use diff::{Change, ChangeKind};
pub use place::Privilege;
pub(crate) use place::{is_whiteout, remove_tree};
pub(crate) use unpack::Staged;
pub(crate) use walk::names as directory_names;

/// Bytes of the files in a tree, as Docker counts them.
pub fn tree_bytes(root: &Path) -> io::Result<u64> {
    Ok(usage::of_tree(root)?.bytes)
}

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("no layer {0} in the store")]
    Missing(Digest),
    #[error("{action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{action} {name}: {source}")]
    Entry { action: &'static str, name: String, source: io::Error },
    #[error("entry {name} leads outside the layer")]
    Escapes { name: String },
    #[error("entry {name} is not a valid whiteout")]
    Whiteout { name: String },
    #[error("hard link {name} names {target}, which this layer does not hold")]
    LinkTarget { name: String, target: String },
    #[error(
        "cannot overwrite {} with {} {name}",
        if *is_dir { "a directory" } else { "something that is no directory" },
        if *is_dir { "non-directory" } else { "directory" }
    )]
    Kinds { name: String, is_dir: bool },
    #[error("entry {name} is of unknown type {byte:#04x}")]
    EntryType { name: String, byte: u8 },
    #[error("the layer has more {what} than the {max} that are allowed")]
    Limit { what: &'static str, max: u64 },
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("layer {expected} unpacks to {found}: the data is corrupt")]
    DiffId { expected: Digest, found: Digest },
    #[error("unpack the layer: {0}")]
    Stream(#[source] io::Error),
}

/// What a layer may be at most. The defaults are far above real images and far below what hurts a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub entries: u64,
    /// Bytes after unpacking, holes included.
    pub bytes: u64,
    /// Uncompressed to compressed, looked at once `ratio_floor` bytes have come out.
    pub ratio: u64,
    pub ratio_floor: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 10_000_000, bytes: 1 << 40, ratio: 200, ratio_floor: 1 << 30 }
    }
}

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    pub diff_id: Digest,
    /// Bytes of its files, hard links counted once, as Docker counts an image's size.
    pub size: u64,
    pub entries: u64,
    /// The layer hides everything below it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opaque: bool,
}

/// A layer and the blob it was unpacked from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedLayer {
    pub layer: Layer,
    pub blob: Blob,
    /// How the blob is compressed.
    pub compression: crate::compression::Compression,
    /// It had been here.
    pub already: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    layer: Layer,
    /// The boot that wrote the layer; gone once it is known to be on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unsynced: Option<String>,
    /// The tree's directory, where it is not the diff ID's short name: a sealed layer keeps the one it was made in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    /// The layer stands for its plain blob, which is this large (see [`crate::seal`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plain: Option<u64>,
}

impl Record {
    fn path(&self, root: &Path) -> PathBuf {
        self.directory
            .as_ref()
            .map_or_else(|| root.join(short_name(self.layer.diff_id)), |name| root.join(name))
    }
}

#[derive(Debug)]
pub struct LayerStore {
    root: PathBuf,
    pins: Arc<Pins>,
    limits: Limits,
    privilege: Privilege,
    boot: String,
    /// Distinguishes this process's names in `tmp` from leftovers.
    session: String,
    next: AtomicU64,
    records: Arc<RwLock<HashMap<Digest, Record>>>,
}

impl LayerStore {
    /// Opens (or makes) the layer store and removes what a crash left half-unpacked.
    pub fn open(root: &Path, pins: Arc<Pins>, limits: Limits) -> Result<Self, LayerError> {
        let privilege =
            if rustix::process::geteuid().is_root() { Privilege::Root } else { Privilege::Unprivileged };
        let store = Self {
            root: root.to_owned(),
            pins,
            limits,
            privilege,
            boot: durable::boot_id(),
            session: format!("{:08x}", rand_like(root)),
            next: AtomicU64::new(0),
            records: Arc::default(),
        };
        for dir in [root.to_owned(), store.tmp(), store.records_dir()] {
            make_private_dir(&dir).map_err(io_at("create", &dir))?;
        }
        store.read_records()?;
        let leftovers = list_dir(&store.tmp())?;
        remove_in_background(leftovers);
        Ok(store)
    }

    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn records_dir(&self) -> PathBuf {
        self.root.join("records")
    }

    fn record_path(&self, diff_id: Digest) -> PathBuf {
        self.records_dir().join(format!("{}.json", short_name(diff_id)))
    }

    fn temporary(&self, purpose: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.tmp().join(format!("{purpose}-{}-{number}", self.session))
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Digest, Record>> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Digest, Record>> {
        self.records.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the records say, and brings records and trees together: one without the other is what a crash left.
    fn read_records(&self) -> Result<(), LayerError> {
        let mut known = HashSet::new();
        for path in list_dir(&self.records_dir())? {
            let record: Option<Record> =
                fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let sound = record.filter(|record| {
                let settled = record.unsynced.as_ref().is_none_or(|boot| *boot == self.boot);
                settled && record.path(&self.root).is_dir()
            });
            match sound {
                Some(record) if path == self.record_path(record.layer.diff_id) => {
                    known.insert(record.path(&self.root));
                    self.write().insert(record.layer.diff_id, record);
                }
                _ => fs::remove_file(&path).map_err(io_at("remove", &path))?,
            }
        }
        known.extend([self.tmp(), self.records_dir()]);
        for path in list_dir(&self.root)?.into_iter().filter(|path| !known.contains(path)) {
            let aside = self.temporary("retired");
            fs::rename(&path, &aside).map_err(io_at("set aside", &path))?;
        }
        Ok(())
    }

    /// The layer's record.
    pub fn get(&self, diff_id: Digest) -> Result<Layer, LayerError> {
        self.find(diff_id).ok_or(LayerError::Missing(diff_id))
    }

    /// The layer's record, if it is here.
    #[must_use]
    pub fn find(&self, diff_id: Digest) -> Option<Layer> {
        self.read().get(&diff_id).map(|record| record.layer.clone())
    }

    /// Where the layer's tree is, or would be.
    #[must_use]
    pub fn path(&self, diff_id: Digest) -> PathBuf {
        let known = self.read().get(&diff_id).map(|record| record.path(&self.root));
        known.unwrap_or_else(|| self.root.join(short_name(diff_id)))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The size of the plain blob that a layer stands for.
    #[must_use]
    pub fn plain_size(&self, diff_id: Digest) -> Option<u64> {
        self.read().get(&diff_id)?.plain
    }

    /// A place for a tree that has no digest yet, and where it goes to be deleted.
    pub(crate) fn new_names(&self) -> (PathBuf, PathBuf) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("snapshot-{}-{number}", self.session);
        (self.root.join(&name), self.tmp().join(format!("retired-{name}")))
    }

    /// The directories an overlay of these layers (bottom first) is made of, **top first**, as `lowerdir` wants them. A layer that
    /// occurs twice is listed once, at its topmost place (overlayfs refuses a directory twice, and nothing of the lower occurrence
    /// can be seen); what lies under a wholly opaque layer is left out.
    pub fn lowers(&self, diff_ids: &[Digest]) -> Result<Vec<PathBuf>, LayerError> {
        let records = self.read();
        let mut seen = HashSet::new();
        let mut paths = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids.iter().rev() {
            let record = records.get(diff_id).ok_or(LayerError::Missing(*diff_id))?;
            if seen.insert(*diff_id) {
                paths.push(record.path(&self.root));
            }
            if record.layer.opaque {
                break;
            }
        }
        Ok(paths)
    }

    #[must_use]
    pub fn list(&self) -> Vec<Layer> {
        self.read().values().map(|record| record.layer.clone()).collect()
    }

    /// Takes the layer out of the store at once; the bytes go with [`Self::delete_retired`], which may take its time.
    pub fn retire(&self, diff_id: Digest) -> Result<(), LayerError> {
        let mut records = self.write();
        let Some(removed) = records.remove(&diff_id) else { return Ok(()) };
        let (path, record, aside) =
            (removed.path(&self.root), self.record_path(diff_id), self.temporary("retired"));
        fs::rename(&path, &aside).map_err(io_at("set aside", &path))?;
        fs::remove_file(&record).map_err(io_at("remove", &record))
    }

    /// Removes the trees of retired layers.
    pub fn delete_retired(&self) -> Result<(), LayerError> {
        let retired = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"retired-"))
        };
        for path in list_dir(&self.tmp())?.into_iter().filter(retired) {
            match remove_tree_at(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_at("remove", &path)(e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Unpacks a tar stream, compressed in any known way or plain, as a new layer.
    pub fn apply(&self, input: impl Read + Send) -> Result<Layer, LayerError> {
        let staged = self.stage(input)?;
        let layer = self.commit(staged)?.0;
        self.settle_in_background();
        Ok(layer)
    }

    /// Unpacks a stream beside the store.
    pub(crate) fn stage(&self, input: impl Read + Send) -> Result<Staged, LayerError> {
        unpack::unpack(input, self.temporary("staged"), self.privilege, self.limits)
    }

    /// Unpacks a stream that is not compressed and whose digest its feeder computes: `diff_id` is for the caller to fill in.
    pub(crate) fn stage_plain(&self, input: impl BufRead) -> Result<Staged, LayerError> {
        unpack::unpack_plain(input, self.temporary("staged"), self.privilege, self.limits)
    }

    /// Makes a staged tree a layer; the flag says that it was there already.
    pub(crate) fn commit(&self, staged: Staged) -> Result<(Layer, bool), LayerError> {
        self.name_staged(staged, None)
    }

    /// The same for a tree that stands for its plain blob of this size.
    pub(crate) fn commit_sealed(&self, staged: Staged, plain: u64) -> Result<(Layer, bool), LayerError> {
        self.name_staged(staged, Some(plain))
    }

    /// Makes the tree at `path`, beside the other trees, a layer that stands for its plain blob.
    pub(crate) fn adopt(&self, path: &Path, layer: Layer, plain: u64) -> Result<(Layer, bool), LayerError> {
        let diff_id = layer.diff_id;
        self.pins.pin(diff_id);
        let mut records = self.write();
        if let Some(known) = records.get_mut(&diff_id) {
            return self.note_plain(known, plain).map(|layer| (layer, true));
        }
        let directory = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let unsynced = Some(self.boot.clone());
        let record = Record { layer: layer.clone(), unsynced, directory, plain: Some(plain) };
        self.write_record(&record).map_err(io_at("record", path))?;
        records.insert(diff_id, record);
        Ok((layer, false))
    }

    /// A layer that came with a blob of its own turns out to be written the same way by this store: it can stand for its plain blob too.
    fn note_plain(&self, known: &mut Record, plain: u64) -> Result<Layer, LayerError> {
        if known.plain != Some(plain) {
            known.plain = Some(plain);
            self.write_record(known).map_err(io_at("record", &known.path(&self.root)))?;
        }
        Ok(known.layer.clone())
    }

    fn name_staged(&self, staged: Staged, plain: Option<u64>) -> Result<(Layer, bool), LayerError> {
        let diff_id = staged.diff_id;
        self.pins.pin(diff_id);
        let mut records = self.write();
        if let Some(known) = records.get_mut(&diff_id) {
            return match plain {
                Some(plain) => self.note_plain(known, plain).map(|layer| (layer, true)),
                None => Ok((known.layer.clone(), true)),
            };
        }
        let Staged { dir, contents, .. } = staged;
        let layer =
            Layer { diff_id, size: contents.size, entries: contents.entries, opaque: contents.opaque };
        let unsynced = Some(self.boot.clone());
        let record = Record { layer: layer.clone(), unsynced, directory: None, plain };
        let path = record.path(&self.root);
        self.write_record(&record).map_err(io_at("record", &path))?;
        fs::rename(&dir.path, &path).map_err(io_at("name", &path))?;
        dir.keep();
        records.insert(diff_id, record);
        Ok((layer, false))
    }

    fn write_record(&self, record: &Record) -> io::Result<()> {
        let bytes = serde_json::to_vec(record).map_err(io::Error::other)?;
        durable::replace_file(&self.record_path(record.layer.diff_id), &bytes)
    }

    /// Syncs the layers' filesystem on a thread of its own and marks what was there before as safe.
    pub fn settle_in_background(&self) {
        let records = Arc::clone(&self.records);
        let (root, records_dir) = (self.root.clone(), self.records_dir());
        std::thread::spawn(move || {
            if let Err(error) = settle(&root, &records_dir, &records) {
                // The layers stay marked and are checked again after the next boot.
                tracing::debug!(%error, "layers could not be synced");
            }
        });
    }
}

fn settle(root: &Path, records_dir: &Path, records: &RwLock<HashMap<Digest, Record>>) -> io::Result<()> {
    let unsynced: Vec<Digest> = {
        let records = records.read().unwrap_or_else(PoisonError::into_inner);
        records.values().filter(|r| r.unsynced.is_some()).map(|r| r.layer.diff_id).collect()
    };
    if unsynced.is_empty() {
        return Ok(());
    }
    rustix::fs::syncfs(fs::File::open(root)?)?;
    let settled: Vec<Record> = {
        let mut records = records.write().unwrap_or_else(PoisonError::into_inner);
        let mut settle_one = |diff_id: &Digest| {
            let record = records.get_mut(diff_id)?;
            record.unsynced = None;
            Some(record.clone())
        };
        unsynced.iter().filter_map(&mut settle_one).collect()
    };
    // Nobody who starts a container waits for these. A layer that is retired meanwhile leaves a record without a tree, which the
    // next open removes.
    for record in settled {
        let bytes = serde_json::to_vec(&record).map_err(io::Error::other)?;
        let name = format!("{}.json", short_name(record.layer.diff_id));
        durable::replace_file(&records_dir.join(name), &bytes)?;
    }
    Ok(())
}

fn io_at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> LayerError + 'a {
    move |source| LayerError::Io { action, path: path.to_owned(), source }
}

fn list_dir(dir: &Path) -> Result<Vec<PathBuf>, LayerError> {
    let entries = fs::read_dir(dir).map_err(io_at("list", dir))?;
    entries.map(|entry| entry.map(|e| e.path()).map_err(io_at("list", dir))).collect()
}

/// Removes trees (and files) without making anyone wait.
fn remove_in_background(paths: Vec<PathBuf>) {
    if paths.is_empty() {
        return;
    }
    std::thread::spawn(move || {
        for path in paths {
            if let Err(error) = remove_tree_at(&path) {
                tracing::warn!(path = %path.display(), %error, "leftover could not be removed");
            }
        }
    });
}

/// Removes a tree (or a file) by its path.
pub(crate) fn remove_tree_at(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    remove_tree(fs::File::open(parent)?.as_fd(), name)
}

/// A number that two openings of a store do not share.
fn rand_like(root: &Path) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(root)
}

/// The chain ID of a stack of layers, bottom first: names the stack as a whole.
#[must_use]
pub fn chain_id(diff_ids: &[Digest]) -> Option<Digest> {
    let (first, rest) = diff_ids.split_first()?;
    Some(
        rest.iter()
            .fold(*first, |chain, diff_id| crate::content::hash(format!("{chain} {diff_id}").as_bytes())),
    )
}

/// A directory name of 26 letters and digits out of a digest: 130 bits, short enough for many to fit one mount option.
#[must_use]
pub fn short_name(digest: Digest) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut name = String::with_capacity(26);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in &digest.as_bytes()[..17] {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 && name.len() < 26 {
            bits -= 5;
            name.push(char::from(ALPHABET[(held >> bits & 31) as usize]));
        }
        held &= (1 << bits) - 1;
    }
    name
}

#[cfg(test)]
mod tests;
