//! What engines hold in memory: at rest, and for each running container.
//!
//! Resident memory counts shared pages in every process; the proportional share (PSS) divides them, and is what adding one more
//! container really costs. Both come from `/proc/PID/smaps_rollup`. Processes are found from below: the daemon's own descendants, and
//! those that carry a container's id.

use std::fs;

use anyhow::{Context, Result};

use super::daemon::PrivateDaemon;
use super::engines::{Engine, Peers, container_id};
use super::report::{Bound, Weight};
use super::rows::{name, remove};

/// Enough for what keepers share to count as shared.
const CONTAINERS: usize = 50;

/// Kilobytes of one or several processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    rss: u64,
    pss: u64,
}

impl std::ops::Add for Held {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { rss: self.rss + other.rss, pss: self.pss + other.pss }
    }
}

fn read_held(pid: u32) -> Option<Held> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some(Held { rss: field("Rss:")?, pss: field("Pss:")? })
}

/// A process with its parent and its words.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    parent: u32,
    pub(crate) words: String,
}

pub(crate) fn read_processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| read_process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn read_process(pid: u32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = String::from_utf8_lossy(&words).replace('\0', " ");
    Some(Process { pid, parent, words })
}

pub(crate) fn descendants(processes: &[Process], root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(processes.iter().filter(|process| process.parent == parent).map(|process| process.pid));
        next += 1;
    }
    found
}

fn sum(pids: &[u32]) -> Held {
    pids.iter().filter_map(|pid| read_held(*pid)).fold(Held::default(), |sum, held| sum + held)
}

fn program_of(words: &str) -> &str {
    let first = words.split_whitespace().next().unwrap_or_default();
    first.rsplit('/').next().unwrap_or_default()
}

/// The daemons with no container running. minke's nursery and blank keepers count; so does containerd.
pub(crate) fn at_rest(peers: &Peers, daemon: Option<&PrivateDaemon>) -> Weight {
    // At rest: nothing was asked for a while, of any engine.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let processes = read_processes();
    let mut weight = Weight::new(
        "engine at rest, resident (with nursery and blank keepers; dockerd + containerd)",
        Bound::Part { of: Engine::Docker, at_most: 1.0 / 8.0, stretch: 1.0 / 12.0 },
    );
    if let Some(daemon) = daemon {
        let ours = sum(&descendants(&processes, daemon.pid()));
        weight.add(Engine::Minke, ours.rss, format!("PSS {}", kilobytes(ours.pss)));
    }
    if peers.has(Engine::Docker) {
        match docker_daemons(&processes, &peers.docker_host) {
            Ok(pids) => {
                let theirs = sum(&pids);
                weight.add(Engine::Docker, theirs.rss, format!("PSS {}", kilobytes(theirs.pss)));
            }
            Err(error) => weight.fail(Engine::Docker, format!("{error:#}")),
        }
    }
    weight
}

/// The process that listens on Docker's socket, and the containerd it works with.
pub(crate) fn docker_daemons_now(host: &str) -> Result<Vec<u32>> {
    docker_daemons(&read_processes(), host)
}

/// What a daemon holds at most while it pulls (gzip, zstd), loads and saves 500 MB.
pub(crate) fn in_transfer(peers: &mut Peers, daemon: Option<&PrivateDaemon>) -> Weight {
    let mut weight = Weight::new(
        "engine at most, resident, while it pulls, loads and saves 500 MB (dockerd alone)",
        Bound::Kilobytes { at_most: 150_000, stretch: 80_000 },
    );
    for engine in [Engine::Minke, Engine::Docker] {
        let pid = match (engine, daemon) {
            (Engine::Minke, Some(daemon)) => Ok(daemon.pid()),
            (Engine::Docker, _) if peers.has(engine) => docker_daemons_now(&peers.docker_host)
                .and_then(|pids| pids.first().copied().context("no dockerd")),
            _ => continue,
        };
        match pid.and_then(|pid| super::images::at_most(peers, engine, pid)) {
            Ok(held) => weight.add(engine, held, String::new()),
            Err(error) => weight.fail(engine, format!("{error:#}")),
        }
    }
    weight
}

fn docker_daemons(processes: &[Process], host: &str) -> Result<Vec<u32>> {
    let path =
        host.strip_prefix("unix://").context("Docker's memory is read on this machine only: unix://")?;
    let stream =
        std::os::unix::net::UnixStream::connect(path).with_context(|| format!("connect to {path}"))?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).context("ask who listens")?;
    let dockerd = u32::try_from(peer.pid.as_raw_nonzero().get()).context("a process id")?;
    let containerd = |process: &&Process| program_of(&process.words) == "containerd";
    let own = processes.iter().filter(containerd).find(|process| process.parent == dockerd);
    let any = || processes.iter().find(containerd);
    let containerd = own.or_else(any).context("no containerd beside dockerd")?;
    Ok(vec![dockerd, containerd.pid])
}

/// The processes that keep a container on the host: those with its id among their words, and not inside of it.
pub(crate) fn per_container(peers: &mut Peers) -> Weight {
    let mut weight = Weight::new(
        "per running container: keeper, containerd-shim, conmon, PSS",
        Bound::Kilobytes { at_most: 150, stretch: 80 },
    );
    for engine in [Engine::Minke, Engine::Docker, Engine::Podman] {
        if !peers.has(engine) {
            continue;
        }
        match keepers(peers, engine) {
            Ok(held) => {
                let count = u64::try_from(CONTAINERS).unwrap_or(u64::MAX);
                weight.add(engine, held.pss / count, format!("RSS {}", kilobytes(held.rss / count)));
            }
            Err(error) => weight.fail(engine, format!("{error:#}")),
        }
        for number in 0..CONTAINERS {
            remove(peers, engine, &name(engine, &format!("weigh{number}")));
        }
    }
    weight
}

fn keepers(peers: &mut Peers, engine: Engine) -> Result<Held> {
    let mut ids = Vec::new();
    for number in 0..CONTAINERS {
        let name = name(engine, &format!("weigh{number}"));
        let output = peers.output(engine, &["run", "-d", "--name", &name, "busybox", "sleep", "1000000"])?;
        ids.push(container_id(&output)?);
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    let processes = read_processes();
    let mut held = Held::default();
    for id in &ids {
        let keeper = processes.iter().find(|process| process.words.contains(&id[..12]));
        let keeper = keeper.with_context(|| format!("no process carries the id {}", &id[..12]))?;
        held = held + read_held(keeper.pid).context("the keeper has gone")?;
    }
    Ok(held)
}

pub(crate) fn kilobytes(amount: u64) -> String {
    match amount {
        0..1000 => format!("{amount} kB"),
        1000..100_000 => format!("{}.{} MB", amount / 1000, amount % 1000 / 100),
        _ => format!("{} MB", amount / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_through_generations() {
        let process = |pid, parent| Process { pid, parent, words: String::new() };
        let processes = [process(5, 1), process(6, 5), process(7, 6), process(8, 1)];
        assert_eq!(descendants(&processes, 5), [5, 6, 7]);
    }

    #[test]
    fn this_process_holds_memory() {
        let held = read_held(std::process::id()).unwrap();
        assert!(held.rss >= held.pss && held.pss > 0);
    }

    #[test]
    fn amounts_are_readable() {
        assert_eq!([kilobytes(87), kilobytes(2150), kilobytes(131_072)], ["87 kB", "2.1 MB", "131 MB"]);
    }
}
