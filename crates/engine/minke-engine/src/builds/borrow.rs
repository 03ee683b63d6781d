//! `--cache-from`: steps out of images that were built elsewhere.
//!
//! An image tells what its steps were by its history alone. So it lends a step only to a stage that stands on the same files, came there
//! by the same words, and says the same words next. What was copied is not believed by its words: the files are written, and the image's
//! layer is taken where it holds the same ones. A step whose words leave out what it depends on (mounts, a script) is done anew.
//! What was borrowed is not remembered under the keys of the engine's own cache: whoever does not name the image does not get it.

use std::path::Path;
use std::sync::Arc;

use minke_base::Digest;
use minke_dockerfile::{Form, Network, Pair, Run};
use minke_store::document::{ContainerConfig, History};
use minke_store::{Store, transplant};

use super::cache::{Key, Record};
use super::event::BuildEvent;
use super::solve::{Build, Made, Place};
use super::state::State;
use crate::error::{Error, Result};
use crate::images::Image;

/// An image that may be borrowed from.
#[derive(Debug)]
pub(super) struct Lender {
    pub(super) image: Arc<Image>,
    stored: minke_store::Image,
}

/// One that is named by `type=registry,ref=…` is looked for in its registry as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSource {
    /// The image's name or id.
    pub name: String,
    /// It is pulled when it is not here.
    pub pull: bool,
}

impl Lender {
    fn history(&self) -> &[History] {
        &self.stored.config.history
    }

    /// The layer that a step made; `None` for a step that made none, or one that the image does not have.
    fn layer(&self, step: usize) -> Option<(&minke_store::Descriptor, Digest)> {
        self.history().get(step).filter(|entry| !entry.empty_layer)?;
        let index = self.history()[..step].iter().filter(|entry| !entry.empty_layer).count();
        Some((self.stored.layers.get(index)?, *self.stored.diff_ids().get(index)?))
    }

    /// What the step came to there.
    fn record(&self, build: &Build, state: &State) -> Option<Record> {
        let step = state.history.len();
        let entry = self.history().get(step)?;
        let layer = self.layer(step);
        if layer.is_none() != entry.empty_layer {
            return None;
        }
        let diff_id = layer.as_ref().map(|(_, diff_id)| *diff_id);
        let by = entry.created_by.clone().unwrap_or_default();
        let named = diff_id.map(|diff_id| diff_id.to_string()).unwrap_or_default();
        Some(Record {
            parents: vec![state.id.clone()],
            id: if step + 1 == self.history().len() {
                self.image.id.clone()
            } else {
                format!("sha256:{}", Key::of(&["borrowed", &self.image.id, &step.to_string()]).0)
            },
            created: entry.created.clone().unwrap_or_else(|| build.now()),
            layer: layer.map(|(blob, _)| blob.clone()),
            diff_id,
            description: by.clone(),
            by,
            // Not the key that the engine's own work would have.
            files: Key::of(&["borrowed", state.key.text(), &named]).0,
            size: 0,
        })
    }

    fn says(&self, step: usize) -> &str {
        self.history().get(step).and_then(|entry| entry.created_by.as_deref()).unwrap_or_default()
    }

    /// Whether the image went the way that the stage has gone with its last step.
    fn went(&self, entry: &History, step: usize, diff_id: Option<Digest>) -> bool {
        let Some(own) = self.history().get(step) else { return false };
        own.created_by == entry.created_by
            && own.empty_layer == entry.empty_layer
            && self.layer(step).map(|(_, diff_id)| diff_id) == diff_id
            && own.empty_layer == diff_id.is_none()
    }
}

impl Build {
    /// The images that were named and are here, or can be had.
    pub(super) async fn lenders(&self, stage: usize) -> Vec<Arc<Lender>> {
        if self.request.cache_from.is_empty() || !self.may_cache(stage) {
            return Vec::new();
        }
        self.lenders.get_or_init(|| self.find_lenders()).await.clone()
    }

    async fn find_lenders(&self) -> Vec<Arc<Lender>> {
        let mut lenders = Vec::new();
        for source in &self.request.cache_from {
            match self.find_lender(source).await {
                Ok(lender) => lenders.push(Arc::new(lender)),
                Err(error) => {
                    let message = format!("--cache-from {}: nothing is taken from it: {error}", source.name);
                    self.tell(BuildEvent::Warning { vertex: None, message });
                }
            }
        }
        lenders
    }

    async fn find_lender(&self, source: &CacheSource) -> Result<Lender> {
        let (builds, platform) = (&self.builds, &self.request.platform);
        let image = if source.pull {
            self.image(&source.name, platform).await?
        } else {
            builds.containers.parts.images.resolve_for_container(&source.name, Some(platform))?
        };
        let stored = builds.keep(&image)?;
        Ok(Lender { image, stored })
    }

