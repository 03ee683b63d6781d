//! Whole lives of OCI bundles through the command line: needs root, cgroups and a static busybox. Run with
//! `--features kernel-tests`, so that a missing privilege fails instead of passing.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A bundle with busybox, a state root, and everything of them removed at the end.
struct Fixture {
    dir: tempfile::TempDir,
    cgroup: String,
}

impl Fixture {
    fn new(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().file_name().unwrap().to_string_lossy().replace('.', "");
        let fixture = Self { dir, cgroup: format!("/minke-oci-test-{name}") };
        let rootfs = fixture.bundle().join("rootfs");
        std::fs::create_dir_all(fixture.bundle()).unwrap();
        for sub in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
            std::fs::create_dir_all(rootfs.join(sub)).unwrap();
        }
        std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is installed");
        for applet in ["sh", "true", "cat", "sleep", "id", "tty", "echo", "env"] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        assert!(fixture.run(&["spec", "--bundle", &fixture.bundle().to_string_lossy()]).status.success());
        fixture.edit(|config| {
            config["process"]["args"] = json!(args);
            config["process"]["terminal"] = json!(false);
            config["root"]["readonly"] = json!(false);
            config["linux"]["cgroupsPath"] = json!(format!("{}/c", fixture.cgroup));
        });
        fixture
    }

    fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let path = self.bundle().join("config.json");
        let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        std::fs::write(path, config.to_string()).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("--root").arg(self.path("root")).args(words).stdin(Stdio::null());
        command
    }

    /// Runs to the end, output in files: a container outlives `create` and would hold a pipe open.
    fn run(&self, words: &[&str]) -> Output {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut command = self.command(words);
        let status =
            command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap()).status().unwrap();
        Output { status, stdout: content(out), stderr: content(err) }
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{words:?}: {text} {}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn refuse(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "{words:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    fn create(&self, id: &str) {
        let bundle = self.bundle();
        self.ok(&["create", "--bundle", &bundle.to_string_lossy(), id]);
    }

    fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["state", id])).unwrap()
    }

    fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap().to_owned()
    }

    fn wait_for(&self, id: &str, status: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.status(id) != status {
            assert!(Instant::now() < deadline, "{id} is {} after 10 s, not {status}", self.status(id));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path());
        let roots = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]);
        roots.map(|h| h.join(&self.cgroup[1..])).filter(|p| p.is_dir()).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let list = self.run(&["list", "-q"]);
        for id in String::from_utf8_lossy(&list.stdout).lines() {
            self.run(&["delete", "--force", id]);
        }
        for dir in self.cgroups() {
            let left = std::fs::remove_dir(&dir);
            assert!(left.is_ok() || std::thread::panicking(), "{} is left behind", dir.display());
        }
    }
}

fn content(mut file: std::fs::File) -> Vec<u8> {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The example binary lies beside the test's own directory.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join("examples/minke-oci")
}

#[test]
fn a_created_container_waits_is_started_runs_and_is_deleted_after_its_end() {
    let fixture = Fixture::new(&["sh", "-c", "echo up > /tmp/up; sleep 60"]);
    fixture.create("c");
    let marker = fixture.bundle().join("rootfs/tmp/up");
    assert_eq!(fixture.status("c"), "created");
    assert!(!marker.exists(), "the program waits");
    fixture.ok(&["start", "c"]);
    fixture.wait_for("c", "running");
    assert!(fixture.refuse(&["start", "c"]).contains("cannot start an already running container"));
    assert!(
        fixture.refuse(&["delete", "c"]).contains("cannot delete container c that is not stopped: running")
    );
    fixture.ok(&["kill", "c", "KILL"]);
    fixture.wait_for("c", "stopped");
    assert!(marker.exists());
    assert_eq!(fixture.state("c")["pid"], 0);
    assert!(fixture.refuse(&["kill", "c"]).contains("container not running"));
    fixture.ok(&["delete", "c"]);
    assert!(fixture.refuse(&["state", "c"]).contains("container does not exist"));
    assert!(fixture.cgroups().iter().all(|dir| !dir.join("c").exists()));
    assert!(!Path::new(&fixture.path("root/c")).exists());
}

#[test]
fn run_answers_with_the_programs_exit_code_and_leaves_nothing() {
    let fixture = Fixture::new(&["sh", "-c", "echo out; echo err >&2; exit 42"]);
    let output = fixture.run(&["run", "-b", &fixture.bundle().to_string_lossy(), "c"]);
    assert_eq!(output.status.code(), Some(42));
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(fixture.ok(&["list", "-q"]), "");
}

