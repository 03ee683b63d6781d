//! Create, remove, prune.

use std::collections::BTreeMap;
use std::sync::Arc;

use minke_api::StringMap;
use minke_api::volume::{Volume as WireVolume, VolumeCreateRequest, VolumesPruneReport};

use super::index::{Entries, Volume, add};
use super::record::{VolumeRecord, check_name, new_name};
use super::{ANONYMOUS, LOCAL, Volumes, local, place};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::filters::Filters;

/// What a volume is made of.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    /// Empty for one that the engine chooses.
    pub(super) name: &'a str,
    pub(super) driver: &'a str,
    pub(super) labels: Option<StringMap>,
    pub(super) options: Option<StringMap>,
    /// The container that it is made for and would go with.
    pub(super) maker: Option<&'a str>,
}

pub(super) fn no_such_volume(name: &str) -> Error {
    Error::not_found(minke_api::texts::no_such_volume(name))
}

impl Volumes {
    /// Makes a volume; one of that name which is there already is fine.
    pub fn create(&self, request: VolumeCreateRequest) -> Result<WireVolume> {
        if request.cluster_volume_spec.is_some() {
            return Err(Error::new(
                minke_base::Kind::Unavailable,
                "volumes of a swarm are not built: leave out the cluster options",
            ));
        }
        let wanted = Wanted {
            name: &request.name,
            driver: &request.driver,
            labels: request.labels,
            options: request.driver_opts,
            maker: None,
        };
        let volume = self.find_or_make(&mut self.index.lock(), wanted)?;
        Ok(self.to_wire(&volume.record))
    }

    /// The volume called so, made when there is none.
    pub(super) fn find_or_make(&self, entries: &mut Entries, wanted: Wanted<'_>) -> Result<Arc<Volume>> {
        let own_name;
        let name = match wanted.name {
            "" => {
                own_name = new_name();
                &own_name
            }
            given => given,
        };
        if !matches!(wanted.driver, "" | LOCAL) {
            let driver = wanted.driver;
            return Err(Error::not_found(format!(
                "create {name}: error looking up volume plugin {driver}: plugin {driver:?} not found"
            )));
        }
        if let Some(entry) = entries.get(name) {
            return Ok(Arc::clone(&entry.volume));
        }
        check_name(name)?;
        if let Some(options) = &wanted.options {
            local::check_options(options).map_err(|text| Error::invalid(format!("create {name}: {text}")))?;
        }
        let mut labels = wanted.labels;
        if wanted.name.is_empty() {
            labels.get_or_insert_default().insert(ANONYMOUS.to_owned(), String::new());
        }
        let record =
            VolumeRecord { name: name.to_owned(), created: Moment::now(), labels, options: wanted.options };
        let directory = self.directory(name);
        // The directory first: a record without one would be a volume without data.
        place::make_directory(&directory).map_err(|source| {
            Error::failed(format!("create {name}: make {}", directory.display()), source)
        })?;
        if let Err(error) = self.ledger.insert_volume(name, &record, wanted.maker) {
            place::delete(&directory);
            return Err(error.into());
        }
        let volume = add(entries, record);
        self.publish(name, "create", &[]);
        Ok(volume)
    }

    /// Removes a volume that no container holds. `force`: one that is not there is as good as removed.
    pub fn remove(&self, name: &str, force: bool) -> Result<()> {
        let mut entries = self.index.lock();
        let Some(entry) = entries.get(name) else {
            return if force { Ok(()) } else { Err(no_such_volume(name)) };
        };
        if !entry.holders.is_empty() {
            let holders: Vec<&str> = entry.holders.iter().map(String::as_str).collect();
            return Err(Error::conflict(format!(
                "remove {name}: volume is in use - [{}]",
                holders.join(", ")
            )));
        }
        let gone = self.move_away(name)?;
        if let Err(error) = self.ledger.remove_volume(name) {
            if let Some(gone) = gone {
                self.move_back(name, &gone);
            }
            return Err(error.into());
        }
        entries.remove(name);
        drop(entries);
        self.publish(name, "destroy", &[]);
        if let Some(gone) = gone {
            place::delete_later(gone);
        }
        Ok(())
    }

    /// Removes the volumes that no container holds and that pass the filters: those without a name of a person's, or all.
    /// One with a file system of its own stays: its data is not the engine's.
    pub fn prune(&self, filters: &Filters) -> Result<VolumesPruneReport> {
        filters.allow_only(&["all", "label", "label!"])?;
        let all = filters.boolean("all")?.unwrap_or(false);
        let mut report = VolumesPruneReport { volumes_deleted: Some(Vec::new()), space_reclaimed: 0 };
        for (volume, holders) in self.all() {
            let record = &volume.record;
            let label =
                |key: &str| record.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
            let chosen = holders == 0
                && !record.has_file_system()
                && (all || record.is_anonymous())
                && filters.labels("label", label)
                && (!filters.has("label!") || !filters.labels("label!", label));
            if !chosen {
                continue;
            }
            let size = self.measure(&record.name);
            match self.remove(&record.name, false) {
                Ok(()) => {
                    report.volumes_deleted.get_or_insert_default().push(record.name.clone());
                    report.space_reclaimed += size;
                }
                // Somebody took it meanwhile.
                Err(error) => tracing::debug!(%error, "not pruned"),
            }
        }
        let attributes = BTreeMap::from([("reclaimed".to_owned(), report.space_reclaimed.to_string())]);
        self.events.publish("volume", "prune", "", attributes);
        Ok(report)
    }

    /// All volumes by name, with how many containers hold each.
    pub(super) fn all(&self) -> Vec<(Arc<Volume>, usize)> {
        let entries = self.index.lock();
        entries.values().map(|entry| (Arc::clone(&entry.volume), entry.holders.len())).collect()
    }
}
