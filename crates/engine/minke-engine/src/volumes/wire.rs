//! List, inspect and sizes, as clients expect them.

use minke_api::volume::{Volume as WireVolume, VolumeList, VolumeUsage};

use super::record::VolumeRecord;
use super::service::no_such_volume;
use super::{LOCAL, Volumes};
use crate::error::{Error, Result};
use crate::filters::{Filters, pattern_matches};

impl Volumes {
    /// The volumes that pass.
    pub fn list(&self, filters: &Filters) -> Result<VolumeList> {
        filters.allow_only(&["dangling", "driver", "label", "name"])?;
        let dangling = filters.boolean("dangling").map_err(|error| {
            let given = filters.values("dangling").join(" ");
            Error::invalid(format!("invalid filter 'dangling=[{given}]'")).caused_by(error)
        })?;
        let passes = |record: &VolumeRecord, holders: usize| {
            let label =
                |key: &str| record.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
            filters.exact("driver", LOCAL)
                && filters.any("name", |name| pattern_matches(name, &record.name))
                && filters.labels("label", label)
                && dangling.is_none_or(|wanted| wanted == (holders == 0))
        };
        let volumes = self
            .all()
            .iter()
            .filter(|(volume, holders)| passes(&volume.record, *holders))
            .map(|(volume, _)| self.to_wire(&volume.record))
            .collect();
        Ok(VolumeList { volumes, warnings: None })
    }

    /// One volume.
    pub fn inspect(&self, name: &str) -> Result<WireVolume> {
        let volume = self.index.find(name).ok_or_else(|| no_such_volume(name))?;
        Ok(self.to_wire(&volume.record))
    }

    /// All volumes with their sizes, for `system df`. One with a file system of its own takes no space of the engine's.
    pub fn usage(&self) -> Vec<WireVolume> {
        self.all()
            .iter()
            .filter(|(volume, _)| !volume.record.has_file_system())
            .map(|(volume, holders)| {
                let size = i64::try_from(self.measure(&volume.record.name)).unwrap_or(i64::MAX);
                let ref_count = i64::try_from(*holders).unwrap_or(i64::MAX);
                WireVolume {
                    usage_data: Some(VolumeUsage { ref_count, size }),
                    ..self.to_wire(&volume.record)
                }
            })
            .collect()
    }

    /// Bytes of a volume's data.
    pub(super) fn measure(&self, name: &str) -> u64 {
        minke_store::layer::tree_bytes(&self.data(name)).unwrap_or(0)
    }

    pub(super) fn to_wire(&self, record: &VolumeRecord) -> WireVolume {
        let created = crate::clock::Moment(record.created.seconds().saturating_mul(1_000_000_000));
        WireVolume {
            created_at: Some(created.rfc3339()),
            driver: LOCAL.to_owned(),
            labels: record.labels.clone(),
            mountpoint: self.data(&record.name).to_string_lossy().into_owned(),
            name: record.name.clone(),
            options: record.options.clone(),
            scope: LOCAL.to_owned(),
            usage_data: None,
        }
    }
}
