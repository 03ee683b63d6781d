//! All networks, by id and name, and who is in each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::record::{NetworkRecord, Place};
use crate::error::{Error, Result};

/// A network and its members.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) record: NetworkRecord,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    /// It is being removed: nobody comes in any more.
    closed: bool,
    /// By container.
    places: BTreeMap<String, Place>,
}

impl Network {
    fn new(record: NetworkRecord) -> Arc<Self> {
        Arc::new(Self { record, members: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A container comes in, or what is known of it changes. Fails when the network is being removed.
    pub(crate) fn enter(&self, container: &str, place: Place) -> Result<()> {
        let mut members = self.lock();
        if members.closed {
            return Err(Error::not_found(minke_api::texts::network_not_found(&self.record.name)));
        }
        members.places.insert(container.to_owned(), place);
        Ok(())
    }

    /// A container is out.
    pub(crate) fn leave(&self, container: &str) {
        self.lock().places.remove(container);
    }

    /// Who is in, by container.
    pub(crate) fn members(&self) -> BTreeMap<String, Place> {
        self.lock().places.clone()
    }

    /// Whether nobody is in.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().places.is_empty()
    }

    /// Lets nobody in any more, when nobody is in; answers who is in otherwise.
    pub(super) fn close(&self) -> std::result::Result<(), BTreeMap<String, Place>> {
        let mut members = self.lock();
        if !members.places.is_empty() {
            return Err(members.places.clone());
        }
        members.closed = true;
        Ok(())
    }

    /// Undoes [`Self::close`].
    pub(super) fn reopen(&self) {
        self.lock().closed = false;
    }
}

/// All networks.
#[derive(Debug)]
pub(super) struct Index {
    by_id: RwLock<BTreeMap<String, Arc<Network>>>,
}

impl Index {
    pub(super) fn new(records: Vec<NetworkRecord>) -> Self {
        let networks = records.into_iter().map(|record| (record.id.clone(), Network::new(record))).collect();
        Self { by_id: RwLock::new(networks) }
    }

    /// All, in the order of their making.
    pub(super) fn all(&self) -> Vec<Arc<Network>> {
        let mut all: Vec<_> = self.read().values().cloned().collect();
        all.sort_by(|one, other| {
            (one.record.created, &one.record.name).cmp(&(other.record.created, &other.record.name))
        });
        all
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Network>>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one with exactly this name.
    pub(super) fn named(&self, name: &str) -> Option<Arc<Network>> {
        self.read().values().find(|network| network.record.name == name).cloned()
    }

    /// By id, by name, by a unique prefix of an id.
    pub(super) fn find(&self, reference: &str) -> Result<Arc<Network>> {
        let networks = self.read();
        if let Some(network) = networks.get(reference) {
            return Ok(Arc::clone(network));
        }
        if let Some(network) = networks.values().find(|network| network.record.name == reference) {
            return Ok(Arc::clone(network));
        }
        let matches: Vec<_> = networks
            .range::<str, _>((std::ops::Bound::Included(reference), std::ops::Bound::Unbounded))
            .take_while(|(id, _)| !reference.is_empty() && id.starts_with(reference))
            .collect();
        match matches[..] {
            [(_, network)] => Ok(Arc::clone(network)),
            [] => Err(Error::not_found(minke_api::texts::network_not_found(reference))),
            ref several => Err(Error::invalid(format!(
                "network {reference} is ambiguous ({} matches found based on ID prefix)",
                several.len()
            ))),
        }
    }

    pub(super) fn insert(&self, record: NetworkRecord) -> Arc<Network> {
        let network = Network::new(record);
        self.by_id
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(network.record.id.clone(), Arc::clone(&network));
        network
    }

    pub(super) fn remove(&self, id: &str) {
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}
