//! Requests and answers: connections by host, redirects, and what an error of the wire is called.
//!
//! Redirects are followed here and not by the HTTP library, as each hop decides anew which certificates count, and as credentials
//! stay with the host they were meant for.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, Response, Url};

use crate::certificates;
use crate::endpoint::is_insecure;
use crate::error::{ApiError, Error, Refusal};
use crate::resolve::Resolver;
use crate::settings::{Patience, Settings};

const MAX_REDIRECTS: usize = 10;
const CONNECT: Duration = Duration::from_secs(30);
const MAX_ERROR: u64 = 64 << 10;
const MAX_CLIENTS: usize = 32;

/// One request.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) body: Option<Body>,
    /// The host may show any certificate.
    pub(crate) unverified: bool,
}

impl Ask {
    pub(crate) fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), authorization: None, body: None, unverified: false }
    }
}

/// The connections.
#[derive(Debug)]
pub(crate) struct Web {
    settings: Settings,
    proxies: Vec<reqwest::Proxy>,
    clients: Mutex<HashMap<String, reqwest::Client>>,
}

impl Web {
    pub(crate) fn new(settings: Settings, proxies: Vec<reqwest::Proxy>) -> Self {
        Self { settings, proxies, clients: Mutex::default() }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Asks, and follows redirects of questions (GET, HEAD). The answer may have any status.
    pub(crate) async fn ask(&self, mut ask: Ask) -> Result<Response, Error> {
        let question = ask.body.is_none() && matches!(ask.method, Method::GET | Method::HEAD);
        let first = ask.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let next = question.then(|| Ask {
                method: ask.method.clone(),
                url: ask.url.clone(),
                headers: ask.headers.clone(),
                authorization: ask.authorization.clone(),
                body: None,
                unverified: ask.unverified,
            });
            let response = self.send(ask).await?;
            let Some(next) = next.filter(|_| response.status().is_redirection()) else { return Ok(response) };
            let Some(target) = location(&response)? else { return Ok(response) };
            ask = self.redirected(next, target)?;
        }
        Err(Error::Redirects { url: first.to_string() })
    }

    /// Whether an address that a registry names may do without proof of who answers there.
    pub(crate) fn is_insecure(&self, url: &Url) -> bool {
        let address = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
        is_insecure(&authority(url), address.as_slice(), &self.settings)
    }

    fn redirected(&self, mut ask: Ask, target: Url) -> Result<Ask, Error> {
        if !matches!(target.scheme(), "http" | "https") {
            return Err(Error::BadUrl { url: target.to_string() });
        }
        if target.origin() != ask.url.origin() {
            // Whatever was meant for that host stays with it.
            ask.authorization = None;
            ask.unverified = self.is_insecure(&target);
            if ask.url.scheme() == "https" && target.scheme() == "http" && !ask.unverified {
                return Err(Error::Downgrade { url: ask.url.to_string(), target: target.to_string() });
            }
        }
        ask.url = target;
        Ok(ask)
    }

    /// One request, one answer.
    async fn send(&self, ask: Ask) -> Result<Response, Error> {
        let method = name_of(&ask.method);
        let url = ask.url.clone();
        let client = self.client(&ask.url, ask.unverified)?;
        let patience = self.settings.patience;
        let patience = if ask.body.is_some() { patience.settling } else { patience.answer };
        let question = ask.body.is_none();
        let build = |body: Option<Body>| {
            let mut request =
                client.request(ask.method.clone(), ask.url.clone()).headers(ask.headers.clone());
            if let Some(mut authorization) = ask.authorization.clone() {
                authorization.set_sensitive(true);
                request = request.header(AUTHORIZATION, authorization);
            }
            match body {
                Some(body) => request.body(body),
                None => request,
            }
        };
        let streamed = ask.body.as_ref().is_some_and(|body| body.as_bytes().is_none());
        if streamed {
            // Who sends the body watches over it.
            let answered = build(ask.body).send().await;
            return answered.map_err(|error| unreachable(method, &url, &error));
        }
        let asking = async {
            match build(ask.body).send().await {
                // A connection from before that was ended, or broke the rules, is gone now: a question is asked once more.
                Err(error) if question && !error.is_connect() => {
                    tracing::debug!("{method} {url}: {}; once more", innermost(&error));
                    build(None).send().await
                }
                answered => answered,
            }
        };
        let answered = match tokio::time::timeout(patience, asking).await {
            Ok(answered) => answered,
            Err(_elapsed) => {
                let reason = format!("no answer for {} s", patience.as_secs());
                return Err(Error::Unreachable { method, url: url.to_string(), reason, reached: true });
            }
        };
        answered.map_err(|error| unreachable(method, &url, &error))
    }

