//! User namespaces.

use serde_json::json;

use crate::harness::{Pipes, Sandbox};

fn mapped(script: &str) -> Sandbox {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let sandbox = Sandbox::new(script)
        .add("/linux/namespaces", json!({"type": "user"}))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    give(sandbox.dir.path());
    sandbox
}

/// The root belongs to the container's root, and everybody may get there.
fn give(dir: &std::path::Path) {
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for entry in walk(&dir.join("rootfs")) {
        std::os::unix::fs::lchown(entry, Some(100_000), Some(100_000)).unwrap();
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![dir.to_owned()];
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            all.extend(walk(&entry.path()));
        } else {
            all.push(entry.path());
        }
    }
    all
}

#[test]
fn root_inside_is_somebody_else_outside() {
    let sandbox = mapped(
        "id -u; cat /proc/self/uid_map; touch /made; echo x > /dev/null; stat -c '%t:%T' /dev/zero; hostname; grep CapEff /proc/self/status",
    );
    let outcome = sandbox.run();
    let map = outcome.out.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(map, ["0", "100000", "65536"], "{outcome:?}");
    assert!(
        outcome.out.starts_with("0\n") && outcome.out.contains("\n1:5\nbox\nCapEff:\t00000000a80425fb"),
        "{outcome:?}"
    );
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(sandbox.root().join("made")).unwrap().uid(), 100_000);
}

#[test]
fn binds_from_places_the_mapped_root_cannot_reach_still_work() {
    let secret = tempfile::tempdir().unwrap();
    std::fs::set_permissions(secret.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::create_dir(secret.path().join("open")).unwrap();
    std::fs::write(secret.path().join("open/f"), "yes").unwrap();
    let sandbox = mapped("cat /data/f").add(
        "/mounts",
        json!({"destination": "/data", "type": "bind", "source": secret.path().join("open"), "options": ["rbind", "ro"]}),
    );
    assert_eq!(sandbox.run().out, "yes");
}

#[test]
fn a_container_can_join_the_user_namespace_of_another() {
    let first = mapped("sleep 5");
    let (stdio, _pipes) = Pipes::new();
    let launched = first.launch(&stdio, |_| {}).unwrap();
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let second = Sandbox::new("id -u; readlink /proc/self/ns/user; echo $$")
        .add("/linux/namespaces", json!({"type": "user", "path": format!("/proc/{}/ns/user", launched.pid)}))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    give(second.dir.path());
    let theirs = std::fs::read_link(format!("/proc/{}/ns/user", launched.pid)).unwrap();
    let outcome = second.run();
    assert_eq!(outcome.out, format!("0\n{}\n1\n", theirs.display()), "{outcome:?}");
    minke_sys::pidfd::send_signal(&launched.pidfd, 9).unwrap();
    minke_sys::pidfd::wait(&launched.pidfd).unwrap();
}

#[test]
fn the_score_is_set_from_outside_where_the_inside_has_no_right_to() {
    let sandbox = mapped("cat /proc/self/oom_score_adj").set("/process/oomScoreAdj", json!(50));
    let outcome = sandbox.run_with(|launch| launch.limits = minke_runtime::Limits::Strict);
    assert_eq!(outcome.out, "50\n", "{outcome:?}");
}
