//! Create: from a request to a record. Nothing runs yet, nothing is mounted; a few directories are made at the start.

use std::sync::Arc;

use minke_api::container::{
    ContainerConfig, ContainerCreateRequest, ContainerCreateResponse, HostConfig, StrSlice,
};
use minke_base::ContainerId;

use super::container::Container;
use super::record::{Life, Record};
use super::{Containers, health, validate};
use crate::cgroups::CgroupDriver;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::images::Image;
use crate::runtimes::BUILT_IN;
use crate::spec::{MASKED_PATHS, READONLY_PATHS, environment};

impl Containers {
    /// Makes a container that does not run yet.
    pub async fn create(
        self: &Arc<Self>,
        name: Option<&str>,
        platform: Option<&str>,
        request: ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse> {
        let (container, warnings) = self.plan_container(name, platform, request)?;
        self.fill_or_forget(&container).await?;
        let recorded = self.parts.ledger.insert_container(
            container.id.as_str(),
            &container.record().name,
            &*container.record(),
            &container.life(),
        );
        if let Err(error) = recorded {
            self.give_volumes_back(&container);
            self.parts.registry.remove(&container);
            return Err(error.into());
        }
        container.set_recorded();
        self.parts.registry.insert(Arc::clone(&container));
        self.publish(&container, "create", &[]);
        Ok(ContainerCreateResponse { id: container.id.as_str().to_owned(), warnings })
    }

    /// Fills the volumes of a container that nobody knows yet; when that fails, it never was.
    pub(super) async fn fill_or_forget(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let filled = self.fill_volumes(container).await;
        if filled.is_err() {
            self.give_volumes_back(container);
            self.parts.registry.remove(container);
        }
        filled
    }

    /// Checks the request and makes the container in memory, its name taken and its volumes held. The ledger does not know it yet.
    pub(super) fn plan_container(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        mut request: ContainerCreateRequest,
    ) -> Result<(Arc<Container>, Vec<String>)> {
        let mut warnings = validate::check_create(&mut request, &self.parts.facts)?;
        self.parts.config.cgroup_driver.check(&request.host_config.cgroup_parent).map_err(Error::invalid)?;
        let links = self.check_links(&request.host_config)?;
        let image = self.parts.images.resolve_for_container(&request.config.image, platform)?;
        merge_image(&mut request.config, &image);
        // A single empty word takes the image's entrypoint away.
        if request.config.entrypoint.as_ref().is_some_and(|words| words.len() == 1 && words[0].is_empty()) {
            request.config.entrypoint = None;
        }
        if environment::program(&request.config).is_empty() {
            return Err(Error::invalid(minke_api::texts::NO_COMMAND));
        }
        self.check_joined(&mut request.host_config)?;
        self.fill_host_defaults(&mut request.host_config)?;
        super::files::check_extra_hosts(&request.host_config)?;
        let mut mounts = self.plan_mounts(&request.config, &request.host_config, &mut warnings)?;
        let id = ContainerId::random();
        self.fill_names(&mut request.config, &request.host_config, &id);
        let endpoints = self.plan_endpoints(
            &mut request.host_config,
            request.networking_config.endpoints_config.unwrap_or_default(),
        )?;
        request.config.mac_address.clear();
        let name = self.parts.registry.reserve_name(name, &id)?;
        if let Err(error) = self.parts.volumes.hold(id.as_str(), &mut mounts) {
            self.parts.registry.release_name(&name);
            return Err(error);
        }
        for (alias, target) in links {
            self.parts.registry.add_link(&name, &alias, target);
        }
        let record = Record {
            name,
            created: Moment::now(),
            image: image.id.clone(),
            layers: image.diff_ids.clone(),
            config: request.config,
            host: request.host_config,
            platform: "linux".to_owned(),
            endpoints: Some(endpoints),
            mac_address: String::new(),
            ipv4_address: String::new(),
            names: Some(self.name_defaults()),
            mounts: Some(mounts),
            private_paths: Vec::new(),
        };
        Ok((Container::new(id, record, Life::default(), image), warnings))
    }

    /// Containers that are joined must exist; what was a name becomes an id, as Docker records it.
    pub(super) fn check_joined(&self, host: &mut HostConfig) -> Result<()> {
        for (mode, strict) in
            [(&mut host.pid_mode, true), (&mut host.ipc_mode, true), (&mut host.network_mode, false)]
        {
            let Some(target) = mode.strip_prefix("container:") else { continue };
            match self.find(target) {
                Ok(container) => *mode = format!("container:{}", container.id),
                Err(error) if strict => return Err(Error::invalid(error.message())),
                // Docker looks for the owner of a network only when the container starts.
                Err(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn fill_host_defaults(&self, host: &mut HostConfig) -> Result<()> {
        let facts = &self.parts.facts;
        if matches!(host.network_mode.as_str(), "" | "default") {
            let bridge = self.parts.config.networks.bridge.is_some();
            host.network_mode = if bridge { "bridge" } else { "none" }.to_owned();
        }
        let defaults = &self.parts.config.containers;
        if host.shm_size == 0 {
            host.shm_size = if defaults.shm_size > 0 { defaults.shm_size } else { 64 << 20 };
        }
        if host.ipc_mode.is_empty() {
            let own = defaults.ipc_mode.as_str();
            host.ipc_mode = if own.is_empty() { "private" } else { own }.to_owned();
        }
        if !defaults.ulimits.is_empty() {
            let ulimits = host.ulimits.get_or_insert_default();
            for default in &defaults.ulimits {
                if !ulimits.iter().any(|own| own.name == default.name) {
                    ulimits.push(default.clone());
                }
            }
        }
        if host.pid_mode == "private" {
            host.pid_mode.clear();
        }
        if host.privileged || host.pid_mode == "host" || host.ipc_mode == "host" {
            // Recorded as Docker records it: what shares the host is not confined by labels, unless labels were named.
            let options = host.security_opt.get_or_insert_default();
            if !options.iter().any(|option| option.split('=').next() == Some("label")) {
                options.push("label=disable".to_owned());
            }
        }
        if host.cgroupns_mode.is_empty() {
            // On v2 for privileged containers too, as on Docker.
            host.cgroupns_mode = match defaults.cgroupns_mode.as_str() {
                "" if facts.pure_v2 => "private",
                "" => "host",
                own => own,
            }
            .to_owned();
        }
        host.runtime = self.parts.config.containers.choose(&host.runtime)?;
        if host.runtime != BUILT_IN && self.parts.config.cgroup_driver == CgroupDriver::Systemd {
            return Err(Error::invalid(format!(
                "the runtime {} needs cgroups that the engine makes: leave out --exec-opt native.cgroupdriver=systemd",
                host.runtime
            )));
        }
        if host.restart_policy.name.is_empty() {
            host.restart_policy.name = "no".to_owned();
        }
        if host.memory > 0 && host.memory_swap == 0 && facts.swap_limit {
            host.memory_swap = host.memory.saturating_mul(2);
        }
        if host.oom_kill_disable.is_none() && !facts.pure_v2 {
            host.oom_kill_disable = Some(false);
        }
        if host.init.is_none() && self.parts.config.init {
            host.init = Some(true);
        }
        let words = |list: &[&str]| Some(list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        if !host.privileged {
            host.masked_paths = host.masked_paths.take().or_else(|| words(&MASKED_PATHS));
            host.readonly_paths = host.readonly_paths.take().or_else(|| words(&READONLY_PATHS));
        }
        self.fill_log_defaults(host)
    }

    fn fill_log_defaults(&self, host: &mut HostConfig) -> Result<()> {
        let log = &mut host.log_config;
        if log.kind.is_empty() {
            log.kind.clone_from(&self.parts.config.log_driver);
            let own = log.config.get_or_insert_default();
            for (key, value) in &self.parts.config.log_options {
                own.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        log.config.get_or_insert_default();
        super::logs::check_log_config(log)
    }

    pub(super) fn fill_names(&self, config: &mut ContainerConfig, host: &HostConfig, id: &ContainerId) {
        if !config.hostname.is_empty() {
            return;
        }
        config.hostname = match host.network_mode.as_str() {
            "host" => self.parts.facts.hostname.clone(),
            _ if host.uts_mode == "host" => self.parts.facts.hostname.clone(),
            mode if mode.starts_with("container:") => String::new(),
            _ => id.short().to_owned(),
        };
    }
}

/// Fills in what the image says and the request does not.
fn merge_image(config: &mut ContainerConfig, image: &Image) {
    let defaults = &image.defaults;
    if config.entrypoint.as_ref().is_none_or(|words| words.is_empty()) {
        if config.cmd.as_ref().is_none_or(|words| words.is_empty()) {
            config.cmd = defaults.cmd.clone().map(StrSlice);
        }
        if config.entrypoint.is_none() {
            config.entrypoint = defaults.entrypoint.clone().map(StrSlice);
        }
    }
    config.env = environment::with_image(config.env.take(), &defaults.env);
    if config.user.is_empty() {
        config.user.clone_from(&defaults.user);
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&defaults.working_dir);
    } else {
        config.working_dir = crate::spec::mounts::clean(&config.working_dir);
    }
    if config.stop_signal.is_empty() {
        config.stop_signal = defaults.stop_signal.clone().unwrap_or_default();
    }
    if config.stop_timeout.is_none() {
        config.stop_timeout = defaults.stop_timeout;
    }
    if config.volumes.as_ref().is_some_and(|set| set.is_empty()) {
        config.volumes = None;
    }
    let labels = config.labels.get_or_insert_default();
    for (key, value) in &defaults.labels {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if !defaults.exposed_ports.is_empty() {
        let ports = config.exposed_ports.get_or_insert_default();
        ports.extend(defaults.exposed_ports.keys().map(|port| (port.clone(), minke_api::Empty {})));
    }
    if !defaults.volumes.is_empty() {
        let volumes = config.volumes.get_or_insert_default();
        volumes.extend(defaults.volumes.keys().map(|path| (path.clone(), minke_api::Empty {})));
    }
    health::check::inherit(&mut config.healthcheck, defaults.healthcheck.as_ref());
}
