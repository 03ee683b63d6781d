//! The end of processes and of the container: what is told when, what is written down, what is taken apart.
//!
//! The daemon hears of the exit first, then the clients whose last word it is; cgroup, mounts and hooks come after, because
//! nobody but the next start has to wait for them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::Path,
    time::{Duration, Instant},
};

use minke_logs::Stream;

use crate::{
    best_effort,
    program::ProgramKey,
    protocol::{EXIT_RECORD, Event as Notice, Exit, Message, Reply, SOCKET_NAME, State, Status, VERSION},
    tending::Keeper,
};

/// How long the last clients may take for what is left for them.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How many execs that are over a keeper still speaks of.
const REMEMBERED: usize = 16;

/// How long the daemon's word of an exit is waited for before the container is taken apart: while it is, no client is served.
const WORD: Duration = Duration::from_millis(20);

/// How far the container's life has got.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its first process lives, or its output is still coming.
    Running,
    /// It is over.
    Exited {
        /// When the last clients are given up.
        patience: Instant,
        /// When the container is taken apart at the latest; `None`: it is.
        apart: Option<Instant>,
        /// `exit.json` is written.
        recorded: bool,
        /// The daemon knows and has told us to go.
        forgotten: bool,
    },
}

impl Phase {
    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }
}

impl Keeper {
    /// Reaps a process. Its end is told once its output is over too.
    pub(crate) fn reap(&mut self, key: ProgramKey) {
        let now = minke_logs::stamp::now();
        if !self.program_mut(key).is_some_and(|program| program.reap(now)) {
            return;
        }
        self.draw_rest(key);
        let has_output = self.program(key).is_some_and(crate::program::Program::has_output);
        let others = self.programs.iter().any(|program| program.pidfd.is_some());
        if key == ProgramKey::INIT && (has_output || others) {
            // Only where the container shares a pid namespace: those it leaves behind hold its pipes, and go with it.
            if let Some(cgroup) = &self.cgroup {
                best_effort(cgroup.kill_all());
            }
        }
        self.conclude_programs(Instant::now());
    }

