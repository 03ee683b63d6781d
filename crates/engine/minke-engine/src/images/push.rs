//! `push`: an image to a registry, layer by layer, the manifest last.
//!
//! Blobs go as they are, so that what was pulled is pushed with the digests it came with. A layer that was made here has no packed
//! form yet: it is compressed once, and the image is known by the manifest with the packed layers from then on.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use flate2::{Compression, write::GzEncoder};
use minke_api::progress::{ProgressDetail, ProgressMessage};
use minke_base::{Digest, Reference};
use minke_registry::{BlobSource, Pushed, Repository, Selector, SourceStream, stream_of};
use minke_store::content::Expected;
use minke_store::document::media_type;
use minke_store::{Descriptor, Image as StoredImage, Manifest, Store};
use serde_json::json;
use tokio::sync::mpsc;

use super::pull::{bar, tell};
use super::{Image, Images};
use crate::error::{Error, Result};

/// Bytes that pass between two lines of progress about a layer.
const STEP: u64 = 512 << 10;

/// What is to be pushed.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The image's name; without a tag every tag of the repository goes.
    pub name: Reference,
    /// Where to, for somebody who may write there.
    pub repository: Repository,
}

type Told = mpsc::Sender<ProgressMessage>;

impl Images {
    /// Pushes. Told to nobody any more, it stops.
    pub async fn push(self: &Arc<Self>, request: PushRequest, told: Told) -> Result<()> {
        tokio::select! {
            done = self.push_all(&request, &told) => done,
            () = told.closed() => Err(Error::new(minke_base::Kind::Cancelled, "the client of a push went away")),
        }
    }

    async fn push_all(self: &Arc<Self>, request: &PushRequest, told: &Told) -> Result<()> {
        let name = &request.name;
        if name.digest().is_some() {
            return Err(Error::invalid("cannot push a digest reference"));
        }
        let repository = name.canonical_name();
        tell(told, ProgressMessage::status(format!("The push refers to repository [{repository}]"))).await;
        let known: Vec<Reference> = {
            let catalogue = self.read();
            let parsed = catalogue.tags.keys().filter_map(|text| Reference::parse(text).ok());
            parsed.filter(|known| known.canonical_name() == repository && known.digest().is_none()).collect()
        };
        if known.is_empty() {
            return Err(Error::not_found(format!(
                "An image does not exist locally with the tag: {}",
                name.familiar_name()
            )));
        }
        if name.tag().is_some() && !known.contains(name) {
            return Err(Error::not_found(format!("tag does not exist: {}", name.familiar())));
        }
        for one in known.iter().filter(|one| name.tag().is_none() || *one == name) {
            self.push_one(request, one, told).await?;
        }
        let labels = self.resolve(&known[0].to_string()).map(|image| image.defaults.labels.clone());
        let mut attributes: BTreeMap<String, String> = labels.unwrap_or_default();
        attributes.insert("name".to_owned(), name.familiar_name());
        self.events.publish("image", "push", name.familiar(), attributes);
        Ok(())
    }

    async fn push_one(self: &Arc<Self>, request: &PushRequest, name: &Reference, told: &Told) -> Result<()> {
        let image = self.resolve(&name.to_string())?;
        let hold = self.store.hold();
        let stored = self.stored(&image)?;
        let neighbours = self.neighbours(request.repository.domain(), &stored);
        let ids: Vec<String> =
            stored.diff_ids().iter().map(|diff_id| diff_id.hex().chars().take(12).collect()).collect();
        for id in ids.iter().rev() {
            tell(told, line(id, "Preparing", None)).await;
        }
        let layers = stored.layers.iter().zip(&ids).map(|(layer, id)| {
            let mount_from = neighbours.get(&layer.digest).cloned().unwrap_or_default();
            self.push_layer(&request.repository, layer.clone(), id.clone(), mount_from, told.clone())
        });
        let layers = futures_util::future::join_all(layers).await.into_iter().collect::<Result<Vec<_>>>()?;
        let (manifest, bytes) = self.settle_manifest(&image, &stored, layers).await?;
        let failed = |error: minke_registry::Error| Error::new(error.kind(), error.to_string());
        let config = Blob { store: Arc::clone(&self.store), digest: stored.id };
        let config_size = self
            .store
            .blob_size(stored.id)
            .map_err(|source| Error::failed("read the image's configuration", source))?
            .unwrap_or_default();
        request
            .repository
            .push_blob(stored.id, config_size, &config, &[], &|_bytes| {})
            .await
            .map_err(failed)?;
        let tag = name.tag().unwrap_or("latest").to_owned();
        let size = bytes.len();
        let selector = Selector::Tag(tag.clone());
        request
            .repository
            .put_manifest(&selector, &manifest.media_type, bytes.into())
            .await
            .map_err(failed)?;
        let digest = manifest.digest;
        self.name_image(&image.id, &[name.with_digest(digest)])?;
        drop(hold);
        tell(told, ProgressMessage::status(format!("{tag}: digest: {digest} size: {size}"))).await;
        let aux = json!({"Tag": tag, "Digest": digest.to_string(), "Size": size});
        tell(
            told,
            ProgressMessage {
                aux: Some(aux),
                progress_detail: Some(ProgressDetail::default()),
                ..ProgressMessage::default()
            },
        )
        .await;
        Ok(())
    }

