use std::path::{Path, PathBuf};

use super::*;

/// A directory that looks like a pure v2 host. mkdir makes no control files here, so tests put them where they look.
struct FakeV2(tempfile::TempDir);

impl FakeV2 {
    fn new() -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        let mount = "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        fake.put("proc/self/mountinfo", mount);
        fake.put("proc/self/cgroup", "0::/session\n");
        fake.put("sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n");
        fake.put("sys/fs/cgroup/cgroup.subtree_control", "pids\n");
        fake
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn get(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn host(&self) -> Host {
        Host::probe_under(self.0.path()).unwrap()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join("sys/fs/cgroup").join(path)
    }
}

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

#[test]
fn making_a_v2_cgroup_hands_missing_controllers_down() {
    let fake = FakeV2::new();
    let group = Cgroup::create(&fake.host(), Path::new("/minke/c1")).unwrap();
    assert_eq!(group.paths(), [fake.at("minke/c1")]);
    assert!(group.is_fresh());
    assert_eq!(fake.get("sys/fs/cgroup/cgroup.subtree_control"), "+cpu +memory");
}

#[test]
fn a_v2_entry_is_a_directory_and_no_tasks() {
    let fake = FakeV2::new();
    let entry = Cgroup::create(&fake.host(), Path::new("/minke/c1")).unwrap().entry().unwrap();
    assert!(entry.into.is_some());
    assert!(entry.tasks.is_empty());
}

#[test]
fn a_directory_with_processes_hands_no_controllers_down() {
    let fake = FakeV2::new();
    for (name, text) in
        [("controllers", "cpu pids\n"), ("subtree_control", ""), ("procs", "7\n"), ("type", "domain\n")]
    {
        fake.put(&format!("sys/fs/cgroup/session/cgroup.{name}"), text);
    }
    Cgroup::create(&fake.host(), Path::new("/session/c1")).unwrap();
    assert_eq!(fake.get("sys/fs/cgroup/session/cgroup.subtree_control"), "");
    fake.put("sys/fs/cgroup/session/cgroup.procs", "");
    Cgroup::create(&fake.host(), Path::new("/session/c2")).unwrap();
    assert_eq!(fake.get("sys/fs/cgroup/session/cgroup.subtree_control"), "+cpu +pids");
}

#[test]
fn a_relative_path_lies_beside_the_callers_own_cgroup_on_v2() {
    let fake = FakeV2::new();
    fake.put("proc/self/cgroup", "0::/user.slice/session-1.scope\n");
    let group = Cgroup::create(&fake.host(), Path::new("c1")).unwrap();
    assert_eq!(group.paths(), [fake.at("user.slice/c1")]);
}

#[test]
fn whoever_joins_a_cgroup_that_gave_its_controllers_away_goes_where_the_first_process_is() {
    let fake = FakeV2::new();
    let group = Cgroup::create(&fake.host(), Path::new("/minke/c1")).unwrap();
    let inode = |entry: &Entry| rustix::fs::fstat(entry.into.as_ref().unwrap()).unwrap().st_ino;
    let own = inode(&group.entry().unwrap());
    let me = i32::try_from(std::process::id()).unwrap();
    assert_eq!(inode(&group.entry_beside(me).unwrap()), own);
    fake.put("sys/fs/cgroup/minke/c1/cgroup.subtree_control", "pids\n");
    // Where this test runs, below the fake's mount point.
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let below = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    std::fs::create_dir_all(fake.at(below)).unwrap();
    assert_ne!(inode(&group.entry_beside(me).unwrap()), own);
}

#[test]
fn updating_writes_only_what_was_sent() {
    let fake = FakeV2::new();
    let group = Cgroup::create(&fake.host(), Path::new("/session/c1")).unwrap();
    for file in ["memory.max", "memory.swap.max", "pids.max", "cpu.weight"] {
        fake.put(&format!("sys/fs/cgroup/session/c1/{file}"), "old");
    }
    let json = r#"{"memory":{"limit":4096,"swap":8192},"pids":{"limit":9}}"#;
    assert_eq!(group.update(&resources(json)).unwrap(), Vec::<String>::new());
    assert_eq!(fake.get("sys/fs/cgroup/session/c1/memory.max"), "4096");
    assert_eq!(fake.get("sys/fs/cgroup/session/c1/memory.swap.max"), "4096");
    // A control file takes the value as a whole; an ordinary file keeps what lies behind it.
    assert_eq!(fake.get("sys/fs/cgroup/session/c1/pids.max"), "9ld");
    assert_eq!(fake.get("sys/fs/cgroup/session/c1/cpu.weight"), "old");
}

#[test]
fn a_kernel_without_swap_accounting_is_no_obstacle_to_forbidding_swap() {
    let fake = FakeV2::new();
    let group = Cgroup::create(&fake.host(), Path::new("/c1")).unwrap();
    fake.put("sys/fs/cgroup/c1/memory.max", "");
    assert!(group.update(&resources(r#"{"memory":{"limit":4096,"swap":4096}}"#)).is_ok());
    let error = group.update(&resources(r#"{"memory":{"limit":4096,"swap":5000}}"#)).unwrap_err();
    assert!(error.to_string().contains("memory.swap.max"), "{error}");
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_when_the_check_is_asked_for() {
    let fake = FakeV2::new();
    let group = Cgroup::create(&fake.host(), Path::new("/c1")).unwrap();
    fake.put("sys/fs/cgroup/c1/memory.current", "9000\n");
    fake.put("sys/fs/cgroup/c1/memory.peak", "9500\n");
    let error =
        group.update(&resources(r#"{"memory":{"limit":4096,"checkBeforeUpdate":true}}"#)).unwrap_err();
    let text = "unable to set memory limit to 4096 (current usage: 9000, peak usage: 9500)";
    assert_eq!(error.to_string(), text);
}

#[test]
fn an_existing_cgroup_is_taken_over_only_when_nobody_is_in_it() {
    let fake = FakeV2::new();
    fake.put("sys/fs/cgroup/minke/c1/cgroup.procs", "");
    let group = Cgroup::create(&fake.host(), Path::new("/minke/c1")).unwrap();
    assert!(!group.is_fresh());
    fake.put("sys/fs/cgroup/minke/c1/cgroup.procs", "17\n18\n");
    let error = Cgroup::create(&fake.host(), Path::new("/minke/c1")).unwrap_err();
    assert!(error.to_string().ends_with("is not empty: 2 process(es) found"), "{error}");
}

#[test]
fn processes_are_counted_through_child_cgroups_too() {
    let fake = FakeV2::new();
    fake.put("sys/fs/cgroup/c1/cgroup.procs", "17\n");
    fake.put("sys/fs/cgroup/c1/inner/cgroup.procs", "18\n0\n");
    assert_eq!(Cgroup::open(&fake.host(), Path::new("/c1")).unwrap().pids().unwrap(), [17, 18]);
}

#[test]
fn stats_of_v2_come_from_its_files() {
    let fake = FakeV2::new();
    for (file, text) in [
        (
            "cpu.stat",
            "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
        ),
        ("memory.current", "4096\n"),
        ("memory.max", "max\n"),
        ("memory.stat", "file 100\nanon 50\n"),
        ("memory.events", "low 0\nmax 3\noom 1\noom_kill 2\n"),
        ("pids.current", "4\n"),
        ("pids.max", "max\n"),
    ] {
        fake.put(&format!("sys/fs/cgroup/c1/{file}"), text);
    }
    let group = Cgroup::open(&fake.host(), Path::new("/c1")).unwrap();
    let stats = group.read_stats().unwrap();
    assert!(stats.unified);
    assert_eq!((stats.cpu.total, stats.cpu.throttled_time), (30_000, 7_000));
    assert_eq!(
        (stats.memory.usage.usage, stats.memory.usage.limit, stats.memory.cache),
        (4096, u64::MAX, 100)
    );
    assert_eq!((stats.pids.current, stats.pids.limit), (4, 0));
    assert_eq!(group.read_oom_kills().unwrap(), 2);
}

#[test]
fn freezing_waits_for_the_event_and_thaw_takes_it_back() {
    let fake = FakeV2::new();
    fake.put("sys/fs/cgroup/c1/cgroup.freeze", "0");
    fake.put("sys/fs/cgroup/c1/cgroup.events", "populated 1\nfrozen 1\n");
    let group = Cgroup::open(&fake.host(), Path::new("/c1")).unwrap();
    group.freeze().unwrap();
    assert_eq!(group.read_freezer().unwrap(), crate::Freezer::Frozen);
    group.thaw().unwrap();
    assert_eq!(group.read_freezer().unwrap(), crate::Freezer::Thawed);
}

#[test]
fn removal_goes_from_the_inside_out_and_may_be_repeated() {
    let fake = FakeV2::new();
    let group = Cgroup::create(&fake.host(), Path::new("/minke/c1")).unwrap();
    std::fs::create_dir_all(fake.at("minke/c1/a/b")).unwrap();
    group.remove().unwrap();
    assert!(!fake.at("minke/c1").exists());
    group.remove().unwrap();
}

#[test]
fn a_cgroup_is_found_again_by_its_recorded_directories() {
    let fake = FakeV2::new();
    let paths = Cgroup::create(&fake.host(), Path::new("/minke/c1")).unwrap().paths();
    assert_eq!(Cgroup::reopen(&fake.host(), &paths).unwrap().paths(), paths);
    std::fs::remove_dir(&paths[0]).unwrap();
    assert!(Cgroup::reopen(&fake.host(), &paths).unwrap().is_absent());
}
