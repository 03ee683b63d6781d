//! What can go wrong between a command and the engine, in the words docker's users know.

use crate::endpoint::EndpointError;
use std::io;
use std::path::PathBuf;

/// A failed exchange with the engine.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("Cannot connect to the Docker daemon at {endpoint}. Is the docker daemon running?")]
    Absent { endpoint: String },
    #[error(
        "permission denied while trying to connect to the Docker daemon socket at {endpoint}: connect: permission \
         denied; run the command as root, or join the group that owns the socket"
    )]
    Denied { endpoint: String, source: io::Error },
    #[error("error during connect: {endpoint}: {source}")]
    Connect { endpoint: String, source: io::Error },
    #[error("Failed to initialize: unable to resolve docker endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    /// The engine said no.
    #[error("Error response from daemon: {message}")]
    Refused { status: u16, message: String, minke: bool },
    #[error("lost the connection to the engine: {source}")]
    Io {
        #[from]
        source: io::Error,
    },
    #[error("the engine sent something that is not HTTP: {0}")]
    Protocol(String),
    #[error("cannot read the engine's answer: {0}")]
    Json(#[from] serde_json::Error),
    #[error("TLS with {endpoint}: {text}")]
    Tls { endpoint: String, text: String },
    #[error("cannot read {path}: {text}")]
    TlsFile { path: PathBuf, text: String },
    #[error("{0}")]
    Autostart(#[from] crate::autostart::AutostartError),
}

impl ClientError {
    /// The HTTP status, when the engine answered at all.
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Nothing there: neither an answer nor a right to ask.
    pub fn unreachable(&self) -> bool {
        matches!(self, ClientError::Absent { .. } | ClientError::Denied { .. } | ClientError::Connect { .. })
    }
}
