//! Signals, stop, restart, pause.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use minke_keeper::protocol::{Body, Refusal, SignalRequest, Target};

use super::container::{Container, Progress};
use super::record::{Life, Phase};
use super::{Containers, signal};
use crate::error::{Error, Result};
use crate::keepers::KeeperError;

/// How long SIGKILL may take before the engine says that it did not work.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Why a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Somebody asked for it: its restart policy leaves it alone.
    Asked,
    /// The engine ends.
    Shutdown,
}

impl Containers {
    /// Sends a signal; SIGKILL is answered when the container has ended.
    pub async fn kill(self: &Arc<Self>, reference: &str, wanted: Option<&str>) -> Result<()> {
        let context = |error: Error| {
            Error::new(error.kind(), format!("cannot kill container: {reference}: {error}")).caused_by(error)
        };
        let signo = match wanted.filter(|text| !text.is_empty()) {
            Some(text) => signal::parse(text).map_err(context)?,
            None => signal::KILL,
        };
        let container = self.find(reference).map_err(context)?;
        if container.phase() == Phase::Restarting && self.end_restarting(&container, "kill").await? {
            return Ok(());
        }
        if !container.phase().is_live() {
            return Err(context(not_running(&container)));
        }
        let record = container.record();
        let own = signal::parse(&record.config.stop_signal).ok();
        // A signal that is not the container's way to stop is just a message to it; without such a way any may end it.
        if own.is_none_or(|own| own == signo) || signo == signal::KILL {
            self.mark_by_hand(&container)?;
        }
        let progress = container.progress.subscribe();
        self.signal(&container, signo).await.map_err(context)?;
        if signo == signal::KILL {
            self.resume_for_signal(&container).await;
            self.await_exit(&container, progress, KILL_PATIENCE).await?;
        }
        Ok(())
    }

    /// Asks the program to end, then ends it.
    pub async fn stop(
        self: &Arc<Self>,
        reference: &str,
        timeout: Option<i64>,
        wanted: Option<&str>,
    ) -> Result<()> {
        let container = self.find(reference)?;
        if container.phase() == Phase::Restarting && self.end_restarting(&container, "stop").await? {
            return Ok(());
        }
        if !container.phase().is_live() {
            return Err(Error::not_modified(format!("container {} is already stopped", container.id)));
        }
        self.stop_container(&container, timeout, wanted).await.map_err(|error| {
            Error::new(error.kind(), format!("cannot stop container: {reference}: {error}")).caused_by(error)
        })
    }

    /// A container between two runs of its restart policy stays ended; `false` when it is not between two runs any more.
    async fn end_restarting(&self, container: &Arc<Container>, action: &'static str) -> Result<bool> {
        let _held = container.transition.lock().await;
        if container.phase() != Phase::Restarting {
            return Ok(false);
        }
        let life = container.change_life(|life| {
            life.phase = Phase::Exited;
            life.by_hand = true;
        });
        self.parts.ledger.save_life(container.id.as_str(), &life)?;
        container.progress.send_modify(|progress| progress.live = false);
        self.publish(container, action, &[]);
        Ok(true)
    }

    pub(super) async fn stop_container(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Option<i64>,
        wanted: Option<&str>,
    ) -> Result<()> {
        self.end_container(container, timeout, wanted, Reason::Asked).await
    }

    pub(super) async fn end_container(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Option<i64>,
        wanted: Option<&str>,
        reason: Reason,
    ) -> Result<()> {
        let record = container.record();
        let signo = match wanted.filter(|text| !text.is_empty()) {
            Some(text) => signal::parse(text)?,
            None => signal::parse(&record.config.stop_signal).unwrap_or(signal::TERM),
        };
        let timeout = timeout.or(record.config.stop_timeout).unwrap_or(self.parts.config.stop_timeout);
        if reason == Reason::Asked {
            self.mark_by_hand(container)?;
        }
        let progress = container.progress.subscribe();
        let patience = match u64::try_from(timeout) {
            Ok(seconds) => Duration::from_secs(seconds),
            // A negative time waits without end.
            Err(_) => Duration::from_secs(u64::from(u32::MAX)),
        };
        match self.signal(container, signo).await {
            Ok(()) => self.resume_for_signal(container).await,
            Err(error) if !container.phase().is_live() => {
                tracing::debug!(%error, "it ended before the signal")
            }
            Err(error) => return Err(error),
        }
        if self.await_exit(container, progress.clone(), patience).await.is_err() {
            match self.signal(container, signal::KILL).await {
                Ok(()) => {}
                Err(error) if !container.phase().is_live() => {
                    tracing::debug!(%error, "it ended before the signal")
                }
                Err(error) => return Err(error),
            }
            self.await_exit(container, progress, KILL_PATIENCE).await?;
        }
        self.publish(container, "stop", &[]);
        Ok(())
    }

    /// Stops it if it runs, and starts it.
    pub async fn restart(
        self: &Arc<Self>,
        reference: &str,
        timeout: Option<i64>,
        wanted: Option<&str>,
    ) -> Result<()> {
        let container = self.find(reference)?;
        let context = |error: Error| {
            Error::new(error.kind(), format!("Cannot restart container {reference}: {error}"))
                .caused_by(error)
        };
        if matches!(container.phase(), Phase::Removing | Phase::Dead) {
            return Err(Error::conflict("container is marked for removal and cannot be started"));
        }
        container.stays.store(true, Ordering::Release);
        let stopped = match container.phase() {
            phase if phase.is_live() => self.stop_container(&container, timeout, wanted).await,
            Phase::Restarting => match self.end_restarting(&container, "stop").await {
                // It has just been started again.
                Ok(false) if container.phase().is_live() => {
                    self.stop_container(&container, timeout, wanted).await
                }
                ended => ended.map(drop),
            },
            _ => Ok(()),
        };
        let held = container.transition.lock().await;
        container.stays.store(false, Ordering::Release);
        stopped.map_err(context)?;
        if !container.phase().is_live() {
            container.begin_series();
            self.start_held(&container, None).await.map_err(context)?;
        }
        drop(held);
        self.publish(&container, "restart", &[]);
        Ok(())
    }

