//! What the build cache holds, and what of it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::cache::Record;
use super::request::{PruneRequest, Pruned};
use super::{Builds, blocking};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::filters::Filters;

/// The filters that are known.
const KNOWN: [&str; 9] =
    ["until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private"];

/// One thing that the cache holds, as `system df` and `builder prune` show it.
#[derive(Debug, Clone)]
pub struct CacheItem {
    /// Its id.
    pub id: String,
    /// `regular` for a step, `exec.cachemount` for what a `--mount=type=cache` keeps.
    pub kind: &'static str,
    /// The instruction, or which cache.
    pub description: String,
    /// Bytes.
    pub size: u64,
    /// When it was made.
    pub created: Moment,
    /// When it was last of use.
    pub used: Moment,
    /// How often.
    pub uses: i64,
    /// An image has its layer too.
    pub shared: bool,
    keys: Vec<String>,
    layer: Option<String>,
    path: Option<PathBuf>,
}

impl Builds {
    /// What the cache holds, the longest unused first.
    pub fn items(&self) -> Result<Vec<CacheItem>> {
        let of_images = self.containers.parts.images.all_layers();
        let mut items: BTreeMap<String, CacheItem> = BTreeMap::new();
        for row in self.ledger.build_rows()? {
            let Ok(record) = serde_json::from_str::<Record>(&row.record) else { continue };
            let shared = row.layer.as_ref().is_some_and(|layer| of_images.contains(layer));
            let item = items.entry(record.id.clone()).or_insert_with(|| CacheItem {
                id: record.id.trim_start_matches("sha256:").to_owned(),
                kind: "regular",
                description: record.description,
                size: record.size,
                created: Moment(row.created_at),
                used: Moment(row.used_at),
                uses: 0,
                shared,
                keys: Vec::new(),
                layer: row.layer.clone(),
                path: None,
            });
            item.keys.push(row.key);
            item.used = item.used.max(Moment(row.used_at));
            item.uses = item.uses.max(row.uses);
        }
        let mut items: Vec<CacheItem> = items.into_values().chain(self.cache_mounts()).collect();
        items.sort_by_key(|item| item.used);
        Ok(items)
    }

    fn cache_mounts(&self) -> Vec<CacheItem> {
        let Ok(entries) = std::fs::read_dir(&self.caches.directory) else { return Vec::new() };
        let moment = |time: std::io::Result<std::time::SystemTime>| {
            let since = time.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            Moment(since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)))
        };
        let mut items = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let Ok(found) = path.metadata() else { continue };
            let used = path.with_extension("used").metadata().and_then(|found| found.modified());
            let made = moment(found.modified());
            items.push(CacheItem {
                id: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                kind: "exec.cachemount",
                description: "cached mount".to_owned(),
                size: minke_store::layer::tree_bytes(&path).unwrap_or(0),
                created: made,
                used: moment(used).max(made),
                uses: 0,
                shared: false,
                keys: Vec::new(),
                layer: None,
                path: Some(path),
            });
        }
        items
    }

    /// Removes what the cache holds and nobody needs. Steps whose layers images have too go only with `all`; they free nothing.
    pub async fn prune(self: &Arc<Self>, request: PruneRequest) -> Result<Pruned> {
        request.filters.allow_only(&KNOWN)?;
        let now = Moment::now();
        let unused_for = unused_for(&request.filters)?;
        let chosen = |item: &CacheItem| {
            let filters = &request.filters;
            let old = unused_for.is_none_or(|span| now.0.saturating_sub(item.used.0) >= span);
            old && (request.all || !item.shared)
                && filters.any("id", |id| item.id.starts_with(id))
                && filters.exact("type", item.kind)
                && filters.any("description", |text| item.description.contains(text))
                && filters.any("shared", |text| item.shared == is_true(text))
                && filters.any("private", |text| item.shared != is_true(text))
                // What a build has in use right now is kept by its hold; here nothing is known to be.
                && filters.any("inuse", |text| !is_true(text))
                && !filters.has("parent")
        };
        let items = self.items()?;
        let mut left: u64 = unique_bytes(&items);
        let mut gone = Pruned::default();
        let (mut keys, mut paths) = (Vec::new(), Vec::new());
        let mut counted = BTreeSet::new();
        for item in items.iter().filter(|item| chosen(item)) {
            if request.keep_bytes > 0 && left <= request.keep_bytes {
                break;
            }
            if item.layer.is_none() || counted.insert(item.layer.clone()) {
                left = left.saturating_sub(item.size);
            }
            gone.ids.push(item.id.clone());
            keys.extend(item.keys.iter().cloned());
            paths.extend(item.path.iter().cloned());
            if item.path.is_some() {
                gone.bytes += item.size;
            }
        }
        self.ledger.remove_build_rows(&keys)?;
        let builds = Arc::clone(self);
        blocking(move || {
            for path in paths {
                let aside = builds.scratch_directory()?;
                match std::fs::rename(&path, aside.path().join("cache")) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::failed(format!("remove {}", path.display()), error));
                    }
                    _ => {}
                }
                drop(std::fs::remove_file(path.with_extension("used")));
            }
            Ok(())
        })
        .await?;
        let (_layers, bytes) = self.containers.parts.images.collect().await?;
        gone.bytes += bytes;
        Ok(gone)
    }
}

fn unique_bytes(items: &[CacheItem]) -> u64 {
    let mut seen = BTreeSet::new();
    items.iter().filter(|item| item.layer.is_none() || seen.insert(&item.layer)).map(|item| item.size).sum()
}

fn is_true(text: &str) -> bool {
    matches!(text, "" | "1" | "true" | "True" | "TRUE")
}

/// `until` and `unused-for` mean the same: how long nobody had a use for it.
fn unused_for(filters: &Filters) -> Result<Option<i64>> {
    let mut longest = None;
    for name in ["until", "unused-for"] {
        for text in filters.values(name) {
            let span = minke_base::duration::parse_go(text)
                .map_err(|source| Error::invalid(source.to_string()).caused_by(source))?;
            longest = longest.max(Some(span));
        }
    }
    Ok(longest)
}
