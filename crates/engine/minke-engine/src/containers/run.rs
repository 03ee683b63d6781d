//! Run: create, attach and start in one request, for minke's own client.
//!
//! The container is made in memory first; its record reaches the ledger together with the fact that it runs, in one
//! transaction. Until then nobody was told of it, so a daemon that dies in between loses nothing: the next one finds
//! a keeper that no record knows and clears it away.

use std::sync::Arc;

use minke_api::container::ContainerCreateResponse;
use minke_api::framing::{self, Stream};
use minke_api::run::RunControl;
use minke_keeper::protocol::{AttachSpec, Wire};

use super::container::EarlyClient;
use super::requests::{BegunRun, ClientStream, RunRequest};
use super::{Containers, attach};
use crate::error::Result;

impl Containers {
    /// Checks everything and makes the container. What can fail for the client's fault fails here.
    pub async fn begin_run(self: &Arc<Self>, request: RunRequest) -> Result<BegunRun> {
        let detach_keys =
            attach::parse_detach_keys(request.detach_keys.as_deref(), request.create.config.tty)?;
        let mut create = request.create;
        let streams = request.attach;
        create.config.attach_stdin = streams.stdin;
        create.config.attach_stdout = streams.stdout;
        create.config.attach_stderr = streams.stderr;
        if let Some(size) = request.console_size {
            create.host_config.console_size = size;
        }
        let (container, warnings) =
            self.plan_container(request.name.as_deref(), request.platform.as_deref(), create)?;
        self.fill_or_forget(&container).await?;
        self.parts.registry.insert(Arc::clone(&container));
        self.publish(&container, "create", &[]);
        Ok(BegunRun {
            id: container.id.clone(),
            warnings,
            container: Some(container),
            containers: Arc::clone(self),
            attach: streams,
            detach_keys,
            console_size: request.console_size,
        })
    }

    /// Starts a begun run with nobody attached; answers when it runs.
    pub async fn run_detached(self: &Arc<Self>, mut run: BegunRun) -> Result<ContainerCreateResponse> {
        let Some(container) = run.container.take() else {
            return Err(crate::Error::system("the run was already used"));
        };
        let _held = container.transition.lock().await;
        self.start_held(&container, run.console_size).await?;
        Ok(ContainerCreateResponse {
            id: container.id.as_str().to_owned(),
            warnings: std::mem::take(&mut run.warnings),
        })
    }

    /// Starts a begun run with its client attached. Failures go to the client as a control frame, because the HTTP
    /// answer has already been given.
    pub async fn run_attached(self: &Arc<Self>, mut run: BegunRun, client: ClientStream) {
        let Some(container) = run.container.take() else { return };
        let spare = client.socket.try_clone();
        let spec = AttachSpec {
            id: container.next_client(),
            stdin: run.attach.stdin && container.record().config.open_stdin,
            stdout: run.attach.stdout,
            stderr: run.attach.stderr,
            wire: Wire::Framed,
            detach_keys: std::mem::take(&mut run.detach_keys),
            early: client.early.clone(),
        };
        container.add_early_client(EarlyClient { spec, stream: client });
        if run.attach.stdin || run.attach.stdout || run.attach.stderr {
            self.publish(&container, "attach", &[]);
        }
        let held = container.transition.lock().await;
        let started = self.start_held(&container, run.console_size).await;
        drop(held);
        match (started, spare) {
            // Nobody closes the connection from this side: it is the keeper's now.
            (Ok(()), _) => {}
            (Err(error), Ok(socket)) => {
                let exit_code = i32::try_from(container.life().exit_code).unwrap_or(125);
                let exit_code = if matches!(exit_code, 126 | 127) { exit_code } else { 125 };
                let control = RunControl::Error { message: error.message().to_owned(), exit_code };
                let mut frame = Vec::new();
                if let Ok(json) = serde_json::to_vec(&control) {
                    framing::encode(Stream::Control, &json, &mut frame);
                    attach::write_all(socket, frame).await;
                }
            }
            (Err(_), Err(error)) => tracing::warn!(%error, "a client could not be told why its run failed"),
        }
    }
}

impl Drop for BegunRun {
    /// A run that was begun and never started leaves nothing behind: nobody was told of the container.
    fn drop(&mut self) {
        if let Some(container) = self.container.take() {
            self.containers.forget_unrecorded(&container);
        }
    }
}
