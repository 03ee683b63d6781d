//! A process the keeper is parent of, with its ends of the process's stdio: the container's first, or an exec.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{fs::OFlags, io::Errno, pipe::PipeFlags};

use std::time::{Duration, Instant};

use crate::{
    best_effort,
    client::Output,
    pacing::Pace,
    protocol::{ExecState, Exit},
};

/// How much input may wait for a process that does not read.
const INPUT: usize = 64 << 10;

/// How long a terminal nobody has open is left alone before it is looked at again.
const HUNG: Duration = Duration::from_millis(50);
/// How long output may keep coming from others after its process has ended, as with Docker.
const AFTERMATH: Duration = Duration::from_secs(2);

/// The keeper's own number for a process; 0 is the container's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProgramKey(pub(crate) u32);

impl ProgramKey {
    pub(crate) const INIT: Self = Self(0);
}

/// A process and its stdio.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) key: ProgramKey,
    /// The exec's id; empty for the container's first process.
    pub(crate) name: String,
    pub(crate) pid: i32,
    /// Until it is reaped.
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) ends: Ends,
    pub(crate) tty: bool,
    pub(crate) stdin_once: bool,
    /// It ends with the daemon that asked for it.
    pub(crate) bound: bool,
    input: VecDeque<u8>,
    /// Close stdin once `input` is written.
    input_over: bool,
    /// It was reaped; its output may go on.
    pub(crate) ended: Option<Ended>,
    /// Its end, once its output is over too.
    pub(crate) exit: Option<Exit>,
    /// Its terminal is not looked at before.
    hung_until: Option<Instant>,
    /// How many reads in a row filled the buffer.
    pub(crate) full_reads: u8,
    /// The rhythms of stdout and stderr.
    paces: [Pace; 2],
}

/// A process's end, while its output may still go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// Nanoseconds since 1970.
    pub(crate) at: i64,
    /// When its output is no longer waited for.
    pub(crate) until: Instant,
}

/// The keeper's ends of a process's stdio.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Write end of stdin; with a terminal, its master, when clients may type.
    pub(crate) stdin: Option<OwnedFd>,
    /// Read end of stdout; with a terminal, its master.
    pub(crate) stdout: Option<OwnedFd>,
    /// Read end of stderr.
    pub(crate) stderr: Option<OwnedFd>,
}

impl Ends {
    /// Those of a terminal.
    pub(crate) fn terminal(master: OwnedFd, open_stdin: bool) -> Result<Self, Errno> {
        set_nonblocking(&master)?;
        let stdin = if open_stdin { Some(rustix::io::fcntl_dupfd_cloexec(&master, 3)?) } else { None };
        Ok(Self { stdin, stdout: Some(master), stderr: None })
    }
}

/// What reading an output brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Drawn {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// Nobody can write any more.
    End,
}

impl Program {
    pub(crate) fn new(key: ProgramKey, name: String, pid: u32, pidfd: OwnedFd, ends: Ends) -> Self {
        Self {
            key,
            name,
            pid: i32::try_from(pid).unwrap_or(0),
            pidfd: Some(pidfd),
            ends,
            tty: false,
            stdin_once: false,
            bound: false,
            input: VecDeque::new(),
            input_over: false,
            ended: None,
            exit: None,
            hung_until: None,
            full_reads: 0,
            paces: [Pace::default(); 2],
        }
    }

    pub(crate) fn state(&self) -> ExecState {
        let pid = if self.exit.is_some() { 0 } else { self.pid };
        ExecState { id: self.name.clone(), pid, exit: self.exit }
    }

    /// Reaps the process if it has ended; says whether it has just done so.
    pub(crate) fn reap(&mut self, at: i64) -> bool {
        let Some(pidfd) = &self.pidfd else { return false };
        let code = match minke_sys::pidfd::try_wait(pidfd) {
            Ok(Some(exit)) => exit.code(),
            Ok(None) => return false,
            // Somebody else reaped it: cannot be, and must not keep us here for ever.
            Err(_) => 255,
        };
        self.pidfd = None;
        self.ended = Some(Ended { code, at, until: Instant::now() + AFTERMATH });
        self.drop_input();
        true
    }

    /// Whether its end can be told: nothing of its output is missing, or it was waited for long enough.
    pub(crate) fn can_conclude(&self, now: Instant) -> bool {
        self.exit.is_none() && self.ended.is_some_and(|ended| !self.has_output() || ended.until <= now)
    }

    /// The descriptor to wait on for an output, when there is one and it is not left alone for now.
    pub(crate) fn output(&self, output: Output) -> Option<&OwnedFd> {
        let end = match output {
            Output::Stdout => &self.ends.stdout,
            Output::Stderr => &self.ends.stderr,
        };
        // The rest of what a process wrote before it ended is waited for by somebody.
        let rests = self.ended.is_none() && self.paces[place(output)].until().is_some();
        end.as_ref().filter(|_| self.hung_until.is_none() && !rests)
    }

    /// Takes note of what a round of reading an output brought.
    pub(crate) fn pace(&mut self, output: Output, length: usize) {
        if length > 0 && self.paces[place(output)].note(length, Instant::now()) {
            self.widen(output);
        }
    }

