//! A container's limits: from Docker's host configuration to the OCI resources.

use minke_api::container::{HostConfig, ThrottleDevice, Ulimit};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
};

use crate::error::{Error, Result};

fn unsigned(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value != 0)
}

/// The resources of a container, its device rules excepted.
pub fn plan_resources(host: &HostConfig) -> Result<LinuxResources> {
    let mut resources = LinuxResources::default();
    resources.set_devices(None);
    resources.set_memory(plan_memory(host));
    resources.set_cpu(plan_cpu(host));
    if let Some(limit) = host.pids_limit.filter(|limit| *limit != 0) {
        let mut pids = LinuxPids::default();
        pids.set_limit(if limit < 0 { -1 } else { limit });
        resources.set_pids(Some(pids));
    }
    resources.set_block_io(plan_block_io(host)?);
    Ok(resources)
}

fn plan_memory(host: &HostConfig) -> Option<LinuxMemory> {
    let mut memory = LinuxMemory::default();
    if host.memory > 0 {
        memory.set_limit(Some(host.memory));
    }
    if host.memory_reservation > 0 {
        memory.set_reservation(Some(host.memory_reservation));
    }
    if host.memory > 0 && host.memory_swap != 0 {
        memory.set_swap(Some(host.memory_swap));
    }
    if let Some(swappiness) = host.memory_swappiness.and_then(|value| u64::try_from(value).ok()) {
        memory.set_swappiness(Some(swappiness));
    }
    if host.oom_kill_disable == Some(true) {
        memory.set_disable_oom_killer(Some(true));
    }
    (memory != LinuxMemory::default()).then_some(memory)
}

fn plan_cpu(host: &HostConfig) -> Option<LinuxCpu> {
    let mut cpu = LinuxCpu::default();
    if host.cpu_shares > 0 {
        // The kernel's own bounds: Docker raises and lowers into them.
        cpu.set_shares(unsigned(host.cpu_shares.clamp(2, 262_144)));
    }
    if host.nano_cpus > 0 {
        const PERIOD: i64 = 100_000;
        cpu.set_period(unsigned(PERIOD));
        cpu.set_quota(Some((host.nano_cpus.saturating_mul(PERIOD) / 1_000_000_000).max(1000)));
    }
    if host.cpu_period != 0 {
        cpu.set_period(unsigned(host.cpu_period));
    }
    if host.cpu_quota != 0 {
        cpu.set_quota(Some(host.cpu_quota));
    }
    if host.cpu_realtime_period != 0 {
        cpu.set_realtime_period(unsigned(host.cpu_realtime_period));
    }
    if host.cpu_realtime_runtime != 0 {
        cpu.set_realtime_runtime(Some(host.cpu_realtime_runtime));
    }
    if !host.cpuset_cpus.is_empty() {
        cpu.set_cpus(Some(host.cpuset_cpus.clone()));
    }
    if !host.cpuset_mems.is_empty() {
        cpu.set_mems(Some(host.cpuset_mems.clone()));
    }
    (cpu != LinuxCpu::default()).then_some(cpu)
}

fn plan_block_io(host: &HostConfig) -> Result<Option<LinuxBlockIo>> {
    let mut builder = LinuxBlockIoBuilder::default();
    let mut any = false;
    if host.blkio_weight != 0 {
        builder = builder.weight(host.blkio_weight);
        any = true;
    }
    if let Some(devices) = host.blkio_weight_device.as_deref().filter(|list| !list.is_empty()) {
        let mut list = Vec::with_capacity(devices.len());
        for device in devices {
            let (major, minor) = read_numbers(&device.path)?;
            list.push(
                LinuxWeightDeviceBuilder::default()
                    .major(major)
                    .minor(minor)
                    .weight(device.weight)
                    .build()
                    .map_err(|source| Error::failed(format!("plan the weight of {}", device.path), source))?,
            );
        }
        builder = builder.weight_device(list);
        any = true;
    }
    for (given, set) in [
        (
            &host.blkio_device_read_bps,
            LinuxBlockIoBuilder::throttle_read_bps_device::<Vec<LinuxThrottleDevice>> as fn(_, _) -> _,
        ),
        (&host.blkio_device_write_bps, LinuxBlockIoBuilder::throttle_write_bps_device),
        (&host.blkio_device_read_iops, LinuxBlockIoBuilder::throttle_read_iops_device),
        (&host.blkio_device_write_iops, LinuxBlockIoBuilder::throttle_write_iops_device),
    ] {
        if let Some(devices) = given.as_deref().filter(|list| !list.is_empty()) {
            builder = set(builder, read_throttles(devices)?);
            any = true;
        }
    }
    if !any {
        return Ok(None);
    }
    builder.build().map(Some).map_err(|source| Error::failed("plan block I/O limits", source))
}

