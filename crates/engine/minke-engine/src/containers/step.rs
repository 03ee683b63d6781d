//! A container that no list shows: one step of a build.
//!
//! It goes the way of `run` (the same plan, the same keepers, the same network), without a record, a name, volumes or a log: its output
//! goes to who builds. When its program has ended, what it wrote is the caller's to take; then it is removed. A build that is
//! cancelled takes it along.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use minke_api::container::{ContainerConfig, ContainerCreateRequest, HostConfig, LogConfig};
use minke_api::framing::{Decoder, Stream};
use minke_base::ContainerId;
use minke_keeper::protocol::{AttachSpec, Body, Event, Exit, Wire};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, oneshot};

use super::Containers;
use super::container::{Container, EarlyClient};
use super::mounting::Mounted;
use super::record::{Life, Record};
use super::requests::ClientStream;
use super::{environment, validate};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::images::Image;
use crate::keepers::Connection;
use crate::networks::Place;
use crate::spec::mounts::{MountWish, Sources};

/// What runs.
#[derive(Debug)]
pub(crate) struct Step {
    /// The program, its user, its variables.
    pub(crate) config: ContainerConfig,
    /// Its limits and its network.
    pub(crate) host: HostConfig,
    /// What it sees beside its root; sources exist.
    pub(crate) mounts: Vec<MountWish>,
    /// The directories of those that are made of several, by target.
    pub(crate) sources: Sources,
    /// What it stands on, top first, mount points included.
    pub(crate) stack: Vec<PathBuf>,
}

/// What it tells.
#[derive(Debug)]
pub(crate) enum StepEvent {
    /// It runs, in a container of this id.
    Running(String),
    /// It wrote; `true` is standard error.
    Output(bool, Vec<u8>),
}

/// A step whose program has ended. What it wrote goes when this is dropped.
#[derive(Debug)]
pub(crate) struct EndedStep {
    pub(crate) exit: Exit,
    holder: Holder,
}

impl EndedStep {
    /// The directory that holds what it changed.
    pub(crate) fn upper(&self) -> PathBuf {
        self.holder.directory().join("upper")
    }
}

/// Takes a step's container apart, whatever becomes of who waits for it.
#[derive(Debug)]
struct Holder {
    containers: Arc<Containers>,
    container: Arc<Container>,
    places: Vec<Place>,
    keeper: Option<Arc<Connection>>,
    /// What the keeper tells: without its receiver the connection is closed, and nobody can be told to end.
    events: Option<mpsc::UnboundedReceiver<Event>>,
}

impl Holder {
    async fn next_event(&mut self) -> Option<Event> {
        self.events.as_mut()?.recv().await
    }

    fn directory(&self) -> PathBuf {
        self.containers.data_dir(self.container.id.as_str())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let containers = Arc::clone(&self.containers);
        let container = Arc::clone(&self.container);
        let places = std::mem::take(&mut self.places);
        let keeper = self.keeper.take();
        let events = self.events.take();
        containers.clearing.send_modify(|count| *count += 1);
        tokio::spawn(async move {
            if let Some(keeper) = keeper {
                // Its program is still there: nobody waits for it any more.
                Containers::shut_down_keeper(&keeper).await;
            }
            drop(events);
            containers.release_network(&container, &places);
            let id = container.id.as_str().to_owned();
            let worker = Arc::clone(&containers);
            let cleared = tokio::task::spawn_blocking(move || {
                let (data, exec) = (worker.data_dir(&id), worker.exec_dir(&id));
                if let Err(error) = worker.delete_directory(&data) {
                    tracing::warn!(path = %data.display(), %error, "a build step's directory stays until the next start");
                }
                super::remove::remove_tree(&exec);
                worker.hidden.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            });
            if let Err(error) = cleared.await {
                tracing::warn!(%error, "a build step's directory stays until the next start");
            }
            containers.clearing.send_modify(|count| *count -= 1);
        });
    }
}