    /// Reaps children that are nobody's: what a start that failed may have left. A zombie in the container's pid namespace
    /// would keep its first process from ending.
    pub(crate) fn reap_strangers(&self) {
        let Ok(children) = fs::read_to_string("/proc/thread-self/children") else { return };
        for pid in children.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()) {
            let ours = self.programs.iter().any(|program| program.pid == pid)
                || self.compressor.is(pid)
                || self.holding.is(pid);
            if !ours && let Some(pid) = rustix::process::Pid::from_raw(pid) {
                best_effort(rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG));
            }
        }
    }

    /// Tells the end of every process that is over.
    #[inline(never)]
    pub(crate) fn conclude_programs(&mut self, now: Instant) {
        // Execs first: the daemon hears of the container's end last.
        for index in (0..self.programs.len()).rev() {
            if !self.programs[index].can_conclude(now) {
                continue;
            }
            let program = &mut self.programs[index];
            let Some(ended) = program.ended else { continue };
            program.ends.stdout = None;
            program.ends.stderr = None;
            let (key, name) = (program.key, program.name.clone());
            let exit = Exit { code: ended.code, oom_killed: false, at: ended.at };
            program.exit = Some(exit);
            if key == ProgramKey::INIT {
                self.conclude_container(exit);
            } else {
                self.notify(Notice::ExecExited { exec: name, exit });
                self.release_clients(key, exit.code, true);
            }
        }
        self.forget_old_execs();
    }

    /// In a long life many execs end (a health check is one each time); a daemon that comes back asks for the last ones only.
    fn forget_old_execs(&mut self) {
        let mut over = self.programs[1..].iter().filter(|program| program.exit.is_some()).count();
        if over <= REMEMBERED {
            return;
        }
        self.programs.retain(|program| {
            let goes = over > REMEMBERED && program.key != ProgramKey::INIT && program.exit.is_some();
            over -= usize::from(goes);
            !goes
        });
    }

    fn conclude_container(&mut self, exit: Exit) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            best_effort(self.log.finish(stream, exit.at));
        }
        let kills = self.cgroup.as_ref().map_or(0, |cgroup| cgroup.read_oom_kills().unwrap_or(0));
        let exit = Exit { oom_killed: self.oom_killed || kills > 0, ..exit };
        self.programs[0].exit = Some(exit);
        let now = Instant::now();
        self.phase = Phase::Exited {
            patience: now + PATIENCE,
            apart: Some(now + WORD),
            recorded: false,
            forgotten: false,
        };
        // Ports come free before anybody hears of the end: the next container may want the same at once.
        self.holding.drop_all();
        self.notify(Notice::Exited(exit));
        self.release_clients(ProgramKey::INIT, exit.code, false);
        if let Some(seq) = self.shutdown.take() {
            self.forget();
            self.reply(seq, Reply::Done);
        } else if !self.has_daemon() {
            self.note_lost_daemon();
        }
    }

    /// Lets the clients of an ended process go. Framed ones wait for their last frame until the end is recorded.
    fn release_clients(&mut self, key: ProgramKey, code: i32, recorded: bool) {
        let last = format!("{{\"exit\":{{\"code\":{code}}}}}");
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            if client.program != key || (client.is_framed() && !recorded) || client.leaving {
                continue;
            }
            let told = client.tell(&last, &self.container_dir);
            client.leaving = true;
            if let Err(lost) = told {
                self.lose(index, &lost);
            }
        }
    }

    /// Takes the container apart: what is left of its processes, its cgroup, its mounts, its hooks.
    pub(crate) fn take_apart(&mut self) {
        if let Phase::Exited { apart, .. } = &mut self.phase {
            *apart = None;
        }
        self.mount_namespace = None;
        self.oom_watch = None;
        if let Some(foreign) = self.foreign.take() {
            foreign.delete();
        }
        if let Some(cgroup) = self.cgroup.take() {
            let empty = cgroup.pids().is_ok_and(|pids| pids.is_empty());
            if !empty {
                best_effort(cgroup.kill_and_wait());
            }
            // What cannot be removed now is found by the daemon's sweep.
            best_effort(cgroup.remove());
        }
        if let Some(spec) = self.poststop.take() {
            // They run whatever happens; there is nobody left to tell but the log of the host, which is not ours.
            let _unheard = minke_runtime::hooks::run_poststop(&spec, &self.id, &self.container_dir);
        }
    }

    /// The daemon has recorded the exit.
    pub(crate) fn forget(&mut self) {
        let Some(exit) = self.programs[0].exit else { return };
        let Phase::Exited { recorded, forgotten, .. } = &mut self.phase else { return };
        *forgotten = true;
        if std::mem::take(recorded) {
            best_effort(fs::remove_file(self.container_dir.join(EXIT_RECORD)));
        }
        self.release_clients(ProgramKey::INIT, exit.code, true);
        self.take_apart();
        // Before the daemon has its answer: from then on the container may be started again, under the same name.
        self.vanish();
    }

    /// There may be no daemon any more: then an exit is written down, and clients need not wait for its word.
    pub(crate) fn note_lost_daemon(&mut self) {
        if self.has_daemon() {
            return;
        }
        self.end_bound();
        let Some(exit) = self.programs[0].exit else { return };
        let Phase::Exited { recorded: false, forgotten: false, .. } = self.phase else { return };
        let state = self.state();
        // When even this cannot be written the daemon finds the container gone, with no exit code: nothing better is
        // left to do.
        let written = serde_json::to_vec(&state).map_err(io::Error::other);
        best_effort(written.and_then(|text| write_durably(&self.container_dir, EXIT_RECORD, &text)));
        if let Phase::Exited { recorded, .. } = &mut self.phase {
            *recorded = true;
        }
        self.release_clients(ProgramKey::INIT, exit.code, true);
        self.take_apart();
    }

    /// Ends what only the daemon that is gone wanted to know.
    pub(crate) fn end_bound(&self) {
        for program in self.programs.iter().filter(|program| program.bound) {
            if let Some(pidfd) = &program.pidfd {
                // It may have ended just now.
                best_effort(minke_sys::pidfd::send_signal(pidfd, 9));
            }
        }
    }

    pub(crate) fn has_daemon(&self) -> bool {
        self.connections.iter().any(|connection| connection.introduced && !connection.is_broken())
    }

    /// Whether there is nothing left to do here.
    pub(crate) fn may_leave(&self) -> bool {
        let Phase::Exited { recorded, forgotten, apart: None, .. } = self.phase else { return false };
        (recorded || forgotten)
            && self.clients.is_empty()
            && self.programs.iter().all(|program| program.exit.is_some())
            && !self.connections.iter().any(crate::connection::Connection::has_unsent)
    }

    /// When the last clients are given up.
    pub(crate) fn patience_ends(&self) -> Option<Instant> {
        match self.phase {
            Phase::Exited { patience, .. } if !self.clients.is_empty() => Some(patience),
            _ => None,
        }
    }

    /// When the container is to be taken apart at the latest.
    pub(crate) fn apart_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Exited { apart, .. } => apart,
            Phase::Running => None,
        }
    }

    pub(crate) fn patience_is_over(&self, now: Instant) -> bool {
        self.patience_ends().is_some_and(|at| at <= now)
    }

    /// Removes what this keeper can be found by. What is not its own any more it leaves alone.
    pub(crate) fn vanish(&mut self) {
        if self.listener.take().is_none() {
            return;
        }
        best_effort(fs::remove_file(self.exec_root_dir.join(SOCKET_NAME)));
        best_effort(fs::remove_file(self.exec_root_dir.join(crate::init::NAME)));
        // Stays when the daemon keeps something of its own there.
        best_effort(fs::remove_dir(&self.exec_root_dir));
    }

    pub(crate) fn state(&self) -> State {
        let first = &self.programs[0];
        let paused = || {
            self.cgroup
                .as_ref()
                .is_some_and(|cgroup| matches!(cgroup.read_freezer(), Ok(minke_cgroup::Freezer::Frozen)))
        };
        let status = if first.exit.is_some() {
            Status::Exited
        } else if paused() {
            Status::Paused
        } else {
            Status::Running
        };
        State {
            version: VERSION,
            id: self.id.clone(),
            pid: if first.exit.is_some() { 0 } else { first.pid },
            started_at: self.started_at,
            status,
            exit: first.exit,
            execs: self.programs[1..].iter().map(crate::program::Program::state).collect(),
            attached: self.clients.iter().filter(|client| !client.leaving).map(|client| client.id).collect(),
        }
    }

    pub(crate) fn reply(&mut self, seq: u64, reply: Reply) {
        self.reply_with(seq, reply, Vec::new());
    }

    /// As [`Keeper::reply`], with descriptors.
    pub(crate) fn reply_with(&mut self, seq: u64, reply: Reply, fds: Vec<OwnedFd>) {
        if let Some(daemon) = self.connections.iter_mut().find(|connection| connection.introduced) {
            daemon.send_with(&Message::reply(seq, reply), fds);
        }
    }
}

/// A file that is there whole or not at all, also after a power cut.
fn write_durably(directory: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let draft = directory.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(name))?;
    File::open(directory)?.sync_all()
}
