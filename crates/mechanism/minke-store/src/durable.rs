//! When bytes are on disk: early write-back, directory syncs.

use std::fs::File;
use std::io;
use std::path::Path;

/// Asks the kernel to start writing a range out without waiting for it. Only a hint: a filesystem that cannot is fine, because the
/// fsync that follows is what counts.
pub(crate) fn start_writeback(file: &File, offset: u64, length: u64) {
    minke_sys::file::start_writeback(file, offset, length);
}

/// Makes names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