    /// Freezes every process of the container.
    pub async fn pause(self: &Arc<Self>, reference: &str) -> Result<()> {
        let container = self.find(reference)?;
        let _held = container.transition.lock().await;
        match container.phase() {
            Phase::Running => {}
            Phase::Paused => {
                return Err(Error::conflict(format!("Container {} is already paused", container.id)));
            }
            Phase::Restarting => {
                return Err(Error::conflict(format!(
                    "Container {} is restarting, wait until the container is running",
                    container.id
                )));
            }
            _ => return Err(not_running(&container)),
        }
        self.order(&container, Body::Pause, "Cannot pause container").await?;
        self.end_checks(&container);
        container.change_life(Life::end_health);
        self.save_phase(&container, Phase::Running, Phase::Paused)?;
        self.publish(&container, "pause", &[]);
        Ok(())
    }

    /// Thaws them.
    pub async fn unpause(self: &Arc<Self>, reference: &str) -> Result<()> {
        let container = self.find(reference)?;
        let _held = container.transition.lock().await;
        if container.phase() != Phase::Paused {
            return Err(Error::system(format!("Container {} is not paused", container.id)));
        }
        self.order(&container, Body::Resume, "Cannot unpause container").await?;
        self.save_phase(&container, Phase::Paused, Phase::Running)?;
        self.begin_checks(&container);
        self.publish(&container, "unpause", &[]);
        Ok(())
    }

    fn save_phase(&self, container: &Container, from: Phase, to: Phase) -> Result<()> {
        let life = container.change_life(|life| {
            if life.phase == from {
                life.phase = to;
            }
        });
        Ok(self.parts.ledger.save_life(container.id.as_str(), &life)?)
    }

    pub(super) async fn order(&self, container: &Container, body: Body, what: &str) -> Result<()> {
        let Some(keeper) = container.keeper() else { return Err(not_running(container)) };
        match keeper.order(body, Vec::new()).await {
            Ok(()) => Ok(()),
            Err(KeeperError::Refused { refusal: Refusal::NotRunning, .. } | KeeperError::Gone) => {
                Err(not_running(container))
            }
            Err(error) => Err(Error::failed(format!("{what} {}", container.id), error)),
        }
    }

    /// From now on its policy leaves it alone until the next start.
    fn mark_by_hand(&self, container: &Container) -> Result<()> {
        let mut changed = false;
        let life = container.change_life(|life| {
            changed = !life.by_hand;
            life.by_hand = true;
        });
        if changed && self.must_remember_stop(container) {
            self.parts.ledger.save_life(container.id.as_str(), &life)?;
        }
        Ok(())
    }

    /// Only a policy asks later who ended the container; the exit itself is recorded anyway.
    fn must_remember_stop(&self, container: &Container) -> bool {
        container.is_recorded() && container.record().host.restart_policy.name != "no"
    }

    pub(super) async fn signal(&self, container: &Container, signo: i32) -> Result<()> {
        let request = SignalRequest { target: Target::Init, signo, all: false };
        self.order(container, Body::Signal(request), "send a signal to container").await?;
        self.publish(container, "kill", &[("signal", signo.to_string())]);
        Ok(())
    }

    /// A frozen program cannot die: it is thawed so that the signal reaches it.
    pub(super) async fn resume_for_signal(&self, container: &Container) {
        if container.phase() == Phase::Paused
            && self.order(container, Body::Resume, "Cannot unpause container").await.is_ok()
        {
            container.change_life(|life| {
                if life.phase == Phase::Paused {
                    life.phase = Phase::Running;
                }
            });
        }
    }

    pub(super) async fn await_exit(
        &self,
        container: &Container,
        mut progress: tokio::sync::watch::Receiver<Progress>,
        patience: Duration,
    ) -> Result<()> {
        let before = progress.borrow_and_update().exits;
        if !container.phase().is_live() {
            return Ok(());
        }
        let ended = progress.wait_for(|now| now.exits > before || now.removed);
        match tokio::time::timeout(patience, ended).await {
            Ok(_) => Ok(()),
            Err(elapsed) => Err(Error::system(format!(
                "container {} did not end within {} seconds",
                container.id,
                patience.as_secs()
            ))
            .caused_by(elapsed)),
        }
    }
}

/// Docker's words for it.
pub(super) fn not_running(container: &Container) -> Error {
    Error::conflict(minke_api::texts::not_running(container.id.as_str()))
}

/// Refuses what needs a running container that is neither frozen nor about to be restarted.
pub(super) fn require_running(container: &Container, reference: &str, what: &str) -> Result<()> {
    match container.phase() {
        Phase::Running => Ok(()),
        Phase::Paused => Err(Error::conflict(format!(
            "Container {reference} is paused, unpause the container before {what}"
        ))),
        Phase::Restarting => Err(Error::conflict(format!(
            "Container {} is restarting, wait until the container is running",
            container.id
        ))),
        _ => Err(not_running(container)),
    }
}
