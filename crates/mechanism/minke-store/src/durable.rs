//! When bytes are on disk: early write-back, directory syncs, and which boot of the host wrote something.

use std::fs::{self, File};
use std::io::{self, Write};
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

/// Writes a small file under a new name and moves it over `path`.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    fs::rename(&new, path)
}

/// Names this boot of the host; what was written in another one and never synced may be incomplete.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
