//! Where the API is served: unix sockets, TCP with and without TLS, sockets that a service manager opened.

mod accept;
mod address;
mod inherited;
mod tls;
mod unix;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

pub(crate) use accept::serve;
pub(crate) use address::Address;
pub(crate) use tls::TlsFiles;
pub(crate) use unix::{group_id, is_served};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("{0:?} is no address to listen on: want unix://PATH, tcp://HOST:PORT or fd://")]
    BadAddress(String),
    #[error("listen on unix://{}: another daemon serves this socket", path.display())]
    Served { path: PathBuf },
    #[error("listen on unix://{}: something that is no socket is there", path.display())]
    NotASocket { path: PathBuf },
    #[error("listen on unix://{}: the path is longer than the 107 bytes that a socket's name may have", path.display())]
    TooLong { path: PathBuf },
    #[error("listen on unix://{}", path.display())]
    Unix { path: PathBuf, source: std::io::Error },
    #[error("listen on tcp://{address}")]
    Tcp { address: String, source: std::io::Error },
    #[error(
        "listen on tcp://{0}: whoever reaches an API without TLS is root on this host; \
         use --tlsverify, or force it with --tls=false"
    )]
    PlainBeyondLoopback(String),
    #[error("listen on fd://: {0}")]
    Inherited(String),
    #[error("read {what} {}", path.display())]
    TlsFile { what: &'static str, path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("--{0} is needed for TLS")]
    TlsMissing(&'static str),
    #[error("set up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A socket that takes connections.
pub(crate) enum Listener {
    Unix { listener: std::os::unix::net::UnixListener, path: Option<PathBuf> },
    Tcp(std::net::TcpListener),
    Tls(std::net::TcpListener, TlsAcceptor),
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix { path, .. } => write!(f, "Unix({path:?})"),
            Self::Tcp(listener) => write!(f, "Tcp({listener:?})"),
            Self::Tls(listener, _) => write!(f, "Tls({listener:?})"),
        }
    }
}

impl Listener {
    /// The socket's file, to be removed at the end when it is ours.
    pub(crate) fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Unix { path, .. } => path.as_ref(),
            _ => None,
        }
    }
}

/// How TCP is protected.
#[derive(Debug, Clone, Default)]
pub(crate) struct Protection {
    pub(crate) tls: Option<TlsFiles>,
    /// Plain TCP beyond loopback was asked for in so many words.
    pub(crate) force_plain: bool,
}

/// Opens the sockets of an address.
pub(crate) fn open(
    address: &Address,
    group: Option<&str>,
    protection: &Protection,
) -> Result<Vec<Listener>, ListenError> {
    match address {
        Address::Unix(path) => {
            let listener = unix::bind(path, unix::group_id(group))?;
            Ok(vec![Listener::Unix { listener, path: Some(path.clone()) }])
        }
        Address::Tcp(name) => {
            let failed = |source| ListenError::Tcp { address: name.clone(), source };
            let addresses: Vec<std::net::SocketAddr> =
                std::net::ToSocketAddrs::to_socket_addrs(name.as_str()).map_err(failed)?.collect();
            let Some(tls) = &protection.tls else {
                if !protection.force_plain && addresses.iter().any(|address| !address.ip().is_loopback()) {
                    return Err(ListenError::PlainBeyondLoopback(name.clone()));
                }
                return Ok(vec![Listener::Tcp(std::net::TcpListener::bind(&addresses[..]).map_err(failed)?)]);
            };
            let acceptor = TlsAcceptor::from(Arc::new(tls.server_config()?));
            Ok(vec![Listener::Tls(std::net::TcpListener::bind(&addresses[..]).map_err(failed)?, acceptor)])
        }
        Address::Inherited(name) => inherited::take(name, protection),
    }
}
