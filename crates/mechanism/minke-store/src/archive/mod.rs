//! Image archives: what `load` reads, what `save` writes, and a bare root filesystem made into an image.

mod import;
mod load;
mod save;

use std::path::PathBuf;

use minke_base::{Digest, Reference};

use crate::content::ContentError;
use crate::document::{Descriptor, Platform};
use crate::layer::LayerError;
use crate::store::{Image, StoreError};

pub use import::{build_image, import};
pub use load::load;
pub use save::{SaveImage, save};

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the archive is neither a docker archive (manifest.json, repositories) nor an OCI layout (index.json)"
    )]
    Unknown,
    #[error("read the archive")]
    Read(#[source] std::io::Error),
    #[error("write the archive")]
    Write(#[source] std::io::Error),
    #[error("archive entry {name}")]
    Tar { name: String, source: std::io::Error },
    #[error("archive entry {0} is missing")]
    MissingEntry(String),
    #[error("archive entry {name} is not readable")]
    Document { name: String, source: serde_json::Error },
    #[error("archive entry {name} has digest {found}, its name says {expected}")]
    EntryDigest { name: String, expected: Digest, found: Digest },
    #[error("archive entry {name} is larger than the {max} bytes that are allowed")]
    TooLarge { name: String, max: u64 },
    #[error("layer {diff_id} of image {image} unpacks to {found}: the archive is corrupt")]
    DiffId { image: Digest, diff_id: Digest, found: Digest },
    #[error("image {image} has {layers} layers, its configuration {diff_ids}")]
    LayerCount { image: String, layers: usize, diff_ids: usize },
    #[error("image has no variant for platform {wanted} (there are: {found})")]
    Platform { wanted: Platform, found: String },
    #[error("{0}")]
    Unsupported(String),
    #[error("create {}", path.display())]
    Create { path: PathBuf, source: std::io::Error },
}

/// What to take from an archive.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The platform to unpack; the host's when not said. An image for another platform only is loaded as it is.
    pub platform: Option<Platform>,
}

/// How far a load is. Layers are named by what is known of them at the time: their digest, or the entry's name in old archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Bytes of one layer's blob read so far. `total` is its size in the archive.
    Reading { layer: &'a str, current: u64, total: u64 },
    /// The layer is in the store, or had been.
    Done { layer: &'a str, already: bool },
}

/// An image that is in the store now. The caller records it.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    pub image: Image,
    /// Names the archive gives it, tags included; none is an untagged image.
    pub names: Vec<Reference>,
    /// The index the image was chosen from, when there was one with several platforms.
    pub index: Option<Descriptor>,
}
