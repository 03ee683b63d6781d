//! Hooks that run in the container's namespaces: a child of the child, with the state document on its standard input.

use std::os::fd::{AsFd, BorrowedFd};

use minke_sys::spawn::{self, Options};
use minke_sys::{Errno, Result, fds, pidfd, signals};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::Player;
use crate::steps::HookStep;

/// The most strings a hook's arguments or environment may have (the pointers lie on the stack).
const STRINGS: usize = 256;

impl Player<'_> {
    pub(super) fn run_hook(&self, hook: &HookStep) -> Result<()> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        self.write_state(hook, writer.as_fd())?;
        drop(writer);
        let argv = Pointers::of(&hook.args)?;
        let envp = Pointers::of(&hook.env)?;
        let ignored = self.ignored;
        let mut body = || start(hook, reader.as_fd(), &argv, &envp, ignored);
        // SAFETY: the body makes only system calls, on memory that stays put while this process sleeps in vfork.
        #[expect(unsafe_code, reason = "a hook is a program, and this is how programs are started")]
        let child = unsafe { spawn::vfork(&Options::default(), &mut body) }?;
        drop(reader);
        let exit = wait(child.pidfd.as_fd(), hook.timeout)?;
        if exit.code() == 0 {
            return Ok(());
        }
        self.update(|report| report.detail = exit.code());
        Err(Errno::CHILD)
    }

    fn write_state(&self, hook: &HookStep, writer: BorrowedFd<'_>) -> Result<()> {
        let mut digits = [0u8; 10];
        let pid = decimal(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs(), &mut digits);
        let slices = [&hook.state.0, pid, &hook.state.1].map(std::io::IoSlice::new);
        // The whole document fits into the pipe (see plan::hooks), so this does not wait.
        rustix::io::writev(writer, &slices).map(drop)
    }
}

/// The decimal digits of `value`.
fn decimal(mut value: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut from = digits.len();
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        from -= 1;
        if value == 0 {
            break;
        }
    }
    digits.get(from..).unwrap_or_default()
}

struct Pointers([*const libc::c_char; STRINGS + 1]);

impl Pointers {
    fn of(strings: &[std::ffi::CString]) -> Result<Self> {
        let mut pointers = [std::ptr::null(); STRINGS + 1];
        if strings.len() > STRINGS {
            return Err(Errno::TOOBIG);
        }
        for (slot, text) in pointers.iter_mut().zip(strings) {
            *slot = text.as_ptr();
        }
        Ok(Self(pointers))
    }
}

fn start(hook: &HookStep, stdin: BorrowedFd<'_>, argv: &Pointers, envp: &Pointers, ignored: u64) -> i32 {
    // SAFETY: 0 is this child's own copy.
    #[expect(unsafe_code, reason = "descriptor numbers are placed for an exec")]
    let placed = unsafe { fds::place(stdin, 0) };
    if placed.is_err() || fds::cloexec_from(3).is_err() || signals::reset(ignored).is_err() {
        return 126;
    }
    // SAFETY: both vectors end with null and point into the hook's strings.
    #[expect(unsafe_code, reason = "execve takes bare pointers")]
    let _errno = unsafe { spawn::execve(&hook.path, argv.0.as_ptr(), envp.0.as_ptr()) };
    127
}

fn wait(child: BorrowedFd<'_>, timeout: u64) -> Result<pidfd::Exit> {
    if timeout > 0 {
        let limit = Timespec { tv_sec: i64::try_from(timeout).unwrap_or(i64::MAX), tv_nsec: 0 };
        let mut poll = [PollFd::new(&child, PollFlags::IN)];
        if rustix::io::retry_on_intr(|| rustix::event::poll(&mut poll, Some(&limit)))? == 0 {
            pidfd::send_signal(child, 9)?;
            pidfd::wait(child)?;
            return Err(Errno::TIMEDOUT);
        }
    }
    pidfd::wait(child)
}
