//! A blob on its way here: a stream that goes on by itself where it broke off, and a reader over it for blocking code.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use minke_base::Digest;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use sha2::Digest as _;
use tokio::sync::mpsc;

use crate::error::Error;
use crate::repository::{Access, Repository, Wanted};
use crate::retry;
use crate::transport::innermost;

/// Pieces that wait between the stream and a blocking reader: each may be some hundred kilobytes.
pub(crate) const PIECES: usize = 8;
/// Progress that makes up for a failure.
const PROGRESS: u64 = 64 << 10;

/// The bytes of a blob, from where they were asked for. They end with an error or are as many as was said; that they are the
/// right ones is for the one who takes them in to check.
pub struct BlobStream {
    inner: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream").finish_non_exhaustive()
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.poll_next_unpin(context)
    }
}

struct Download {
    repository: Repository,
    digest: Digest,
    size: u64,
    at: u64,
    /// Where the last failure was.
    failed_at: u64,
    failures: u32,
    response: Option<Response>,
    /// Read already, and not given yet.
    pending: Option<Bytes>,
    over: bool,
}

impl Repository {
    /// A blob of this size from this byte on. Nobody is asked before the stream is read.
    #[must_use]
    pub fn blob(&self, digest: Digest, size: u64, from: u64) -> BlobStream {
        let download = Download {
            repository: self.clone(),
            digest,
            size,
            at: from,
            failed_at: from,
            failures: 0,
            response: None,
            pending: None,
            over: false,
        };
        let inner = stream::unfold(download, |mut download| async move {
            if download.over {
                return None;
            }
            match download.next().await {
                Ok(Some(piece)) => Some((Ok(piece), download)),
                Ok(None) => None,
                Err(error) => {
                    download.over = true;
                    Some((Err(error), download))
                }
            }
        });
        BlobStream { inner: Box::pin(inner) }
    }

    /// A small blob as a whole (an image's configuration), checked.
    pub async fn whole_blob(&self, digest: Digest, size: u64, limit: u64) -> Result<Bytes, Error> {
        let url = format!("{}/{}@{digest}", self.domain(), self.path());
        if size > limit {
            return Err(Error::TooLarge { what: "the blob", url, limit });
        }
        let mut bytes = bytes::BytesMut::new();
        let mut stream = self.blob(digest, size, 0);
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        let actual = Digest::from_sha256(sha2::Sha256::digest(&bytes).into());
        if actual == digest {
            Ok(bytes.freeze())
        } else {
            Err(Error::WrongDigest { url, expected: digest, actual })
        }
    }

    /// The size of a blob that the registry has in this repository.
    pub async fn has_blob(&self, digest: Digest) -> Result<Option<u64>, Error> {
        self.has_blob_for(Access::Pull, digest).await
    }

