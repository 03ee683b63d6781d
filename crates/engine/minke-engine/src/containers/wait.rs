//! Wait: until a container does not run, ends the next time, or is gone.

use std::sync::Arc;

use minke_api::container::{WaitError, WaitResponse};
use tokio::sync::watch;

use super::Containers;
use super::container::Progress;
use super::record::Phase;
use super::requests::WaitCondition;
use crate::error::Result;

/// A wait that has begun: whatever happens from now on is not missed.
#[derive(Debug)]
pub struct Waiter {
    progress: watch::Receiver<Progress>,
    condition: WaitCondition,
    exits: u64,
    /// It did not run when the wait began.
    idle: bool,
}

impl Containers {
    /// Begins to wait.
    pub fn wait(self: &Arc<Self>, reference: &str, condition: WaitCondition) -> Result<Waiter> {
        let container = self.find(reference)?;
        let mut progress = container.progress.subscribe();
        let exits = progress.borrow_and_update().exits;
        let phase = container.phase();
        Ok(Waiter { progress, condition, exits, idle: !phase.is_live() && phase != Phase::Restarting })
    }
}

impl Waiter {
    /// The exit code once the condition holds.
    pub async fn outcome(mut self) -> WaitResponse {
        let (exits, condition, idle) = (self.exits, self.condition, self.idle);
        let holds = |now: &Progress| {
            now.removed
                || match condition {
                    WaitCondition::NotRunning => {
                        (idle && now.exits == exits && !now.live) || (now.exits > exits && !now.live)
                    }
                    WaitCondition::NextExit => now.exits > exits,
                    WaitCondition::Removed => false,
                }
        };
        // The sender lives as long as the container; when it goes, the container is gone.
        let last = match self.progress.wait_for(holds).await {
            Ok(now) => now.clone(),
            Err(_gone) => Progress::default(),
        };
        WaitResponse {
            status_code: last.exit_code,
            // Like Docker: only who asks after the end hears why; who waited through a failed start heard it from the start.
            error: (!last.error.is_empty() && last.exits == exits && !last.removed)
                .then_some(WaitError { message: last.error }),
        }
    }
}
