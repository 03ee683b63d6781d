//! Copies of a single-threaded process that go on in Rust: the nursery's blanks, a job in the background.
//!
//! Unlike [`crate::spawn`]'s children these may allocate and keep running. That is sound only while the process has
//! one thread, so it is checked, at the price of reading a file: not for the way of a start.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::{Errno, Result, fds, spawn};

/// Which of the two processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The copy.
    Child,
    /// The one that called; the child's pid.
    Parent(u32),
}

/// Copies this process. `EBUSY` when it has more than one thread.
///
/// Descriptors are copied too: the child drops what it does not need.
pub fn fork() -> Result<Side> {
    if thread_count()? != 1 {
        return Err(Errno::BUSY);
    }
    // SAFETY: the only thread is this one, so no lock is held by a thread that the copy lacks.
    match unsafe { libc::fork() } {
        0 => Ok(Side::Child),
        pid => u32::try_from(pid).map(Side::Parent).map_err(|_negative| {
            Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::AGAIN)
        }),
    }
}

/// Runs a job in a copy of this process and gives its pid; the copy ends with the job's exit code.
///
/// The copy has only descriptors 0, 1 and 2: the job opens what it needs and must not use any that it captured.
pub fn run<F: FnOnce() -> i32>(job: F) -> Result<u32> {
    run_with(Vec::new(), |_none| job())
}

/// As [`run`], with descriptors that go into the copy: it gets them, under their numbers, and they are closed here.
pub fn run_with<F: FnOnce(Vec<OwnedFd>) -> i32>(kept: Vec<OwnedFd>, job: F) -> Result<u32> {
    match fork()? {
        Side::Parent(pid) => Ok(pid),
        Side::Child => {
            let code = match close_others(&kept) {
                Ok(()) => {
                    let job = std::panic::AssertUnwindSafe(|| job(kept));
                    std::panic::catch_unwind(job).unwrap_or(101)
                }
                Err(_) => 102,
            };
            spawn::exit_now(code)
        }
    }
}

/// Closes what is neither kept nor 0, 1 or 2.
fn close_others(kept: &[OwnedFd]) -> Result<()> {
    let mut numbers: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers {
        if number > first {
            // SAFETY: the owners of these descriptors live in frames that are never returned to, and the job uses none.
            unsafe { fds::close_between(first, number - 1) }?;
        }
        first = first.max(number + 1);
    }
    // SAFETY: as above.
    unsafe { fds::close_from(first) }
}

fn thread_count() -> Result<u32> {
    let stat = std::fs::read_to_string("/proc/self/stat")
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    // The name in parentheses may hold anything; the third field begins after the last parenthesis.
    let rest = stat.rsplit_once(") ").ok_or(Errno::PROTO)?.1;
    rest.split_ascii_whitespace().nth(17).and_then(|text| text.parse().ok()).ok_or(Errno::PROTO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_copied() {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || held.recv().is_err());
        assert_eq!(fork().unwrap_err(), Errno::BUSY);
        drop(hold);
        assert!(other.join().unwrap());
    }
}
