//! What a keeper reports, and what follows from it: exits, restarts, `--rm`.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use minke_keeper::protocol::{Body, Event, Exit};
use tokio::sync::{mpsc, oneshot};

use super::Containers;
use super::container::Container;
use super::record::Phase;
use super::restart::{Ending, Policy};
use crate::clock::Moment;
use crate::keepers::Connection;

/// The keeper's answer to being told that it may forget: its container is taken apart.
pub(crate) type Farewell = Option<oneshot::Receiver<crate::keepers::Answer>>;

impl Containers {
    /// Follows one running container until its end.
    pub(crate) async fn supervise(
        self: Arc<Self>,
        container: Arc<Container>,
        connection: Arc<Connection>,
        mut events: mpsc::UnboundedReceiver<Event>,
    ) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Exited(exit) => {
                    let farewell = self.record_exit(&container, exit, Some(&connection)).await;
                    self.see_off(&container, farewell).await;
                    return;
                }
                Event::ExecExited { exec, exit } => self.record_exec_exit(&container, &exec, exit),
                Event::OomKilled => {
                    container.change_life(|life| life.oom_killed = true);
                    self.publish(&container, "oom", &[]);
                }
                Event::Detached { by_keys: true, .. } => self.publish(&container, "detach", &[]),
                Event::Detached { .. } => {}
            }
        }
        self.record_lost_keeper(&container).await;
    }

    /// The container has ended: recorded first, then told.
    pub(crate) async fn record_exit(
        self: &Arc<Self>,
        container: &Arc<Container>,
        exit: Exit,
        connection: Option<&Arc<Connection>>,
    ) -> Farewell {
        let record = container.record();
        let policy = Policy::from_wire(
            &record.host.restart_policy.name,
            record.host.restart_policy.maximum_retry_count,
        );
        let before = container.life();
        let ended_at = Moment(exit.at);
        let ran = ended_at.since(before.started_at);
        let last_pause = *container.last_pause.lock().unwrap_or_else(PoisonError::into_inner);
        let code = i64::from(exit.code);
        let ending = Ending { code, by_hand: before.by_hand, ran, restarts: before.restarts, last_pause };
        let pause = policy.plan_restart(ending).filter(|_| before.phase != Phase::Removing);
        let goes = record.host.auto_remove
            && pause.is_none()
            && !container.stays.load(Ordering::Acquire)
            && before.phase != Phase::Removing;
        let life = container.change_life(|life| {
            if life.phase != Phase::Removing {
                life.phase = if pause.is_some() { Phase::Restarting } else { Phase::Exited };
            }
            life.pid = 0;
            life.exit_code = code;
            life.oom_killed |= exit.oom_killed;
            life.finished_at = ended_at;
            life.places.clear();
            life.end_health();
        });
        self.end_checks(container);
        let goes = goes && container.begin_removal();
        let id = container.id.as_str();
        self.leave_volumes(container);
        let recorded =
            if goes { self.remove_record(container, true) } else { self.parts.ledger.save_life(id, &life) };
        let farewell = match (recorded, connection) {
            // Only now may the keeper forget it.
            (Ok(()), Some(connection)) => connection.begin(Body::Forget, Vec::new()).await.ok(),
            (Ok(()), None) => None,
            (Err(error), _) => {
                tracing::error!(container = id, error = %crate::error::chain(&error), "an exit is not recorded");
                None
            }
        };
        container.set_keeper(None);
        if goes {
            self.parts.registry.remove(container);
        }
        self.end_execs(container, exit);
        self.release_network(container, &before.places);
        self.publish_network(container, "disconnect", &before.places);
        if exit.oom_killed && !before.oom_killed {
            // It ended before the keeper could see the kill for itself; the kernel's count tells.
            self.publish(container, "oom", &[]);
        }
        self.publish(
            container,
            "die",
            &[("exitCode", code.to_string()), ("execDuration", ran.as_secs().to_string())],
        );
        if goes {
            self.publish(container, "destroy", &[]);
        }
        container.progress.send_modify(|progress| {
            progress.exits += 1;
            progress.live = pause.is_some();
            progress.exit_code = code;
            progress.removed |= goes;
        });
        match pause {
            Some(pause) => self.restart_later(container, pause),
            None if goes => self.clear_away(container),
            None => {}
        }
        farewell
    }

    /// Waits until the keeper has taken the container apart, and removes what only a running container has. The next
    /// start of the same container waits for this.
    pub(crate) async fn see_off(self: &Arc<Self>, container: &Arc<Container>, farewell: Farewell) {
        if let Some(done) = farewell {
            // Gone without an answer is as good.
            drop(done.await);
        }
        if container.phase() != Phase::Removing {
            self.clear_run_state(container).await;
        }
    }

    fn restart_later(self: &Arc<Self>, container: &Arc<Container>, pause: Duration) {
        *container.last_pause.lock().unwrap_or_else(PoisonError::into_inner) = pause;
        let containers = Arc::clone(self);
        let container = Arc::clone(container);
        let start = container.starts();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _held = container.transition.lock().await;
            // Stopped, removed or started by somebody meanwhile.
            if container.phase() != Phase::Restarting
                || container.starts() != start
                || containers.closing.load(Ordering::Acquire)
            {
                return;
            }
            container.change_life(|life| life.restarts += 1);
            if let Err(error) = containers.start_held(&container, None).await {
                tracing::warn!(container = container.id.as_str(), error = %crate::error::chain(&error), "restart failed");
            }
        });
    }

    /// A container that should run since before this engine opened; the caller holds its `transition`.
    pub(crate) async fn restart_adopted(self: &Arc<Self>, container: &Arc<Container>) -> crate::Result<()> {
        container.begin_series();
        self.start_held(container, None).await
    }

    /// The keeper went without a word: somebody killed it. Its container's program may live on without anybody to
    /// collect it, so it is ended too.
    async fn record_lost_keeper(self: &Arc<Self>, container: &Arc<Container>) {
        if !container.phase().is_live() {
            return;
        }
        tracing::warn!(container = container.id.as_str(), "the container's keeper is gone");
        let left = self.data_dir(container.id.as_str());
        let exit = match crate::recovery::read_exit_record(&left) {
            Some(state) => state.exit,
            None => None,
        };
        let record = container.record();
        self.kill_leftovers(container, &record).await;
        let exit = exit.unwrap_or(Exit { code: 137, oom_killed: false, at: Moment::now().0 });
        container.change_life(|life| {
            if life.error.is_empty() {
                "the container's keeper was killed".clone_into(&mut life.error);
            }
        });
        let farewell = self.record_exit(container, exit, None).await;
        self.see_off(container, farewell).await;
        crate::recovery::remove_exit_record(&left);
    }
}
