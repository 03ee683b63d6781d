//! v2 files, and the conversions from v1 units that runc and systemd agreed on.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::v1::throttles;
use super::{Plan, Policy, Write};
use crate::error::CgroupError;
use crate::host::Layout;

/// v1 shares (2..=262144, default 1024) to v2 weight (1..=10000, default 100): in proportion, so that twice the shares are twice
/// the weight, and the default is the default. What lies beyond 100 times the default is the most that v2 has. 0 stays "unset".
///
/// runc has had two other conversions, each of which loses one of these: a line through both ranges, by which the default of 1024
/// weighs 39 beside groups of 100, and since 1.3.2 a curve, by which 2:1 becomes 1.7:1.
#[must_use]
pub fn shares_to_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        _ => (shares.min(262_144) * 100 / 1024).clamp(1, 10_000),
    }
}

/// v1 blkio weight (10..=1000) to v2 io.weight (1..=10000), linear. 0 stays "unset".
#[must_use]
pub fn blkio_weight_to_io_weight(weight: u16) -> u64 {
    if weight == 0 { 0 } else { 1 + u64::from(weight).saturating_sub(10) * 9999 / 990 }
}

/// v1 counts memory and swap together, v2 swap alone. The answer is a memory.swap.max value, `None` leaves it as it is.
pub fn memory_swap_to_v2(swap: i64, memory: i64) -> Result<Option<String>, CgroupError> {
    let invalid =
        |limit, value: i64, reason| Err(CgroupError::Invalid { limit, value: value.to_string(), reason });
    match (swap, memory) {
        (0, -1) | (-1, _) => Ok(Some("max".to_owned())),
        (0, _) => Ok(None),
        (_, 0 | -1) => invalid("swap limit", swap, "unable to set swap limit without memory limit"),
        (_, ..-1) => invalid("memory value", memory, "-1 or an amount is expected"),
        _ if swap < memory => {
            invalid("memory+swap limit", swap, "memory+swap limit should be >= memory limit")
        }
        _ => Ok(Some((swap - memory).to_string())),
    }
}

fn amount(value: Option<i64>) -> Option<String> {
    match value? {
        0 => None,
        -1 => Some("max".to_owned()),
        value => Some(value.to_string()),
    }
}

pub(super) fn memory(memory: &LinuxMemory, plan: &mut Plan) -> Result<(), CgroupError> {
    let limit = memory.limit().unwrap_or(0);
    if let Some(value) = memory_swap_to_v2(memory.swap().unwrap_or(0), limit)? {
        // A kernel without swap accounting already does what these two ask for.
        let policy = if ["max", "0"].contains(&value.as_str()) { Policy::Optional } else { Policy::Required };
        plan.writes.push(Write::new("memory", "memory.swap.max", value).policy(policy));
    }
    if let Some(value) = amount(memory.limit()) {
        plan.writes.push(Write::new("memory", "memory.max", value));
        if memory.check_before_update() == Some(true) {
            plan.memory_ceiling = u64::try_from(limit).ok();
        }
    }
    if let Some(value) = amount(memory.reservation()) {
        plan.writes.push(Write::new("memory", "memory.low", value));
    }
    for (asked, what) in [
        (memory.swappiness().is_some_and(|s| s != u64::MAX), "memory swappiness"),
        (memory.disable_oom_killer() == Some(true), "disabling the OOM killer"),
        (memory.kernel_tcp().is_some_and(|v| v != 0), "the kernel TCP memory limit"),
    ] {
        if asked {
            plan.warnings.push(format!("{what} has no effect on cgroup v2"));
        }
    }
    Ok(())
}

pub(super) fn cpu(cpu: &LinuxCpu, plan: &mut Plan) {
    if let Some(idle) = cpu.idle() {
        plan.writes.push(Write::new("cpu", "cpu.idle", idle));
    }
    if let Some(shares) = cpu.shares().filter(|v| *v != 0) {
        plan.writes.push(Write::new("cpu", "cpu.weight", shares_to_weight(shares)));
    }
    let quota = cpu.quota().unwrap_or(0);
    let period = cpu.period().unwrap_or(0);
    let bandwidth = quota != 0 || period != 0;
    if let Some(burst) = cpu.burst() {
        let policy = if bandwidth { Policy::Deferred } else { Policy::Required };
        plan.writes.push(Write::new("cpu", "cpu.max.burst", burst).policy(policy));
    }
    if bandwidth {
        let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        let period = if period == 0 { 100_000 } else { period };
        plan.writes.push(Write::new("cpu", "cpu.max", format!("{quota} {period}")));
    }
    let realtime =
        [cpu.realtime_period().is_some_and(|v| v != 0), cpu.realtime_runtime().is_some_and(|v| v != 0)];
    if realtime.contains(&true) {
        plan.warnings.push("realtime cpu bandwidth has no effect on cgroup v2".to_owned());
    }
}

pub(super) fn io(io: &LinuxBlockIo, plan: &mut Plan) -> Result<(), CgroupError> {
    if let Some(weight) = io.weight().filter(|w| *w != 0) {
        // BFQ keeps v1's range; the io.cost controller has its own.
        let write = Write::new("io", "io.bfq.weight", weight);
        plan.writes.push(write.or("io.weight", format!("default {}", blkio_weight_to_io_weight(weight))));
    }
    for device in io.weight_device().iter().flatten() {
        let Some(weight) = device.weight().filter(|w| *w != 0) else { continue };
        let of = |weight: u64| format!("{}:{} {weight}", device.major(), device.minor());
        let write = Write::new("io", "io.bfq.weight", of(weight.into()));
        plan.writes.push(write.or("io.weight", of(blkio_weight_to_io_weight(weight))));
    }
    if io.leaf_weight().is_some_and(|w| w != 0) {
        plan.warnings.push("block I/O leaf weight has no effect on cgroup v2".to_owned());
    }
    for (_, key, devices) in throttles(io) {
        for device in devices {
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            let value = format!("{}:{} {key}={rate}", device.major(), device.minor());
            plan.writes.push(Write::new("io", "io.max", value));
        }
    }
    Ok(())
}

/// Keys go to files as they are, in name order; a key is a file name, never a path.
pub(super) fn unified(
    keys: &HashMap<String, String>,
    layout: &Layout,
    plan: &mut Plan,
) -> Result<(), CgroupError> {
    let mut keys: Vec<_> = keys.iter().collect();
    keys.sort();
    for (file, value) in keys {
        let Some((controller, _)) = file.split_once('.').filter(|_| !file.contains('/')) else {
            let reason = "a file name like memory.high is expected";
            return Err(CgroupError::Invalid { limit: "unified key", value: format!("{file:?}"), reason });
        };
        if controller != "cgroup" && !layout.v2.contains(controller) {
            if layout.v1.is_empty() {
                let limit = format!("unified resource {file:?}");
                return Err(CgroupError::ControllerMissing { limit, controller: controller.to_owned() });
            }
            let reason = "unified keys need the controller in cgroup v2, this host has it in v1";
            return Err(CgroupError::Invalid { limit: "unified key", value: format!("{file:?}"), reason });
        }
        plan.writes.push(Write {
            controller: controller.to_owned().into(),
            file: file.clone().into(),
            value: value.clone(),
            instead: None,
            policy: Policy::Required,
        });
    }
    Ok(())
}
