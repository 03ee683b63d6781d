//! Connections: HTTP on each until an endpoint takes the raw socket.
//!
//! One task per connection runs everything, the request's handler included, so an answer needs no hop between tasks. The
//! engine's headers are put on here, and the version in the path is read here.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use minke_api::{ApiVersion, ErrorResponse, texts};
use minke_engine::Engine;
use minke_engine::containers::ClientStream;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::UnixStream;

use crate::http::hijack::{Hijack, Wire};
use crate::http::query::{Query, segments};
use crate::http::socket::Socket;
use crate::http::upload::Upload;
use crate::http::{Answer, Body, Call, answer, websocket};
use crate::rest::Rest;
use crate::routes;
use crate::settings::Settings;
use crate::work::Work;

/// A connection over the network that sends no request for so long is closed.
const IDLE: Duration = Duration::from_secs(300);

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    /// Replaced as a whole when the configuration is read again.
    settings: RwLock<Arc<Settings>>,
    pub(crate) work: Work,
    pub(crate) rest: Arc<Rest>,
    /// Headers of every answer.
    common: Vec<(HeaderName, HeaderValue)>,
    /// The same as text, for heads that are written by hand.
    pub(crate) common_text: String,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(engine: Engine, settings: Settings) -> Arc<Self> {
        routes::wire(&engine);
        let server = format!("Minke/{} (linux)", settings.version);
        let pairs = [
            ("Api-Version", ApiVersion::MAX.to_string()),
            ("Docker-Experimental", settings.experimental.to_string()),
            ("Ostype", "linux".to_owned()),
            ("Server", server),
        ];
        let common_text = pairs.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let common = pairs
            .into_iter()
            .filter_map(|(name, value)| {
                Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::try_from(value).ok()?))
            })
            .collect();
        let settings = RwLock::new(Arc::new(settings));
        Arc::new(Self { engine, settings, work: Work::default(), rest: Arc::default(), common, common_text })
    }

    /// As they are now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}

/// Where a handler leaves the word that it wants the socket.
type Slot = Arc<Mutex<Option<Hijack>>>;

fn lock(slot: &Slot) -> std::sync::MutexGuard<'_, Option<Hijack>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one client until it leaves or an endpoint takes its socket.
pub(crate) async fn connection(shared: Arc<Shared>, socket: Socket) {
    let slot = Slot::default();
    let service = service_fn({
        let (shared, slot) = (Arc::clone(&shared), Arc::clone(&slot));
        move |request| {
            shared.rest.stir();
            let (shared, slot) = (Arc::clone(&shared), Arc::clone(&slot));
            // On the heap: the future of the largest handler would else be part of every connection.
            Box::pin(async move { respond(&shared, &slot, request).await })
        }
    });
    let mut builder = http1::Builder::new();
    builder.title_case_headers(true);
    if matches!(socket, Socket::Unix(_)) {
        builder.header_read_timeout(None);
    } else {
        builder.timer(TokioTimer::new()).header_read_timeout(IDLE);
    }
    let mut http = builder.serve_connection(TokioIo::new(socket), service);
    let hijack = poll_fn(|cx| match Pin::new(&mut http).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(None),
        Poll::Ready(Err(error)) => {
            tracing::debug!("connection: {error}");
            Poll::Ready(None)
        }
        // The handler ran inside this poll; it leaves a hijack and never gives a response.
        Poll::Pending => match lock(&slot).take() {
            Some(hijack) => Poll::Ready(Some(hijack)),
            None => Poll::Pending,
        },
    })
    .await;
    if let Some(hijack) = hijack {
        let parts = http.into_parts();
        if let Err(error) = hand_over(parts.io.into_inner(), parts.read_buf.to_vec(), hijack).await {
            tracing::debug!("hijacked connection: {error}");
        }
    }
}

/// Writes the head and gives the socket to the engine: itself when its bytes are what the client sees, else one end of a pair
/// with a shuttle between.
async fn hand_over(mut socket: Socket, early: Vec<u8>, hijack: Hijack) -> io::Result<()> {
    let Hijack { head, wire, then } = hijack;
    socket.write_all(&head).await?;
    socket.flush().await?;
    let mut socket = match wire {
        Wire::Raw => match socket.into_fd() {
            Ok(fd) => {
                then(ClientStream { socket: fd?, early }).await;
                return Ok(());
            }
            Err(socket) => socket,
        },
        Wire::WebSocket { .. } => socket,
    };
    let (mut ours, theirs) = UnixStream::pair()?;
    let theirs = OwnedFd::from(theirs.into_std()?);
    let shuttle = async {
        match wire {
            Wire::Raw => {
                ours.write_all(&early).await?;
                copy_bidirectional(&mut socket, &mut ours).await.map(drop)
            }
            Wire::WebSocket { framed } => websocket::shuttle(socket, early, ours, framed).await,
        }
    };
    let ((), result) = tokio::join!(then(ClientStream { socket: theirs, early: Vec::new() }), shuttle);
    result
}

