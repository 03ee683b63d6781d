//! v1 files: memory with memsw, cpu shares and CFS, cpuset, blkio, net_cls and net_prio.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxThrottleDevice};

use super::{Plan, Policy, Stage, Write};
use crate::error::CgroupError;
use crate::host::Layout;

pub(super) fn asks_for_cpuset(cpu: &LinuxCpu) -> bool {
    [cpu.cpus(), cpu.mems()].into_iter().flatten().any(|list| !list.is_empty())
}

/// The files have the same names in both generations.
pub(super) fn cpuset(cpu: &LinuxCpu) -> impl Iterator<Item = Write> {
    let files = [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())];
    files.into_iter().filter_map(|(file, list)| {
        let list = list.as_ref().filter(|l| !l.is_empty())?;
        Some(Write::new("cpuset", file, list))
    })
}

pub(super) fn asks_for_memory(memory: &LinuxMemory) -> bool {
    let amounts = [memory.limit(), memory.reservation(), memory.swap(), memory.kernel(), memory.kernel_tcp()];
    amounts.into_iter().flatten().any(|v| v != 0)
        || memory.swappiness().is_some_and(|s| s != u64::MAX)
        || memory.disable_oom_killer() == Some(true)
}

/// memsw may never be below the memory limit, so which goes first depends on whether the limits grow or shrink.
pub(super) fn memory(memory: &LinuxMemory, stage: Stage, plan: &mut Plan) -> Result<(), CgroupError> {
    let limit = memory.limit().unwrap_or(0);
    let mut swap = memory.swap().unwrap_or(0);
    let implied = limit == -1 && swap == 0;
    if implied {
        swap = -1;
    }
    if limit > 0 && swap > 0 && swap < limit {
        let reason = "memory+swap limit should be >= memory limit";
        return Err(CgroupError::Invalid { limit: "memory+swap limit", value: swap.to_string(), reason });
    }
    let write = |file, value: i64| Write::new("memory", file, value);
    let mut pair = Vec::new();
    if limit != 0 {
        pair.push(write("memory.limit_in_bytes", limit));
    }
    if swap != 0 {
        // Unlimited memory lifts the swap limit too, where swap is accounted at all.
        let policy = if implied { Policy::Optional } else { Policy::Required };
        pair.push(write("memory.memsw.limit_in_bytes", swap).policy(policy));
    }
    let current = match stage {
        Stage::Create => None,
        Stage::Update { memory_limit } => memory_limit,
    };
    let grows = current.is_some_and(|now| u64::try_from(swap).is_ok_and(|swap| now < swap));
    if pair.len() == 2 && (grows || (swap == -1 && current.is_some())) {
        pair.reverse();
    }
    plan.writes.extend(pair);
    if let Some(reservation) = memory.reservation().filter(|v| *v != 0) {
        plan.writes.push(write("memory.soft_limit_in_bytes", reservation));
    }
    if let Some(kernel) = memory.kernel().filter(|v| *v != 0) {
        plan.writes.push(write("memory.kmem.limit_in_bytes", kernel).policy(Policy::Advisory));
    }
    if let Some(tcp) = memory.kernel_tcp().filter(|v| *v != 0) {
        plan.writes.push(write("memory.kmem.tcp.limit_in_bytes", tcp).policy(Policy::Advisory));
    }
    if memory.disable_oom_killer() == Some(true) {
        plan.writes.push(write("memory.oom_control", 1));
    }
    // Docker sends "unset" as -1, which arrives as the largest u64.
    if let Some(swappiness) = memory.swappiness().filter(|s| *s != u64::MAX) {
        if swappiness > 100 {
            let reason = "valid range is 0-100";
            let value = swappiness.to_string();
            return Err(CgroupError::Invalid { limit: "memory swappiness value", value, reason });
        }
        plan.writes.push(Write::new("memory", "memory.swappiness", swappiness));
    }
    Ok(())
}

pub(super) fn asks_for_cpu(cpu: &LinuxCpu) -> bool {
    cpu.shares().is_some_and(|v| v != 0)
        || cpu.quota().is_some_and(|v| v != 0)
        || cpu.period().is_some_and(|v| v != 0)
        || cpu.realtime_period().is_some_and(|v| v != 0)
        || cpu.realtime_runtime().is_some_and(|v| v != 0)
        || cpu.idle().is_some()
        || cpu.burst().is_some()
}

