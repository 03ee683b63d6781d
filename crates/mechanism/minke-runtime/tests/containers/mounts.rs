//! Mount options, propagation, masks, devices.

use serde_json::json;

use crate::harness::{Sandbox, both_ways};

fn bind(sandbox: Sandbox, options: &[&str]) -> Sandbox {
    let source = sandbox.dir.path().join("source");
    std::fs::create_dir_all(source.join("below")).unwrap();
    std::fs::write(source.join("file"), "content").unwrap();
    let mut all = vec!["rbind"];
    all.extend(options);
    sandbox
        .add("/mounts", json!({"destination": "/data", "type": "bind", "source": "source", "options": all}))
}

#[test]
fn a_bind_mount_appears_at_a_target_that_was_not_there() {
    for sandbox in both_ways("cat /data/file; touch /data/new && echo ok") {
        let sandbox = bind(sandbox, &[]);
        assert_eq!(sandbox.run().out, "contentok\n");
        assert!(sandbox.dir.path().join("source/new").exists());
    }
}

/// The container's root is mounted over `/` while it is made.
#[test]
fn the_hosts_root_is_not_the_containers() {
    for options in [vec!["rbind"], vec!["rbind", "ro"], vec!["rbind", "rslave"], vec!["bind"]] {
        for sandbox in both_ways("cat /host$WHERE/source/file; test -e /host/host || echo and no other") {
            let source = sandbox.dir.path().join("source");
            std::fs::create_dir_all(&source).unwrap();
            std::fs::write(source.join("file"), "content ").unwrap();
            let place = format!("WHERE={}", sandbox.dir.path().display());
            let entry = json!({"destination": "/host", "type": "bind", "source": "/", "options": options});
            let sandbox = sandbox.add("/mounts", entry).add("/process/env", json!(place));
            assert_eq!(sandbox.run().out, "content and no other\n", "{options:?}");
        }
    }
}

#[test]
fn a_read_only_bind_mount_refuses_writes() {
    let sandbox = bind(
        Sandbox::new("touch /data/new || grep ' /data ' /proc/mounts"),
        &["ro", "nosuid", "nodev", "noexec"],
    );
    let outcome = sandbox.run();
    assert!(outcome.out.contains(" ro,nosuid,nodev,noexec"), "{outcome:?}");
    assert!(outcome.err.contains("Read-only file system"), "{outcome:?}");
}

