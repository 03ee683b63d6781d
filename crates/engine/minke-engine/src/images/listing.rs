//! Images as clients see them: list, inspect, history.

use std::collections::BTreeMap;

use minke_api::container::{DriverData, StrSlice};
use minke_api::image::{HistoryItem, ImageConfig, ImageInspect, ImageMetadata, ImageSummary, RootFs};
use minke_base::Reference;

use super::{Image, Images};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::filters::Filters;

/// How images are listed.
#[derive(Debug, Clone, Default)]
pub struct ImageListOptions {
    /// Those too that have no name and were built upon.
    pub all: bool,
    /// Work out how much is shared.
    pub shared_size: bool,
    /// Which ones.
    pub filters: Filters,
}

impl Images {
    /// The images that pass, newest first.
    pub async fn list(&self, options: ImageListOptions) -> Result<Vec<ImageSummary>> {
        let filters = &options.filters;
        filters.allow_only(&["before", "dangling", "label", "reference", "since", "until"])?;
        let dangling = filters.boolean("dangling")?;
        let bound = |name: &str| -> Result<Option<Moment>> {
            filters
                .values(name)
                .last()
                .map(|reference| self.resolve(reference).map(|image| image.created))
                .transpose()
        };
        let (before, since) = (bound("before")?, bound("since")?);
        let until = filters.until()?;
        let users = self.users();
        let shared = if options.shared_size { Some(self.layer_uses()) } else { None };
        let catalogue = self.read();
        let mut list: Vec<(Moment, ImageSummary)> = catalogue
            .by_id
            .values()
            .filter(|image| before.is_none_or(|before| image.created < before))
            .filter(|image| since.is_none_or(|since| image.created > since))
            .filter(|image| until.is_none_or(|until| image.created < until))
            .filter(|image| filters.labels("label", |key| image.defaults.labels.get(key).map(String::as_str)))
            .filter_map(|image| {
                let (mut tags, mut digests) = catalogue.familiar_names(&image.id);
                if filters.has("reference") {
                    let wanted =
                        |name: &String| filters.any("reference", |pattern| reference_matches(pattern, name));
                    tags.retain(wanted);
                    digests.retain(wanted);
                    if tags.is_empty() && digests.is_empty() {
                        return None;
                    }
                }
                let nameless = tags.is_empty() && digests.is_empty();
                let built_upon = nameless && catalogue.children(&image.id).next().is_some();
                // A step of a later image is not dangling: it is that image's.
                let left_out = match dangling {
                    Some(true) => !tags.is_empty() || built_upon,
                    Some(false) => nameless,
                    None => built_upon && !options.all,
                };
                if left_out {
                    return None;
                }
                let summary = ImageSummary {
                    containers: if options.shared_size {
                        users.get(&image.id).copied().unwrap_or(0)
                    } else {
                        -1
                    },
                    created: image.created.seconds(),
                    id: image.id.clone(),
                    labels: Some(image.defaults.labels.clone()).filter(|labels| !labels.is_empty()),
                    parent_id: image.parent.clone().unwrap_or_default(),
                    repo_digests: digests,
                    repo_tags: tags,
                    shared_size: shared.as_ref().map_or(-1, |uses| self.shared_bytes(image, uses)),
                    size: image.size,
                };
                Some((image.created, summary))
            })
            .collect();
        drop(catalogue);
        list.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
        Ok(list.into_iter().map(|(_, summary)| summary).collect())
    }

    /// How many containers were made of each image.
    pub(super) fn users(&self) -> BTreeMap<String, i64> {
        let mut users = BTreeMap::new();
        for container in self.registry.all() {
            *users.entry(container.record().image.clone()).or_insert(0) += 1;
        }
        users
    }

    fn layer_uses(&self) -> BTreeMap<String, usize> {
        let mut uses = BTreeMap::new();
        for image in self.read().by_id.values() {
            for layer in &image.diff_ids {
                *uses.entry(layer.clone()).or_insert(0) += 1;
            }
        }
        uses
    }

    fn shared_bytes(&self, image: &Image, uses: &BTreeMap<String, usize>) -> i64 {
        let bytes = image
            .diff_ids
            .iter()
            .filter(|layer| uses.get(*layer).is_some_and(|count| *count > 1))
            .filter_map(|layer| self.store.layers().get(layer.parse().ok()?).ok())
            .fold(0u64, |sum, layer| sum.saturating_add(layer.size));
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }

    /// Everything that is known of an image.
    pub async fn inspect(&self, reference: &str) -> Result<ImageInspect> {
        let image = self.resolve(reference)?;
        let (repo_tags, repo_digests, tagged_at) = {
            let catalogue = self.read();
            let names = catalogue.names_of(&image.id);
            let last = names.iter().filter_map(|name| catalogue.tags.get(name)).map(|tag| tag.at).max();
            let (tags, digests) = catalogue.familiar_names(&image.id);
            (tags, digests, last)
        };
        let config = &image.config;
        Ok(ImageInspect {
            id: image.id.clone(),
            repo_tags,
            repo_digests,
            parent: image.parent.clone().unwrap_or_default(),
            comment: config
                .comment
                .clone()
                .or_else(|| config.history.last().and_then(|step| step.comment.clone()))
                .unwrap_or_default(),
            created: config.created.clone(),
            docker_version: config.docker_version.clone().unwrap_or_default(),
            author: config.author.clone().unwrap_or_default(),
            config: Some(wire_config(&image)),
            architecture: config.architecture.clone(),
            variant: config.variant.clone().unwrap_or_default(),
            os: config.os.clone(),
            os_version: config.os_version.clone().unwrap_or_default(),
            size: image.size,
            graph_driver: Some(self.graph_driver(&image)),
            root_fs: RootFs { kind: "layers".to_owned(), layers: image.diff_ids.clone() },
            metadata: ImageMetadata { last_tag_time: tagged_at.map(Moment::rfc3339) },
        })
    }

