//! What goes wrong between the engine and a registry, in the words that clients of Docker know.

use std::fmt;

use minke_base::{Digest, Kind};
use serde::Deserialize;

/// One entry of a registry's error document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ApiError {
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub message: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.to_lowercase().replace('_', " ");
        match (code.is_empty(), self.message.is_empty()) {
            (true, _) => f.write_str(&self.message),
            (false, true) => f.write_str(&code),
            (false, false) => write!(f, "{code}: {}", self.message),
        }
    }
}

/// An answer that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub method: &'static str,
    pub url: String,
    pub status: u16,
    /// What the registry says about it; empty when it did not say it in the protocol's form.
    pub errors: Vec<ApiError>,
}

impl Refusal {
    /// Whether the registry names this code (`MANIFEST_UNKNOWN`).
    #[must_use]
    pub fn has_code(&self, code: &str) -> bool {
        self.errors.iter().any(|error| error.code == code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.errors[..] {
            [] => {
                let reason = reqwest::StatusCode::from_u16(self.status)
                    .ok()
                    .and_then(|status| status.canonical_reason())
                    .unwrap_or_default();
                write!(
                    f,
                    "unexpected status from {} request to {}: {} {reason}",
                    self.method, self.url, self.status
                )
            }
            [one] => one.fmt(f),
            many => {
                f.write_str("errors:\n")?;
                many.iter().try_for_each(|error| writeln!(f, "{error}"))
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answered, or broke off too often.
    #[error("{} {url:?}: {reason}", go_method(.method))]
    Unreachable {
        method: &'static str,
        url: String,
        reason: String,
        /// A connection was there.
        reached: bool,
    },
    /// The registry answered, and not with what was asked for.
    #[error("{0}")]
    Refused(Refusal),
    /// A registry asks for credentials where there are none.
    #[error("{} {url:?}: no basic auth credentials", go_method(.method))]
    NoCredentials { method: &'static str, url: String },
    #[error("login attempt to {url} failed with status: {status} {reason}")]
    Login { url: String, status: u16, reason: String },
    #[error("get a token from {realm}: {reason}")]
    Token { realm: String, reason: String },
    #[error("{what} of {url} is longer than the {limit} bytes that are taken")]
    TooLarge { what: &'static str, url: String, limit: u64 },
    #[error("{url}: want {expected}, and the registry gave what has the digest {actual}")]
    WrongDigest { url: String, expected: Digest, actual: Digest },
    #[error("{url}: want {expected} bytes, and the registry has {actual}")]
    WrongLength { url: String, expected: u64, actual: u64 },
    #[error("{url}: {reason}")]
    Protocol { url: String, reason: String },
    #[error("invalid address {url:?}: want an http:// or https:// address")]
    BadUrl { url: String },
    #[error("{url}: more than 10 redirects")]
    Redirects { url: String },
    #[error("{url} redirects from https to {target}, which is not protected")]
    Downgrade { url: String, target: String },
    #[error("certificates of {host}: {reason}")]
    Certificates { host: String, reason: String },
    #[error("read the blob {digest}: {source}")]
    Source { digest: Digest, source: std::io::Error },
    #[error("the registry does not keep {digest}: {reason}")]
    Upload { digest: Digest, reason: String },
}

/// Go's HTTP client names methods so; clients match on `Get "https://`.
fn go_method(method: &str) -> String {
    let mut text = method.to_ascii_lowercase();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::BadUrl { .. } => Kind::InvalidParameter,
            // docker's CLI takes a 401 as the engine's wish to prompt, also where nobody can type; Docker does not say it here.
            Self::NoCredentials { .. } => Kind::System,
            Self::Login { status: 401, .. } => Kind::Unauthorized,
            Self::Login { status: 403, .. } => Kind::Forbidden,
            Self::Refused(refusal) => match refusal.status {
                401 => Kind::Unauthorized,
                403 => Kind::Forbidden,
                404 => Kind::NotFound,
                _ => Kind::System,
            },
            _ => Kind::System,
        }
    }

    /// The registry's own answer, if there was one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        if let Self::Refused(refusal) = self { Some(refusal) } else { None }
    }

    /// Whether trying again may help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => matches!(refusal.status, 408 | 429 | 500 | 502..=504),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_dockers() {
        let error = ApiError { code: "MANIFEST_UNKNOWN".into(), message: "manifest unknown".into() };
        let mut refusal =
            Refusal { method: "HEAD", url: "http://h/v2/".into(), status: 404, errors: vec![error] };
        assert_eq!(refusal.to_string(), "manifest unknown: manifest unknown");
        refusal.errors.clear();
        assert_eq!(refusal.to_string(), "unexpected status from HEAD request to http://h/v2/: 404 Not Found");
        let error = Error::NoCredentials { method: "GET", url: "https://h/v2/".into() };
        assert_eq!(error.to_string(), "Get \"https://h/v2/\": no basic auth credentials");
    }
}
