//! A request's body, which is read to its end even when nobody wants the rest.
//!
//! A client writes before it reads. When the engine answers early (a refusal, or an archive whose end comes before the body's)
//! and closes, the client's next write fails with `EPIPE`, and it tells of a broken pipe instead of the answer it was given. So
//! a body that is dropped half read is drained beside the answer; the connection can then be used again, too.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long a client may go on sending what nobody reads.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Upload {
    body: Option<Incoming>,
    /// Whether the client sends without being asked to: one with `Expect: 100-continue` waits for the first read.
    flows: bool,
}

impl Upload {
    pub(crate) fn new(body: Incoming, headers: &HeaderMap) -> Self {
        Self { body: Some(body), flows: !headers.contains_key(EXPECT) }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.flows = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        if body.is_end_stream() || !self.flows {
            return;
        }
        // Without a runtime the engine is at its end, and the connection with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime
                .spawn(timeout(PATIENCE, async move { while let Some(Ok(_frame)) = body.frame().await {} }));
        }
    }
}