    /// When something is due although no descriptor tells.
    pub(crate) fn due(&self) -> Option<Instant> {
        let ended = self.ended.filter(|_| self.exit.is_none()).map(|ended| ended.until);
        let [stdout, stderr] = self.paces.map(|pace| pace.until());
        [ended, self.hung_until, stdout, stderr].into_iter().flatten().min()
    }

    pub(crate) fn look_again(&mut self, now: Instant) {
        self.hung_until = self.hung_until.filter(|until| *until > now);
        self.paces.iter_mut().for_each(|pace| pace.look_again(now));
    }

    pub(crate) fn has_output(&self) -> bool {
        self.ends.stdout.is_some() || self.ends.stderr.is_some()
    }

    /// Reads one output once. At its end the descriptor is closed.
    pub(crate) fn draw(&mut self, output: Output, buffer: &mut [u8]) -> Drawn {
        let end = match output {
            Output::Stdout => &mut self.ends.stdout,
            Output::Stderr => &mut self.ends.stderr,
        };
        let Some(fd) = end else { return Drawn::Nothing };
        match rustix::io::retry_on_intr(|| rustix::io::read(&*fd, &mut *buffer)) {
            Ok(0) => *end = None,
            Ok(length) => return Drawn::Bytes(length),
            Err(Errno::AGAIN) => return Drawn::Nothing,
            // A terminal nobody has open. Somebody may open it again while the process lives.
            Err(Errno::IO) if self.tty && self.ended.is_none() => {
                self.hung_until = Some(Instant::now() + HUNG);
                return Drawn::Nothing;
            }
            Err(_) => *end = None,
        }
        Drawn::End
    }

    /// Makes the pipe of an output that is being flooded as large as it may be.
    pub(crate) fn widen(&self, output: Output) {
        const WIDE: usize = 1 << 20;
        let end = match output {
            Output::Stdout => &self.ends.stdout,
            Output::Stderr => &self.ends.stderr,
        };
        if let Some(fd) = end
            && !self.tty
        {
            // A limit of the kernel's may forbid it: then the pipe stays as it is.
            best_effort(rustix::pipe::fcntl_setpipe_size(fd, WIDE));
        }
    }

    /// Whether clients' input is taken now.
    pub(crate) fn takes_input(&self) -> bool {
        self.ends.stdin.is_some() && self.input.len() < INPUT && !self.input_over
    }

    pub(crate) fn has_input(&self) -> bool {
        self.ends.stdin.is_some() && !self.input.is_empty()
    }

    /// Adds input; it is written at once as far as the process takes it.
    pub(crate) fn give(&mut self, bytes: &[u8]) {
        if self.ends.stdin.is_some() && !self.input_over {
            self.input.extend(bytes);
            self.push();
        }
    }

    /// Writes what waits.
    pub(crate) fn push(&mut self) {
        while let Some(fd) = &self.ends.stdin {
            if self.input.is_empty() {
                if self.input_over {
                    self.ends.stdin = None;
                }
                return;
            }
            let (front, _) = self.input.as_slices();
            match rustix::io::retry_on_intr(|| rustix::io::write(fd, front)) {
                Ok(written) => drop(self.input.drain(..written)),
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    // It has closed its stdin.
                    self.ends.stdin = None;
                    self.input = VecDeque::new();
                }
            }
        }
    }

    /// There is no more input: stdin closes behind what waits. A terminal stays open, as it carries output too.
    pub(crate) fn end_input(&mut self) {
        if !self.tty {
            self.input_over = true;
            self.push();
        }
    }

    /// Forgets what was never read.
    pub(crate) fn drop_input(&mut self) {
        self.ends.stdin = None;
        self.input = VecDeque::new();
    }

    pub(crate) fn relax(&mut self) {
        if self.input.is_empty() {
            self.input = VecDeque::new();
        }
    }
}

fn place(output: Output) -> usize {
    usize::from(output == Output::Stderr)
}

/// The process's ends of its stdio, until it is started.
#[derive(Debug)]
pub(crate) struct ChildEnds {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Pipes for a process without a terminal. They belong to its user, so that it can open `/dev/stdout` again.
pub(crate) fn open_pipes(open_stdin: bool, uid: u32, gid: u32) -> Result<(ChildEnds, Ends), Errno> {
    let (stdin, our_stdin) = if open_stdin {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        own(&read, uid, gid)?;
        set_nonblocking(&write)?;
        (read, Some(write))
    } else {
        let null =
            rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
        (null, None)
    };
    let (our_stdout, stdout) = output_pipe(uid, gid)?;
    let (our_stderr, stderr) = output_pipe(uid, gid)?;
    let ends = Ends { stdin: our_stdin, stdout: Some(our_stdout), stderr: Some(our_stderr) };
    Ok((ChildEnds { stdin, stdout, stderr }, ends))
}

fn output_pipe(uid: u32, gid: u32) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    own(&write, uid, gid)?;
    set_nonblocking(&read)?;
    Ok((read, write))
}

fn own(pipe: impl AsFd, uid: u32, gid: u32) -> Result<(), Errno> {
    if uid == 0 && gid == 0 {
        return Ok(());
    }
    rustix::fs::fchown(pipe, Some(rustix::fs::Uid::from_raw(uid)), Some(rustix::fs::Gid::from_raw(gid)))
}

fn set_nonblocking(fd: impl AsFd) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)
}
