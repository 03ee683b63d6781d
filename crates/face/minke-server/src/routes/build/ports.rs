//! What a build asks of the rest: files of the web for `ADD`, images that are not here for `FROM`.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use minke_api::progress::ProgressMessage;
use minke_api::system::{AuthConfig, auth_configs_from_header};
use minke_base::Reference;
use minke_engine::builds::{Fetch, Fetched, Pull};
use minke_engine::images::PullRequest;
use minke_engine::{Engine, Error, Images, registries};
use tokio::sync::mpsc;

use crate::http::{Call, Failure};

/// Fetches with the client of the registries, which knows proxies and private authorities.
#[derive(Debug)]
pub(super) struct Web(pub(super) Engine);

impl Fetch for Web {
    fn open(&self, url: &str) -> BoxFuture<'static, minke_engine::Result<Fetched>> {
        let (client, url) = (self.0.registries.client(), url.to_owned());
        Box::pin(async move {
            let body = client.download(&url).await.map_err(|error| {
                Error::new(error.kind(), format!("fetch {url}: {error}")).caused_by(error)
            })?;
            Ok(Fetched { body: Box::new(body), modified: None })
        })
    }
}

/// Lines of a pull's progress that may wait for their client.
const DEPTH: usize = 16;

/// Pulls with the credentials that came with a build.
#[derive(Debug)]
pub(super) struct Bases {
    images: Arc<Images>,
    engine: Engine,
    /// By the registry's name.
    credentials: BTreeMap<String, AuthConfig>,
    progress: mpsc::Sender<ProgressMessage>,
}

impl Bases {
    /// And where its pulls tell how they come along.
    pub(super) fn of(
        engine: &Engine,
        call: &Call,
    ) -> Result<(Self, mpsc::Receiver<ProgressMessage>), Failure> {
        let configs = auth_configs_from_header(call.header("x-registry-config"))
            .map_err(|error| Failure::invalid(error.to_string()))?;
        let credentials =
            configs.into_iter().map(|(server, auth)| (registries::domain_of(&server), auth)).collect();
        let (progress, lines) = mpsc::channel(DEPTH);
        Ok((
            Self { images: Arc::clone(&engine.images), engine: engine.clone(), credentials, progress },
            lines,
        ))
    }
}

impl Pull for Bases {
    fn pull(&self, name: &str, platform: &str) -> BoxFuture<'static, minke_engine::Result<()>> {
        let name = match Reference::parse(name) {
            Ok(name) => name.or_latest(),
            Err(error) => return Box::pin(async move { Err(Error::invalid(error.to_string())) }),
        };
        let auth = self.credentials.get(name.domain());
        let request = PullRequest {
            all_tags: false,
            platform: platform.to_owned(),
            repository: self.engine.registries.repository(&name, auth),
            name,
        };
        let images = Arc::clone(&self.images);
        let progress = self.progress.clone();
        Box::pin(async move { images.pull(request, progress).await })
    }
}
