//! One repository: its manifests and tags, and the way to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use minke_base::Digest;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Method, Response, StatusCode, Url};
use serde::Deserialize;
use sha2::Digest as _;
use tokio::sync::OnceCell;

use crate::MAX_MANIFEST;
use crate::client::Client;
use crate::credentials::Credentials;
use crate::endpoint::{Endpoint, host_of, plan_endpoints};
use crate::error::Error;
use crate::retry;
use crate::settings::Patience;
use crate::token::Purpose;
use crate::transport::{Ask, location, name_of, read, refusal};

/// What manifests may be, best first.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";
const CONTENT_DIGEST: &str = "docker-content-digest";
const MAX_TAGS: u64 = 8 << 20;
const MAX_TAG_PAGES: usize = 1000;
/// How often a question is asked that somebody could have answered.
const QUESTIONS: u32 = 3;

/// One name at one registry. Cheap to clone: clones share what they found out.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) domain: String,
    pub(crate) path: String,
    pub(crate) credentials: Credentials,
    reading: Way,
    writing: Way,
    /// Other repositories that blobs are mounted from: a token has to allow reading them.
    pub(crate) neighbours: Mutex<Vec<String>>,
}

/// The endpoints of a purpose, and which one answered.
#[derive(Debug, Default)]
pub(crate) struct Way {
    endpoints: OnceCell<Vec<Endpoint>>,
    current: AtomicUsize,
}

/// Which manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    Tag(String),
    Digest(Digest),
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A manifest or an index, byte for byte as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    pub bytes: Bytes,
    /// Of the bytes, computed here.
    pub digest: Digest,
    pub media_type: String,
}

/// What a registry says about a manifest without giving it. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestHead {
    pub digest: Option<Digest>,
    pub media_type: String,
    pub size: Option<u64>,
}

/// What is done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// One request within a repository.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

impl Wanted {
    pub(crate) fn new(method: Method) -> Self {
        Self { method, headers: HeaderMap::new(), body: None }
    }
}