    /// Pushes a layer, packed first when it is not; what a manifest says of it.
    async fn push_layer(
        &self,
        repository: &Repository,
        layer: Descriptor,
        id: String,
        mount_from: Vec<String>,
        told: Told,
    ) -> Result<Descriptor> {
        let _slot = self.uploads.take().await;
        let store = Arc::clone(&self.store);
        let layer = match layer.media_type.as_str() {
            media_type::OCI_LAYER | media_type::DOCKER_LAYER => {
                tokio::task::spawn_blocking(move || pack(&store, &layer))
                    .await
                    .map_err(|source| Error::failed("pack a layer", source))??
            }
            _ => layer,
        };
        let source = Blob { store: Arc::clone(&self.store), digest: layer.digest };
        let (size, shown) = (layer.size, std::sync::atomic::AtomicU64::new(0));
        let progress = |bytes: u64| {
            let before = shown.load(std::sync::atomic::Ordering::Relaxed);
            if bytes.saturating_sub(before) >= STEP || bytes == size {
                shown.store(bytes, std::sync::atomic::Ordering::Relaxed);
                // A bar that a slow client has no room for is left out.
                drop(told.try_send(line(&id, "Pushing", Some((bytes, size)))));
            }
        };
        let pushed = repository
            .push_blob(layer.digest, layer.size, &source, &mount_from, &progress)
            .await
            .map_err(|error| Error::new(error.kind(), error.to_string()))?;
        let how = match pushed {
            Pushed::Existed => "Layer already exists".to_owned(),
            Pushed::Mounted(from) => format!("Mounted from {from}"),
            Pushed::Uploaded => "Pushed".to_owned(),
        };
        tell(&told, line(&id, &how, None)).await;
        Ok(layer)
    }

    /// The manifest to push: the one that the image has, or one with the packed layers, which the image is known by from now on.
    async fn settle_manifest(
        self: &Arc<Self>,
        image: &Arc<Image>,
        stored: &StoredImage,
        layers: Vec<Descriptor>,
    ) -> Result<(Descriptor, Vec<u8>)> {
        let failed = |source| Error::failed("read the image's manifest", source);
        let content = self.store.content();
        let bytes = content.read(stored.manifest.digest).map_err(failed)?;
        if layers == stored.layers {
            return Ok((stored.manifest.clone(), bytes));
        }
        let unreadable = |source| Error::failed("read the image's manifest", source);
        let old: Manifest = serde_json::from_slice(&bytes).map_err(unreadable)?;
        let new = Manifest { layers, ..old };
        let bytes = serde_json::to_vec(&new).map_err(unreadable)?;
        let (images, image, kept) = (Arc::clone(self), Arc::clone(image), bytes.clone());
        let manifest = tokio::task::spawn_blocking(move || images.replace_manifest(&image, &kept))
            .await
            .map_err(|source| Error::failed("record the packed layers", source))??;
        let kind = new.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
        Ok((Descriptor::new(kind, manifest, bytes.len() as u64), bytes))
    }

    /// Repositories of a registry that have an image's blobs, as far as is known here.
    fn neighbours(&self, domain: &str, stored: &StoredImage) -> BTreeMap<Digest, Vec<String>> {
        let catalogue = self.read();
        let mut found: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for (name, tag) in &catalogue.tags {
            let Ok(name) = Reference::parse(name) else { continue };
            // Only what came from there, or went there, has a digest in its name.
            if name.domain() != domain || name.digest().is_none() {
                continue;
            }
            let Some(Ok(other)) = catalogue.by_id.get(&tag.image).map(|image| self.stored(image)) else {
                continue;
            };
            for layer in &stored.layers {
                if other.layers.iter().any(|known| known.digest == layer.digest) {
                    let from = found.entry(layer.digest).or_default();
                    if !from.iter().any(|known| known == name.path()) {
                        from.push(name.path().to_owned());
                    }
                }
            }
        }
        found
    }
}

/// Compresses a plain layer; the same layer gives the same bytes.
fn pack(store: &Store, layer: &Descriptor) -> Result<Descriptor> {
    let failed = |source: io::Error| Error::failed(format!("pack layer {}", layer.digest), source);
    let mut input = store.open_blob(layer.digest).map_err(|source| Error::failed("open a layer", source))?;
    let writer = store.content().writer().map_err(|source| Error::failed("pack a layer", source))?;
    let mut encoder = GzEncoder::new(Sink(writer), Compression::new(6));
    let mut buffer = vec![0; 256 << 10];
    loop {
        let got = input.read(&mut buffer).map_err(failed)?;
        if got == 0 {
            break;
        }
        encoder.write_all(&buffer[..got]).map_err(failed)?;
    }
    let blob = encoder
        .finish()
        .map_err(failed)?
        .0
        .commit(Expected::default())
        .map_err(|source| Error::failed(format!("pack layer {}", layer.digest), source))?;
    let kind = match layer.media_type.as_str() {
        media_type::DOCKER_LAYER => media_type::DOCKER_LAYER_GZIP,
        _ => media_type::OCI_LAYER_GZIP,
    };
    Ok(Descriptor { annotations: layer.annotations.clone(), ..Descriptor::new(kind, blob.digest, blob.size) })
}

struct Sink<'a>(minke_store::content::BlobWriter<'a>);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A blob of the store on its way out.
struct Blob {
    store: Arc<Store>,
    digest: Digest,
}

impl BlobSource for Blob {
    fn open(&self, from: u64) -> io::Result<SourceStream> {
        let reader = self.store.open_blob_at(self.digest, from).map_err(io::Error::other)?;
        Ok(stream_of(reader))
    }
}

fn line(id: &str, status: &str, progress: Option<(u64, u64)>) -> ProgressMessage {
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let detail = progress.map(|(current, total)| ProgressDetail {
        current: number(current),
        total: number(total),
        ..ProgressDetail::default()
    });
    ProgressMessage {
        id: id.to_owned(),
        progress: progress.map(|(current, total)| bar(current, total)).unwrap_or_default(),
        progress_detail: Some(detail.unwrap_or_default()),
        ..ProgressMessage::status(status)
    }
}
