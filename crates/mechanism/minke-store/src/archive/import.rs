//! An image out of one tar, or out of layers that are here already.

use std::io::Read;

use minke_base::Digest;

use super::ArchiveError;
use crate::document::{Descriptor, ImageConfig};
use crate::store::{Image, Store};

/// Makes a one-layer image of a root filesystem's tar (compressed or not). `config` is complete but for the layer's diff ID, which
/// is filled in here.
pub fn import(
    store: &Store,
    input: &mut (dyn Read + Send),
    config: ImageConfig,
) -> Result<Image, ArchiveError> {
    let _unfinished = (store, input, config);
    todo!()
}

/// Makes an image of a configuration (whose diff IDs are replaced) and layers that are in the store, bottom first: each its blob
/// and its diff ID.
pub fn build_image(
    store: &Store,
    config: ImageConfig,
    layers: Vec<(Descriptor, Digest)>,
) -> Result<Image, ArchiveError> {
    let _unfinished = (store, config, layers);
    todo!()
}