#[test]
fn a_recursive_attribute_reaches_the_mounts_below() {
    // A tmpfs below the source, in a mount namespace of the test's own.
    let outcome = crate::harness::in_a_mount_namespace(|| {
        let run = |options: &[&str]| {
            let sandbox = bind(Sandbox::new("touch /data/x; touch /data/below/x; true"), options);
            let below = sandbox.dir.path().join("source/below");
            rustix::mount::mount("t", &below, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
            let outcome = sandbox.run();
            rustix::mount::unmount(&below, rustix::mount::UnmountFlags::DETACH).unwrap();
            outcome.err.matches("Read-only").count()
        };
        run(&["ro"]) * 10 + run(&["rro"])
    });
    assert_eq!(outcome, 12, "ro stops at the mount itself, rro does not");
}

#[test]
fn a_file_can_be_bound_over_a_file_that_is_missing() {
    let sandbox = Sandbox::new("cat /etc/sub/name");
    std::fs::write(sandbox.dir.path().join("f"), "inside").unwrap();
    let sandbox = sandbox.add(
        "/mounts",
        json!({"destination": "/etc/sub/name", "type": "bind", "source": "f", "options": ["bind"]}),
    );
    assert_eq!(sandbox.run().out, "inside");
}

#[test]
fn a_tmpfs_can_begin_with_what_it_covers() {
    let sandbox = Sandbox::new("cat /tmp/d/f; stat -c '%a %u %Y' /tmp/d/f; readlink /tmp/l; touch /tmp/new; stat -f -c %T /tmp")
        .add("/mounts", json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m", "nosuid"]}));
    let tmp = sandbox.root().join("tmp");
    std::fs::create_dir(tmp.join("d")).unwrap();
    std::fs::write(tmp.join("d/f"), "copied\n").unwrap();
    std::os::unix::fs::chown(tmp.join("d/f"), Some(1000), None).unwrap();
    std::fs::set_permissions(tmp.join("d/f"), std::os::unix::fs::PermissionsExt::from_mode(0o4750)).unwrap();
    std::fs::File::open(tmp.join("d/f")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    std::os::unix::fs::symlink("d/f", tmp.join("l")).unwrap();
    let outcome = sandbox.run();
    assert_eq!(outcome.out, "copied\n4750 1000 0\nd/f\ntmpfs\n", "{outcome:?}");
    assert!(!tmp.join("new").exists());
}

#[test]
fn masked_and_read_only_paths_are_out_of_reach() {
    let script = "cat /proc/keys /proc/timer_list; ls /sys/firmware; ls /proc/acpi; echo 1 > /proc/sys/kernel/domainname; \
                  touch /etc/passwd; echo done";
    for sandbox in both_ways(script) {
        let outcome = sandbox.add("/linux/readonlyPaths", json!("/etc")).run();
        assert_eq!(outcome.out, "done\n", "{outcome:?}");
        assert!(outcome.err.contains("/proc/sys/kernel/domainname: Read-only file system"), "{outcome:?}");
        assert!(outcome.err.contains("/etc/passwd: Read-only file system"), "{outcome:?}");
    }
}

#[test]
fn a_file_is_hidden_behind_a_null_that_is_the_containers_own_or_cannot_be_changed() {
    // Root inside may change the mode of what he sees there: with the host's node it would be the host's that changes.
    let hosts = std::fs::metadata("/dev/null").unwrap();
    let host = format!(
        "{}:{}",
        std::os::linux::fs::MetadataExt::st_dev(&hosts),
        std::os::linux::fs::MetadataExt::st_ino(&hosts)
    );
    let outcome = Sandbox::new(
        "stat -c %d:%i /dev/null /proc/keys /proc/timer_list; chmod 666 /proc/keys && echo mine",
    )
    .run();
    let lines: Vec<&str> = outcome.out.lines().collect();
    assert_eq!((lines[0], lines[0], lines[3]), (lines[1], lines[2], "mine"), "{outcome:?}");
    assert_ne!(lines[0], host, "{outcome:?}");

    let mut without = Sandbox::new("chmod 666 /proc/keys; cat /proc/keys /proc/timer_list; echo done");
    let mounts = without.spec().mounts().clone().unwrap();
    let kept: Vec<_> = mounts.into_iter().filter(|mount| !mount.destination().starts_with("/dev")).collect();
    without = without.set("/mounts", json!(kept));
    let bound = json!({"destination": "/dev", "type": "bind", "source": "/sys/fs", "options": ["bind"]});
    let outcome = without.add("/mounts", bound).run();
    assert_eq!(outcome.out, "done\n", "{outcome:?}");
    assert!(outcome.err.contains("/proc/keys: Read-only file system"), "{outcome:?}");
}

#[test]
fn a_read_only_root_leaves_its_mounts_alone() {
    let sandbox = Sandbox::new("touch /x; touch /dev/shm/y && echo ok").set("/root/readonly", json!(true));
    let outcome = sandbox.run();
    assert_eq!(outcome.out, "ok\n");
    assert!(outcome.err.contains("/x: Read-only file system"), "{outcome:?}");
}

#[test]
fn the_usual_devices_and_links_are_there() {
    let script = "for d in null zero full tty random urandom; do stat -c '%n %a %t:%T' /dev/$d; done; \
                  readlink /dev/fd; readlink /dev/ptmx; readlink /dev/stdout; ls /dev | wc -l; echo x > /dev/null; head -c1 /dev/zero | wc -c";
    for sandbox in both_ways(script) {
        let out = sandbox.run().out;
        assert!(out.starts_with("/dev/null 666 1:3\n/dev/zero 666 1:5\n/dev/full 666 1:7\n"), "{out}");
        assert!(out.contains("/proc/self/fd\npts/ptmx\n/proc/self/fd/1\n"), "{out}");
        assert!(out.ends_with("\n1\n"), "{out}");
    }
}

#[test]
fn a_device_of_the_configuration_gets_its_mode_and_owner() {
    let device = json!({"path": "/dev/sub/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8});
    let fifo = json!({"path": "/dev/pipe", "type": "p", "fileMode": 0o600});
    let sandbox = Sandbox::new("stat -c '%a %u:%g %t:%T' /dev/sub/mine; stat -c '%F %a' /dev/pipe")
        .set("/linux/devices", json!([device, fifo]));
    assert_eq!(sandbox.run().out, "640 7:8 1:5\nfifo 600\n");
}

#[test]
fn propagation_is_as_asked() {
    let sandbox =
        Sandbox::new("grep -o ' / .*' /proc/self/mountinfo | head -n1; grep ' /data ' /proc/self/mountinfo");
    let out = bind(sandbox, &["rshared"]).set("/linux/rootfsPropagation", json!("private")).run().out;
    let mut lines = out.lines();
    assert!(!lines.next().unwrap().contains("shared:"), "{out}");
    assert!(lines.next().unwrap().contains(" shared:"), "{out}");
}

#[test]
fn no_pivot_changes_the_root_by_moving_it() {
    let sandbox = Sandbox::new("ls / | wc -l; cat /proc/mounts | wc -l");
    let outcome = crate::harness::in_a_mount_namespace(|| {
        let outcome = sandbox.run_with(|launch| launch.no_pivot = true);
        usize::from(outcome.code == 0 && outcome.out.starts_with("8\n"))
    });
    assert_eq!(outcome, 1);
}

#[test]
fn owners_are_shown_through_an_id_mapped_mount() {
    let sandbox = Sandbox::new("stat -c %u /data/file; touch /data/made");
    let source = sandbox.dir.path().join("source");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("file"), "").unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(1000), Some(1000)).unwrap();
    let map = json!([{"containerID": 1000, "hostID": 0, "size": 1}]);
    let map0 = json!([{"containerID": 0, "hostID": 5000, "size": 2000}]);
    let _ = map;
    let entry = json!({"destination": "/data", "type": "bind", "source": "source", "options": ["bind"], "uidMappings": map0, "gidMappings": map0});
    let outcome = sandbox.add("/mounts", entry).try_run(|_| {});
    match outcome {
        Ok(outcome) => {
            assert_eq!(outcome.out, "6000\n", "{outcome:?}");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_sysctl_of_a_private_namespace_is_set() {
    let sandbox = Sandbox::new("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni")
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"}));
    assert_eq!(sandbox.run().out, "1\n77\n");
}

#[test]
fn cgroup_hierarchies_are_mounted_read_only() {
    let out = Sandbox::new("grep cgroup /proc/mounts; ls /sys/fs/cgroup").run().out;
    let host = minke_cgroup::Host::probe().unwrap();
    for hierarchy in host.hierarchies().iter().filter(|h| h.version() == minke_cgroup::Version::V1) {
        let at = format!(" /sys/fs/cgroup/{} cgroup ro,nosuid,nodev,noexec", hierarchy.name());
        assert!(out.contains(&at), "{at}: {out}");
    }
}