async fn respond(
    shared: &Shared,
    slot: &Slot,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let head = request.method() == Method::HEAD;
    let answer = match answer_to(shared, request).await {
        Ok(answer) => answer,
        // The router's own 404 and redirects carry none of the engine's headers, as with Docker.
        Err(plain) => return Ok(plain),
    };
    let mut response = match answer {
        Answer::Http(response) => response,
        Answer::Hijack(hijack) => {
            *lock(slot) = Some(hijack);
            // The connection's task finds the hijack when this poll returns, and drops this future with the connection.
            return std::future::pending().await;
        }
    };
    for (name, value) in &shared.common {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    if head {
        *response.body_mut() = Body::Empty;
        response.headers_mut().insert(hyper::header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(response)
}

async fn answer_to(shared: &Shared, request: Request<Incoming>) -> Result<Answer, Response<Body>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path.contains("//") {
        return Err(redirect(path, parts.uri.query()));
    }
    let segments = segments(path);
    let mut path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let mut version = ApiVersion::MAX;
    if let Some(wanted) = path.first().and_then(|first| version_of(first)) {
        match check_version(wanted) {
            Ok(checked) => version = checked,
            Err(refusal) => return Ok((*refusal).into()),
        }
        path.remove(0);
    }
    let call = Call {
        method: parts.method,
        version,
        query: Query::parse(parts.uri.query().unwrap_or("")),
        body: Upload::new(body, &parts.headers),
        headers: parts.headers,
    };
    tracing::debug!(method = %call.method, path = %parts.uri.path(), "request");
    match routes::dispatch(shared, call, &path).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(failure)) => Ok(failure.into_response().into()),
        Err(routes::NoPage) => {
            Err(answer::json_response(StatusCode::NOT_FOUND, &ErrorResponse::new(texts::PAGE_NOT_FOUND)))
        }
    }
}

/// `v1.44` → `1.44`; anything but digits and dots is no version but a page's name.
fn version_of(segment: &str) -> Option<&str> {
    let number = segment.strip_prefix('v')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')).then_some(number)
}

fn check_version(wanted: &str) -> Result<ApiVersion, Box<Response<Body>>> {
    match wanted.parse::<ApiVersion>() {
        Ok(version) if version < ApiVersion::MIN => {
            // Clients of that time did not know JSON errors.
            let text = format!("{}\n", texts::too_old(wanted));
            Err(Box::new(answer::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", text)))
        }
        Ok(version) if version <= ApiVersion::MAX => Ok(version),
        _ => {
            let error = ErrorResponse::new(texts::too_new(wanted));
            Err(Box::new(answer::json_response(StatusCode::BAD_REQUEST, &error)))
        }
    }
}

fn redirect(path: &str, query: Option<&str>) -> Response<Body> {
    let mut clean = String::with_capacity(path.len());
    for piece in path.split('/').filter(|piece| !piece.is_empty()) {
        clean.push('/');
        clean.push_str(piece);
    }
    if let Some(query) = query {
        clean.push('?');
        clean.push_str(query);
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::try_from(clean) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_digits_and_dots() {
        assert_eq!(version_of("v1.44"), Some("1.44"));
        assert_eq!(version_of("v1.x"), None);
        assert_eq!(version_of("volumes"), None);
        assert_eq!(version_of("v"), None);
    }

    #[test]
    fn versions_outside_the_range_are_refused() {
        assert_eq!(check_version("1.24").unwrap(), ApiVersion::MIN);
        assert_eq!(check_version("1.99").unwrap_err().status(), StatusCode::BAD_REQUEST);
        let old = check_version("1.23").unwrap_err();
        assert_eq!(old.headers()["content-type"], "text/plain; charset=utf-8");
    }

    #[test]
    fn doubled_slashes_are_redirected() {
        assert_eq!(redirect("/v1.51//info", Some("a=1")).headers()["location"], "/v1.51/info?a=1");
    }
}
