//! Further processes in a running container.

use std::os::fd::{AsFd, OwnedFd};

use minke_runtime::{Exec, LaunchError, Launched, Limits, Stdio};
use minke_sys::{pidfd, pty};
use oci_spec::runtime::Process;
use serde_json::json;

use crate::harness::{Outcome, Pipes, Sandbox, read};

struct Running {
    sandbox: Sandbox,
    launched: Launched,
}

impl Running {
    fn new() -> Self {
        Self::of(Sandbox::new("sleep 60"))
    }

    fn of(sandbox: Sandbox) -> Self {
        let (stdio, _pipes) = Pipes::new();
        let launched = sandbox.launch(&stdio, |_| {}).unwrap();
        Self { sandbox, launched }
    }

    fn start(&self, process: &Process, stdio: Stdio<'_>) -> Result<Launched, LaunchError> {
        minke_runtime::exec(&Exec {
            init_pid: self.launched.pid,
            init: self.launched.pidfd.as_fd(),
            process,
            stdio,
            cgroup: None,
            seccomp: None,
            preserve_fds: &[],
            listen_fds: 0,
            limits: Limits::Strict,
        })
    }

    fn process(&self, args: &[&str]) -> Process {
        let mut process = self.sandbox.config["process"].clone();
        process["args"] = json!(args);
        serde_json::from_value(process).unwrap()
    }

    fn try_exec(&self, process: &Process) -> Result<Outcome, LaunchError> {
        let (stdio, pipes) = Pipes::new();
        let [stdin, stdout, stderr]: &[OwnedFd; 3] = &stdio;
        let fds = Stdio::Fds { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
        let launched = self.start(process, fds)?;
        drop(stdio);
        // Reaped whatever it printed: the container could not end before that.
        let (out, err) = pipes.drain();
        let code = pidfd::wait(&launched.pidfd).unwrap().code();
        Ok(Outcome { code, out, err })
    }

    fn exec(&self, script: &str) -> Outcome {
        self.try_exec(&self.process(&["sh", "-c", script])).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        pidfd::send_signal(&self.launched.pidfd, 9).ok();
        pidfd::wait(&self.launched.pidfd).ok();
    }
}

#[test]
fn a_process_joins_all_namespaces_of_the_container() {
    let running = Running::new();
    let outcome = running.exec("for n in mnt uts ipc net pid cgroup user; do readlink /proc/self/ns/$n; done; cat /proc/1/cmdline; hostname; pwd; exit 5");
    let theirs =
        |name: &str| std::fs::read_link(format!("/proc/{}/ns/{name}", running.launched.pid)).unwrap();
    let names = ["mnt", "uts", "ipc", "net", "pid", "cgroup", "user"];
    let mut expected: String = names.iter().map(|name| format!("{}\n", theirs(name).display())).collect();
    expected.push_str("sleep\x0060\x00box\n/\n");
    assert_eq!((outcome.out, outcome.code), (expected, 5));
}

#[test]
fn rights_and_identity_are_the_processs_own() {
    let running = Running::new();
    let mut config = running.sandbox.config["process"].clone();
    config["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [7]});
    config["args"] = json!([
        "sh",
        "-c",
        "id -u; id -G; grep CapEff /proc/self/status; grep CapBnd /proc/self/status; echo $HOME"
    ]);
    let outcome = running.try_exec(&serde_json::from_value(config).unwrap()).unwrap();
    assert_eq!(
        outcome.out,
        "1000\n1000 7\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n/home/user\n"
    );
}

#[test]
fn a_missing_program_is_told_in_the_same_words() {
    let running = Running::new();
    let error = running.try_exec(&running.process(&["nosuch"])).unwrap_err();
    let text = "unable to start container process: exec: \"nosuch\": executable file not found in $PATH";
    assert_eq!(error.to_string(), text);
    assert_eq!(error.exit_code(), 127);
    assert_eq!(running.try_exec(&running.process(&["/etc/passwd"])).unwrap_err().exit_code(), 126);
}

#[test]
fn a_terminal_comes_from_the_containers_devpts() {
    let running = Running::new();
    let process = running.process(&["sh", "-c", "tty; stty size; echo x > /dev/tty"]);
    let launched =
        running.start(&process, Stdio::Terminal { size: Some(pty::Size { rows: 5, cols: 6 }) }).unwrap();
    let printed = read(launched.console.unwrap());
    pidfd::wait(&launched.pidfd).unwrap();
    assert_eq!(printed, "/dev/pts/0\r\n5 6\r\nx\r\n");
}

#[test]
fn no_descriptor_of_the_runtime_gets_in_and_the_parent_is_not_changed() {
    let running = Running::new();
    assert_eq!(running.exec("ls /proc/self/fd").out, "0\n1\n2\n3\n");
    let own = std::fs::read_link("/proc/self/ns/pid_for_children").unwrap();
    assert_eq!(own, std::fs::read_link("/proc/self/ns/pid").unwrap());
}

#[test]
fn a_container_that_has_ended_cannot_be_entered() {
    let running = Running::of(Sandbox::new("exit 0"));
    while !pidfd::has_ended(&running.launched.pidfd) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let error = running.try_exec(&running.process(&["true"])).unwrap_err();
    assert!(error.to_string().contains("not running"), "{error}");
}

#[test]
fn a_user_namespace_is_entered_as_its_root() {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let sandbox = Sandbox::new("sleep 60")
        .add("/linux/namespaces", json!({"type": "user"}))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    std::fs::set_permissions(sandbox.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let running = Running::of(sandbox);
    let outcome = running.exec("id -u; readlink /proc/self/ns/user; grep CapEff /proc/self/status");
    let theirs = std::fs::read_link(format!("/proc/{}/ns/user", running.launched.pid)).unwrap();
    assert_eq!(outcome.out, format!("0\n{}\nCapEff:\t00000000a80425fb\n", theirs.display()), "{outcome:?}");
}

#[test]
fn many_execs_leave_nothing_behind() {
    let running = Running::new();
    let leaked = crate::harness::in_a_fork(|| {
        let before = minke_sys::fds::list_open().unwrap().len();
        for _ in 0..5 {
            running.exec("true");
        }
        minke_sys::fds::list_open().unwrap().len() - before
    });
    assert_eq!(leaked, 0);
}
