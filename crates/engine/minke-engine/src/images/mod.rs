//! Images: which there are, what they are called, and what is done to them as a whole.
//!
//! Bytes and trees are `minke-store`'s business. This service keeps the records: in memory for reading, in the ledger
//! for keeping. A load holds what it added in the store until its record is in the ledger.

mod changes;
mod fetching;
mod image;
mod listing;
mod pull;
mod push;
mod removal;
mod slots;
mod transfer;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use minke_api::container::{ChangeKind, FilesystemChange};
use minke_base::{Digest, Reference};
use minke_store::Store;
use minke_store::document::Platform;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::containers::Registry;
use crate::error::{Error, Result};
use crate::events::Events;
use crate::ledger::{ImageRow, Ledger, TagRow};

pub use image::Image;
pub use listing::ImageListOptions;
pub use pull::PullRequest;
pub use push::PushRequest;
pub use transfer::ImportRequest;

pub(crate) use image::{read_accounts, read_accounts_of};

/// What the ledger keeps of an image beside its digests.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ImageRecord {
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
}

#[derive(Debug)]
struct Tag {
    image: String,
    at: Moment,
}

#[derive(Debug, Default)]
struct Catalogue {
    by_id: BTreeMap<String, Arc<Image>>,
    /// By canonical reference.
    tags: BTreeMap<String, Tag>,
}

/// The service.
#[derive(Debug)]
pub struct Images {
    store: Arc<Store>,
    ledger: Arc<Ledger>,
    events: Arc<Events>,
    registry: Arc<Registry>,
    catalogue: RwLock<Catalogue>,
    fetches: fetching::Fetches,
    /// Layers that are pushed at once.
    uploads: slots::Slots,
}

/// How many layers travel at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferLimits {
    /// Here, over all pulls.
    pub downloads: usize,
    /// Away, over all pushes.
    pub uploads: usize,
}

impl Default for TransferLimits {
    fn default() -> Self {
        Self { downloads: 3, uploads: 5 }
    }
}

impl Images {
    /// Reads the records. An image whose documents are damaged is left out and reported.
    pub(crate) fn open(
        store: Arc<Store>,
        ledger: Arc<Ledger>,
        events: Arc<Events>,
        registry: Arc<Registry>,
        limits: TransferLimits,
    ) -> Result<(Self, Vec<String>)> {
        let mut catalogue = Catalogue::default();
        let mut warnings = Vec::new();
        for row in ledger.images()? {
            let record: ImageRecord = serde_json::from_str(&row.record).unwrap_or_default();
            let read =
                row.manifest.parse::<Digest>().map_err(|source| source.to_string()).and_then(|manifest| {
                    store.read_image(manifest).map_err(|source| crate::error::chain(&source))
                });
            match read {
                Ok(image) => {
                    drop(catalogue.by_id.insert(row.id, Image::new(&image, record.size, record.parent)))
                }
                Err(why) => warnings.push(format!("image {} cannot be read: {why}", row.id)),
            }
        }
        for row in ledger.tags()? {
            if catalogue.by_id.contains_key(&row.image) {
                catalogue.tags.insert(row.reference, Tag { image: row.image, at: Moment(row.tagged_at) });
            }
        }
        let fetches = fetching::Fetches::new(Arc::clone(&store), limits.downloads);
        let catalogue = RwLock::new(catalogue);
        let uploads = slots::Slots::new(limits.uploads);
        let images = Self { store, ledger, events, registry, catalogue, fetches, uploads };
        Ok((images, warnings))
    }

    /// Other limits, also for what waits already.
    pub fn limit_transfers(&self, limits: TransferLimits) {
        self.fetches.limit(limits.downloads);
        self.uploads.set_limit(limits.uploads);
    }

