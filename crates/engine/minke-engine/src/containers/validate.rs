//! What a create request may not say, checked once before anything is made, in Docker's words where Docker has some.
//!
//! A thing of a later issue is refused with a sentence that names it, never ignored.

use std::collections::BTreeSet;

use minke_api::container::{ContainerConfig, ContainerCreateRequest, HostConfig};

use super::signal;
use crate::error::{Error, Result};
use crate::networks::{Mode, ports};
use crate::spec::security::SecurityOptions;
use crate::spec::{HostFacts, capabilities, mounts};

const MIN_MEMORY: i64 = 6 << 20;

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
    check_resources(host, facts)
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
    match &config.healthcheck {
        Some(check)
            if check.test.as_ref().is_some_and(|test| test.first().is_some_and(|kind| kind != "NONE")) =>
        {
            Err(Error::invalid(
                "health checks are not built yet: create the container without --health-* options",
            ))
        }
        _ => Ok(()),
    }
}

fn refuse_later_things(request: &ContainerCreateRequest) -> Result<()> {
    let host = &request.host_config;
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let sentence = if given(&host.volumes_from) {
        "volumes are not built yet: give both containers the same bind mount instead of --volumes-from"
    } else if request.config.volumes.as_ref().is_some_and(|set| !set.is_empty()) {
        "volumes are not built yet: bind mount a directory of the host instead, as in -v /host/path:/path/in/container"
    } else if !host.volume_driver.is_empty() {
        "volume drivers are not built yet: bind mount a directory of the host instead"
    } else if host.device_requests.as_ref().is_some_and(|list| !list.is_empty()) {
        "device requests (--gpus, CDI) are not built yet: name the device nodes with --device"
    } else if !matches!(host.userns_mode.as_str(), "" | "host") {
        "user namespaces are not built yet: leave out --userns"
    } else if host.storage_opt.as_ref().is_some_and(|map| !map.is_empty()) {
        "storage options are not built yet: leave out --storage-opt"
    } else if !host.cgroup.is_empty() {
        "joining another container's cgroup is not built yet"
    } else {
        return Ok(());
    };
    Err(Error::invalid(sentence))
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
    if !matches!(host.runtime.as_str(), "" | "minke" | "runc" | "io.containerd.runc.v2") {
        return Err(Error::invalid(format!("unknown or invalid runtime name: {}", host.runtime)));
    }
    check_restart(host)?;
    for (field, names) in [("CapAdd", &mut host.cap_add), ("CapDrop", &mut host.cap_drop)] {
        if let Some(list) = names {
            *list = capabilities::normalise(list).map_err(|error| {
                let text = error.message().replacen("invalid capability", &format!("invalid {field}"), 1);
                Error::invalid(text).caused_by(error)
            })?;
        }
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
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
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

fn check_resources(host: &mut HostConfig, facts: &HostFacts) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    check_memory(host, facts, &mut warnings)?;
    check_cpu(host, facts)?;
    check_blkio(host, facts, &mut warnings);
    if host.io_maximum_iops > 0 {
        return Err(Error::invalid(
            "invalid option: QoS maximum IOPs configuration is not supported on linux",
        ));
    }
    if host.io_maximum_bandwidth > 0 {
        return Err(Error::invalid(
            "invalid option: QoS maximum bandwidth configuration is not supported on linux",
        ));
    }
    Ok(warnings)
}

fn check_memory(host: &mut HostConfig, facts: &HostFacts, warnings: &mut Vec<String>) -> Result<()> {
    let refuse = |text: &str| Err(Error::invalid(text));
    if host.memory != 0 && host.memory < MIN_MEMORY {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.memory == 0 && host.memory_swap > 0 {
        return refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if host.memory > 0 && host.memory_swap != -1 && !facts.swap_limit {
        warnings.push(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
                .to_owned(),
        );
        host.memory_swap = -1;
    }
    match host.memory_swappiness {
        Some(-1) => host.memory_swappiness = None,
        Some(value) if !(0..=100).contains(&value) => {
            return Err(Error::invalid(format!(
                "Invalid value: {value}, valid memory swappiness range is 0-100"
            )));
        }
        Some(_) if facts.pure_v2 => {
            warnings.push("Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.".to_owned());
            host.memory_swappiness = None;
        }
        _ => {}
    }
    if host.memory_reservation > 0 && host.memory_reservation < MIN_MEMORY {
        return refuse("Minimum memory reservation allowed is 6MB");
    }
    if host.memory > 0 && host.memory_reservation > host.memory {
        return refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if host.oom_kill_disable == Some(true) {
        if facts.pure_v2 {
            warnings
                .push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
            host.oom_kill_disable = None;
        } else if host.memory == 0 {
            warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".to_owned());
        }
    }
    Ok(())
}

fn check_cpu(host: &HostConfig, facts: &HostFacts) -> Result<()> {
    let refuse = |text: String| Err(Error::invalid(text));
    if host.nano_cpus > 0 && host.cpu_period > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set".to_owned());
    }
    if host.nano_cpus > 0 && host.cpu_quota > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set".to_owned());
    }
    if host.nano_cpus < 0 || host.nano_cpus > i64::from(facts.cpus) * 1_000_000_000 {
        return refuse(format!(
            "range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available",
            facts.cpus
        ));
    }
    if host.cpu_shares < 0 {
        return refuse(format!("invalid CPU shares ({}): value must be a positive integer", host.cpu_shares));
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".to_owned(),
        );
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1000 {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)".to_owned());
    }
    check_set(&host.cpuset_cpus, &facts.cpus_online, "cpuset cpus", "Requested CPUs are not available")?;
    check_set(
        &host.cpuset_mems,
        &facts.mems_online,
        "cpuset mems",
        "Requested memory nodes are not available",
    )
}

fn check_set(wanted: &str, available: &str, what: &str, missing: &str) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let numbers = parse_list(wanted).ok_or_else(|| {
        Error::invalid(format!("Invalid value {wanted} for {what}: invalid format: {wanted}"))
    })?;
    let there = parse_list(available).unwrap_or_default();
    if !there.is_empty() && !numbers.is_subset(&there) {
        return Err(Error::invalid(format!("{missing} - requested {wanted}, available: {available}")));
    }
    Ok(())
}

/// `0-2,5` as the kernel writes lists of processors.
fn parse_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > 8191 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

fn check_blkio(host: &mut HostConfig, facts: &HostFacts, warnings: &mut Vec<String>) {
    let mut discard = |what: &str, name: &str| {
        warnings.push(format!(
            "Your kernel does not support {what} or the cgroup is not mounted. {name} discarded."
        ));
    };
    if host.blkio_weight != 0 && !facts.blkio_weight {
        discard("Block I/O weight", "Weight");
        host.blkio_weight = 0;
    }
    if host.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty()) && !facts.blkio_weight {
        discard("Block I/O weight_device", "Weight-device");
        host.blkio_weight_device = None;
    }
    if !facts.blkio_throttle {
        for (list, what, name) in [
            (&mut host.blkio_device_read_bps, "BPS Block I/O read limit", "Block I/O BPS read limit"),
            (&mut host.blkio_device_write_bps, "BPS Block I/O write limit", "Block I/O BPS write limit"),
            (&mut host.blkio_device_read_iops, "IOPS Block read limit", "Block I/O IOPS read limit"),
            (&mut host.blkio_device_write_iops, "IOPS Block write limit", "Block I/O IOPS write limit"),
        ] {
            if list.as_ref().is_some_and(|list| !list.is_empty()) {
                discard(what, name);
                *list = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
