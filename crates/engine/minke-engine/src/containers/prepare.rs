//! What a start needs before a keeper hears of it: one plan of everything, the network last.
//!
//! Each part is planned in a file of its own (`rootfs`, `namespaces`, `confinement`, `networking`, `links`); here they
//! become one [`LaunchRequest`] and the descriptors that go with it.

use std::os::fd::OwnedFd;
use std::path::Path;

use minke_keeper::protocol::{AttachSpec, LaunchRequest, ProxySpec, socket};

use super::Containers;
use super::confinement::read_devices;
use super::container::Container;
use super::links::Linked;
use super::logs;
use super::mounting::{Mounted, make_bind_sources};
use super::networking::{proxy_specs, split_held};
use super::record::Record;
use super::start::FailedStart;
use crate::cgroups::CgroupDriver;
use crate::error::{Error, Result};
use crate::networks::{Claimed, Mode, Place, ResolverNames};
use crate::spec::{self, PlanInput};

/// Everything a launch needs, the network included.
pub(super) struct Prepared {
    pub(super) request: LaunchRequest,
    pub(super) fds: Vec<OwnedFd>,
    pub(super) places: Vec<Place>,
    /// What the keeper is to hold and had no room for in one message, with the proxies that need all of it.
    pub(super) later: Vec<(String, OwnedFd)>,
    pub(super) later_proxies: Vec<ProxySpec>,
}

impl Containers {
    pub(super) fn prepare(
        &self,
        container: &Container,
        console_size: Option<[u32; 2]>,
        mounted: &Mounted,
    ) -> std::result::Result<Prepared, FailedStart> {
        let record = container.record();
        let directory = self.data_dir(container.id.as_str());
        let security = self.security_of(&record)?;
        let rootfs = self.prepare_rootfs(container, &record, &directory)?;
        let identity = self
            .read_accounts(container, &directory)
            .resolve(&record.config.user, record.host.group_add.as_deref().unwrap_or_default())
            .map_err(|error| Error::system(error.message()).caused_by(error))?;
        let capabilities = self.plan_capabilities(&record)?;
        let devices = read_devices(&record)?;
        let mut wishes = record.mounts().into_owned();
        make_bind_sources(&wishes)?;
        self.add_private_paths(&record, &directory, &mut wishes)?;
        let joined = self.plan_namespaces(&record)?;
        let log = logs::plan_log(&record, &container.id, &directory)?;
        let files = self.plan_files(container, &record, &directory)?;
        let runtime = self.parts.config.containers.find(&record.host.runtime);
        let (seccomp, profile) = match &runtime {
            None => (self.plan_seccomp(&record, &security, &capabilities)?, None),
            Some(_) => (None, self.plan_profile(&record, &security, &capabilities)?),
        };
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
        let mut spec = spec::plan_spec(&PlanInput {
            config: &record.config,
            environment: &environment,
            host: &record.host,
            security: &security,
            hostname: &self.hostname_inside(&record),
            identity: &identity,
            capabilities: &capabilities,
            apparmor: self.plan_apparmor(&record, &security).as_deref(),
            namespaces: &joined,
            net_ready: network.ready,
            files: &files,
            mounts: &wishes,
            sources: &mounted.sources,
            devices: &devices,
            cgroup: &self.parts.config.cgroup_driver.name(self.cgroup_parent(&record), container.id.as_str()),
            console_size: console_size.or(Some(record.host.console_size)),
        })
        .map_err(undo)?;
        if let (Some(profile), Some(linux)) = (profile, spec.linux_mut()) {
            linux.set_seccomp(Some(profile));
        }
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
            runtime,
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
    ) -> Result<(ResolverNames, Vec<String>)> {
        if let Mode::Container(_) = Mode::parse(&record.host.network_mode) {
            return Ok((ResolverNames::default(), Vec::new()));
        }
        self.open_holes(&mut network.places, linked)?;
        let names = self.write_system_files(container, directory, &network.places, linked)?;
        Ok((names, Self::link_environment(record, linked)))
    }
}
