//! Steps that are found instead of done, and steps that are remembered.

use std::sync::{Arc, PoisonError};

use minke_store::Snapshot;

use super::cache::{Key, Record};
use super::solve::{Build, Made, Place};
use super::state::Layer;
use crate::error::Result;

impl Build {
    /// Waits until what was made is recorded.
    pub(super) async fn settle(&self) {
        let mut recording =
            std::mem::take(&mut *self.recording.lock().unwrap_or_else(PoisonError::into_inner));
        while recording.join_next().await.is_some() {}
        let used: Vec<String> =
            std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
                .into_iter()
                .collect();
        if let Err(error) = self.builds.cache.touch(&used) {
            tracing::warn!(error = %crate::error::chain(&error), "the build cache does not know that it was of use");
        }
    }

    /// What a step wrote becomes a layer; its digest is computed from here on.
    pub(super) fn seal(&self, snapshot: Snapshot) -> Layer {
        Layer::sealing(&self.builds.store, snapshot, Arc::clone(&self.clean))
    }

    /// Records a step once its layer has a digest.
    pub(super) fn remember(&self, keys: Vec<Key>, mut record: Record, layer: Option<Layer>) {
        let cache = Arc::clone(&self.builds.cache);
        let store = Arc::clone(&self.builds.store);
        let hold = self.builds.store.hold();
        let work = async move {
            if let Some(layer) = layer {
                match layer.sealed().await {
                    Ok(blob) => {
                        record.size = store.layers().find(blob.digest).map_or(0, |layer| layer.size);
                        record.layer = Some(blob);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a build step is not remembered");
                        return;
                    }
                }
            }
            if let Err(error) = cache.add(&keys, &record) {
                tracing::warn!(error = %crate::error::chain(&error), "a build step is not remembered");
            }
            drop(hold);
        };
        self.recording.lock().unwrap_or_else(PoisonError::into_inner).spawn(work);
    }

    /// Whether a stage's steps may be found instead of done.
    pub(super) fn may_cache(&self, stage: usize) -> bool {
        let stage = &self.file.stages[stage];
        let named =
            |name: &String| stage.from.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        !self.request.no_cache && !self.request.no_cache_stages.iter().any(named)
    }

    /// What a step with one of these keys came to before, unless the cache is not wanted.
    pub(super) fn find(&self, stage: usize, keys: &[Key]) -> Result<Option<Record>> {
        if !self.may_cache(stage) {
            return Ok(None);
        }
        for key in keys {
            if let Some(record) = self.builds.cache.find(key)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The same as what the step made.
    pub(super) fn find_step(&self, keys: &[Key], by: &str, place: &Place<'_>) -> Result<Option<Made>> {
        Ok(self.find(place.stage, keys)?.map(|record| self.found(record, keys, by)))
    }

    /// A step that need not be done.
    pub(super) fn found(&self, record: Record, keys: &[Key], by: &str) -> Made {
        let layer = self.recorded_layer(&record);
        Made { keys: keys.to_vec(), by: by.to_owned(), layer, record: Some(record) }
    }

    /// A step's layer out of its record.
    pub(super) fn recorded_layer(&self, record: &Record) -> Option<Layer> {
        let blob = record.layer.clone()?;
        let path = self.builds.store.layers().path(record.diff_id()?);
        Some(Layer::known(path, blob, record.diff_id))
    }
}
