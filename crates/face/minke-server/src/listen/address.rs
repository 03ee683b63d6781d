//! Addresses as `-H` takes them.

use std::path::PathBuf;
use std::str::FromStr;

use super::ListenError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    /// `fd://` (all), `fd://3`, `fd://name`.
    Inherited(String),
}

impl FromStr for Address {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let bad = || ListenError::BadAddress(text.to_owned());
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::Unix(PathBuf::from("/run/minke/minke.sock"))),
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "fd" => Ok(Self::Inherited(rest.trim_matches('*').to_owned())),
            "tcp" => {
                if rest.contains('/') || rest.is_empty() && text.is_empty() {
                    return Err(bad());
                }
                let (host, port) = match rest.rsplit_once(':') {
                    Some((host, port)) if !port.contains(']') => (host, port),
                    _ => (rest, ""),
                };
                let host = if host.is_empty() { "127.0.0.1" } else { host };
                let port: u16 = if port.is_empty() { 2375 } else { port.parse().map_err(|_source| bad())? };
                Ok(Self::Tcp(format!("{host}:{port}")))
            }
            _ => Err(bad()),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Inherited(name) => write!(f, "fd://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_docker_s_forms() {
        let parsed = |text: &str| text.parse::<Address>().map(|address| address.to_string()).ok();
        assert_eq!(parsed("unix:///x/y.sock").as_deref(), Some("unix:///x/y.sock"));
        assert_eq!(parsed("tcp://").as_deref(), Some("tcp://127.0.0.1:2375"));
        assert_eq!(parsed("tcp://:4243").as_deref(), Some("tcp://127.0.0.1:4243"));
        assert_eq!(parsed("tcp://[::1]:4243").as_deref(), Some("tcp://[::1]:4243"));
        assert_eq!(parsed("0.0.0.0:4243").as_deref(), Some("tcp://0.0.0.0:4243"));
        assert_eq!(parsed("fd://").as_deref(), Some("fd://"));
        for bad in ["foo://x", "unix://x", "tcp://a:b", "tcp://a:1/x", ""] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
