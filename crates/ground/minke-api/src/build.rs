//! minke's own build request: `POST /minke/build`.
//!
//! The query is that of `POST /build`. The body is one stream: [`BuildHead`] as JSON behind its length (four bytes, big
//! endian), then, for each entry of [`BuildHead::contexts`] in order, an archive in pieces: a length of four bytes and so
//! many bytes, until a length of zero; the length `0xffffffff` says that the client could not read its files. That carries what the query and one archive cannot: a Dockerfile from outside the
//! context, secrets, named contexts.
//!
//! Errors before anything was done are ordinary JSON errors. After that the answer is frames of [`crate::framing`]: control
//! payloads are [`BuildTold`], the last of them [`BuildTold::Built`] or [`BuildTold::Error`]; standard output is what
//! `--output` asked for: archives, each behind a [`BuildTold::Export`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The longest head that is taken: secrets and a Dockerfile, in base64.
pub const MAX_HEAD: usize = 24 << 20;

/// What is told before the contexts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BuildHead {
    /// Instead of one out of the context.
    pub dockerfile: Option<BuildFile>,
    /// Archives that follow. They come filtered: no `.dockerignore` is looked at here.
    pub contexts: Vec<BuildContext>,
    /// Named contexts that are images: by name, the image.
    pub images: BTreeMap<String, String>,
    /// By id, in base64.
    pub secrets: BTreeMap<String, String>,
    /// Stages that use nothing of the cache.
    pub no_cache_stages: Vec<String>,
    /// `image`, `tar`, `oci`, `docker`, `none`; several with commas between.
    pub output: String,
}

/// A file's name and content, in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BuildFile {
    pub name: String,
    pub content: String,
}

/// An archive that follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BuildContext {
    /// Empty for the context of the build itself.
    pub name: String,
}

/// How much of the build cache a prune leaves, in bytes; zero is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneLimits {
    /// So much stays in any case.
    pub reserved_space: i64,
    /// More than that does not stay.
    pub max_used_space: i64,
    /// So much of the disk is to be free afterwards.
    pub min_free_space: i64,
}

/// What the server says while it builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum BuildTold {
    /// A step is known.
    Vertex {
        id: usize,
        name: String,
        /// The instruction's first line in the Dockerfile.
        line: usize,
        inputs: Vec<usize>,
    },
    /// It is at work.
    Started {
        id: usize,
    },
    /// Its program wrote; the bytes in base64.
    Log {
        id: usize,
        stderr: bool,
        bytes: String,
    },
    Done {
        id: usize,
        cached: bool,
    },
    /// It failed, and with it the build. The excerpt quotes the lines of the Dockerfile.
    Failed {
        id: usize,
        message: String,
        excerpt: String,
    },
    /// Something is odd: a rule of the linter (empty when it is none), a line (zero when it is nowhere).
    Warning {
        rule: String,
        message: String,
        line: usize,
    },
    /// The build as a whole failed.
    Error {
        message: String,
    },
    /// What follows on standard output is the archive of this output, counted from 0 without images and nothing.
    Export {
        output: usize,
    },
    /// It is done.
    Built {
        image: String,
        manifest: String,
        steps: usize,
        cached: usize,
    },
}
