//! What a create request may not say, checked once before anything is made, in Docker's words where Docker has some.
//!
//! A thing of a later issue is refused with a sentence that names it, never ignored.

use minke_api::container::{ContainerConfig, ContainerCreateRequest, HostConfig};

use super::{health, signal};
use crate::error::{Error, Result};
use crate::networks::{Mode, ports};
use crate::spec::security::SecurityOptions;
use crate::spec::{HostFacts, capabilities, mounts};

mod resources;

use resources::check_resources;

/// Refuses what makes no sense and answers with warnings about what the host cannot do. Drops settings that the host
/// cannot honour where Docker drops them too.
pub(crate) fn check_create(request: &mut ContainerCreateRequest, facts: &HostFacts) -> Result<Vec<String>> {
    check_config(&request.config)?;
    refuse_later_things(request)?;
    let host = &mut request.host_config;
    check_host(host)?;
    check_modes(&request.config, host)?;
    ports::check_ports(request.config.exposed_ports.as_ref(), host)?;
    let mut warnings = check_resources(host, facts)?;
    let publishes = host.publish_all_ports || host.port_bindings.as_ref().is_some_and(|map| !map.is_empty());
    if host.network_mode == "host" && publishes {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    mounts::parse_mounts(host)?;
    SecurityOptions::parse(host.security_opt.as_deref().unwrap_or_default())?;
    Ok(warnings)
}

/// The same for the settings that may change while a container lives.
pub(crate) fn check_update(host: &mut HostConfig, facts: &HostFacts) -> Result<Vec<String>> {
    check_restart(&HostConfig {
        auto_remove: false,
        restart_policy: host.restart_policy.clone(),
        ..HostConfig::default()
    })?;
    let unlimited = host.pids_limit.is_some_and(|limit| limit <= 0);
    let warnings = check_resources(host, facts)?;
    if unlimited {
        // Docker's way to record that a limit was taken away.
        host.pids_limit = Some(0);
    }
    Ok(warnings)
}

fn check_config(config: &ContainerConfig) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if !config.stop_signal.is_empty() {
        signal::parse(&config.stop_signal)?;
    }
    for entry in config.env.iter().flatten() {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(Error::invalid(format!("invalid environment variable: {entry}")));
        }
    }
    config.healthcheck.as_ref().map_or(Ok(()), health::check::validate)
}

fn refuse_later_things(request: &ContainerCreateRequest) -> Result<()> {
    let host = &request.host_config;
    let sentence = if !matches!(host.userns_mode.as_str(), "" | "host") {
        "user namespaces are not built yet: leave out --userns"
    } else if host.storage_opt.as_ref().is_some_and(|map| !map.is_empty()) {
        "--storage-opt is supported only for overlay over xfs with 'pquota' mount option, and minke sets no quotas: leave it out"
    } else if !host.cgroup.is_empty() {
        "joining another container's cgroup is not built yet"
    } else {
        return refuse_device_requests(host);
    };
    Err(Error::invalid(sentence))
}

/// No drivers of devices are known: Docker's words when it knows none either.
fn refuse_device_requests(host: &HostConfig) -> Result<()> {
    let Some(request) = host.device_requests.as_ref().and_then(|list| list.first()) else { return Ok(()) };
    let hint = "name its nodes with --device";
    if request.driver == "cdi" {
        let names = request.device_ids.as_deref().unwrap_or_default().join(", ");
        return Err(Error::invalid(format!(
            "CDI device injection failed: unresolvable CDI devices {names}; {hint}"
        )));
    }
    let sets: Vec<String> =
        request.capabilities.iter().flatten().map(|set| format!("[{}]", set.join(" "))).collect();
    Err(Error::invalid(format!(
        "could not select device driver {:?} with capabilities: [{}]; {hint}",
        request.driver,
        sets.join(" ")
    )))
}

