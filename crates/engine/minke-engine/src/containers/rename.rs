//! Rename.

use std::sync::Arc;

use super::Containers;
use super::record::Phase;
use crate::error::{Error, Result};

impl Containers {
    /// Gives a container another name. The old one is free at once.
    pub async fn rename(self: &Arc<Self>, reference: &str, wanted: &str) -> Result<()> {
        if reference.is_empty() || wanted.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let container = self.find(reference)?;
        let _held = container.transition.lock().await;
        if matches!(container.phase(), Phase::Removing | Phase::Dead) {
            return Err(Error::not_found(minke_api::texts::no_such_container(reference)));
        }
        let mut record = (*container.record()).clone();
        if wanted.strip_prefix('/').unwrap_or(wanted) == record.name {
            return Err(Error::invalid("Renaming a container with the same name as its current name"));
        }
        let name = self.parts.registry.reserve_name(Some(wanted), &container.id).map_err(|error| {
            Error::new(error.kind(), format!("Error when allocating new name: {error}")).caused_by(error)
        })?;
        let old = std::mem::replace(&mut record.name, name.clone());
        if let Err(error) = self.parts.ledger.save_record(container.id.as_str(), &name, &record) {
            self.parts.registry.release_name(&name);
            return Err(error.into());
        }
        self.parts.registry.rename_links(&old, &name);
        container.set_record(record);
        self.parts.registry.release_name(&old);
        // Whoever shares a network with it finds it under the new name.
        self.join_names(&container, &container.record(), &container.life().places);
        self.publish(&container, "rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }
}
