//! Start: from a record to a running program.
//!
//! The order is chosen for the way of `run`: what can fail without the kernel is planned first; then directories,
//! files and the network namespace; then one message to a blank keeper. The ledger hears of it when the program runs,
//! and the client after the ledger.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minke_keeper::protocol::{
    AttachSpec, Body, Event, Failure, LaunchRequest, ProxySpec, Reply, Rootfs, SeccompFilter, socket,
};
use minke_store::rootfs::PrepareOptions;
use oci_spec::runtime::Capabilities;
use tokio::sync::mpsc;

use super::container::Container;
use super::files::Names;
use super::links::Linked;
use super::networking::{proxy_specs, split_held};
use super::record::{Phase, Record};
use super::{Containers, logs, random_id};
use crate::cgroups::CgroupDriver;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::keepers::Connection;
use crate::networks::{Claimed, Mode, Place};
use crate::spec::devices::{self, DevicePlan};
use crate::spec::identity::{Accounts, Identity};
use crate::spec::mounts::{self, MountWish, What};
use crate::spec::security::{Seccomp, SecurityOptions};
use crate::spec::{self, NamespacePlan, Namespaces, PlanInput, SystemFiles, capabilities};

/// The exit code of a container that did not get as far as its program.
const UNKNOWN_EXIT: i32 = 128;

/// Everything a launch needs, the network included.
struct Prepared {
    request: LaunchRequest,
    fds: Vec<OwnedFd>,
    places: Vec<Place>,
    /// What the keeper is to hold and had no room for in one message, with the proxies that need all of it.
    later: Vec<(String, OwnedFd)>,
    later_proxies: Vec<ProxySpec>,
}

