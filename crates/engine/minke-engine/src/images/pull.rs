//! `pull`: an image from a registry, its layers at once and each unpacked while it comes.
//!
//! A pull ends with the client that asked for it. What came until then stays where the next pull finds it; the image exists only when
//! all of it is here.

use std::collections::BTreeMap;
use std::sync::Arc;

use minke_api::progress::{ProgressDetail, ProgressMessage};
use minke_base::{Digest, Kind, Reference};
use minke_registry::{FetchedManifest, Repository, Selector};
use minke_store::document::Platform;
use minke_store::{Descriptor, ImageConfig, Index, LAYERS_MAX, Manifest};
use tokio::sync::mpsc;

use super::fetching::{Stand, Wanted};
use super::{Images, transfer};
use crate::error::{Error, Result};

/// Indexes in indexes; real ones are two deep.
const DEPTH_MAX: usize = 4;
/// No configuration of an image comes near.
const CONFIG_MAX: u64 = 8 << 20;
/// Bytes that pass between two lines of progress about a layer.
const STEP: u64 = 512 << 10;

/// What is to be pulled.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The image's name: with a tag, a digest, or (with `all_tags`) neither.
    pub name: Reference,
    /// Every tag of the repository.
    pub all_tags: bool,
    /// For which platform; the host's when empty.
    pub platform: String,
    /// Where it is, for somebody who may read there.
    pub repository: Repository,
}

/// Where progress goes.
type Told = mpsc::Sender<ProgressMessage>;

/// A manifest that was chosen, with the document it was found by.
struct Chosen {
    manifest: FetchedManifest,
    /// What the name stands for: the manifest or the index it came out of.
    named: Digest,
    /// The index, as a document to keep.
    index: Option<FetchedManifest>,
}

impl Images {
    /// Pulls. Dropped or told to nobody any more, it stops.
    pub async fn pull(self: &Arc<Self>, request: PullRequest, told: Told) -> Result<()> {
        tokio::select! {
            done = self.pull_all(&request, &told) => done,
            () = told.closed() => Err(Error::new(Kind::Cancelled, "the client of a pull went away")),
        }
    }

    async fn pull_all(self: &Arc<Self>, request: &PullRequest, told: &Told) -> Result<()> {
        let platform = transfer::parse_platform(&request.platform)?;
        let names = match request.all_tags {
            false => vec![request.name.clone().or_latest()],
            true => {
                let tags = request.repository.tags().await;
                let tags = tags.map_err(|error| refused(&error, &request.name))?;
                tags.iter().filter_map(|tag| request.name.with_tag(tag).ok()).collect()
            }
        };
        if names.is_empty() {
            return Err(Error::not_found(format!("repository {} has no tags", request.name.familiar_name())));
        }
        let mut newer = false;
        for name in &names {
            newer |= self.pull_one(request, name, platform.as_ref(), told).await?;
        }
        let name = if request.all_tags { request.name.familiar_name() } else { names[0].familiar() };
        let how = if newer { "Downloaded newer image for" } else { "Image is up to date for" };
        tell(told, ProgressMessage::status(format!("Status: {how} {name}"))).await;
        let labels = self.resolve(&names[0].to_string()).map(|image| image.defaults.labels.clone());
        let mut attributes: BTreeMap<String, String> = labels.unwrap_or_default();
        attributes.insert("name".to_owned(), request.name.familiar_name());
        self.events.publish("image", "pull", &name, attributes);
        Ok(())
    }

