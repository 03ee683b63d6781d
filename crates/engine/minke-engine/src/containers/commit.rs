//! An image out of what a container changed: `commit`.
//!
//! The container's own layer is copied once, packed on one thread and unpacked on another; the copy stands for its blob. Its configuration is the container's, which the image's was filled into when the container was made.

use std::io::Write;
use std::sync::Arc;

use minke_api::container::ContainerConfig as WireConfig;
use minke_base::{Digest, Reference};
use minke_store::archive::build_image;
use minke_store::document::{ContainerConfig, Healthcheck, History, ImageConfig};
use minke_store::{Descriptor, Image as StoredImage};
use serde_json::{Map, Value};

use super::Containers;
use super::container::Container;
use super::record::Phase;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::images::{self, Image};

/// The digest of a tar that holds nothing: what a container changed that changed nothing.
const EMPTY_TAR: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// As many layers as Docker stacks; an image with more could not be given to anybody else.
const LAYERS_MAX: usize = 125;

/// What is asked of a commit.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// The container, by name or id.
    pub container: String,
    /// The name that the image gets, if any.
    pub repository: String,
    /// Its tag, `latest` when empty.
    pub tag: String,
    /// Who made it.
    pub author: String,
    /// What for.
    pub comment: String,
    /// Stop the container's processes while its files are read.
    pub pause: bool,
    /// Instructions for the image's configuration.
    pub changes: Vec<String>,
    /// A configuration to use instead of the container's own.
    pub config: Option<WireConfig>,
}

impl Containers {
    /// Makes an image of a container's changes; answers with its id.
    pub async fn commit(self: &Arc<Self>, request: CommitRequest) -> Result<String> {
        let container = self.find(&request.container)?;
        let name = parse_name(&request)?;
        let mut config = defaults_of(request.config.as_ref(), &container.record().config);
        images::apply_changes(&mut config, &request.changes)?;
        let frozen = request.pause && container.phase() == Phase::Running;
        if frozen {
            self.pause(&request.container).await?;
        }
        let made = self.commit_at_rest(&container, &request, config, name.clone()).await;
        // It may have ended while it was frozen, which thaws it.
        if frozen && container.phase() == Phase::Paused {
            self.unpause(&request.container).await?;
        }
        let image = made?;
        let shown = name.as_ref().map(Reference::familiar).unwrap_or_default();
        let more = [("comment", request.comment), ("imageID", image.id.clone()), ("imageRef", shown)];
        self.publish(&container, "commit", &more);
        Ok(image.id.clone())
    }

    async fn commit_at_rest(
        self: &Arc<Self>,
        container: &Arc<Container>,
        request: &CommitRequest,
        config: ContainerConfig,
        name: Option<Reference>,
    ) -> Result<Arc<Image>> {
        // Held to the end: nobody starts, stops or removes it while its files are read.
        let _held = container.transition.lock().await;
        if matches!(container.phase(), Phase::Dead | Phase::Removing) {
            let how = if container.phase() == Phase::Dead { "Dead" } else { "being removed" };
            return Err(Error::conflict(format!(
                "You cannot commit container {} which is {how}",
                container.id
            )));
        }
        let (containers, container) = (Arc::clone(self), Arc::clone(container));
        let (author, comment) = (request.author.clone(), request.comment.clone());
        let work = move || containers.make_image(&container, config, author, comment, name);
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::failed("make an image of a container", source))?
    }

    fn make_image(
        &self,
        container: &Container,
        config: ContainerConfig,
        author: String,
        comment: String,
        name: Option<Reference>,
    ) -> Result<Arc<Image>> {
        let failed = |source| Error::failed(format!("make an image of container {}", container.id), source);
        let record = container.record();
        let store = &self.parts.store;
        let hold = store.hold();
        let parent = self.parts.images.of_container(&record.image, &record.layers);
        let base = self.parts.images.stored(&parent)?;
        let added = self.take_layer(container)?;
        let by = crate::spec::environment::program(&record.config).join(" ");
        let made = plan_config(&base, config, Step { by, author, comment, empty: added.is_none() });
        let mut layers: Vec<(Descriptor, Digest)> =
            base.layers.iter().cloned().zip(base.diff_ids().iter().copied()).collect();
        if layers.len() + usize::from(added.is_some()) > LAYERS_MAX {
            return Err(Error::system("max depth exceeded"));
        }
        layers.extend(added);
        let image = build_image(store, made, layers).map_err(failed)?;
        let names: Vec<Reference> = name.into_iter().collect();
        let image = self.parts.images.record_made(&image, &names, Some(&parent.id))?;
        drop(hold);
        for name in &names {
            self.parts.images.publish(&image, "tag", &name.familiar());
        }
        Ok(image)
    }
}