impl Repository {
    pub(crate) fn new(client: Client, domain: &str, path: &str, credentials: Credentials) -> Self {
        let shared = Shared {
            client,
            domain: domain.to_owned(),
            path: path.to_owned(),
            credentials,
            reading: Way::default(),
            writing: Way::default(),
            neighbours: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    #[must_use]
    pub fn domain(&self) -> &str {
        &self.shared.domain
    }

    #[must_use]
    pub fn path(&self) -> &str {
        &self.shared.path
    }

    /// Fetches a manifest or an index and checks it against its digest.
    pub async fn manifest(&self, selector: &Selector) -> Result<FetchedManifest, Error> {
        let mut wanted = Wanted::new(Method::GET);
        wanted.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        let path = format!("manifests/{selector}");
        let mut failures = 0;
        loop {
            let response = self.ask(Access::Pull, &path, &wanted).await?;
            match checked_manifest(selector, response, self.patience()).await {
                Err(error) if error.may_pass() && failures < QUESTIONS => {
                    failures += 1;
                    tokio::time::sleep(retry::pause(failures)).await;
                }
                done => return done,
            }
        }
    }

    /// Asks about a manifest; `None` when the registry says that there is none.
    pub async fn head_manifest(&self, selector: &Selector) -> Result<Option<ManifestHead>, Error> {
        let mut wanted = Wanted::new(Method::HEAD);
        wanted.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        match self.ask(Access::Pull, &format!("manifests/{selector}"), &wanted).await {
            Ok(response) => Ok(Some(ManifestHead {
                digest: announced_digest(&response),
                media_type: media_type(&response),
                size: length(&response),
            })),
            Err(Error::Refused(refusal)) if refusal.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a manifest or an index there; the blobs that it names are there already.
    pub async fn put_manifest(
        &self,
        selector: &Selector,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, Error> {
        let digest = Digest::from_sha256(sha2::Sha256::digest(&bytes).into());
        let mut wanted = Wanted::new(Method::PUT);
        let value = HeaderValue::from_str(media_type).map_err(|_source| Error::Protocol {
            url: self.shared.path.clone(),
            reason: format!("the media type {media_type:?} cannot be said"),
        })?;
        wanted.headers.insert(CONTENT_TYPE, value);
        wanted.body = Some(bytes);
        let response = self.ask(Access::Push, &format!("manifests/{selector}"), &wanted).await?;
        match announced_digest(&response) {
            Some(actual) if actual != digest => {
                Err(Error::WrongDigest { url: response.url().to_string(), expected: digest, actual })
            }
            _ => Ok(digest),
        }
    }

    /// All tags, in the registry's order.
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut tags = Vec::new();
        let mut path = "tags/list".to_owned();
        let mut left = MAX_TAGS;
        for _ in 0..MAX_TAG_PAGES {
            let response = self.ask(Access::Pull, &path, &Wanted::new(Method::GET)).await?;
            let (url, next) = (response.url().to_string(), next_page(&response));
            let bytes = read(response, "the list of tags", left, self.patience()).await?;
            left = left.saturating_sub(bytes.len() as u64);
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| Error::Protocol { url, reason: format!("the list of tags: {error}") })?;
            tags.extend(page.tags.unwrap_or_default());
            match next {
                Some(query) => path = format!("tags/list?{query}"),
                None => return Ok(tags),
            }
        }
        Ok(tags)
    }

    pub(crate) async fn endpoints(&self, access: Access) -> &[Endpoint] {
        let shared = &self.shared;
        let way = self.way(access);
        way.endpoints
            .get_or_init(|| async {
                let settings = shared.client.settings();
                // Who cannot be looked up is not reached either, and that is said then.
                let addresses = match shared.domain.as_str() {
                    crate::endpoint::HUB => Vec::new(),
                    domain => crate::resolve::lookup(host_of(domain)).await.unwrap_or_default(),
                };
                plan_endpoints(&shared.domain, &addresses, access == Access::Pull, settings)
            })
            .await
    }

    pub(crate) fn patience(&self) -> Patience {
        self.shared.client.settings().patience
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.shared.client.settings().attempts
    }

    /// Which of the endpoints answered last.
    pub(crate) fn current(&self, access: Access) -> usize {
        self.way(access).current.load(Ordering::Relaxed)
    }

    fn way(&self, access: Access) -> &Way {
        match access {
            Access::Pull => &self.shared.reading,
            Access::Push => &self.shared.writing,
        }
    }

    /// Asks below this repository's address, at the endpoint that answered before and at the ones behind it.
    pub(crate) async fn ask(&self, access: Access, path: &str, wanted: &Wanted) -> Result<Response, Error> {
        let endpoints = self.endpoints(access).await;
        let way = self.way(access);
        let start = way.current.load(Ordering::Relaxed);
        let mut failure = None;
        for (at, endpoint) in endpoints.iter().enumerate().skip(start) {
            let error = match self.ask_patiently(access, endpoint, path, wanted).await {
                Ok(response) => {
                    way.current.store(at, Ordering::Relaxed);
                    return Ok(response);
                }
                // Whoever is not there is not there at all: docker asks at the door, and names it.
                Err(Error::Unreachable { reason, reached: false, .. }) => {
                    let url = endpoint.url("").map_or_else(String::new, |url| url.to_string());
                    Error::Unreachable { method: "GET", url, reason, reached: false }
                }
                Err(error) => error,
            };
            let unreachable = matches!(error, Error::Unreachable { .. });
            if !unreachable && !endpoint.mirror {
                // It answered: what follows is asked there.
                way.current.store(at, Ordering::Relaxed);
                return Err(error);
            }
            tracing::debug!("{} of {}: {error}", path, endpoint.base);
            // Of a registry that is tried without TLS too, that counts; a mirror counts where there is nothing else.
            let last = at + 1 == endpoints.len();
            if (!endpoint.mirror || last) && (failure.is_none() || endpoint.base.scheme() == "http") {
                failure = Some(error);
            }
        }
        Err(failure.unwrap_or_else(|| Error::BadUrl { url: self.shared.domain.clone() }))
    }

    async fn ask_patiently(
        &self,
        access: Access,
        endpoint: &Endpoint,
        path: &str,
        wanted: &Wanted,
    ) -> Result<Response, Error> {
        let url = endpoint
            .url(&format!("{}/{path}", self.shared.path))
            .ok_or_else(|| Error::BadUrl { url: endpoint.base.to_string() })?;
        let mut failures = 0;
        loop {
            let error = match self.ask_at(access, endpoint, url.clone(), wanted).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            // Where nobody listens there is nobody a moment later.
            let absent = matches!(error, Error::Unreachable { reached: false, .. });
            failures += 1;
            if absent || !error.may_pass() || failures >= QUESTIONS {
                return Err(error);
            }
            tokio::time::sleep(retry::pause(failures)).await;
        }
    }

    /// Asks one address of one endpoint, showing what it wants to see. Answers other than success are errors.
    pub(crate) async fn ask_at(
        &self,
        access: Access,
        endpoint: &Endpoint,
        url: Url,
        wanted: &Wanted,
    ) -> Result<Response, Error> {
        let body = || wanted.body.clone().map(Body::from);
        let response = self.send(access, endpoint, url, &wanted.method, &wanted.headers, body).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        if response.status() == StatusCode::TOO_MANY_REQUESTS
            && let Some(wait) = retry::asked(response.headers())
        {
            tokio::time::sleep(wait).await;
        }
        Err(refusal(&wanted.method, response, self.patience()).await)
    }

    /// Sends a request, a second time when the registry asks who is there. Any answer is fine.
    pub(crate) async fn send(
        &self,
        access: Access,
        endpoint: &Endpoint,
        url: Url,
        method: &Method,
        headers: &HeaderMap,
        body: impl Fn() -> Option<Body>,
    ) -> Result<Response, Error> {
        let inner = &self.shared.client.inner;
        let anonymous = Credentials::anonymous();
        // Docker Hub's credentials are not a mirror's business.
        let credentials = if endpoint.mirror { &anonymous } else { &self.shared.credentials };
        let purpose = Purpose::new(&endpoint.base, &self.scopes(access), credentials);
        let ours = url.origin() == endpoint.base.origin();
        let ask = |authorization: Option<HeaderValue>| {
            let mut ask = Ask::new(method.clone(), url.clone());
            ask.headers = headers.clone();
            ask.body = body();
            // An upload may live on another host, which gets nothing that was meant for the registry.
            ask.authorization = authorization.filter(|_| ours);
            ask.unverified = if ours { endpoint.unverified } else { inner.web.is_insecure(&url) };
            ask
        };
        let known = inner.passes.get(&purpose);
        let response = inner.web.ask(ask(known.clone())).await?;
        if response.status() != StatusCode::UNAUTHORIZED || response.url().origin() != url.origin() || !ours {
            return Ok(response);
        }
        if known.is_some() {
            inner.passes.forget(&purpose);
        }
        let answer =
            inner.passes.answer(&inner.web, &response, &purpose, credentials, endpoint.unverified).await;
        let fresh = match answer {
            Ok(Some(fresh)) => fresh,
            Ok(None) => return Ok(response),
            Err(Error::NoCredentials { url, .. }) => {
                return Err(Error::NoCredentials { method: name_of(method), url });
            }
            Err(error) => return Err(error),
        };
        // What was shown was just refused, and there is nothing else; or bytes are gone that cannot be sent twice, and whoever has
        // them begins again, with what is known now.
        if known.as_ref() == Some(&fresh) || *method == Method::PATCH {
            return Ok(response);
        }
        inner.web.ask(ask(Some(fresh))).await
    }

    fn scopes(&self, access: Access) -> Vec<String> {
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let mut scopes = vec![format!("repository:{}:{actions}", self.shared.path)];
        if access == Access::Push {
            let neighbours = self.shared.neighbours.lock().unwrap_or_else(PoisonError::into_inner);
            scopes.extend(neighbours.iter().map(|path| format!("repository:{path}:pull")));
        }
        scopes
    }
}

async fn checked_manifest(
    selector: &Selector,
    response: Response,
    patience: Patience,
) -> Result<FetchedManifest, Error> {
    let url = response.url().to_string();
    let announced = announced_digest(&response);
    let media_type = media_type(&response);
    let bytes = read(response, "the manifest", MAX_MANIFEST, patience).await?;
    let digest = Digest::from_sha256(sha2::Sha256::digest(&bytes).into());
    let expected = match selector {
        Selector::Digest(expected) => Some(*expected),
        Selector::Tag(_) => announced,
    };
    match expected {
        Some(expected) if expected != digest => Err(Error::WrongDigest { url, expected, actual: digest }),
        _ => Ok(FetchedManifest { media_type: declared(&bytes).unwrap_or(media_type), bytes, digest }),
    }
}

/// What the document says it is, which is under its digest, as the header is not.
fn declared(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Document {
        media_type: Option<String>,
    }
    serde_json::from_slice::<Document>(bytes).ok()?.media_type.filter(|text| !text.is_empty())
}

fn announced_digest(response: &Response) -> Option<Digest> {
    response.headers().get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

fn media_type(response: &Response) -> String {
    let value =
        response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_owned()
}

fn length(response: &Response) -> Option<u64> {
    response.headers().get(reqwest::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The query of the next page, from `Link: <…?n=100&last=x>; rel="next"`. The rest of the address is the repository's own.
fn next_page(response: &Response) -> Option<String> {
    let link = response.headers().get(reqwest::header::LINK)?.to_str().ok()?;
    let (target, rest) = link.strip_prefix('<')?.split_once('>')?;
    if !rest.contains("next") {
        return None;
    }
    response.url().join(target).ok()?.query().map(str::to_owned)
}

/// Where an upload goes on.
pub(crate) fn next_location(response: &Response, base: &Url) -> Result<Url, Error> {
    let mut url = location(response)?.ok_or_else(|| Error::Protocol {
        url: response.url().to_string(),
        reason: "its answer does not say where the upload goes on".to_owned(),
    })?;
    // Registries behind a proxy that ends TLS name themselves without it.
    if url.scheme() == "http" && base.scheme() == "https" && url.host_str() == base.host_str() {
        let named = url.port();
        if url.set_scheme("https").is_err() || (named == Some(80) && url.set_port(base.port()).is_err()) {
            return Err(Error::BadUrl { url: url.to_string() });
        }
    }
    Ok(url)
}
