//! What containers use: processor, memory, disks, networks. Read when somebody asks and at no other time.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use minke_api::container::stats::{
    BlkioEntry, BlkioList, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats,
    StatsResponse, ThrottlingData,
};
use minke_cgroup::{Cgroup, Host, Stats};
use tokio::time::Instant;

use super::Containers;
use super::container::Container;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::networks::Mode;

/// The time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// Of a second, in the units of `/proc/stat` and of the answer.
const SECOND: u64 = 1_000_000_000;

/// Which fields of cgroup v1's `memory.stat` Docker shows.
const MEMORY_V1: [&str; 17] = [
    "active_anon",
    "active_file",
    "cache",
    "dirty",
    "inactive_anon",
    "inactive_file",
    "mapped_file",
    "pgfault",
    "pgmajfault",
    "pgpgin",
    "pgpgout",
    "rss",
    "rss_huge",
    "unevictable",
    "writeback",
    "hierarchical_memory_limit",
    "hierarchical_memsw_limit",
];

/// And of v2's.
const MEMORY_V2: [&str; 31] = [
    "anon",
    "file",
    "kernel_stack",
    "slab",
    "sock",
    "shmem",
    "file_mapped",
    "file_dirty",
    "file_writeback",
    "anon_thp",
    "inactive_anon",
    "active_anon",
    "inactive_file",
    "active_file",
    "unevictable",
    "slab_reclaimable",
    "slab_unreclaimable",
    "pgfault",
    "pgmajfault",
    "workingset_refault",
    "workingset_activate",
    "workingset_nodereclaim",
    "pgrefill",
    "pgscan",
    "pgsteal",
    "pgactivate",
    "pgdeactivate",
    "pglazyfree",
    "pglazyfreed",
    "thp_fault_alloc",
    "thp_collapse_alloc",
];

/// How often to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Every second, until the container is removed or nobody listens.
    Stream,
    /// Once, with the processor's figures of a second before.
    Once,
    /// Once and at once.
    OneShot,
}

/// Samples of one container.
#[derive(Debug)]
pub struct StatsStream {
    containers: Arc<Containers>,
    container: Arc<Container>,
    sampling: Sampling,
    before: Option<(String, CpuStats)>,
    next_at: Option<Instant>,
    over: bool,
}

impl Containers {
    /// Begins to sample a container.
    pub fn stats(self: &Arc<Self>, reference: &str, sampling: Sampling) -> Result<StatsStream> {
        let container = self.find(reference)?;
        Ok(StatsStream {
            containers: Arc::clone(self),
            container,
            sampling,
            before: None,
            next_at: None,
            over: false,
        })
    }

    /// The interfaces that are the container's own, by name; none in the host's network and without one.
    fn interfaces(&self, container: &Container) -> Vec<String> {
        let mode = container.record().host.network_mode.clone();
        let life = match Mode::parse(&mode) {
            Mode::Container(owner) => match self.find(owner) {
                Ok(owner) => owner.life(),
                Err(_removed) => return Vec::new(),
            },
            _ => container.life(),
        };
        life.places
            .iter()
            .filter_map(|place| place.endpoint.as_ref())
            .map(|endpoint| endpoint.interface.clone())
            .collect()
    }

    async fn sample(self: &Arc<Self>, container: &Arc<Container>) -> Result<StatsResponse> {
        let record = container.record();
        let mut answer = StatsResponse {
            name: format!("/{}", record.name),
            id: container.id.as_str().to_owned(),
            ..StatsResponse::default()
        };
        if !container.phase().is_live() {
            return Ok(answer);
        }
        let place = Sampled {
            cgroup: self.cgroup_path(&record, container.id.as_str()),
            pid: container.pid(),
            interfaces: self.interfaces(container),
        };
        let read = tokio::task::spawn_blocking(move || place.read())
            .await
            .map_err(|source| Error::failed("read the container's statistics", source))?;
        match read {
            Ok(read) => {
                answer.read = Moment::now().rfc3339();
                read.fill(&mut answer);
            }
            // It ended meanwhile.
            Err(_gone) if !container.phase().is_live() => {}
            Err(error) => return Err(error),
        }
        Ok(answer)
    }
}

impl StatsStream {
    /// The next sample; `None` when no more will come.
    pub async fn next(&mut self) -> Option<Result<StatsResponse>> {
        if self.over {
            return None;
        }
        let first = self.next_at.is_none();
        if !self.pause().await {
            return None;
        }
        let sampled = self.take().await;
        // A container that does not run has nothing to be compared with.
        let primes = first && self.sampling == Sampling::Once && self.container.phase().is_live();
        if !primes || sampled.is_err() {
            self.over |= self.sampling != Sampling::Stream || sampled.is_err();
            return Some(sampled);
        }
        self.over = true;
        if !self.pause().await {
            return None;
        }
        Some(self.take().await)
    }

