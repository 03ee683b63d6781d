//! An image out of one tar, or out of layers that are here already.

use std::io::Read;

use minke_base::Digest;

use super::ArchiveError;
use crate::content::Expected;
use crate::document::{Descriptor, ImageConfig, Manifest, media_type};
use crate::store::{Image, Store};

/// Makes a one-layer image of a root filesystem's tar (compressed or not). `config` is complete but for the layer's diff ID, which
/// is filled in here. Take a [`crate::pins::Hold`] first.
pub fn import(store: &Store, input: &mut dyn Read, config: ImageConfig) -> Result<Image, ArchiveError> {
    let added = store.add_layer(input, Expected::default())?;
    let blob = Descriptor::new(added.compression.layer_media_type(), added.blob.digest, added.blob.size);
    build_image(store, config, vec![(blob, added.layer.diff_id)])
}

/// Makes an image of a configuration (whose diff IDs are replaced) and layers that are in the store, bottom first: each its blob
/// and its diff ID.
pub fn build_image(
    store: &Store,
    mut config: ImageConfig,
    layers: Vec<(Descriptor, Digest)>,
) -> Result<Image, ArchiveError> {
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids = layers.iter().map(|(_, diff_id)| *diff_id).collect();
    let layers: Vec<Descriptor> = layers.into_iter().map(|(blob, _)| blob).collect();
    let config_blob = store.content().put(&serde_json::to_vec(&config).map_err(ArchiveError::Encode)?)?;
    let described = Descriptor::new(media_type::OCI_CONFIG, config_blob.digest, config_blob.size);
    let manifest = Manifest::oci(described, layers.clone());
    let manifest = store.content().put(&serde_json::to_vec(&manifest).map_err(ArchiveError::Encode)?)?;
    let manifest = Descriptor::new(media_type::OCI_MANIFEST, manifest.digest, manifest.size);
    Ok(Image { id: config_blob.digest, manifest, layers, config })
}
