//! Connections that stop being HTTP: attach, exec and run take the raw socket.
//!
//! Docker answers with `101` when the client asked for an upgrade and with a bare `200` when it did not, and in both cases the
//! bytes after the head are the stream. So the server does not use hyper's upgrades (which know only the first): an endpoint
//! answers with a [`Hijack`], the connection's task takes the socket and what was read ahead out of hyper, writes the head
//! itself, and hands the socket on. See `serve.rs`.

use std::future::Future;
use std::pin::Pin;

use minke_api::compat::streams::content_type;
use minke_engine::containers::ClientStream;

use super::{Answer, Call};

type Then = Box<dyn FnOnce(ClientStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

pub(crate) struct Hijack {
    /// Written before the socket is handed on.
    pub(crate) head: Vec<u8>,
    pub(crate) wire: Wire,
    pub(crate) then: Then,
}

/// How the client packs the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Raw,
    /// Websocket messages; `framed`: the engine's side is in stdcopy frames.
    WebSocket {
        framed: bool,
    },
}

impl std::fmt::Debug for Hijack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hijack").field("wire", &self.wire).finish_non_exhaustive()
    }
}

impl Hijack {
    pub(crate) fn new<F>(
        head: Vec<u8>,
        wire: Wire,
        then: impl FnOnce(ClientStream) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { head, wire, then: Box::new(move |client| Box::pin(then(client))) }
    }
}

impl From<Hijack> for Answer {
    fn from(hijack: Hijack) -> Self {
        Self::Hijack(hijack)
    }
}

/// The head before a stream of attach or exec; `common` are the headers of every answer.
pub(crate) fn head(call: &Call, tty: bool, common: &str) -> Vec<u8> {
    if call.wants_upgrade() {
        let content_type = content_type(call.version, tty);
        format!(
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n{common}\r\n"
        )
        .into_bytes()
    } else {
        b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n".to_vec()
    }
}
