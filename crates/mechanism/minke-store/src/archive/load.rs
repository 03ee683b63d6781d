//! Reading an archive from a stream.

use std::io::Read;

use super::{ArchiveError, LoadOptions, LoadedImage, Progress};
use crate::store::Store;

/// Reads a docker archive (old or new) or an OCI layout, compressed or not, from a stream, and stores its images.
///
/// Take a [`crate::pins::Hold`] first and keep it until the images are recorded.
pub fn load(
    store: &Store,
    input: impl Read + Send,
    options: &LoadOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<LoadedImage>, ArchiveError> {
    let _unfinished = (store, input, options, progress);
    todo!()
}
