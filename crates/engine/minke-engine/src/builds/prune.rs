//! What of the build cache goes: what the filters choose, as far as the limits want it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minke_api::build::PruneLimits;

use super::items::CacheItem;
use super::request::{PruneRequest, Pruned};
use super::{Builds, blocking};
use crate::clock::{Moment, parse_moment};
use crate::error::{Error, Result};
use crate::filters::{Filters, pattern_matches};

/// The filters that are known. Nothing in the cache has a label: `system prune` passes on what it was given for the rest.
const KNOWN: [&str; 10] =
    ["until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private", "label"];

impl Builds {
    /// Removes what the cache holds and no build has in use. Steps whose layers images have too go only with `all`; they free nothing.
    pub async fn prune(self: &Arc<Self>, request: PruneRequest) -> Result<Pruned> {
        let choice = Choice::of(&request)
            .map_err(|error| Error::new(error.kind(), format!("failed to prune build cache: {error}")))?;
        let items = self.items().await?;
        let keep = keep_bytes(request.limits, self.free_bytes()?, unshared_bytes(&items));
        let going = plan_prune(&items, |item| choice.takes(item), keep);
        let keys: Vec<String> = going.iter().flat_map(|item| item.keys.iter().cloned()).collect();
        self.ledger.remove_build_rows(&keys)?;
        let builds = Arc::clone(self);
        let gone = blocking(move || {
            let mut gone = Vec::with_capacity(going.len());
            for item in going {
                if let Some(path) = &item.path {
                    let aside = builds.scratch_directory()?;
                    if !builds.caches.take_away(path, &aside.path().join("cache"))? {
                        // A step was faster.
                        continue;
                    }
                }
                gone.push(item);
            }
            Ok(gone)
        })
        .await?;
        self.containers.parts.images.collect().await?;
        let bytes = u64::try_from(unshared_bytes(&gone)).unwrap_or(0);
        Ok(Pruned { ids: gone.into_iter().map(|item| item.id).collect(), bytes })
    }

    fn free_bytes(&self) -> Result<i64> {
        let found = rustix::fs::statvfs(&self.root).map_err(|source| {
            let what = format!("ask how much is free at {}", self.root.display());
            Error::failed(what, std::io::Error::from(source))
        })?;
        Ok(bytes(found.f_bavail.saturating_mul(found.f_frsize)))
    }
}

fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Which items a prune is for.
struct Choice<'a> {
    all: bool,
    filters: &'a Filters,
    /// Nobody had a use for it since.
    unused_since: Option<Moment>,
    in_use: Option<bool>,
    shared: Option<bool>,
    private: Option<bool>,
}

impl<'a> Choice<'a> {
    fn of(request: &'a PruneRequest) -> Result<Self> {
        let filters = &request.filters;
        filters.allow_only(&KNOWN)?;
        if KNOWN.iter().any(|name| *name != "label" && filters.values(name).len() > 1) {
            return Err(Error::invalid("filters expect only one value"));
        }
        if filters.has("until") && filters.has("unused-for") {
            return Err(Error::invalid("conflicting filters: \"until\" and \"unused-for\""));
        }
        Ok(Self {
            all: request.all,
            filters,
            unused_since: unused_since(filters)?,
            in_use: filters.switch("inuse")?,
            shared: filters.switch("shared")?,
            private: filters.switch("private")?,
        })
    }

    fn takes(&self, item: &CacheItem) -> bool {
        let filters = self.filters;
        !item.in_use
            && (self.all || !item.shared)
            && self.unused_since.is_none_or(|since| item.used <= since)
            && self.in_use.is_none_or(|wanted| item.in_use == wanted)
            && self.shared.is_none_or(|wanted| item.shared == wanted)
            && self.private.is_none_or(|wanted| item.shared != wanted)
            && filters.any("id", |id| pattern_matches(id, &item.id))
            && filters.any("parent", |id| item.parents.iter().any(|parent| parent == id))
            && filters.exact("type", item.kind)
            && filters.exact("description", &item.description)
    }
}

