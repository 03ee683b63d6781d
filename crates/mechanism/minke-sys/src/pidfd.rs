//! Processes by descriptor: a pid may be reused, a pidfd is always the same process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

use crate::{Errno, Result, raw};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
}

impl Exit {
    /// The code a shell and Docker report: the program's own, or 128 + signal.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => i32::from(code),
            Self::Signal(signo) => 128 + i32::from(signo),
        }
    }
}

/// A descriptor for the process `pid`.
pub fn open(pid: u32) -> Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty())
}

/// Sends signal `signo`; 0 only asks whether the process is there. `ESRCH`: it is gone.
pub fn send_signal(pidfd: impl AsFd, signo: i32) -> Result<()> {
    let args = [raw::arg(pidfd.as_fd().as_raw_fd()), raw::arg(signo), 0, 0, 0, 0];
    // SAFETY: pidfd_send_signal takes a descriptor, a number and a null siginfo; it touches no memory.
    unsafe { raw::syscall(libc::SYS_pidfd_send_signal, args) }.map(drop)
}

/// Reaps the child behind `pidfd`, waiting for its end.
pub fn wait(pidfd: impl AsFd) -> Result<Exit> {
    loop {
        if let Some(exit) = wait_with(pidfd.as_fd(), WaitIdOptions::EXITED)? {
            return Ok(exit);
        }
    }
}

/// Reaps the child behind `pidfd` if it has ended.
pub fn try_wait(pidfd: impl AsFd) -> Result<Option<Exit>> {
    wait_with(pidfd.as_fd(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

fn wait_with(pidfd: BorrowedFd<'_>, options: WaitIdOptions) -> Result<Option<Exit>> {
    let status = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(pidfd), options))?;
    Ok(status.and_then(|status| exit_of(&status)))
}

fn exit_of(status: &rustix::process::WaitIdStatus) -> Option<Exit> {
    let byte = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(Exit::Code(byte(code))),
        (None, Some(signo)) => Some(Exit::Signal(byte(signo))),
        (None, None) => None,
    }
}

/// Whether the process behind `pidfd` has ended (reaped or not), without reaping it.
#[must_use]
pub fn has_ended(pidfd: impl AsFd) -> bool {
    let mut poll = [rustix::event::PollFd::from_borrowed_fd(pidfd.as_fd(), rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut poll, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// `PIDFD_GET_MNT_NAMESPACE`: a descriptor of the mount namespace of the process (Linux 6.11).
pub fn mount_namespace(pidfd: impl AsFd) -> Result<OwnedFd> {
    namespace(pidfd, 3)
}

fn namespace(pidfd: impl AsFd, number: usize) -> Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    const PIDFS_IOCTL_MAGIC: usize = 0xff;
    let request = (PIDFS_IOCTL_MAGIC << 8) | number;
    let args = [raw::arg(pidfd.as_fd().as_raw_fd()), request, 0, 0, 0, 0];
    // SAFETY: this ioctl takes no argument and touches no memory.
    let fd = unsafe { raw::syscall(libc::SYS_ioctl, args) }?;
    let fd = i32::try_from(fd).map_err(|_wide| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for us and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_child_is_reaped_with_its_code() {
        #[expect(clippy::zombie_processes, reason = "reaped through the pidfd below")]
        let child = std::process::Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pidfd = open(child.id()).unwrap();
        assert_eq!(wait(&pidfd).unwrap(), Exit::Code(7));
        assert_eq!(send_signal(&pidfd, 0).unwrap_err(), Errno::SRCH);
    }

    #[test]
    fn a_signalled_child_counts_as_128_plus_signal() {
        #[expect(clippy::zombie_processes, reason = "reaped through the pidfd below")]
        let child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let pidfd = open(child.id()).unwrap();
        assert_eq!(try_wait(&pidfd).unwrap(), None);
        assert!(!has_ended(&pidfd));
        send_signal(&pidfd, 9).unwrap();
        assert_eq!(wait(&pidfd).unwrap().code(), 137);
        assert!(has_ended(&pidfd));
    }

    #[test]
    fn the_mount_namespace_of_a_process_is_reachable_through_its_pidfd() {
        let pidfd = open(std::process::id()).unwrap();
        let namespace = mount_namespace(&pidfd).unwrap();
        let own = std::fs::metadata("/proc/self/ns/mnt").unwrap();
        use std::os::unix::fs::MetadataExt;
        assert_eq!(rustix::fs::fstat(&namespace).unwrap().st_ino, own.ino());
    }
}
