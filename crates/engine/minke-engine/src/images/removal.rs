//! Names and images that go, and what the store may forget with them.

use std::sync::Arc;

use minke_api::image::{DeleteResponse, ImagesPruneReport};
use minke_base::Reference;
use minke_store::{Live, StoreError};

use super::{Catalogue, Image, Images, familiar};
use crate::error::{Error, Result};
use crate::filters::Filters;

/// Why the store's collection did not end.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a removal took.
#[derive(Debug, Default)]
struct Gone {
    names: Vec<(Arc<Image>, Vec<String>)>,
    images: Vec<Arc<Image>>,
}

impl Images {
    /// Takes a name away; with its last name the image goes, unless a container or an image made on top needs it. With
    /// `prune` the nameless images below it go as well.
    pub async fn remove(
        self: &Arc<Self>,
        reference: &str,
        force: bool,
        prune: bool,
    ) -> Result<Vec<DeleteResponse>> {
        let image = self.resolve(reference)?;
        let mut gone = Gone::default();
        {
            let mut catalogue = self.write();
            if is_by_id(reference, &image) {
                self.remove_by_id(&mut catalogue, &image, force, prune, &mut gone)?;
            } else {
                self.remove_name(&mut catalogue, reference, &image, force, prune, &mut gone)?;
            }
        }
        let nothing_gone = gone.images.is_empty();
        let mut answer = self.tell_gone(gone);
        if nothing_gone {
            return Ok(answer);
        }
        let (layers, _bytes) = self.collect().await?;
        answer.extend(
            layers.into_iter().map(|deleted| DeleteResponse { deleted, ..DeleteResponse::default() }),
        );
        Ok(answer)
    }

    /// Says what went: to whoever follows events, and as an answer.
    fn tell_gone(&self, gone: Gone) -> Vec<DeleteResponse> {
        let mut answer: Vec<DeleteResponse> = Vec::new();
        for (image, names) in gone.names {
            for name in names {
                self.publish(&image, "untag", &image.id);
                answer.push(DeleteResponse { untagged: familiar(&name), ..DeleteResponse::default() });
            }
        }
        for image in gone.images {
            self.publish_gone(&image);
            answer.push(DeleteResponse { deleted: image.id.clone(), ..DeleteResponse::default() });
        }
        answer
    }

    fn remove_name(
        &self,
        catalogue: &mut Catalogue,
        reference: &str,
        image: &Arc<Image>,
        force: bool,
        prune: bool,
        gone: &mut Gone,
    ) -> Result<()> {
        let names = catalogue.names_of(&image.id);
        if !force
            && is_one_name(&names)
            && let Some((holder, _)) = self.holders(image).next()
        {
            return Err(Error::conflict(format!(
                "conflict: unable to remove repository reference {reference:?} (must force) - container {holder} is using its referenced image {}",
                image.short_id()
            )));
        }
        let name = Reference::parse(reference)
            .map_err(|source| Error::invalid(source.to_string()).caused_by(source))?;
        let mut going = vec![match name.digest() {
            Some(digest) => name.with_digest(digest).to_string(),
            None => name.clone().or_latest().to_string(),
        }];
        // With the last tag of a repository its digests go too.
        if name.digest().is_none() {
            let same = |other: &str| {
                Reference::parse(other).is_ok_and(|other| other.canonical_name() == name.canonical_name())
            };
            let others = names.iter().filter(|other| **other != going[0] && same(other));
            if others.clone().all(|other| other.contains('@')) {
                going.extend(others.cloned().collect::<Vec<_>>());
            }
        }
        let last = names.iter().all(|name| going.contains(name));
        // A forced removal of an image in use takes the names only: containers keep their layers anyway, but what they
        // were made of stays on record. So does what other images were made of.
        let conflict = if last { self.conflict(catalogue, image, &[], force) } else { None };
        let removed = last && conflict.is_none() && self.holders(image).next().is_none();
        self.take(catalogue, image, going, removed, gone)?;
        if removed && prune {
            self.prune_parents(catalogue, image, gone)?;
        }
        Ok(())
    }