    /// Waits until the next sample is due; `false` when the container is removed meanwhile.
    async fn pause(&mut self) -> bool {
        if let Some(at) = self.next_at {
            let mut progress = self.container.progress.subscribe();
            let removed = progress.wait_for(|now| now.removed);
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                _gone = removed => return false,
            }
        }
        self.next_at = Some(Instant::now() + INTERVAL);
        true
    }

    async fn take(&mut self) -> Result<StatsResponse> {
        let mut answer = self.containers.sample(&self.container).await?;
        let own = (answer.read.clone(), answer.cpu_stats.clone());
        if let Some((read, cpu)) = self.before.replace(own) {
            (answer.preread, answer.precpu_stats) = (read, cpu);
        }
        Ok(answer)
    }
}

/// Where the numbers are.
struct Sampled {
    cgroup: PathBuf,
    pid: i32,
    interfaces: Vec<String>,
}

/// The numbers.
struct Reading {
    stats: Stats,
    processors: Processors,
    memory: u64,
    networks: Option<BTreeMap<String, NetworkStats>>,
}

impl Sampled {
    fn read(&self) -> Result<Reading> {
        let failed = |source| Error::failed("read the container's statistics", source);
        let host = Host::probe().map_err(failed)?;
        let group = Cgroup::open(&host, &self.cgroup).map_err(failed)?;
        let stats = group.read_stats().map_err(failed)?;
        let networks = match self.interfaces.is_empty() {
            true => None,
            false => fs::read_to_string(format!("/proc/{}/net/dev", self.pid)).ok().map(|text| {
                let mut all = parse_net_dev(&text);
                all.retain(|name, _| self.interfaces.contains(name));
                all
            }),
        };
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        Ok(Reading {
            stats,
            processors: parse_processors(&text, rustix::param::clock_ticks_per_second()),
            memory: rustix::system::sysinfo().totalram,
            networks,
        })
    }
}

impl Reading {
    fn fill(self, answer: &mut StatsResponse) {
        let Self { stats, processors, memory, networks } = self;
        answer.pids_stats = PidsStats {
            current: stats.pids.current,
            // In v2 no limit is the largest number, in v1 none at all.
            limit: if stats.unified && stats.pids.limit == 0 { u64::MAX } else { stats.pids.limit },
        };
        answer.blkio_stats = show_blkio(&stats);
        answer.memory_stats = show_memory(&stats, memory);
        answer.cpu_stats = CpuStats {
            cpu_usage: CpuUsage {
                total_usage: stats.cpu.total,
                percpu_usage: stats.cpu.percpu,
                usage_in_kernelmode: stats.cpu.kernel,
                usage_in_usermode: stats.cpu.user,
            },
            system_cpu_usage: processors.busy,
            online_cpus: processors.count,
            throttling_data: ThrottlingData {
                periods: stats.cpu.periods,
                throttled_periods: stats.cpu.throttled_periods,
                throttled_time: stats.cpu.throttled_time,
            },
        };
        answer.networks = networks;
    }
}

fn show_memory(stats: &Stats, total: u64) -> MemoryStats {
    let memory = &stats.memory;
    let mut shown = BTreeMap::new();
    let names: &[&str] = if stats.unified { &MEMORY_V2 } else { &MEMORY_V1 };
    for name in names {
        if let Some(value) = memory.stats.get(*name) {
            shown.insert((*name).to_owned(), *value);
        }
        if let (false, Some(value)) = (stats.unified, memory.stats.get(&format!("total_{name}"))) {
            shown.insert(format!("total_{name}"), *value);
        }
    }
    if stats.unified {
        // Kernels since 5.9 count these by kind; Docker shows one number.
        for name in ["workingset_refault", "workingset_activate"] {
            let kinds = ["anon", "file"].map(|kind| memory.stats.get(&format!("{name}_{kind}")).copied());
            let sum: u64 = kinds.iter().flatten().sum();
            shown.entry(name.to_owned()).or_insert(sum);
        }
    }
    MemoryStats {
        usage: memory.usage.usage,
        max_usage: if stats.unified { 0 } else { memory.usage.max_usage },
        stats: shown,
        failcnt: if stats.unified { memory.oom_kills } else { memory.usage.failcnt },
        // What is no limit is shown as the machine's memory.
        limit: if total > 0 { memory.usage.limit.min(total) } else { memory.usage.limit },
    }
}

