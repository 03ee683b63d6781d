//! Prune: all stopped containers go.

use std::sync::Arc;

use minke_api::container::ContainersPruneReport;

use super::Containers;
use super::record::Phase;
use super::requests::RemoveOptions;
use crate::error::Result;
use crate::filters::Filters;

impl Containers {
    /// Removes every container that does not run and passes the filters.
    pub async fn prune(self: &Arc<Self>, filters: &Filters) -> Result<ContainersPruneReport> {
        filters.allow_only(&["label", "label!", "until"])?;
        let until = filters.until()?;
        let mut report = ContainersPruneReport::default();
        for container in self.parts.registry.all() {
            let record = container.record();
            let label =
                |key: &str| record.config.labels.as_ref().and_then(|map| map.get(key)).map(String::as_str);
            let chosen = matches!(container.phase(), Phase::Created | Phase::Exited | Phase::Dead)
                && until.is_none_or(|until| record.created < until)
                && filters.labels("label", label)
                && (!filters.has("label!") || !filters.labels("label!", label));
            if !chosen {
                continue;
            }
            let size = self.measure(&container).await.map_or(0, |(own, _)| own);
            match self.remove(container.id.as_str(), RemoveOptions::default()).await {
                Ok(()) => {
                    report.containers_deleted.get_or_insert_default().push(container.id.as_str().to_owned());
                    report.space_reclaimed += u64::try_from(size).unwrap_or(0);
                }
                // Started or removed by somebody meanwhile.
                Err(error) => tracing::debug!(%error, "not pruned"),
            }
        }
        let attributes =
            std::collections::BTreeMap::from([("reclaimed".to_owned(), report.space_reclaimed.to_string())]);
        self.parts.events.publish("container", "prune", "", attributes);
        Ok(report)
    }
}