#[test]
fn a_signal_to_run_reaches_the_program() {
    let fixture =
        Fixture::new(&["sh", "-c", "trap 'exit 7' TERM; echo up > /tmp/up; while :; do sleep 0.05; done"]);
    let mut child =
        fixture.command(&["run", "-b", &fixture.bundle().to_string_lossy(), "c"]).spawn().unwrap();
    let marker = fixture.bundle().join("rootfs/tmp/up");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !marker.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    minke_sys::kill::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

#[test]
fn exec_has_its_own_environment_user_directory_and_exit_code() {
    let fixture = Fixture::new(&["sleep", "60"]);
    fixture.create("c");
    fixture.ok(&["start", "c"]);
    let text = fixture.ok(&[
        "exec",
        "-e",
        "A=b",
        "--cwd",
        "/tmp",
        "-u",
        "7:8",
        "c",
        "sh",
        "-c",
        "id -u; id -g; pwd; echo $A",
    ]);
    assert_eq!(text, "7\n8\n/tmp\nb\n");
    assert_eq!(fixture.run(&["exec", "c", "sh", "-c", "exit 9"]).status.code(), Some(9));
    let missing = fixture.run(&["exec", "c", "nosuch"]);
    assert_eq!(missing.status.code(), Some(255));
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(text.contains("executable file not found in $PATH"), "{text}");
    let process = fixture.path("process.json");
    let document = json!({"args": ["sh", "-c", "echo $X"], "cwd": "/", "env": ["PATH=/bin", "X=from-file"], "user": {"uid": 0, "gid": 0}});
    std::fs::write(&process, document.to_string()).unwrap();
    assert_eq!(fixture.ok(&["exec", "--process", &process, "c"]), "from-file\n");
}

#[test]
fn pausing_stops_exec_and_resuming_allows_it_again() {
    let fixture = Fixture::new(&["sleep", "60"]);
    fixture.create("c");
    fixture.ok(&["start", "c"]);
    assert!(fixture.refuse(&["resume", "c"]).contains("container not paused"));
    fixture.ok(&["pause", "c"]);
    assert_eq!(fixture.status("c"), "paused");
    assert!(fixture.refuse(&["exec", "c", "true"]).contains("cannot exec in a paused container"));
    fixture.ok(&["resume", "c"]);
    fixture.ok(&["exec", "c", "true"]);
    fixture.ok(&["pause", "c"]);
    fixture.ok(&["delete", "--force", "c"]);
}

#[test]
fn names_are_unique_and_force_deletes_what_does_not_exist() {
    let fixture = Fixture::new(&["true"]);
    fixture.create("c");
    let bundle = fixture.bundle();
    let text = fixture.refuse(&["create", "--bundle", &bundle.to_string_lossy(), "c"]);
    assert!(text.contains("container with given ID already exists"), "{text}");
    assert_eq!(fixture.status("c"), "created", "the first one is not harmed");
    fixture.ok(&["delete", "c"]);
    assert!(fixture.refuse(&["delete", "c"]).contains("container does not exist"));
    fixture.ok(&["delete", "--force", "c"]);
    assert!(fixture.refuse(&["state", "../c"]).contains("invalid container ID format"));
}

#[test]
fn a_failed_create_leaves_no_directory_no_cgroup_and_a_json_log_line() {
    let fixture = Fixture::new(&["nosuch"]);
    let (log, bundle) = (fixture.path("log.json"), fixture.bundle());
    let text = fixture.refuse(&[
        "--log",
        &log,
        "--log-format",
        "json",
        "create",
        "--bundle",
        &bundle.to_string_lossy(),
        "c",
    ]);
    assert!(text.contains("exec: \"nosuch\": executable file not found in $PATH"), "{text}");
    let line: Value = serde_json::from_slice(&std::fs::read(&log).unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(line["msg"].as_str().unwrap(), text.trim_end());
    assert!(!Path::new(&fixture.path("root/c")).exists());
    assert!(fixture.cgroups().iter().all(|dir| !dir.join("c").exists()));
}

#[test]
fn limits_are_set_shown_and_changed() {
    let fixture = Fixture::new(&["sleep", "60"]);
    fixture.edit(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        config["linux"]["resources"]["pids"] = json!({"limit": 20});
    });
    fixture.create("c");
    let stats = |fixture: &Fixture| -> Value {
        serde_json::from_str(&fixture.ok(&["events", "--stats", "c"])).unwrap()
    };
    let before = stats(&fixture);
    assert_eq!(before["data"]["memory"]["usage"]["limit"], 64 << 20);
    assert_eq!(before["data"]["pids"], json!({"current": 1, "limit": 20}));
    fixture.ok(&["update", "--memory", "32m", "--pids-limit", "10", "c"]);
    let after = stats(&fixture);
    assert_eq!(after["data"]["memory"]["usage"]["limit"], 32 << 20);
    assert_eq!(after["data"]["pids"]["limit"], 10);
    let pids: Vec<i64> = serde_json::from_str(&fixture.ok(&["ps", "--format", "json", "c"])).unwrap();
    assert_eq!(json!(pids), json!([fixture.state("c")["pid"]]));
}

#[test]
fn late_hooks_run_with_the_state_on_their_standard_input() {
    let fixture = Fixture::new(&["sleep", "60"]);
    let hook = |name: &str| {
        let file = fixture.path(name);
        json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat > {file}")]}])
    };
    let hooks =
        json!({"createRuntime": hook("creating"), "poststart": hook("started"), "poststop": hook("stopped")});
    fixture.edit(|config| config["hooks"] = hooks);
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(fixture.path(name)).unwrap()).unwrap()
    };
    fixture.create("c");
    assert_eq!(read("creating")["id"], "c");
    assert!(!Path::new(&fixture.path("started")).exists());
    fixture.ok(&["start", "c"]);
    assert_eq!(read("started")["status"], "running");
    assert_eq!(read("started")["pid"], fixture.state("c")["pid"]);
    fixture.ok(&["delete", "-f", "c"]);
    assert_eq!(read("stopped")["status"], "stopped");
}

