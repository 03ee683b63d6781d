//! A built stage becomes an image.

use std::sync::Arc;

use minke_base::Digest;
use minke_store::archive::build_image;
use minke_store::document::{History, ImageConfig};
use minke_store::{Descriptor, Image as StoredImage};

use super::blocking;
use super::outcome::{BuildOutcome, Export};
use super::request::OutputKind;
use super::solve::Build;
use super::state::State;
use crate::error::{Error, Result};

/// As many layers as Docker stacks.
const LAYERS_MAX: usize = 127;

impl Build {
    /// Makes the image and gives it its names, or leaves it to be written out.
    pub(super) async fn finish(self: &Arc<Self>, state: &State) -> Result<BuildOutcome> {
        let image = self.make_image(state).await?;
        let (id, manifest) = (image.id.to_string(), image.manifest.digest.to_string());
        let outputs = &self.request.outputs;
        if outputs.is_empty() || outputs.contains(&OutputKind::Image) {
            self.record(&image, state).await?;
        }
        let written = outputs.iter().filter(|kind| !matches!(kind, OutputKind::Image | OutputKind::None));
        let exports = written.map(|kind| {
            Export::new(
                Arc::clone(&self.builds.store),
                *kind,
                image.manifest.digest,
                self.request.names.clone(),
                state.view(),
                state.layers.clone(),
                Arc::clone(&self.hold),
            )
        });
        Ok(BuildOutcome {
            image: id,
            manifest,
            cached: self.cached.load(std::sync::atomic::Ordering::Relaxed),
            steps: self.plan.total,
            exports: exports.collect(),
        })
    }

    /// Puts the image among the others, under its names.
    async fn record(&self, image: &StoredImage, state: &State) -> Result<()> {
        let images = Arc::clone(&self.builds.containers.parts.images);
        let (image, names) = (image.clone(), self.request.names.clone());
        let parent = state.base.as_ref().map(|base| base.id.clone());
        blocking(move || {
            let parent = parent.filter(|parent| *parent != image.id.to_string());
            let recorded = images.record_made(&image, &names, parent.as_deref())?;
            for name in &names {
                images.publish(&recorded, "tag", &name.familiar());
            }
            Ok(())
        })
        .await
    }

    async fn make_image(&self, state: &State) -> Result<StoredImage> {
        let images = &self.builds.containers.parts.images;
        if let Some(base) = state.base.as_ref().filter(|_| !state.changed) {
            // A FROM alone is the image that it names, as the classic builder has it.
            return images.stored(base);
        }
        if let Some(lent) = super::borrow::whole(state).filter(|_| !self.request.squash) {
            return Ok(lent.clone());
        }
        let mut layers = state.base_layers.clone();
        let mut history = state.history.clone();
        if self.request.squash && !state.layers.is_empty() {
            let squashed = self.squash(state).await?;
            let base = state.base.as_ref().map_or(0, |base| base.config.history.len());
            for entry in history.iter_mut().skip(base) {
                entry.empty_layer = true;
            }
            let named = state.base.as_ref().map(|base| base.id.clone()).unwrap_or_default();
            history.push(History {
                created: Some(self.now()),
                comment: Some(format!("merge {} to {named}", state.id)),
                ..History::default()
            });
            layers.push(squashed);
        } else {
            for layer in &state.layers {
                let blob = layer.sealed().await?;
                let diff_id = layer.diff_id(&blob);
                layers.push((blob, diff_id));
            }
        }
        if layers.len() > LAYERS_MAX {
            return Err(Error::system("max depth exceeded"));
        }
        let config = ImageConfig {
            author: state.author.clone(),
            config: Some(state.config.clone()),
            created: Some(state.created.clone().unwrap_or_else(|| self.now())),
            history,
            container: None,
            container_config: None,
            comment: None,
            docker_version: None,
            ..state.document.clone()
        };
        let store = Arc::clone(&self.builds.store);
        blocking(move || {
            build_image(&store, config, layers).map_err(|source| Error::failed("make the image", source))
        })
        .await
    }

    /// The layers of this build as one.
    async fn squash(&self, state: &State) -> Result<(Descriptor, Digest)> {
        let store = Arc::clone(&self.builds.store);
        let trees: Vec<std::path::PathBuf> = state.layers.iter().map(|layer| layer.path.clone()).collect();
        blocking(move || {
            let sealed =
                store.squash(&trees).map_err(|source| Error::failed("make one layer of several", source))?;
            let diff_id = sealed.blob.digest;
            Ok((sealed.blob, diff_id))
        })
        .await
    }
}