    fn read(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read().by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The image called `reference`: an id, a name, or a unique prefix of an id.
    pub fn resolve(&self, reference: &str) -> Result<Arc<Image>> {
        self.read().resolve(reference)
    }

    /// The image for a new container. The one that the binary carries is installed when it is asked for.
    pub(crate) fn resolve_for_container(
        &self,
        reference: &str,
        platform: Option<&str>,
    ) -> Result<Arc<Image>> {
        if reference.is_empty() {
            return Err(Error::invalid("an image is needed to create a container: name one"));
        }
        let wanted = platform
            .filter(|text| !text.is_empty())
            .map(|text| {
                Platform::parse(text).map_err(|source| {
                    Error::invalid(format!("{text:?}: cannot parse platform specifier: invalid argument"))
                        .caused_by(source)
                })
            })
            .transpose()?;
        let image = match self.resolve(reference) {
            Err(error) if error.kind() == minke_base::Kind::NotFound && is_hello(reference) => {
                self.install_hello()?
            }
            resolved => resolved?,
        };
        if let Some(wanted) = wanted {
            let own = image.config.platform();
            let differs = own.os != wanted.os
                || own.architecture != wanted.architecture
                || (wanted.variant.is_some() && own.variant.is_some() && own.variant != wanted.variant);
            if differs {
                return Err(Error::not_found(format!(
                    "image with reference {reference} was found but its platform ({own}) does not match the specified platform ({wanted})"
                )));
            }
        }
        Ok(image)
    }

    fn install_hello(&self) -> Result<Arc<Image>> {
        let hold = self.store.hold();
        let image = minke_store::hello::install(&self.store)
            .map_err(|source| Error::failed("install the hello-world image", source))?;
        let name = Reference::parse("hello-world").map(Reference::or_latest);
        let name = name.map_err(|source| Error::failed("name the hello-world image", source))?;
        let recorded = self.record(&image, &[name])?;
        drop(hold);
        Ok(recorded)
    }

    /// An image that is in the store now exists, under these names.
    fn record(&self, image: &minke_store::Image, names: &[Reference]) -> Result<Arc<Image>> {
        self.record_made(image, names, None)
    }

    /// The same for one that was made here on top of another.
    ///
    /// An image that is known keeps the manifest it is known by, and with it its blobs.
    pub(crate) fn record_made(
        &self,
        image: &minke_store::Image,
        names: &[Reference],
        parent: Option<&str>,
    ) -> Result<Arc<Image>> {
        let size =
            self.store.image_size(image).map_err(|source| Error::failed("measure an image", source))?;
        let id = image.id.to_string();
        let now = Moment::now();
        let parent = parent.map(str::to_owned);
        let record = serde_json::to_string(&ImageRecord { size, parent: parent.clone() })
            .map_err(|source| Error::failed("record an image", source))?;
        let row = ImageRow { id: id.clone(), manifest: image.manifest.digest.to_string(), record };
        let tags: Vec<TagRow> = names
            .iter()
            .map(|name| TagRow { reference: name.to_string(), image: id.clone(), tagged_at: now.0 })
            .collect();
        // Held over the ledger's write, so that memory and ledger change in the same order.
        let mut catalogue = self.write();
        let rows = if catalogue.by_id.contains_key(&id) { &[][..] } else { std::slice::from_ref(&row) };
        self.ledger.record_images(rows, &tags)?;
        let known = catalogue.by_id.entry(id.clone()).or_insert_with(|| Image::new(image, size, parent));
        let known = Arc::clone(known);
        for tag in tags {
            catalogue.tags.insert(tag.reference, Tag { image: id.clone(), at: now });
        }
        drop(catalogue);
        // What every container of it needs is made now rather than on the way of the first `run`.
        if let Err(error) = known.stack(&self.store) {
            tracing::warn!(image = id, error = %crate::error::chain(&error), "image cannot be prepared");
        }
        Ok(known)
    }

    /// An image's documents.
    pub(crate) fn stored(&self, image: &Image) -> Result<minke_store::Image> {
        let gone = || Error::not_found(minke_api::texts::no_such_image(&image.id));
        self.store
            .read_image(image.manifest.ok_or_else(gone)?)
            .map_err(|source| Error::failed(format!("read image {}", image.id), source))
    }

    /// The image of a container out of the records.
    pub(crate) fn of_container(&self, id: &str, diff_ids: &[String]) -> Arc<Image> {
        let known = self.read().by_id.get(id).cloned();
        known.unwrap_or_else(|| Image::orphan(id.to_owned(), diff_ids))
    }

    /// What `ps` shows as image: the name it was created with while that still means this image, else its id.
    pub(crate) fn name_for_list(&self, name: &str, id: &str) -> String {
        match self.resolve(name) {
            Ok(image) if image.id == id => name.to_owned(),
            _ => id.to_owned(),
        }
    }

    /// The ids of the images that `ancestor` filters mean: each named image, and those built on top of it.
    pub(crate) fn resolve_ancestors(&self, names: &[String]) -> HashSet<String> {
        let catalogue = self.read();
        let roots: Vec<Arc<Image>> = names.iter().filter_map(|name| catalogue.resolve(name).ok()).collect();
        catalogue
            .by_id
            .values()
            .filter(|image| {
                roots.iter().any(|root| {
                    root.id == image.id
                        || (root.diff_ids.len() < image.diff_ids.len()
                            && image.diff_ids.starts_with(&root.diff_ids))
                })
            })
            .map(|image| image.id.clone())
            .collect()
    }

    /// The layers of all images, by diff ID.
    pub(crate) fn all_layers(&self) -> HashSet<String> {
        self.read().by_id.values().flat_map(|image| image.diff_ids.iter().cloned()).collect()
    }

    /// Gives an image another name.
    pub async fn tag(&self, source: &str, repository: &str, tag: &str) -> Result<()> {
        let image = self.resolve(source)?;
        let invalid = |error: minke_base::reference::InvalidReference| {
            Error::invalid(error.to_string()).caused_by(error)
        };
        let mut name = Reference::parse(repository).map_err(invalid)?;
        if name.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        if !tag.is_empty() {
            name = name.with_tag(tag).map_err(invalid)?;
        }
        let name = name.or_latest();
        let row = TagRow { reference: name.to_string(), image: image.id.clone(), tagged_at: Moment::now().0 };
        let mut catalogue = self.write();
        self.ledger.record_images(&[], std::slice::from_ref(&row))?;
        catalogue.tags.insert(row.reference, Tag { image: image.id.clone(), at: Moment(row.tagged_at) });
        drop(catalogue);
        self.publish(&image, "tag", &name.familiar());
        Ok(())
    }

    /// Gives an image that is on record more names.
    fn name_image(&self, id: &str, names: &[Reference]) -> Result<()> {
        let now = Moment::now();
        let row =
            |name: &Reference| TagRow { reference: name.to_string(), image: id.to_owned(), tagged_at: now.0 };
        let rows: Vec<TagRow> = names.iter().map(row).collect();
        let mut catalogue = self.write();
        if !catalogue.by_id.contains_key(id) {
            return Err(Error::not_found(minke_api::texts::no_such_image(id)));
        }
        self.ledger.record_images(&[], &rows)?;
        for row in rows {
            catalogue.tags.insert(row.reference, Tag { image: id.to_owned(), at: now });
        }
        Ok(())
    }

    /// Another manifest for the same image: other forms of the same layers.
    fn replace_manifest(&self, image: &Image, bytes: &[u8]) -> Result<Digest> {
        let blob = self
            .store
            .content()
            .put(bytes)
            .map_err(|source| Error::failed("keep the image's manifest", source))?;
        let stored = self
            .store
            .read_image(blob.digest)
            .map_err(|source| Error::failed(format!("read image {}", image.id), source))?;
        let size = u64::try_from(image.size).unwrap_or_default();
        let record = serde_json::to_string(&ImageRecord { size, parent: image.parent.clone() })
            .map_err(|source| Error::failed("record an image", source))?;
        let row = ImageRow { id: image.id.clone(), manifest: blob.digest.to_string(), record };
        let mut catalogue = self.write();
        if catalogue.by_id.contains_key(&image.id) {
            self.ledger.record_images(std::slice::from_ref(&row), &[])?;
            let known = Image::new(&stored, size, image.parent.clone());
            catalogue.by_id.insert(image.id.clone(), known);
        }
        Ok(blob.digest)
    }

    /// What is gone has no labels any more, as Docker tells it.
    fn publish_gone(&self, image: &Image) {
        let attributes = BTreeMap::from([("name".to_owned(), image.id.clone())]);
        self.events.publish("image", "delete", image.id.as_str(), attributes);
    }

    pub(crate) fn publish(&self, image: &Image, action: &str, name: &str) {
        let mut attributes = image.defaults.labels.clone();
        attributes.insert("name".to_owned(), name.to_owned());
        self.events.publish("image", action, image.id.as_str(), attributes);
    }
}

impl Catalogue {
    fn resolve(&self, reference: &str) -> Result<Arc<Image>> {
        if let Some(image) = self.by_id.get(reference) {
            return Ok(Arc::clone(image));
        }
        let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
        let looks_like_id = minke_base::id::is_id_prefix(hex);
        if hex.len() == 64 && looks_like_id {
            return match self.by_id.get(&format!("sha256:{hex}")) {
                Some(image) => Ok(Arc::clone(image)),
                None => Err(Error::not_found(minke_api::texts::no_such_image(reference))),
            };
        }
        let parsed = if reference.starts_with("sha256:") { None } else { Some(Reference::parse(reference)) };
        if let Some(Ok(name)) = &parsed {
            // A digest says it all; the tag beside it is for people.
            let name = match name.digest() {
                Some(digest) => name.with_digest(digest),
                None => name.clone().or_latest(),
            };
            let found = self.tags.get(&name.to_string()).and_then(|tag| self.by_id.get(&tag.image));
            if let Some(image) = found {
                return Ok(Arc::clone(image));
            }
        }
        if looks_like_id {
            let start = format!("sha256:{hex}");
            let mut matches = self.by_id.range(start.clone()..).take_while(|(id, _)| id.starts_with(&start));
            match (matches.next(), matches.next()) {
                (Some((_, image)), None) => return Ok(Arc::clone(image)),
                (Some(_), Some(_)) => {
                    return Err(Error::invalid(format!(
                        "multiple IDs found with provided prefix: {reference}"
                    )));
                }
                (None, _) => {}
            }
        }
        match parsed {
            Some(Ok(name)) => {
                Err(Error::not_found(minke_api::texts::no_such_image(&name.or_latest().familiar())))
            }
            Some(Err(source)) => Err(Error::invalid(source.to_string()).caused_by(source)),
            None => Err(Error::not_found(minke_api::texts::no_such_image(reference))),
        }
    }

