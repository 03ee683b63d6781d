//! Tests of the refusals: the words were taken from Docker 28.5 by asking it.

use minke_api::container::RestartPolicy;

use super::*;

fn facts() -> HostFacts {
    HostFacts {
        cpus: 2,
        cpus_online: "0-1".into(),
        mems_online: "0".into(),
        swap_limit: true,
        blkio_throttle: true,
        swappiness: true,
        oom_kill_disable: true,
        v1_controllers: ["memory", "cpu", "cpuset", "pids", "blkio"].map(str::to_owned).into(),
        ..HostFacts::default()
    }
}

fn check(host: HostConfig) -> Result<Vec<String>> {
    let mut request = ContainerCreateRequest { host_config: host, ..ContainerCreateRequest::default() };
    check_create(&mut request, &facts())
}

fn refused(host: HostConfig) -> String {
    check(host).expect_err("refused").message().to_owned()
}

#[test]
fn memory_limits_have_dockers_bounds() {
    let host = HostConfig::default;
    assert_eq!(refused(HostConfig { memory: 100, ..host() }), "Minimum memory limit allowed is 6MB");
    assert_eq!(
        refused(HostConfig { memory: 10_000_000, memory_swap: 9_000_000, ..host() }),
        "Minimum memoryswap limit should be larger than memory limit, see usage"
    );
    assert_eq!(
        refused(HostConfig { memory_swap: 9_000_000, ..host() }),
        "You should always set the Memory limit when using Memoryswap limit, see usage"
    );
    assert_eq!(
        refused(HostConfig { memory_swappiness: Some(200), ..host() }),
        "Invalid value: 200, valid memory swappiness range is 0-100"
    );
}

#[test]
fn processors_must_be_there() {
    let host = HostConfig::default;
    assert_eq!(
        refused(HostConfig { nano_cpus: 100_000_000_000, ..host() }),
        "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"
    );
    assert_eq!(
        refused(HostConfig { cpuset_cpus: "0-9".into(), ..host() }),
        "Requested CPUs are not available - requested 0-9, available: 0-1"
    );
    assert_eq!(
        refused(HostConfig { cpuset_cpus: "zz".into(), ..host() }),
        "Invalid value zz for cpuset cpus: invalid format: zz"
    );
}

#[test]
fn a_restart_policy_is_one_of_four() {
    let policy = |name: &str, count: i64| HostConfig {
        restart_policy: RestartPolicy { name: name.into(), maximum_retry_count: count },
        ..HostConfig::default()
    };
    assert_eq!(
        refused(policy("never", 0)),
        "invalid restart policy: unknown policy 'never'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    );
    assert_eq!(
        refused(policy("always", 3)),
        "invalid restart policy: maximum retry count can only be used with 'on-failure'"
    );
    assert_eq!(
        refused(policy("on-failure", -3)),
        "invalid restart policy: maximum retry count cannot be negative"
    );
    assert_eq!(
        refused(HostConfig { auto_remove: true, ..policy("always", 0) }),
        "can't create 'AutoRemove' container with restart policy"
    );
}

#[test]
fn modes_are_known_words_or_containers() {
    let host = HostConfig::default;
    assert_eq!(refused(HostConfig { pid_mode: "x".into(), ..host() }), "invalid PID mode: x");
    assert_eq!(refused(HostConfig { ipc_mode: "x".into(), ..host() }), "invalid IPC mode: x");
    assert_eq!(refused(HostConfig { uts_mode: "x".into(), ..host() }), "invalid UTS mode: x");
    assert_eq!(
        refused(HostConfig { cgroupns_mode: "x".into(), ..host() }),
        "invalid cgroup namespace mode: x"
    );
    assert!(check(HostConfig { pid_mode: "container:abc".into(), ..host() }).is_ok());
}

#[test]
fn capabilities_are_refused_by_field() {
    let host = HostConfig { cap_add: Some(vec!["FLY".into()]), ..HostConfig::default() };
    assert_eq!(refused(host), "invalid CapAdd: unknown capability: \"CAP_FLY\"");
}

#[test]
fn what_the_host_cannot_do_is_a_warning() {
    let warnings = check(HostConfig { blkio_weight: 5, ..HostConfig::default() }).expect("only a warning");
    assert_eq!(
        warnings,
        ["Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."]
    );
}

#[test]
fn what_does_not_go_with_a_network_mode_is_refused_in_dockers_words() {
    let joined = || HostConfig { network_mode: "container:a".into(), ..HostConfig::default() };
    let links = Some(vec!["a:b".to_owned()]);
    for (host, expected) in [
        (
            HostConfig { links: links.clone(), ..joined() },
            "conflicting options: container type network can't be used with links. This would result in undefined behavior",
        ),
        (
            HostConfig { dns: Some(vec!["1.1.1.1".into()]), ..joined() },
            "conflicting options: dns and the network mode",
        ),
        (
            HostConfig { publish_all_ports: true, ..joined() },
            "conflicting options: port publishing and the container type network mode",
        ),
        (
            HostConfig { network_mode: "host".into(), links, ..HostConfig::default() },
            "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
        ),
        (
            HostConfig { network_mode: "container:".into(), ..HostConfig::default() },
            "invalid network mode: invalid container format container:<name|id>",
        ),
    ] {
        assert_eq!(refused(host), expected);
    }
}
