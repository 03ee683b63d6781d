//! What a service of the engine answers when it cannot do what was asked.
//!
//! Every service has its own reasons, but a client sees only two things: a class (which becomes an HTTP status or an
//! exit code) and one sentence, which for Docker's clients is part of the contract. So the services share this one
//! shape; the reasons below it ride along as `source` for the daemon's log. Turning the class into a status is the
//! server's work.

use std::fmt;

use minke_base::Kind;

/// The engine's answer when something fails: a class, a sentence for the client, and what was underneath.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What engine methods return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of class `kind` whose text is `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with what caused it, which the daemon's log shows as a chain.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The client asked for something that makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParameter, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// The thing is in a state that does not allow it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// The host or the engine failed.
    pub fn system(message: impl Into<String>) -> Self {
        Self::new(Kind::System, message)
    }

    /// The thing already is as it was asked to be (HTTP 304).
    pub fn not_modified(message: impl Into<String>) -> Self {
        Self::new(Kind::NotModified, message)
    }

    /// The host or the engine failed at `what`, because of `source`; the text carries both.
    pub fn failed(what: impl fmt::Display, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self {
            kind: Kind::System,
            message: format!("{what}: {}", chain(&source)),
            source: Some(Box::new(source)),
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence for the client.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// An error and everything below it in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(next) = below {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        below = next.source();
    }
    text
}