fn check_host(host: &mut HostConfig) -> Result<()> {
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(Error::invalid(format!(
            "invalid isolation ({}): linux only supports 'default'",
            host.isolation
        )));
    }
    check_restart(host)?;
    for (field, names) in [("CapAdd", &host.cap_add), ("CapDrop", &host.cap_drop)] {
        capabilities::check(names.as_deref().unwrap_or_default()).map_err(|error| {
            let text = error.message().replacen("invalid capability", &format!("invalid {field}"), 1);
            Error::invalid(text).caused_by(error)
        })?;
    }
    if host.annotations.as_ref().is_some_and(|map| map.contains_key("")) {
        return Err(Error::invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    for limit in host.ulimits.iter().flatten() {
        crate::spec::resources::plan_rlimits(std::slice::from_ref(limit))?;
    }
    for rule in host.device_cgroup_rules.iter().flatten() {
        crate::spec::devices::parse_rule(rule)?;
    }
    Ok(())
}

fn check_restart(host: &HostConfig) -> Result<()> {
    let policy = &host.restart_policy;
    let limit = policy.maximum_retry_count;
    let text = match policy.name.as_str() {
        "always" | "unless-stopped" | "no" | "" if limit > 0 => {
            "invalid restart policy: maximum retry count can only be used with 'on-failure'".to_owned()
        }
        "always" | "unless-stopped" | "no" | "" | "on-failure" if limit < 0 => {
            "invalid restart policy: maximum retry count cannot be negative".to_owned()
        }
        "always" | "unless-stopped" | "on-failure" if host.auto_remove => {
            "can't create 'AutoRemove' container with restart policy".to_owned()
        }
        "always" | "unless-stopped" | "on-failure" | "no" | "" => return Ok(()),
        other => format!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        ),
    };
    Err(Error::invalid(text))
}

fn check_modes(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let joins = |mode: &str| mode.strip_prefix("container:").is_some_and(|target| !target.is_empty());
    if !(matches!(host.pid_mode.as_str(), "" | "host" | "private") || joins(&host.pid_mode)) {
        return Err(Error::invalid(format!("invalid PID mode: {}", host.pid_mode)));
    }
    if !(matches!(host.ipc_mode.as_str(), "" | "none" | "private" | "shareable" | "host")
        || joins(&host.ipc_mode))
    {
        return Err(Error::invalid(format!("invalid IPC mode: {}", host.ipc_mode)));
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return Err(Error::invalid(format!("invalid UTS mode: {}", host.uts_mode)));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "private" | "host") {
        return Err(Error::invalid(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode)));
    }
    for (name, what) in [(&config.hostname, "hostname"), (&config.domainname, "domainname")] {
        if host.uts_mode == "host" && !name.is_empty() {
            return Err(Error::invalid(format!("conflicting options: {what} and the UTS mode")));
        }
    }
    check_network_mode(config, host)
}

/// What goes with which network mode.
fn check_network_mode(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let conflict = |what: &str| Err(Error::invalid(format!("conflicting options: {what}")));
    let undefined = "can't be used with links. This would result in undefined behavior";
    match Mode::parse(&host.network_mode) {
        Mode::Host if given(&host.links) => conflict(&format!("host type networking {undefined}")),
        Mode::Container("") => {
            Err(Error::invalid("invalid network mode: invalid container format container:<name|id>"))
        }
        Mode::Container(_) => {
            let publishes =
                host.publish_all_ports || host.port_bindings.as_ref().is_some_and(|map| !map.is_empty());
            if !config.hostname.is_empty() {
                conflict("hostname and the network mode")
            } else if given(&host.links) {
                conflict(&format!("container type network {undefined}"))
            } else if given(&host.dns) {
                conflict("dns and the network mode")
            } else if given(&host.extra_hosts) {
                conflict("custom host-to-IP mapping and the network mode")
            } else if publishes {
                conflict("port publishing and the container type network mode")
            } else if config.exposed_ports.as_ref().is_some_and(|set| !set.is_empty()) {
                conflict("port exposing and the container type network mode")
            } else {
                Ok(())
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
