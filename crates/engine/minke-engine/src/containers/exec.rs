//! Exec: further processes in a running container.
//!
//! An exec lives in memory only, as with Docker: it is made, started once, and forgotten with the container or a while
//! after its end. Its process belongs to the container's keeper.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use minke_api::container::{
    ExecConfig, ExecCreateResponse, ExecInspect, ExecProcessConfig, ExecStartRequest,
};
use minke_api::framing::{self, Stream};
use minke_api::run::RunControl;
use minke_keeper::protocol::{
    AttachSpec, Body, ExecRequest, Exit, Refusal, Reply, ResizeRequest, SeccompFilter, Target, Wire,
};
use oci_spec::runtime::Process;

use super::container::Container;
use super::requests::{AcceptedExec, ClientStream};
use super::{Containers, attach, kill, random_id};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::keepers::KeeperError;
use crate::spec::identity::Accounts;
use crate::spec::{ExecInput, plan_exec};

/// How long an ended exec can still be inspected.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(300);

/// One exec.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) id: String,
    pub(crate) config: ExecConfig,
    /// A health check: it ends with the engine that asked.
    probe: bool,
    state: Mutex<ExecState>,
}

#[derive(Clone, Debug, Default)]
struct ExecState {
    started: bool,
    running: bool,
    pid: i32,
    exit_code: Option<i64>,
    ended_at: Option<Moment>,
}

impl Exec {
    fn state(&self) -> std::sync::MutexGuard<'_, ExecState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self) -> String {
        self.config.cmd.as_deref().unwrap_or_default().join(" ")
    }
}

impl Containers {
    /// Makes an exec that does not run yet.
    pub fn exec_create(self: &Arc<Self>, reference: &str, config: ExecConfig) -> Result<ExecCreateResponse> {
        if config.cmd.as_deref().is_none_or(<[String]>::is_empty) {
            return Err(Error::invalid(minke_api::texts::NO_EXEC_COMMAND));
        }
        let container = self.find(reference)?;
        kill::require_running(&container, reference, "exec")?;
        for entry in config.env.iter().flatten() {
            if entry.is_empty() || entry.starts_with('=') {
                return Err(Error::invalid(format!("invalid environment variable: {entry}")));
            }
        }
        attach::parse_detach_keys(Some(&config.detach_keys), config.tty)?;
        Ok(self.make_exec(&container, config, false))
    }

    fn make_exec(&self, container: &Arc<Container>, config: ExecConfig, probe: bool) -> ExecCreateResponse {
        let exec = Arc::new(Exec { id: random_id(), config, probe, state: Mutex::default() });
        self.forget_old_execs();
        container.execs().insert(exec.id.clone(), Arc::clone(&exec));
        self.execs().insert(exec.id.clone(), (Arc::clone(container), Arc::clone(&exec)));
        self.publish_exec(container, &exec, &format!("exec_create: {}", exec.command()), &[]);
        ExecCreateResponse { id: exec.id.clone() }
    }

    /// Makes an exec for a health check and accepts its start.
    pub(super) fn begin_probe(
        self: &Arc<Self>,
        container: &Arc<Container>,
        config: ExecConfig,
    ) -> Result<AcceptedExec> {
        kill::require_running(container, container.id.as_str(), "exec")?;
        let created = self.make_exec(container, config, true);
        self.accept_exec(&created.id, &ExecStartRequest::default())
    }

    /// Forgets an exec at once, wherever it has got to.
    pub(super) fn forget_exec(&self, container: &Container, id: &str) {
        container.execs().remove(id);
        self.execs().remove(id);
    }

    fn find_exec(&self, id: &str) -> Result<super::ExecPlace> {
        let execs = self.execs();
        if let Some(place) = execs.get(id) {
            return Ok(place.clone());
        }
        let mut matches = execs.iter().filter(|(own, _)| !id.is_empty() && own.starts_with(id));
        match (matches.next(), matches.next()) {
            (Some((_, place)), None) => Ok(place.clone()),
            _ => Err(Error::not_found(minke_api::texts::no_such_exec(id))),
        }
    }

