//! Downloads for `import URL`: HTTP and HTTPS with the roots of the web, names resolved by a resolver of our own (never NSS,
//! which a static binary cannot have).

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hickory_resolver::TokioResolver;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use minke_base::Kind;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http::blocking::BodyReader;

const MAX_REDIRECTS: usize = 10;
const CONNECT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("import from {url:?}: want an http:// or https:// address")]
    BadUrl { url: String },
    #[error("look up {host}")]
    Resolve {
        host: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("connect to {host}: {source}")]
    Connect { host: String, source: io::Error },
    #[error("get {url}: {source}")]
    Http { url: String, source: hyper::Error },
    #[error("get {url}: the server answered {status}")]
    Status { url: String, status: StatusCode },
    #[error("get {url}: more than {MAX_REDIRECTS} redirects")]
    Redirects { url: String },
}

impl FetchError {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::BadUrl { .. } => Kind::InvalidParameter,
            Self::Status { status, .. } if *status == StatusCode::NOT_FOUND => Kind::NotFound,
            _ => Kind::System,
        }
    }
}

/// Opens the address, following redirects; the reader gives the body.
pub(crate) async fn open(url: &str) -> Result<impl Read + Send + use<>, FetchError> {
    let mut uri: Uri = url.parse().map_err(|_source| FetchError::BadUrl { url: url.to_owned() })?;
    for _ in 0..=MAX_REDIRECTS {
        let response = get(&uri).await?;
        let status = response.status();
        if status.is_redirection() {
            let bad = || FetchError::Status { url: uri.to_string(), status };
            let location =
                response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(bad)?;
            uri = join(&uri, location).ok_or_else(bad)?;
            continue;
        }
        if !status.is_success() {
            return Err(FetchError::Status { url: uri.to_string(), status });
        }
        return Ok(BodyReader::new(response.into_body()));
    }
    Err(FetchError::Redirects { url: url.to_owned() })
}

/// A redirect's target, which may be relative.
fn join(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    if location.contains("://") {
        location.parse().ok()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}").parse().ok()
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}").parse().ok()
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}").parse().ok()
    }
}

async fn get(uri: &Uri) -> Result<Response<Incoming>, FetchError> {
    let bad = || FetchError::BadUrl { url: uri.to_string() };
    let (host, authority) = (uri.host().ok_or_else(bad)?, uri.authority().ok_or_else(bad)?);
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(bad()),
    };
    let stream = connect(host, uri.port_u16().unwrap_or(if tls { 443 } else { 80 })).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, concat!("minke/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_source| bad())?;
    if !tls {
        return exchange(uri, stream, request).await;
    }
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_source| bad())?;
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|source| FetchError::Connect { host: host.to_owned(), source })?;
    exchange(uri, stream, request).await
}

async fn exchange<S>(
    uri: &Uri,
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |source| FetchError::Http { url: uri.to_string(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let at = uri.to_string();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("get {at}: {error}");
        }
    });
    sender.send_request(request).await.map_err(failed)
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, FetchError> {
    let mut last = None;
    for address in resolve(host).await? {
        match tokio::time::timeout(CONNECT, TcpStream::connect(SocketAddr::new(address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(error),
            Err(_elapsed) => last = Some(io::ErrorKind::TimedOut.into()),
        }
    }
    let source = last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address"));
    Err(FetchError::Connect { host: host.to_owned(), source })
}

async fn resolve(host: &str) -> Result<Vec<IpAddr>, FetchError> {
    let bare = host.trim_matches(['[', ']']);
    if let Ok(address) = bare.parse() {
        return Ok(vec![address]);
    }
    if let Some(found) = lookup_hosts(&std::fs::read_to_string("/etc/hosts").unwrap_or_default(), bare) {
        return Ok(found);
    }
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| FetchError::Resolve {
        host: bare.to_owned(),
        source,
    };
    let resolver = TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|error| failed(Box::new(error)))?;
    let found = resolver.lookup_ip(bare).await.map_err(|error| failed(Box::new(error)))?;
    Ok(found.iter().collect())
}

/// The addresses that a hosts file gives a name.
fn lookup_hosts(file: &str, name: &str) -> Option<Vec<IpAddr>> {
    let found: Vec<IpAddr> = file
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_may_be_relative() {
        let base: Uri = "https://a.example/x/y".parse().unwrap();
        let joined = |location| join(&base, location).unwrap().to_string();
        assert_eq!(joined("http://b.example/z"), "http://b.example/z");
        assert_eq!(joined("//b.example/z"), "https://b.example/z");
        assert_eq!(joined("/z"), "https://a.example/z");
        assert_eq!(joined("z?q=1"), "https://a.example/x/z?q=1");
    }

    #[test]
    fn the_hosts_file_comes_first() {
        let file = "127.0.0.1 localhost # me\n::1 localhost ip6\n10.0.0.1\tMirror.lan mirror\n";
        assert_eq!(lookup_hosts(file, "localhost").unwrap().len(), 2);
        assert_eq!(lookup_hosts(file, "mirror.LAN"), Some(vec!["10.0.0.1".parse().unwrap()]));
        assert_eq!(lookup_hosts(file, "me"), None);
    }

    #[tokio::test]
    async fn other_schemes_are_refused() {
        let error = open("ftp://example.org/x").await.err().unwrap();
        assert_eq!(error.kind(), Kind::InvalidParameter);
    }
}
