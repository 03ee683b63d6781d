//! Limits, measured from outside the container: what the kernel does, not what a record says.
//!
//! Ratios are taken within one run, on one core, because the machine may be busy; 6-S02, 6-S03 and 6-S15 are here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use minke_testkit::{Client, Daemon, fixtures, wait_until};

const IMAGE: &str = "mkt-limits:1";
const PROBE: &str = env!("CARGO_BIN_EXE_minke-probe");

/// A daemon with an image of busybox and the probe.
#[track_caller]
fn with_probe() -> Daemon {
    let daemon = Daemon::start();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", fixtures::busybox_rootfs()).expect("the root file system");
    tar.append_path_with_name(PROBE, "bin/probe").expect("the probe is built with the tests");
    let bytes = tar.into_inner().expect("the archive");
    let args = ["import", "-c", "ENTRYPOINT [\"/bin/probe\"]", "-", IMAGE];
    daemon.run_with_input(Client::Minke, &args, &bytes).ok().done();
    daemon
}

/// Processor time of a container's first process, in ticks.
fn ticks(daemon: &Daemon, name: &str) -> f64 {
    let pid = daemon.inspect(name, "{{.State.Pid}}");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    fields[11..13].iter().map(|field| field.parse::<f64>().unwrap_or(0.0)).sum()
}

/// How much of the time that all had together each of them got.
fn portions(daemon: &Daemon, names: &[&str], time: Duration) -> Vec<f64> {
    let before: Vec<f64> = names.iter().map(|name| ticks(daemon, name)).collect();
    std::thread::sleep(time);
    let spent: Vec<f64> =
        names.iter().zip(&before).map(|(name, before)| ticks(daemon, name) - before).collect();
    let all: f64 = spent.iter().sum();
    spent.iter().map(|spent| spent / all).collect()
}

fn burner(daemon: &Daemon, name: &str, flags: &[&str]) {
    let common = ["run", "-d", "--name", name, "--network", "none"];
    daemon.minke(&[&common, flags, &[IMAGE, "burn", "60"]].concat()).ok().done();
}

fn near(found: f64, wanted: f64, slack: f64) -> bool {
    (found - wanted).abs() <= slack
}

