//! Signals as a descriptor, for single-threaded loops that poll.
//!
//! The signals are blocked, so they wait in the kernel until they are read. A program that execs or forks afterwards
//! must unblock them again ([`crate::signals::set_mask`]).

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Errno, Result, raw, signals};

/// A descriptor that becomes readable when one of its signals is pending.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

/// The kernel's `struct signalfd_siginfo`.
const INFO_LEN: usize = 128;

impl SignalFd {
    /// Blocks the signals of `mask` (bit n-1 for signal n) on top of those already blocked, and opens the descriptor.
    pub fn open(mask: u64) -> Result<SignalFd> {
        let before = signals::set_mask(u64::MAX)?;
        signals::set_mask(before | mask)?;
        let flags =
            usize::try_from(libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).map_err(|_negative| Errno::INVAL)?;
        let args = [raw::arg(-1), (&raw const mask).expose_provenance(), size_of::<u64>(), flags, 0, 0];
        // SAFETY: signalfd4 reads one mask of the size given and makes a new descriptor.
        let fd = unsafe { raw::syscall(libc::SYS_signalfd4, args) }?;
        let fd = i32::try_from(fd).map_err(|_large| Errno::BADF)?;
        // SAFETY: the kernel just made this descriptor and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(SignalFd { fd })
    }

    /// The number of the next pending signal; `None` when there is none.
    pub fn take(&self) -> Result<Option<i32>> {
        let mut info = [0u8; INFO_LEN];
        match rustix::io::read(&self.fd, &mut info) {
            Ok(INFO_LEN) => {
                let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
                Ok(i32::try_from(number).ok())
            }
            Ok(_) => Ok(None),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_waits_in_the_descriptor() {
        let usr2 = 1 << (libc::SIGUSR2 - 1);
        let fd = SignalFd::open(usr2).unwrap();
        assert_eq!(fd.take(), Ok(None));
        let thread = rustix::thread::gettid();
        let args = [raw::arg(thread.as_raw_nonzero().get()), raw::arg(libc::SIGUSR2), 0, 0, 0, 0];
        // SAFETY: tkill sends a signal that this thread has blocked to this thread; it takes no pointers.
        unsafe { raw::syscall(libc::SYS_tkill, args) }.unwrap();
        assert_eq!(fd.take(), Ok(Some(libc::SIGUSR2)));
    }
}
