//! The engine ends and takes its containers with it (`live-restore` off): Docker's old way.
//!
//! Nobody asked for these containers to stop, so their restart policies bring them back with the next engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Containers;
use super::container::Container;
use super::kill::Reason;
use super::record::Phase;

impl Containers {
    /// Stops everything that runs, each within its own time and all within `patience`; what is left then is killed.
    pub async fn stop_all(self: &Arc<Self>, patience: Option<Duration>) {
        self.closing.store(true, Ordering::Release);
        let mut tasks = tokio::task::JoinSet::new();
        for container in self.parts.registry.all() {
            if !container.phase().is_live() {
                continue;
            }
            let containers = Arc::clone(self);
            tasks.spawn(async move { containers.stop_for_shutdown(&container, patience).await });
        }
        while let Some(done) = tasks.join_next().await {
            if let Err(error) = done {
                tracing::error!(%error, "a container was not stopped");
            }
        }
    }

    async fn stop_for_shutdown(self: &Arc<Self>, container: &Arc<Container>, patience: Option<Duration>) {
        let record = container.record();
        let own = record.config.stop_timeout.unwrap_or(self.parts.config.stop_timeout);
        let most = patience.and_then(|patience| i64::try_from(patience.as_secs()).ok());
        let timeout = match (most, own) {
            // Its own time has no end.
            (Some(most), own) if own < 0 => most,
            (Some(most), own) => own.min(most),
            (None, own) => own,
        };
        if let Err(error) = self.end_container(container, Some(timeout), None, Reason::Shutdown).await {
            tracing::warn!(container = container.id.as_str(), %error, "it runs on");
        }
        // Its keeper leaves with it.
        container.await_last_keeper().await;
        debug_assert!(container.phase() != Phase::Paused, "what was frozen is thawed to be stopped");
    }
}