    /// Checks a start. What can fail for the client's fault fails here, before the connection is upgraded.
    pub fn accept_exec(self: &Arc<Self>, id: &str, request: &ExecStartRequest) -> Result<AcceptedExec> {
        let (container, exec) = self.find_exec(id)?;
        let state = exec.state().clone();
        if state.running {
            return Err(Error::conflict(format!("exec {} is already running", exec.id)));
        }
        if state.started {
            return Err(Error::conflict(format!("exec command {} has already run", exec.id)));
        }
        kill::require_running(&container, container.id.as_str(), "exec")?;
        let console_size = request.console_size.or(exec.config.console_size);
        Ok(AcceptedExec { tty: exec.config.tty, container, exec, console_size, framed: false })
    }

    /// Makes an exec and accepts its start at once, for minke's own client.
    pub fn begin_exec(self: &Arc<Self>, reference: &str, config: ExecConfig) -> Result<AcceptedExec> {
        let created = self.exec_create(reference, config)?;
        let accepted = self.accept_exec(&created.id, &ExecStartRequest::default())?;
        Ok(AcceptedExec { framed: true, ..accepted })
    }

    /// Starts an accepted exec, its client attached when there is one. A failure is told to the client on its own
    /// socket, as Docker does once the connection is upgraded, and returned as well.
    pub async fn exec_start(
        self: &Arc<Self>,
        accepted: AcceptedExec,
        client: Option<ClientStream>,
    ) -> Result<()> {
        let AcceptedExec { tty, container, exec, console_size, framed } = accepted;
        {
            let mut state = exec.state();
            if state.started {
                return Err(Error::conflict(format!("exec command {} has already run", exec.id)));
            }
            state.started = true;
            state.running = true;
        }
        let wire = match (framed, tty) {
            (true, _) => Wire::Framed,
            (false, true) => Wire::Raw,
            (false, false) => Wire::Stdcopy,
        };
        let spare = client.as_ref().and_then(|client| client.socket.try_clone().ok());
        match self.try_exec(&container, &exec, client.map(|client| (client, wire)), console_size).await {
            Ok(()) => Ok(()),
            Err((error, exit_code)) => {
                {
                    let mut state = exec.state();
                    state.running = false;
                    state.exit_code = Some(exit_code);
                    state.ended_at = Some(Moment::now());
                }
                let more = [("exitCode", exit_code.to_string())];
                self.publish_exec(&container, &exec, "exec_die", &more);
                if let Some(socket) = spare {
                    attach::write_all(socket, told(&error, exit_code, wire)).await;
                }
                Err(error)
            }
        }
    }

    async fn try_exec(
        self: &Arc<Self>,
        container: &Arc<Container>,
        exec: &Arc<Exec>,
        client: Option<(ClientStream, Wire)>,
        console_size: Option<[u32; 2]>,
    ) -> std::result::Result<(), (Error, i64)> {
        let other = |error: Error| (error, 128);
        let config = &exec.config;
        let (process, seccomp) = self.plan_exec_process(container, config, console_size).map_err(other)?;
        let detach_keys = attach::parse_detach_keys(Some(&config.detach_keys), config.tty).map_err(other)?;
        let mut fds = Vec::new();
        let mut clients = Vec::new();
        if let Some((client, wire)) = client {
            clients.push(AttachSpec {
                id: container.next_client(),
                stdin: config.attach_stdin,
                stdout: config.attach_stdout,
                stderr: config.attach_stderr,
                wire,
                detach_keys,
                early: client.early,
            });
            fds.push(client.socket);
        }
        let request = ExecRequest {
            id: exec.id.clone(),
            process: Box::new(process),
            open_stdin: config.attach_stdin,
            attach: clients,
            seccomp,
            strict_limits: false,
            bound: exec.probe,
        };
        let Some(keeper) = container.keeper() else { return Err(other(kill::not_running(container))) };
        self.publish_exec(container, exec, &format!("exec_start: {}", exec.command()), &[]);
        match keeper.ask(Body::Exec(Box::new(request)), fds).await {
            Ok(Reply::ExecStarted { pid }) => {
                let mut state = exec.state();
                // Its end may have been told before its start.
                if state.running {
                    state.pid = pid;
                }
                Ok(())
            }
            Ok(Reply::Failed(failure)) => {
                let error = if matches!(failure.exit_code, 126 | 127) {
                    Error::invalid(failure.text)
                } else {
                    Error::system(failure.text)
                };
                Err((error, i64::from(failure.exit_code)))
            }
            Ok(reply) => Err(other(Error::system(format!("the keeper answered {reply:?} to an exec")))),
            Err(KeeperError::Refused { refusal: Refusal::NotRunning, .. } | KeeperError::Gone) => {
                Err(other(kill::not_running(container)))
            }
            Err(source) => Err(other(Error::failed("OCI runtime exec failed", source))),
        }
    }

