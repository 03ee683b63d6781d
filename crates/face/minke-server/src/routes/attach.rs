//! Joining a container's streams: hijacked, or over a websocket.

use std::sync::Arc;

use minke_engine::containers::{AttachOptions, Streams};

use crate::http::answer::Outcome;
use crate::http::hijack::{Hijack, Wire, head};
use crate::http::{Call, Failure, websocket};
use crate::serve::Shared;

fn options(call: &Call, all_streams: bool) -> AttachOptions {
    AttachOptions {
        streams: Streams {
            stdin: all_streams || call.query.flag("stdin"),
            stdout: all_streams || call.query.flag("stdout"),
            stderr: all_streams || call.query.flag("stderr"),
        },
        logs: call.query.flag("logs"),
        stream: call.query.flag("stream"),
        detach_keys: call.query.text("detachKeys").map(str::to_owned),
    }
}

pub(super) fn attach(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let containers = Arc::clone(&shared.engine.containers);
    let accepted = containers.accept_attach(name, options(call, false))?;
    let head = head(call, accepted.tty, &shared.common_text);
    Ok(Hijack::new(head, Wire::Raw, move |client| async move {
        if let Err(error) = containers.attach(accepted, client).await {
            tracing::warn!("attach: {error}");
        }
    })
    .into())
}

pub(super) fn attach_websocket(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let key = call.header("sec-websocket-key");
    if !call.header("upgrade").eq_ignore_ascii_case("websocket") || key.is_empty() {
        return Err(Failure::invalid("not a websocket handshake"));
    }
    if call.header("sec-websocket-version") != "13" {
        return Err(Failure::invalid("only version 13 of websockets is spoken"));
    }
    let containers = Arc::clone(&shared.engine.containers);
    // Until 1.41 the stream parameters were not looked at.
    let mut options = options(call, call.version.before(42));
    options.stream = true;
    let accepted = containers.accept_attach(name, options)?;
    let accept = websocket::accept_key(key);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    let wire = Wire::WebSocket { framed: !accepted.tty };
    Ok(Hijack::new(head.into_bytes(), wire, move |client| async move {
        if let Err(error) = containers.attach(accepted, client).await {
            tracing::warn!("attach over a websocket: {error}");
        }
    })
    .into())
}