    fn remove_by_id(
        &self,
        catalogue: &mut Catalogue,
        image: &Arc<Image>,
        force: bool,
        prune: bool,
        gone: &mut Gone,
    ) -> Result<()> {
        let names = catalogue.names_of(&image.id);
        if let Some(conflict) = self.conflict(catalogue, image, &names, force) {
            return Err(conflict);
        }
        // Held by a stopped container and forced: its names go, the record stays as long as the container.
        let removed = self.holders(image).next().is_none();
        self.take(catalogue, image, names, removed, gone)?;
        if removed && prune {
            self.prune_parents(catalogue, image, gone)?;
        }
        Ok(())
    }

    /// The nameless images below one that went, as long as nothing else needs them.
    fn prune_parents(&self, catalogue: &mut Catalogue, image: &Image, gone: &mut Gone) -> Result<()> {
        let mut next = image.parent.clone();
        while let Some(parent) = next.and_then(|id| catalogue.by_id.get(&id).cloned()) {
            let named = !catalogue.names_of(&parent.id).is_empty();
            if named || self.conflict(catalogue, &parent, &[], false).is_some() {
                break;
            }
            self.take(catalogue, &parent, Vec::new(), true, gone)?;
            next = parent.parent.clone();
        }
        Ok(())
    }

    fn take(
        &self,
        catalogue: &mut Catalogue,
        image: &Arc<Image>,
        names: Vec<String>,
        removed: bool,
        gone: &mut Gone,
    ) -> Result<()> {
        let ids = if removed { std::slice::from_ref(&image.id) } else { &[] };
        self.ledger.remove_images(&names, ids)?;
        for name in &names {
            catalogue.tags.remove(name);
        }
        if removed {
            catalogue.by_id.remove(&image.id);
            gone.images.push(Arc::clone(image));
        }
        gone.names.push((Arc::clone(image), names));
        Ok(())
    }

    /// The containers made of an image: short id, and whether it runs.
    fn holders(&self, image: &Image) -> impl Iterator<Item = (String, bool)> + use<> {
        let id = image.id.clone();
        self.registry
            .all()
            .into_iter()
            .filter(move |container| {
                let record = container.record();
                record.image == id || record.mounted_images().any(|mounted| mounted.id == id)
            })
            .map(|container| (container.id.short().to_owned(), container.phase().is_live()))
    }

    /// Why an image that has these names cannot go.
    fn conflict(&self, catalogue: &Catalogue, image: &Image, names: &[String], force: bool) -> Option<Error> {
        let because = |how: &str, why: String| {
            Some(Error::conflict(format!("conflict: unable to delete {} ({how}) - {why}", image.short_id())))
        };
        if catalogue.children(&image.id).next().is_some() {
            return because("cannot be forced", "image has dependent child images".to_owned());
        }
        if let Some((holder, _)) = self.holders(image).find(|(_, runs)| *runs) {
            return because("cannot be forced", format!("image is being used by running container {holder}"));
        }
        if force {
            return None;
        }
        if !is_one_name(names) {
            return because("must be forced", "image is referenced in multiple repositories".to_owned());
        }
        let (holder, _) = self.holders(image).next()?;
        because("must be forced", format!("image is being used by stopped container {holder}"))
    }