    /// Pulls one name; whether it means another image than before.
    async fn pull_one(
        self: &Arc<Self>,
        request: &PullRequest,
        name: &Reference,
        platform: Option<&Platform>,
        told: &Told,
    ) -> Result<bool> {
        let repository = &request.repository;
        let selector = match name.digest() {
            Some(digest) => Selector::Digest(digest),
            None => Selector::Tag(name.tag().unwrap_or("latest").to_owned()),
        };
        let failed = |error: minke_registry::Error| refused(&error, name);
        let found = repository.manifest(&selector).await.map_err(failed)?;
        let line = ProgressMessage::status(format!("Pulling from {}", name.path()));
        tell(told, ProgressMessage { id: selector.to_string(), ..line }).await;
        let chosen = choose(repository, found, platform).await?;
        let manifest: Manifest = parse("manifest", &chosen.manifest)?;
        let id = manifest.config.digest;
        let hold = self.store.hold();
        if self.read().by_id.contains_key(&id.to_string()) {
            // Whatever its layers are, they are here.
            let newer = self.name_pulled(name, chosen.named, id)?;
            drop(hold);
            told_digest(told, chosen.named).await;
            return Ok(newer);
        }
        let config = repository.whole_blob(id, manifest.config.size, CONFIG_MAX).await.map_err(failed)?;
        let parsed = read_config(&config, &manifest, platform)?;
        self.fetch_layers(repository, &manifest, &parsed, told).await?;
        let (images, name, named) = (Arc::clone(self), name.clone(), chosen.named);
        let newer = tokio::task::spawn_blocking(move || -> Result<bool> {
            let failed = |source| Error::failed("keep the image's documents", source);
            let content = images.store.content();
            content.put(&config).map_err(failed)?;
            let manifest = content.put(&chosen.manifest.bytes).map_err(failed)?;
            if let Some(index) = &chosen.index {
                content.put(&index.bytes).map_err(failed)?;
            }
            let image = images
                .store
                .read_image(manifest.digest)
                .map_err(|source| Error::failed("read what was pulled", source))?;
            let names = images.pulled_names(&name, named);
            let known = images.id_of(&name);
            images.record(&image, &names)?;
            images.store.layers().settle_in_background();
            Ok(known.as_deref() != Some(&*image.id.to_string()))
        })
        .await
        .map_err(|source| Error::failed("record what was pulled", source))??;
        drop(hold);
        told_digest(told, named).await;
        Ok(newer)
    }

    fn id_of(&self, name: &Reference) -> Option<String> {
        let name = name.digest().map_or_else(|| name.clone(), |digest| name.with_digest(digest));
        self.read().tags.get(&name.to_string()).map(|tag| tag.image.clone())
    }

    /// The names that an image gets by a pull: the one it was asked for by, and its digest there.
    fn pulled_names(&self, name: &Reference, digest: Digest) -> Vec<Reference> {
        let by_digest = name.with_digest(digest);
        match name.digest() {
            Some(_) => vec![by_digest],
            None => vec![name.clone(), by_digest],
        }
    }

    /// Names an image that is here; whether that changed anything for the name.
    fn name_pulled(&self, name: &Reference, digest: Digest, id: Digest) -> Result<bool> {
        let known = self.id_of(name).as_deref() == Some(&*id.to_string());
        let mut names = self.pulled_names(name, digest);
        if known {
            // A name that says this already keeps the time it was given.
            names.retain(|name| name.digest().is_some());
        }
        self.name_image(&id.to_string(), &names)?;
        Ok(!known)
    }

    /// Fetches what is missing of an image's layers.
    async fn fetch_layers(
        self: &Arc<Self>,
        repository: &Repository,
        manifest: &Manifest,
        config: &ImageConfig,
        told: &Told,
    ) -> Result<()> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            let layer = Wanted { blob: layer.digest, size: layer.size, diff_id: *diff_id };
            if !wanted.contains(&layer) {
                wanted.push(layer);
            }
        }
        let mut missing = Vec::new();
        for layer in wanted {
            let here = self
                .store
                .has_layer(layer.blob, layer.diff_id)
                .map_err(|source| Error::failed(format!("look for layer {}", layer.blob), source))?;
            tell(told, line(layer, if here { "Already exists" } else { "Pulling fs layer" }, None)).await;
            if !here {
                missing.push(layer);
            }
        }
        let fetches = missing.into_iter().map(|layer| self.fetch_layer(repository, layer, told));
        futures_util::future::try_join_all(fetches).await.map(drop)
    }

    async fn fetch_layer(&self, repository: &Repository, layer: Wanted, told: &Told) -> Result<()> {
        let mut shown = Shown { layer, told: told.clone(), at: None, downloaded: false, waited: false };
        self.fetches.fetch(repository, layer, |stand| shown.show(stand)).await?;
        tell(told, line(layer, "Pull complete", None)).await;
        Ok(())
    }
}

