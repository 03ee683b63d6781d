//! Builds: from a Dockerfile and a context to an image.
//!
//! A build is asked for by a [`BuildRequest`], tells what it does by [`BuildEvent`]s and ends with a [`BuildOutcome`]. Its context was
//! taken in before ([`Builds::receive_context`]). Dropping the future of [`Builds::build`] cancels it, and nothing of it stays.
//!
//! | file | what |
//! |---|---|
//! | `plan` | which stages are needed, how steps are numbered |
//! | `solve`, `announce` | stages side by side, steps one after the other, each looked up before it is done |
//! | `ahead` | what steps can do before their turn |
//! | `from`, `run`, `mounts`, `copy` (`pick`, `put`), `metadata` | the instructions |
//! | `sources`, `fetch`, `git`, `context`, `scratch` | where files come from, and where they lie meanwhile |
//! | `state` | a stage as far as it is built |
//! | `cache`, `recall`, `borrow` | what steps came to, here or in other images |
//! | `caches`, `items`, `prune` | what `--mount=type=cache` keeps, all of it as clients see it, and what of it goes |
//! | `finish`, `outcome` | the image, and other outputs |
//! | `clean` | what a build that did not end well leaves |
//!
//! A step's files become a layer by rename; its digest is computed while the next step runs. Intermediate images are not recorded: what
//! a step is shown as is an id of its own, which a cached step shows again.

mod ahead;
mod announce;
mod borrow;
mod cache;
mod caches;
mod clean;
mod context;
mod copy;
mod event;
mod fetch;
mod finish;
mod from;
mod git;
mod items;
mod metadata;
mod mounts;
mod outcome;
mod pick;
mod plan;
mod prune;
mod put;
mod recall;
mod request;
mod run;
mod scratch;
mod solve;
mod sources;
mod state;

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use minke_dockerfile::{Given, Platform as Words, Scope};
use minke_store::Store;
use minke_store::document::Platform;
use tokio::sync::{Notify, mpsc};

use crate::containers::Containers;
use crate::error::{Error, Result};
use crate::images::Image;
use crate::ledger::Ledger;
use cache::Cache;
use caches::Caches;
use context::Files;
use scratch::Names;
use solve::Build;

pub use borrow::CacheSource;
pub use context::Context;
pub use event::{BuildEvent, Output, Vertex, VertexId};
pub use fetch::{Fetch, Fetched};
pub use git::is_place as is_repository;
pub use items::CacheItem;
pub use outcome::{BuildOutcome, Export};
pub use request::{
    BuildLimits, BuildRequest, DockerfileText, NamedContext, OutputKind, PruneRequest, Pruned, Pull,
};

const NO_OVERLAY: &str = "builds need overlayfs, which the engine's data-root cannot be used with";

/// The service.
#[derive(Debug)]
pub struct Builds {
    store: Arc<Store>,
    containers: Arc<Containers>,
    ledger: Arc<Ledger>,
    cache: Arc<Cache>,
    /// Where this service keeps what it needs.
    root: PathBuf,
    scratch: Names,
    secrets: Names,
    caches: Caches,
    fetch: OnceLock<Arc<dyn Fetch>>,
    /// Builds whose cache is in use.
    at_work: Mutex<Vec<Weak<Build>>>,
    /// Builds that can be cancelled by their ids.
    running: Mutex<HashMap<String, Arc<Notify>>>,
}

impl Builds {
    pub(crate) fn open(
        store: Arc<Store>,
        containers: Arc<Containers>,
        ledger: Arc<Ledger>,
    ) -> Result<Arc<Self>> {
        let root = store.root().join("builds");
        let secrets = containers.parts.config.exec_root.join("builds");
        Ok(Arc::new(Self {
            cache: Arc::new(Cache::new(Arc::clone(&ledger), Arc::clone(&store))),
            scratch: Names::open(root.join("tmp"))?,
            secrets: Names::open(secrets)?,
            caches: Caches::open_at(root.join("caches"))?,
            fetch: OnceLock::new(),
            at_work: Mutex::default(),
            running: Mutex::default(),
            store,
            containers,
            ledger,
            root,
        }))
    }

    /// Says who fetches files for `ADD`; the first one stays.
    pub fn set_fetch(&self, fetch: Arc<dyn Fetch>) {
        drop(self.fetch.set(fetch));
    }

    /// Unpacks a context, compressed in any known way or plain, into a directory of its own.
    pub async fn receive_context(self: &Arc<Self>, input: Box<dyn Read + Send>) -> Result<Context> {
        let scratch = self.scratch_directory()?;
        blocking(move || {
            let directory = mounts::minke_sys_open(scratch.path())?;
            let sums = minke_store::transplant::receive(input, &directory).map_err(|source| {
                Error::invalid(format!("unpack the build's context: {}", crate::error::chain(&source)))
                    .caused_by(source)
            })?;
            Ok(Context::new(Files::new(scratch, sums)))
        })
        .await
    }

    /// Files of a build without a context.
    fn nothing(&self) -> Result<Arc<Files>> {
        Ok(Arc::new(Files::new(self.scratch_directory()?, Default::default())))
    }

