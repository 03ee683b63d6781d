//! v2 counters: cpu.stat, memory.*, pids.*, io.stat, hugetlb.*.

use super::{BlkioEntry, HugetlbStats, MemoryAmount, Stats, parse_flat};
use crate::control::read_file;
use crate::error::CgroupError;
use crate::group::{Cgroup, Dir};
use crate::host::Version;

fn text(dir: &Dir, file: &str) -> Result<String, CgroupError> {
    match read_file(dir, file) {
        Ok(text) => Ok(text),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV)) => {
            Ok(String::new())
        }
        Err(e) => Err(CgroupError::read(&dir.path.join(file), e)),
    }
}

/// `max` reads as the largest number.
fn number(dir: &Dir, file: &str) -> Result<u64, CgroupError> {
    let text = text(dir, file)?;
    Ok(if text.trim() == "max" { u64::MAX } else { text.trim().parse().unwrap_or(0) })
}

pub(super) fn read(group: &Cgroup, stats: &mut Stats) -> Result<(), CgroupError> {
    let Some(dir) = group.dirs.iter().find(|d| d.version() == Version::V2) else { return Ok(()) };
    let pure = group.dirs.len() == 1;
    stats.unified = pure;
    let has = |controller: &str| group.dir_of(controller).is_some_and(|d| d.version() == Version::V2);
    // cpu.stat exists without the controller; on a hybrid host v1's cpuacct has said more already.
    if pure {
        let usage = parse_flat(&text(dir, "cpu.stat")?);
        let get = |key: &str| usage.get(key).copied().unwrap_or(0);
        stats.cpu.total = get("usage_usec") * 1000;
        stats.cpu.user = get("user_usec") * 1000;
        stats.cpu.kernel = get("system_usec") * 1000;
        stats.cpu.periods = get("nr_periods");
        stats.cpu.throttled_periods = get("nr_throttled");
        stats.cpu.throttled_time = get("throttled_usec") * 1000;
    }
    if has("memory") {
        read_memory(dir, stats)?;
    }
    if has("pids") {
        stats.pids.current = number(dir, "pids.current")?;
        let limit = number(dir, "pids.max")?;
        stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
    }
    if has("io") {
        (stats.blkio.service_bytes, stats.blkio.serviced) = parse_io(&text(dir, "io.stat")?);
    }
    if has("hugetlb") {
        for size in huge_page_sizes() {
            let events = parse_flat(&text(dir, &format!("hugetlb.{size}.events"))?);
            let usage = number(dir, &format!("hugetlb.{size}.current"))?;
            let failcnt = events.get("max").copied().unwrap_or(0);
            stats.hugetlb.insert(size, HugetlbStats { usage, max_usage: 0, failcnt });
        }
    }
    Ok(())
}

fn read_memory(dir: &Dir, stats: &mut Stats) -> Result<(), CgroupError> {
    let memory = &mut stats.memory;
    memory.stats = parse_flat(&text(dir, "memory.stat")?);
    memory.cache = memory.stats.get("file").copied().unwrap_or(0);
    memory.use_hierarchy = true;
    let events = parse_flat(&text(dir, "memory.events")?);
    memory.usage = MemoryAmount {
        usage: number(dir, "memory.current")?,
        max_usage: number(dir, "memory.peak")?,
        failcnt: events.get("max").copied().unwrap_or(0),
        limit: number(dir, "memory.max")?,
    };
    memory.swap = MemoryAmount {
        usage: number(dir, "memory.swap.current")?,
        max_usage: number(dir, "memory.swap.peak")?,
        failcnt: 0,
        limit: number(dir, "memory.swap.max")?,
    };
    memory.oom_kills = events.get("oom_kill").copied().unwrap_or(0);
    Ok(())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6` as v1-like rows: bytes, then operations.
pub(super) fn parse_io(text: &str) -> (Vec<BlkioEntry>, Vec<BlkioEntry>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|w| w.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    (bytes, operations)
}

/// The page sizes of this kernel, as the hugetlb files spell them.
pub(super) fn huge_page_sizes() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        Some(match kib {
            kib if kib >= 1 << 20 => format!("{}GB", kib >> 20),
            kib if kib >= 1 << 10 => format!("{}MB", kib >> 10),
            kib => format!("{kib}KB"),
        })
    };
    let mut sizes: Vec<String> = entries.filter_map(name).collect();
    sizes.sort();
    sizes
}
