//! A container for tests: a root with busybox, a configuration as JSON, its output and exit code.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use minke_runtime::{Launch, LaunchError, Launched, Rootfs, Stdio};
use minke_sys::pidfd;
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

/// What a program left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A root directory and a configuration to change.
pub(crate) struct Sandbox {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: Value,
}

pub(crate) const BUSYBOX: &str = "/bin/busybox";

impl Sandbox {
    /// A root with busybox, and a configuration like Docker's that runs `sh -c script`.
    pub(crate) fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "home/user"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::hard_link(busybox(), root.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "cat", "true", "ls", "id", "mount", "sleep", "stat", "hostname", "ps", "tty", "env",
            "touch", "echo", "grep", "readlink", "kill", "wc", "stty", "ip", "chroot", "dd", "umount",
            "mkdir", "head", "mknod", "test", "cut", "ulimit",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        std::fs::write(
            root.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
        Self { dir, config: configuration(&["/bin/sh", "-c", script]) }
    }

    pub(crate) fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("rootfs")
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.config["process"]["args"] = json!(args);
        self
    }

    /// Changes the value at a JSON pointer, making it if need be.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Self {
        let mut at = &mut self.config;
        for part in pointer.trim_start_matches('/').split('/') {
            at = &mut at[part];
        }
        *at = value;
        self
    }

    /// Adds to the list at a JSON pointer.
    pub(crate) fn add(mut self, pointer: &str, value: Value) -> Self {
        let list = self.config.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not there"));
        list.as_array_mut().unwrap().push(value);
        self
    }

    pub(crate) fn without_namespace(mut self, kind: &str) -> Self {
        let list = self.config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|namespace| namespace["type"] != kind);
        self
    }

    pub(crate) fn spec(&self) -> Spec {
        serde_json::from_value(self.config.clone()).unwrap()
    }

    /// Runs it to its end, with the fast or the general path as the configuration has it.
    pub(crate) fn run(&self) -> Outcome {
        self.try_run(|_| {}).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn run_with<'a>(&'a self, change: impl FnOnce(&mut Launch<'a>)) -> Outcome {
        self.try_run(change).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn fail(&self) -> LaunchError {
        self.try_run(|_| {}).map(|outcome| panic!("it ran: {outcome:?}")).unwrap_err()
    }

    pub(crate) fn fail_with_args(&self, args: &[&str]) -> LaunchError {
        let mut spec = self.spec();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        spec.process_mut().as_mut().unwrap().set_args(Some(args));
        let (stdio, _pipes) = Pipes::new();
        let [stdin, stdout, stderr] = &stdio;
        let stdio = Stdio::Fds { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
        let request = Launch::new("test", &spec, self.dir.path(), Rootfs::Path(Path::new("rootfs")), stdio);
        minke_runtime::launch(&request).unwrap_err()
    }

    pub(crate) fn try_run<'a>(
        &'a self,
        change: impl FnOnce(&mut Launch<'a>),
    ) -> Result<Outcome, LaunchError> {
        let (stdio, pipes) = Pipes::new();
        let launched = self.launch(&stdio, change)?;
        drop(stdio);
        let (out, err) = pipes.drain();
        let code = pidfd::wait(&launched.pidfd).unwrap().code();
        Ok(Outcome { code, out, err })
    }

    pub(crate) fn launch<'a>(
        &'a self,
        stdio: &[OwnedFd; 3],
        change: impl FnOnce(&mut Launch<'a>),
    ) -> Result<Launched, LaunchError> {
        // One configuration per launch stays for the rest of the test, so that the borrow has no end to mind.
        let spec: &'static Spec = Box::leak(Box::new(self.spec()));
        let [stdin, stdout, stderr] = stdio.each_ref().map(lend);
        let stdio = Stdio::Fds { stdin, stdout, stderr };
        let mut request =
            Launch::new("test", spec, self.dir.path(), Rootfs::Path(Path::new("rootfs")), stdio);
        request.limits = minke_runtime::Limits::AsFarAsAllowed;
        change(&mut request);
        minke_runtime::launch(&request)
    }
}

/// A borrow that the compiler does not follow.
fn lend(fd: &OwnedFd) -> BorrowedFd<'static> {
    // SAFETY: the launch that uses it returns before the owner, an argument of the same call, can be dropped.
    #[expect(unsafe_code, reason = "lets a test's closure put borrows of its own into the same request")]
    unsafe {
        BorrowedFd::borrow_raw(fd.as_raw_fd())
    }
}

/// The same container by both ways a first process can be made: on the launcher's memory, and as a forked process (which a
/// hook of the container asks for).
pub(crate) fn both_ways(script: &str) -> [Sandbox; 2] {
    let hook = json!({"path": "/bin/true", "args": ["true"]});
    [Sandbox::new(script), Sandbox::new(script).set("/hooks", json!({"createContainer": [hook]}))]
}

/// Runs `body` in a forked copy of this process, where no other test is at work, and answers its number.
pub(crate) fn in_a_fork(body: impl FnOnce() -> usize) -> usize {
    let mut body = Some(body);
    let mut run = || {
        let body = body.take().expect("the child runs once");
        i32::try_from(std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(99))
            .unwrap_or(98)
    };
    // SAFETY: the test's own thread is the only one the child has; glibc's allocator was idle in the others or is not
    // shared with this thread's arena.
    #[expect(unsafe_code, reason = "a quiet process to count descriptors in")]
    let child = unsafe { minke_sys::spawn::fork(&minke_sys::spawn::Options::default(), &mut run) }.unwrap();
    usize::try_from(pidfd::wait(&child.pidfd).unwrap().code()).unwrap()
}

/// Runs `body` on a thread with a private mount namespace.
pub(crate) fn in_a_mount_namespace(body: impl FnOnce() -> usize + Send) -> usize {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY-free: only this thread leaves; it ends with the scope.
            minke_sys::ns::unshare(minke_sys::spawn::flags::NEWNS | 0x200).unwrap();
            minke_sys::mount::set_propagation(
                "/",
                minke_sys::mount::Propagation::Private,
                minke_sys::mount::Depth::Recursive,
            )
            .unwrap();
            body()
        });
        thread.join().unwrap()
    })
}

