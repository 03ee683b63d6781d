//! A blob on its way to a registry: found there, mounted from a neighbour, or sent; what broke off goes on where the registry says
//! that it stands.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use minke_base::Digest;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio::sync::mpsc;

use crate::blob::PIECES;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::repository::{Access, Repository, Wanted, next_location};
use crate::retry;
use crate::transport::refusal;

const PIECE: usize = 64 << 10;
/// Progress that makes up for a failure.
const PROGRESS: u64 = 64 << 10;

/// The bytes of a blob, as they come.
pub type SourceStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Where a blob's bytes come from; an upload may need them again.
pub trait BlobSource: Send + Sync {
    /// The bytes from this one on.
    fn open(&self, from: u64) -> io::Result<SourceStream>;
}

/// Reads on a thread of its own, ahead by a bounded amount, until the stream is dropped. Must be called within a tokio runtime.
pub fn stream_of(mut reader: impl Read + Send + 'static) -> SourceStream {
    let (send, pieces) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = BytesMut::zeroed(PIECE);
            let piece = match reader.read(&mut piece) {
                Ok(0) => return,
                Ok(length) => {
                    piece.truncate(length);
                    Ok(piece.freeze())
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = piece.is_err();
            if send.blocking_send(piece).is_err() || last {
                return;
            }
        }
    });
    Box::pin(stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) }))
}

/// How a blob came to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    Existed,
    /// Taken over from this repository of the same registry.
    Mounted(String),
    Uploaded,
}

struct Upload<'a> {
    repository: &'a Repository,
    endpoint: Endpoint,
    digest: Digest,
    size: u64,
    source: &'a dyn BlobSource,
    progress: &'a (dyn Fn(u64) + Send + Sync),
}

/// How far an upload is.
struct Stand {
    location: Url,
    at: u64,
}

impl Repository {
    /// Sees to it that the registry has a blob. `mount_from` are paths of repositories of the same registry that may have it;
    /// `progress` hears how many bytes are there.
    pub async fn push_blob(
        &self,
        digest: Digest,
        size: u64,
        source: &dyn BlobSource,
        mount_from: &[String],
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Pushed, Error> {
        if self.has_blob_for(Access::Push, digest).await?.is_some() {
            return Ok(Pushed::Existed);
        }
        for path in mount_from.iter().filter(|path| *path != self.path()) {
            self.allow_reading(path);
            if self.mount(digest, path).await? {
                return Ok(Pushed::Mounted(path.clone()));
            }
        }
        let endpoint = self.writing_endpoint().await?;
        let upload = Upload { repository: self, endpoint, digest, size, source, progress };
        upload.run().await?;
        Ok(Pushed::Uploaded)
    }

    fn allow_reading(&self, path: &str) {
        let mut neighbours = self.shared.neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        if !neighbours.iter().any(|known| known == path) {
            neighbours.push(path.to_owned());
        }
    }

    /// Takes a blob over from another repository; whether that was possible. What was refused costs nothing but the question.
    async fn mount(&self, digest: Digest, from: &str) -> Result<bool, Error> {
        let path = format!("blobs/uploads/?mount={digest}&from={from}");
        match self.ask(Access::Push, &path, &empty(Method::POST)).await {
            Ok(response) if response.status() == StatusCode::CREATED => Ok(true),
            Ok(response) => {
                // It has begun an upload instead.
                self.cancel(&response).await;
                Ok(false)
            }
            // Whoever may not read there is told so in several ways.
            Err(Error::Refused(refusal)) if matches!(refusal.status, 400..=405) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn cancel(&self, begun: &Response) {
        if let Ok(endpoint) = self.writing_endpoint().await
            && let Ok(location) = next_location(begun, &endpoint.base)
            && let Err(error) =
                self.ask_at(Access::Push, &endpoint, location, &Wanted::new(Method::DELETE)).await
        {
            tracing::debug!("cancel an upload that is not needed: {error}");
        }
    }

    /// The endpoint that takes what is pushed.
    async fn writing_endpoint(&self) -> Result<Endpoint, Error> {
        let endpoints = self.endpoints(Access::Push).await;
        let at = self.current(Access::Push).min(endpoints.len().saturating_sub(1));
        endpoints.get(at).cloned().ok_or_else(|| Error::BadUrl { url: self.domain().to_owned() })
    }
}

/// A request that has a body of no bytes: some registries want to be told its length.
fn empty(method: Method) -> Wanted {
    Wanted { body: Some(Bytes::new()), ..Wanted::new(method) }
}

impl Upload<'_> {
    async fn run(&self) -> Result<(), Error> {
        let mut failures = 0;
        let mut best = 0;
        let mut stand: Option<Stand> = None;
        loop {
            let error = match self.go_on(&mut stand).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if let Some(stand) = &stand
                && stand.at >= best + PROGRESS
            {
                (best, failures) = (stand.at, 0);
            }
            failures += 1;
            if !passing(&error) || failures >= self.repository.attempts() {
                return Err(error);
            }
            tracing::debug!("upload of {}: {error}; going on", self.digest);
            tokio::time::sleep(retry::pause(failures)).await;
            stand = match stand {
                Some(stand) => self.ask_where(&stand).await?,
                None => None,
            };
            // The answer to the last step may be what was lost.
            if stand.is_none() && self.repository.has_blob_for(Access::Push, self.digest).await?.is_some() {
                return Ok(());
            }
        }
    }

    async fn go_on(&self, stand: &mut Option<Stand>) -> Result<(), Error> {
        let current = match stand {
            Some(stand) => stand,
            None => stand.insert(self.begin().await?),
        };
        if current.at < self.size {
            self.send(current).await?;
        }
        self.finish(current).await
    }

    async fn begin(&self) -> Result<Stand, Error> {
        let response = self.repository.ask(Access::Push, "blobs/uploads/", &empty(Method::POST)).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(Error::Protocol {
                url: response.url().to_string(),
                reason: format!("it answers a new upload with {}", response.status()),
            });
        }
        Ok(Stand { location: next_location(&response, &self.endpoint.base)?, at: 0 })
    }

    /// Where an interrupted upload stands; `None` when it is over.
    async fn ask_where(&self, stand: &Stand) -> Result<Option<Stand>, Error> {
        let wanted = Wanted::new(Method::GET);
        let location = stand.location.clone();
        let asked = self.repository.ask_at(Access::Push, &self.endpoint, location, &wanted).await;
        match asked {
            Ok(response) => {
                let range = response.headers().get(RANGE).and_then(|value| value.to_str().ok());
                let last: u64 =
                    range.and_then(|range| range.rsplit('-').next()?.trim().parse().ok()).unwrap_or(0);
                let location = next_location(&response, &self.endpoint.base)
                    .unwrap_or_else(|_none| stand.location.clone());
                // "0-0" stands for nothing and for one byte: begin anew. What is more than all is not ours.
                let at = if last == 0 { None } else { last.checked_add(1).filter(|at| *at <= self.size) };
                Ok(at.map(|at| Stand { location, at }))
            }
            Err(error) => {
                tracing::debug!("upload of {}: asked where it stands: {error}", self.digest);
                Ok(None)
            }
        }
    }

    /// Sends what is missing.
    async fn send(&self, stand: &mut Stand) -> Result<(), Error> {
        let from = stand.at;
        let failed = |source| Error::Source { digest: self.digest, source };
        let bytes = self.source.open(from).map_err(failed)?;
        let sent = Arc::new(AtomicU64::new(from));
        let length = self.size - from;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if from > 0
            && let Ok(range) = HeaderValue::from_str(&format!("{from}-{}", self.size - 1))
        {
            headers.insert(CONTENT_RANGE, range);
        }
        let fault = Arc::new(std::sync::Mutex::new(None));
        let body = std::sync::Mutex::new(Some(Body::wrap_stream(Counted {
            bytes,
            sent: Arc::clone(&sent),
            fault: Arc::clone(&fault),
        })));
        let take = || body.lock().unwrap_or_else(PoisonError::into_inner).take();
        let request = self.repository.send(
            Access::Push,
            &self.endpoint,
            stand.location.clone(),
            &Method::PATCH,
            &headers,
            take,
        );
        let answered = self.watched(request, &sent).await;
        // Bytes that cannot be read are not the registry's fault.
        if let Some(source) = fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(failed(source));
        }
        let response = answered?;
        if !response.status().is_success() {
            return Err(refusal(&Method::PATCH, response, self.repository.patience()).await);
        }
        stand.location = next_location(&response, &self.endpoint.base)?;
        stand.at = self.size;
        Ok(())
    }