/// What a client was shown of a layer.
struct Shown {
    layer: Wanted,
    told: Told,
    at: Option<u64>,
    downloaded: bool,
    waited: bool,
}

impl Shown {
    /// A bar that a slow client has no room for is left out; the lines that end a stage come by another way.
    fn show(&mut self, stand: &Stand) {
        match stand {
            Stand::Waiting if !self.waited => {
                self.waited = true;
                self.say("Waiting", None);
            }
            Stand::Downloading(bytes) => {
                let due =
                    self.at.is_none_or(|at| bytes.saturating_sub(at) >= STEP || *bytes == self.layer.size);
                if due {
                    self.at = Some(*bytes);
                    self.say("Downloading", Some(*bytes));
                }
            }
            Stand::Downloaded | Stand::Done if !self.downloaded => {
                self.downloaded = true;
                self.say("Verifying Checksum", None);
                self.say("Download complete", None);
                if matches!(stand, Stand::Downloaded) {
                    self.say("Extracting", Some(self.layer.size));
                }
            }
            _ => {}
        }
    }

    fn say(&self, status: &str, current: Option<u64>) {
        if self.told.try_send(line(self.layer, status, current)).is_err() {
            tracing::trace!("a line of progress was left out");
        }
    }
}

fn line(layer: Wanted, status: &str, current: Option<u64>) -> ProgressMessage {
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let id = layer.blob.hex().chars().take(12).collect();
    let detail = current.map(|current| ProgressDetail {
        current: number(current),
        total: number(layer.size),
        ..ProgressDetail::default()
    });
    ProgressMessage {
        progress: current.map(|current| bar(current, layer.size)).unwrap_or_default(),
        progress_detail: Some(detail.unwrap_or_default()),
        id,
        ..ProgressMessage::status(status)
    }
}

/// The bar as text, for clients that print what they get.
pub(super) fn bar(current: u64, total: u64) -> String {
    let current = current.min(total);
    let done = usize::try_from(current.saturating_mul(50) / total.max(1)).unwrap_or(50);
    let human = |bytes: u64| minke_base::size::human(bytes);
    format!("[{}>{}] {:>8}/{}", "=".repeat(done), " ".repeat(50 - done), human(current), human(total))
}

/// A line that must arrive. Who went away is noticed elsewhere.
pub(super) async fn tell(told: &Told, message: ProgressMessage) {
    drop(told.send(message).await);
}

async fn told_digest(told: &Told, digest: Digest) {
    tell(told, ProgressMessage::status(format!("Digest: {digest}"))).await;
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, found: &FetchedManifest) -> Result<T> {
    serde_json::from_slice(&found.bytes)
        .map_err(|source| Error::invalid(format!("{what} {} is not readable: {source}", found.digest)))
}

/// Finds the manifest for a platform, through indexes where there are some.
async fn choose(
    repository: &Repository,
    mut found: FetchedManifest,
    platform: Option<&Platform>,
) -> Result<Chosen> {
    let named = found.digest;
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let mut index = None;
    for _ in 0..DEPTH_MAX {
        let kind = Descriptor::new(&found.media_type, found.digest, 0);
        let value: serde_json::Value = parse("manifest", &found)?;
        if !kind.is_index() && (kind.is_manifest() || value.get("manifests").is_none()) {
            return check(found, &value).map(|manifest| Chosen { manifest, named, index });
        }
        let document: Index = parse("index", &found)?;
        let best = document
            .manifests
            .iter()
            .filter(|entry| !entry.annotations.contains_key("vnd.docker.reference.type"))
            .filter_map(|entry| {
                // An entry that says nothing is for everybody.
                let rank = match &entry.platform {
                    Some(platform) => platform.rank(&wanted)?,
                    None => u32::MAX,
                };
                Some((rank, entry))
            })
            .min_by_key(|(rank, _)| *rank);
        let Some((_, best)) = best else {
            return Err(Error::not_found(format!(
                "no matching manifest for {wanted} in the manifest list entries"
            )));
        };
        let digest = best.digest;
        index = Some(found);
        found = repository
            .manifest(&Selector::Digest(digest))
            .await
            .map_err(|error| Error::new(error.kind(), error.to_string()))?;
    }
    Err(Error::invalid(format!("indexes are nested deeper than {DEPTH_MAX} at {named}")))
}

