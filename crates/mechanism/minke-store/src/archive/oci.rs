//! OCI layouts: `index.json`, indexes inside it, and the choice of a platform.

use minke_base::{Digest, Reference};

use super::held::{Held, WantedLayer, blob_name};
use super::load::{Plan, add_name, parse, reference};
use super::{ArchiveError, LoadOptions};
use crate::document::{Descriptor, ImageConfig, Index, Manifest, Platform, annotation};
use crate::store::LAYERS_MAX;

/// Indexes in indexes; real ones are two deep.
const DEPTH_MAX: usize = 8;

/// A manifest that is present, with where it was found.
struct Candidate {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    platform: Platform,
    index: Option<(Descriptor, Vec<u8>)>,
}

pub(super) fn plan(held: &Held<'_>, options: &LoadOptions) -> Result<Vec<Plan>, ArchiveError> {
    let index: Index = parse("index.json", held.document("index.json")?)?;
    let mut groups: Vec<(Option<Digest>, Vec<Reference>, Vec<Candidate>)> = Vec::new();
    for descriptor in index.manifests.iter().filter(|d| !is_attestation(d)) {
        let names = names(descriptor);
        let mut candidates = Vec::new();
        collect(held, descriptor, None, 0, &mut candidates)?;
        // One name several times is one image for several platforms; one manifest several times is one image with several names.
        let same = groups.iter_mut().find(|(digest, known, _)| {
            *digest == Some(descriptor.digest) || known.iter().any(|name| names.contains(name))
        });
        match same {
            Some((digest, known, there)) => {
                names.into_iter().for_each(|name| add_name(known, name));
                if *digest != Some(descriptor.digest) {
                    *digest = None;
                    there.extend(candidates);
                }
            }
            None => groups.push((Some(descriptor.digest), names, candidates)),
        }
    }
    let mut plans = Vec::new();
    for (_, names, candidates) in groups {
        if let Some(chosen) = choose(candidates, options)? {
            plans.push(plan_image(held, chosen, names)?);
        }
    }
    Ok(plans)
}

/// The names that a descriptor's annotations give. Docker and containerd write the whole name; others write it, or a bare tag,
/// under the specification's key.
fn names(descriptor: &Descriptor) -> Vec<Reference> {
    let full = descriptor.annotations.get(annotation::IMAGE_NAME).and_then(|name| reference(name));
    let other = descriptor
        .annotations
        .get(annotation::REF_NAME)
        .filter(|name| name.contains(['/', ':']))
        .and_then(|name| reference(name));
    full.or(other).into_iter().collect()
}

/// Signatures and build records travel as manifests for no platform.
fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.annotations.contains_key("vnd.docker.reference.type")
        || descriptor.platform.as_ref().is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
}

fn collect(
    held: &Held<'_>,
    descriptor: &Descriptor,
    index: Option<&(Descriptor, Vec<u8>)>,
    depth: usize,
    found: &mut Vec<Candidate>,
) -> Result<(), ArchiveError> {
    // An index may list what the archive does not hold.
    let Some(bytes) = held.blob_document(descriptor.digest)? else { return Ok(()) };
    let name = blob_name(descriptor.digest);
    if bytes.len() as u64 != descriptor.size {
        return Err(ArchiveError::Unsupported(format!(
            "archive entry {name} has {} bytes where {} were announced",
            bytes.len(),
            descriptor.size
        )));
    }
    let value: serde_json::Value = parse(&name, &bytes)?;
    if descriptor.is_index() || (!descriptor.is_manifest() && value.get("manifests").is_some()) {
        if depth == DEPTH_MAX {
            return Err(ArchiveError::Unsupported(format!(
                "indexes are nested deeper than {DEPTH_MAX} at {name}"
            )));
        }
        let inner: Index = parse(&name, &bytes)?;
        let here = (descriptor.clone(), bytes);
        let children = inner.manifests.iter().filter(|child| !is_attestation(child));
        return children
            .into_iter()
            .try_for_each(|child| collect(held, child, Some(&here), depth + 1, found));
    }
    let manifest: Manifest = parse(&name, &bytes)?;
    if manifest.artifact_type.is_some() {
        return Ok(());
    }
    let platform = match &descriptor.platform {
        Some(platform) => platform.clone(),
        None => match held.blob_document(manifest.config.digest)? {
            Some(config) => parse::<ImageConfig>(&blob_name(manifest.config.digest), &config)?.platform(),
            None => return Err(ArchiveError::MissingEntry(blob_name(manifest.config.digest))),
        },
    };
    found.push(Candidate { descriptor: descriptor.clone(), bytes, platform, index: index.cloned() });
    Ok(())
}

