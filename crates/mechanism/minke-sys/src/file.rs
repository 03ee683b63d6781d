//! Calls on open files that no safe crate offers.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Asks the kernel to begin writing a range out, without waiting. It is a hint: where it is not understood nothing is lost,
/// because durability comes from the fsync that follows.
pub fn start_writeback(file: &File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: sync_file_range demands an open descriptor, which `file` keeps open for the call, and takes no memory of ours.
    let _hint =
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
}
