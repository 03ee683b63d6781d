//! Layers as directory trees: `layers/<short>/`, each the difference its tar described, in the form overlayfs wants.
//!
//! A layer is unpacked into `layers/tmp/` and renamed when it is whole, so a layer that has its name is complete. Layers stand
//! alone (nothing in one refers to another) and are therefore named and shared by diff ID, not by chain. What is known about a
//! layer is a small record beside it, `layers/records/<short>.json`, written before the rename.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minke_base::Digest;
use serde::{Deserialize, Serialize};

use crate::content::Blob;
use crate::pins::Pins;

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("no layer {0} in the store")]
    Missing(Digest),
    #[error("{action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
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
    #[serde(default)]
    pub opaque: bool,
}

/// One line of `docker diff`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute inside the container.
    pub path: PathBuf,
    pub kind: ChangeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
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

#[derive(Debug)]
pub struct LayerStore {
    root: PathBuf,
    pins: Arc<Pins>,
    limits: Limits,
}

impl LayerStore {
    /// Opens (or makes) the layer store and removes what a crash left half-unpacked.
    pub fn open(root: &Path, pins: Arc<Pins>, limits: Limits) -> Result<Self, LayerError> {
        let _unfinished = (root, pins, limits);
        todo!()
    }

    /// The layer's record.
    pub fn get(&self, diff_id: Digest) -> Result<Layer, LayerError> {
        let _unfinished = (&self.root, &self.pins, self.limits, diff_id);
        todo!()
    }

    /// Where the layer's tree is, or would be.
    #[must_use]
    pub fn path(&self, diff_id: Digest) -> PathBuf {
        self.root.join(short_name(diff_id))
    }

    /// The directories an overlay of these layers is made of, **top first**, as `lowerdir` wants them. A layer that occurs twice is
    /// listed once, at its topmost place (overlayfs refuses a directory twice, and nothing of the lower occurrence can be seen);
    /// what lies under an opaque layer is left out.
    pub fn lowers(&self, diff_ids: &[Digest]) -> Result<Vec<PathBuf>, LayerError> {
        let _unfinished = diff_ids;
        todo!()
    }

    pub fn list(&self) -> Result<Vec<Layer>, LayerError> {
        todo!()
    }

    /// Takes the layer out of the store at once; the bytes go with [`Self::delete_retired`], which may take its time.
    pub fn retire(&self, diff_id: Digest) -> Result<(), LayerError> {
        let _unfinished = diff_id;
        todo!()
    }

    pub fn delete_retired(&self) -> Result<(), LayerError> {
        todo!()
    }

    /// Unpacks a tar stream, compressed in any known way or plain, as a new layer.
    pub fn apply(&self, input: &mut (dyn Read + Send)) -> Result<Layer, LayerError> {
        let _unfinished = input;
        todo!()
    }
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
    for byte in digest.as_bytes() {
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
