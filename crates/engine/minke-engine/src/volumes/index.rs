//! All volumes, who holds each, and who uses each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::record::VolumeRecord;

/// A volume in memory.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) record: VolumeRecord,
    /// Held while its file system is mounted or unmounted, and while it is filled. Taken before the index.
    pub(super) work: Mutex<()>,
}

impl Volume {
    pub(super) fn work(&self) -> MutexGuard<'_, ()> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A volume's row.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) volume: Arc<Volume>,
    /// Containers that name it.
    pub(super) holders: BTreeSet<String>,
    /// Those of them that run.
    pub(super) users: BTreeSet<String>,
}

/// By name.
pub(super) type Entries = BTreeMap<String, Entry>;

/// All volumes.
#[derive(Debug, Default)]
pub(super) struct Index(Mutex<Entries>);

impl Index {
    pub(super) fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, record: VolumeRecord) {
        add(&mut self.lock(), record);
    }

    /// At the engine's start: a container's part in a volume.
    pub(super) fn restore(&self, name: &str, container: &str, live: bool) {
        match self.lock().get_mut(name) {
            Some(entry) => {
                entry.holders.insert(container.to_owned());
                if live {
                    entry.users.insert(container.to_owned());
                }
            }
            None => tracing::warn!(volume = name, container, "a container's volume is gone"),
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Volume>> {
        self.lock().get(name).map(|entry| Arc::clone(&entry.volume))
    }

    pub(super) fn holders(&self, name: &str) -> Vec<String> {
        self.lock().get(name).map(|entry| entry.holders.iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether no container that runs has it.
    pub(super) fn is_idle(&self, name: &str) -> bool {
        self.lock().get(name).is_none_or(|entry| entry.users.is_empty())
    }
}

/// Adds a volume that nobody holds.
pub(super) fn add(entries: &mut Entries, record: VolumeRecord) -> Arc<Volume> {
    let volume = Arc::new(Volume { record, work: Mutex::new(()) });
    let entry = Entry { volume: Arc::clone(&volume), holders: BTreeSet::new(), users: BTreeSet::new() };
    entries.insert(volume.record.name.clone(), entry);
    volume
}
