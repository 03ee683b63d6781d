//! Golden tests: whole configurations, compared with files beside this one.

use std::path::{Path, PathBuf};

use minke_api::container::{ContainerConfig, HostConfig, StrSlice, Ulimit};
use oci_spec::runtime::Capabilities;
use serde_json::Value;

use super::*;
use crate::spec::capabilities::{self, DEFAULT};
use crate::spec::{devices, mounts};

/// What a test varies; the rest is a plain container.
struct Case {
    config: ContainerConfig,
    host: HostConfig,
    namespaces: Namespaces,
    capabilities: Capabilities,
    devices: DevicePlan,
    net_ready: bool,
}

impl Default for Case {
    fn default() -> Self {
        let words = |list: &[&str]| Some(list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        Self {
            config: ContainerConfig {
                hostname: "284e88383c3c".into(),
                cmd: Some(StrSlice(vec!["sleep".into(), "3000".into()])),
                env: words(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]),
                ..ContainerConfig::default()
            },
            host: HostConfig {
                network_mode: "bridge".into(),
                ipc_mode: "private".into(),
                shm_size: 64 << 20,
                masked_paths: words(&MASKED_PATHS),
                readonly_paths: words(&READONLY_PATHS),
                ..HostConfig::default()
            },
            namespaces: Namespaces { cgroup: NamespacePlan::Host, ..Namespaces::default() },
            capabilities: DEFAULT.into_iter().collect(),
            devices: DevicePlan { nodes: Vec::new(), rules: devices::default_rules() },
            net_ready: true,
        }
    }
}

/// The configuration as JSON in a stable order: sets of capabilities come in any.
fn plan(case: &Case) -> Value {
    let directory = Path::new("/var/lib/minke/containers/284e");
    let files = SystemFiles {
        hostname: Some(directory.join("hostname")),
        hosts: Some(directory.join("hosts")),
        resolv: Some(directory.join("resolv.conf")),
        shm: None,
    };
    let identity = Identity { uid: 0, gid: 0, groups: vec![0, 10], home: "/root".into() };
    let spec = plan_spec(&PlanInput {
        config: &case.config,
        environment: &[],
        host: &case.host,
        security: &SecurityOptions::parse(case.host.security_opt.as_deref().unwrap_or_default())
            .expect("known"),
        hostname: &case.config.hostname,
        identity: &identity,
        capabilities: &case.capabilities,
        apparmor: None,
        namespaces: &case.namespaces,
        net_ready: case.net_ready,
        files: &files,
        mounts: &mounts::parse_mounts(&case.host).expect("well formed"),
        sources: &mounts::Sources::new(),
        devices: &case.devices,
        cgroup: Path::new("/minke/284e"),
        console_size: None,
    })
    .expect("a plan");
    let mut value = serde_json::to_value(spec).expect("plain data");
    for set in ["bounding", "effective", "permitted"] {
        if let Some(list) = value["process"]["capabilities"][set].as_array_mut() {
            list.sort_by_key(ToString::to_string);
        }
    }
    if let Some(map) = value["linux"]["sysctl"].as_object_mut() {
        map.sort_keys();
    }
    value
}

#[test]
fn a_plain_container_is_what_docker_makes_of_it() {
    insta::assert_json_snapshot!("plain", plan(&Case::default()));
}

#[test]
fn limits_and_mounts_and_a_terminal_show() {
    let mut case = Case { net_ready: false, ..Case::default() };
    case.config.tty = true;
    case.config.working_dir = "/srv".into();
    case.host.memory = 64 << 20;
    case.host.memory_swap = 128 << 20;
    case.host.nano_cpus = 500_000_000;
    case.host.pids_limit = Some(50);
    case.host.readonly_rootfs = true;
    case.host.oom_score_adj = 100;
    case.host.ulimits = Some(vec![Ulimit { name: "nofile".into(), soft: 64, hard: 128 }]);
    case.host.binds = Some(vec!["/srv/data:/data:ro".into()]);
    case.host.tmpfs = Some([("/run".to_owned(), "size=1m".to_owned())].into());
    case.host.security_opt = Some(vec!["no-new-privileges".into()]);
    insta::assert_json_snapshot!("limited", plan(&case));
}