#[test]
fn a_terminal_goes_to_the_console_socket_and_the_pid_to_its_file() {
    let fixture = Fixture::new(&["sh", "-c", "tty; sleep 60"]);
    fixture.edit(|config| config["process"]["terminal"] = json!(true));
    let bundle = fixture.bundle().to_string_lossy().into_owned();
    assert!(fixture.refuse(&["create", "-b", &bundle, "c"]).contains("without setting console socket"));
    let (socket, pid_file) = (fixture.path("console.sock"), fixture.path("pid"));
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fixture.ok(&["create", "-b", &bundle, "--console-socket", &socket, "--pid-file", &pid_file, "c"]);
    let mut buffer = [0; 64];
    let (peer, _) = listener.accept().unwrap();
    let got = minke_sys::scm::receive(&peer, &mut buffer).unwrap();
    let master = got.fds.into_iter().next().unwrap();
    let pid: Value = serde_json::from_slice(&std::fs::read(&pid_file).unwrap()).unwrap();
    assert_eq!(pid, fixture.state("c")["pid"]);
    fixture.ok(&["start", "c"]);
    let count = rustix::io::read(master.as_fd(), &mut buffer).unwrap();
    assert!(buffer[..count].starts_with(b"/dev/"), "{:?}", String::from_utf8_lossy(&buffer[..count]));
}

#[test]
fn what_is_not_built_is_refused_with_a_sentence() {
    let fixture = Fixture::new(&["true"]);
    assert!(fixture.refuse(&["checkpoint", "c"]).contains("checkpoint is not built into minke"));
    assert!(fixture.refuse(&["restore", "c"]).contains("restore is not built into minke"));
    fixture.edit(|config| config["linux"]["cgroupsPath"] = json!("machine.slice:minke:c"));
    let bundle = fixture.bundle();
    let text = fixture.refuse(&["--systemd-cgroup", "create", "-b", &bundle.to_string_lossy(), "c"]);
    assert!(text.contains("systemd"), "{text}");
    assert!(!Path::new(&fixture.path("root/c")).exists());
}

#[test]
fn two_starts_at_once_start_one_program() {
    let fixture = Fixture::new(&["sh", "-c", "echo x >> /tmp/starts; sleep 60"]);
    fixture.create("c");
    let mut starts: Vec<_> =
        (0..4).map(|_| fixture.command(&["start", "c"]).stderr(Stdio::null()).spawn().unwrap()).collect();
    let won =
        starts.iter_mut().filter_map(|s| s.wait().ok()).filter(std::process::ExitStatus::success).count();
    assert_eq!(won, 1);
    fixture.wait_for("c", "running");
}
