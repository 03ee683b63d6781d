//! All containers, by id and by name.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use minke_base::id::is_id_prefix;
use minke_base::{ContainerId, ContainerName};

use super::container::Container;
use super::names;
use crate::error::{Error, Result};

#[derive(Debug, Default)]
struct Index {
    by_id: BTreeMap<ContainerId, Arc<Container>>,
    names: HashMap<String, ContainerId>,
    /// `container/alias` to whom the link means.
    links: BTreeMap<String, ContainerId>,
}

/// The containers there are. A name is taken from the moment somebody reserves it.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    index: RwLock<Index>,
}

impl Registry {
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container called `reference`: a full id, a name with or without slash, or a unique prefix of an id.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>> {
        if reference.is_empty() {
            return Err(Error::invalid("No container name or ID supplied"));
        }
        let index = self.read();
        if let Some(container) = index.by_id.get(reference) {
            return Ok(Arc::clone(container));
        }
        let bare = reference.strip_prefix('/').unwrap_or(reference);
        if let Some(container) = index.names.get(bare).and_then(|id| index.by_id.get(id)) {
            return Ok(Arc::clone(container));
        }
        if let Some(container) = index.links.get(bare).and_then(|id| index.by_id.get(id)) {
            return Ok(Arc::clone(container));
        }
        if is_id_prefix(reference) {
            let mut matches = index
                .by_id
                .range::<str, _>((Bound::Included(reference), Bound::Unbounded))
                .take_while(|(id, _)| id.as_str().starts_with(reference));
            match (matches.next(), matches.next()) {
                (Some((_, container)), None) => return Ok(Arc::clone(container)),
                (Some(_), Some(_)) => {
                    return Err(Error::invalid(format!(
                        "multiple IDs found with provided prefix: {reference}"
                    )));
                }
                (None, _) => {}
            }
        }
        Err(Error::not_found(minke_api::texts::no_such_container(reference)))
    }

    /// All containers, in the order of their ids.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.read().by_id.values().cloned().collect()
    }

    /// Takes `name` (or a generated one) for `id`.
    pub(crate) fn reserve_name(&self, name: Option<&str>, id: &ContainerId) -> Result<String> {
        let mut index = self.write();
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            let name = (0..).map(names::generate).find(|name| !index.names.contains_key(name));
            let name = name.unwrap_or_else(|| id.as_str().to_owned());
            index.names.insert(name.clone(), id.clone());
            return Ok(name);
        };
        let name = ContainerName::parse(name)
            .map_err(|source| Error::invalid(source.to_string()).caused_by(source))?;
        if let Some(holder) = index.names.get(name.as_str()) {
            return Err(Error::conflict(minke_api::texts::name_taken(name.as_str(), holder.as_str())));
        }
        index.names.insert(name.as_str().to_owned(), id.clone());
        Ok(name.as_str().to_owned())
    }

    /// Gives a name back.
    pub(crate) fn release_name(&self, name: &str) {
        self.write().names.remove(name);
    }

    /// A container whose name is already reserved is there.
    pub(crate) fn insert(&self, container: Arc<Container>) {
        self.write().by_id.insert(container.id.clone(), container);
    }

    /// A container out of the records, its name with it.
    pub(crate) fn restore(&self, container: Arc<Container>) {
        let mut index = self.write();
        index.names.insert(container.record().name.clone(), container.id.clone());
        index.by_id.insert(container.id.clone(), container);
    }

    /// A container and its name are gone, and its links and those to it with them.
    pub(crate) fn remove(&self, container: &Container) {
        let mut index = self.write();
        index.by_id.remove(&container.id);
        index.names.retain(|_, id| *id != container.id);
        if !index.links.is_empty() {
            let own = format!("{}/", container.record().name);
            index.links.retain(|name, id| *id != container.id && !name.starts_with(&own));
        }
    }

    /// A link has a name of its own: `container/alias`.
    pub(crate) fn add_link(&self, container: &str, alias: &str, target: ContainerId) {
        self.write().links.insert(format!("{container}/{alias}"), target);
    }

    /// A link is gone; `false` when there was none.
    pub(crate) fn remove_link(&self, container: &str, alias: &str) -> bool {
        self.write().links.remove(&format!("{container}/{alias}")).is_some()
    }

    /// A container with links has another name.
    pub(crate) fn rename_links(&self, before: &str, after: &str) {
        let mut index = self.write();
        let prefix = format!("{before}/");
        let old: Vec<String> = index.links.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        for name in old {
            if let Some(target) = index.links.remove(&name) {
                index.links.insert(format!("{after}/{}", &name[prefix.len()..]), target);
            }
        }
    }

    /// The links that mean a container: who has them, and under which alias.
    pub(crate) fn links_to(&self, target: &ContainerId) -> Vec<(String, String)> {
        let index = self.read();
        let meant = index.links.iter().filter(|(_, id)| *id == target);
        meant
            .filter_map(|(name, _)| name.split_once('/'))
            .map(|(container, alias)| (container.to_owned(), alias.to_owned()))
            .collect()
    }
}