    fn client(&self, url: &Url, unverified: bool) -> Result<reqwest::Client, Error> {
        let host = authority(url);
        let plain = url.scheme() == "http";
        let mut directories = Vec::new();
        if !plain {
            let roots = &self.settings.certificates;
            directories = certificates::directories(&host, roots);
            if url.port().is_none() {
                directories.extend(certificates::directories(&format!("{host}:443"), roots));
            }
        }
        let key = if plain {
            "http".to_owned()
        } else if directories.is_empty() {
            format!("https {unverified}")
        } else {
            format!("{host} {unverified}{}", fingerprint(&directories))
        };
        if let Some(client) = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(client.clone());
        }
        // Connections without TLS need no authorities, but the library wants settings.
        let tls = certificates::tls_config(&host, &directories, unverified || plain)?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(&self.settings.user_agent)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(Duration::from_secs(20))
            .tcp_user_timeout(Duration::from_secs(60))
            .dns_resolver(Resolver)
            .http1_only()
            .no_proxy();
        for proxy in &self.proxies {
            builder = builder.proxy(proxy.clone());
        }
        let client =
            builder.build().map_err(|error| Error::Certificates { host, reason: innermost(&error) })?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// What the directories hold, as far as files change when people change them.
fn fingerprint(directories: &[PathBuf]) -> String {
    let mut text = String::new();
    for directory in directories {
        let mut files: Vec<_> = std::fs::read_dir(directory).into_iter().flatten().flatten().collect();
        files.sort_by_key(std::fs::DirEntry::path);
        for file in files {
            if let Ok(facts) = file.metadata() {
                let (path, size) = (file.path(), facts.len());
                text += &format!(" {} {size} {}.{}", path.display(), facts.mtime(), facts.mtime_nsec());
            }
        }
    }
    text
}

/// `host` or `host:port`, as references and `certs.d` write it.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Where an answer points, relative to where it came from.
pub(crate) fn location(response: &Response) -> Result<Option<Url>, Error> {
    let Some(location) = response.headers().get(LOCATION) else { return Ok(None) };
    let bad = || Error::Protocol {
        url: response.url().to_string(),
        reason: "the Location of its answer is no address".to_owned(),
    };
    let text = location.to_str().map_err(|_source| bad())?;
    response.url().join(text).map(Some).map_err(|_source| bad())
}

pub(crate) fn name_of(method: &Method) -> &'static str {
    match method.as_str() {
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "GET",
    }
}

/// Reads an answer's body, which may not be longer than this.
pub(crate) async fn read(
    response: Response,
    what: &'static str,
    limit: u64,
    patience: Patience,
) -> Result<Bytes, Error> {
    let url = response.url().clone();
    match read_start(response, limit, patience).await? {
        (bytes, true) => Ok(bytes),
        (_, false) => Err(Error::TooLarge { what, url: url.to_string(), limit }),
    }
}

