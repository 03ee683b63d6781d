//! Waiting for signals one by one instead of being interrupted by them: for a PID 1.

use std::ptr;

use crate::{Result, raw};

/// A set of all signals that can be blocked, but for those a fault of our own would raise.
pub const ALL_BUT_FAULTS: u64 = !(bit(libc::SIGILL)
    | bit(libc::SIGTRAP)
    | bit(libc::SIGABRT)
    | bit(libc::SIGBUS)
    | bit(libc::SIGFPE)
    | bit(libc::SIGSEGV)
    | bit(libc::SIGSYS));

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Waits for one of the signals of `mask` (bit n-1 for signal n), which must be blocked, and takes it.
pub fn wait(mask: u64) -> Result<i32> {
    let args = [ptr::from_ref(&mask).expose_provenance(), 0, 0, size_of::<u64>(), 0, 0];
    // SAFETY: rt_sigtimedwait reads one mask of the size given; no information and no timeout are asked for.
    let signal = unsafe { raw::syscall(libc::SYS_rt_sigtimedwait, args) }?;
    Ok(i32::try_from(signal).unwrap_or(0))
}