/// Refuses what is no image.
fn check(found: FetchedManifest, value: &serde_json::Value) -> Result<FetchedManifest> {
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    if value.get("schemaVersion").and_then(serde_json::Value::as_u64) == Some(1) {
        return Err(Error::invalid(
            "the registry has this image as a manifest of schema 1 only, which has no configuration to check it by: ask its owner to push it again",
        ));
    }
    let kind = value.pointer("/config/mediaType").and_then(serde_json::Value::as_str).unwrap_or_default();
    use minke_store::document::media_type;
    if ![media_type::OCI_CONFIG, media_type::DOCKER_CONFIG, "application/octet-stream", ""].contains(&kind)
        || !text("artifactType").is_empty()
    {
        return Err(Error::invalid(format!(
            "Encountered remote {kind:?}(unknown) when fetching: it is no image"
        )));
    }
    Ok(found)
}

fn read_config(bytes: &[u8], manifest: &Manifest, platform: Option<&Platform>) -> Result<ImageConfig> {
    let config: ImageConfig = serde_json::from_slice(bytes).map_err(|source| {
        Error::invalid(format!("configuration {} is not readable: {source}", manifest.config.digest))
    })?;
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Error::invalid(format!(
            "the manifest names {} layers, its configuration {}",
            manifest.layers.len(),
            config.rootfs.diff_ids.len()
        )));
    }
    if manifest.layers.len() > LAYERS_MAX {
        return Err(Error::invalid(format!(
            "max depth exceeded: the image has {} layers, {LAYERS_MAX} at most can be mounted",
            manifest.layers.len()
        )));
    }
    if let Some(layer) = manifest.layers.iter().find(|layer| !layer.urls.is_empty()) {
        return Err(Error::invalid(format!(
            "layer {} is a foreign one, kept at {}: images with such layers are Windows images, which do not run here",
            layer.digest,
            layer.urls.join(", ")
        )));
    }
    let own = config.platform();
    if !own.os.is_empty() && own.os != "linux" {
        return Err(Error::invalid(format!(
            "image operating system {:?} cannot be used on this platform",
            own.os
        )));
    }
    if let Some(wanted) = platform
        && !own.architecture.is_empty()
        && !own.serves(wanted)
    {
        return Err(Error::not_found(format!(
            "image was found but its platform ({own}) does not match the specified platform ({wanted})"
        )));
    }
    Ok(config)
}

/// What a registry refused, in Docker's words.
fn refused(error: &minke_registry::Error, name: &Reference) -> Error {
    let has = |code: &str| error.refusal().is_some_and(|refusal| refusal.has_code(code));
    if has("MANIFEST_UNKNOWN") {
        return Error::not_found(format!("manifest for {} not found: {error}", name.familiar()));
    }
    if has("NAME_UNKNOWN") {
        return Error::not_found(format!("repository {} not found: {error}", name.familiar_name()));
    }
    if has("DENIED") || has("UNAUTHORIZED") && error.kind() == Kind::Forbidden {
        return Error::not_found(format!(
            "pull access denied for {}, repository does not exist or may require 'docker login': {error}",
            name.familiar_name()
        ));
    }
    Error::new(error.kind(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_dockers() {
        let half = bar(512, 1024);
        assert_eq!(half, format!("[{}>{}]     512B/1.024kB", "=".repeat(25), " ".repeat(25)));
    }
}
