//! From OCI resources to a list of file writes: pure, so that every conversion has a golden test.
//!
//! The plan says which file of which controller gets which value and what a refusal means; [`crate::Cgroup`] carries it out.
//! Order matters (cpuset before tasks, memory against memsw, period against quota) and is decided here.
//! Values follow runc: 0 means "unset", -1 means "unlimited".

use std::borrow::Cow;

use oci_spec::runtime::{LinuxHugepageLimit, LinuxRdma, LinuxResources};

use crate::devices::{DeviceList, default_rules};
use crate::error::CgroupError;
use crate::host::{Layout, Version};

mod v1;
mod v2;

pub use v2::{blkio_weight_to_io_weight, memory_swap_to_v2, shares_to_weight};

/// What a refusal by the kernel means for one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Any refusal is an error.
    Required,
    /// A missing file is passed over: the kernel has no such feature, and the value asks for its absence anyway.
    Optional,
    /// A refusal becomes a warning: the setting is deprecated and newer kernels ignore it.
    Advisory,
    /// EINVAL means "not yet": tried again after the other writes of the same controller.
    Deferred,
}

/// One value for one control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub controller: Cow<'static, str>,
    pub file: Cow<'static, str>,
    pub value: String,
    /// Another file with its own value, used when `file` does not exist (weights differ per I/O scheduler).
    pub instead: Option<(Cow<'static, str>, String)>,
    pub policy: Policy,
}

impl Write {
    fn new(controller: &'static str, file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self {
            controller: controller.into(),
            file: file.into(),
            value: value.to_string(),
            instead: None,
            policy: Policy::Required,
        }
    }

    fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    fn or(mut self, file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        self.instead = Some((file.into(), value.to_string()));
        self
    }
}

/// Whether the cgroup is new, or has limits and processes already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Just made: nothing is limited, nothing runs, and the device list starts from "deny everything".
    Create,
    /// In use: `memory_limit` is what memory.limit_in_bytes holds, which decides the order of memory and memsw.
    Update { memory_limit: Option<u64> },
}

/// Everything to write, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub writes: Vec<Write>,
    /// The complete device list, when it is to be set.
    pub devices: Option<DeviceList>,
    /// Refuse when more than this is in use already (`checkBeforeUpdate`; v1 kernels refuse by themselves).
    pub memory_ceiling: Option<u64>,
    /// Requests this host cannot honour and runc passes over as well; each a sentence.
    pub warnings: Vec<String>,
}

/// Decides what to write for `resources` on a host with this `layout`.
///
/// A limit whose controller is missing is an error that names both; what was not asked for needs no controller.
pub fn plan_limits(layout: &Layout, resources: &LinuxResources, stage: Stage) -> Result<Plan, CgroupError> {
    let mut plan = Plan::default();
    let by_version = |controller: &str, limit: &str| {
        layout.version_of(controller).ok_or_else(|| CgroupError::ControllerMissing {
            limit: limit.to_owned(),
            controller: controller.to_owned(),
        })
    };
    if let Some(cpu) = resources.cpu().as_ref().filter(|c| v1::asks_for_cpuset(c)) {
        by_version("cpuset", "cpuset")?;
        plan.writes.extend(v1::cpuset(cpu));
    }
    plan.devices = plan_devices(resources, stage);
    if let Some(memory) = resources.memory().as_ref().filter(|m| v1::asks_for_memory(m)) {
        match by_version("memory", "memory limit")? {
            Version::V1 => v1::memory(memory, stage, &mut plan)?,
            Version::V2 => v2::memory(memory, &mut plan)?,
        }
    }
    if let Some(cpu) = resources.cpu().as_ref().filter(|c| v1::asks_for_cpu(c)) {
        match by_version("cpu", "cpu limit")? {
            Version::V1 => v1::cpu(cpu, &mut plan)?,
            Version::V2 => v2::cpu(cpu, &mut plan),
        }
    }
    if let Some(limit) = resources.pids().map(|p| p.limit()).filter(|l| *l != 0) {
        by_version("pids", "pids limit")?;
        let value = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        plan.writes.push(Write::new("pids", "pids.max", value));
    }
    if let Some(io) = resources.block_io().as_ref().filter(|io| v1::asks_for_io(io)) {
        if layout.v1.contains("blkio") {
            v1::blkio(io, &mut plan);
        } else {
            by_version("io", "block I/O limit")?;
            v2::io(io, &mut plan)?;
        }
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let version = by_version("hugetlb", "huge page limit")?;
        plan.writes.extend(hugetlb(limit, version)?);
    }
    if let Some(devices) = resources.rdma().as_ref().filter(|d| !d.is_empty()) {
        by_version("rdma", "rdma limit")?;
        let mut devices: Vec<_> = devices.iter().collect();
        devices.sort_by_key(|(name, _)| *name);
        let writes = devices.into_iter().map(|(name, limit)| rdma(name, limit));
        plan.writes.extend(writes);
    }
    if let Some(network) = resources.network() {
        v1::network(network, layout, &mut plan)?;
    }
    if let Some(unified) = resources.unified().as_ref().filter(|u| !u.is_empty()) {
        v2::unified(unified, layout, &mut plan)?;
    }
    Ok(plan)
}

/// A new cgroup always gets a list, so that nothing is inherited by accident; later only what is sent changes it.
pub(crate) fn plan_devices(resources: &LinuxResources, stage: Stage) -> Option<DeviceList> {
    let asked = resources.devices().as_deref();
    match (stage, asked) {
        (Stage::Update { .. }, None | Some([])) => None,
        (_, asked) => {
            let mut list = DeviceList::deny_all();
            asked.unwrap_or_default().iter().for_each(|rule| list.apply(rule));
            default_rules().iter().for_each(|rule| list.apply(rule));
            Some(list)
        }
    }
}

fn hugetlb(limit: &LinuxHugepageLimit, version: Version) -> Result<[Write; 2], CgroupError> {
    let size = limit.page_size().as_str();
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &size[digits.len()..];
    if digits.is_empty()
        || !digits.bytes().all(|b| b.is_ascii_digit())
        || !["KB", "MB", "GB", "B"].contains(&unit)
    {
        let reason = "a size like 2MB or 64KB is expected";
        return Err(CgroupError::Invalid { limit: "huge page size", value: format!("{size:?}"), reason });
    }
    let (usage, reserved) = match version {
        Version::V1 => ("limit_in_bytes", "rsvd.limit_in_bytes"),
        Version::V2 => ("max", "rsvd.max"),
    };
    let value = if limit.limit() < 0 && version == Version::V2 {
        "max".to_owned()
    } else {
        limit.limit().to_string()
    };
    Ok([
        Write::new("hugetlb", format!("hugetlb.{size}.{usage}"), &value),
        Write::new("hugetlb", format!("hugetlb.{size}.{reserved}"), value).policy(Policy::Optional),
    ])
}

fn rdma(name: &str, limit: &LinuxRdma) -> Write {
    let mut value = name.to_owned();
    if let Some(handles) = limit.hca_handles() {
        value += &format!(" hca_handle={handles}");
    }
    if let Some(objects) = limit.hca_objects() {
        value += &format!(" hca_object={objects}");
    }
    Write::new("rdma", "rdma.max", value)
}

#[cfg(test)]
mod tests;