    /// Removes images that nobody uses: untagged ones, or with `dangling=false` all.
    pub async fn prune(self: &Arc<Self>, filters: &Filters) -> Result<ImagesPruneReport> {
        filters.allow_only(&["dangling", "label", "label!", "until"])?;
        let only_dangling = filters.boolean("dangling")?.unwrap_or(true);
        let until = filters.until()?;
        let users = self.users();
        let mut gone = Gone::default();
        {
            let mut catalogue = self.write();
            let chosen: Vec<(Arc<Image>, Vec<String>)> = choose(&catalogue, only_dangling)
                .filter(|(image, _)| !users.contains_key(&image.id))
                .filter(|(image, _)| until.is_none_or(|until| image.created < until))
                .filter(|(image, _)| {
                    let label = |key: &str| image.defaults.labels.get(key).map(String::as_str);
                    filters.labels("label", label)
                        && (!filters.has("label!") || !filters.labels("label!", label))
                })
                .collect();
            for (image, names) in chosen {
                // Its parents may be among the chosen and have gone with an image before.
                if catalogue.by_id.contains_key(&image.id)
                    && self.conflict(&catalogue, &image, &[], false).is_none()
                {
                    self.take(&mut catalogue, &image, names, true, &mut gone)?;
                    self.prune_parents(&mut catalogue, &image, &mut gone)?;
                }
            }
        }
        let mut deleted = self.tell_gone(gone);
        let (layers, mut bytes) = self.collect().await?;
        // What came of a pull that was given up is no image's; whoever asks for certain images does not mean it.
        if !["label", "label!", "until"].iter().any(|key| filters.has(key)) {
            bytes += self.forget_parts().await?;
        }
        deleted.extend(
            layers.into_iter().map(|deleted| DeleteResponse { deleted, ..DeleteResponse::default() }),
        );
        let attributes = std::collections::BTreeMap::from([("reclaimed".to_owned(), bytes.to_string())]);
        self.events.publish("image", "prune", "", attributes);
        Ok(ImagesPruneReport {
            images_deleted: (!deleted.is_empty()).then_some(deleted),
            space_reclaimed: bytes,
        })
    }

    async fn forget_parts(self: &Arc<Self>) -> Result<u64> {
        let images = Arc::clone(self);
        let failed = "remove what came of unfinished pulls";
        tokio::task::spawn_blocking(move || images.store.content().delete_parts())
            .await
            .map_err(|source| Error::failed(failed, source))?
            .map_err(|source| Error::failed(failed, source))
    }

    /// Removes from the store what no image and no container names; answers with the layers and bytes that went.
    pub(crate) async fn collect(self: &Arc<Self>) -> Result<(Vec<String>, u64)> {
        let images = Arc::clone(self);
        let collected = tokio::task::spawn_blocking(move || {
            images.store.collect(|| Ok::<_, CollectError>(images.live()))
        })
        .await
        .map_err(|source| Error::failed("collect what no image names", source))?
        .map_err(|source| Error::failed("collect what no image names", source))?;
        Ok(match collected {
            Some(gone) => (gone.layers.iter().map(ToString::to_string).collect(), gone.bytes),
            // Another collection runs and will find it.
            None => (Vec::new(), 0),
        })
    }

    fn live(&self) -> Live {
        let manifests = self.read().by_id.values().filter_map(|image| image.manifest).collect();
        let digests = |layers: &[String]| layers.iter().filter_map(|layer| layer.parse().ok()).collect();
        let mut stacks = Vec::new();
        for container in self.registry.all() {
            let record = container.record();
            stacks.push(digests(&record.layers));
            stacks.extend(record.mounted_images().map(|mounted| digests(&mounted.layers)));
        }
        // What the build cache leads to stays until it is pruned there.
        match self.ledger.build_rows() {
            Ok(rows) => stacks.extend(rows.into_iter().filter_map(|row| Some(digests(&[row.layer?])))),
            Err(error) => {
                tracing::error!(error = %crate::error::chain(&error), "the build cache is not spared")
            }
        }
        Live { manifests, stacks }
    }
}

fn choose(catalogue: &Catalogue, only_dangling: bool) -> impl Iterator<Item = (Arc<Image>, Vec<String>)> {
    catalogue
        .by_id
        .values()
        .map(|image| (Arc::clone(image), catalogue.names_of(&image.id)))
        .filter(move |(_, names)| !only_dangling || names.iter().all(|name| name.contains('@')))
}

/// Whether an image was named by its id or a part of it rather than by a name.
fn is_by_id(reference: &str, image: &Image) -> bool {
    let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
    image.id.strip_prefix("sha256:").is_some_and(|own| own.starts_with(hex))
}

/// Whether names are one tag at most, with digests of that repository only: then they go together.
fn is_one_name(names: &[String]) -> bool {
    let repositories: std::collections::BTreeSet<String> = names
        .iter()
        .filter_map(|name| Reference::parse(name).ok())
        .map(|name| name.canonical_name())
        .collect();
    let tags = names.iter().filter(|name| !name.contains('@')).count();
    names.len() <= 1 || (repositories.len() == 1 && tags <= 1)
}
