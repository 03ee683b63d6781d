//! A container's volumes from its making to its removal.

use std::path::PathBuf;
use std::sync::Arc;

use super::index::Volume;
use super::service::Wanted;
use super::{LOCAL, Volumes, place};
use crate::error::{Error, Result};
use crate::spec::mounts::{MountWish, What};

/// Volumes that go with a container: out of sight already, not yet out of the records.
#[derive(Debug, Default)]
pub(crate) struct Doomed {
    /// With where each lies.
    volumes: Vec<(Arc<Volume>, Option<PathBuf>)>,
}

impl Doomed {
    /// For the ledger.
    pub(crate) fn names(&self) -> Vec<String> {
        self.volumes.iter().map(|(volume, _)| volume.record.name.clone()).collect()
    }
}

impl Volumes {
    /// Gives `container` every volume of its list: found by name, or made. Names are filled in. All or none.
    pub(crate) fn hold(&self, container: &str, wishes: &mut [MountWish]) -> Result<()> {
        for at in 0..wishes.len() {
            if let Err(error) = self.hold_one(container, &mut wishes[at]) {
                let held: Vec<&MountWish> = wishes.iter().take(at).collect();
                let doomed = self.part(container, held, true);
                if let Err(error) = self.ledger.remove_container_and(container, &doomed.names()) {
                    tracing::warn!(container, error = %crate::error::chain(&error), "volumes stay until the next start");
                }
                self.forget(doomed);
                return Err(error);
            }
        }
        Ok(())
    }

    fn hold_one(&self, container: &str, wish: &mut MountWish) -> Result<()> {
        let What::Volume(wanted) = &mut wish.what else { return Ok(()) };
        let mut entries = self.index.lock();
        let inherited = wanted.anonymous && !wanted.name.is_empty();
        if inherited && !entries.contains_key(&wanted.name) {
            return Err(Error::not_found(minke_api::texts::no_such_volume(&wanted.name)));
        }
        let nameless = wanted.name.is_empty();
        let volume = self.find_or_make(
            &mut entries,
            Wanted {
                name: &wanted.name,
                driver: &wanted.driver,
                labels: wanted.labels.take(),
                options: wanted.options.take(),
                maker: nameless.then_some(container),
            },
        )?;
        wanted.anonymous |= nameless;
        wanted.name.clone_from(&volume.record.name);
        LOCAL.clone_into(&mut wanted.driver);
        if let Some(entry) = entries.get_mut(&volume.record.name) {
            entry.holders.insert(container.to_owned());
        }
        Ok(())
    }

    /// A container is about to be removed: the volumes that go with it are moved out of sight. With `anonymous`, those are the ones
    /// whose names the engine chose and that nobody else holds.
    ///
    /// Then tell the ledger, and call [`Self::forget`], or [`Self::keep`] when that failed.
    pub(crate) fn part<'a>(
        &self,
        container: &str,
        wishes: impl IntoIterator<Item = &'a MountWish>,
        anonymous: bool,
    ) -> Doomed {
        let mut doomed = Doomed::default();
        let mut entries = self.index.lock();
        for volume in wishes.into_iter().filter_map(MountWish::volume) {
            let Some(entry) = entries.get_mut(&volume.name) else { continue };
            entry.holders.remove(container);
            entry.users.remove(container);
            if !(anonymous && volume.anonymous && entry.holders.is_empty()) {
                continue;
            }
            match self.move_away(&volume.name) {
                Ok(gone) => {
                    doomed.volumes.extend(entries.remove(&volume.name).map(|entry| (entry.volume, gone)));
                }
                Err(error) => tracing::warn!(volume = volume.name, %error, "it stays"),
            }
        }
        doomed
    }

    /// The records know: the data goes too.
    pub(crate) fn forget(&self, doomed: Doomed) {
        for (volume, gone) in doomed.volumes {
            self.publish(&volume.record.name, "destroy", &[]);
            if let Some(gone) = gone {
                place::delete_later(gone);
            }
        }
    }

    /// The records could not be changed: everything is as it was before [`Self::part`].
    pub(crate) fn keep<'a>(
        &self,
        container: &str,
        wishes: impl IntoIterator<Item = &'a MountWish>,
        doomed: Doomed,
    ) {
        for (volume, gone) in doomed.volumes {
            if let Some(gone) = gone {
                self.move_back(&volume.record.name, &gone);
            }
            self.index.insert(volume.record.clone());
        }
        for volume in wishes.into_iter().filter_map(MountWish::volume) {
            self.index.restore(&volume.name, container, false);
        }
    }
}