/// The body up to a limit, and whether that was all.
async fn read_start(mut response: Response, limit: u64, patience: Patience) -> Result<(Bytes, bool), Error> {
    let url = response.url().clone();
    if response.content_length().is_some_and(|length| length > limit) {
        return Ok((Bytes::new(), false));
    }
    let mut bytes = BytesMut::new();
    let end = tokio::time::Instant::now() + patience.document;
    loop {
        let wait = patience.silence.min(end.saturating_duration_since(tokio::time::Instant::now()));
        let piece = tokio::time::timeout(wait, response.chunk()).await;
        let broken =
            |reason| Error::Unreachable { method: "GET", url: url.to_string(), reason, reached: true };
        match piece {
            Err(_elapsed) => return Err(broken("it comes too slowly".to_owned())),
            Ok(Err(error)) => return Err(broken(innermost(&error))),
            Ok(Ok(None)) => return Ok((bytes.freeze(), true)),
            Ok(Ok(Some(piece))) => {
                if (bytes.len() + piece.len()) as u64 > limit {
                    return Ok((bytes.freeze(), false));
                }
                bytes.extend_from_slice(&piece);
            }
        }
    }
}

/// What a registry says about an answer that is not what was asked for.
pub(crate) async fn refusal(method: &Method, response: Response, patience: Patience) -> Error {
    #[derive(serde::Deserialize)]
    struct Document {
        #[serde(default)]
        errors: Vec<ApiError>,
        /// The form of token servers and of clouds.
        #[serde(default)]
        details: String,
        #[serde(default)]
        message: String,
    }
    let (status, url) = (response.status().as_u16(), response.url().to_string());
    let mut errors = Vec::new();
    if let Ok((bytes, true)) = read_start(response, MAX_ERROR, patience).await
        && let Ok(document) = serde_json::from_slice::<Document>(&bytes)
    {
        errors = document.errors;
        let text = if document.details.is_empty() { document.message } else { document.details };
        if errors.is_empty() && !text.is_empty() {
            let code = if status == 401 { "UNAUTHORIZED" } else { "" };
            errors.push(ApiError { code: code.to_owned(), message: text });
        }
    }
    Error::Refused(Refusal { method: name_of(method), url, status, errors })
}

/// Names what went wrong on the wire, in Go's words where people know them.
pub(crate) fn unreachable(method: &'static str, url: &Url, error: &reqwest::Error) -> Error {
    let reached = !error.is_connect();
    Error::Unreachable { method, url: url.to_string(), reason: reason(url, error), reached }
}

fn reason(url: &Url, error: &reqwest::Error) -> String {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = at {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref());
        if let Some(tls) = tls {
            return tls_reason(tls);
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            let host = url.host_str().unwrap_or_default();
            let port = url.port_or_known_default().unwrap_or_default();
            return format!("dial tcp {host}:{port}: connect: connection refused");
        }
        at = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    let innermost = innermost(error);
    if innermost.starts_with("lookup ") { format!("dial tcp: {innermost}") } else { innermost }
}

fn tls_reason(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error};
    match error {
        Error::InvalidMessage(_) => "http: server gave HTTP response to HTTPS client".to_owned(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned()
        }
        Error::InvalidCertificate(why) => format!("tls: failed to verify certificate: {why}"),
        other => format!("tls: {other}"),
    }
}

/// The last of the reasons behind an error.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_keeps_secrets_at_home_and_does_not_leave_tls() {
        let web = Web::new(Settings::default(), Vec::new());
        let follow = |from: &str, to: &str| {
            let mut ask = Ask::get(from.parse().unwrap());
            ask.authorization = Some(HeaderValue::from_static("Basic eDp5"));
            web.redirected(ask, to.parse().unwrap())
        };
        let same = follow("https://r.example/v2/a", "https://r.example/v2/b").unwrap();
        assert!(same.authorization.is_some());
        for elsewhere in ["https://cdn.example/x", "https://r.example:8443/x", "http://127.0.0.1/x"] {
            let ask = follow("https://r.example/v2/a", elsewhere).unwrap();
            assert!(ask.authorization.is_none(), "{elsewhere}");
        }
        for bare in ["http://r.example/v2/a", "http://cdn.example/x"] {
            let refused = follow("https://r.example/v2/a", bare).unwrap_err();
            assert!(matches!(refused, Error::Downgrade { .. }), "{refused}");
        }
        for strange in ["file:///etc/passwd", "ftp://r.example/x", "unix:///run/x"] {
            let refused = follow("https://r.example/v2/a", strange).unwrap_err();
            assert!(matches!(refused, Error::BadUrl { .. }), "{refused}");
        }
    }
}
