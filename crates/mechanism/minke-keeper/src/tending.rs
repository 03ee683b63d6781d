//! Tending a running container: one loop over everything that can happen to it.
//!
//! [`Event`] is closed: what is not in it does not happen. Each round waits, handles what came, and sweeps away what is
//! over. Nothing here waits for anybody: not for a client, not for a daemon, not for the process's stdin.

use std::{
    collections::VecDeque,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use minke_cgroup::{Cgroup, OomWatch};
use minke_logs::{Stream, Writer};
use oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::{
    background::Compressor,
    best_effort,
    client::{Client, Input, Output},
    connection::Connection,
    ending::Phase,
    foreign::Foreign,
    holding::Holding,
    outbox::Lost,
    program::{Drawn, Program, ProgramKey},
    protocol::{AttachSpec, Event as Notice, Message},
};

/// How much is read from a pipe at once.
const CHUNK: usize = 64 << 10;
/// How many chunks in a row one output gets before the others.
const TURN: usize = 4;
/// So many full reads in a row make a flood.
const FLOOD: u8 = 8;
/// How long nothing must have happened before memory is given back.
const IDLE: Duration = Duration::from_millis(300);

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A daemon connects.
    Caller,
    /// A daemon has sent something, or is gone.
    Daemon(usize),
    /// A process has written.
    Output(ProgramKey, Output),
    /// A process takes input again.
    InputTaken(ProgramKey),
    /// A process has ended.
    Ended(ProgramKey),
    /// A client has sent something, or is gone.
    Client(usize),
    /// A client takes output again.
    ClientTakes(usize),
    /// The kernel killed for memory, or the cgroup is gone.
    Memory,
    /// A log file is compressed.
    Compressed,
    /// A connection comes that a proxy is to carry.
    Knock,
    /// The proxy has ended.
    ProxyEnded,
}

/// A container's keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) id: String,
    pub(crate) container_dir: PathBuf,
    pub(crate) exec_root_dir: PathBuf,
    pub(crate) connections: Vec<Connection>,
    pub(crate) listener: Option<UnixListener>,
    /// The container's first process, then its execs.
    pub(crate) programs: Vec<Program>,
    pub(crate) clients: Vec<Client>,
    /// Clients that are to be dropped at the end of the round.
    pub(crate) gone: Vec<usize>,
    pub(crate) log: Writer,
    pub(crate) compressor: Compressor,
    pub(crate) cgroup: Option<Cgroup>,
    /// systemd's unit around it.
    pub(crate) unit: Option<String>,
    pub(crate) oom_watch: Option<OomWatch>,
    pub(crate) oom_killed: bool,
    pub(crate) mount_namespace: Option<OwnedFd>,
    /// The runtime that built the container, when it is not minke's own.
    pub(crate) foreign: Option<Foreign>,
    /// What `poststop` hooks need, when there are any.
    pub(crate) poststop: Option<Box<Spec>>,
    pub(crate) holding: Holding,
    pub(crate) started_at: i64,
    pub(crate) next_key: u32,
    pub(crate) phase: Phase,
    /// The number of a `Shutdown` that is to be answered at the end.
    pub(crate) shutdown: Option<u64>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) idle_at: Option<Instant>,
}

impl Keeper {
    /// Runs until nothing of the container is left to care for. What needs much stack has frames of its own below this one's,
    /// so that they can be given back.
    #[inline(never)]
    pub(crate) fn tend(mut self) {
        let mut events = VecDeque::new();
        while !self.may_leave() {
            self.wait(&mut events);
            if !events.is_empty() {
                self.idle_at = Some(Instant::now() + IDLE);
            }
            while let Some(event) = events.pop_front() {
                self.handle(event);
            }
            self.look_at_time();
            self.sweep();
        }
        self.vanish();
    }

