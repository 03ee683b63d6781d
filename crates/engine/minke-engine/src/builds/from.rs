//! `FROM`: what a stage begins with.

use std::path::PathBuf;
use std::sync::Arc;

use minke_dockerfile::Scope;
use minke_store::document::{ContainerConfig, ImageConfig, Platform};

use super::cache::Key;
use super::event::BuildEvent;
use super::plan::is_called;
use super::solve::{Build, Failure, Place, StageFuture};
use super::state::State;
use crate::error::{Error, Result};
use crate::images::Image;
use crate::spec::environment::DEFAULT_PATH;

impl Build {
    /// Resolves a stage's base.
    pub(super) async fn from(&self, place: &Place<'_>) -> Result<State, Failure> {
        self.start(place.vertex);
        let found = self.find_base(place).await;
        match found {
            Ok(state) => {
                let count = state.config.on_build.len();
                if count > 0 {
                    self.tell(BuildEvent::Triggers { vertex: place.vertex, count });
                }
                self.tell(BuildEvent::Done { vertex: place.vertex, cached: false, image: state.id.clone() });
                Ok(state)
            }
            Err(failure) => {
                self.tell(BuildEvent::Failed {
                    vertex: place.vertex,
                    message: failure.message.clone(),
                    code: None,
                    excerpt: self.file.source.excerpt(place.span),
                });
                Err(failure)
            }
        }
    }

    async fn find_base(&self, place: &Place<'_>) -> Result<State, Failure> {
        let stage = &self.file.stages[place.stage];
        let expand = |text: &str| {
            self.globals.expand(text).map_err(|error| Error::invalid(error.at(place.span).to_string()))
        };
        let name = expand(&stage.from.image)?;
        if name.is_empty() {
            return Err(
                Error::invalid(format!("base name ({}) should not be blank", stage.from.image)).into()
            );
        }
        let platform = match &stage.from.platform {
            Some(text) => expand(text)?,
            None => self.request.platform.clone(),
        };
        let stages = &self.file.stages[..place.stage];
        if let Some(index) = stages.iter().position(|stage| is_called(stage, &name)) {
            let below = earlier(place.earlier, index).await?;
            let mut state = State::clone(&below);
            state.scope = below.scope.continued(&state.config.env);
            state.command_set = false;
            return Ok(state);
        }
        let mut state = self.first_state(&name, &platform).await?;
        self.begin_borrowing(&mut state, place.stage).await;
        Ok(state)
    }

    /// What a stage begins with that does not stand on another.
    async fn first_state(&self, name: &str, platform: &str) -> Result<State> {
        if name == "scratch" {
            return self.empty(&self.globals);
        }
        let image = self.image(name, platform).await?;
        self.standing_on(image)
    }

    fn empty(&self, globals: &Scope) -> Result<State> {
        let store = &self.builds.store;
        let stack = store
            .driver()
            .init_layer("empty", &[])
            .map_err(|source| Error::failed("prepare an empty root", source))?;
        let host = match self.request.platform.as_str() {
            "" => Platform::host(),
            text => Platform::parse(text).map_err(|source| {
                Error::invalid(format!("{text:?}: cannot parse platform specifier: invalid argument"))
                    .caused_by(source)
            })?,
        };
        let document = ImageConfig {
            architecture: host.architecture,
            os: host.os,
            variant: host.variant,
            ..ImageConfig::default()
        };
        Ok(begin(ContainerConfig::default(), document, stack, Vec::new(), globals))
    }

    fn standing_on(&self, image: Arc<Image>) -> Result<State> {
        let store = &self.builds.store;
        let stack = image.stack(store)?.to_vec();
        let lowers = image.layers(store)?;
        let stored = self.builds.containers.parts.images.stored(&image)?;
        let layers = stored.layers.iter().cloned().zip(stored.diff_ids().iter().copied()).collect();
        let mut state = begin(image.defaults.clone(), stored.config.clone(), stack, lowers, &self.globals);
        state.history.clone_from(&stored.config.history);
        state.author.clone_from(&stored.config.author);
        state.created.clone_from(&stored.config.created);
        state.base_layers = layers;
        let chain: Vec<&str> =
            std::iter::once("image").chain(image.diff_ids.iter().map(String::as_str)).collect();
        state.key = Key::of(&chain);
        state.id.clone_from(&image.id);
        state.base = Some(image);
        Ok(state)
    }
}

/// An earlier stage, once it is built.
pub(super) async fn earlier(stages: &[Option<StageFuture>], index: usize) -> Result<Arc<State>, Failure> {
    let Some(stage) = stages.get(index).cloned().flatten() else {
        return Err(Error::system(format!("stage {index} was not planned")).into());
    };
    stage.await.map_err(Failure::again)
}

fn begin(
    mut config: ContainerConfig,
    document: ImageConfig,
    stack: Vec<PathBuf>,
    lowers: Vec<PathBuf>,
    globals: &Scope,
) -> State {
    if !config.env.iter().any(|entry| entry.starts_with("PATH=")) {
        config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
    State {
        command_set: false,
        author: None,
        scope: globals.of_stage(&config.env),
        config,
        base: None,
        base_layers: Vec::new(),
        base_stack: stack.into(),
        base_lowers: lowers.into(),
        document,
        layers: Vec::new(),
        history: Vec::new(),
        key: Key::of(&["scratch"]),
        id: String::new(),
        lenders: Vec::new(),
        created: None,
        changed: false,
    }
}
