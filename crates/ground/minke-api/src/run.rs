//! minke's own requests: `POST /minke/run` creates, attaches and starts a container, `POST /minke/containers/{name}/exec`
//! a further process in one.
//!
//! The body of the first is a container-create body with a `Minke` object beside `HostConfig`. Errors before the container exists are
//! ordinary JSON errors. Detached: `201` with [`crate::container::ContainerCreateResponse`]. Attached: `101`, the header
//! [`HEADER_CONTAINER`], then frames of [`crate::framing`] whose control payloads are [`RunControl`].
//!
//! The body of the second is that of exec create, and it is always attached: `101`, the header [`HEADER_EXEC`], the same
//! frames. A program that cannot be started is told as Docker tells it, on stdout, and by its exit code 126 or 127.

use serde::{Deserialize, Serialize};

use crate::container::ContainerCreateRequest;
use crate::lenient::{self, DecodeError};

/// Response header that names the new container.
pub const HEADER_CONTAINER: &str = "Minke-Container";

/// Response header that names the new exec.
pub const HEADER_EXEC: &str = "Minke-Exec";

/// How the caller wants to be joined to the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RunOptions {
    pub detach: bool,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub detach_keys: String,
    /// Height, width.
    pub console_size: Option<[u16; 2]>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RunRequest {
    #[serde(flatten)]
    pub create: ContainerCreateRequest,
    #[serde(rename = "Minke")]
    pub options: RunOptions,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Extension {
    minke: RunOptions,
}

impl RunRequest {
    pub fn from_json(body: &[u8]) -> Result<Self, DecodeError> {
        let body = lenient::parse(body)?;
        Ok(Self {
            create: ContainerCreateRequest::from_value(&body)?,
            options: lenient::from_value::<Extension>(&body)?.minke,
        })
    }
}

/// What the server says about the run, between the output frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunControl {
    Started(bool),
    /// The last frame: sent when the exit is recorded and, with `--rm`, the container is gone from the records.
    Exit {
        code: i32,
    },
    Error {
        message: String,
        exit_code: i32,
    },
    Detached(bool),
}
