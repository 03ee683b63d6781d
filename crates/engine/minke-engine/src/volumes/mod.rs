//! Volumes: directories of the engine's that outlive containers, by name.
//!
//! A volume's data is in `data-root/volumes/NAME/_data`, as Docker has it. What is known of it besides is a [`VolumeRecord`] in
//! the ledger. A container *holds* its volumes from its making to its removal: a held volume is not removed. A container
//! *uses* them while it runs: a volume with a file system of its own (`--opt type=…`) is mounted while somebody uses it.
//!
//! Such a mount is made on `_data`, in the host's mount table, and is gone with its last user. A mount inside the container
//! alone would not do: two containers must see the same memory, NFS must be spoken from the host's network and not from the
//! container's, and a person must find the data where `volume inspect` says it is. What a container gets is a bind of it,
//! in its own mount table only. The mount survives the daemon; the next one counts the users again.
//!
//! Killed at any point, the daemon leaves no half of anything. A volume is a directory before it is a record. It is filled
//! beside its place and moved into it. It is moved away before its record goes, and moved back when the record is still
//! there. One that was made for a container of which nobody was told goes when the engine opens.
//!
//! | file | what |
//! |---|---|
//! | `record` | what is remembered, and which names are allowed |
//! | `index` | all volumes, who holds them, who uses them |
//! | `service` | create, remove, prune |
//! | `holding` | from a container's making to its removal |
//! | `using` | mounted while a container runs |
//! | `local` | the driver's options, and mounting |
//! | `place` | the directories |
//! | `seed` | what an image has at a volume's place |
//! | `wire` | list, inspect, sizes |

mod holding;
mod index;
mod local;
mod place;
mod record;
mod seed;
mod service;
#[cfg(test)]
mod tests;
mod using;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::containers::Registry;
use crate::error::Result;
use crate::events::Events;
use crate::ledger::Ledger;

pub(crate) use record::VolumeRecord;

/// The one driver.
pub(crate) const LOCAL: &str = "local";

/// The label of a volume whose name the engine chose.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// The service.
#[derive(Debug)]
pub struct Volumes {
    /// `data-root/volumes`.
    root: PathBuf,
    index: index::Index,
    ledger: Arc<Ledger>,
    events: Arc<Events>,
}

impl Volumes {
    /// Makes the directories and the records agree, and counts who holds and who uses what.
    pub(crate) fn open(
        data_root: &Path,
        ledger: Arc<Ledger>,
        events: Arc<Events>,
        registry: &Registry,
    ) -> Result<Self> {
        let root = data_root.join("volumes");
        place::make_root(&root)?;
        let volumes = Self { root, index: index::Index::default(), ledger, events };
        let mut records = BTreeMap::new();
        for row in volumes.ledger.volumes()? {
            match serde_json::from_str::<VolumeRecord>(&row.record) {
                Ok(record) => drop(records.insert(row.name, (record, row.maker))),
                Err(error) => tracing::error!(volume = row.name, %error, "its record cannot be read"),
            }
        }
        volumes.bring_back(&records);
        let mut orphans = Vec::new();
        for (name, (record, maker)) in records {
            if maker.is_some_and(|maker| registry.find(&maker).is_err()) {
                orphans.push(name);
            }
            volumes.index.insert(record);
        }
        volumes.adopt_directories();
        for container in registry.all() {
            let record = container.record();
            let live = container.phase().is_live();
            for volume in record.mounts().iter().filter_map(|wish| wish.volume()) {
                volumes.index.restore(&volume.name, container.id.as_str(), live);
            }
        }
        for name in orphans {
            tracing::info!(volume = name, "removing a volume of a container that nobody was told of");
            if let Err(error) = volumes.remove(&name, true) {
                tracing::warn!(volume = name, %error, "it stays");
            }
        }
        volumes.unmount_unused();
        Ok(volumes)
    }

    /// Where a volume's data is.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.root.join(name).join(place::DATA)
    }

    /// The containers that hold a volume.
    pub fn in_use_by(&self, name: &str) -> Vec<String> {
        self.index.holders(name)
    }

    /// Tells that something happened to a volume.
    fn publish(&self, name: &str, action: &str, more: &[(&str, String)]) {
        let mut attributes = BTreeMap::from([("driver".to_owned(), LOCAL.to_owned())]);
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.events.publish("volume", action, name, attributes);
    }
}
