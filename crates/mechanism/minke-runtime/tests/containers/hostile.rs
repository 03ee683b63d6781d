//! Root file systems made to break out.

use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::harness::{Sandbox, both_ways};

#[test]
fn a_symlinked_mount_target_stays_inside() {
    for sandbox in both_ways("cat /data/f; ls /outside-made 2>/dev/null | wc -l") {
        let outside = tempfile::tempdir().unwrap();
        let source = sandbox.dir.path().join("source");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("f"), "in\n").unwrap();
        // The link points to a real directory of the host; inside the root there is none of that name.
        let target = outside.path().to_str().unwrap();
        std::fs::create_dir_all(sandbox.root().join(target.trim_start_matches('/'))).unwrap();
        symlink(target, sandbox.root().join("data")).unwrap();
        let mount = json!({"destination": "/data", "type": "bind", "source": "source", "options": ["rbind"]});
        assert_eq!(sandbox.add("/mounts", mount).run().out, "in\n0\n");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_target_through_a_magic_link_is_refused() {
    for link in ["/proc/self/root", "/proc/self/cwd", "/proc/self/fd/0", "/proc/thread-self/root"] {
        let sandbox = Sandbox::new("true");
        symlink(link, sandbox.root().join("data")).unwrap();
        let mount = json!({"destination": "/data/sub", "type": "tmpfs", "source": "tmpfs"});
        let error = sandbox.add("/mounts", mount).fail();
        assert!(error.to_string().contains("error mounting"), "{link}: {error}");
    }
}

#[test]
fn proc_as_a_symlink_does_not_lead_the_set_up_astray() {
    let sandbox = Sandbox::new("echo ok");
    std::fs::remove_dir(sandbox.root().join("proc")).unwrap();
    std::fs::create_dir(sandbox.root().join("elsewhere")).unwrap();
    symlink("elsewhere", sandbox.root().join("proc")).unwrap();
    assert_eq!(sandbox.run().out, "ok\n");
}

#[test]
fn a_working_directory_through_a_leaked_descriptor_is_refused() {
    // CVE-2024-21626: the working directory names a descriptor of the set-up.
    let host = std::fs::File::open("/").unwrap();
    let _also = host.as_fd();
    for number in 3..40 {
        let sandbox = Sandbox::new("cat /proc/1/cwd/etc/hostname")
            .set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        // Refused, unless the number is a directory of the container itself, which has no such file.
        if let Ok(outcome) = sandbox.try_run(|_| {}) {
            assert_ne!(outcome.code, 0, "descriptor {number}: {outcome:?}");
        }
    }
}

#[test]
fn device_names_that_are_links_are_replaced_not_followed() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    let sandbox = Sandbox::new("stat -c '%t:%T' /dev/null; echo x > /dev/null");
    // No tmpfs on /dev: the image's own directory.
    let mut sandbox = sandbox;
    sandbox.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    symlink(outside.path(), sandbox.root().join("dev/null")).unwrap();
    assert_eq!(sandbox.run().out, "1:3\n");
    assert_eq!(outside.as_file().metadata().unwrap().len(), 0);
}

#[test]
fn masks_cannot_be_diverted_by_a_false_null_device() {
    // CVE-2025-31133: the image's /dev/null is not what masks are made of.
    let mut sandbox = Sandbox::new("cat /etc/secret");
    sandbox.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    std::fs::write(sandbox.root().join("etc/secret"), "secret").unwrap();
    std::fs::write(sandbox.root().join("etc/other"), "other").unwrap();
    symlink("/etc/other", sandbox.root().join("dev/null")).unwrap();
    let outcome = sandbox.add("/linux/maskedPaths", json!("/etc/secret")).run();
    assert_eq!(outcome.out, "", "{outcome:?}");
}

#[test]
fn the_program_cannot_reach_the_runtimes_own_image() {
    // CVE-2019-5736: an interpreter or a link to /proc/self/exe. What it leads to must not be writable; here it may at most
    // be executed, as a program that is already running.
    let sandbox = Sandbox::new("").args(&["/evil"]);
    std::fs::write(sandbox.root().join("evil"), "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(
        sandbox.root().join("evil"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let before = std::fs::metadata("/proc/self/exe").unwrap().modified().unwrap();
    drop(sandbox.try_run(|_| {}));
    assert_eq!(std::fs::metadata("/proc/self/exe").unwrap().modified().unwrap(), before);
}
