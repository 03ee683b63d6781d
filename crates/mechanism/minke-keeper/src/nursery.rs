//! The nursery: one small process of the daemon that forks blank keepers ahead of need.
//!
//! Why: a keeper must not be forked by the threaded daemon, nor exec'ed on the way of `run`. The nursery is
//! exec'ed once, stays single-threaded, and hands out the daemon's end of a fresh socket pair per blank, by
//! SCM_RIGHTS. Its children are reaped by the kernel (it ignores SIGCHLD; a blank sets that back). Because blanks are forked, their relocated and heap pages stay shared.
//!
//! ```text
//! daemon:  Nursery::spawn ─▶ try_take / take ─▶ (launch over the blank's socket) ─▶ refill
//! ```
//! Blanks wait inside the nursery's socket, so taking one costs a single `recvmsg`. `refill` asks for the
//! next; call it after the container runs, because a fork competes with the start for the processor.
//!
//! **Card.** Started by: the daemon, `/proc/self/exe` with the role word [`ROLE`]. Inherits: the socket as fd 0,
//! nothing else. Touches: nothing. Reports: descriptors over the socket. Ends: when the daemon's end closes.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use minke_cgroup::Host;
use minke_sys::{dispositions, forked, memory, process, sealed};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::{
    best_effort,
    keeper::{self, Warm},
    protocol::{Decoder, socket},
};

/// The word that makes the binary a nursery: `minke keeper-nursery`.
pub const ROLE: &str = "keeper-nursery";

/// Why a blank could not be had.
#[derive(Debug, thiserror::Error)]
pub enum NurseryError {
    /// The nursery's process could not be started.
    #[error("start the keeper nursery")]
    Start(#[source] io::Error),
    /// Its socket failed.
    #[error("talk to the keeper nursery")]
    Talk(#[source] io::Error),
    /// It is gone: start another.
    #[error("the keeper nursery is gone")]
    Gone,
}

/// The daemon's handle on the nursery.
#[derive(Debug)]
pub struct Nursery {
    socket: UnixStream,
    child: Child,
}

impl Nursery {
    /// Starts the nursery and asks for `blanks` keepers to wait ahead of need.
    ///
    /// `program` is normally `/proc/self/exe`. The handle's socket is non-blocking.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn(program: &Path, blanks: usize) -> Result<Self, NurseryError> {
        Self::spawn_under(program, blanks, None)
    }

    /// As [`Nursery::spawn`], and keeps the cgroup `parent` open, so that keepers need not look for it when they make the
    /// cgroup of a container right below it. It is made when missing.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn_under(program: &Path, blanks: usize, parent: Option<&Path>) -> Result<Self, NurseryError> {
        let (ours, theirs) = UnixStream::pair().map_err(NurseryError::Start)?;
        ours.set_nonblocking(true).map_err(NurseryError::Start)?;
        // Told, because a nursery that runs from a protected image cannot tell where that came from.
        let path = std::fs::read_link(program).unwrap_or_else(|_no_link| program.to_owned());
        let child = Command::new(program)
            .arg(ROLE)
            .arg(path)
            .args(parent)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(NurseryError::Start)?;
        let nursery = Self { socket: ours, child };
        for _ in 0..blanks {
            nursery.refill()?;
        }
        Ok(nursery)
    }

    /// A blank keeper's socket (non-blocking, its control connection from now on) if one waits; `None`: wait until
    /// [`Nursery::as_fd`] is readable and try again.
    ///
    /// # Errors
    /// [`NurseryError::Gone`] when the nursery has died.
    pub fn try_take(&self) -> Result<Option<UnixStream>, NurseryError> {
        let mut decoder = Decoder::new();
        match socket::receive_byte(&self.socket, &mut decoder) {
            Ok(0) => Err(NurseryError::Gone),
            Ok(_) => {
                let Some(fd) = decoder.take_fd() else { return Err(NurseryError::Gone) };
                let blank = UnixStream::from(fd);
                blank.set_nonblocking(true).map_err(NurseryError::Talk)?;
                Ok(Some(blank))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(NurseryError::Talk(error)),
        }
    }

    /// Asks for one more blank. Never blocks.
    ///
    /// # Errors
    /// [`NurseryError::Gone`] when the nursery has died.
    pub fn refill(&self) -> Result<(), NurseryError> {
        match socket::send(&self.socket, &[1], &[]) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(NurseryError::Gone),
            Err(error) => Err(NurseryError::Talk(error)),
        }
    }

