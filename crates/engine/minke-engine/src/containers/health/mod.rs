//! Health checks: whether a running container is well, asked from time to time.
//!
//! What is asked and how an answer is judged are pure ([`check`]). One timer wakes for all containers ([`clock`]); a probe
//! is an exec as any other, of a keeper's ([`probe`]). A container without a check costs nothing here. While no engine is
//! there nobody asks; the next one goes on from the state that was recorded last.

pub(crate) mod check;
mod clock;
mod probe;

use std::sync::Arc;

use super::Containers;
use super::container::Container;
use super::record::Phase;

pub(super) use check::Check;
pub use check::{Health, Outcome, Verdict};
pub(super) use clock::Clock;

impl Containers {
    /// A container that runs (again, or as before) is asked from now on, when it has a check.
    pub(crate) fn begin_checks(self: &Arc<Self>, container: &Arc<Container>) {
        let Some(check) = Check::of(&container.record().config) else { return };
        let round = container.next_round();
        self.plan_check(container, &check, round);
    }

    /// A container that ended or is frozen is not asked any more; what was under way does not count.
    pub(super) fn end_checks(&self, container: &Container) {
        container.next_round();
    }

    fn plan_check(self: &Arc<Self>, container: &Arc<Container>, check: &Check, round: u64) {
        let life = container.life();
        let Some(health) = &life.health else { return };
        let pause = check.pause(health.status, crate::clock::Moment::now().since(life.started_at));
        self.health.add(self, container, pause, round);
    }

    /// The timer says that it is time to ask.
    fn check_now(self: &Arc<Self>, container: Arc<Container>, round: u64) {
        if container.round() != round || container.phase() != Phase::Running {
            return;
        }
        let containers = Arc::clone(self);
        tokio::spawn(async move {
            let Some(check) = Check::of(&container.record().config) else { return };
            let outcome = containers.probe(&container, &check).await;
            if container.round() != round {
                return;
            }
            containers.judge(&container, &check, outcome);
            containers.plan_check(&container, &check, round);
        });
    }

    fn judge(&self, container: &Arc<Container>, check: &Check, outcome: Outcome) {
        let mut changed = None;
        container.change_life(|life| {
            let started_at = life.started_at;
            let Some(health) = &mut life.health else { return };
            let before = health.status;
            health.judge(check, started_at, outcome);
            changed = Some(health.status).filter(|status| *status != before);
        });
        if let Some(status) = changed {
            self.publish(container, format!("health_status: {}", status.word()), &[]);
            self.save_health(container);
        }
    }

    /// Writes the state down. The container may end meanwhile, whose record must not be overwritten with an older one.
    pub(crate) fn save_health(&self, container: &Container) {
        loop {
            let life = container.life();
            if let Err(error) = self.parts.ledger.save_life(container.id.as_str(), &life) {
                tracing::warn!(container = container.id.as_str(), error = %crate::error::chain(&error), "its health is not recorded");
                return;
            }
            if container.life() == life {
                return;
            }
        }
    }

    /// Before the engine ends: answers that changed nothing were not recorded yet.
    pub(crate) fn save_all_health(&self) {
        for container in self.parts.registry.all() {
            if container.is_recorded() && container.phase().is_live() && container.life().health.is_some() {
                self.save_health(&container);
            }
        }
    }
}
