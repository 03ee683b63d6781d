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

impl Images {
    /// Takes a name away; with its last name the image goes, unless a container needs it.
    pub async fn remove(self: &Arc<Self>, reference: &str, force: bool) -> Result<Vec<DeleteResponse>> {
        let image = self.resolve(reference)?;
        let by_id = is_by_id(reference, &image);
        let (names, removed) = {
            let mut catalogue = self.write();
            let names = catalogue.names_of(&image.id);
            let going: Vec<String> = match by_id {
                true => names.clone(),
                false => {
                    let name = Reference::parse(reference)
                        .map_err(|source| Error::invalid(source.to_string()).caused_by(source))?;
                    vec![name.or_latest().to_string()]
                }
            };
            let last = going.len() == names.len();
            self.refuse_used(reference, &image, &names, by_id, last, force)?;
            // A forced removal of an image in use takes the names only: containers keep their layers anyway, but
            // what they were made of stays on record.
            let keep_image = !last || self.holders(&image).next().is_some();
            let ids: Vec<String> = if keep_image { Vec::new() } else { vec![image.id.clone()] };
            self.ledger.remove_images(&going, &ids)?;
            for name in &going {
                catalogue.tags.remove(name);
            }
            for id in &ids {
                catalogue.by_id.remove(id);
            }
            (going, !keep_image)
        };
        let mut answer: Vec<DeleteResponse> = Vec::new();
        for name in names {
            self.publish(&image, "untag", &image.id);
            answer.push(DeleteResponse { untagged: familiar(&name), ..DeleteResponse::default() });
        }
        if removed {
            self.publish_gone(&image);
            answer.push(DeleteResponse { deleted: image.id.clone(), ..DeleteResponse::default() });
            let (layers, _bytes) = self.collect().await?;
            answer.extend(
                layers.into_iter().map(|deleted| DeleteResponse { deleted, ..DeleteResponse::default() }),
            );
        }
        Ok(answer)
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

    fn refuse_used(
        &self,
        reference: &str,
        image: &Image,
        names: &[String],
        by_id: bool,
        last: bool,
        force: bool,
    ) -> Result<()> {
        let conflict = |text: String| Err(Error::conflict(format!("conflict: {text}")));
        if by_id {
            if let Some((holder, _)) = self.holders(image).find(|(_, runs)| *runs) {
                return conflict(format!(
                    "unable to delete {} (cannot be forced) - image is being used by running container {holder}",
                    image.short_id()
                ));
            }
            if force {
                return Ok(());
            }
            let mut repositories: Vec<String> = names
                .iter()
                .filter_map(|name| Reference::parse(name).ok())
                .map(|name| name.canonical_name())
                .collect();
            repositories.dedup();
            if repositories.len() > 1 {
                return conflict(format!(
                    "unable to delete {} (must be forced) - image is referenced in multiple repositories",
                    image.short_id()
                ));
            }
            if let Some((holder, _)) = self.holders(image).next() {
                return conflict(format!(
                    "unable to delete {} (must be forced) - image is being used by stopped container {holder}",
                    image.short_id()
                ));
            }
            return Ok(());
        }
        if last
            && !force
            && let Some((holder, _)) = self.holders(image).next()
        {
            return conflict(format!(
                "unable to remove repository reference {reference:?} (must force) - container {holder} is using its referenced image {}",
                image.short_id()
            ));
        }
        Ok(())
    }

    /// Removes images that nobody uses: untagged ones, or with `dangling=false` all.
    pub async fn prune(self: &Arc<Self>, filters: &Filters) -> Result<ImagesPruneReport> {
        filters.allow_only(&["dangling", "label", "label!", "until"])?;
        let only_dangling = filters.boolean("dangling")?.unwrap_or(true);
        let until = filters.until()?;
        let users = self.users();
        let mut deleted = Vec::new();
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
                self.ledger.remove_images(&names, std::slice::from_ref(&image.id))?;
                catalogue.by_id.remove(&image.id);
                for name in &names {
                    catalogue.tags.remove(name);
                    let untagged = familiar(name);
                    self.publish(&image, "untag", &image.id);
                    deleted.push(DeleteResponse { untagged, ..DeleteResponse::default() });
                }
                self.publish_gone(&image);
                deleted.push(DeleteResponse { deleted: image.id.clone(), ..DeleteResponse::default() });
            }
        }
        let (layers, bytes) = self.collect().await?;
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
        Live { manifests, stacks }
    }
}

fn choose(catalogue: &Catalogue, only_dangling: bool) -> impl Iterator<Item = (Arc<Image>, Vec<String>)> {
    catalogue
        .by_id
        .values()
        .map(|image| (Arc::clone(image), catalogue.names_of(&image.id)))
        .filter(move |(_, names)| !only_dangling || names.is_empty())
}

/// Whether an image was named by its id or a part of it rather than by a name.
fn is_by_id(reference: &str, image: &Image) -> bool {
    let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
    image.id.strip_prefix("sha256:").is_some_and(|own| own.starts_with(hex))
}