/// What a launch came to.
struct Launched {
    pid: i32,
    started_at: i64,
    connection: Arc<Connection>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Containers {
    /// Starts a container that does not run.
    pub async fn start(self: &Arc<Self>, reference: &str) -> Result<()> {
        let container = self.find(reference)?;
        let _held = container.transition.lock().await;
        match container.phase() {
            Phase::Running | Phase::Restarting => {
                Err(Error::not_modified(format!("container {} is already running", container.id)))
            }
            Phase::Paused => Err(Error::conflict("cannot start a paused container, try unpause instead")),
            Phase::Removing | Phase::Dead => {
                Err(Error::conflict("container is marked for removal and cannot be started"))
            }
            Phase::Created | Phase::Exited => {
                container.change_life(|life| life.restarts = 0);
                self.start_held(&container, None).await
            }
        }
    }

    /// Starts a container whose `transition` the caller holds. A failure is recorded before it is returned.
    pub(super) async fn start_held(
        self: &Arc<Self>,
        container: &Arc<Container>,
        console_size: Option<[u32; 2]>,
    ) -> Result<()> {
        match self.try_start(container, console_size).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.record_failed_start(container, &error);
                Err(error.error)
            }
        }
    }

    async fn try_start(
        self: &Arc<Self>,
        container: &Arc<Container>,
        console_size: Option<[u32; 2]>,
    ) -> std::result::Result<(), FailedStart> {
        container.await_last_keeper().await;
        container.count_start();
        let prepared = self.prepare(container, console_size)?;
        let places = prepared.places.clone();
        let launched = match self.launch(prepared).await {
            Ok(launched) => launched,
            Err(error) => {
                self.release_network(container, &places);
                return Err(error);
            }
        };
        self.record_start(container, launched, places).map_err(FailedStart::from)
    }

    fn prepare(
        &self,
        container: &Container,
        console_size: Option<[u32; 2]>,
    ) -> std::result::Result<Prepared, FailedStart> {
        let record = container.record();
        let directory = self.data_dir(container.id.as_str());
        let security = SecurityOptions::parse(record.host.security_opt.as_deref().unwrap_or_default())?;
        let rootfs = self.prepare_rootfs(container, &record, &directory)?;
        let identity = self
            .read_accounts(container, &directory)
            .resolve(&record.config.user, record.host.group_add.as_deref().unwrap_or_default())
            .map_err(|error| Error::system(error.message()).caused_by(error))?;
        let capabilities = self.plan_capabilities(&record)?;
        let devices = read_devices(&record)?;
        let mut wishes = mounts::parse_mounts(&record.host)?;
        make_bind_sources(&wishes)?;
        self.add_private_paths(&record, &directory, &mut wishes)?;
        let joined = self.plan_namespaces(&record)?;
        let (log, log_warning) = logs::plan_log(&record, &container.id, &directory)?;
        if let Some(text) = log_warning {
            tracing::warn!(container = container.id.as_str(), "{text}");
        }
        let files = self.plan_files(container, &record, &directory)?;
        let seccomp = self.plan_seccomp(&record, &security, &capabilities)?;
        let linked = self.linked(&record)?;
        // The network comes last: from here on a failure has to give it back.
        let mut network = self.claim_network(container, &record)?;
        let planned = self.plan_launch(container, &record, &directory, &linked, &mut network);
        let (names, environment) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                self.release_network(container, &network.places);
                return Err(error.into());
            }
        };
        let places = network.places;
        let undo = |error: Error| {
            self.release_network(container, &places);
            FailedStart::from(error)
        };
        let mut held = network.held;
        if let Some(sockets) = network.dns {
            held.extend(self.serve_names(container, &record, &places, sockets, &names).map_err(undo)?);
        }
        let spec = spec::plan_spec(&PlanInput {
            config: &record.config,
            environment: &environment,
            host: &record.host,
            security: &security,
            hostname: &self.hostname_inside(&record),
            identity: &identity,
            capabilities: &capabilities,
            namespaces: &joined,
            net_ready: network.ready,
            files: &files,
            mounts: &wishes,
            devices: &devices,
            cgroup: &self.parts.config.cgroup_driver.name(self.cgroup_parent(&record), container.id.as_str()),
            console_size: console_size.or(Some(record.host.console_size)),
        })
        .map_err(undo)?;
        let mut fds: Vec<OwnedFd> = network.netns.into_iter().collect();
        let mut attach: Vec<AttachSpec> = Vec::new();
        let with_netns = !fds.is_empty();
        for client in container.take_early_clients() {
            attach.push(client.spec);
            fds.push(client.stream.socket);
        }
        // Hundreds of ports do not fit into one message.
        let later = held.split_off(held.len().min(socket::MAX_FDS.saturating_sub(fds.len())));
        let proxies = proxy_specs(network.proxies);
        let (proxies, later_proxies) =
            if later.is_empty() { (proxies, Vec::new()) } else { (Vec::new(), proxies) };
        let (held, more) = split_held(held);
        fds.extend(more);
        let request = LaunchRequest {
            id: container.id.as_str().to_owned(),
            spec: Box::new(spec),
            rootfs,
            open_stdin: record.config.open_stdin,
            stdin_once: record.config.stdin_once,
            log,
            container_dir: directory,
            exec_root_dir: self.exec_dir(container.id.as_str()),
            init: record.host.init == Some(true),
            attach,
            netns: with_netns,
            systemd: self.parts.config.cgroup_driver == CgroupDriver::Systemd,
            seccomp,
            strict_limits: record.host.ulimits.as_ref().is_some_and(|list| !list.is_empty()),
            held,
            proxies,
        };
        Ok(Prepared { request, fds, places, later, later_proxies })
    }

    /// What is planned once the places are known: holes for links, files, variables.
    fn plan_launch(
        &self,
        container: &Container,
        record: &Record,
        directory: &Path,
        linked: &[Linked],
        network: &mut Claimed,
    ) -> Result<(Names, Vec<String>)> {
        if let Mode::Container(_) = Mode::parse(&record.host.network_mode) {
            return Ok((Names::default(), Vec::new()));
        }
        self.open_holes(&mut network.places, linked)?;
        let names = self.write_system_files(container, directory, &network.places, linked)?;
        Ok((names, Self::link_environment(record, linked)))
    }

    async fn launch(&self, prepared: Prepared) -> std::result::Result<Launched, FailedStart> {
        let blank =
            self.parts.blanks.take().await.map_err(|source| Error::failed("no keeper can be had", source))?;
        let (connection, events) =
            Connection::start(blank).map_err(|source| Error::failed("talk to a blank keeper", source))?;
        let reply = connection
            .ask(Body::Launch(Box::new(prepared.request)), prepared.fds)
            .await
            .map_err(|source| Error::failed("failed to create task for container", source))?;
        match reply {
            Reply::Launched { pid, started_at, warnings } => {
                for warning in warnings {
                    tracing::warn!(pid, "{warning}");
                }
                hold_more(&connection, prepared.later, prepared.later_proxies).await;
                Ok(Launched { pid, started_at, connection, events })
            }
            Reply::Failed(failure) => Err(FailedStart::from(failure)),
            other => Err(Error::system(format!("the keeper answered {other:?} to a launch")).into()),
        }
    }

    fn record_start(
        self: &Arc<Self>,
        container: &Arc<Container>,
        launched: Launched,
        places: Vec<Place>,
    ) -> Result<()> {
        let life = container.change_life(|life| {
            life.phase = Phase::Running;
            life.pid = launched.pid;
            life.started_at = Moment(launched.started_at);
            life.exit_code = 0;
            life.error.clear();
            life.oom_killed = false;
            life.by_hand = false;
            life.places = places;
            life.sandbox_id = random_id();
        });
        let id = container.id.as_str();
        let recorded = if container.is_recorded() {
            self.parts.ledger.save_life(id, &life)
        } else {
            let record = container.record();
            self.parts.ledger.insert_container(id, &record.name, &*record, &life)
        };
        container.set_keeper(Some(Arc::clone(&launched.connection)));
        container.progress.send_modify(|progress| {
            progress.live = true;
            progress.exit_code = 0;
            progress.error.clear();
        });
        self.publish_network(container, "connect", &life.places);
        self.publish(container, "start", &[]);
        self.lead_dependents(container);
        let containers = Arc::clone(self);
        let watched = Arc::clone(container);
        container.set_watcher(tokio::spawn(async move {
            containers.supervise(watched, launched.connection, launched.events).await;
        }));
        match recorded {
            Ok(()) => {
                container.set_recorded();
                self.deliver_early_clients_soon(container);
                self.refill_soon();
                Ok(())
            }
            Err(error) => {
                // What cannot be remembered must not run on: the client is told that it failed.
                self.kill_unrecorded(container);
                Err(error.into())
            }
        }
    }

    /// The next start needs a fresh blank; it is forked a little later, when this container's program has the processor.
    fn refill_soon(self: &Arc<Self>) {
        let containers = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(4)).await;
            containers.parts.blanks.refill();
        });
    }

    fn kill_unrecorded(&self, container: &Arc<Container>) {
        if let Some(keeper) = container.keeper() {
            tokio::spawn(async move {
                if let Err(error) = keeper.tell(Body::Shutdown).await {
                    tracing::warn!(error = %crate::error::chain(&error), "a container that could not be recorded goes on");
                }
            });
        }
    }

    fn record_failed_start(self: &Arc<Self>, container: &Arc<Container>, failed: &FailedStart) {
        let text = failed.error.message().to_owned();
        let life = container.change_life(|life| {
            life.pid = 0;
            // What the program said last counts for more than that it could not be started again.
            if failed.exit_code != UNKNOWN_EXIT || life.exit_code == 0 {
                life.exit_code = i64::from(failed.exit_code);
            }
            life.error.clone_from(&text);
            life.places.clear();
            if life.phase == Phase::Restarting {
                life.phase = Phase::Exited;
            }
        });
        container.progress.send_modify(|progress| {
            progress.live = false;
            progress.exit_code = i64::from(failed.exit_code);
            progress.error = text;
        });
        if !container.is_recorded() {
            if container.record().host.auto_remove {
                self.forget_unrecorded(container);
                return;
            }
            let record = container.record();
            let recorded =
                self.parts.ledger.insert_container(container.id.as_str(), &record.name, &*record, &life);
            match recorded {
                Ok(()) => container.set_recorded(),
                Err(error) => {
                    tracing::error!(error = %crate::error::chain(&error), "a failed start is not recorded")
                }
            }
        } else if let Err(error) = self.parts.ledger.save_life(container.id.as_str(), &life) {
            tracing::error!(error = %crate::error::chain(&error), "a failed start is not recorded");
        }
        if container.record().host.auto_remove {
            self.remove_ended(container);
        }
    }

    fn prepare_rootfs(&self, container: &Container, record: &Record, directory: &Path) -> Result<Rootfs> {
        let options =
            PrepareOptions { volatile: record.host.auto_remove, readonly: record.host.readonly_rootfs };
        std::fs::create_dir_all(directory)
            .map_err(|source| Error::failed(format!("make {}", directory.display()), source))?;
        let driver = self.parts.store.driver();
        let stack = container.image.stack(&self.parts.store)?;
        let failed = |source| Error::failed("prepare the container's root", source);
        let prepared = match driver.rootfs(&stack, directory, options) {
            found if is_whole(&found, !container.life().started_at.is_never()) => found,
            // Nothing, or half of it from a start that a crash cut short.
            _ => {
                driver.remove(directory).map_err(failed)?;
                driver.prepare(&stack, directory, options).map_err(failed)?
            }
        };
        Ok(match prepared {
            minke_store::Rootfs::Overlay { lower, upper, work, volatile, readonly } => {
                Rootfs::Overlay { lower, upper, work, volatile, readonly }
            }
            minke_store::Rootfs::Path(path) => Rootfs::Path(path),
        })
    }

    /// The account files as the container sees them: the image's, unless it has written its own.
    pub(super) fn read_accounts(&self, container: &Container, directory: &Path) -> Arc<Accounts> {
        let upper = directory.join("upper");
        if upper.join("etc").symlink_metadata().is_ok()
            && let Ok(stack) = container.image.stack(&self.parts.store)
        {
            let mut whole = vec![upper];
            whole.extend(stack.iter().cloned());
            return Arc::new(crate::images::read_accounts(whole));
        }
        container.image.accounts(&self.parts.store)
    }

    pub(super) fn plan_capabilities(&self, record: &Record) -> Result<Capabilities> {
        let list = |names: &Option<Vec<String>>| names.clone().unwrap_or_default();
        capabilities::plan(
            &list(&record.host.cap_add),
            &list(&record.host.cap_drop),
            record.host.privileged,
            &self.parts.facts.capabilities,
        )
    }

    pub(super) fn plan_seccomp(
        &self,
        record: &Record,
        security: &SecurityOptions,
        capabilities: &Capabilities,
    ) -> Result<Option<SeccompFilter>> {
        // A privileged container is filtered only when a profile is named.
        if record.host.privileged && security.seccomp == Seccomp::Default {
            return Ok(None);
        }
        self.seccomp.filter(&security.seccomp, capabilities, &self.parts.facts)
    }

    /// The host name that the container's program sees.
    pub(super) fn hostname_inside(&self, record: &Record) -> String {
        match record.host.network_mode.strip_prefix("container:").and_then(|id| self.find(id).ok()) {
            Some(owner) => owner.record().config.hostname.clone(),
            None => record.config.hostname.clone(),
        }
    }

    fn plan_namespaces(&self, record: &Record) -> Result<Namespaces> {
        let joined = |mode: &str, kind: &str, what: &str| -> Result<NamespacePlan> {
            let Some(target) = mode.strip_prefix("container:") else {
                return Ok(if mode == "host" { NamespacePlan::Host } else { NamespacePlan::New });
            };
            let owner = self
                .find(target)
                .map_err(|error| Error::system(format!("joining {what} namespace of container: {error}")))?;
            if !owner.phase().is_live() {
                return Err(Error::conflict(format!(
                    "cannot join {what} namespace of a non running container: container {} is {}",
                    owner.record().name.trim_start_matches('/'),
                    owner.phase().word()
                )));
            }
            Ok(NamespacePlan::Join(PathBuf::from(format!("/proc/{}/ns/{kind}", owner.pid()))))
        };
        let host = &record.host;
        let net = joined(&host.network_mode, "net", "network")?;
        let uts = match host.uts_mode.as_str() {
            "host" => NamespacePlan::Host,
            _ => NamespacePlan::New,
        };
        let cgroup = match host.cgroupns_mode.as_str() {
            "private" => NamespacePlan::New,
            _ => NamespacePlan::Host,
        };
        Ok(Namespaces {
            net,
            pid: joined(&host.pid_mode, "pid", "PID")?,
            ipc: joined(&host.ipc_mode, "ipc", "IPC")?,
            uts,
            cgroup,
        })
    }

    fn plan_files(&self, container: &Container, record: &Record, directory: &Path) -> Result<SystemFiles> {
        let owner = record.host.network_mode.strip_prefix("container:").and_then(|id| self.find(id).ok());
        let mut files = match owner {
            Some(owner) => self.system_files(&self.data_dir(owner.id.as_str())),
            None => self.system_files(directory),
        };
        files.shm = self.shared_memory(container, record, directory)?;
        Ok(files)
    }

    /// Where `/dev/shm` comes from when it is shared with the host or with other containers.
    fn shared_memory(
        &self,
        container: &Container,
        record: &Record,
        directory: &Path,
    ) -> Result<Option<PathBuf>> {
        if let Some(target) = record.host.ipc_mode.strip_prefix("container:") {
            let owner = self.find(target)?;
            let mode = owner.record().host.ipc_mode.clone();
            return match mode.as_str() {
                "shareable" => Ok(Some(self.data_dir(owner.id.as_str()).join("shm"))),
                "host" => Ok(Some(PathBuf::from("/dev/shm"))),
                _ => Err(Error::conflict(format!(
                    "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                    owner.id
                ))),
            };
        }
        match record.host.ipc_mode.as_str() {
            "host" => Ok(Some(PathBuf::from("/dev/shm"))),
            "shareable" => {
                let path = directory.join("shm");
                super::remove::unmount_shared_memory(&path);
                std::fs::create_dir_all(&path)
                    .map_err(|source| Error::failed(format!("make {}", path.display()), source))?;
                let options = format!("mode=1777,size={}", record.host.shm_size);
                let flags = rustix::mount::MountFlags::NOSUID
                    | rustix::mount::MountFlags::NODEV
                    | rustix::mount::MountFlags::NOEXEC;
                let options = std::ffi::CString::new(options).unwrap_or_default();
                rustix::mount::mount("shm", &path, "tmpfs", flags, Some(options.as_c_str())).map_err(
                    |errno| {
                        Error::failed(
                            format!("mount shared memory of {}", container.id),
                            std::io::Error::from(errno),
                        )
                    },
                )?;
                Ok(Some(path))
            }
            _ => Ok(None),
        }
    }

    fn add_private_paths(
        &self,
        record: &Record,
        directory: &Path,
        wishes: &mut Vec<MountWish>,
    ) -> Result<()> {
        if !record.host.readonly_rootfs {
            // Without --read-only the container's own layer is as writable and as private as a volume would be.
            return Ok(());
        }
        for (number, target) in record.private_paths.iter().enumerate() {
            let target = mounts::clean(target);
            if target == "/" || wishes.iter().any(|wish| wish.target == target) {
                continue;
            }
            let source = directory.join("volumes").join(number.to_string());
            std::fs::create_dir_all(&source)
                .map_err(|source_error| Error::failed(format!("make {}", source.display()), source_error))?;
            let what = What::Bind {
                source,
                propagation: "rprivate".to_owned(),
                create: true,
                flat: false,
                shallow_readonly: false,
            };
            wishes.push(MountWish { target, what, writable: true, mode: String::new() });
        }
        Ok(())
    }

    /// The container's cgroup, from the root of each hierarchy.
    pub(crate) fn cgroup_path(&self, record: &Record, id: &str) -> PathBuf {
        self.parts.config.cgroup_driver.directory(self.cgroup_parent(record), id)
    }

    fn cgroup_parent<'a>(&'a self, record: &'a Record) -> &'a str {
        match record.host.cgroup_parent.as_str() {
            "" => &self.parts.config.cgroup_parent,
            own => own,
        }
    }
}