    fn graph_driver(&self, image: &Image) -> DriverData {
        let mut data = BTreeMap::new();
        if let Ok(stack) = image.stack(&self.store) {
            // The first is the layer of mount points, which is not the image's own.
            let own: Vec<String> =
                stack.iter().skip(1).map(|path| path.to_string_lossy().into_owned()).collect();
            if let Some((top, rest)) = own.split_first() {
                data.insert("UpperDir".to_owned(), top.clone());
                if !rest.is_empty() {
                    data.insert("LowerDir".to_owned(), rest.join(":"));
                }
            }
        }
        DriverData { data: Some(data), name: self.store.driver().name().to_owned() }
    }

    /// The steps an image was made in, newest first.
    pub async fn history(&self, reference: &str) -> Result<Vec<HistoryItem>> {
        let image = self.resolve(reference)?;
        let steps = self.read_steps(&image)?;
        let mut items: Vec<HistoryItem> = steps
            .into_iter()
            .map(|step| HistoryItem {
                comment: step.entry.comment.unwrap_or_default(),
                created: step
                    .entry
                    .created
                    .as_deref()
                    .and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok())
                    .map_or(0, |at| at.timestamp()),
                created_by: step.entry.created_by.unwrap_or_default(),
                id: "<missing>".to_owned(),
                size: i64::try_from(step.size).unwrap_or(i64::MAX),
                tags: None,
            })
            .collect();
        // The images it was made of here are known by the steps they end with.
        let catalogue = self.read();
        let total = items.len();
        let mut known = Some(image);
        while let Some(made) = known {
            let row = row_of(total, made.config.history.len());
            if let Some(item) = row.and_then(|row| items.get_mut(row)) {
                let (tags, _digests) = catalogue.familiar_names(&made.id);
                item.id.clone_from(&made.id);
                item.tags = (!tags.is_empty()).then_some(tags);
            }
            known = made.parent.as_ref().and_then(|parent| catalogue.by_id.get(parent)).cloned();
        }
        Ok(items)
    }

    fn read_steps(&self, image: &Image) -> Result<Vec<minke_store::HistoryItem>> {
        if image.manifest.is_none() {
            return Ok(Vec::new());
        }
        self.store
            .image_history(&self.stored(image)?)
            .map_err(|source| Error::failed(format!("read image {}", image.id), source))
    }
}

/// Where the newest of an ancestor's steps stands among all steps, newest first.
fn row_of(all: usize, own: usize) -> Option<usize> {
    if own == 0 { None } else { all.checked_sub(own) }
}

/// Whether a name passes a `reference` filter: a glob over the familiar name, with or without its tag.
fn reference_matches(pattern: &str, name: &str) -> bool {
    let untagged = Reference::parse(name).map(|reference| reference.familiar_name()).unwrap_or_default();
    minke_base::glob::matches(pattern, name) || minke_base::glob::matches(pattern, &untagged)
}

fn wire_config(image: &Image) -> ImageConfig {
    let own = &image.defaults;
    let set = |keys: Vec<String>| {
        Some(keys.into_iter().map(|key| (key, minke_api::Empty {})).collect::<minke_api::Set>())
            .filter(|set| !set.is_empty())
    };
    ImageConfig {
        user: own.user.clone(),
        exposed_ports: set(own.exposed_ports.keys().cloned().collect()),
        env: Some(own.env.clone()).filter(|list| !list.is_empty()),
        entrypoint: own.entrypoint.clone().map(StrSlice),
        cmd: own.cmd.clone().map(StrSlice),
        volumes: set(own.volumes.keys().cloned().collect()),
        working_dir: own.working_dir.clone(),
        labels: Some(own.labels.clone()).filter(|map| !map.is_empty()),
        stop_signal: own.stop_signal.clone().unwrap_or_default(),
        args_escaped: own.args_escaped,
        healthcheck: own.healthcheck.as_ref().map(|check| minke_api::container::HealthConfig {
            test: Some(check.test.clone()),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        on_build: Some(own.on_build.clone()).filter(|list| !list.is_empty()),
        shell: own.shell.clone().map(StrSlice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ancestor_stands_where_its_own_history_begins() {
        assert_eq!(row_of(7, 7), Some(0), "the image itself");
        assert_eq!(row_of(7, 2), Some(5), "a base below five steps of a build");
        assert_eq!(row_of(7, 0), None, "one that says nothing of its making");
        assert_eq!(row_of(1, 2), None, "one that says more than its child");
    }
}
