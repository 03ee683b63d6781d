//! A container's root before the first program sees it: the layer, the accounts in it, the paths beside it.

use std::path::Path;
use std::sync::Arc;

use minke_keeper::protocol::Rootfs;
use minke_store::rootfs::PrepareOptions;

use super::Containers;
use super::container::Container;
use super::record::Record;
use crate::error::{Error, Result};
use crate::spec::identity::Accounts;
use crate::spec::mounts::{self, MountWish, What};

impl Containers {
    pub(super) fn prepare_rootfs(
        &self,
        container: &Container,
        record: &Record,
        directory: &Path,
    ) -> Result<Rootfs> {
        let options =
            PrepareOptions { volatile: record.host.auto_remove, readonly: record.host.readonly_rootfs };
        std::fs::create_dir_all(directory)
            .map_err(|source| Error::failed(format!("make {}", directory.display()), source))?;
        let driver = self.parts.store.driver();
        let stack = container.image.stack(&self.parts.store)?;
        let failed = |source| Error::failed("prepare the container's root", source);
        let prepared = match driver.rootfs(&stack, directory, options) {
            found if is_whole(&found, !container.life().started_at.is_never()) => found,
            // Nothing, or half of it from a start that a crash cut short.
            _ => {
                driver.remove(directory).map_err(failed)?;
                driver.prepare(&stack, directory, options).map_err(failed)?
            }
        };
        Ok(match prepared {
            minke_store::Rootfs::Overlay { lower, upper, work, volatile, readonly } => {
                Rootfs::Overlay { lower, upper, work, volatile, readonly }
            }
            minke_store::Rootfs::Path(path) => Rootfs::Path(path),
        })
    }

    /// The account files as the container sees them: the image's, unless it has written its own.
    pub(super) fn read_accounts(&self, container: &Container, directory: &Path) -> Arc<Accounts> {
        let upper = directory.join("upper");
        if upper.join("etc").symlink_metadata().is_ok()
            && let Ok(stack) = container.image.stack(&self.parts.store)
        {
            let mut whole = vec![upper];
            whole.extend(stack.iter().cloned());
            return Arc::new(crate::images::read_accounts(whole));
        }
        container.image.accounts(&self.parts.store)
    }

    /// What its image declares as one.
    pub(super) fn add_private_paths(
        &self,
        record: &Record,
        directory: &Path,
        wishes: &mut Vec<MountWish>,
    ) -> Result<()> {
        if record.mounts.is_some() || !record.host.readonly_rootfs {
            // Volumes; or, in a record of the time before them, without --read-only the container's own layer is as writable and as private as a volume would be.
            return Ok(());
        }
        for (number, target) in record.private_paths.iter().enumerate() {
            let target = mounts::clean(target);
            if target == "/" || wishes.iter().any(|wish| wish.target == target) {
                continue;
            }
            let source = directory.join("volumes").join(number.to_string());
            std::fs::create_dir_all(&source)
                .map_err(|source_error| Error::failed(format!("make {}", source.display()), source_error))?;
            let what = What::Bind {
                source,
                propagation: "rprivate".to_owned(),
                create: true,
                flat: false,
                shallow_readonly: false,
            };
            wishes.push(MountWish { target, what, writable: true, mode: String::new() });
        }
        Ok(())
    }
}

/// Whether a container's root was prepared before. A copied tree may be half a copy until the first start succeeded.
fn is_whole(rootfs: &minke_store::Rootfs, has_run: bool) -> bool {
    match rootfs {
        minke_store::Rootfs::Overlay { upper, work, .. } => {
            let whole = upper.exists() && work.exists();
            if whole {
                // overlayfs refuses a work directory that a volatile mount before has marked.
                super::remove::remove_tree(&work.join("work/incompat"));
            }
            whole
        }
        minke_store::Rootfs::Path(path) => has_run && path.exists(),
    }
}
