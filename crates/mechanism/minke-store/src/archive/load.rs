//! Reading an archive from a stream.

use std::io::{BufReader, Read};

use super::held::{Held, WantedLayer};
use super::{ArchiveError, LoadOptions, LoadedImage, Progress, docker, oci};
use crate::compression::Decoder;
use crate::content::hash;
use crate::document::{Descriptor, ImageConfig, media_type};
use crate::store::{Image, Store};
use crate::tar::Reader;
use minke_base::Reference;

/// An image found in an archive, complete but not stored.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) manifest: Vec<u8>,
    pub(super) manifest_type: String,
    pub(super) config: Vec<u8>,
    pub(super) parsed: ImageConfig,
    pub(super) layers: Vec<WantedLayer>,
    pub(super) names: Vec<Reference>,
    /// The index it was chosen from.
    pub(super) index: Option<(Descriptor, Vec<u8>)>,
}

/// Reads a docker archive (old or new) or an OCI layout, compressed or not, from a stream, and stores its images.
///
/// Either all its images are stored or none. Take a [`crate::pins::Hold`] first and keep it until the images are recorded.
pub fn load(
    store: &Store,
    input: impl Read + Send,
    options: &LoadOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<LoadedImage>, ArchiveError> {
    let decoder = Decoder::new(input, store.layers().limits()).map_err(ArchiveError::Read)?;
    let mut reader = Reader::new(BufReader::with_capacity(256 << 10, decoder));
    let mut held = Held::read(store, &mut reader, progress)?;
    // The sender should not meet a closed pipe only because the archive is padded.
    std::io::copy(&mut reader.into_inner(), &mut std::io::sink()).map_err(ArchiveError::Read)?;
    let plans = plan(&held, options)?;
    for plan in &plans {
        if let Some(failure) = held.take_failure(&plan.layers) {
            return Err(failure);
        }
        plan.layers.iter().try_for_each(|layer| held.check(layer))?;
    }
    let loaded =
        plans.into_iter().map(|plan| apply(store, &mut held, plan)).collect::<Result<Vec<_>, _>>()?;
    store.content().sync_names()?;
    store.layers().settle_in_background();
    Ok(loaded)
}

/// Decides which of the formats the archive is in. Docker writes three at once; the OCI layout is the one that keeps manifests, so
/// it is preferred, and the names of the others are added.
fn plan(held: &Held<'_>, options: &LoadOptions) -> Result<Vec<Plan>, ArchiveError> {
    if held.has("index.json") {
        let mut plans = oci::plan(held, options)?;
        if !plans.is_empty() {
            if held.has("manifest.json") {
                docker::add_names(held, &mut plans)?;
            }
            return Ok(plans);
        }
    }
    if held.has("manifest.json") {
        return docker::plan(held);
    }
    if held.has("repositories") {
        return docker::plan_legacy(held);
    }
    Err(ArchiveError::Unknown)
}

fn apply(store: &Store, held: &mut Held<'_>, plan: Plan) -> Result<LoadedImage, ArchiveError> {
    for layer in &plan.layers {
        held.store_layer(layer)?;
    }
    let id = store.content().put(&plan.config)?.digest;
    let manifest = store.content().put(&plan.manifest)?;
    let index = match plan.index {
        Some((descriptor, bytes)) => {
            store.content().put(&bytes)?;
            Some(descriptor)
        }
        None => None,
    };
    let image = Image {
        id,
        manifest: Descriptor::new(&plan.manifest_type, manifest.digest, manifest.size),
        layers: plan.layers.into_iter().map(|layer| layer.blob).collect(),
        config: plan.parsed,
    };
    Ok(LoadedImage { image, names: plan.names, index })
}

/// Makes the manifest of an image that came without one.
pub(super) fn plan_manifest(config: &[u8], layers: &[WantedLayer]) -> Result<Vec<u8>, ArchiveError> {
    let config = Descriptor::new(media_type::OCI_CONFIG, hash(config), config.len() as u64);
    let layers = layers.iter().map(|layer| layer.blob.clone()).collect();
    serde_json::to_vec(&crate::document::Manifest::oci(config, layers)).map_err(ArchiveError::Encode)
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|source| ArchiveError::Document { name: name.to_owned(), source })
}

/// A name of an archive as a reference with a tag. What is no reference is left out: other tools write free text there.
pub(super) fn reference(text: &str) -> Option<Reference> {
    let reference = Reference::parse(text).ok()?.or_latest();
    reference.tag()?;
    Some(reference)
}

pub(super) fn add_name(names: &mut Vec<Reference>, name: Reference) {
    if !names.contains(&name) {
        names.push(name);
    }
}