    pub(crate) async fn has_blob_for(&self, access: Access, digest: Digest) -> Result<Option<u64>, Error> {
        match self.ask(access, &format!("blobs/{digest}"), &Wanted::new(Method::HEAD)).await {
            Ok(response) => {
                let length = response.headers().get(reqwest::header::CONTENT_LENGTH);
                Ok(Some(length.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)))
            }
            Err(Error::Refused(refusal)) if refusal.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.at >= self.size {
                return Ok(None);
            }
            let error = match self.piece().await {
                Ok(piece) => return Ok(Some(piece)),
                Err(error) => error,
            };
            self.response = None;
            self.pending = None;
            if self.at >= self.failed_at + PROGRESS {
                self.failures = 0;
            }
            self.failed_at = self.at;
            self.failures += 1;
            if !error.may_pass() || self.failures >= self.repository.attempts() {
                return Err(error);
            }
            tracing::debug!("{} at byte {}: {error}; going on", self.digest, self.at);
            tokio::time::sleep(retry::pause(self.failures)).await;
        }
    }

    /// The next piece of what is missing.
    async fn piece(&mut self) -> Result<Bytes, Error> {
        let patience = self.repository.patience().silence;
        let response = match &mut self.response {
            Some(response) => response,
            None => {
                let response = self.open().await?;
                self.response.insert(response)
            }
        };
        let broken = |response: &Response, reason: String| Error::Unreachable {
            method: "GET",
            url: response.url().to_string(),
            reason,
            reached: true,
        };
        let piece = match self.pending.take() {
            Some(piece) => piece,
            None => match tokio::time::timeout(patience, response.chunk()).await {
                Err(_elapsed) => {
                    return Err(broken(response, format!("no byte for {} s", patience.as_secs())));
                }
                Ok(Err(error)) => return Err(broken(response, innermost(&error))),
                Ok(Ok(None)) => {
                    let reason = format!("the answer ended at byte {} of {}", self.at, self.size);
                    return Err(broken(response, reason));
                }
                Ok(Ok(Some(piece))) => piece,
            },
        };
        let actual = self.at + piece.len() as u64;
        if actual > self.size {
            let url = response.url().to_string();
            return Err(Error::WrongLength { url, expected: self.size, actual });
        }
        self.at = actual;
        Ok(piece)
    }

    /// Asks for what is missing.
    async fn open(&mut self) -> Result<Response, Error> {
        let mut wanted = Wanted::new(Method::GET);
        // A blob is what its digest says; nobody is to pack it once more.
        wanted.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.at > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.at));
            wanted.headers.insert(RANGE, range.unwrap_or_else(|_never| HeaderValue::from_static("bytes=0-")));
        }
        let mut response =
            self.repository.ask(Access::Pull, &format!("blobs/{}", self.digest), &wanted).await?;
        let url = response.url().to_string();
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            let start: Option<u64> =
                range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok());
            if start != Some(self.at) {
                let reason =
                    format!("asked for bytes from {}, it gives {}", self.at, range.unwrap_or("others"));
                return Err(Error::Protocol { url, reason });
            }
            return Ok(response);
        }
        if let Some(length) = response.content_length()
            && length != self.size
        {
            return Err(Error::WrongLength { url, expected: self.size, actual: length });
        }
        // It knows no ranges: what is here already is read once more and thrown away.
        let mut skip = self.at;
        let patience = self.repository.patience().silence;
        while skip > 0 {
            let broken =
                |reason| Error::Unreachable { method: "GET", url: url.clone(), reason, reached: true };
            let piece = tokio::time::timeout(patience, response.chunk())
                .await
                .map_err(|_elapsed| broken(format!("no byte for {} s", patience.as_secs())))?
                .map_err(|error| broken(innermost(&error)))?
                .ok_or_else(|| broken("the answer ended early".to_owned()))?;
            let length = piece.len() as u64;
            if length > skip {
                self.pending = Some(piece.slice(usize::try_from(skip).unwrap_or(0)..));
                return Ok(response);
            }
            skip -= length;
        }
        Ok(response)
    }
}

/// Reads a stream from blocking code. Bytes are fetched ahead, a bounded way.
#[derive(Debug)]
pub struct BlobReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl BlobReader {
    /// Starts reading ahead. Must be called within a tokio runtime, and read outside of it. Dropping the reader ends the stream.
    #[must_use]
    pub fn new(mut stream: BlobStream) -> Self {
        let (send, pieces) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            loop {
                let piece = tokio::select! {
                    piece = stream.next() => piece,
                    () = send.closed() => return,
                };
                let Some(piece) = piece else { return };
                let piece = piece.map_err(io::Error::other);
                let last = piece.is_err();
                if send.send(piece).await.is_err() || last {
                    return;
                }
            }
        });
        Self::from_pieces(pieces)
    }

    /// Reads what comes through a channel; its end, or the first error, is the end.
    #[must_use]
    pub fn from_pieces(pieces: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { pieces, current: Bytes::new() }
    }
}

impl Read for BlobReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(out.len());
        self.current.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}
