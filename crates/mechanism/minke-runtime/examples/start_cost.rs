//! What a start costs, step by step: `cargo run --release -p minke-runtime --example start_cost -- [runs] [pause ms]`.
//!
//! Runs busybox `true` as root with Docker's mounts, a cgroup, and the default filter, the fast way and the forked way, then
//! as a further process of a running container; prints medians and 95th percentiles in microseconds.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use minke_cgroup::{Host, Parent};
use minke_runtime::{Exec, Filter, Launch, Limits, Rootfs, Stdio};
use minke_sys::mount::{self, Depth};
use minke_sys::pidfd;
use oci_spec::runtime::Spec;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let runs = arguments.next().unwrap_or(200);
    let pause = Duration::from_millis(arguments.next().unwrap_or(0));
    let dir = std::env::temp_dir().join(format!("minke-start-cost-{}", std::process::id()));
    make_root(&dir);
    measure("launch, fast path, own network namespace", runs, pause, &dir, &configuration(true, false));
    measure("launch, fast path, host network", runs, pause, &dir, &configuration(false, false));
    measure("launch, forked, own network namespace", runs, pause, &dir, &configuration(true, true));
    measure_exec(runs, pause, &dir);
    std::fs::remove_dir_all(&dir).expect("the directory is ours");
}

fn make_root(dir: &Path) {
    for name in ["bin", "etc", "proc", "sys", "dev"] {
        std::fs::create_dir_all(dir.join("rootfs").join(name)).expect("a temporary directory can be made");
    }
    std::fs::copy("/bin/busybox", dir.join("rootfs/bin/busybox")).expect("busybox-static is installed");
    for applet in ["true", "sleep"] {
        std::os::unix::fs::symlink("busybox", dir.join("rootfs/bin").join(applet))
            .expect("a link can be made");
    }
    std::fs::write(dir.join("rootfs/etc/passwd"), "root:x:0:0::/root:/bin/sh\n")
        .expect("a file can be written");
}

