//! v1 counters: cpuacct, cpu, memory, pids, blkio, hugetlb.

use super::{BlkioEntry, HugetlbStats, MemoryAmount, Stats, parse_flat};
use crate::control::read_file;
use crate::error::CgroupError;
use crate::group::{Cgroup, Dir};
use crate::host::Version;

/// cpuacct.stat counts in USER_HZ, which is 100 on every architecture Linux has an ABI for.
const TICK: u64 = 1_000_000_000 / 100;

fn dir<'a>(group: &'a Cgroup, controller: &str) -> Option<&'a Dir> {
    group.dir_of(controller).filter(|d| d.version() == Version::V1)
}

/// A file that this kernel does not have reads as empty.
fn text(dir: &Dir, file: &str) -> Result<String, CgroupError> {
    match read_file(dir, file) {
        Ok(text) => Ok(text),
        // EOPNOTSUPP: accounting files of features that were switched off.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV)) => {
            Ok(String::new())
        }
        Err(e) => Err(CgroupError::read(&dir.path.join(file), e)),
    }
}

fn number(dir: &Dir, file: &str) -> Result<u64, CgroupError> {
    Ok(text(dir, file)?.trim().parse().unwrap_or(0))
}

pub(super) fn read(group: &Cgroup, stats: &mut Stats) -> Result<(), CgroupError> {
    if let Some(dir) = dir(group, "cpuacct") {
        let usage = parse_flat(&text(dir, "cpuacct.stat")?);
        stats.cpu.user = usage.get("user").copied().unwrap_or(0) * TICK;
        stats.cpu.kernel = usage.get("system").copied().unwrap_or(0) * TICK;
        stats.cpu.total = number(dir, "cpuacct.usage")?;
        let list = text(dir, "cpuacct.usage_percpu")?;
        stats.cpu.percpu = list.split_whitespace().filter_map(|v| v.parse().ok()).collect();
        // Header `cpu user system`, then a line per CPU.
        for line in text(dir, "cpuacct.usage_all")?.lines().skip(1) {
            let mut values = line.split_whitespace().skip(1).filter_map(|v| v.parse().ok());
            stats.cpu.percpu_user.push(values.next().unwrap_or(0));
            stats.cpu.percpu_kernel.push(values.next().unwrap_or(0));
        }
    }
    if let Some(dir) = dir(group, "cpu") {
        let throttling = parse_flat(&text(dir, "cpu.stat")?);
        let get = |key: &str| throttling.get(key).copied().unwrap_or(0);
        stats.cpu.periods = get("nr_periods");
        stats.cpu.throttled_periods = get("nr_throttled");
        stats.cpu.throttled_time = get("throttled_time");
    }
    if let Some(dir) = dir(group, "memory") {
        read_memory(dir, stats)?;
    }
    if let Some(dir) = dir(group, "pids") {
        stats.pids.current = number(dir, "pids.current")?;
        stats.pids.limit = number(dir, "pids.max")?;
    }
    if let Some(dir) = dir(group, "blkio") {
        read_blkio(dir, stats)?;
    }
    if let Some(dir) = dir(group, "hugetlb") {
        for size in super::v2::huge_page_sizes() {
            let at = |what: &str| number(dir, &format!("hugetlb.{size}.{what}"));
            let value = HugetlbStats {
                usage: at("usage_in_bytes")?,
                max_usage: at("max_usage_in_bytes")?,
                failcnt: at("failcnt")?,
            };
            stats.hugetlb.insert(size, value);
        }
    }
    Ok(())
}

fn read_memory(dir: &Dir, stats: &mut Stats) -> Result<(), CgroupError> {
    let amount = |infix: &str| -> Result<MemoryAmount, CgroupError> {
        Ok(MemoryAmount {
            usage: number(dir, &format!("memory.{infix}usage_in_bytes"))?,
            max_usage: number(dir, &format!("memory.{infix}max_usage_in_bytes"))?,
            failcnt: number(dir, &format!("memory.{infix}failcnt"))?,
            limit: number(dir, &format!("memory.{infix}limit_in_bytes"))?,
        })
    };
    let memory = &mut stats.memory;
    memory.stats = parse_flat(&text(dir, "memory.stat")?);
    memory.cache = memory.stats.get("cache").copied().unwrap_or(0);
    memory.usage = amount("")?;
    memory.swap = amount("memsw.")?;
    memory.kernel = amount("kmem.")?;
    memory.kernel_tcp = amount("kmem.tcp.")?;
    memory.use_hierarchy = number(dir, "memory.use_hierarchy")? == 1;
    let oom = parse_flat(&text(dir, "memory.oom_control")?);
    memory.oom_kills = oom.get("oom_kill").copied().unwrap_or(0);
    Ok(())
}

/// Whoever schedules the device has the numbers: BFQ, then CFQ, and the throttling layer sees everything else.
fn read_blkio(dir: &Dir, stats: &mut Stats) -> Result<(), CgroupError> {
    let bfq = [
        "blkio.bfq.io_service_bytes_recursive",
        "blkio.bfq.io_serviced_recursive",
        "blkio.bfq.io_queued_recursive",
        "blkio.bfq.io_service_time_recursive",
        "blkio.bfq.io_wait_time_recursive",
        "blkio.bfq.io_merged_recursive",
        "blkio.bfq.time_recursive",
        "blkio.bfq.sectors_recursive",
    ];
    let throttle = ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"];
    for files in [bfq.as_slice(), throttle.as_slice()] {
        let blkio = &mut stats.blkio;
        let targets = [
            &mut blkio.service_bytes,
            &mut blkio.serviced,
            &mut blkio.queued,
            &mut blkio.service_time,
            &mut blkio.wait_time,
            &mut blkio.merged,
            &mut blkio.time,
            &mut blkio.sectors,
        ];
        for (file, target) in files.iter().zip(targets) {
            *target = parse_entries(&text(dir, file)?);
        }
        if !blkio.serviced.is_empty() {
            break;
        }
    }
    Ok(())
}

/// `8:0 Read 4096`, or `8:0 4096`; the closing `Total N` line has no device.
pub(super) fn parse_entries(text: &str) -> Vec<BlkioEntry> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = match (words.next()?, words.next()) {
            (op, Some(value)) => (op.to_owned(), value),
            (value, None) => (String::new(), value),
        };
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op,
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(line).collect()
}