    /// Waits until something happens; gives it in the order of handling: output before ends, execs before the first.
    #[inline(never)]
    fn wait(&self, events: &mut VecDeque<Event>) {
        let compression = self.compressor.descriptor();
        let mut watches = Watches::default();
        self.watch_programs(&mut watches);
        for (index, client) in self.clients.iter().enumerate() {
            let reads = client.is_read() && self.program(client.program).is_some_and(Program::takes_input);
            // Without an interest the end of the connection is still told.
            let interest = if reads { PollFlags::IN } else { PollFlags::empty() };
            watches.add(&client.socket, interest, Event::Client(index));
            if !client.outbox.is_empty() {
                watches.add(&client.socket, PollFlags::OUT, Event::ClientTakes(index));
            }
        }
        for (index, connection) in self.connections.iter().enumerate() {
            let out = if connection.has_unsent() { PollFlags::OUT } else { PollFlags::empty() };
            watches.add(connection, PollFlags::IN | out, Event::Daemon(index));
        }
        if let Some(listener) = &self.listener {
            watches.add(listener, PollFlags::IN, Event::Caller);
        }
        if let Some(watch) = &self.oom_watch {
            watches.add_borrowed(watch.fd(), watch.interest(), Event::Memory);
        }
        if let Some(pidfd) = &compression {
            watches.add(pidfd, PollFlags::IN, Event::Compressed);
        }
        for listener in self.holding.listeners() {
            watches.add(listener, PollFlags::IN, Event::Knock);
        }
        if let Some(pidfd) = self.holding.child() {
            watches.add(pidfd, PollFlags::IN, Event::ProxyEnded);
        }
        for program in self.programs.iter().rev() {
            if let Some(pidfd) = &program.pidfd {
                watches.add(pidfd, PollFlags::IN, Event::Ended(program.key));
            }
        }
        watches.wait(self.timeout(), events);
    }

