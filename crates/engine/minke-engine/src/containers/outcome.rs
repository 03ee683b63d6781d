//! What becomes of a launch: a container that runs, or one that failed to, in the record, the ledger and the events.

use std::sync::Arc;
use std::time::Duration;

use minke_keeper::protocol::Body;

use super::container::Container;
use super::health::Check;
use super::record::Phase;
use super::start::{FailedStart, Launched, UNKNOWN_EXIT};
use super::{Containers, random_id};
use crate::clock::Moment;
use crate::error::Result;
use crate::networks::Place;

impl Containers {
    pub(super) fn record_start(
        self: &Arc<Self>,
        container: &Arc<Container>,
        launched: Launched,
        places: Vec<Place>,
    ) -> Result<()> {
        let has_check = Check::of(&container.record().config).is_some();
        let life = container.change_life(|life| {
            life.phase = Phase::Running;
            life.pid = launched.pid;
            life.started_at = Moment(launched.started_at);
            life.exit_code = 0;
            life.error.clear();
            life.oom_killed = false;
            life.by_hand = false;
            life.places = places;
            life.health = has_check
                .then(|| Box::new(life.health.take().map(|health| *health).unwrap_or_default().restart()));
            life.sandbox_id = random_id();
        });
        let id = container.id.as_str();
        let recorded = if container.is_recorded() {
            self.parts.ledger.save_life(id, &life)
        } else {
            let record = container.record();
            self.parts.ledger.insert_container(id, &record.name, &*record, &life)
        };
        container.set_keeper(Some(Arc::clone(&launched.connection)));
        container.progress.send_modify(|progress| {
            progress.live = true;
            progress.exit_code = 0;
            progress.error.clear();
        });
        self.publish_network(container, "connect", &life.places);
        self.publish(container, "start", &[]);
        self.lead_dependents(container);
        if has_check {
            self.begin_checks(container);
        }
        let containers = Arc::clone(self);
        let watched = Arc::clone(container);
        container.set_watcher(tokio::spawn(async move {
            containers.supervise(watched, launched.connection, launched.events).await;
        }));
        match recorded {
            Ok(()) => {
                container.set_recorded();
                self.deliver_early_clients_soon(container);
                self.refill_soon();
                Ok(())
            }
            Err(error) => {
                // What cannot be remembered must not run on: the client is told that it failed.
                self.kill_unrecorded(container);
                Err(error.into())
            }
        }
    }

    /// The next start needs a fresh blank; it is forked a little later, when this container's program has the processor.
    pub(super) fn refill_soon(self: &Arc<Self>) {
        let containers = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(4)).await;
            containers.parts.blanks.refill();
        });
    }

    fn kill_unrecorded(&self, container: &Arc<Container>) {
        if let Some(keeper) = container.keeper() {
            tokio::spawn(async move {
                if let Err(error) = keeper.tell(Body::Shutdown).await {
                    tracing::warn!(error = %crate::error::chain(&error), "a container that could not be recorded goes on");
                }
            });
        }
    }

    pub(super) fn record_failed_start(self: &Arc<Self>, container: &Arc<Container>, failed: &FailedStart) {
        let text = failed.error.message().to_owned();
        let life = container.change_life(|life| {
            life.pid = 0;
            // What the program said last counts for more than that it could not be started again.
            if failed.exit_code != UNKNOWN_EXIT || life.exit_code == 0 {
                life.exit_code = i64::from(failed.exit_code);
            }
            life.error.clone_from(&text);
            life.places.clear();
            if life.phase == Phase::Restarting {
                life.phase = Phase::Exited;
            }
        });
        container.progress.send_modify(|progress| {
            progress.live = false;
            progress.exit_code = i64::from(failed.exit_code);
            progress.error = text;
        });
        if !container.is_recorded() {
            if container.record().host.auto_remove {
                self.forget_unrecorded(container);
                return;
            }
            let record = container.record();
            let recorded =
                self.parts.ledger.insert_container(container.id.as_str(), &record.name, &*record, &life);
            match recorded {
                Ok(()) => container.set_recorded(),
                Err(error) => {
                    tracing::error!(error = %crate::error::chain(&error), "a failed start is not recorded")
                }
            }
        } else if let Err(error) = self.parts.ledger.save_life(container.id.as_str(), &life) {
            tracing::error!(error = %crate::error::chain(&error), "a failed start is not recorded");
        }
        if container.record().host.auto_remove {
            self.remove_ended(container);
        }
    }
}