/// `until` and `unused-for` mean the same.
fn unused_since(filters: &Filters) -> Result<Option<Moment>> {
    for name in ["until", "unused-for"] {
        if let [text] = filters.values(name) {
            return parse_moment(text).map_err(|source| {
                let wanted = "filter expects a duration (e.g., '24h') or a timestamp";
                let why = format!("{name:?} {wanted}: failed to parse value as time or duration: {text:?}");
                Error::invalid(why).caused_by(source)
            });
        }
    }
    Ok(None)
}

/// How many bytes may stay; `None` when there is no limit, and so everything goes.
fn keep_bytes(limits: PruneLimits, free: i64, total: i64) -> Option<i64> {
    let PruneLimits { reserved_space, max_used_space, min_free_space } = limits;
    if limits == PruneLimits::default() {
        return None;
    }
    let most = Some(max_used_space).filter(|most| *most != 0);
    let excess = min_free_space.saturating_sub(free);
    let keep = if excess > 0 {
        let left = total.saturating_sub(excess);
        most.map_or(left, |most| most.min(left))
    } else if min_free_space != 0 {
        // So much is free already.
        most.unwrap_or(total)
    } else {
        max_used_space
    };
    Some(keep.max(reserved_space))
}

/// What all of it takes that nobody else has; a layer counts once.
fn unshared_bytes(items: &[CacheItem]) -> i64 {
    let mut seen = BTreeSet::new();
    let own = items.iter().filter(|item| !item.shared);
    own.filter(|item| item.layer.is_none() || seen.insert(&item.layer))
        .fold(0, |sum, item| sum.saturating_add(bytes(item.size)))
}

/// Which items go: all that are chosen, or with a limit the least useful ones until it is kept.
fn plan_prune(items: &[CacheItem], chosen: impl Fn(&CacheItem) -> bool, keep: Option<i64>) -> Vec<CacheItem> {
    let mut candidates: Vec<&CacheItem> = items.iter().filter(|item| chosen(item)).collect();
    let Some(keep) = keep else { return candidates.into_iter().cloned().collect() };
    let ranks = usefulness(&candidates);
    candidates.sort_by(|one, other| ranks[&one.id].total_cmp(&ranks[&other.id]));
    let mut left = unshared_bytes(items);
    // A layer goes with the last step that has it.
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for layer in items.iter().filter_map(|item| item.layer.as_deref()) {
        *holders.entry(layer).or_default() += 1;
    }
    let mut going = Vec::new();
    for item in candidates {
        if left <= keep {
            break;
        }
        let others = item.layer.as_deref().and_then(|layer| {
            let count = holders.get_mut(layer)?;
            *count -= 1;
            Some(*count)
        });
        if !item.shared && others.unwrap_or(0) == 0 {
            left = left.saturating_sub(bytes(item.size));
        }
        going.push(item.clone());
    }
    going
}

/// From 0 to 2: how lately each was of use among the others, and how often.
fn usefulness(items: &[&CacheItem]) -> BTreeMap<String, f64> {
    fn place<T: Ord + Copy>(
        items: &[&CacheItem],
        of: impl Fn(&CacheItem) -> T,
    ) -> impl Fn(&CacheItem) -> f64 {
        let values: Vec<T> = items.iter().map(|item| of(item)).collect::<BTreeSet<T>>().into_iter().collect();
        move |item| {
            let at = values.partition_point(|value| *value < of(item));
            f64::from(u32::try_from(at).unwrap_or(u32::MAX))
                / f64::from(u32::try_from(values.len()).unwrap_or(u32::MAX))
        }
    }
    let (lately, often) = (place(items, |item| item.used), place(items, |item| item.uses));
    items.iter().map(|item| (item.id.clone(), lately(item) + often(item))).collect()
}

#[cfg(test)]
mod tests;
