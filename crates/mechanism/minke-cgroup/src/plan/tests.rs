use super::*;

fn layout(v1: &[&str], v2: &[&str]) -> Layout {
    let set = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Layout { v1: set(v1), v2: set(v2), unified: !v2.is_empty() }
}

fn old() -> Layout {
    layout(
        &["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls", "net_prio"],
        &["hugetlb", "rdma"],
    )
}

fn new() -> Layout {
    layout(&[], &["cpu", "cpuset", "memory", "io", "pids", "hugetlb", "rdma"])
}

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

/// One line per write: `file=value`, with its policy when that is not "required".
fn show(plan: &Plan) -> Vec<String> {
    let line = |w: &Write| {
        let instead = w.instead.as_ref().map_or(String::new(), |(f, v)| format!(" | {f}={v}"));
        let policy = if w.policy == Policy::Required { String::new() } else { format!(" ({:?})", w.policy) };
        format!("{}={}{instead}{policy}", w.file, w.value)
    };
    plan.writes.iter().map(line).collect()
}

fn check(layout: &Layout, json: &str, expected: &[&str]) {
    let plan = plan_limits(layout, &resources(json), Stage::Create).unwrap();
    assert_eq!(show(&plan), expected, "{json}");
}

fn refuse(layout: &Layout, json: &str) -> String {
    plan_limits(layout, &resources(json), Stage::Create).unwrap_err().to_string()
}

#[test]
fn memory_in_v1_counts_swap_on_top() {
    let json = r#"{"memory":{"limit":1000,"swap":3000,"reservation":500,"swappiness":10,"disableOOMKiller":true,"kernelTCP":7}}"#;
    check(
        &old(),
        json,
        &[
            "memory.limit_in_bytes=1000",
            "memory.memsw.limit_in_bytes=3000",
            "memory.soft_limit_in_bytes=500",
            "memory.kmem.tcp.limit_in_bytes=7 (Advisory)",
            "memory.oom_control=1",
            "memory.swappiness=10",
        ],
    );
}

