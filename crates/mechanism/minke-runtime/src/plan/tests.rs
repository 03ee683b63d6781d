//! Plans as golden texts: the order of steps and what each of them says.

use std::path::Path;

use insta::assert_snapshot;
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use super::*;
use crate::plan::mounts::plan_options;

fn inputs<'a>(cgroups: &'a [CgroupView]) -> Inputs<'a> {
    Inputs {
        id: "golden",
        bundle: Path::new("/bundle"),
        root: Root::Mount,
        terminal: None,
        netns: false,
        privileged: true,
        cgroup: true,
        cgroups,
        seccomp: true,
        notifies: false,
        waits: false,
        listen_fds: 0,
        no_pivot: false,
        no_new_keyring: false,
        keep_mount_namespace: true,
        lenient: false,
        has_kcore: true,
    }
}

fn configuration() -> Value {
    serde_json::from_str(include_str!("../../examples/start_cost.json")).unwrap()
}

fn hybrid() -> Vec<CgroupView> {
    let view = |name: &str, data: &str, controllers: &[&str]| CgroupView {
        name: name.to_owned(),
        data: data.to_owned(),
        controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        directory: format!("/sys/fs/cgroup/{name}/minke/golden").into(),
        is_unified: false,
    };
    let unified = CgroupView { is_unified: true, name: "unified".into(), ..view("", "", &[]) };
    vec![
        view("cpu,cpuacct", "cpu,cpuacct", &["cpu", "cpuacct"]),
        view("systemd", "none,name=systemd", &["name=systemd"]),
        unified,
    ]
}

fn lines(plan: &Plan) -> String {
    let mut text =
        format!("fast {}, clone flags {:#x}, joined {:?}\n", plan.is_fast(), plan.clone_flags, plan.joined);
    for step in &plan.steps {
        text.push_str(&format!("{step}\n"));
    }
    text
}

fn plan(value: &Value, change: impl FnOnce(&mut Inputs<'_>)) -> Result<Plan, LaunchError> {
    let spec: Spec = serde_json::from_value(value.clone()).unwrap();
    let views = hybrid();
    let mut inputs = inputs(&views);
    change(&mut inputs);
    plan_launch(&spec, &inputs)
}

#[test]
fn a_container_like_dockers() {
    assert_snapshot!(lines(&plan(&configuration(), |_| {}).unwrap()));
}

#[test]
fn a_container_with_a_terminal_a_gate_hooks_and_a_user_namespace() {
    let mut value = configuration();
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    value["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    value["linux"]["uidMappings"] = map.clone();
    value["linux"]["gidMappings"] = map;
    value["linux"]["maskedPaths"] = json!([]);
    value["linux"]["readonlyPaths"] = json!([]);
    value["linux"]["sysctl"] = json!({"net.ipv4.conf.eth0/1.forwarding": "1", "net/ipv4/ip_forward": "0"});
    value["root"]["readonly"] = json!(true);
    value["process"]["noNewPrivileges"] = json!(true);
    value["process"]["user"] = json!({"uid": 5, "gid": 6, "umask": 63, "additionalGids": [7]});
    value["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 1}]);
    let hook = json!({"path": "/bin/hook"});
    value["hooks"] = json!({"createRuntime": [hook], "createContainer": [hook], "startContainer": [hook]});
    let text = lines(
        &plan(&value, |inputs| {
            inputs.terminal = Some(None);
            inputs.waits = true;
            inputs.notifies = true;
        })
        .unwrap(),
    );
    assert_snapshot!(text);
}

#[test]
fn joined_namespaces_are_entered_user_first_and_mount_last() {
    let mut value = configuration();
    let at = |kind: &str| json!({"type": kind, "path": format!("/ns/{kind}")});
    value["linux"]["namespaces"] = json!([at("mount"), at("network"), at("pid"), at("user")]);
    value["hostname"] = Value::Null;
    let plan = plan(&value, |_| {}).unwrap();
    let order: Vec<_> = plan.joined.iter().map(|joined| joined.path.to_str().unwrap()).collect();
    assert_eq!(order, ["/ns/user", "/ns/network", "/ns/pid", "/ns/mount"]);
    assert!(!plan.is_fast());
}

#[test]
fn without_a_cgroup_namespace_the_directories_are_bound() {
    let mut value = configuration();
    value["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "cgroup");
    let text = lines(&plan(&value, |_| {}).unwrap());
    let cgroup: Vec<_> = text.lines().filter(|line| line.contains("cgroup")).collect();
    assert_snapshot!(cgroup.join("\n"));
}

#[test]
fn the_last_word_about_an_attribute_counts() {
    let check = |words: &[&str]| {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        plan_options(&words)
    };
    assert!(check(&["ro", "rw"]).flags.0.is_empty());
    assert_eq!(check(&["ro", "rw"]).attrs.set, 0);
    assert_eq!(check(&["noatime", "relatime"]).attrs.set, 0);
    assert_eq!(check(&["rro"]).recursive.set, 1);
    assert_eq!(check(&["rnosuid", "rnoexec"]).recursive.set, 2 | 8);
    assert_eq!(check(&["mode=755", "size=1k"]).data, ["mode=755", "size=1k"]);
    assert_eq!(check(&["rbind", "bind"]).bind, Some(Depth::Recursive));
}
