//! Where an engine is: the meaning of `-H`, `DOCKER_HOST` and a context's host.
//!
//! Only parsing; connecting is in `connection.rs`.

use std::fmt;
use std::path::PathBuf;

/// An address that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EndpointError {
    #[error("invalid bind address format: {0}")]
    Format(String),
    #[error(
        "{0}: engines over SSH are not built yet; forward the remote socket with \
         `ssh -L /tmp/engine.sock:/run/minke/minke.sock HOST` and use -H unix:///tmp/engine.sock"
    )]
    Ssh(String),
    #[error("{0}: fd:// is for the engine's own sockets; a client needs unix:// or tcp://")]
    Descriptor(String),
    #[error("{0}: named pipes exist on Windows only; use unix:// or tcp://")]
    Pipe(String),
}

/// Files and habits of a TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Check the engine's certificate; without it any is taken, as docker's `--tls` does.
    pub verify: bool,
}

/// An engine's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp { host: String, port: u16, tls: Option<TlsFiles> },
}

/// minke's own socket.
pub const DEFAULT_SOCKET: &str = "/run/minke/minke.sock";

impl Endpoint {
    /// Reads an address; `tls` applies to TCP.
    pub fn parse(text: &str, tls: Option<TlsFiles>) -> Result<Endpoint, EndpointError> {
        let text = text.trim();
        let bad = || EndpointError::Format(text.to_owned());
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.is_empty() => Ok(Endpoint::Unix(DEFAULT_SOCKET.into())),
            "unix" => Ok(Endpoint::Unix(rest.into())),
            "tcp" | "http" | "https" => {
                let authority = rest.split('/').next().unwrap_or_default();
                let tls = if scheme == "https" { Some(tls.unwrap_or_default()) } else { tls };
                let default = if tls.is_some() { 2376 } else { 2375 };
                let (host, port) = split_port(authority).ok_or_else(bad)?;
                let host = if host.is_empty() { "127.0.0.1" } else { host };
                if host.contains(char::is_whitespace) {
                    return Err(bad());
                }
                Ok(Endpoint::Tcp { host: host.to_owned(), port: port.unwrap_or(default), tls })
            }
            "ssh" => Err(EndpointError::Ssh(text.to_owned())),
            "fd" => Err(EndpointError::Descriptor(text.to_owned())),
            "npipe" => Err(EndpointError::Pipe(text.to_owned())),
            _ => Err(bad()),
        }
    }
}

/// `host`, `host:port`, `[v6]:port`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, tail) = rest.split_once(']')?;
        return match tail.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None if tail.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Tcp { host, port, .. } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Endpoint::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
        }
    }
}