#[test]
fn memory_in_v2_counts_swap_alone() {
    check(
        &new(),
        r#"{"memory":{"limit":1000,"swap":3000,"reservation":500}}"#,
        &["memory.swap.max=2000", "memory.max=1000", "memory.low=500"],
    );
    check(
        &new(),
        r#"{"memory":{"limit":1000,"swap":1000}}"#,
        &["memory.swap.max=0 (Optional)", "memory.max=1000"],
    );
    check(&new(), r#"{"memory":{"limit":-1}}"#, &["memory.swap.max=max (Optional)", "memory.max=max"]);
    check(&new(), r#"{"memory":{"limit":1000}}"#, &["memory.max=1000"]);
}

#[test]
fn unlimited_memory_lifts_the_swap_limit_too() {
    check(
        &old(),
        r#"{"memory":{"limit":-1}}"#,
        &["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1 (Optional)"],
    );
}

#[test]
fn on_update_the_limit_that_must_grow_first_goes_first() {
    let update = |json: &str, now: u64| {
        let stage = Stage::Update { memory_limit: Some(now) };
        show(&plan_limits(&old(), &resources(json), stage).unwrap())
    };
    let (memory, swap) = ("memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=2000");
    let json = r#"{"memory":{"limit":1000,"swap":2000}}"#;
    assert_eq!(update(json, 500), [swap, memory], "both grow");
    assert_eq!(update(json, 4000), [memory, swap], "both shrink");
    let unlimited = r#"{"memory":{"limit":1000,"swap":-1}}"#;
    assert_eq!(update(unlimited, 4000), ["memory.memsw.limit_in_bytes=-1", memory]);
}

#[test]
fn impossible_memory_limits_are_refused_with_the_reason() {
    for layout in [old(), new()] {
        let text = refuse(&layout, r#"{"memory":{"limit":1000,"swap":500}}"#);
        assert_eq!(text, "invalid memory+swap limit 500: memory+swap limit should be >= memory limit");
    }
    let text = refuse(&new(), r#"{"memory":{"swap":500}}"#);
    assert_eq!(text, "invalid swap limit 500: unable to set swap limit without memory limit");
    let text = refuse(&old(), r#"{"memory":{"swappiness":101}}"#);
    assert_eq!(text, "invalid memory swappiness value 101: valid range is 0-100");
}

#[test]
fn v1_only_memory_settings_are_warnings_in_v2() {
    let json = r#"{"memory":{"swappiness":10,"disableOOMKiller":true}}"#;
    let plan = plan_limits(&new(), &resources(json), Stage::Create).unwrap();
    assert_eq!(
        plan.warnings,
        [
            "memory swappiness has no effect on cgroup v2",
            "disabling the OOM killer has no effect on cgroup v2"
        ]
    );
}

#[test]
fn a_memory_check_before_update_is_carried_in_v2() {
    let json = r#"{"memory":{"limit":1000,"checkBeforeUpdate":true}}"#;
    let plan = plan_limits(&new(), &resources(json), Stage::Update { memory_limit: None }).unwrap();
    assert_eq!(plan.memory_ceiling, Some(1000));
    assert_eq!(plan.devices, None);
}

#[test]
fn cpu_in_v1() {
    let json = r#"{"cpu":{"shares":512,"quota":50000,"period":100000,"burst":1000,"idle":1,
        "realtimeRuntime":9,"realtimePeriod":10,"cpus":"0-1","mems":"0"}}"#;
    check(
        &old(),
        json,
        &[
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "cpu.rt_period_us=10 (Deferred)",
            "cpu.rt_runtime_us=9",
            "cpu.shares=512",
            "cpu.cfs_period_us=100000 (Deferred)",
            "cpu.cfs_burst_us=1000 (Deferred)",
            "cpu.cfs_quota_us=50000",
            "cpu.idle=1",
        ],
    );
    check(&old(), r#"{"cpu":{"period":50000}}"#, &["cpu.cfs_period_us=50000"]);
    assert!(refuse(&old(), r#"{"cpu":{"shares":1}}"#).ends_with("the minimum allowed cpu-shares is 2"));
    assert!(
        refuse(&old(), r#"{"cpu":{"shares":300000}}"#).ends_with("the maximum allowed cpu-shares is 262144")
    );
}

#[test]
fn cpu_in_v2() {
    let json = r#"{"cpu":{"shares":1024,"quota":50000,"burst":1000,"idle":0,"cpus":"1"}}"#;
    check(
        &new(),
        json,
        &[
            "cpuset.cpus=1",
            "cpu.idle=0",
            "cpu.weight=100",
            "cpu.max.burst=1000 (Deferred)",
            "cpu.max=50000 100000",
        ],
    );
    check(&new(), r#"{"cpu":{"quota":-1,"period":50000}}"#, &["cpu.max=max 50000"]);
}

#[test]
fn shares_become_weights_in_proportion_with_the_default_for_the_default() {
    let table =
        [(0, 0), (1, 1), (2, 1), (512, 50), (1024, 100), (2048, 200), (262_144, 10_000), (u64::MAX, 10_000)];
    for (shares, weight) in table {
        assert_eq!(shares_to_weight(shares), weight, "{shares} shares");
    }
    let mut last = 0;
    for shares in 0..5000 {
        assert!(shares_to_weight(shares) >= last, "{shares} shares");
        last = shares_to_weight(shares);
    }
}

#[test]
fn pids_have_one_file_in_both() {
    for layout in [old(), new()] {
        check(&layout, r#"{"pids":{"limit":100}}"#, &["pids.max=100"]);
        check(&layout, r#"{"pids":{"limit":-1}}"#, &["pids.max=max"]);
        check(&layout, r#"{"pids":{"limit":0}}"#, &[]);
    }
}

const IO: &str = r#"{"blockIO":{"weight":500,
    "weightDevice":[{"major":8,"minor":0,"weight":10}],
    "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1048576}],
    "throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":10}]}}"#;

#[test]
fn block_io_in_v1() {
    check(
        &old(),
        IO,
        &[
            "blkio.weight=500 | blkio.bfq.weight=500",
            "blkio.weight_device=8:0 10 | blkio.bfq.weight_device=8:0 10",
            "blkio.throttle.read_bps_device=8:0 1048576",
            "blkio.throttle.write_iops_device=8:16 10",
        ],
    );
}

#[test]
fn block_io_in_v2() {
    check(
        &new(),
        IO,
        &[
            "io.bfq.weight=500 | io.weight=default 4950",
            "io.bfq.weight=8:0 10 | io.weight=8:0 1",
            "io.max=8:0 rbps=1048576",
            "io.max=8:16 wiops=10",
        ],
    );
    assert_eq!((blkio_weight_to_io_weight(0), blkio_weight_to_io_weight(1000)), (0, 10_000));
}

#[test]
fn huge_pages_and_rdma_follow_the_controller_wherever_it_is() {
    let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4096}],
        "rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000}}}"#;
    check(
        &old(),
        json,
        &[
            "hugetlb.2MB.max=4096",
            "hugetlb.2MB.rsvd.max=4096 (Optional)",
            "rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
        ],
    );
    check(
        &layout(&["hugetlb"], &[]),
        r#"{"hugepageLimits":[{"pageSize":"1GB","limit":1}]}"#,
        &["hugetlb.1GB.limit_in_bytes=1", "hugetlb.1GB.rsvd.limit_in_bytes=1 (Optional)"],
    );
    let text = refuse(&new(), r#"{"hugepageLimits":[{"pageSize":"../x","limit":1}]}"#);
    assert!(text.starts_with("invalid huge page size"), "{text}");
}

#[test]
fn network_classes_exist_in_v1_only() {
    let json = r#"{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":500}]}}"#;
    check(&old(), json, &["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 500"]);
    let plan = plan_limits(&new(), &resources(json), Stage::Create).unwrap();
    assert_eq!(plan.warnings.len(), 2);
}

#[test]
fn unified_keys_are_file_names_of_v2() {
    let json = r#"{"unified":{"memory.high":"1000","cgroup.max.descendants":"5"}}"#;
    check(&new(), json, &["cgroup.max.descendants=5", "memory.high=1000"]);
    assert!(refuse(&old(), json).contains("this host has it in v1"));
    assert!(refuse(&new(), r#"{"unified":{"../memory.high":"1"}}"#).contains("a file name"));
    assert!(refuse(&new(), r#"{"unified":{"misc.max":"1"}}"#).contains("misc controller is not available"));
}

#[test]
fn a_missing_controller_matters_only_when_a_limit_needs_it() {
    let none = layout(&["cpu"], &[]);
    check(&none, r#"{"memory":{},"pids":{"limit":0},"cpu":{"shares":2}}"#, &["cpu.shares=2"]);
    let text = refuse(&none, r#"{"pids":{"limit":5}}"#);
    assert_eq!(text, "cannot set pids limit: the pids controller is not available on this host");
}

#[test]
fn a_new_cgroup_gets_a_device_list_even_when_nothing_is_said_of_devices() {
    let plan = plan_limits(&old(), &resources("{}"), Stage::Create).unwrap();
    assert!(!plan.devices.unwrap().allow_by_default);
    let json = r#"{"devices":[{"allow":true,"access":"rwm"}]}"#;
    let plan = plan_limits(&old(), &resources(json), Stage::Create).unwrap();
    assert_eq!(plan.devices.unwrap(), DeviceList::allow_all());
}