fn choose(candidates: Vec<Candidate>, options: &LoadOptions) -> Result<Option<Candidate>, ArchiveError> {
    let wanted = options.platform.clone().unwrap_or_else(Platform::host);
    let listed: Vec<String> = candidates.iter().map(|c| c.platform.to_string()).collect();
    let any = !candidates.is_empty();
    let mut rest = candidates;
    let best = (0..rest.len())
        .filter_map(|i| rest[i].platform.rank(&wanted).map(|rank| (rank, i)))
        .min()
        .map(|(_, i)| rest.swap_remove(i));
    match best {
        Some(best) => Ok(Some(best)),
        None if any && options.platform.is_some() => {
            Err(ArchiveError::Platform { wanted: wanted.to_string(), found: listed.join(", ") })
        }
        None => Ok(rest.into_iter().next()),
    }
}

fn plan_image(held: &Held<'_>, chosen: Candidate, names: Vec<Reference>) -> Result<Plan, ArchiveError> {
    let name = blob_name(chosen.descriptor.digest);
    let manifest: Manifest = parse(&name, &chosen.bytes)?;
    let config_name = blob_name(manifest.config.digest);
    let config = held
        .blob_document(manifest.config.digest)?
        .ok_or_else(|| ArchiveError::MissingEntry(config_name.clone()))?;
    let parsed: ImageConfig = parse(&config_name, &config)?;
    if parsed.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(ArchiveError::LayerCount {
            image: manifest.config.digest.to_string(),
            layers: manifest.layers.len(),
            diff_ids: parsed.rootfs.diff_ids.len(),
        });
    }
    if manifest.layers.len() > LAYERS_MAX {
        let image = manifest.config.digest.to_string();
        return Err(ArchiveError::TooDeep { image, layers: manifest.layers.len() });
    }
    let mut layers = Vec::with_capacity(manifest.layers.len());
    for (blob, diff_id) in manifest.layers.into_iter().zip(&parsed.rootfs.diff_ids) {
        let entry = blob_name(blob.digest);
        let entry = if held.has(&entry) {
            let found = held.blob(&entry)?;
            if found.digest != blob.digest {
                return Err(ArchiveError::EntryDigest {
                    name: entry,
                    expected: blob.digest,
                    found: found.digest,
                });
            }
            Some(entry)
        } else if held.store_has(blob.digest)? {
            None
        } else if blob.urls.is_empty() {
            return Err(ArchiveError::MissingEntry(entry));
        } else {
            return Err(ArchiveError::Unsupported(format!(
                "layer {} is kept elsewhere ({}), which load does not fetch",
                blob.digest,
                blob.urls.join(", ")
            )));
        };
        layers.push(WantedLayer { entry, blob, diff_id: *diff_id });
    }
    let manifest_type = if chosen.descriptor.media_type.is_empty() {
        manifest.media_type.unwrap_or_else(|| crate::document::media_type::OCI_MANIFEST.to_owned())
    } else {
        chosen.descriptor.media_type
    };
    Ok(Plan { manifest: chosen.bytes, manifest_type, config, parsed, layers, names, index: chosen.index })
}
