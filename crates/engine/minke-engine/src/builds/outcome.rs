//! What a build came to.

use std::io::Write;

use crate::error::{Error, Result};

/// A build that succeeded.
#[derive(Debug)]
pub struct BuildOutcome {
    /// The image's id, `sha256:…`.
    pub image: String,
    /// The digest of its manifest.
    pub manifest: String,
    /// How many steps were taken from the cache.
    pub cached: usize,
    /// How many there were.
    pub steps: usize,
    /// What `--output` asked for beside an image. The image is kept until this is dropped.
    pub export: Option<Export>,
}

/// A result to be written out.
#[derive(Debug)]
pub struct Export {}

impl Export {
    /// Writes it as one tar.
    pub async fn write(self, output: Box<dyn Write + Send>) -> Result<()> {
        drop(output);
        Err(Error::new(minke_base::Kind::NotImplemented, "builds are not there yet"))
    }
}
