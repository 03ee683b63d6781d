//! Limits: what Docker refuses, and what it discards with a warning because the host cannot do it.
//!
//! A setting that is discarded is taken out of the request, so that the record says what is in force.

use std::collections::BTreeSet;

use minke_api::container::HostConfig;

use crate::error::{Error, Result};
use crate::spec::HostFacts;

const MIN_MEMORY: i64 = 6 << 20;

/// Refuses limits that make no sense and answers with warnings about those the host cannot honour.
pub(crate) fn check_resources(host: &mut HostConfig, facts: &HostFacts) -> Result<Vec<String>> {
    let mut warnings = Warnings(Vec::new());
    check_memory(host, facts, &mut warnings)?;
    check_pids(host, facts, &mut warnings);
    check_cpu(host, facts, &mut warnings)?;
    check_blkio(host, facts, &mut warnings)?;
    for (given, what) in [(host.io_maximum_iops, "IOPs"), (host.io_maximum_bandwidth, "bandwidth")] {
        if given > 0 {
            refuse(format!("invalid option: QoS maximum {what} configuration is not supported on linux"))?;
        }
    }
    Ok(warnings.0)
}

fn refuse(text: impl Into<String>) -> Result<()> {
    Err(Error::invalid(text.into()))
}

struct Warnings(Vec<String>);

impl Warnings {
    fn discard(&mut self, what: &str, name: &str) {
        self.0.push(format!(
            "Your kernel does not support {what} or the cgroup is not mounted. {name} discarded."
        ));
    }
}