    /// The names of an image, canonical, in order: tags, and the digests that registries know it by.
    fn names_of(&self, id: &str) -> Vec<String> {
        self.tags.iter().filter(|(_, tag)| tag.image == id).map(|(name, _)| name.clone()).collect()
    }

    /// The same as people write them: tags first, digests second.
    fn familiar_names(&self, id: &str) -> (Vec<String>, Vec<String>) {
        let (digests, tags): (Vec<String>, Vec<String>) =
            self.names_of(id).into_iter().partition(|name| name.contains('@'));
        let familiar = |names: Vec<String>| names.iter().map(|name| familiar(name)).collect();
        (familiar(tags), familiar(digests))
    }

    /// The images that were made on top of this one.
    fn children<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Arc<Image>> {
        self.by_id.values().filter(move |image| image.parent.as_deref() == Some(id))
    }
}

fn is_hello(reference: &str) -> bool {
    Reference::parse(reference)
        .is_ok_and(|name| name.or_latest().to_string() == "docker.io/library/hello-world:latest")
}

/// Applies Dockerfile instructions to a configuration.
pub(crate) fn apply_changes(config: &mut minke_store::ContainerConfig, changes: &[String]) -> Result<()> {
    changes.iter().try_for_each(|change| changes::apply(config, change))
}

/// A canonical reference as people write it.
fn familiar(reference: &str) -> String {
    Reference::parse(reference).map_or_else(|_| reference.to_owned(), |name| name.familiar())
}

/// A change of a container's layer on the wire.
pub(crate) fn to_wire_change(change: minke_store::layer::Change) -> FilesystemChange {
    let kind = match change.kind {
        minke_store::layer::ChangeKind::Modified => ChangeKind::Modified,
        minke_store::layer::ChangeKind::Added => ChangeKind::Added,
        minke_store::layer::ChangeKind::Deleted => ChangeKind::Deleted,
    };
    FilesystemChange { path: change.path.to_string_lossy().into_owned(), kind }
}