impl Containers {
    /// The container's own layer; `None` when it changed nothing.
    fn take_layer(&self, container: &Container) -> Result<Option<(Descriptor, Digest)>> {
        let failed = |source| Error::failed(format!("read what container {} changed", container.id), source);
        let stack = container.image.stack(&self.parts.store)?;
        let directory = self.data_dir(container.id.as_str());
        let driver = self.parts.store.driver();
        let write = |output: &mut dyn Write| Ok(driver.diff(&stack, &directory, output)?);
        let sealed = self.parts.store.seal_copy(write).map_err(failed)?;
        let diff_id = sealed.layer.diff_id;
        Ok((diff_id.to_string() != EMPTY_TAR).then_some((sealed.blob, diff_id)))
    }
}

fn parse_name(request: &CommitRequest) -> Result<Option<Reference>> {
    let invalid = |source: minke_base::reference::InvalidReference| {
        Error::invalid(source.to_string()).caused_by(source)
    };
    if request.repository.is_empty() {
        return Ok(None);
    }
    let name = Reference::parse(&request.repository).map_err(invalid)?;
    if name.digest().is_some() {
        return Err(Error::invalid("refusing to create a tag with a digest reference"));
    }
    let name = if request.tag.is_empty() { name } else { name.with_tag(&request.tag).map_err(invalid)? };
    Ok(Some(name.or_latest()))
}

/// What was done, for the history.
struct Step {
    by: String,
    author: String,
    comment: String,
    empty: bool,
}

fn plan_config(base: &StoredImage, defaults: ContainerConfig, step: Step) -> ImageConfig {
    let now = Moment::now().rfc3339();
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut config = ImageConfig {
        author: some(&step.author),
        comment: some(&step.comment),
        config: Some(defaults),
        created: Some(now.clone()),
        container: None,
        container_config: None,
        docker_version: None,
        ..base.config.clone()
    };
    config.history.push(History {
        created: Some(now),
        created_by: some(&step.by),
        author: some(&step.author),
        comment: some(&step.comment),
        empty_layer: step.empty,
    });
    config
}

/// What containers of the new image start with. What a configuration of the request leaves out is the container's.
fn defaults_of(asked: Option<&WireConfig>, own: &WireConfig) -> ContainerConfig {
    let Some(asked) = asked else { return to_stored(own) };
    let (asked, own) = (to_stored(asked), to_stored(own));
    let text = |asked: String, own: String| if asked.is_empty() { own } else { asked };
    let mut env = asked.env;
    let named = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
    let known: Vec<String> = env.iter().map(named).collect();
    env.extend(own.env.into_iter().filter(|entry| !known.contains(&named(entry))));
    // An entrypoint of its own goes with the command that it came with.
    let cmd = match (&asked.cmd, &asked.entrypoint) {
        (None, None) => own.cmd,
        _ => asked.cmd,
    };
    ContainerConfig {
        user: text(asked.user, own.user),
        exposed_ports: own.exposed_ports.into_iter().chain(asked.exposed_ports).collect(),
        env,
        cmd,
        healthcheck: asked.healthcheck.or(own.healthcheck),
        args_escaped: asked.args_escaped,
        volumes: own.volumes.into_iter().chain(asked.volumes).collect(),
        working_dir: text(asked.working_dir, own.working_dir),
        entrypoint: asked.entrypoint.or(own.entrypoint),
        on_build: if asked.on_build.is_empty() { own.on_build } else { asked.on_build },
        labels: own.labels.into_iter().chain(asked.labels).collect(),
        stop_signal: asked.stop_signal.or(own.stop_signal),
        stop_timeout: asked.stop_timeout.or(own.stop_timeout),
        shell: asked.shell.or(own.shell),
        ..ContainerConfig::default()
    }
}

/// The part of a container's configuration that an image can carry: nothing of this host.
fn to_stored(config: &WireConfig) -> ContainerConfig {
    let set = |set: &Option<minke_api::Set>| {
        set.iter().flat_map(|set| set.keys()).map(|key| (key.clone(), Value::Object(Map::new()))).collect()
    };
    ContainerConfig {
        user: config.user.clone(),
        exposed_ports: set(&config.exposed_ports),
        env: config.env.clone().unwrap_or_default(),
        cmd: config.cmd.clone().map(|words| words.0),
        healthcheck: config.healthcheck.as_ref().map(|check| Healthcheck {
            test: check.test.clone().unwrap_or_default(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        args_escaped: config.args_escaped,
        volumes: set(&config.volumes),
        working_dir: config.working_dir.clone(),
        entrypoint: config.entrypoint.clone().map(|words| words.0),
        on_build: config.on_build.clone().unwrap_or_default(),
        labels: config.labels.clone().unwrap_or_default(),
        stop_signal: Some(config.stop_signal.clone()).filter(|signal| !signal.is_empty()),
        stop_timeout: config.stop_timeout,
        shell: config.shell.clone().map(|words| words.0),
        ..ContainerConfig::default()
    }
}