fn check_memory(host: &mut HostConfig, facts: &HostFacts, warnings: &mut Warnings) -> Result<()> {
    if host.memory != 0 && host.memory < MIN_MEMORY {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if host.memory > 0 && !facts.controls("memory") {
        warnings.discard("memory limit capabilities", "Limitation");
        host.memory = 0;
        host.memory_swap = -1;
    }
    if host.memory > 0 && host.memory_swap != -1 && !facts.swap_limit {
        warnings.0.push(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
                .to_owned(),
        );
        host.memory_swap = -1;
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.memory == 0 && host.memory_swap > 0 {
        return refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    match host.memory_swappiness {
        Some(-1) => host.memory_swappiness = None,
        Some(value) if !(0..=100).contains(&value) => {
            return refuse(format!("Invalid value: {value}, valid memory swappiness range is 0-100"));
        }
        Some(_) if !facts.swappiness => {
            warnings.discard("memory swappiness capabilities", "Memory swappiness");
            host.memory_swappiness = None;
        }
        _ => {}
    }
    if host.memory_reservation > 0 && !facts.controls("memory") {
        warnings.discard("memory soft limit capabilities", "Limitation");
        host.memory_reservation = 0;
    }
    if host.memory_reservation > 0 && host.memory_reservation < MIN_MEMORY {
        return refuse("Minimum memory reservation allowed is 6MB");
    }
    if host.memory > 0 && host.memory_reservation > host.memory {
        return refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if host.oom_kill_disable == Some(true) {
        if !facts.oom_kill_disable {
            warnings
                .0
                .push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
            host.oom_kill_disable = None;
        } else if host.memory == 0 {
            warnings.0.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".to_owned());
        }
    }
    Ok(())
}

fn check_pids(host: &mut HostConfig, facts: &HostFacts, warnings: &mut Warnings) {
    // Both 0 and every negative number have always meant "no limit".
    host.pids_limit = host.pids_limit.filter(|limit| *limit > 0);
    if host.pids_limit.is_some() && !facts.controls("pids") {
        warnings.discard("PIDs limit capabilities", "PIDs limit");
        host.pids_limit = None;
    }
}

fn check_cpu(host: &mut HostConfig, facts: &HostFacts, warnings: &mut Warnings) -> Result<()> {
    if host.nano_cpus > 0 && host.cpu_period > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if host.nano_cpus > 0 && host.cpu_quota > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    let quotas = facts.controls("cpu");
    if host.nano_cpus > 0 && !quotas {
        return refuse(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        );
    }
    // Below a hundredth the kernel has no quota, and Docker's start fails there.
    let most = i64::from(facts.cpus) * 1_000_000_000;
    if host.nano_cpus != 0 && !(10_000_000..=most).contains(&host.nano_cpus) {
        return refuse(format!(
            "range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available",
            facts.cpus
        ));
    }
    if host.cpu_shares < 0 {
        return refuse(format!("invalid CPU shares ({}): value must be a positive integer", host.cpu_shares));
    }
    if host.cpu_shares > 0 && !quotas {
        warnings.discard("CPU shares", "Shares");
        host.cpu_shares = 0;
    }
    if host.cpu_period != 0 && !quotas {
        warnings.discard("CPU CFS scheduler", "CPU period");
        host.cpu_period = 0;
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if host.cpu_quota != 0 && !quotas {
        warnings.discard("CPU CFS scheduler", "CPU quota");
        host.cpu_quota = 0;
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1000 {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    check_real_time(host, facts)?;
    if (!host.cpuset_cpus.is_empty() || !host.cpuset_mems.is_empty()) && !facts.controls("cpuset") {
        warnings.discard("cpuset", "Cpuset");
        host.cpuset_cpus.clear();
        host.cpuset_mems.clear();
    }
    check_set(&host.cpuset_cpus, &facts.cpus_online, "cpuset cpus", "Requested CPUs are not available")?;
    check_set(
        &host.cpuset_mems,
        &facts.mems_online,
        "cpuset mems",
        "Requested memory nodes are not available",
    )
}

fn check_real_time(host: &HostConfig, facts: &HostFacts) -> Result<()> {
    for (value, what) in [(host.cpu_realtime_period, "period"), (host.cpu_realtime_runtime, "runtime")] {
        if value > 0 && !facts.real_time {
            return refuse(format!(
                "CPU real-time {what} cannot be set, as your kernel does not support CPU real-time scheduler"
            ));
        }
    }
    if host.cpu_realtime_period != 0 && host.cpu_realtime_runtime > host.cpu_realtime_period {
        return refuse("CPU real-time runtime cannot be higher than CPU real-time period");
    }
    Ok(())
}

fn check_set(wanted: &str, available: &str, what: &str, missing: &str) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let numbers = parse_list(wanted)
        .map_err(|why| Error::invalid(format!("Invalid value {wanted} for {what}: {why}")))?;
    let there = parse_list(available).unwrap_or_default();
    if !there.is_empty() && !numbers.is_subset(&there) {
        return refuse(format!("{missing} - requested {wanted}, available: {available}"));
    }
    Ok(())
}

/// `0-2,5` as the kernel writes lists of processors.
fn parse_list(text: &str) -> std::result::Result<BTreeSet<u32>, String> {
    const MOST: u32 = 8192;
    let malformed = || format!("invalid format: {text}");
    let mut numbers = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |digits: &str| digits.trim().parse::<u32>().map_err(|_bad| malformed());
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(malformed());
        }
        if last >= MOST {
            return Err(format!("value of out range, maximum is {MOST}"));
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

fn check_blkio(host: &mut HostConfig, facts: &HostFacts, warnings: &mut Warnings) -> Result<()> {
    if host.blkio_weight != 0 && !facts.blkio_weight {
        warnings.discard("Block I/O weight", "Weight");
        host.blkio_weight = 0;
    }
    if host.blkio_weight != 0 && !(10..=1000).contains(&host.blkio_weight) {
        return refuse("Range of blkio weight is from 10 to 1000");
    }
    let given = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if host.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty()) && !facts.blkio_weight {
        warnings.discard("Block I/O weight_device", "Weight-device");
        host.blkio_weight_device = Some(Vec::new());
    }
    if !facts.blkio_throttle {
        for (list, what, name) in [
            (&mut host.blkio_device_read_bps, "BPS Block I/O read limit", "Block I/O BPS read limit"),
            (&mut host.blkio_device_write_bps, "BPS Block I/O write limit", "Block I/O BPS write limit"),
            (&mut host.blkio_device_read_iops, "IOPS Block read limit", "Block I/O IOPS read limit"),
            (&mut host.blkio_device_write_iops, "IOPS Block write limit", "Block I/O IOPS write limit"),
        ] {
            if given(list) {
                warnings.discard(what, name);
                *list = Some(Vec::new());
            }
        }
    }
    Ok(())
}