fn read_throttles(devices: &[ThrottleDevice]) -> Result<Vec<LinuxThrottleDevice>> {
    devices
        .iter()
        .map(|device| {
            let (major, minor) = read_numbers(&device.path)?;
            LinuxThrottleDeviceBuilder::default()
                .major(major)
                .minor(minor)
                .rate(device.rate)
                .build()
                .map_err(|source| Error::failed(format!("plan the limit of {}", device.path), source))
        })
        .collect()
}

fn read_numbers(path: &str) -> Result<(i64, i64)> {
    let stat = rustix::fs::stat(path).map_err(|errno| {
        let why = if errno == rustix::io::Errno::NOENT {
            "no such file or directory".to_owned()
        } else {
            errno.to_string()
        };
        Error::invalid(format!("stat {path}: {why}")).caused_by(std::io::Error::from(errno))
    })?;
    Ok((i64::from(rustix::fs::major(stat.st_rdev)), i64::from(rustix::fs::minor(stat.st_rdev))))
}

/// `--ulimit`, the engine's defaults filled in beneath.
pub fn plan_rlimits(own: &[Ulimit]) -> Result<Vec<PosixRlimit>> {
    own.iter()
        .map(|limit| {
            let kind = rlimit(&limit.name)
                .ok_or_else(|| Error::invalid(format!("invalid ulimit type: {}", limit.name)))?;
            let value = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
            if limit.hard >= 0 && (limit.soft > limit.hard || limit.soft < 0) {
                return Err(Error::invalid(format!(
                    "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                    limit.soft, limit.hard
                )));
            }
            PosixRlimitBuilder::default()
                .typ(kind)
                .hard(value(limit.hard))
                .soft(value(limit.soft))
                .build()
                .map_err(|source| Error::failed(format!("plan ulimit {}", limit.name), source))
        })
        .collect()
}

fn rlimit(name: &str) -> Option<PosixRlimitType> {
    Some(match name {
        "core" => PosixRlimitType::RlimitCore,
        "cpu" => PosixRlimitType::RlimitCpu,
        "data" => PosixRlimitType::RlimitData,
        "fsize" => PosixRlimitType::RlimitFsize,
        "locks" => PosixRlimitType::RlimitLocks,
        "memlock" => PosixRlimitType::RlimitMemlock,
        "msgqueue" => PosixRlimitType::RlimitMsgqueue,
        "nice" => PosixRlimitType::RlimitNice,
        "nofile" => PosixRlimitType::RlimitNofile,
        "nproc" => PosixRlimitType::RlimitNproc,
        "rss" => PosixRlimitType::RlimitRss,
        "rtprio" => PosixRlimitType::RlimitRtprio,
        "rttime" => PosixRlimitType::RlimitRttime,
        "sigpending" => PosixRlimitType::RlimitSigpending,
        "stack" => PosixRlimitType::RlimitStack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_limits_has_none() {
        let resources = plan_resources(&HostConfig::default()).expect("nothing to fail");
        assert!(resources.memory().is_none() && resources.cpu().is_none() && resources.pids().is_none());
    }

    #[test]
    fn nano_cpus_become_quota_and_period() {
        let host = HostConfig { nano_cpus: 1_500_000_000, ..HostConfig::default() };
        let resources = plan_resources(&host).expect("plain numbers");
        let cpu = resources.cpu().as_ref().expect("a quota is set");
        assert_eq!((cpu.period(), cpu.quota()), (Some(100_000), Some(150_000)));
    }

    #[test]
    fn swap_goes_with_memory_only() {
        let host = HostConfig { memory: 64 << 20, memory_swap: -1, ..HostConfig::default() };
        let resources = plan_resources(&host).expect("plain numbers");
        let memory = resources.memory().as_ref().expect("a limit is set");
        assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(-1)));
    }

    #[test]
    fn an_unknown_ulimit_is_refused() {
        let limit = Ulimit { name: "nope".into(), hard: 1, soft: 1 };
        assert_eq!(plan_rlimits(&[limit]).expect_err("unknown").message(), "invalid ulimit type: nope");
    }
}