impl Containers {
    /// Whether a build has this container.
    pub(crate) fn is_hidden(&self, id: &str) -> bool {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Runs a step to its end.
    pub(crate) async fn run_step(
        self: &Arc<Self>,
        step: Step,
        tell: &(dyn Fn(StepEvent) + Send + Sync),
    ) -> Result<EndedStep> {
        let (sent, started) = oneshot::channel();
        let starter = Arc::clone(self);
        self.clearing.send_modify(|count| *count += 1);
        // Who gives up in the middle of a start leaves no program behind: it is started to its end and then taken apart.
        tokio::spawn(async move {
            let started = starter.start_step(step).await;
            drop(sent.send(started));
            starter.clearing.send_modify(|count| *count -= 1);
        });
        let gone = |source| Error::failed("start a build step", source);
        let (mut holder, output) = started.await.map_err(gone)??;
        tell(StepEvent::Running(holder.container.id.as_str().to_owned()));
        self.refill_soon();
        let told = follow_output(output, tell);
        let ended = async {
            while let Some(event) = holder.next_event().await {
                if let Event::Exited(exit) = event {
                    return Ok(exit);
                }
            }
            Err(Error::system("the keeper of a build step was killed"))
        };
        let (exit, ()) = tokio::try_join!(ended, told)?;
        // It takes its mounts apart; only then is what it wrote nobody else's.
        if let Some(keeper) = &holder.keeper
            && let Ok(done) = keeper.begin(Body::Forget, Vec::new()).await
        {
            drop(done.await);
        }
        holder.keeper = None;
        Ok(EndedStep { exit, holder })
    }

    async fn start_step(self: &Arc<Self>, step: Step) -> Result<(Holder, tokio::net::UnixStream)> {
        let mounted = Mounted::of(step.sources.clone());
        let container = self.plan_step(step)?;
        let id = container.id.as_str().to_owned();
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        let mut holder = Holder {
            containers: Arc::clone(self),
            container: Arc::clone(&container),
            places: Vec::new(),
            keeper: None,
            events: None,
        };
        let output = attach_output(&container)?;
        let prepared = self.prepare(&container, None, &mounted).map_err(|failed| failed.error)?;
        holder.places.clone_from(&prepared.places);
        let launched = self.launch(&container, prepared).await.map_err(|failed| failed.error)?;
        holder.keeper = Some(launched.connection);
        holder.events = Some(launched.events);
        Ok((holder, output))
    }

    fn plan_step(&self, step: Step) -> Result<Arc<Container>> {
        let mut request =
            ContainerCreateRequest { config: step.config, host_config: step.host, ..Default::default() };
        request.host_config.auto_remove = true;
        request.host_config.log_config = LogConfig { kind: "none".to_owned(), ..LogConfig::default() };
        request.config.attach_stdout = true;
        request.config.attach_stderr = true;
        for warning in validate::check_create(&mut request, &self.parts.facts)? {
            tracing::debug!("{warning}");
        }
        if environment::program(&request.config).is_empty() {
            return Err(Error::invalid(minke_api::texts::NO_COMMAND));
        }
        self.check_joined(&mut request.host_config)?;
        self.fill_host_defaults(&mut request.host_config)?;
        super::files::check_extra_hosts(&request.host_config)?;
        let id = ContainerId::random();
        self.fill_names(&mut request.config, &request.host_config, &id);
        let endpoints = self.plan_endpoints(&mut request.host_config, Default::default())?;
        let record = Record {
            name: format!("build-{}", id.short()),
            created: Moment::now(),
            image: String::new(),
            layers: Vec::new(),
            config: request.config,
            host: request.host_config,
            platform: "linux".to_owned(),
            endpoints: Some(endpoints),
            mac_address: String::new(),
            ipv4_address: String::new(),
            names: Some(self.name_defaults()),
            mounts: Some(step.mounts),
            private_paths: Vec::new(),
        };
        Ok(Container::new(id, record, Life::default(), Image::standing_on(step.stack)))
    }
}

/// Its output comes back over a socket, attached before it starts.
fn attach_output(container: &Container) -> Result<tokio::net::UnixStream> {
    let failed = |source| Error::failed("listen to a build step", source);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let spec = AttachSpec {
        id: container.next_client(),
        stdout: true,
        stderr: true,
        wire: Wire::Stdcopy,
        ..AttachSpec::default()
    };
    let stream = ClientStream { socket: OwnedFd::from(theirs), early: Vec::new() };
    container.add_early_client(EarlyClient { spec, stream });
    tokio::net::UnixStream::from_std(ours).map_err(failed)
}

async fn follow_output(
    mut output: tokio::net::UnixStream,
    tell: &(dyn Fn(StepEvent) + Send + Sync),
) -> Result<()> {
    let failed = |source: std::io::Error| Error::failed("listen to a build step", source);
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 32 << 10];
    loop {
        let count = match output.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        decoder.push(&buffer[..count]);
        loop {
            match decoder.next_frame() {
                Ok(Some((stream, bytes))) => {
                    tell(StepEvent::Output(stream == Stream::Stderr, bytes.to_vec()));
                }
                Ok(None) => break,
                Err(source) => return Err(Error::failed("listen to a build step", source)),
            }
        }
    }
}