/// A copy of busybox to link to, made before any test starts a process: a file being written by one test, whose descriptor the
/// forked child of another holds for a moment, could not be executed ("text file busy").
fn busybox() -> &'static Path {
    static COPY: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    COPY.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("minke-test-busybox-{}", std::process::id()));
        std::fs::copy(BUSYBOX, &path).expect("busybox-static is installed");
        remove_at_exit(&path);
        path
    })
}

/// A child that outlives this process by a moment, to remove the file.
fn remove_at_exit(path: &Path) {
    let script = format!(
        "while kill -0 {} 2>/dev/null; do sleep 0.2; done; rm -f {}",
        std::process::id(),
        path.display()
    );
    let mut command = std::process::Command::new("/bin/sh");
    #[expect(clippy::zombie_processes, reason = "it ends after this process")]
    command
        .args(["-c", &script])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
}

/// The reading ends of stdout and stderr.
pub(crate) struct Pipes {
    out: OwnedFd,
    err: OwnedFd,
}

impl Pipes {
    pub(crate) fn new() -> ([OwnedFd; 3], Self) {
        let cloexec = rustix::pipe::PipeFlags::CLOEXEC;
        let (out, out_w) = rustix::pipe::pipe_with(cloexec).unwrap();
        let (err, err_w) = rustix::pipe::pipe_with(cloexec).unwrap();
        let stdin = std::fs::File::open("/dev/null").unwrap().into();
        ([stdin, out_w, err_w], Self { out, err })
    }

    pub(crate) fn drain(self) -> (String, String) {
        let err = self.err;
        let errors = std::thread::spawn(move || read(err));
        (read(self.out), errors.join().unwrap())
    }
}

pub(crate) fn read(fd: OwnedFd) -> String {
    let mut text = Vec::new();
    // A terminal's master answers EIO when its last slave closes.
    std::fs::File::from(fd).read_to_end(&mut text).ok();
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) fn configuration(args: &[&str]) -> Value {
    let caps = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
    ];
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "oomScoreAdj": 0
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]}
        ],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"}, {"type": "cgroup"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
