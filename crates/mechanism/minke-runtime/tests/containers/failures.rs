//! Failures in the words of Docker, with the exit codes of their class, and nothing left behind.

use minke_runtime::Stage;
use serde_json::json;

use crate::harness::{Sandbox, both_ways};

fn check(sandbox: Sandbox, text: &str, code: i32) {
    let error = sandbox.fail();
    assert_eq!((error.to_string().as_str(), error.exit_code()), (text, code));
}

const INIT: &str = "unable to start container process: error during container init: ";

#[test]
fn a_program_that_is_not_there_is_127() {
    for sandbox in both_ways("") {
        let text = format!("{INIT}exec: \"nosuch\": executable file not found in $PATH");
        check(sandbox.args(&["nosuch", "-x"]), &text, 127);
    }
    let text = format!("{INIT}exec: \"/no/such\": stat /no/such: no such file or directory");
    check(Sandbox::new("").args(&["/no/such"]), &text, 127);
}

#[test]
fn a_program_that_may_not_be_executed_is_126() {
    check(
        Sandbox::new("").args(&["/etc/passwd"]),
        &format!("{INIT}exec: \"/etc/passwd\": permission denied"),
        126,
    );
    check(Sandbox::new("").args(&["/etc"]), &format!("{INIT}exec: \"/etc\": is a directory"), 126);
}

#[test]
fn a_program_the_kernel_refuses_counts_as_started() {
    for (content, words) in
        [("not a program", "exec format error"), ("#!/no/such\n", "no such file or directory")]
    {
        let sandbox = Sandbox::new("").args(&["/bin/bad"]);
        std::fs::write(sandbox.root().join("bin/bad"), content).unwrap();
        std::fs::set_permissions(
            sandbox.root().join("bin/bad"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let outcome = sandbox.run();
        assert_eq!((outcome.code, outcome.err), (255, format!("exec /bin/bad: {words}\n")));
    }
}

#[test]
fn a_working_directory_that_is_not_there_is_made_and_one_that_cannot_be_is_named() {
    let sandbox = Sandbox::new("pwd; stat -c %a .").set("/process/cwd", json!("/new/dir"));
    let outcome = sandbox.run();
    assert_eq!((outcome.code, outcome.out), (0, "/new/dir\n755\n".to_owned()));
    assert!(sandbox.root().join("new/dir").is_dir());

    let sandbox = Sandbox::new("true").set("/process/cwd", json!("/file/dir"));
    std::fs::write(sandbox.root().join("file"), "").unwrap();
    let text = format!("{INIT}making directory /file/dir (755): not a directory");
    assert_eq!(sandbox.fail().to_string(), text);
}

#[test]
fn a_missing_source_of_a_bind_mount_is_named() {
    let mount = json!({"destination": "/data", "type": "bind", "source": "/no/src", "options": ["rbind"]});
    for sandbox in both_ways("true") {
        let error = sandbox.add("/mounts", mount.clone()).fail();
        let text = error.to_string();
        assert!(
            text.contains("error mounting \"/no/src\" to rootfs at \"/data\"")
                && text.ends_with("no such file or directory"),
            "{text}"
        );
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_started() {
    let refused = [
        ("/process/args", json!([]), "process.args must not be empty"),
        ("/process/cwd", json!("relative"), "must be an absolute path"),
        ("/linux/sysctl", json!({"vm.swappiness": "1"}), "is not in a separate kernel namespace"),
        ("/linux/rootfsPropagation", json!("sideways"), "is not a propagation mode"),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 1, "size": 1}]), "but no user namespace"),
        ("/linux/intelRdt", json!({}), "is not supported"),
        ("/process/oomScoreAdj", json!(5000), "is not between"),
        ("/process/env", json!(["=x"]), "invalid environment variable"),
    ];
    for (pointer, value, words) in refused {
        let error = Sandbox::new("true").set(pointer, value).fail();
        assert_eq!(error.stage(), Stage::Plan);
        assert!(error.to_string().contains(words), "{pointer}: {error}");
    }
    assert!(Sandbox::new("true").without_namespace("mount").fail().to_string().contains("mount namespace"));
}

#[test]
fn an_unknown_label_of_a_security_module_is_an_error() {
    let enabled = std::path::Path::new("/sys/kernel/security/apparmor").exists();
    if !enabled {
        let error = Sandbox::new("true").set("/process/apparmorProfile", json!("docker-default")).fail();
        assert!(error.to_string().contains("unable to apply label exec docker-default"), "{error}");
    }
}
