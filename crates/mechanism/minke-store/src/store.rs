//! The store as the engine sees it: content, layers and rootfs driver under one data-root, images read from their manifests, and
//! the collection of what nobody names.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minke_base::Digest;

use crate::content::{ContentError, ContentStore};
use crate::document::{Descriptor, ImageConfig, Index, Manifest};
use crate::layer::{LayerError, LayerStore, Limits};
use crate::pins::{Hold, Pins};
use crate::rootfs::{self, DriverChoice, RootfsDriver, RootfsError};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error("{what} {digest} is not readable")]
    Document { what: &'static str, digest: Digest, source: serde_json::Error },
    #[error("manifest {manifest} names {layers} layers, its configuration {diff_ids}")]
    LayerCount { manifest: Digest, layers: usize, diff_ids: usize },
    #[error("{action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// Layers that an image may have: overlayfs takes 500, and two are the engine's own.
pub const LAYERS_MAX: usize = 498;

#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    pub driver: DriverChoice,
    pub limits: Limits,
}

/// An image as its documents tell it.
#[derive(Debug, Clone)]
pub struct Image {
    /// The configuration's digest.
    pub id: Digest,
    /// Points at the manifest blob.
    pub manifest: Descriptor,
    /// The layers' blobs as the manifest lists them, bottom first.
    pub layers: Vec<Descriptor>,
    pub config: ImageConfig,
}

impl Image {
    /// The layers' diff IDs, bottom first.
    #[must_use]
    pub fn diff_ids(&self) -> &[Digest] {
        &self.config.rootfs.diff_ids
    }
}

/// A line of `docker history`, newest first; `size` is that of the layer the step made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryItem {
    pub entry: crate::document::History,
    pub size: u64,
}

/// What records still name.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Manifests (or indexes) of recorded images. What they name lives with them.
    pub manifests: Vec<Digest>,
    /// The stacks (diff IDs, bottom first) that containers stand on, beyond those of recorded images.
    pub stacks: Vec<Vec<Digest>>,
}

/// What a collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    pub blobs: Vec<Digest>,
    pub layers: Vec<Digest>,
    /// Bytes of blobs and layers together.
    pub bytes: u64,
}

#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    content: ContentStore,
    layers: LayerStore,
    driver: Box<dyn RootfsDriver>,
    pins: Arc<Pins>,
}

