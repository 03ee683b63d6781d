//! Carrying out a plan of limits: write, judge refusals by each write's policy, name what went wrong.

use std::os::fd::OwnedFd;

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode as FileMode, OFlags, openat};
use rustix::io::Errno;

use crate::control::{write_file, write_whole};
use crate::devices::DeviceList;
use crate::error::CgroupError;
use crate::group::{Cgroup, Dir, read};
use crate::host::Version;
use crate::plan::{Policy, Stage, Write, plan_limits};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Create,
    Update,
}

pub(crate) fn apply(
    group: &Cgroup,
    resources: &LinuxResources,
    when: When,
) -> Result<Vec<String>, CgroupError> {
    let stage = match when {
        When::Create => Stage::Create,
        When::Update => Stage::Update { memory_limit: current_memory_limit(group, resources) },
    };
    let plan = plan_limits(&group.layout(), resources, stage)?;
    let mut warnings = plan.warnings;
    if let Some(ceiling) = plan.memory_ceiling {
        refuse_below_usage(group, ceiling)?;
    }
    let mut deferred: Vec<&Write> = Vec::new();
    for write in &plan.writes {
        if deferred.first().is_some_and(|d| d.controller != write.controller) {
            retry(group, &mut deferred)?;
        }
        let dir = directory(group, write)?;
        match put(dir, write) {
            Ok(()) => {}
            Err(Errno::INVAL) if write.policy == Policy::Deferred => deferred.push(write),
            Err(Errno::NOENT) if write.policy == Policy::Optional => {}
            Err(e) if write.policy == Policy::Advisory => {
                let reason = std::io::Error::from(e);
                warnings.push(format!("{} = {} has no effect: {reason}", write.file, write.value));
            }
            Err(e) => return Err(explain(dir, write, e)),
        }
    }
    retry(group, &mut deferred)?;
    if let Some(devices) = &plan.devices {
        apply_devices(group, devices)?;
    }
    Ok(warnings)
}

fn directory<'a>(group: &'a Cgroup, write: &Write) -> Result<&'a Dir, CgroupError> {
    group.dir_of(&write.controller).ok_or_else(|| CgroupError::ControllerMissing {
        limit: write.file.to_string(),
        controller: write.controller.to_string(),
    })
}

fn retry(group: &Cgroup, deferred: &mut Vec<&Write>) -> Result<(), CgroupError> {
    for write in deferred.drain(..) {
        let dir = directory(group, write)?;
        put(dir, write).map_err(|e| explain(dir, write, e))?;
    }
    Ok(())
}

fn put(dir: &Dir, write: &Write) -> Result<(), Errno> {
    match (write_file(dir, &write.file, &write.value), &write.instead) {
        (Err(Errno::NOENT), Some((file, value))) => write_file(dir, file, value),
        (result, _) => result,
    }
}

/// A memory limit below what is in use is the one refusal with a reason worth looking up.
fn explain(dir: &Dir, write: &Write, errno: Errno) -> CgroupError {
    let number = |file: &str| read(dir, file).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0);
    if errno == Errno::BUSY && write.file == "memory.limit_in_bytes" {
        return CgroupError::MemoryInUse {
            limit: write.value.clone(),
            usage: number("memory.usage_in_bytes"),
            peak: number("memory.max_usage_in_bytes"),
            source: errno.into(),
        };
    }
    CgroupError::write(dir.path.join(&*write.file), &write.value, errno)
}

fn refuse_below_usage(group: &Cgroup, ceiling: u64) -> Result<(), CgroupError> {
    let Some(dir) = group.dir_of("memory").filter(|d| d.version() == Version::V2) else { return Ok(()) };
    let number = |file: &str| read(dir, file).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0u64);
    let usage = number("memory.current");
    if usage <= ceiling {
        return Ok(());
    }
    Err(CgroupError::MemoryInUse {
        limit: ceiling.to_string(),
        usage,
        peak: number("memory.peak"),
        source: Errno::BUSY.into(),
    })
}

/// Only an update of both memory and swap on v1 needs to know.
fn current_memory_limit(group: &Cgroup, resources: &LinuxResources) -> Option<u64> {
    let memory = resources.memory().as_ref()?;
    memory.limit()?;
    let dir = group.dir_of("memory").filter(|d| d.version() == Version::V1)?;
    read(dir, "memory.limit_in_bytes").ok()?.trim().parse().ok()
}

fn apply_devices(group: &Cgroup, devices: &DeviceList) -> Result<(), CgroupError> {
    if let Some(dir) = group.dir_of("devices") {
        return write_device_list(dir, devices);
    }
    match group.dirs.iter().find(|d| d.version() == Version::V2) {
        Some(dir) => crate::bpf::attach(&dir.path, devices),
        // A v1 host without the devices controller: nothing can be limited, and runc goes on as well.
        None => Ok(()),
    }
}

/// One descriptor per file, not per line: opening costs as much as the write.
fn write_device_list(dir: &Dir, devices: &DeviceList) -> Result<(), CgroupError> {
    let mut open: Option<(&str, OwnedFd)> = None;
    for (file, value) in devices.v1_writes() {
        let fail = |e: Errno| CgroupError::write(dir.path.join(file), &value, e);
        let fd = match &mut open {
            Some((name, fd)) if *name == file => fd,
            other => {
                let fd = openat(&dir.fd, file, OFlags::WRONLY | OFlags::CLOEXEC, FileMode::empty());
                &mut other.insert((file, fd.map_err(fail)?)).1
            }
        };
        write_whole(fd, &value).map_err(fail)?;
    }
    Ok(())
}
