//! Builds: from a Dockerfile and a context to an image.
//!
//! A build is asked for by a [`BuildRequest`], tells what it does by [`BuildEvent`]s and ends with a [`BuildOutcome`]. Its context was
//! taken in before ([`Builds::receive_context`]). Dropping the future of [`Builds::build`] cancels it, and nothing of it stays.

mod context;
mod event;
mod outcome;
mod request;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use minke_store::Store;
use tokio::sync::mpsc;

use crate::containers::Containers;
use crate::error::{Error, Result};

pub use context::Context;
pub use event::{BuildEvent, Output, Vertex, VertexId};
pub use outcome::{BuildOutcome, Export};
pub use request::{
    BuildLimits, BuildRequest, DockerfileText, NamedContext, OutputKind, PruneRequest, Pruned,
};

/// The service.
#[derive(Debug)]
#[expect(dead_code, reason = "the executor is merged next")]
pub struct Builds {
    store: Arc<Store>,
    containers: Arc<Containers>,
    /// Where contexts lie while they are built from.
    contexts: PathBuf,
}

impl Builds {
    pub(crate) fn open(store: Arc<Store>, containers: Arc<Containers>) -> Result<Arc<Self>> {
        let contexts = store.root().join("builds");
        Ok(Arc::new(Self { store, containers, contexts }))
    }

    /// Unpacks a context, compressed in any known way or plain, into a directory of its own.
    pub async fn receive_context(self: &Arc<Self>, input: Box<dyn Read + Send>) -> Result<Context> {
        drop(input);
        Err(Error::new(minke_base::Kind::NotImplemented, "builds are not there yet"))
    }

    /// Builds. An error before the first event is the client's: the Dockerfile cannot be parsed, a name is wrong. What happens is told
    /// over `events`; nobody has to listen.
    pub async fn build(
        self: &Arc<Self>,
        request: BuildRequest,
        events: mpsc::UnboundedSender<BuildEvent>,
    ) -> Result<BuildOutcome> {
        drop((request, events));
        Err(Error::new(minke_base::Kind::NotImplemented, "builds are not there yet"))
    }

    /// Cancels the build that was given this id (`buildid`); `false`: there is none.
    pub fn cancel(&self, id: &str) -> bool {
        let _none = id;
        false
    }

    /// Removes what the cache holds and nobody needs.
    pub async fn prune(self: &Arc<Self>, request: PruneRequest) -> Result<Pruned> {
        drop(request);
        Err(Error::new(minke_base::Kind::NotImplemented, "builds are not there yet"))
    }
}
