//! The entries of an archive, held until it is known what they are: an archive may tell that at its end.
//!
//! What looks like a layer is already written as a blob and unpacked while it is read, so nothing is read twice; what turns out not
//! to be needed goes when this is dropped, and so does everything when a load fails.

use std::collections::HashMap;
use std::io::{BufRead, Cursor, Read};

use minke_base::Digest;
use sha2::{Digest as _, Sha256};

use super::{ArchiveError, Progress};
use crate::compression::Compression;
use crate::content::{Blob, DOCUMENT_MAX, Expected, FinishedBlob, hash};
use crate::document::Descriptor;
use crate::intake::{Intake, take_in};
use crate::layer::{LayerError, Staged};
use crate::store::Store;
use crate::tar::{BLOCK, Entry, Kind, Reader, looks_like_header};

/// Documents of one archive together.
const DOCUMENTS_MAX: u64 = 256 << 20;
const ENTRIES_MAX: usize = 1_000_000;
/// Longer names belong to no archive of images.
const NAME_MAX: usize = 1024;

pub(super) struct Held<'a> {
    store: &'a Store,
    entries: HashMap<String, Item<'a>>,
    documents: u64,
}

enum Item<'a> {
    Document(Vec<u8>),
    Blob(Box<HeldBlob<'a>>),
    /// The store has both blob and layer.
    Known(Blob),
    Link(String),
}

pub(super) struct HeldBlob<'a> {
    blob: FinishedBlob<'a>,
    staged: Option<Result<Staged, LayerError>>,
    media_type: &'static str,
}

/// A layer that an image of the archive wants.
#[derive(Debug, Clone)]
pub(super) struct WantedLayer {
    /// Its entry; `None`: only the store can have it.
    pub(super) entry: Option<String>,
    pub(super) blob: Descriptor,
    pub(super) diff_id: Digest,
}

