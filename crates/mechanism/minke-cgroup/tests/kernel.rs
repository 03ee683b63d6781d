//! The verbs on real hierarchies: needs root and cgroups it may make. Run with `--features kernel-tests`, so that a missing
//! privilege fails instead of passing.

#![expect(unsafe_code, reason = "a child enters its cgroup between fork and exec")]
#![expect(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use minke_cgroup::{Cgroup, Freezer, Host, Parent};
use oci_spec::runtime::LinuxResources;

/// A cgroup that is emptied and removed, with its parent, at the end of the test.
struct Fixture {
    host: Host,
    parent: PathBuf,
    group: Cgroup,
    children: Vec<Child>,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let host = Host::probe().unwrap();
        let parent = PathBuf::from(format!("/minke-test-{}-{name}", std::process::id()));
        let group = Parent::open(&host, &parent).unwrap().create("c").unwrap();
        Self { host, parent, group, children: Vec::new() }
    }

    /// Starts a shell command inside, through the descriptors a runtime would use.
    fn spawn(&mut self, script: &str) -> u32 {
        let entry = self.group.entry().unwrap();
        let procs = if entry.tasks.is_empty() { self.group.procs().unwrap() } else { None };
        let unified = self.group.procs().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; write(2) is one, and nothing allocates.
        unsafe {
            command.pre_exec(move || {
                for fd in entry.tasks.iter().chain(&procs).chain(&unified) {
                    rustix::io::write(fd, b"0")?;
                }
                Ok(())
            });
        }
        self.children.push(command.spawn().unwrap());
        self.children.last().unwrap().id()
    }

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    fn path(&self, file: &str) -> PathBuf {
        let paths = self.group.paths();
        paths.iter().map(|p| p.join(file)).find(|p| p.exists()).unwrap()
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap().trim().to_owned()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.group.kill_all().unwrap();
        self.children.iter_mut().for_each(|c| drop(c.wait()));
        self.group.remove().unwrap();
        Cgroup::open(&self.host, &self.parent).unwrap().remove().unwrap();
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen in 5 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_child_enters_every_hierarchy_and_is_listed_once() {
    let mut fixture = Fixture::new("enter");
    let pid = fixture.spawn("exec sleep 60");
    assert_eq!(fixture.group.pids().unwrap(), [i32::try_from(pid).unwrap()]);
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let wanted = format!("{}/c", fixture.parent.display());
    let joined = own.lines().filter(|l| l.ends_with(&wanted)).count();
    assert_eq!(joined, fixture.group.paths().len(), "{own}");
    let same = Cgroup::of_process(&fixture.host, i32::try_from(pid).unwrap()).unwrap();
    assert_eq!(same.paths(), fixture.group.paths());
}

#[test]
fn limits_reach_the_files_and_updates_go_in_the_order_the_kernel_wants() {
    let fixture = Fixture::new("limits");
    let json = r#"{"memory":{"limit":67108864,"swap":134217728},"pids":{"limit":50},"cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0"}}"#;
    fixture.group.apply_limits(&Fixture::resources(json)).unwrap();
    assert_eq!(fixture.read("pids.max"), "50");
    for (limit, swap) in [(268_435_456u64, 536_870_912u64), (33_554_432, 67_108_864)] {
        let json = format!(r#"{{"memory":{{"limit":{limit},"swap":{swap}}}}}"#);
        fixture.group.update(&Fixture::resources(&json)).unwrap();
        let stats = fixture.group.read_stats().unwrap();
        assert_eq!(stats.memory.usage.limit, limit);
    }
    assert_eq!(fixture.group.read_stats().unwrap().pids.limit, 50);
}

#[test]
fn freezing_stops_and_thawing_resumes() {
    let mut fixture = Fixture::new("freeze");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ticks");
    fixture.spawn(&format!("while :; do echo x >> {}; sleep 0.01; done", file.display()));
    let size = || std::fs::metadata(&file).map_or(0, |m| m.len());
    wait_for("the first tick", || size() > 2);
    fixture.group.freeze().unwrap();
    assert_eq!(fixture.group.read_freezer().unwrap(), Freezer::Frozen);
    let before = size();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(size(), before);
    fixture.group.thaw().unwrap();
    wait_for("the next tick", || size() > before);
}

#[test]
fn a_fork_bomb_is_killed_to_the_last_process_even_when_frozen() {
    let mut fixture = Fixture::new("bomb");
    fixture.group.apply_limits(&Fixture::resources(r#"{"pids":{"limit":64}}"#)).unwrap();
    fixture.spawn("f() { f & f & sleep 1; }; f 2>/dev/null; sleep 60");
    wait_for("the bomb", || fixture.group.pids().unwrap().len() > 20);
    fixture.group.freeze().unwrap();
    fixture.group.kill_all().unwrap();
    drop(fixture.children.pop().unwrap().wait());
    fixture.group.kill_and_wait().unwrap();
    assert_eq!(fixture.group.pids().unwrap(), Vec::<i32>::new());
}

#[test]
fn running_out_of_memory_is_counted_and_announced() {
    let mut fixture = Fixture::new("oom");
    let json = r#"{"memory":{"limit":8388608,"swap":8388608}}"#;
    fixture.group.apply_limits(&Fixture::resources(json)).unwrap();
    let mut watch = fixture.group.watch_oom().unwrap().unwrap();
    fixture.spawn("x=$(head -c 64m /dev/zero | tr '\\0' x); sleep 60");
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(watch.fd(), watch.interest())];
    let ready =
        rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap();
    assert_eq!(ready, 1, "the watch announces");
    wait_for("the counter", || fixture.group.read_oom_kills().unwrap() > 0);
    assert!(watch.take().unwrap() > 0);
    assert_eq!(watch.take().unwrap(), 0);
}

#[test]
fn devices_outside_the_list_cannot_be_opened() {
    let mut fixture = Fixture::new("devices");
    let json = r#"{"devices":[{"allow":false,"access":"rwm"}]}"#;
    fixture.group.apply_limits(&Fixture::resources(json)).unwrap();
    fixture.spawn("head -c1 /dev/zero >/dev/null && ! head -c1 /dev/kmsg >/dev/null 2>&1");
    assert!(fixture.children.pop().unwrap().wait().unwrap().success());
    fixture.group.update(&Fixture::resources(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#)).unwrap();
    fixture.spawn("exec 3</dev/kmsg");
    assert!(fixture.children.pop().unwrap().wait().unwrap().success());
}

#[test]
fn the_bpf_filter_is_accepted_by_the_kernel_enforced_and_replaced() {
    use minke_cgroup::{bpf, devices};
    let mut fixture = Fixture::new("bpf");
    let unified = fixture.host.unified().expect("a unified hierarchy is mounted");
    let path = unified.locate(&fixture.parent.join("c"));
    let mut list = devices::DeviceList::deny_all();
    devices::default_rules().iter().for_each(|rule| list.apply(rule));
    bpf::attach(&path, &list).unwrap();
    fixture.spawn("head -c1 /dev/zero >/dev/null && ! head -c1 /dev/kmsg >/dev/null 2>&1");
    assert!(fixture.children.pop().unwrap().wait().unwrap().success());
    bpf::attach(&path, &devices::DeviceList::allow_all()).unwrap();
    fixture.spawn("exec 3</dev/kmsg");
    assert!(fixture.children.pop().unwrap().wait().unwrap().success());
}

#[test]
fn child_cgroups_and_their_processes_go_too() {
    let mut fixture = Fixture::new("nested");
    fixture.spawn("exec sleep 60");
    for path in fixture.group.paths() {
        std::fs::create_dir(path.join("inner")).unwrap();
    }
    assert!(fixture.group.read_stats().unwrap().pids.current >= 1);
}