    /// Waits for an answer while bytes go out, and not much longer.
    async fn watched(
        &self,
        request: impl Future<Output = Result<Response, Error>>,
        sent: &AtomicU64,
    ) -> Result<Response, Error> {
        let mut request = std::pin::pin!(request);
        let mut before = sent.load(Ordering::Relaxed);
        (self.progress)(before);
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        let mut moved = tokio::time::Instant::now();
        loop {
            tokio::select! {
                answered = &mut request => {
                    (self.progress)(sent.load(Ordering::Relaxed));
                    return answered;
                }
                _ = ticks.tick() => {}
            }
            let now = sent.load(Ordering::Relaxed);
            if now != before {
                (before, moved) = (now, tokio::time::Instant::now());
                (self.progress)(now);
            }
            let patience = self.repository.patience();
            let patience = if now >= self.size { patience.settling } else { patience.intake };
            if moved.elapsed() > patience {
                return Err(Error::Unreachable {
                    method: "PATCH",
                    url: self.endpoint.base.to_string(),
                    reason: format!("it took nothing for {} s", patience.as_secs()),
                    reached: true,
                });
            }
        }
    }

    async fn finish(&self, stand: &Stand) -> Result<(), Error> {
        let mut url = stand.location.clone();
        url.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let response = self.repository.ask_at(Access::Push, &self.endpoint, url, &empty(Method::PUT)).await?;
        let kept = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        match kept {
            Some(kept) if kept != self.digest.to_string() => {
                Err(Error::Upload { digest: self.digest, reason: format!("it says that it has {kept}") })
            }
            _ => Ok(()),
        }
    }
}

/// Uploads are also begun anew where a registry lost one, or got other bytes than were sent.
fn passing(error: &Error) -> bool {
    let again = |refusal: &crate::Refusal| {
        matches!(refusal.status, 401 | 416)
            || ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID", "RANGE_INVALID"]
                .iter()
                .any(|code| refusal.has_code(code))
    };
    error.may_pass() || error.refusal().is_some_and(again)
}

/// Counts what goes out, and keeps what went wrong on this side.
struct Counted {
    bytes: SourceStream,
    sent: Arc<AtomicU64>,
    fault: Arc<std::sync::Mutex<Option<io::Error>>>,
}

impl Stream for Counted {
    type Item = io::Result<Bytes>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.bytes.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(piece))) => {
                self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(error))) => {
                let told = io::Error::new(error.kind(), "the blob cannot be read");
                *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Poll::Ready(Some(Err(told)))
            }
            other => other,
        }
    }
}