    fn watch_programs<'fds>(&'fds self, watches: &mut Watches<'fds>) {
        for program in &self.programs {
            let held_up =
                self.clients.iter().any(|client| client.program == program.key && client.outbox.holds_up());
            for output in [Output::Stdout, Output::Stderr] {
                if let Some(fd) = program.output(output)
                    && !held_up
                {
                    watches.add(fd, PollFlags::IN, Event::Output(program.key, output));
                }
            }
            if let Some(stdin) = &program.ends.stdin
                && program.has_input()
            {
                watches.add(stdin, PollFlags::OUT, Event::InputTaken(program.key));
            }
        }
    }

    /// How long to wait at most; `None`: for ever.
    fn timeout(&self) -> Option<Duration> {
        let stalls = self.clients.iter().filter_map(|client| client.outbox.stall_at());
        let programs = self.programs.iter().filter_map(Program::due);
        let due = stalls
            .chain(programs)
            .chain(self.idle_at)
            .chain(self.patience_ends())
            .chain(self.apart_at())
            .chain(self.holding.due())
            .min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    #[inline(never)]
    fn handle(&mut self, event: Event) {
        match event {
            Event::Caller => self.welcome(),
            Event::Daemon(index) => self.hear(index),
            Event::Output(key, output) => self.draw(key, output),
            Event::InputTaken(key) => {
                if let Some(program) = self.program_mut(key) {
                    program.push();
                }
            }
            Event::Ended(key) => self.reap(key),
            Event::Client(index) => self.read_client(index),
            Event::ClientTakes(index) => {
                let client = &mut self.clients[index];
                if let Err(lost) = client.outbox.flush(&client.socket) {
                    self.lose(index, &lost);
                }
            }
            Event::Memory => self.note_oom(),
            Event::Compressed => self.compressor.reap(),
            Event::Knock => self.holding.start_proxy(&self.id),
            Event::ProxyEnded => self.holding.reap(),
        }
    }

    /// Handles what is due by the clock.
    fn look_at_time(&mut self) {
        let now = Instant::now();
        for client in &mut self.clients {
            client.outbox.note_stall(Some(now));
        }
        for program in &mut self.programs {
            program.look_again(now);
        }
        self.conclude_programs(now);
        self.holding.look_again(now);
        if self.apart_at().is_some_and(|at| at <= now) {
            self.take_apart();
        }
        if self.idle_at.is_some_and(|at| at <= now) {
            self.idle_at = None;
            self.reap_strangers();
            self.relax();
        }
    }

    /// Gives back the memory that work has taken.
    #[inline(never)]
    pub(crate) fn relax(&mut self) {
        self.buffer = Vec::new();
        self.log.relax();
        self.clients.iter_mut().for_each(|client| client.outbox.relax());
        self.programs.iter_mut().for_each(Program::relax);
        minke_sys::memory::release_heap();
        minke_sys::memory::release_code();
        minke_sys::memory::release_stack();
    }

    pub(crate) fn program(&self, key: ProgramKey) -> Option<&Program> {
        self.programs.iter().find(|program| program.key == key)
    }

    pub(crate) fn program_mut(&mut self, key: ProgramKey) -> Option<&mut Program> {
        self.programs.iter_mut().find(|program| program.key == key)
    }

    /// The room for one read.
    fn take_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(CHUNK, 0);
        buffer
    }

    /// Reads what a process has written: into the log and to its clients.
    fn draw(&mut self, key: ProgramKey, output: Output) {
        let mut buffer = self.take_buffer();
        let mut drawn = 0;
        for _ in 0..TURN {
            let Some(program) = self.program_mut(key) else { break };
            let Drawn::Bytes(length) = program.draw(output, &mut buffer) else { break };
            drawn += length;
            let full = length == buffer.len();
            program.full_reads = if full { program.full_reads.saturating_add(1) } else { 0 };
            if program.full_reads == FLOOD {
                program.widen(output);
            }
            self.deliver(key, output, &buffer[..length]);
            let held_up =
                || self.clients.iter().any(|client| client.program == key && client.outbox.holds_up());
            if !full || held_up() {
                break;
            }
        }
        self.buffer = buffer;
        if let Some(program) = self.program_mut(key) {
            program.pace(output, drawn);
        }
    }

    fn deliver(&mut self, key: ProgramKey, output: Output, bytes: &[u8]) {
        if key == ProgramKey::INIT {
            let stream = match output {
                Output::Stdout => Stream::Stdout,
                Output::Stderr => Stream::Stderr,
            };
            // A disk that is full costs lines, not the container; the writer counts them.
            best_effort(self.log.write(stream, bytes, minke_logs::stamp::now()));
        }
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            if client.program == key
                && let Err(lost) = client.show(output, bytes, &self.container_dir)
            {
                self.lose(index, &lost);
            }
        }
    }

    /// Everything a process has written before it ended, as far as it is there.
    pub(crate) fn draw_rest(&mut self, key: ProgramKey) {
        // Nobody may hold this up: what a slow client has not taken goes to its file.
        for client in self.clients.iter_mut().filter(|client| client.program == key) {
            client.outbox.note_stall(None);
        }
        let mut buffer = self.take_buffer();
        for output in [Output::Stdout, Output::Stderr] {
            while let Some(program) = self.program_mut(key)
                && let Drawn::Bytes(length) = program.draw(output, &mut buffer)
            {
                self.deliver(key, output, &buffer[..length]);
            }
        }
        self.buffer = buffer;
    }

    /// Adds a client. What it had typed already goes to the process first.
    pub(crate) fn attach(&mut self, spec: AttachSpec, socket: OwnedFd, key: ProgramKey) {
        self.clients.push(Client::new(spec, socket, key));
        let index = self.clients.len() - 1;
        let mut typed = Vec::new();
        let input = self.clients[index].take_early(|bytes| typed.extend_from_slice(bytes));
        self.take_input(index, &typed, &input);
        if let Some(program) = self.program(key)
            && program.exit.is_some()
        {
            self.clients[index].leaving = true;
        }
    }

    fn read_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if !client.is_read() {
            // Told without being asked for: the connection is gone.
            self.lose(index, &Lost::Gone);
            return;
        }
        let mut buffer = self.take_buffer();
        let mut typed = Vec::new();
        let input = self.clients[index].read(&mut buffer[..8 << 10], |bytes| typed.extend_from_slice(bytes));
        self.buffer = buffer;
        self.take_input(index, &typed, &input);
    }

    fn take_input(&mut self, index: usize, typed: &[u8], input: &Input) {
        let (key, framed) = (self.clients[index].program, self.clients[index].is_framed());
        let Some(program) = self.program_mut(key) else { return };
        if !typed.is_empty() {
            program.give(typed);
        }
        match input {
            Input::More => {}
            Input::End if program.stdin_once && !program.tty => program.end_input(),
            // As with Docker: a client whose input ends, and does not end the process's, has ended its visit. Our own
            // stays for the exit code.
            Input::End if framed => {}
            Input::End => self.clients[index].leaving = true,
            Input::Detach => {
                let id = self.clients[index].id;
                self.notify(Notice::Detached { attach: id, by_keys: true });
                let told = self.clients[index].tell("{\"detached\":true}", &self.container_dir);
                self.clients[index].leaving = true;
                if let Err(lost) = told {
                    self.lose(index, &lost);
                }
            }
        }
    }

    /// Gives a client up at the end of the round.
    pub(crate) fn lose(&mut self, index: usize, lost: &Lost) {
        if self.gone.contains(&index) {
            return;
        }
        self.gone.push(index);
        let client = &self.clients[index];
        let (id, key, had_stdin, leaving) = (client.id, client.program, client.has_stdin(), client.leaving);
        if !leaving {
            self.notify(Notice::Detached { attach: id, by_keys: false });
        }
        if had_stdin
            && !leaving
            && *lost == Lost::Gone
            && let Some(program) = self.program_mut(key)
            && program.stdin_once
        {
            program.end_input();
        }
    }

    /// Drops what is over: broken connections, clients that are gone or served.
    #[inline(never)]
    fn sweep(&mut self) {
        let before = self.connections.len();
        self.connections.retain(|connection| !connection.is_broken());
        if self.connections.len() < before {
            self.note_lost_daemon();
        }
        let now = Instant::now();
        let (gone, patient) = (std::mem::take(&mut self.gone), !self.patience_is_over(now));
        let mut index = 0;
        self.clients.retain(|client| {
            let served = client.leaving && client.outbox.is_empty();
            let stays = !gone.contains(&index) && !served && patient;
            index += 1;
            if !stays {
                client.hang_up();
            }
            stays
        });
    }

    /// Tells the daemon, if there is one.
    pub(crate) fn notify(&mut self, notice: Notice) {
        if let Some(daemon) = self.connections.iter_mut().find(|connection| connection.introduced) {
            daemon.send(&Message::Event(notice));
        }
    }

    fn note_oom(&mut self) {
        let Some(watch) = &mut self.oom_watch else { return };
        match watch.take() {
            Ok(0) => {}
            Ok(_) => {
                self.oom_killed = true;
                self.notify(Notice::OomKilled);
            }
            Err(_) => self.oom_watch = None,
        }
    }
}

/// Descriptors to wait for, and what each would mean.
#[derive(Default)]
struct Watches<'fds> {
    fds: Vec<PollFd<'fds>>,
    meanings: Vec<Event>,
}

impl<'fds> Watches<'fds> {
    fn add(&mut self, fd: &'fds impl AsFd, flags: PollFlags, meaning: Event) {
        self.add_borrowed(fd.as_fd(), flags, meaning);
    }

    fn add_borrowed(&mut self, fd: BorrowedFd<'fds>, flags: PollFlags, meaning: Event) {
        self.fds.push(PollFd::from_borrowed_fd(fd, flags));
        self.meanings.push(meaning);
    }

    fn wait(mut self, timeout: Option<Duration>, events: &mut VecDeque<Event>) {
        // Rounded up, so that what is due is due when we wake.
        let timeout = timeout.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        match rustix::event::poll(&mut self.fds, timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return,
            Ok(_) => {}
            Err(errno) => panic!("poll over {} descriptors: {errno}", self.fds.len()),
        }
        let ready = self.fds.iter().zip(&self.meanings).filter(|(fd, _)| !fd.revents().is_empty());
        events.extend(ready.map(|(_, meaning)| *meaning));
    }
}