/// 6-S02, rows 6-C05, 6-B07 to 6-B12: shares say who gets how much of a core that several want.
#[test]
fn s6_02_cpu_shares_two_to_one() {
    let daemon = with_probe();
    burner(&daemon, "first", &["--cpuset-cpus", "0", "--cpu-shares", "1024"]);
    burner(&daemon, "second", &["--cpuset-cpus", "0", "-c", "512"]);
    let two = portions(&daemon, &["first", "second"], Duration::from_secs(5));
    let ratio = two[0] / two[1];
    assert!((1.8..=2.2).contains(&ratio), "2:1 within 10 %, found {ratio:.2}");
    burner(&daemon, "third", &["--cpuset-cpus", "0", "--cpu-shares", "2048"]);
    let before = (ticks(&daemon, "second"), Instant::now());
    let three = portions(&daemon, &["third", "first", "second"], Duration::from_secs(5));
    let beside = (ticks(&daemon, "second") - before.0) / before.1.elapsed().as_secs_f64();
    for (found, wanted) in three.iter().zip([4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0]) {
        assert!(near(*found, wanted, 0.05), "57, 29 and 14 %: {three:?}");
    }
    daemon.minke(&["rm", "-f", "first", "third"]).ok().done();
    // A weight bites under contention only: alone it gets whatever this machine has left.
    let before = (ticks(&daemon, "second"), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let alone = (ticks(&daemon, "second") - before.0) / before.1.elapsed().as_secs_f64();
    assert!(alone > 1.5 * beside, "{alone:.0} ticks a second alone, {beside:.0} beside the others");
}

/// Half a core is half a core, however idle the machine.
#[test]
fn a_quota_of_cpus_is_kept() {
    let daemon = with_probe();
    burner(&daemon, "half", &["--cpus", "0.3"]);
    wait_until("it burns", Duration::from_secs(5), || ticks(&daemon, "half") > 2.0);
    let before = (ticks(&daemon, "half"), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let share = (ticks(&daemon, "half") - before.0) / 100.0 / before.1.elapsed().as_secs_f64();
    assert!((0.1..=0.34).contains(&share), "0.3 of a core at most: {share:.2}");
}

/// 6-S03, rows 6-C06, 6-C08, 6-B13: lists, ranges, and cores that are not there.
#[test]
fn s6_03_cpusets_pin() {
    let daemon = with_probe();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut sets = vec![("0", "0")];
    if cores > 1 {
        sets.extend([("0,1", "0-1"), ("0-1", "0-1"), ("1", "1")]);
    }
    for (index, (set, kernel)) in sets.into_iter().enumerate() {
        let name = format!("stresser{index}");
        let args = ["run", "-d", "--name", &name, "--cpuset-cpus", set, IMAGE, "burn", "1"];
        daemon.minke(&args).ok().done();
        let pid = daemon.inspect(&name, "{{.State.Pid}}");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(str::trim);
        assert_eq!(list, Some(kernel), "--cpuset-cpus {set}");
        daemon.minke(&["wait", &name]).ok().says("0").done();
        assert_eq!(daemon.inspect(&name, "{{.State.Status}}"), "exited");
        daemon.docker(&["rm", "-vf", &name]).ok().done();
    }
    let run = daemon.minke(&["run", "--rm", "--cpuset-cpus", "4095", IMAGE, "ids"]).exits(125);
    run.complains("Requested CPUs are not available - requested 4095").done();
}

/// 6-S15, rows 6-B05 and the promise "64 MB kills at 64 MB": killed at the limit, seen as killed for memory, restarted as often
/// as was said.
#[test]
fn s6_15_a_memory_ceiling_kills_and_is_told() {
    let daemon = with_probe();
    let run = daemon.minke(&[
        "run",
        "--name",
        "box",
        "-m",
        "64m",
        "--memory-swap",
        "64m",
        IMAGE,
        "allocate",
        "128",
    ]);
    run.exits(137).done();
    let reached = daemon.minke(&["logs", "box"]).ok();
    let reached: u64 = reached.stdout.lines().last().and_then(|line| line.parse().ok()).expect("a number");
    assert!((56..=64).contains(&reached), "64 MB, the probe's own few included: {reached}");
    assert_eq!(daemon.inspect("box", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    wait_until("the event is told", Duration::from_secs(5), || {
        let past = ["events", "--since", "10m", "--until", "1s", "--filter", "event=oom"];
        daemon.docker(&past).stdout.contains("container oom")
    });
    let args = ["run", "--name", "less", "-m", "64m", "--memory-swap", "64m", IMAGE, "allocate", "40"];
    daemon.minke(&args).ok().says("done with 40").done();
    let args =
        ["run", "-d", "--name", "again", "-m", "64m", "--memory-swap", "64m", "--restart", "on-failure:2"];
    daemon.minke(&[&args[..], &[IMAGE, "allocate", "128"]].concat()).ok().done();
    wait_until("it was restarted twice and given up", Duration::from_secs(20), || {
        daemon.inspect("again", "{{.RestartCount}} {{.State.Status}}") == "2 exited"
    });
    assert_eq!(daemon.inspect("again", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
}

/// A disk of the test's own: a file behind a loop device.
struct Loop {
    device: String,
    _file: tempfile::NamedTempFile,
}

impl Loop {
    fn new(mib: u64) -> Option<Self> {
        let file = tempfile::NamedTempFile::new_in("/var/tmp").expect("a file");
        file.as_file().set_len(mib << 20).expect("its size");
        let made =
            Command::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(file.path()).output();
        let made = made.ok().filter(|made| made.status.success())?;
        Some(Self { device: String::from_utf8_lossy(&made.stdout).trim().to_owned(), _file: file })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        Command::new("losetup").args(["--detach", &self.device]).status().ok();
    }
}

/// Bytes per second to a device, within 15 %.
#[test]
fn device_write_bps_is_kept() {
    const MIB: u64 = 1 << 20;
    let Some(disk) = Loop::new(64) else { return };
    let daemon = with_probe();
    let rate = |bps: u64, mib: u64| {
        let limit = format!("{}:{bps}", disk.device);
        let device = format!("{}:/dev/disk", disk.device);
        let args =
            ["run", "--rm", "--device", &device, "--device-write-bps", &limit, IMAGE, "write", "/dev/disk"];
        let run = daemon.minke(&[&args[..], &[&mib.to_string()]].concat()).ok();
        let millis: f64 = run.text().parse().unwrap_or_else(|_e| panic!("no time: {run}"));
        #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
        let bytes = (mib * MIB) as f64;
        bytes / (millis / 1000.0)
    };
    #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
    let wanted = (4 * MIB) as f64;
    let found = rate(4 * MIB, 16);
    assert!((found / wanted - 1.0).abs() <= 0.15, "4 MiB/s within 15 %: {:.2} MiB/s", found / 1_048_576.0);
}

/// Forks stop at the limit, and the container's others go on.
#[test]
fn pids_limit_stops_forks() {
    let daemon = Daemon::start();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo still here";
    let run = daemon.minke(&["run", "--rm", "--pids-limit", "8", "busybox", "sh", "-c", script]);
    assert!(run.stderr.contains("can't fork"), "{run}");
    let run = daemon.docker(&["run", "--rm", "--pids-limit", "-1", "busybox", "sh", "-c", script]);
    run.ok().says("still here").done();
}

/// Limits are where the kernel keeps them, on either hierarchy.
#[test]
fn limits_reach_the_kernel() {
    let daemon = Daemon::start();
    let flags = [
        "-m",
        "64m",
        "--memory-reservation",
        "32m",
        "--cpu-shares",
        "512",
        "--cpu-period",
        "50000",
        "--cpu-quota",
        "25000",
        "--pids-limit",
        "50",
        "--cpuset-cpus",
        "0",
        "--ulimit",
        "nofile=100:200",
    ];
    daemon
        .minke(&[&["run", "-d", "--name", "box"], &flags[..], &["busybox", "sleep", "1000"]].concat())
        .ok()
        .done();
    let pid = daemon.inspect("box", "{{.State.Pid}}");
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let cgroup = |controller: &str| -> PathBuf {
        let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
        let line =
            table.lines().find(|line| line.split(':').nth(1) == Some(if v2 { "" } else { controller }));
        let path =
            line.and_then(|line| line.splitn(3, ':').nth(2)).expect("its cgroup").trim_start_matches('/');
        let root = if v2 { "/sys/fs/cgroup".to_owned() } else { format!("/sys/fs/cgroup/{controller}") };
        Path::new(&root).join(path)
    };
    let read = |controller: &str, file: &str| {
        let path = cgroup(controller).join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim().to_owned()
    };
    if v2 {
        assert_eq!(read("memory", "memory.max"), "67108864");
        assert_eq!(read("memory", "memory.low"), "33554432");
        assert_eq!(read("cpu", "cpu.max"), "25000 50000");
        // In proportion, so that 2:1 stays 2:1: the default of 1024 shares is the default weight of 100.
        assert_eq!(read("cpu", "cpu.weight"), "50");
    } else {
        assert_eq!(read("memory", "memory.limit_in_bytes"), "67108864");
        assert_eq!(read("memory", "memory.soft_limit_in_bytes"), "33554432");
        assert_eq!(read("cpu", "cpu.shares"), "512");
        assert_eq!(read("cpu", "cpu.cfs_quota_us"), "25000");
        assert_eq!(read("cpu", "cpu.cfs_period_us"), "50000");
    }
    assert_eq!(read("pids", "pids.max"), "50");
    assert_eq!(read("cpuset", "cpuset.cpus"), "0");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    assert!(files.contains(" 100 ") && files.contains(" 200 "), "{files}");
}
