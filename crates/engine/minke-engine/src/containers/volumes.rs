//! A container's mounts from its making to its removal: which ones, whose volumes, with what in them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use minke_api::container::{ContainerConfig, HostConfig};
use minke_store::stack::Stack;
use rustix::fs::FileType;

use super::Containers;
use super::container::Container;
use super::record::Record;
use crate::error::{Error, Result};
use crate::ledger::LedgerError;
use crate::spec::mounts::{self, MountWish, VolumeWish, What};

impl Containers {
    /// What a container of this request mounts. Volumes are only wished for: [`crate::volumes::Volumes::hold`] finds or makes them.
    ///
    /// The last `--volumes-from` counts, a mount of the container's own before all of them, and what only the image declares
    /// after all.
    pub(super) fn plan_mounts(
        &self,
        config: &ContainerConfig,
        host: &HostConfig,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<MountWish>> {
        let mut wishes = mounts::parse_mounts(host)?;
        for wish in self.inherited(host, warnings)? {
            if !wishes.iter().any(|own| own.target == wish.target) {
                wishes.push(wish);
            }
        }
        mounts::add_declared(&mut wishes, config, host)?;
        for wish in &mut wishes {
            if let What::Image(mounted) = &mut wish.what {
                let found = self.parts.images.resolve_for_container(&mounted.reference, None);
                let image = found.map_err(|error| Error::invalid(error.message()).caused_by(error))?;
                mounted.id.clone_from(&image.id);
                mounted.layers.clone_from(&image.diff_ids);
            }
        }
        Ok(wishes)
    }

    /// The mounts of the containers that `--volumes-from` names, by target. Memory is nobody else's.
    fn inherited(&self, host: &HostConfig, warnings: &mut Vec<String>) -> Result<Vec<MountWish>> {
        let mut found: BTreeMap<String, (MountWish, &str)> = BTreeMap::new();
        for text in host.volumes_from.iter().flatten() {
            let (name, writable) = mounts::parse_volumes_from(text)?;
            // Not its own kind: clients would look for the image.
            let source = self.find(name).map_err(|error| Error::invalid(error.message()).caused_by(error))?;
            for wish in source.record().mounts().iter() {
                if matches!(wish.what, What::Tmpfs { .. }) {
                    continue;
                }
                let mut wish =
                    MountWish { writable: wish.writable && writable, mode: String::new(), ..wish.clone() };
                if let What::Volume(volume) = &mut wish.what {
                    volume.no_copy = true;
                }
                let target = wish.target.clone();
                if let Some((other, from)) = found.get(&target)
                    && !is_same(&other.what, &wish.what)
                {
                    warnings.push(format!(
                        "containers {from} and {name} both have a volume at {target}: the one of {name} is mounted"
                    ));
                }
                found.insert(target, (wish, name));
            }
        }
        Ok(found.into_values().map(|(wish, _)| wish).collect())
    }

    /// Copies what the image has at the places of volumes that are empty.
    pub(super) async fn fill_volumes(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let record = container.record();
        let wanted: Vec<(String, VolumeWish)> = record
            .mounts()
            .iter()
            .filter_map(|wish| Some((wish.target.clone(), wish.volume()?.clone())))
            .filter(|(_, volume)| is_filled(volume) && !self.parts.volumes.is_filled_late(&volume.name))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let (containers, container) = (Arc::clone(self), Arc::clone(container));
        tokio::task::spawn_blocking(move || {
            wanted.iter().try_for_each(|(target, volume)| containers.fill_volume(&container, target, volume))
        })
        .await
        .map_err(|source| Error::failed("fill the container's volumes", source))?
    }

    pub(super) fn fill_volume(&self, container: &Container, target: &str, volume: &VolumeWish) -> Result<()> {
        let layers = container.image.stack(&self.parts.store)?;
        let failed = |source| Error::failed(format!("look at the image's {target}"), source);
        let kind = Stack::new(layers.to_vec())
            .stat(Path::new(target))
            .map_err(failed)?
            .map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            None => Ok(()),
            Some(FileType::Directory) => self.parts.volumes.fill(&volume.name, &layers, Path::new(target)),
            Some(_) if volume.anonymous => {
                Err(Error::system(format!("cannot mount volume over existing file, file exists {target}")))
            }
            Some(_) => Ok(()),
        }
    }

    /// Takes a container out of the ledger. With `volumes`, those without a name of a person's go too, unless another container has
    /// them.
    pub(super) fn remove_record(
        &self,
        container: &Container,
        volumes: bool,
    ) -> std::result::Result<(), LedgerError> {
        let (record, id) = (container.record(), container.id.as_str());
        if !record.has_volumes() {
            return self.parts.ledger.remove_container(id);
        }
        let mounts = record.mounts();
        let doomed = self.parts.volumes.part(id, mounts.iter(), volumes);
        match self.parts.ledger.remove_container_and(id, &doomed.names()) {
            Ok(()) => {
                self.parts.volumes.forget(doomed);
                Ok(())
            }
            Err(error) => {
                self.parts.volumes.keep(id, mounts.iter(), doomed);
                Err(error)
            }
        }
    }

    /// A container of which nobody was told: its volumes are given back.
    pub(super) fn give_volumes_back(&self, container: &Container) {
        if container.record().has_volumes()
            && let Err(error) = self.remove_record(container, true)
        {
            tracing::warn!(error = %crate::error::chain(&error), "volumes stay until the next start");
        }
    }

    /// The mounts that inspect and list show.
    pub(super) fn mount_points(&self, record: &Record) -> Vec<minke_api::mount::MountPoint> {
        record
            .mounts()
            .iter()
            .filter_map(|wish| wish.to_mount_point(|name| self.parts.volumes.data(name)))
            .collect()
    }

    /// The same in a list, where Docker leaves out where a volume's data is.
    pub(super) fn listed_mounts(&self, record: &Record) -> Vec<minke_api::mount::MountPoint> {
        let mut points = self.mount_points(record);
        for point in points.iter_mut().filter(|point| point.kind == "volume") {
            point.source.clear();
        }
        points
    }
}

/// Whether an image's content belongs into a volume. A part of a volume is there already, or the volume would not have it.
pub(super) fn is_filled(volume: &VolumeWish) -> bool {
    !volume.no_copy && volume.subpath.is_empty()
}

fn is_same(one: &What, other: &What) -> bool {
    match (one, other) {
        (What::Bind { source: one, .. }, What::Bind { source: other, .. }) => one == other,
        (What::Volume(one), What::Volume(other)) => {
            (&one.name, &one.subpath) == (&other.name, &other.subpath)
        }
        (What::Image(one), What::Image(other)) => (&one.id, &one.subpath) == (&other.id, &other.subpath),
        _ => false,
    }
}
