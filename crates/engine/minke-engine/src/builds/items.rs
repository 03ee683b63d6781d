//! What the build cache holds: records of steps, and what `RUN --mount=type=cache` keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use minke_api::system::BuildCacheRecord;

use super::cache::Record;
use super::caches::read_mark;
use super::{Builds, blocking};
use crate::clock::Moment;
use crate::error::Result;

/// One thing that the cache holds, as `system df` and `builder prune` show it.
#[derive(Debug, Clone, Default)]
pub struct CacheItem {
    /// Its id.
    pub id: String,
    /// The items that it was made on.
    pub parents: Vec<String>,
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
    /// An image, or a container, has its layer too.
    pub shared: bool,
    /// A build stands on it right now.
    pub in_use: bool,
    /// The rows that it is found by.
    pub(super) keys: Vec<String>,
    pub(super) layer: Option<String>,
    /// Where a cache mount's files are.
    pub(super) path: Option<PathBuf>,
}

impl CacheItem {
    /// As the API tells it.
    pub fn told(&self) -> BuildCacheRecord {
        BuildCacheRecord {
            id: self.id.clone(),
            parents: Some(self.parents.clone()).filter(|parents| !parents.is_empty()),
            kind: self.kind.to_owned(),
            description: self.description.clone(),
            in_use: self.in_use,
            shared: self.shared,
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            created_at: self.created.rfc3339(),
            last_used_at: Some(self.used.rfc3339()),
            usage_count: self.uses,
        }
    }
}

impl Builds {
    /// What the cache holds, the longest unused first.
    pub async fn items(self: &Arc<Self>) -> Result<Vec<CacheItem>> {
        let builds = Arc::clone(self);
        blocking(move || {
            let mut items = builds.steps()?;
            // What a cache mount takes is counted, file by file.
            items.extend(builds.cache_mounts());
            items.sort_by_key(|item| item.used);
            Ok(items)
        })
        .await
    }

    fn steps(&self) -> Result<Vec<CacheItem>> {
        let parts = &self.containers.parts;
        let mut elsewhere = parts.images.all_layers();
        elsewhere.extend(parts.registry.all().iter().flat_map(|container| container.record().layers.clone()));
        let in_use = self.in_use();
        let mut items: BTreeMap<String, CacheItem> = BTreeMap::new();
        for row in self.ledger.build_rows()? {
            let Ok(record) = serde_json::from_str::<Record>(&row.record) else { continue };
            let shared = row.layer.as_ref().is_some_and(|layer| elsewhere.contains(layer));
            let item = items.entry(record.id.clone()).or_insert_with(|| CacheItem {
                in_use: in_use.contains(&record.id),
                id: bare(&record.id),
                parents: record.parents.iter().map(|parent| bare(parent)).collect(),
                kind: "regular",
                description: record.description,
                size: record.size,
                created: Moment(row.created_at),
                shared,
                layer: row.layer.clone(),
                ..CacheItem::default()
            });
            item.keys.push(row.key);
            item.used = item.used.max(Moment(row.used_at));
            item.uses = item.uses.max(row.uses);
        }
        let known: BTreeSet<String> = items.values().map(|item| item.id.clone()).collect();
        for item in items.values_mut() {
            // An image that a stage began with is no item, nor is what was pruned.
            item.parents.retain(|parent| known.contains(parent));
        }
        Ok(items.into_values().collect())
    }

    fn cache_mounts(&self) -> Vec<CacheItem> {
        let Ok(entries) = std::fs::read_dir(self.caches.directory()) else { return Vec::new() };
        let moment = |time: std::io::Result<std::time::SystemTime>| {
            let since = time.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            Moment(since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)))
        };
        let mut items = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let Ok(found) = path.metadata() else { continue };
            let used = path.with_extension("used").metadata().and_then(|found| found.modified());
            let made = moment(found.created().or_else(|_unknown| found.modified()));
            let (uses, called) = read_mark(&path);
            let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            items.push(CacheItem {
                in_use: self.caches.is_in_use(&id),
                id,
                kind: "exec.cachemount",
                description: called.map_or_else(
                    || "cached mount".to_owned(),
                    |called| format!("cached mount with id {called:?}"),
                ),
                uses,
                size: minke_store::layer::tree_bytes(&path).unwrap_or(0),
                created: made,
                used: moment(used).max(made),
                path: Some(path),
                ..CacheItem::default()
            });
        }
        items
    }
}

fn bare(id: &str) -> String {
    id.trim_start_matches("sha256:").to_owned()
}