    /// What a stage can borrow from when it begins: images that stand on the same base, to the second that it was made in.
    pub(super) async fn begin_borrowing(&self, state: &mut State, stage: usize) {
        let lenders = self.lenders(stage).await;
        if lenders.is_empty() {
            return;
        }
        let base: Vec<Digest> = state.base_layers.iter().map(|(_, diff_id)| *diff_id).collect();
        state.lenders = lenders
            .into_iter()
            .filter(|lender| {
                lender.history().starts_with(&state.history) && lender.stored.diff_ids().starts_with(&base)
            })
            .collect();
    }

    /// A step whose words say all that it depends on.
    pub(super) fn borrow_step(
        &self,
        state: &State,
        keys: &[Key],
        by: &str,
        place: &Place<'_>,
    ) -> Result<Option<Made>> {
        let lent = state.lenders.iter().filter(|lender| lender.says(state.history.len()) == by);
        let record = lent.filter_map(|lender| lender.record(self, state)).next();
        match record {
            Some(record) => Ok(Some(self.found(record, keys, by))),
            None => self.find_step(keys, by, place),
        }
    }

    /// What the images have where a copy to `target` is next.
    pub(super) fn lent_copies(&self, state: &State, verb: &str, target: &str) -> Vec<Record> {
        let step = state.history.len();
        let fits = |says: &str| {
            let rest = says.strip_prefix("/bin/sh -c #(nop) ").and_then(|rest| rest.strip_prefix(verb));
            let rest = rest.and_then(|rest| rest.strip_prefix(' '));
            rest.and_then(|rest| rest.split_once(" in ")).is_some_and(|(_, to)| to.trim_end() == target)
        };
        let lent = state.lenders.iter().filter(|lender| fits(lender.says(step)));
        lent.filter_map(|lender| lender.record(self, state)).filter(|record| record.layer.is_some()).collect()
    }
}

/// Which images still go the stage's way after its last step. `known`: the digest of the layer that the step made is.
pub(super) fn follow(state: &mut State, diff_id: Option<Digest>, known: bool) {
    if state.lenders.is_empty() {
        return;
    }
    let Some((entry, before)) = state.history.split_last() else { return };
    let step = before.len();
    state.lenders.retain(|lender| known && lender.went(entry, step, diff_id));
}

/// The image that a stage has become by borrowing every step of it.
pub(super) fn whole(state: &State) -> Option<&minke_store::Image> {
    let mut stored = state.lenders.iter().map(|lender| &lender.stored);
    stored.find(|stored| {
        stored.config.history == state.history
            && stored.config.author == state.author
            && stored.config.config.as_ref().is_some_and(|config| same_defaults(config, &state.config))
    })
}

/// Whether containers start the same way; builders note other things besides.
fn same_defaults(one: &ContainerConfig, other: &ContainerConfig) -> bool {
    let bare = |config: &ContainerConfig| ContainerConfig {
        hostname: String::new(),
        domainname: String::new(),
        image: String::new(),
        extra: serde_json::Map::new(),
        ..config.clone()
    };
    bare(one) == bare(other)
}

/// Which of the layers holds what was written, whenever that was.
pub(super) fn choose_same(store: &Store, written: &Path, lent: Vec<Record>) -> Result<Option<Record>> {
    let sum = |path: &Path| {
        transplant::tree_digest(path)
            .map_err(|source| Error::failed(format!("read {}", path.display()), source))
    };
    let own = sum(written)?;
    for record in lent {
        if let Some(diff_id) = record.diff_id()
            && sum(&store.layers().path(diff_id))? == own
        {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// Whether a `RUN` says by its words alone what it depends on.
pub(super) fn can_be_lent(run: &Run, arguments: &[String]) -> bool {
    !matches!(run.form, Form::Script { .. })
        && run.mounts.is_empty()
        && run.network == Network::Default
        && !arguments.iter().any(|argument| argument.contains(char::is_whitespace))
}

/// `ENV A=b c=d` may set one variable or two: an image that said so must have come to the same ones.
pub(super) fn check_variables(state: &mut State, pairs: &[Pair]) {
    let words: usize =
        pairs.iter().map(|pair| format!("{}={}", pair.key, pair.value).split_whitespace().count()).sum();
    if words > 1 {
        state.lenders.retain(|lender| {
            let env = &lender.image.defaults.env;
            pairs.iter().all(|pair| env.contains(&format!("{}={}", pair.key, pair.value)))
        });
    }
}