    /// Builds. An error before the first event is the client's: the Dockerfile cannot be parsed, a name is wrong. What happens is told
    /// over `events`; nobody has to listen.
    pub async fn build(
        self: &Arc<Self>,
        request: BuildRequest,
        events: mpsc::UnboundedSender<BuildEvent>,
    ) -> Result<BuildOutcome> {
        let build = self.prepare(request, events)?;
        let cancel = Arc::new(Notify::new());
        let id = build.request.id.clone();
        if !id.is_empty() {
            self.running().insert(id.clone(), Arc::clone(&cancel));
        }
        let _listed = Listed { builds: Arc::clone(self), id };
        let clean = Arc::clone(&build.clean);
        let work = async {
            let built = build.run().await;
            let finished = match built {
                Ok(state) => build.finish(&state).await,
                Err(failure) => Err(Error::new(failure.kind, failure.message.clone())),
            };
            build.tell_last(finished.as_ref().ok().map(|outcome| outcome.image.as_str()));
            build.settle().await;
            finished
        };
        let done = tokio::select! {
            done = work => done,
            () = cancel.notified() => Err(Error::new(minke_base::Kind::Cancelled, "the build was cancelled")),
        };
        if done.is_ok() {
            self.store.layers().settle_in_background();
            clean.settle();
        }
        done
    }

    fn prepare(
        self: &Arc<Self>,
        request: BuildRequest,
        events: mpsc::UnboundedSender<BuildEvent>,
    ) -> Result<Arc<Build>> {
        let invalid = |error: minke_dockerfile::Error| Error::invalid(error.to_string()).caused_by(error);
        let text = request.dockerfile.text.as_slice();
        let file = minke_dockerfile::parse(&request.dockerfile.name, text).map_err(invalid)?;
        let target = match request.platform.as_str() {
            "" => Platform::host(),
            text => Platform::parse(text).map_err(|source| {
                Error::invalid(format!("{text:?}: cannot parse platform specifier: invalid argument"))
                    .caused_by(source)
            })?,
        };
        let words = |platform: Platform| Words {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant.unwrap_or_default(),
        };
        let given = Given {
            arguments: request
                .args
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
                .collect(),
            build: words(Platform::host()),
            target: words(target),
            stage: Some(request.target.clone()).filter(|stage| !stage.is_empty()),
        };
        let globals = Scope::of_globals(&file, Arc::new(given)).map_err(invalid)?;
        let plan = plan::plan(&file, &request.target, &globals, request.labels.len())?;
        let build = Build::new(Arc::clone(self), file, request, plan, globals, events);
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        at_work.retain(|build| build.strong_count() > 0);
        at_work.push(Arc::downgrade(&build));
        drop(at_work);
        Ok(build)
    }

    /// The records that builds at work stand on, by id.
    fn in_use(&self) -> BTreeSet<String> {
        let at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        at_work.iter().filter_map(Weak::upgrade).flat_map(|build| build.stands_on()).collect()
    }

    /// Cancels the build that was given this id (`buildid`); `false`: there is none.
    pub fn cancel(&self, id: &str) -> bool {
        let found = self.running().get(id).cloned();
        found.is_some_and(|token| {
            token.notify_one();
            true
        })
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An image by its name; it is pulled when it is not here, or when that was asked for.
    async fn image(&self, request: &BuildRequest, name: &str, platform: &str) -> Result<Arc<Image>> {
        let images = &self.containers.parts.images;
        let resolve = || {
            let image = images.resolve_for_container(name, Some(platform))?;
            // Whoever removes it from now on leaves the build what it stands on.
            self.keep(&image)?;
            Ok(image)
        };
        let Some(pull) = &request.pull_by else { return resolve() };
        let found = resolve();
        match &found {
            Err(error) if error.kind() == minke_base::Kind::NotFound => {}
            // What was named by its id is nowhere else.
            Ok(image) if request.pull && !is_id_of(image, name) => {}
            _ => return found,
        }
        pull.pull(name, platform).await?;
        resolve()
    }
}

impl Builds {
    /// Keeps an image's documents and layers for as long as the builds that hold the store now, and reads it.
    fn keep(&self, image: &Image) -> Result<minke_store::Image> {
        let gone = || Error::not_found(minke_api::texts::no_such_image(&image.id));
        let kept = self.store.keep_image(image.manifest.ok_or_else(gone)?);
        kept.map_err(|source| Error::failed(format!("read image {}", image.id), source))?.ok_or_else(gone)
    }
}

fn is_id_of(image: &Image, name: &str) -> bool {
    let bare = name.strip_prefix("sha256:").unwrap_or(name);
    minke_base::id::is_id_prefix(bare)
        && image.id.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(bare))
}

/// Takes a build off the list of those that run.
struct Listed {
    builds: Arc<Builds>,
    id: String,
}

impl Drop for Listed {
    fn drop(&mut self) {
        if !self.id.is_empty() {
            self.builds.running().remove(&self.id);
        }
    }
}

/// Does what may take its time on a thread for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| Error::failed("a part of a build did not end", source))?
}
