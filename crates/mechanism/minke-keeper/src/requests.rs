//! What daemons ask of a keeper that has a container.

use std::os::fd::OwnedFd;

use minke_cgroup::{CgroupError, Host, systemd};
use minke_sys::pty;
use oci_spec::runtime::LinuxResources;

use crate::{
    best_effort,
    connection::Connection,
    launching::{self, chain},
    program::{Program, ProgramKey},
    protocol::{
        AttachSpec, Body, Event as Notice, ExecRequest, Message, Refusal, Reply, Request, ResizeRequest,
        SignalRequest, Target, VERSION,
    },
    tending::Keeper,
};

/// Connections that may be open before one says hello.
const CALLERS: usize = 8;

fn refused(refusal: Refusal, text: impl Into<String>) -> Reply {
    Reply::Refused { refusal, text: text.into() }
}

fn system(error: &dyn std::error::Error) -> Reply {
    refused(Refusal::System, chain(error))
}

fn done(result: Result<(), CgroupError>) -> Reply {
    result.map_or_else(|error| system(&error), |()| Reply::Done)
}

impl Keeper {
    /// Takes a daemon's connection. It counts once it says hello.
    pub(crate) fn welcome(&mut self) {
        let Some(listener) = &self.listener else { return };
        let Ok((stream, _)) = listener.accept() else { return };
        if self.connections.len() < CALLERS
            && let Ok(connection) = Connection::new(stream, false)
        {
            self.connections.push(connection);
        }
    }

    /// Hears what a daemon has to say.
    pub(crate) fn hear(&mut self, index: usize) {
        self.connections[index].flush();
        self.connections[index].receive();
        while let Some((request, fds)) = self.connections[index].next_request() {
            let Request { seq, body, .. } = request;
            let hello = matches!(body, Body::Hello { .. });
            let reply = if hello {
                self.introduce(index);
                Some(Reply::Hello { version: VERSION, pid: own_pid(), id: Some(self.id.clone()) })
            } else if self.connections[index].introduced {
                self.answer(seq, body, fds)
            } else {
                Some(refused(Refusal::Unknown, "say hello first"))
            };
            if let Some(reply) = reply {
                self.connections[index].send(&Message::reply(seq, reply));
            }
            if hello && let Some(exit) = self.programs[0].exit {
                // The one before may have died without recording it.
                self.connections[index].send(&Message::Event(Notice::Exited(exit)));
            }
        }
    }

    /// From now on this connection is the daemon's; the one before is its late predecessor's.
    fn introduce(&mut self, index: usize) {
        let mut replaced = false;
        for (other, connection) in self.connections.iter_mut().enumerate() {
            if other != index && connection.introduced {
                connection.dismiss();
                replaced = true;
            }
        }
        self.connections[index].introduced = true;
        if replaced {
            self.end_bound();
        }
    }

    /// Does what is asked; `None`: the answer comes later.
    fn answer(&mut self, seq: u64, body: Body, mut fds: Vec<OwnedFd>) -> Option<Reply> {
        let reply = match body {
            Body::Hello { .. } | Body::Launch(_) => {
                refused(Refusal::Unknown, format!("this keeper has container {} already", self.id))
            }
            Body::Query => Reply::State(Box::new(self.state())),
            Body::Forget => {
                if self.phase.is_running() {
                    refused(Refusal::Unknown, "the container is running")
                } else {
                    self.forget();
                    Reply::Done
                }
            }
            Body::Shutdown => return self.shut_down(seq),
            Body::Detach { attach } => self.detach(attach),
            Body::Attach { target, spec } => self.attach_client(&target, spec, fds.pop()),
            _ if !self.phase.is_running() => {
                refused(Refusal::NotRunning, format!("container {} is not running", self.id))
            }
            Body::Hold { held } => {
                if held.len() == fds.len() {
                    listening(self.holding.hold(held, fds))
                } else {
                    refused(Refusal::Malformed, "what is to be held needs one descriptor each")
                }
            }
            Body::Release { labels } => {
                self.holding.release(&labels);
                Reply::Done
            }
            Body::Fetch { prefix, after } => match self.holding.fetch(&prefix, &after) {
                Ok((labels, more, fds)) => {
                    self.reply_with(seq, Reply::Held { labels, more }, fds);
                    return None;
                }
                Err(error) => system(&error),
            },
            Body::SetProxies { proxies } => listening(self.holding.set_proxies(proxies)),
            Body::Resize(request) => self.resize(&request),
            Body::Signal(request) => self.signal(&request),
            Body::Exec(request) => self.exec(*request, fds),
            Body::CloseStdin { target } => self.with(&target, |program| {
                program.end_input();
                Reply::Done
            }),
            Body::Pause => self.cgroup.as_ref().map_or_else(no_cgroup, |cgroup| done(cgroup.freeze())),
            Body::Resume => self.cgroup.as_ref().map_or_else(no_cgroup, |cgroup| done(cgroup.thaw())),
            Body::Update { resources } => self.update(&resources),
        };
        Some(reply)
    }

    fn with(&mut self, target: &Target, act: impl FnOnce(&mut Program) -> Reply) -> Reply {
        match self.find(target) {
            Some(key) => self.program_mut(key).map_or_else(|| no_such(target), act),
            None => no_such(target),
        }
    }