    fn plan_exec_process(
        &self,
        container: &Container,
        config: &ExecConfig,
        console_size: Option<[u32; 2]>,
    ) -> Result<(Process, Option<SeccompFilter>)> {
        let record = container.record();
        let accounts = self.exec_accounts(container);
        let user = if config.user.is_empty() { &record.config.user } else { &config.user };
        let groups = record.host.group_add.as_deref().unwrap_or_default();
        let identity = accounts.resolve(user, groups)?;
        let capabilities = if config.privileged {
            self.parts.facts.capabilities.clone()
        } else {
            self.plan_capabilities(&record)?
        };
        let security = self.security_of(&record)?;
        // A privileged exec in a container that is not keeps the container's filter, made for its capabilities.
        let seccomp = self.plan_seccomp(&record, &security, &capabilities)?;
        let process = plan_exec(ExecInput {
            config: &record.config,
            hostname: &self.hostname_inside(&record),
            args: config.cmd.as_deref().unwrap_or_default().to_vec(),
            env: config.env.as_deref().unwrap_or_default(),
            working_dir: &config.working_dir,
            links: &self.link_environment_now(&record),
            identity: &identity,
            capabilities: &capabilities,
            apparmor: self.plan_apparmor(&record, &security).as_deref().filter(|_| !config.privileged),
            no_new_privileges: security.no_new_privileges,
            tty: config.tty,
            console_size,
            ulimits: record.host.ulimits.as_deref().unwrap_or_default(),
            oom_score_adj: record.host.oom_score_adj,
        })?;
        Ok((process, seccomp))
    }

    /// The account files as they are in the running container, read beneath its root.
    pub(super) fn exec_accounts(&self, container: &Container) -> Arc<Accounts> {
        let directory = self.data_dir(container.id.as_str());
        if directory.join("upper/etc").symlink_metadata().is_err() {
            return self.read_accounts(container, &directory);
        }
        match crate::images::read_accounts_of(container.pid()) {
            Some(accounts) => Arc::new(accounts),
            None => self.read_accounts(container, Path::new(&directory)),
        }
    }

    /// What is known of an exec.
    ///
    /// Clients ask for the exit code the moment their stream ends, which may be before the keeper's word of the end was read
    /// here. The keeper says it before it lets go of the clients, so asking the keeper settles it.
    pub async fn exec_inspect(self: &Arc<Self>, id: &str) -> Result<ExecInspect> {
        let (container, exec) = self.find_exec(id)?;
        if exec.state().running
            && let Some(keeper) = container.keeper()
            && let Ok(Reply::State(known)) = keeper.ask(Body::Query, Vec::new()).await
            && let Some(exit) =
                known.execs.iter().find(|known| known.id == exec.id).and_then(|known| known.exit)
        {
            self.record_exec_exit(&container, &exec.id, exit);
        }
        let state = exec.state().clone();
        let config = &exec.config;
        let words = config.cmd.as_deref().unwrap_or_default();
        Ok(ExecInspect {
            id: exec.id.clone(),
            running: state.running,
            exit_code: state.exit_code,
            process_config: ExecProcessConfig {
                tty: config.tty,
                entrypoint: words.first().cloned().unwrap_or_default(),
                arguments: Some(words.get(1..).unwrap_or_default().to_vec()),
                privileged: config.privileged,
                user: config.user.clone(),
            },
            open_stdin: config.attach_stdin,
            open_stderr: config.attach_stderr,
            open_stdout: config.attach_stdout,
            can_remove: state.ended_at.is_some(),
            container_id: container.id.as_str().to_owned(),
            detach_keys: config.detach_keys.clone(),
            pid: i64::from(state.pid),
        })
    }

