//! Image archives: what `load` reads, what `save` writes, and a bare root filesystem made into an image.

mod docker;
mod held;
mod import;
mod load;
mod oci;
mod save;

use std::io;

use minke_base::{Digest, Reference};

use crate::content::ContentError;
use crate::document::{Descriptor, Platform};
use crate::layer::LayerError;
use crate::store::{Image, LAYERS_MAX, StoreError};
use crate::tar::TarError;

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
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error(
        "the archive is neither a docker archive (manifest.json, repositories) nor an OCI layout (index.json)"
    )]
    Unknown,
    #[error("read the archive: {0}")]
    Read(#[source] io::Error),
    #[error("write the archive: {0}")]
    Write(#[source] io::Error),
    #[error("archive entry {0} is missing")]
    MissingEntry(String),
    #[error("archive entry {name} is not readable: {source}")]
    Document { name: String, source: serde_json::Error },
    #[error("archive entry {name} has digest {found}, expected {expected}: the archive is corrupt")]
    EntryDigest { name: String, expected: Digest, found: Digest },
    #[error("archive entry {name} is larger than the {max} bytes that are allowed")]
    TooLarge { name: String, max: u64 },
    #[error("layer {name}: {source}")]
    BadLayer { name: String, source: LayerError },
    #[error("image {image} has {layers} layers, its configuration {diff_ids}")]
    LayerCount { image: String, layers: usize, diff_ids: usize },
    #[error("max depth exceeded: image {image} has {layers} layers, {LAYERS_MAX} at most can be mounted")]
    TooDeep { image: String, layers: usize },
    #[error("no image for platform {wanted} in the archive (there are: {found})")]
    Platform { wanted: String, found: String },
    #[error("{0}")]
    Unsupported(String),
    #[error("the image cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

/// What to take from an archive.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The platform to take. When none is said it is the host's, and an image that exists for others only is taken as it is.
    pub platform: Option<Platform>,
}

/// How far a load is. Layers are named by what is known of them at the time: their digest's hex, or the entry's directory in
/// archives of before 2017.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Bytes of one layer's blob read so far. `total` is its size in the archive.
    Reading { layer: &'a str, current: u64, total: u64 },
    /// All bytes of the layer were read and unpacked.
    Read { layer: &'a str },
}

/// An image that is in the store now. The caller records it.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    pub image: Image,
    /// Names the archive gives it, with their tags; none is an untagged image.
    pub names: Vec<Reference>,
    /// The index the image was chosen from, when there was one.
    pub index: Option<Descriptor>,
}

#[cfg(test)]
mod tests;