fn configuration(network: bool, hook: bool) -> Spec {
    let text = include_str!("start_cost.json");
    let mut value: serde_json::Value = serde_json::from_str(text).expect("the configuration is JSON");
    if !network {
        let namespaces = value["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    if hook {
        // A gate would do as well; what forks is that somebody has to be waited for.
        value["linux"]["namespaces"]
            .as_array_mut()
            .expect("a list")
            .push(serde_json::json!({"type": "time"}));
        value["linux"]["timeOffsets"] = serde_json::json!({"boottime": {"secs": 1}});
    }
    serde_json::from_value(value).expect("the configuration is one")
}

struct Sample {
    prepare: Duration,
    started: Duration,
    ended: Duration,
    cleared: Duration,
}

fn measure(title: &str, runs: u64, pause: Duration, dir: &Path, spec: &Spec) {
    let host = Host::probe().expect("this host has cgroups");
    let parent = Parent::open(&host, Path::new("/minke-start-cost")).expect("a cgroup can be made");
    let filter = filter();
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null");
    let mut samples = Vec::new();
    for number in 0..runs {
        std::thread::sleep(pause);
        let begin = Instant::now();
        let root = mount::clone_tree(rustix::fs::CWD, &*dir.join("rootfs"), Depth::One)
            .expect("a mount can be cloned");
        let group = parent.create(&format!("c{number}")).expect("a cgroup can be made");
        let prepare = begin.elapsed();
        let stdio = Stdio::Fds { stdin: null.as_fd(), stdout: null.as_fd(), stderr: null.as_fd() };
        let mut launch = Launch::new("cost", spec, dir, Rootfs::Mount(root.as_fd()), stdio);
        launch.cgroup = Some(&group);
        launch.cgroup_host = Some(&host);
        launch.seccomp = Some(Filter { program: &filter, flags: 0 });
        launch.keep_mount_namespace = true;
        launch.limits = Limits::AsFarAsAllowed;
        let launched = minke_runtime::launch(&launch).unwrap_or_else(|error| panic!("{error}"));
        let started = begin.elapsed();
        let exit = pidfd::wait(&launched.pidfd).expect("our child");
        let ended = begin.elapsed();
        assert_eq!(exit.code(), 0);
        drop(launched);
        drop(root);
        group.remove().expect("an empty cgroup can be removed");
        samples.push(Sample { prepare, started, ended, cleared: begin.elapsed() });
    }
    println!("{title}");
    row("root clone, cgroup made", &samples, |sample| sample.prepare);
    row("program executed", &samples, |sample| sample.started);
    row("exit known", &samples, |sample| sample.ended);
    row("torn down", &samples, |sample| sample.cleared);
    for path in parent.create("last").expect("a cgroup can be made").paths() {
        std::fs::remove_dir(&path).expect("it is empty");
        std::fs::remove_dir(path.parent().expect("it has one")).expect("it is empty");
    }
}

fn measure_exec(runs: u64, pause: Duration, dir: &Path) {
    let mut spec = configuration(true, false);
    let args = vec!["/bin/sleep".to_owned(), "600".to_owned()];
    spec.process_mut().as_mut().expect("there is a process").set_args(Some(args));
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null");
    let stdio = Stdio::Fds { stdin: null.as_fd(), stdout: null.as_fd(), stderr: null.as_fd() };
    let host = Host::probe().expect("this host has cgroups");
    let parent = Parent::open(&host, Path::new("/minke-start-cost")).expect("a cgroup can be made");
    let group = parent.create("exec").expect("a cgroup can be made");
    let filter = filter();
    let mut launch = Launch::new("cost", &spec, dir, Rootfs::Path(Path::new("rootfs")), stdio);
    launch.cgroup = Some(&group);
    launch.limits = Limits::AsFarAsAllowed;
    let init = minke_runtime::launch(&launch).unwrap_or_else(|error| panic!("{error}"));
    let process = configuration(true, false).process().clone().expect("there is a process");
    let mut samples = Vec::new();
    for _ in 0..runs {
        std::thread::sleep(pause);
        let begin = Instant::now();
        let launched = minke_runtime::exec(&Exec {
            init_pid: init.pid,
            init: init.pidfd.as_fd(),
            process: &process,
            stdio,
            cgroup: Some(&group),
            seccomp: Some(Filter { program: &filter, flags: 0 }),
            preserve_fds: &[],
            listen_fds: 0,
            limits: Limits::AsFarAsAllowed,
        })
        .unwrap_or_else(|error| panic!("{error}"));
        let started = begin.elapsed();
        pidfd::wait(&launched.pidfd).expect("our child");
        samples.push(Sample { prepare: started, started, ended: begin.elapsed(), cleared: begin.elapsed() });
    }
    println!("exec");
    row("program executed", &samples, |sample| sample.started);
    row("exit known", &samples, |sample| sample.ended);
    pidfd::send_signal(&init.pidfd, 9).expect("it runs");
    pidfd::wait(&init.pidfd).expect("our child");
    group.remove().expect("an empty cgroup can be removed");
    for path in group.paths() {
        std::fs::remove_dir(path.parent().expect("it has one")).expect("it is empty");
    }
}

/// The default profile for the capabilities of the configuration.
fn filter() -> Vec<minke_sys::seccomp::Instruction> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("there is /proc");
    let kernel = minke_seccomp::Kernel::parse(&release);
    let profile = minke_seccomp::default_profile(&[], kernel, minke_seccomp::Machine::NATIVE);
    minke_seccomp::compile(&profile).expect("the default profile compiles").instructions
}

fn row(name: &str, samples: &[Sample], of: impl Fn(&Sample) -> Duration) {
    let mut values: Vec<_> = samples.iter().map(|sample| of(sample).as_micros()).collect();
    values.sort_unstable();
    let at = |percent: usize| values[(values.len() - 1) * percent / 100];
    println!("  {name:<26} best {:>6} us   p50 {:>6} us   p95 {:>6} us", at(0), at(50), at(95));
}
