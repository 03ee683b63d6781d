//! Staying with a process in the foreground: its terminal, the signals meant for it, and its end.
//!
//! One poll loop over four descriptors: the process, our signals, our standard input, its terminal. Without a terminal
//! the process has our own standard streams, and only signals and the end are left to do.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use minke_sys::pidfd::{self, Exit};
use minke_sys::pty;
use minke_sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

use crate::OciError;

/// A process to stay with.
#[derive(Debug)]
pub(crate) struct Foreground {
    pub(crate) pidfd: OwnedFd,
    pub(crate) console: Option<OwnedFd>,
}

/// Our own terminal in raw mode; back to what it was when dropped.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        if !isatty(&stdin) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before).ok();
    }
}

/// Every signal but those that are about this process itself.
fn forwarded() -> u64 {
    let kept = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGSYS,
        libc::SIGPIPE,
        libc::SIGURG,
    ];
    kept.iter().fold(u64::MAX, |mask, signal| mask & !(1 << (signal - 1)))
}

impl Foreground {
    /// Blocks signals, so that none is lost between the start of the process and [`Foreground::stay`].
    pub(crate) fn signals() -> Result<SignalFd, OciError> {
        SignalFd::open(forwarded()).map_err(|e| OciError::kernel("take over signals", e))
    }

    /// Relays until the process has ended; answers its exit code.
    pub(crate) fn stay(self, signals: &SignalFd) -> Result<i32, OciError> {
        let _raw = self.console.as_ref().and_then(|_| RawTerminal::enter());
        self.resize();
        let stdin = std::io::stdin();
        let mut input_open = self.console.is_some();
        loop {
            let mut fds = vec![
                PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            ];
            if let Some(console) = &self.console {
                fds.push(PollFd::from_borrowed_fd(console.as_fd(), PollFlags::IN));
                if input_open {
                    fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
                }
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(OciError::kernel("wait for the container", e)),
            }
            let ready: Vec<bool> = fds.iter().map(|f| !f.revents().is_empty()).collect();
            if ready[1] {
                self.forward(signals)?;
            }
            if let Some(console) = &self.console {
                if ready[2] {
                    copy_out(console);
                }
                if ready.get(3) == Some(&true) {
                    input_open = copy_in(console);
                }
            }
            if ready[0] {
                self.drain();
                let exit: Exit =
                    pidfd::wait(&self.pidfd).map_err(|e| OciError::kernel("wait for the container", e))?;
                return Ok(exit.code());
            }
        }
    }

    fn forward(&self, signals: &SignalFd) -> Result<(), OciError> {
        while let Some(signal) = signals.take().map_err(|e| OciError::kernel("read signals", e))? {
            match signal {
                libc::SIGCHLD => {}
                libc::SIGWINCH if self.console.is_some() => self.resize(),
                // The process may have ended meanwhile.
                signal => drop(pidfd::send_signal(&self.pidfd, signal).ok()),
            }
        }
        Ok(())
    }

    /// Our window's size is the container's.
    fn resize(&self) {
        if let (Some(console), Ok(size)) = (&self.console, pty::size(std::io::stdin())) {
            // A terminal without a size is no error.
            pty::set_size(console, size).ok();
        }
    }

    /// What was written before the end still has to come out.
    fn drain(&self) {
        let Some(console) = &self.console else { return };
        loop {
            let mut fds = [PollFd::from_borrowed_fd(console.as_fd(), PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut fds, Some(&now)) != Ok(1)
                || !fds[0].revents().contains(PollFlags::IN)
                || !copy_out(console)
            {
                return;
            }
        }
    }
}

/// A buffer's worth from the terminal to standard output. False at the end (EIO once the other side is closed).
fn copy_out(console: &OwnedFd) -> bool {
    let mut buffer = [0; 8192];
    match rustix::io::read(console, &mut buffer) {
        Ok(0) | Err(_) => {
            // A terminal nobody holds open would make poll spin; the end of the process is near.
            std::thread::sleep(std::time::Duration::from_millis(1));
            false
        }
        Ok(count) => {
            let mut out = std::io::stdout();
            out.write_all(&buffer[..count]).and_then(|()| out.flush()).is_ok()
        }
    }
}

/// A buffer's worth from standard input to the terminal. False when there is no more.
fn copy_in(console: &OwnedFd) -> bool {
    let mut buffer = [0; 8192];
    let count = match rustix::io::read(std::io::stdin(), &mut buffer) {
        Ok(0) | Err(_) => return false,
        Ok(count) => count,
    };
    let mut rest = &buffer[..count];
    while !rest.is_empty() {
        match rustix::io::write(console, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(_gone) => return false,
        }
    }
    true
}