fn show_blkio(stats: &Stats) -> BlkioStats {
    let blkio = &stats.blkio;
    let list = |entries: &[minke_cgroup::BlkioEntry]| -> BlkioList {
        let show = |entry: &minke_cgroup::BlkioEntry| BlkioEntry {
            major: entry.major,
            minor: entry.minor,
            op: if stats.unified { entry.op.to_lowercase() } else { entry.op.clone() },
            value: entry.value,
        };
        Some(entries.iter().map(show).collect())
    };
    if stats.unified {
        let bytes = list(&blkio.service_bytes).filter(|bytes| !bytes.is_empty());
        return BlkioStats { io_service_bytes_recursive: bytes, ..BlkioStats::default() };
    }
    BlkioStats {
        io_service_bytes_recursive: list(&blkio.service_bytes),
        io_serviced_recursive: list(&blkio.serviced),
        io_queue_recursive: list(&blkio.queued),
        io_service_time_recursive: list(&blkio.service_time),
        io_wait_time_recursive: list(&blkio.wait_time),
        io_merged_recursive: list(&blkio.merged),
        io_time_recursive: list(&blkio.time),
        sectors_recursive: list(&blkio.sectors),
    }
}

/// The host's processors.
#[derive(Debug, PartialEq, Eq)]
struct Processors {
    /// Nanoseconds that all of them have spent, idle ones included.
    busy: u64,
    count: u32,
}

/// `/proc/stat`: the first seven figures of all processors together, and how many have a line.
fn parse_processors(text: &str, ticks: u64) -> Processors {
    let mut found = Processors { busy: 0, count: 0 };
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else { continue };
        if !rest.starts_with(' ') {
            found.count += 1;
            continue;
        }
        let sum: u64 = rest.split_whitespace().take(7).filter_map(|word| word.parse::<u64>().ok()).sum();
        found.busy = sum.saturating_mul(SECOND) / ticks.max(1);
    }
    found
}

/// `/proc/PID/net/dev`: two lines of heading, then eight figures received and eight sent per interface.
fn parse_net_dev(text: &str) -> BTreeMap<String, NetworkStats> {
    let line = |line: &str| {
        let (name, figures) = line.split_once(':')?;
        let figures: Vec<u64> = figures.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let at = |index: usize| figures.get(index).copied().unwrap_or(0);
        let stats = NetworkStats {
            rx_bytes: at(0),
            rx_packets: at(1),
            rx_errors: at(2),
            rx_dropped: at(3),
            tx_bytes: at(8),
            tx_packets: at(9),
            tx_errors: at(10),
            tx_dropped: at(11),
        };
        Some((name.trim().to_owned(), stats))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_processors_together_are_the_host_s_time() {
        let text = "cpu  10 0 20 300 5 0 5 99 0 0\ncpu0 5 0 10 150 2 0 3 9 0 0\ncpu1 5 0 10 150 3 0 2 9 0 0\nintr 1\n";
        assert_eq!(parse_processors(text, 100), Processors { busy: 3_400_000_000, count: 2 });
    }

    #[test]
    fn interfaces_are_read_by_name() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0:1086 9 0 1 0 0 0 0 126 3 0 2 0 0 0 0\n";
        let all = parse_net_dev(text);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["eth0", "lo"]);
        let eth0 = &all["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_packets, eth0.rx_dropped), (1086, 9, 1));
        assert_eq!((eth0.tx_bytes, eth0.tx_packets, eth0.tx_dropped), (126, 3, 2));
    }

    #[test]
    fn memory_has_a_shape_for_each_generation() {
        let mut stats = Stats::default();
        stats.memory.usage.usage = 10;
        stats.memory.usage.max_usage = 12;
        stats.memory.usage.limit = u64::MAX;
        for (name, value) in [("total_rss", 3), ("rss", 2), ("anon", 4), ("workingset_refault_file", 5)] {
            stats.memory.stats.insert(name.to_owned(), value);
        }
        let first = show_memory(&stats, 1000);
        assert_eq!((first.max_usage, first.limit), (12, 1000));
        assert_eq!(first.stats.keys().collect::<Vec<_>>(), ["rss", "total_rss"]);
        stats.unified = true;
        let second = show_memory(&stats, 1000);
        assert_eq!((second.max_usage, second.stats["anon"], second.stats["workingset_refault"]), (0, 4, 5));
    }
}