impl<'a> Held<'a> {
    pub(super) fn read<R: BufRead>(
        store: &'a Store,
        reader: &mut Reader<R>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Self, ArchiveError> {
        let mut held = Self { store, entries: HashMap::new(), documents: 0 };
        while let Some(entry) = reader.next_entry()? {
            let Some(name) = plain_name(&entry.path) else { continue };
            let item = match entry.kind {
                Kind::File => held.take_file(&name, &entry, reader, progress)?,
                Kind::Symlink | Kind::HardLink => {
                    let target = String::from_utf8_lossy(&entry.link).into_owned();
                    let from = if entry.kind == Kind::Symlink { parent(&name) } else { "" };
                    let Some(target) = plain_name(format!("{from}/{target}").as_bytes()) else { continue };
                    Item::Link(target)
                }
                _ => continue,
            };
            held.entries.insert(name, item);
            if held.entries.len() > ENTRIES_MAX {
                return Err(ArchiveError::TooLarge { name: "list".to_owned(), max: ENTRIES_MAX as u64 });
            }
        }
        Ok(held)
    }

    fn take_file<R: BufRead>(
        &mut self,
        name: &str,
        entry: &Entry,
        reader: &mut Reader<R>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Item<'a>, ArchiveError> {
        // A reader's chunks may be of any size; a header needs a whole block.
        let mut start = Vec::new();
        reader.by_ref().take(BLOCK as u64).read_to_end(&mut start).map_err(ArchiveError::Read)?;
        let is_layer = Compression::detect(&start) != Compression::None
            || looks_like_header(&start)
            || (start.is_empty() && name.ends_with(".tar"));
        let is_text = start.iter().find(|b| !b.is_ascii_whitespace()).is_none_or(u8::is_ascii_graphic);
        let mut source = Cursor::new(&start).chain(reader);
        if is_text && !is_layer && entry.size <= DOCUMENT_MAX {
            self.documents += entry.size;
            if self.documents > DOCUMENTS_MAX {
                return Err(ArchiveError::TooLarge { name: "documents".to_owned(), max: DOCUMENTS_MAX });
            }
            let mut bytes = Vec::new();
            source.read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
            return Ok(Item::Document(bytes));
        }
        let label = label(name);
        let total = entry.size;
        let named = named_digest(name);
        if let Some(digest) = named
            && self.store.content().size(digest)? == Some(total)
            && self.store.layers().find(digest).is_some()
        {
            self.store.pin(digest);
            return known(digest, total, name, &mut source).map(Item::Known);
        }
        let mut on_bytes = |current| progress(Progress::Reading { layer: &label, current, total });
        let expected = Expected { size: Some(total), ..Expected::default() };
        let Intake { blob, staged, compression } = take_in(self.store, &mut source, expected, &mut on_bytes)?;
        if staged.is_some() {
            progress(Progress::Read { layer: &label });
        }
        let media_type = compression.layer_media_type();
        Ok(Item::Blob(Box::new(HeldBlob { blob, staged, media_type })))
    }

    /// The entry's own name, links followed.
    fn follow(&self, name: &str) -> Option<(&str, &Item<'a>)> {
        let (mut name, mut item) = self.entries.get_key_value(name)?;
        for _ in 0..8 {
            match item {
                Item::Link(target) => (name, item) = self.entries.get_key_value(target)?,
                item => return Some((name, item)),
            }
        }
        None
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.follow(name).is_some()
    }

    /// A document's bytes.
    pub(super) fn document(&self, name: &str) -> Result<&[u8], ArchiveError> {
        match self.follow(name) {
            Some((_, Item::Document(bytes))) => Ok(bytes),
            Some(_) => Err(ArchiveError::TooLarge { name: name.to_owned(), max: DOCUMENT_MAX }),
            None => Err(ArchiveError::MissingEntry(name.to_owned())),
        }
    }

    /// A document by its digest: from the archive, or from the store.
    pub(super) fn blob_document(&self, digest: Digest) -> Result<Option<Vec<u8>>, ArchiveError> {
        let name = blob_name(digest);
        if !self.has(&name) {
            return Ok(match self.store.content().size(digest)? {
                Some(_) => Some(self.store.content().read(digest)?),
                None => None,
            });
        }
        let bytes = self.document(&name)?;
        let found = hash(bytes);
        if found != digest {
            return Err(ArchiveError::EntryDigest { name, expected: digest, found });
        }
        Ok(Some(bytes.to_vec()))
    }

    /// The blob that an entry holds: digest, size, media type as its bytes tell it.
    pub(super) fn blob(&self, name: &str) -> Result<Descriptor, ArchiveError> {
        let (blob, media_type) = match self.follow(name) {
            Some((_, Item::Blob(held))) => (held.blob.blob(), held.media_type),
            Some((_, Item::Known(blob))) => (*blob, crate::document::media_type::OCI_LAYER),
            Some((_, Item::Document(bytes))) => {
                (Blob { digest: hash(bytes), size: bytes.len() as u64 }, "application/octet-stream")
            }
            _ => return Err(ArchiveError::MissingEntry(name.to_owned())),
        };
        Ok(Descriptor::new(media_type, blob.digest, blob.size))
    }

    /// What a layer's entry unpacked to.
    pub(super) fn diff_id(&self, name: &str) -> Option<Digest> {
        match self.follow(name)?.1 {
            Item::Blob(held) => held.staged.as_ref()?.as_ref().ok().map(|staged| staged.diff_id),
            Item::Known(blob) => Some(blob.digest),
            _ => None,
        }
    }

    pub(super) fn store_has(&self, digest: Digest) -> Result<bool, ArchiveError> {
        self.store.pin(digest);
        Ok(self.store.blob_size(digest)?.is_some())
    }

    /// Checks that a layer can be had and unpacks to what its image says, before anything is stored.
    pub(super) fn check(&self, wanted: &WantedLayer) -> Result<(), ArchiveError> {
        let Some(entry) = &wanted.entry else { return Ok(()) };
        match self.follow(entry) {
            Some((_, Item::Known(blob))) if blob.digest == wanted.diff_id => Ok(()),
            Some((_, Item::Known(blob))) => Err(ArchiveError::BadLayer {
                name: entry.clone(),
                source: LayerError::DiffId { expected: wanted.diff_id, found: blob.digest },
            }),
            Some((_, Item::Blob(held))) => match &held.staged {
                Some(Ok(staged)) if staged.diff_id != wanted.diff_id => Err(ArchiveError::BadLayer {
                    name: entry.clone(),
                    source: LayerError::DiffId { expected: wanted.diff_id, found: staged.diff_id },
                }),
                // An error is told when the layer is taken; here it is only borrowed.
                Some(_) => Ok(()),
                None => Err(ArchiveError::Unsupported(format!("archive entry {entry} is not a layer"))),
            },
            Some(_) => Err(ArchiveError::Unsupported(format!("archive entry {entry} is not a layer"))),
            None => Err(ArchiveError::MissingEntry(entry.clone())),
        }
    }

    /// The first layer of these that could not be unpacked.
    pub(super) fn take_failure(&mut self, wanted: &[WantedLayer]) -> Option<ArchiveError> {
        for name in wanted.iter().filter_map(|layer| layer.entry.as_deref()) {
            let Some(own) = self.follow(name).map(|(own, _)| own.to_owned()) else { continue };
            let Some(Item::Blob(held)) = self.entries.get_mut(&own) else { continue };
            if let Some(Err(_)) = &held.staged
                && let Some(Err(source)) = held.staged.take()
            {
                return Some(ArchiveError::BadLayer { name: own, source });
            }
        }
        None
    }

    /// Gives a checked layer its place in the store: blob and tree.
    pub(super) fn store_layer(&mut self, wanted: &WantedLayer) -> Result<(), ArchiveError> {
        let own = wanted.entry.as_deref().and_then(|name| self.follow(name)).map(|(own, _)| own.to_owned());
        if let Some(Item::Blob(_)) = own.as_ref().and_then(|own| self.entries.get(own))
            && let Some(own) = own
            && let Some(Item::Blob(held)) = self.entries.remove(&own)
        {
            let HeldBlob { blob, staged, .. } = *held;
            let blob = blob.publish()?;
            if let Some(Ok(staged)) = staged {
                self.store.layers().commit(staged)?;
            }
            // Another image of the archive may want it too.
            self.entries.insert(own, Item::Known(blob));
        }
        self.store.unpack_layer(wanted.diff_id, wanted.blob.digest)?;
        Ok(())
    }
}

/// Checks bytes that are in the store already against the entry that claims to be them.
fn known(digest: Digest, size: u64, name: &str, source: &mut dyn Read) -> Result<Blob, ArchiveError> {
    let mut hasher = Sha256::new();
    std::io::copy(source, &mut hasher).map_err(ArchiveError::Read)?;
    let found = Digest::from_sha256(hasher.finalize().into());
    if found == digest {
        return Ok(Blob { digest, size });
    }
    Err(ArchiveError::EntryDigest { name: name.to_owned(), expected: digest, found })
}

/// Where an OCI layout keeps a blob.
pub(super) fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The digest in a blob's name.
fn named_digest(name: &str) -> Option<Digest> {
    Digest::from_hex(name.strip_prefix("blobs/sha256/")?).ok()
}

/// What progress calls a layer: its digest, or the directory that old archives name it by.
fn label(name: &str) -> String {
    let name = name.strip_prefix("blobs/sha256/").unwrap_or(name);
    name.strip_suffix("/layer.tar").or_else(|| name.strip_suffix(".tar")).unwrap_or(name).to_owned()
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A name without `./`, empty parts and `..`; names that lead out of the archive mean nothing here.
fn plain_name(path: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(path).ok().filter(|text| text.len() <= NAME_MAX)?;
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
