//! Start: from a record to a running program.
//!
//! The order is chosen for the way of `run`: what can fail without the kernel is planned first (`prepare`); then
//! directories, files and the network namespace; then one message to a blank keeper. The ledger hears of it when the
//! program runs, and the client after the ledger (`outcome`).

use std::os::fd::OwnedFd;
use std::sync::Arc;

use minke_keeper::protocol::{Body, Event, Failure, ProxySpec, Reply, Request, socket};
use tokio::sync::mpsc;

use super::Containers;
use super::container::Container;
use super::mounting::Mounted;
use super::networking::split_held;
use super::prepare::Prepared;
use super::record::Phase;
use crate::error::{Error, Result};
use crate::keepers::Connection;

/// The exit code of a container that did not get as far as its program.
pub(super) const UNKNOWN_EXIT: i32 = 128;

/// How many keepers may die under one start.
const LAUNCH_TRIES: usize = 3;

/// What a launch came to.
pub(super) struct Launched {
    pub(super) pid: i32,
    pub(super) started_at: i64,
    pub(super) connection: Arc<Connection>,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
}

impl Containers {
    /// Starts a container that does not run.
    pub async fn start(self: &Arc<Self>, reference: &str) -> Result<()> {
        let container = self.find(reference)?;
        let _held = container.transition.lock().await;
        match container.phase() {
            Phase::Running | Phase::Restarting => {
                Err(Error::not_modified(format!("container {} is already running", container.id)))
            }
            Phase::Paused => Err(Error::conflict("cannot start a paused container, try unpause instead")),
            Phase::Removing | Phase::Dead => {
                Err(Error::conflict("container is marked for removal and cannot be started"))
            }
            Phase::Created | Phase::Exited => {
                container.begin_series();
                self.start_held(&container, None).await
            }
        }
    }

    /// Starts a container whose `transition` the caller holds. A failure is recorded before it is returned.
    pub(super) async fn start_held(
        self: &Arc<Self>,
        container: &Arc<Container>,
        console_size: Option<[u32; 2]>,
    ) -> Result<()> {
        match self.try_start(container, console_size).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.record_failed_start(container, &error);
                Err(error.error)
            }
        }
    }

    async fn try_start(
        self: &Arc<Self>,
        container: &Arc<Container>,
        console_size: Option<[u32; 2]>,
    ) -> std::result::Result<(), FailedStart> {
        container.await_last_keeper().await;
        container.count_start();
        let mounted = self.enter_volumes(container).await?;
        let started = self.try_start_with(container, console_size, &mounted).await;
        if started.is_err() {
            self.leave_volumes(container);
        }
        started
    }

    async fn try_start_with(
        self: &Arc<Self>,
        container: &Arc<Container>,
        console_size: Option<[u32; 2]>,
        mounted: &Mounted,
    ) -> std::result::Result<(), FailedStart> {
        let prepared = self.prepare(container, console_size, mounted)?;
        let places = prepared.places.clone();
        let launched = match self.launch(container, prepared).await {
            Ok(launched) => launched,
            Err(error) => {
                self.release_network(container, &places);
                return Err(error);
            }
        };
        self.record_start(container, launched, places).map_err(FailedStart::from)
    }

    /// Hands the plan to a blank keeper. A blank that turns out to be dead (killed when memory was short) has done nothing
    /// that the next one could not undo.
    pub(super) async fn launch(
        &self,
        container: &Container,
        prepared: Prepared,
    ) -> std::result::Result<Launched, FailedStart> {
        let request = Request::new(1, Body::Launch(Box::new(prepared.request)));
        let mut tries = 0;
        let (connection, events, reply) = loop {
            let blank = self
                .parts
                .blanks
                .take()
                .await
                .map_err(|source| Error::failed("no keeper can be had", source))?;
            let (connection, events) =
                Connection::start(blank).map_err(|source| Error::failed("talk to a blank keeper", source))?;
            match connection.launch(&request, &prepared.fds).await {
                Ok(reply) => break (connection, events, reply),
                Err(error) if error.is_gone() && tries < LAUNCH_TRIES => {
                    tries += 1;
                    tracing::warn!(
                        container = container.id.as_str(),
                        "its keeper died: another one takes over"
                    );
                    self.kill_leftovers(container, &container.record()).await;
                }
                Err(source) => {
                    return Err(Error::failed("failed to create task for container", source).into());
                }
            }
        };
        // They are the keeper's now.
        drop(prepared.fds);
        match reply {
            Reply::Launched { pid, started_at, warnings } => {
                for warning in warnings {
                    tracing::warn!(pid, "{warning}");
                }
                hold_more(&connection, prepared.later, prepared.later_proxies).await;
                Ok(Launched { pid, started_at, connection, events })
            }
            Reply::Failed(failure) => Err(FailedStart::from(failure)),
            other => Err(Error::system(format!("the keeper answered {other:?} to a launch")).into()),
        }
    }
}

/// Hands a keeper what did not fit beside its launch.
async fn hold_more(keeper: &Connection, mut held: Vec<(String, OwnedFd)>, proxies: Vec<ProxySpec>) {
    if held.is_empty() {
        return;
    }
    while !held.is_empty() {
        let rest = held.split_off(held.len().min(socket::MAX_FDS));
        let (held_now, fds) = split_held(std::mem::replace(&mut held, rest));
        if let Err(error) = keeper.order(Body::Hold { held: held_now }, fds).await {
            tracing::warn!(error = %crate::error::chain(&error), "some ports are kept by rules only");
            return;
        }
    }
    if let Err(error) = keeper.order(Body::SetProxies { proxies }, Vec::new()).await {
        tracing::warn!(error = %crate::error::chain(&error), "some ports are not reachable by every address");
    }
}

/// A start that failed, with the exit code that the container shows.
pub(super) struct FailedStart {
    pub(super) error: Error,
    pub(super) exit_code: i32,
}

impl From<Error> for FailedStart {
    fn from(error: Error) -> Self {
        Self { error, exit_code: UNKNOWN_EXIT }
    }
}

impl From<Failure> for FailedStart {
    fn from(failure: Failure) -> Self {
        let text = if failure.text.starts_with("failed to create task") {
            failure.text
        } else {
            format!(
                "failed to create task for container: failed to create shim task: OCI runtime create failed: {}",
                failure.text
            )
        };
        // Docker reads the code out of the words, whichever step they come from.
        let has = |words: &[&str]| words.iter().any(|word| text.to_ascii_lowercase().contains(word));
        let exit_code = match failure.exit_code {
            UNKNOWN_EXIT if has(&["executable file not found", "no such file or directory"]) => 127,
            UNKNOWN_EXIT if has(&["permission denied", "is a directory"]) => 126,
            code => code,
        };
        // The program is the client's choice, the rest the host's fault.
        let error = if matches!(exit_code, 126 | 127) { Error::invalid(text) } else { Error::system(text) };
        Self { error, exit_code }
    }
}