    /// Tells the terminal of an exec its new size.
    pub async fn exec_resize(self: &Arc<Self>, id: &str, height: u16, width: u16) -> Result<()> {
        let (container, exec) = self.find_exec(id)?;
        if !exec.state().running {
            return Err(Error::conflict(format!("exec {} is not running", exec.id)));
        }
        let request = ResizeRequest { target: Target::Exec(exec.id.clone()), width, height };
        self.order(&container, Body::Resize(request), "resize the terminal of an exec in").await
    }

    /// An exec has ended.
    pub(super) fn record_exec_exit(&self, container: &Arc<Container>, id: &str, exit: Exit) {
        let Some(exec) = container.execs().get(id).cloned() else { return };
        {
            let mut state = exec.state();
            if state.ended_at.is_some() {
                return;
            }
            state.running = false;
            state.pid = 0;
            state.exit_code = Some(i64::from(exit.code));
            state.ended_at = Some(Moment(exit.at));
        }
        self.publish_exec(container, &exec, "exec_die", &[("exitCode", exit.code.to_string())]);
    }

    /// With its container every exec ends.
    pub(super) fn end_execs(&self, container: &Arc<Container>, exit: Exit) {
        let running: Vec<String> = container
            .execs()
            .values()
            .filter(|exec| exec.state().running)
            .map(|exec| exec.id.clone())
            .collect();
        for id in running {
            self.record_exec_exit(container, &id, Exit { code: 137, oom_killed: false, at: exit.at });
        }
    }

    /// After adoption: an exec that the daemon before had started.
    pub(crate) fn adopt_exec(&self, container: &Arc<Container>, id: &str, pid: i32) {
        let state = ExecState { started: true, running: true, pid, ..ExecState::default() };
        let exec = Arc::new(Exec {
            id: id.to_owned(),
            config: ExecConfig::default(),
            probe: false,
            state: Mutex::new(state),
        });
        container.execs().insert(id.to_owned(), Arc::clone(&exec));
        self.execs().insert(id.to_owned(), (Arc::clone(container), exec));
    }

    pub(super) fn forget_execs(&self, container: &Container) {
        let gone = std::mem::take(&mut *container.execs());
        let mut execs = self.execs();
        for id in gone.keys() {
            execs.remove(id);
        }
    }

    /// Execs that ended a while ago, or were never started, would pile up for ever in a long life.
    fn forget_old_execs(&self) {
        let now = Moment::now();
        let mut execs = self.execs();
        if execs.len() < 16 {
            return;
        }
        execs.retain(|id, (container, exec)| {
            let old = exec.state().ended_at.is_some_and(|at| now.since(at) > REMEMBERED);
            if old {
                container.execs().remove(id);
            }
            !old
        });
    }

    fn publish_exec(&self, container: &Container, exec: &Exec, action: &str, more: &[(&str, String)]) {
        let mut attributes = vec![("execID", exec.id.clone())];
        attributes.extend(more.iter().cloned());
        self.publish(container, action, &attributes);
    }

    /// The execs that run in a container, for inspect.
    pub(super) fn running_execs(container: &Container) -> Option<Vec<String>> {
        let ids: Vec<String> = container
            .execs()
            .values()
            .filter(|exec| exec.state().running)
            .map(|exec| exec.id.clone())
            .collect();
        (!ids.is_empty()).then_some(ids)
    }
}

/// Why an exec did not start, as its client is told: on the program's own output, since the answer has been given.
fn told(error: &Error, exit_code: i64, wire: Wire) -> Vec<u8> {
    let text = format!("{error}\r\n");
    if wire == Wire::Raw {
        return text.into_bytes();
    }
    let mut bytes = Vec::new();
    framing::encode(Stream::Stdout, text.as_bytes(), &mut bytes);
    if wire == Wire::Framed {
        let code = i32::try_from(exit_code).unwrap_or(128);
        if let Ok(control) = serde_json::to_vec(&RunControl::Exit { code }) {
            framing::encode(Stream::Control, &control, &mut bytes);
        }
    }
    bytes
}
