//! Writing images as one archive that Docker, podman and skopeo read: an OCI layout that also carries Docker's `manifest.json` and
//! `repositories`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use minke_base::{Digest, Reference};
use serde::Serialize;

use super::ArchiveError;
use super::docker::Item;
use super::held::blob_name;
use crate::document::{Descriptor, Index, annotation};
use crate::store::{Image, Store};
use crate::tar::{Entry, Kind, Writer};

/// One image to save, with the names it shall have in the archive.
#[derive(Debug, Clone)]
pub struct SaveImage {
    pub manifest: Digest,
    /// With tags; none saves the image untagged.
    pub names: Vec<Reference>,
}

/// Writes images. Blobs keep their bytes, so every digest survives, and the same images give the same archive.
pub fn save(store: &Store, images: &[SaveImage], output: &mut dyn Write) -> Result<(), ArchiveError> {
    let mut documents = Documents::default();
    for wanted in images {
        let image = store.read_image(wanted.manifest)?;
        documents.add(&image, &wanted.names);
    }
    // A missing blob is better told before the first byte is out.
    for digest in &documents.blobs {
        if store.blob_size(*digest)?.is_none() {
            return Err(crate::content::ContentError::Missing(*digest).into());
        }
    }
    let mut writer = Writer::new(output);
    for dir in ["blobs/", "blobs/sha256/"] {
        let entry = Entry { path: dir.into(), kind: Kind::Directory, mode: 0o755, ..Entry::default() };
        writer.append(&entry, &mut io::empty()).map_err(ArchiveError::Write)?;
    }
    for digest in &documents.blobs {
        let size = store.blob_size(*digest)?.unwrap_or_default();
        let mut blob = store.open_blob(*digest)?;
        append(&mut writer, &blob_name(*digest), size, &mut blob)?;
        // Reading to the end is what checks the last bytes.
        blob.read_exact(&mut [0]).map_or_else(
            |e| if e.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(ArchiveError::Read(e)) },
            |()| Ok(()),
        )?;
    }
    documents.write(&mut writer)?;
    writer.finish().map(|_output| ()).map_err(ArchiveError::Write)
}

#[derive(Default)]
struct Documents {
    blobs: BTreeSet<Digest>,
    index: Vec<Descriptor>,
    items: Vec<Item>,
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

impl Documents {
    fn add(&mut self, image: &Image, names: &[Reference]) {
        self.blobs.extend([image.manifest.digest, image.id]);
        self.blobs.extend(image.layers.iter().map(|layer| layer.digest));
        let plain = Descriptor::new(&image.manifest.media_type, image.manifest.digest, image.manifest.size);
        if names.is_empty() {
            self.index.push(plain.clone());
        }
        for name in names {
            let tag = name.tag().unwrap_or("latest").to_owned();
            let mut descriptor = plain.clone();
            descriptor.annotations.insert(annotation::IMAGE_NAME.to_owned(), name.to_string());
            descriptor.annotations.insert(annotation::REF_NAME.to_owned(), tag.clone());
            self.index.push(descriptor);
            if let Some(top) = image.layers.last() {
                self.repositories.entry(name.familiar_name()).or_default().insert(tag, top.digest.hex());
            }
        }
        let sources = image.diff_ids().iter().zip(&image.layers);
        let source = |layer: &Descriptor| Descriptor::new(&layer.media_type, layer.digest, layer.size);
        self.items.push(Item {
            config: blob_name(image.id),
            repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
            layers: image.layers.iter().map(|layer| blob_name(layer.digest)).collect(),
            layer_sources: sources.map(|(diff_id, layer)| (*diff_id, source(layer))).collect(),
        });
    }

    fn write(&self, writer: &mut Writer<&mut dyn Write>) -> Result<(), ArchiveError> {
        append_json(writer, "index.json", &Index::oci(self.index.clone()))?;
        append_json(writer, "manifest.json", &self.items)?;
        append_json(writer, "oci-layout", &serde_json::json!({"imageLayoutVersion": "1.0.0"}))?;
        if !self.repositories.is_empty() {
            append_json(writer, "repositories", &self.repositories)?;
        }
        Ok(())
    }
}

fn append_json(
    writer: &mut Writer<&mut dyn Write>,
    name: &str,
    document: &impl Serialize,
) -> Result<(), ArchiveError> {
    let bytes = serde_json::to_vec(document).map_err(ArchiveError::Encode)?;
    append(writer, name, bytes.len() as u64, &mut &*bytes)
}

fn append(
    writer: &mut Writer<&mut dyn Write>,
    name: &str,
    size: u64,
    data: &mut dyn Read,
) -> Result<(), ArchiveError> {
    let entry = Entry { path: name.into(), mode: 0o644, size, ..Entry::default() };
    writer.append(&entry, data).map_err(ArchiveError::Write)
}