    /// The nursery's process, for the daemon's own bookkeeping.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl AsFd for Nursery {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        // The nursery ends on its own when the socket closes; only its exit status has to be collected.
        if self.socket.shutdown(std::net::Shutdown::Both).is_ok() {
            drop(self.child.wait());
        }
    }
}

/// The nursery's life, and those of the keepers forked from it: the binary calls this for the role [`ROLE`], first thing,
/// and ends with the code it gives.
#[must_use]
pub fn main() -> i32 {
    // Whoever enters a container must run from a file that cannot be written through it (CVE-2019-5736).
    if sealed::ensure_protected().is_err() {
        return 1;
    }
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else { return 1 };
    if detach_from_daemon().is_err() {
        return 1;
    }
    let Ok(host) = Host::probe() else { return 1 };
    let mut told = std::env::args_os().skip(2).map(PathBuf::from);
    let program = told.next().unwrap_or_default();
    // One that cannot be opened is no loss: each keeper looks for itself then, and says what is wrong.
    let parent = told.next().and_then(|path| Some((minke_cgroup::Parent::open(&host, &path).ok()?, path)));
    let warm = Warm { host, program, parent };
    // Found out once here instead of once in each keeper: which vector instructions this processor has.
    let _ = memchr::memchr(b'\n', &[0; 64]);
    let Ok((ended, blankness)) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) else { return 1 };
    match breed(socket) {
        Some(control) => {
            drop(ended);
            keeper::live(control, warm, blankness);
        }
        None => {
            drop(blankness);
            see_off(&ended);
        }
    }
    0
}

/// Waits a moment for the blanks, whose daemon is gone too: they are reaped here, and do not become orphans on their way
/// out. Each holds the pipe's other end for as long as it is blank.
fn see_off(ended: &OwnedFd) {
    let mut fds = [PollFd::new(ended, PollFlags::IN)];
    let moment = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    best_effort(rustix::event::poll(&mut fds, Some(&moment)));
    // A process closes its descriptors a little before it is gone.
    std::thread::sleep(Duration::from_millis(5));
}

/// 0, 1 and 2 become `/dev/null`; the signals that end a daemon do not end its containers.
fn detach_from_daemon() -> rustix::io::Result<()> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    memory::keep_heap_small();
    dispositions::ignore(&[libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE, libc::SIGCHLD])?;
    process::set_name("minke:nursery")
}

/// Forks a blank for every byte that comes. In the nursery it ends with the daemon and gives `None`; in each blank it
/// gives the blank's socket.
fn breed(daemon: UnixStream) -> Option<UnixStream> {
    let mut asked = [0; 16];
    loop {
        // Between rushes the code that forks is left to the page cache.
        let quiet = Timespec { tv_sec: 1, tv_nsec: 0 };
        if matches!(rustix::event::poll(&mut [PollFd::new(&daemon, PollFlags::IN)], Some(&quiet)), Ok(0)) {
            memory::release_code();
        }
        let count = match rustix::io::retry_on_intr(|| rustix::io::read(&daemon, &mut asked)) {
            Ok(0) | Err(_) => return None,
            Ok(count) => count,
        };
        for _ in 0..count {
            let Ok((ours, theirs)) = UnixStream::pair() else { continue };
            match forked::fork() {
                Ok(forked::Side::Child) => {
                    // A keeper wants the exit codes of its children.
                    best_effort(dispositions::restore(&[libc::SIGCHLD]));
                    return Some(theirs);
                }
                Ok(forked::Side::Parent(_)) => {}
                // The daemon sees the blank's end and asks again.
                Err(_) => drop(theirs),
            }
            if socket::send(&daemon, &[0], &[ours.as_fd()]).is_err() {
                return None;
            }
        }
    }
}