#[test]
fn a_privileged_container_keeps_its_default_limits_and_nothing_is_masked() {
    let mut case = Case { capabilities: capabilities::from_mask(u64::MAX), ..Case::default() };
    case.host.privileged = true;
    case.host.masked_paths = None;
    case.host.readonly_paths = None;
    case.devices.rules = devices::all_rules();
    let value = plan(&case);
    assert_eq!(value["linux"]["maskedPaths"], Value::Null);
    assert_eq!(value["process"]["capabilities"]["bounding"].as_array().map(Vec::len), Some(41));
    let sys = value["mounts"].as_array().into_iter().flatten().find(|mount| mount["destination"] == "/sys");
    assert_eq!(
        sys.map(|mount| mount["options"].to_string()).as_deref(),
        Some(r#"["nosuid","noexec","nodev"]"#)
    );
}

#[test]
fn what_is_the_hosts_has_no_namespace_and_what_is_joined_has_a_path() {
    let joined = PathBuf::from("/proc/7/ns/net");
    let case = Case {
        namespaces: Namespaces {
            net: NamespacePlan::Join(joined.clone()),
            pid: NamespacePlan::Host,
            uts: NamespacePlan::Host,
            ..Namespaces::default()
        },
        ..Case::default()
    };
    let value = plan(&case);
    let kinds: Vec<(&str, Option<&str>)> = value["linux"]["namespaces"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| Some((entry["type"].as_str()?, entry["path"].as_str())))
        .collect();
    assert_eq!(kinds, [("mount", None), ("network", joined.to_str()), ("ipc", None), ("cgroup", None)]);
    assert_eq!(value["hostname"], Value::Null);
    assert_eq!(value["linux"]["sysctl"], Value::Null);
}

#[test]
fn a_mount_of_the_users_takes_the_place_of_the_engines() {
    let mut case = Case::default();
    case.host.binds = Some(vec!["/tmp/hosts:/etc/hosts".into(), "/tmp/shm:/dev/shm".into()]);
    let value = plan(&case);
    let sources: Vec<&str> = value["mounts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|mount| mount["destination"] == "/etc/hosts" || mount["destination"] == "/dev/shm")
        .filter_map(|mount| mount["source"].as_str())
        .collect();
    assert_eq!(sources, ["/tmp/shm", "/tmp/hosts"]);
}

#[test]
fn an_exec_has_the_containers_environment_and_its_own_on_top() {
    let case = Case::default();
    let identity = Identity { uid: 33, gid: 33, groups: vec![33], home: "/var/www".into() };
    let process = plan_exec(ExecInput {
        config: &case.config,
        hostname: "284e88383c3c",
        args: vec!["env".into()],
        env: &["A=1".into(), "HOSTNAME=other".into()],
        working_dir: "",
        links: &[],
        identity: &identity,
        capabilities: &case.capabilities,
        apparmor: None,
        no_new_privileges: false,
        tty: true,
        console_size: Some([24, 80]),
        ulimits: &[],
        oom_score_adj: 0,
    })
    .expect("a plan");
    assert_eq!(
        process.env().as_deref().unwrap_or_default(),
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOSTNAME=other",
            "TERM=xterm",
            "HOME=/var/www",
            "A=1"
        ]
    );
    assert_eq!(process.cwd(), Path::new("/"));
    assert_eq!(process.console_size().as_ref().map(|size| (size.height(), size.width())), Some((24, 80)));
}

#[test]
fn nothing_to_run_is_refused() {
    let mut case = Case::default();
    case.config.cmd = None;
    let directory = SystemFiles::default();
    let identity = Identity { uid: 0, gid: 0, groups: vec![0], home: "/".into() };
    let error = plan_spec(&PlanInput {
        config: &case.config,
        environment: &[],
        host: &case.host,
        security: &SecurityOptions::default(),
        hostname: "",
        identity: &identity,
        capabilities: &case.capabilities,
        apparmor: None,
        namespaces: &case.namespaces,
        net_ready: true,
        files: &directory,
        mounts: &[],
        sources: &mounts::Sources::new(),
        devices: &case.devices,
        cgroup: Path::new("/minke/x"),
        console_size: None,
    })
    .expect_err("no program");
    assert_eq!(error.message(), "no command specified");
}