/// Hands a keeper what did not fit beside its launch.
async fn hold_more(keeper: &Connection, mut held: Vec<(String, OwnedFd)>, proxies: Vec<ProxySpec>) {
    if held.is_empty() {
        return;
    }
    while !held.is_empty() {
        let rest = held.split_off(held.len().min(socket::MAX_FDS));
        let (held_now, fds) = split_held(std::mem::replace(&mut held, rest));
        if let Err(error) = keeper.order(Body::Hold { held: held_now }, fds).await {
            tracing::warn!(error = %crate::error::chain(&error), "some ports are kept by rules only");
            return;
        }
    }
    if let Err(error) = keeper.order(Body::SetProxies { proxies }, Vec::new()).await {
        tracing::warn!(error = %crate::error::chain(&error), "some ports are not reachable by every address");
    }
}

/// Whether a container's root was prepared before. A copied tree may be half a copy until the first start succeeded.
fn is_whole(rootfs: &minke_store::Rootfs, has_run: bool) -> bool {
    match rootfs {
        minke_store::Rootfs::Overlay { upper, work, .. } => {
            let whole = upper.exists() && work.exists();
            if whole {
                // overlayfs refuses a work directory that a volatile mount before has marked.
                super::remove::remove_tree(&work.join("work/incompat"));
            }
            whole
        }
        minke_store::Rootfs::Path(path) => has_run && path.exists(),
    }
}

