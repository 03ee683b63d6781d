//! A million lines of one container into its log: how long until all are there, and what that costs in processor time on the host.
//!
//! The lines come as fast as a program can give them: a file of lines is made first and then written over and over. The processor time
//! is the daemon's and that of the process that keeps the container (keeper; containerd and its shim), which is read while it lives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::daemon::PrivateDaemon;
use super::engines::{Engine, Peers, container_id};
use super::memory::{descendants, docker_daemons_now, read_processes};
use super::report::{Bound, Weight};
use super::rows::{name, remove};

const LINES: usize = 1_000_000;
/// 99 letters and the newline.
const SCRIPT: &str = "l=0123456789; l=$l$l$l$l$l; l=$l${l#0}; yes $l | head -n 10000 > /tmp/lines; \
                      i=0; while [ $i -lt 100 ]; do cat /tmp/lines; i=$((i+1)); done";
/// How often a process's time is read.
const LOOK: Duration = Duration::from_millis(5);

fn commands(name: &str) -> [Vec<String>; 2] {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    [own(&["run", "-d", "--name", name, "busybox", "sh", "-c", SCRIPT]), own(&["wait", name])]
}

/// Times it; the first time it looks whether the lines are there.
pub(crate) fn sample(peers: &mut Peers, engine: Engine, round: u32) -> Result<Duration> {
    let name = name(engine, "lines");
    let time = peers.time(engine, &commands(&name), 1)?;
    if round == 0 {
        let log = peers.output(engine, &["logs", &name])?;
        let (lines, bytes) = (log.lines().count(), log.len());
        ensure!((lines, bytes) == (LINES, LINES * 100), "{lines} lines of {bytes} bytes are in the log");
    }
    peers.output(engine, &["rm", &name])?;
    Ok(time)
}

/// Milliseconds of processor time, on the host and outside of the container.
pub(crate) fn weigh(peers: &mut Peers, daemon: Option<&PrivateDaemon>) -> Weight {
    let bound = Bound::Part { of: Engine::Docker, at_most: 1.0, stretch: 1.0 / 4.0 };
    let title = "processor time of daemon and keeper (dockerd, containerd, shim) for 1,000,000 log lines";
    let mut weight = Weight::new(title, bound).in_milliseconds();
    for engine in [Engine::Minke, Engine::Docker] {
        if !peers.has(engine) {
            continue;
        }
        let daemons = match (engine, daemon) {
            (Engine::Minke, Some(daemon)) => Ok(descendants(&read_processes(), daemon.pid())),
            (Engine::Minke, None) => continue,
            _ => docker_daemons_now(&peers.docker_host),
        };
        match daemons.and_then(|pids| spent(peers, engine, &pids)) {
            Ok((all, keeper)) => weight.add(engine, all, format!("of which {keeper} ms keeper")),
            Err(error) => weight.fail(engine, format!("{error:#}")),
        }
        remove(peers, engine, &name(engine, "lines"));
    }
    weight
}

fn spent(peers: &mut Peers, engine: Engine, daemons: &[u32]) -> Result<(u64, u64)> {
    let all = || daemons.iter().filter_map(|pid| milliseconds(*pid)).sum::<u64>();
    let before = all();
    let [run, wait] = commands(&name(engine, "lines"));
    let words = |list: &[String]| list.to_vec();
    let output = peers.output(engine, &words(&run).iter().map(String::as_str).collect::<Vec<_>>())?;
    let id = container_id(&output)?;
    let keeper = read_processes().into_iter().find(|process| process.words.contains(&id[..12]));
    let keeper = keeper.with_context(|| format!("no process carries the id {}", &id[..12]))?.pid;
    let (over, last) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Some(now) = milliseconds(keeper) {
                    last.store(now, Ordering::Relaxed);
                }
                std::thread::sleep(LOOK);
            }
        });
        let waited = peers.output(engine, &words(&wait).iter().map(String::as_str).collect::<Vec<_>>());
        over.store(true, Ordering::Relaxed);
        waited.map(drop)
    })?;
    let keeper = last.load(Ordering::Relaxed);
    Ok((all().saturating_sub(before) + keeper, keeper))
}

/// What a process has had of the processors.
fn milliseconds(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    Some(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1))
}