    fn find(&self, target: &Target) -> Option<ProgramKey> {
        match target {
            Target::Init => Some(ProgramKey::INIT),
            Target::Exec(id) => {
                self.programs[1..].iter().find(|program| program.name == *id).map(|program| program.key)
            }
        }
    }

    fn attach_client(&mut self, target: &Target, spec: AttachSpec, socket: Option<OwnedFd>) -> Reply {
        let Some(key) = self.find(target) else { return no_such(target) };
        if self.program(key).is_none_or(|program| program.ended.is_some()) {
            return refused(Refusal::NotRunning, format!("container {} is not running", self.id));
        }
        let Some(socket) = socket else { return refused(Refusal::Malformed, "an attach needs a descriptor") };
        self.attach(spec, socket, key);
        Reply::Done
    }

    fn detach(&mut self, attach: u64) -> Reply {
        match self.clients.iter_mut().find(|client| client.id == attach) {
            Some(client) => {
                client.leaving = true;
                Reply::Done
            }
            None => refused(Refusal::NotFound, format!("no client {attach} is attached")),
        }
    }

    fn resize(&mut self, request: &ResizeRequest) -> Reply {
        let size = pty::Size { rows: request.height, cols: request.width };
        self.with(&request.target, |program| match &program.ends.stdout {
            Some(master) if program.tty => match pty::set_size(master, size) {
                Ok(()) => Reply::Done,
                Err(errno) => system(&std::io::Error::from(errno)),
            },
            _ if program.ended.is_some() => refused(Refusal::NotRunning, "the process is not running"),
            _ => refused(Refusal::System, "the process has no terminal"),
        })
    }

    fn signal(&mut self, request: &SignalRequest) -> Reply {
        if request.all {
            return self
                .cgroup
                .as_ref()
                .map_or_else(no_cgroup, |cgroup| done(cgroup.signal_all(request.signo)));
        }
        self.with(&request.target, |program| {
            let Some(pidfd) = &program.pidfd else {
                return refused(Refusal::NotRunning, "the process is not running");
            };
            match minke_sys::pidfd::send_signal(pidfd, request.signo) {
                Ok(()) => Reply::Done,
                Err(minke_sys::Errno::SRCH) => refused(Refusal::NotRunning, "the process is not running"),
                Err(errno) => system(&std::io::Error::from(errno)),
            }
        })
    }

    fn exec(&mut self, mut request: ExecRequest, fds: Vec<OwnedFd>) -> Reply {
        if self.find(&Target::Exec(request.id.clone())).is_some() {
            return refused(Refusal::Malformed, format!("exec {} exists already", request.id));
        }
        let attach = std::mem::take(&mut request.attach);
        if attach.len() != fds.len() {
            return refused(Refusal::Malformed, "an exec needs one descriptor for each client");
        }
        let key = ProgramKey(self.next_key);
        let started = match &mut self.foreign {
            Some(foreign) => launching::exec_foreign(&request, key, foreign),
            None => launching::exec(&request, key, &self.programs[0], self.cgroup.as_ref()),
        };
        let program = match started {
            Ok(program) => program,
            Err(failure) => return Reply::Failed(failure),
        };
        self.next_key += 1;
        let pid = program.pid;
        self.programs.push(program);
        for (spec, socket) in attach.into_iter().zip(fds) {
            self.attach(spec, socket, key);
            self.greet(self.clients.len() - 1);
        }
        Reply::ExecStarted { pid }
    }

    /// systemd first: it would write its own idea of the limits again when it reloads.
    fn update(&self, resources: &LinuxResources) -> Reply {
        let Some(cgroup) = &self.cgroup else { return no_cgroup() };
        let told = self
            .unit
            .as_ref()
            .map_or(Ok(()), |unit| systemd::update(unit, systemd::Of::Machine, &Host::probe()?, resources));
        match told {
            Ok(()) => done(cgroup.update(resources).map(drop)),
            Err(error) => system(&error),
        }
    }

    /// Tells a framed client that its process runs.
    pub(crate) fn greet(&mut self, index: usize) {
        let told = self.clients[index].tell("{\"started\":true}", &self.container_dir);
        if let Err(lost) = told {
            self.lose(index, &lost);
        }
    }

    pub(crate) fn shut_down(&mut self, seq: u64) -> Option<Reply> {
        if !self.phase.is_running() {
            self.forget();
            return Some(Reply::Done);
        }
        self.shutdown = Some(seq);
        let killed = self.cgroup.as_ref().map(minke_cgroup::Cgroup::kill_all);
        if !matches!(killed, Some(Ok(())))
            && let Some(pidfd) = &self.programs[0].pidfd
        {
            // Gone already is as good; its end is on the way.
            best_effort(minke_sys::pidfd::send_signal(pidfd, 9));
        }
        if let Some(cgroup) = &self.cgroup {
            // A frozen process dies when it is thawed.
            best_effort(cgroup.thaw());
        }
        None
    }
}

fn listening(outcome: Result<(), String>) -> Reply {
    outcome.map_or_else(|text| refused(Refusal::System, text), |()| Reply::Done)
}

fn no_cgroup() -> Reply {
    refused(Refusal::System, "the container has no cgroup of its own")
}

fn no_such(target: &Target) -> Reply {
    let text = match target {
        Target::Init => "the container has no process".to_owned(),
        Target::Exec(id) => format!("no exec {id}"),
    };
    refused(Refusal::NotFound, text)
}

pub(crate) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