fn read_devices(record: &Record) -> Result<DevicePlan> {
    if record.host.privileged {
        return Ok(DevicePlan { nodes: devices::read_all(), rules: devices::all_rules() });
    }
    devices::read_devices(
        record.host.devices.as_deref().unwrap_or_default(),
        record.host.device_cgroup_rules.as_deref().unwrap_or_default(),
    )
}

/// `-v` makes a missing directory of the host, as Docker does.
fn make_bind_sources(wishes: &[MountWish]) -> Result<()> {
    for wish in wishes {
        if let What::Bind { source, create: true, .. } = &wish.what
            && !source.exists()
        {
            std::fs::create_dir_all(source).map_err(|error| {
                Error::failed(format!("error while creating mount source path '{}'", source.display()), error)
            })?;
        }
    }
    Ok(())
}

/// A start that failed, with the exit code that the container shows.
struct FailedStart {
    error: Error,
    exit_code: i32,
}

impl From<Error> for FailedStart {
    fn from(error: Error) -> Self {
        Self { error, exit_code: UNKNOWN_EXIT }
    }
}

impl From<Failure> for FailedStart {
    fn from(failure: Failure) -> Self {
        let text = if failure.text.starts_with("failed to create task") {
            failure.text
        } else {
            format!(
                "failed to create task for container: failed to create shim task: OCI runtime create failed: {}",
                failure.text
            )
        };
        // The program is the client's choice, the rest the host's fault.
        let error =
            if matches!(failure.exit_code, 126 | 127) { Error::invalid(text) } else { Error::system(text) };
        Self { error, exit_code: failure.exit_code }
    }
}

/// The identity, for exec.
pub(super) fn resolve_identity(accounts: &Accounts, user: &str, groups: &[String]) -> Result<Identity> {
    accounts.resolve(user, groups)
}