pub(super) fn cpu(cpu: &LinuxCpu, plan: &mut Plan) -> Result<(), CgroupError> {
    // Real-time bandwidth first: a process that is SCHED_RR already may not join a group without any.
    if let Some(period) = cpu.realtime_period().filter(|v| *v != 0) {
        plan.writes.push(Write::new("cpu", "cpu.rt_period_us", period).policy(Policy::Deferred));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|v| *v != 0) {
        plan.writes.push(Write::new("cpu", "cpu.rt_runtime_us", runtime));
    }
    if let Some(shares) = cpu.shares().filter(|v| *v != 0) {
        // The kernel would clamp silently.
        let reason = match shares {
            0..2 => Some("the minimum allowed cpu-shares is 2"),
            262_145.. => Some("the maximum allowed cpu-shares is 262144"),
            _ => None,
        };
        if let Some(reason) = reason {
            return Err(CgroupError::Invalid { limit: "cpu-shares", value: shares.to_string(), reason });
        }
        plan.writes.push(Write::new("cpu", "cpu.shares", shares));
    }
    let quota = cpu.quota().filter(|v| *v != 0);
    // A new period or burst may only fit together with the new quota.
    let dependent = if quota.is_some() { Policy::Deferred } else { Policy::Required };
    if let Some(period) = cpu.period().filter(|v| *v != 0) {
        plan.writes.push(Write::new("cpu", "cpu.cfs_period_us", period).policy(dependent));
    }
    if let Some(burst) = cpu.burst() {
        plan.writes.push(Write::new("cpu", "cpu.cfs_burst_us", burst).policy(dependent));
    }
    if let Some(quota) = quota {
        plan.writes.push(Write::new("cpu", "cpu.cfs_quota_us", quota));
    }
    if let Some(idle) = cpu.idle() {
        plan.writes.push(Write::new("cpu", "cpu.idle", idle));
    }
    Ok(())
}

pub(super) fn asks_for_io(io: &LinuxBlockIo) -> bool {
    io.weight().is_some_and(|w| w != 0)
        || io.leaf_weight().is_some_and(|w| w != 0)
        || io.weight_device().as_ref().is_some_and(|d| !d.is_empty())
        || throttles(io).into_iter().any(|(_, _, list)| !list.is_empty())
}

/// v1 file, v2 key, devices.
pub(super) fn throttles(io: &LinuxBlockIo) -> [(&'static str, &'static str, &[LinuxThrottleDevice]); 4] {
    [
        (
            "blkio.throttle.read_bps_device",
            "rbps",
            io.throttle_read_bps_device().as_deref().unwrap_or_default(),
        ),
        (
            "blkio.throttle.write_bps_device",
            "wbps",
            io.throttle_write_bps_device().as_deref().unwrap_or_default(),
        ),
        (
            "blkio.throttle.read_iops_device",
            "riops",
            io.throttle_read_iops_device().as_deref().unwrap_or_default(),
        ),
        (
            "blkio.throttle.write_iops_device",
            "wiops",
            io.throttle_write_iops_device().as_deref().unwrap_or_default(),
        ),
    ]
}

/// Weights exist under CFQ's old name or BFQ's, whichever scheduler the kernel has.
pub(super) fn blkio(io: &LinuxBlockIo, plan: &mut Plan) {
    if let Some(weight) = io.weight().filter(|w| *w != 0) {
        plan.writes.push(Write::new("blkio", "blkio.weight", weight).or("blkio.bfq.weight", weight));
    }
    if let Some(weight) = io.leaf_weight().filter(|w| *w != 0) {
        plan.writes.push(Write::new("blkio", "blkio.leaf_weight", weight));
    }
    for device in io.weight_device().iter().flatten() {
        let of = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|w| *w != 0) {
            let write = Write::new("blkio", "blkio.weight_device", of(weight));
            plan.writes.push(write.or("blkio.bfq.weight_device", of(weight)));
        }
        if let Some(weight) = device.leaf_weight().filter(|w| *w != 0) {
            plan.writes.push(Write::new("blkio", "blkio.leaf_weight_device", of(weight)));
        }
    }
    for (file, _, devices) in throttles(io) {
        for device in devices {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            plan.writes.push(Write::new("blkio", file, value));
        }
    }
}

/// Network classes exist in v1 only; a v2 host gets a warning, because there traffic is marked by cgroup path instead.
pub(super) fn network(network: &LinuxNetwork, layout: &Layout, plan: &mut Plan) -> Result<(), CgroupError> {
    let class = network.class_id().filter(|c| *c != 0);
    let priorities = network.priorities().as_deref().unwrap_or_default();
    for (asked, controller, limit) in [
        (class.is_some(), "net_cls", "network class"),
        (!priorities.is_empty(), "net_prio", "network priorities"),
    ] {
        if asked && !layout.v1.contains(controller) {
            if layout.v1.is_empty() {
                plan.warnings
                    .push(format!("{limit} has no effect: cgroup v2 has no {controller} controller"));
                continue;
            }
            let (limit, controller) = (limit.to_owned(), controller.to_owned());
            return Err(CgroupError::ControllerMissing { limit, controller });
        }
    }
    if let Some(class) = class.filter(|_| layout.v1.contains("net_cls")) {
        plan.writes.push(Write::new("net_cls", "net_cls.classid", class));
    }
    if layout.v1.contains("net_prio") {
        let writes = priorities
            .iter()
            .map(|p| Write::new("net_prio", "net_prio.ifpriomap", format!("{} {}", p.name(), p.priority())));
        plan.writes.extend(writes);
    }
    Ok(())
}
