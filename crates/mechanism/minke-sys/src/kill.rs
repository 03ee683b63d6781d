//! kill(2) by number: rustix names only the classic signals, and containers are sent real-time ones too.

use rustix::io::Errno;

use crate::Result;

/// Sends signal `signo` to process `pid`. Signal 0 only asks whether the process exists.
/// Where a pidfd is at hand, use that instead: a pid may have been given to another process meanwhile.
pub fn kill(pid: i32, signo: i32) -> Result<()> {
    if pid <= 0 {
        // 0 and negative numbers mean process groups, or everybody.
        return Err(Errno::SRCH);
    }
    // SAFETY: kill takes two plain numbers and touches no memory of ours.
    if unsafe { libc::kill(pid, signo) } == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
