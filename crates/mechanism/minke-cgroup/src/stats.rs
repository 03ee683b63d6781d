//! Reading usage: one structure for both generations, numbers as the kernel gives them.
//!
//! Field meaning follows runc's `events` output, because Docker's and containerd's figures are made from that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::CgroupError;
use crate::group::Cgroup;

mod v1;
mod v2;

/// Everything the controllers of one cgroup count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Whether the numbers come from cgroup v2 (some fields exist in one generation only).
    pub unified: bool,
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    pub pids: PidsStats,
    pub blkio: BlkioStats,
    /// By page size (`2MB`).
    pub hugetlb: BTreeMap<String, HugetlbStats>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuStats {
    /// Nanoseconds.
    pub total: u64,
    pub user: u64,
    pub kernel: u64,
    /// Per CPU, v1 only.
    pub percpu: Vec<u64>,
    pub percpu_user: Vec<u64>,
    pub percpu_kernel: Vec<u64>,
    pub periods: u64,
    pub throttled_periods: u64,
    /// Nanoseconds.
    pub throttled_time: u64,
}

/// One counter with its limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryAmount {
    pub usage: u64,
    pub max_usage: u64,
    pub failcnt: u64,
    /// `u64::MAX` or v1's huge default when unlimited.
    pub limit: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStats {
    pub usage: MemoryAmount,
    /// Memory and swap together in v1, swap alone in v2.
    pub swap: MemoryAmount,
    pub kernel: MemoryAmount,
    pub kernel_tcp: MemoryAmount,
    /// Page cache bytes.
    pub cache: u64,
    pub use_hierarchy: bool,
    /// memory.stat as it is.
    pub stats: BTreeMap<String, u64>,
    pub oom_kills: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidsStats {
    pub current: u64,
    /// 0 when unlimited.
    pub limit: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioEntry {
    pub major: u64,
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`; empty where the kernel gives one number per device.
    pub op: String,
    pub value: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioStats {
    pub service_bytes: Vec<BlkioEntry>,
    pub serviced: Vec<BlkioEntry>,
    pub queued: Vec<BlkioEntry>,
    pub service_time: Vec<BlkioEntry>,
    pub wait_time: Vec<BlkioEntry>,
    pub merged: Vec<BlkioEntry>,
    pub time: Vec<BlkioEntry>,
    pub sectors: Vec<BlkioEntry>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugetlbStats {
    pub usage: u64,
    pub max_usage: u64,
    pub failcnt: u64,
}

impl Cgroup {
    /// Reads all counters. A controller that is not there leaves its part at zero.
    pub fn read_stats(&self) -> Result<Stats, CgroupError> {
        let mut stats = Stats::default();
        v1::read(self, &mut stats)?;
        v2::read(self, &mut stats)?;
        Ok(stats)
    }
}

/// `key value` lines.
fn parse_flat(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests;