impl Store {
    /// Opens (or makes) the store under the data-root and clears what a crash left half-made.
    pub fn open(data_root: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let pins = Arc::new(Pins::default());
        let content = ContentStore::open(&data_root.join("content"), Arc::clone(&pins))?;
        let layers = LayerStore::open(&data_root.join("layers"), Arc::clone(&pins), options.limits)?;
        let driver = rootfs::open_driver(options.driver, data_root)?;
        Ok(Self { root: data_root.to_owned(), content, layers, driver, pins })
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    #[must_use]
    pub const fn content(&self) -> &ContentStore {
        &self.content
    }

    #[must_use]
    pub const fn layers(&self) -> &LayerStore {
        &self.layers
    }

    #[must_use]
    pub fn driver(&self) -> &dyn RootfsDriver {
        self.driver.as_ref()
    }

    /// Keeps everything that is added from now on until the hold is dropped. Take it before a load and drop it when the image
    /// is recorded.
    pub fn hold(&self) -> Hold {
        self.pins.hold()
    }

    pub(crate) fn pin(&self, digest: Digest) {
        self.pins.pin(digest);
    }

    /// Whether a layer is here; if so it stays as long as a [`Hold`] that was taken before.
    #[must_use]
    pub fn keep_layer(&self, diff_id: Digest) -> bool {
        self.pins.pin(diff_id);
        self.layers.find(diff_id).is_some()
    }

    /// Reads an image from its manifest.
    pub fn read_image(&self, manifest: Digest) -> Result<Image, StoreError> {
        let bytes = self.content.read(manifest)?;
        let parsed: Manifest = document(&bytes, "manifest", manifest)?;
        let config: ImageConfig =
            document(&self.content.read(parsed.config.digest)?, "image configuration", parsed.config.digest)?;
        if config.rootfs.diff_ids.len() != parsed.layers.len() {
            return Err(StoreError::LayerCount {
                manifest,
                layers: parsed.layers.len(),
                diff_ids: config.rootfs.diff_ids.len(),
            });
        }
        let kind = parsed.media_type.as_deref().unwrap_or(crate::document::media_type::OCI_MANIFEST);
        let manifest = Descriptor::new(kind, manifest, bytes.len() as u64);
        Ok(Image { id: parsed.config.digest, manifest, layers: parsed.layers, config })
    }

    /// Reads an image and keeps what it names as long as a [`Hold`] that was taken before. `None`: a part of it is gone.
    pub fn keep_image(&self, manifest: Digest) -> Result<Option<Image>, StoreError> {
        self.pins.pin(manifest);
        let image = match self.read_image(manifest) {
            Err(StoreError::Content(ContentError::Missing(_))) => return Ok(None),
            other => other?,
        };
        for digest in image.layers.iter().map(|layer| layer.digest).chain([image.id]) {
            self.pins.pin(digest);
        }
        // What was taken away before it was pinned is seen to be gone now.
        let layers = image.diff_ids().iter().all(|diff_id| self.keep_layer(*diff_id));
        let whole = layers && self.content.size(image.id)?.is_some();
        Ok(whole.then_some(image))
    }

    /// Unpacks those layers of an image that are not unpacked, from their blobs. After a power cut some may be missing.
    pub fn unpack_image(&self, image: &Image) -> Result<(), StoreError> {
        for (diff_id, blob) in image.diff_ids().iter().zip(&image.layers) {
            self.unpack_layer(*diff_id, blob.digest)?;
        }
        self.layers.settle_in_background();
        Ok(())
    }

    /// Unpacks a layer from its blob unless it is here; the flag says that it was.
    pub(crate) fn unpack_layer(&self, diff_id: Digest, blob: Digest) -> Result<bool, StoreError> {
        self.pins.pin(diff_id);
        self.pins.pin(blob);
        if self.layers.find(diff_id).is_some() {
            return Ok(true);
        }
        let staged = self.layers.stage(self.content.open_blob(blob)?)?;
        if staged.diff_id != diff_id {
            return Err(LayerError::DiffId { expected: diff_id, found: staged.diff_id }.into());
        }
        Ok(self.layers.commit(staged)?.1)
    }

    /// The image's root as directories, **top first**, without the init layer.
    pub fn image_lowers(&self, image: &Image) -> Result<Vec<PathBuf>, StoreError> {
        Ok(self.layers.lowers(image.diff_ids())?)
    }

    /// The stack that containers of the image are prepared with, **top first**: its layers under its init layer, which is made on
    /// first use. Ask when the image arrives, so that `run` finds it made.
    pub fn container_lowers(&self, image: &Image) -> Result<Vec<PathBuf>, StoreError> {
        let lowers = self.image_lowers(image)?;
        Ok(self.driver.init_layer(&init_key(image.diff_ids()), &lowers)?)
    }

    /// The image's size: the bytes of its layers' files, each layer once per image.
    pub fn image_size(&self, image: &Image) -> Result<u64, StoreError> {
        let mut seen = HashSet::new();
        let mut size = 0;
        for diff_id in image.diff_ids().iter().filter(|id| seen.insert(**id)) {
            size += self.layers.get(*diff_id)?.size;
        }
        Ok(size)
    }

    /// The steps the image was made in, newest first, with the size each added.
    pub fn image_history(&self, image: &Image) -> Result<Vec<HistoryItem>, StoreError> {
        let mut diff_ids = image.diff_ids().iter();
        let mut items = Vec::with_capacity(image.config.history.len());
        for entry in &image.config.history {
            let layer = if entry.empty_layer { None } else { diff_ids.next() };
            let size = layer.map_or(Ok(0), |diff_id| self.layers.get(*diff_id).map(|layer| layer.size))?;
            items.push(HistoryItem { entry: entry.clone(), size });
        }
        items.reverse();
        Ok(items)
    }

    /// Removes every blob and layer that `live` does not lead to. `live` is asked after the collection has begun to watch for
    /// additions, so whatever is recorded before or during the call is spared. `None`: another collection is running.
    pub fn collect<E: From<StoreError>>(
        &self,
        live: impl FnOnce() -> Result<Live, E>,
    ) -> Result<Option<Collected>, E> {
        if !self.pins.begin_sweep() {
            return Ok(None);
        }
        let result = live().and_then(|live| self.sweep(&live).map_err(E::from));
        self.pins.end_sweep();
        result.map(Some)
    }

    fn sweep(&self, live: &Live) -> Result<Collected, StoreError> {
        let mut marked = Marked {
            blobs: HashSet::new(),
            layers: live.stacks.iter().flatten().copied().collect(),
            stacks: live.stacks.iter().map(|stack| init_key(stack)).collect(),
        };
        for root in &live.manifests {
            self.mark(*root, &mut marked)?;
        }
        let mut collected = Collected::default();
        for blob in self.content.list()?.into_iter().filter(|blob| !marked.blobs.contains(&blob.digest)) {
            if let Some(removed) = self.pins.sweep(blob.digest, || self.content.retire(blob.digest)) {
                removed?;
                collected.bytes += blob.size;
                collected.blobs.push(blob.digest);
            }
        }
        for layer in self.layers.list().into_iter().filter(|layer| !marked.layers.contains(&layer.diff_id)) {
            if let Some(retired) = self.pins.sweep(layer.diff_id, || self.layers.retire(layer.diff_id)) {
                retired?;
                collected.bytes += layer.size;
                collected.layers.push(layer.diff_id);
            }
        }
        self.content.delete_retired()?;
        self.layers.delete_retired()?;
        if !collected.layers.is_empty() {
            // A stack that lost a layer has no use for its init layer.
            self.driver
                .remove_init_layers(&|key| marked.stacks.contains(key) || self.pins.anything_held())?;
        }
        Ok(collected)
    }

    /// Follows a manifest or index to everything it names. A blob that is missing names nothing: an index may list platforms
    /// that were never fetched.
    fn mark(&self, digest: Digest, marked: &mut Marked) -> Result<(), StoreError> {
        if !marked.blobs.insert(digest) || self.content.size(digest)?.is_none() {
            return Ok(());
        }
        let bytes = self.content.read(digest)?;
        let value: serde_json::Value = document(&bytes, "manifest", digest)?;
        if value.get("manifests").is_some() {
            let index: Index = document(&bytes, "index", digest)?;
            return index.manifests.iter().try_for_each(|child| self.mark(child.digest, marked));
        }
        let manifest: Manifest = document(&bytes, "manifest", digest)?;
        marked.blobs.extend(manifest.layers.iter().map(|layer| layer.digest));
        marked.blobs.insert(manifest.config.digest);
        if self.content.size(manifest.config.digest)?.is_some()
            && let Ok(config) =
                serde_json::from_slice::<ImageConfig>(&self.content.read(manifest.config.digest)?)
        {
            marked.stacks.insert(init_key(&config.rootfs.diff_ids));
            marked.layers.extend(config.rootfs.diff_ids);
        }
        Ok(())
    }
}

/// Names the init layer of a stack of layers (bottom first).
fn init_key(diff_ids: &[Digest]) -> String {
    crate::layer::chain_id(diff_ids).map_or_else(|| "empty".to_owned(), crate::layer::short_name)
}

struct Marked {
    blobs: HashSet<Digest>,
    layers: HashSet<Digest>,
    stacks: HashSet<String>,
}

fn document<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
    digest: Digest,
) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Document { what, digest, source })
}
