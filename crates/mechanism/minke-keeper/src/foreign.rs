//! Another OCI runtime in place of minke's own: runc, crun or any program that speaks their command line.
//!
//! Driven as containerd's shim drives it: a bundle, `create` with a pid file and a console socket, `start`, `exec`,
//! `delete`. The keeper makes itself a mount namespace for the root file system, so that the host's table stays as it is,
//! and becomes the reaper of what the runtime leaves behind: the container's first process is its child then.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use minke_runtime::Launched;
use minke_sys::mount::{self, Depth, Propagation};
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use rustix::fs::{Mode, OFlags};

use crate::{best_effort, protocol::RuntimeProgram};

/// What a failed call of the runtime said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeignError {
    #[error("{what}")]
    Io { what: &'static str, source: io::Error },
    #[error("{0}")]
    Said(String),
}

fn io_error(what: &'static str) -> impl Fn(io::Error) -> ForeignError {
    move |source| ForeignError::Io { what, source }
}

/// Where a process's stdio comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Streams<'a> {
    Terminal,
    Fds([BorrowedFd<'a>; 3]),
}

/// One container in the hands of another runtime.
#[derive(Debug)]
pub(crate) struct Foreign {
    program: RuntimeProgram,
    id: String,
    /// Bundle, pid files, the runtime's own state.
    directory: PathBuf,
    execs: u32,
}

/// What a container is made of, beside its configuration.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) program: &'a RuntimeProgram,
    pub(crate) id: &'a str,
    pub(crate) spec: &'a Spec,
    pub(crate) exec_root: &'a Path,
    pub(crate) root: Result<&'a OwnedFd, &'a Path>,
    pub(crate) netns: Option<BorrowedFd<'a>>,
    pub(crate) streams: Streams<'a>,
}

impl Foreign {
    /// Creates the container and starts its program.
    pub(crate) fn launch(wish: &Wish<'_>) -> Result<(Self, Launched), ForeignError> {
        let directory = wish.exec_root.join("runtime");
        let mut foreign = Self { program: wish.program.clone(), id: wish.id.to_owned(), directory, execs: 0 };
        let launched = foreign.create(wish).and_then(|launched| {
            foreign.call(&["start", &foreign.id], Streams::Fds(null()?.each_fd()), &[])?;
            Ok(launched)
        });
        match launched {
            Ok(launched) => Ok((foreign, launched)),
            Err(error) => {
                foreign.delete();
                Err(error)
            }
        }
    }

    fn create(&mut self, wish: &Wish<'_>) -> Result<Launched, ForeignError> {
        let bundle = self.directory.join("bundle");
        let rootfs = bundle.join("rootfs");
        fs::create_dir_all(&rootfs).map_err(io_error("make the bundle for the runtime"))?;
        let mut spec = wish.spec.clone();
        // Older runtimes refuse what they do not know; nothing newer than this is used.
        spec.set_version("1.0.2".to_owned());
        match wish.root {
            Ok(detached) => self.attach_root(detached, &rootfs)?,
            Err(path) => drop(spec.root_mut().as_mut().map(|root| root.set_path(path.to_owned()))),
        }
        if let Some(netns) = wish.netns {
            join_network(&mut spec, netns);
        }
        let text =
            serde_json::to_vec(&spec).map_err(|e| ForeignError::Said(format!("write the bundle: {e}")))?;
        fs::write(bundle.join("config.json"), text).map_err(io_error("write the bundle for the runtime"))?;
        // From here on what the runtime leaves behind is ours to reap.
        minke_sys::process::set_subreaper(true)
            .map_err(|e| io_error("become the container's reaper")(e.into()))?;
        let pid_file = self.directory.join("pid");
        let args: [OsString; 5] = [
            "create".into(),
            "--bundle".into(),
            bundle.into_os_string(),
            "--pid-file".into(),
            pid_file.clone().into_os_string(),
        ];
        self.begin(&args, &[self.id.clone().into()], &pid_file, wish.streams)
    }

    /// A further process in the container.
    pub(crate) fn exec(&mut self, process: &Process, streams: Streams<'_>) -> Result<Launched, ForeignError> {
        self.execs += 1;
        let text =
            serde_json::to_vec(process).map_err(|e| ForeignError::Said(format!("write the process: {e}")))?;
        let file = self.directory.join(format!("exec-{}.json", self.execs));
        let pid_file = self.directory.join(format!("exec-{}.pid", self.execs));
        fs::write(&file, text).map_err(io_error("write the process for the runtime"))?;
        let args: [OsString; 6] = [
            "exec".into(),
            "--detach".into(),
            "--process".into(),
            file.clone().into_os_string(),
            "--pid-file".into(),
            pid_file.clone().into_os_string(),
        ];
        let begun = self.begin(&args, &[self.id.clone().into()], &pid_file, streams);
        best_effort(fs::remove_file(file));
        best_effort(fs::remove_file(pid_file));
        begun
    }

    /// `create` or `exec`: the process there is afterwards, and its terminal.
    fn begin(
        &self,
        args: &[OsString],
        last: &[OsString],
        pid_file: &Path,
        streams: Streams<'_>,
    ) -> Result<Launched, ForeignError> {
        let mut args = args.to_vec();
        let console = match streams {
            Streams::Terminal => Some(ConsoleSocket::listen(&self.directory)?),
            Streams::Fds(_) => None,
        };
        if let Some(console) = &console {
            args.extend(["--console-socket".into(), console.path.clone().into_os_string()]);
        }
        match streams {
            Streams::Terminal => self.call(&args, Streams::Fds(null()?.each_fd()), last)?,
            Streams::Fds(_) => self.call(&args, streams, last)?,
        }
        let text = fs::read_to_string(pid_file).map_err(io_error("read the pid that the runtime wrote"))?;
        let pid = text.trim().parse::<u32>().map_err(|_bad| {
            ForeignError::Said(format!("the runtime wrote {:?} where a pid was due", text.trim()))
        })?;
        let pidfd =
            minke_sys::pidfd::open(pid).map_err(|e| io_error("open the container's process")(e.into()))?;
        let console = console.map(|console| console.receive()).transpose()?;
        Ok(Launched {
            pid,
            pidfd,
            console,
            mount_namespace: None,
            seccomp_listener: None,
            start: None,
            warnings: Vec::new(),
        })
    }

    /// The root file system in a mount namespace of the keeper's own.
    fn attach_root(&self, detached: &OwnedFd, at: &Path) -> Result<(), ForeignError> {
        let failed = |what| move |errno: rustix::io::Errno| io_error(what)(errno.into());
        minke_sys::ns::unshare(minke_sys::spawn::flags::NEWNS).map_err(failed("make a mount namespace"))?;
        mount::set_propagation(c"/", Propagation::Slave, Depth::Recursive)
            .map_err(failed("keep mounts to the keeper"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = rustix::fs::open(at, flags, Mode::empty()).map_err(failed("open the bundle's root"))?;
        mount::attach(detached, &target).map_err(failed("mount the container's root"))
    }

    /// Runs the runtime to its end. What it has to say comes from its log, else from its stderr.
    fn call<S: Into<OsString> + Clone>(
        &self,
        args: &[S],
        streams: Streams<'_>,
        last: &[OsString],
    ) -> Result<(), ForeignError> {
        let log = self.directory.join("log.json");
        best_effort(fs::remove_file(&log));
        let mut command = Command::new(&self.program.path);
        command.args(&self.program.args);
        command.arg("--root").arg(self.directory.join("state"));
        command.arg("--log").arg(&log).args(["--log-format", "json"]);
        command.args(args.iter().cloned().map(Into::into)).args(last);
        if let Streams::Fds(fds) = streams {
            let [stdin, stdout, stderr] = fds.map(|fd| fd.try_clone_to_owned().map(Stdio::from));
            let failed = io_error("hand the process its stdio");
            command.stdin(stdin.map_err(&failed)?).stdout(stdout.map_err(&failed)?);
            command.stderr(stderr.map_err(&failed)?);
        }
        let status = command.status().map_err(|source| {
            ForeignError::Said(format!("cannot run the runtime {}: {}", self.program.path.display(), source))
        })?;
        if status.success() {
            return Ok(());
        }
        Err(ForeignError::Said(last_word(&log).unwrap_or_else(|| {
            format!("{} ended with {status} and said nothing", self.program.path.display())
        })))
    }

    /// Takes the container apart, whatever state it is in.
    pub(crate) fn delete(&self) {
        if let Ok(null) = null() {
            let _gone_already =
                self.call(&["delete", "--force", &self.id], Streams::Fds(null.each_fd()), &[]);
        }
        let bundle = self.directory.join("bundle");
        best_effort(mount::detach(bundle.join("rootfs").as_path()));
        // Never recursively: were the root still mounted, it would be emptied.
        best_effort(fs::remove_dir(bundle.join("rootfs")));
        best_effort(fs::remove_file(bundle.join("config.json")));
        best_effort(fs::remove_dir(&bundle));
        for name in ["pid", "log.json"] {
            best_effort(fs::remove_file(self.directory.join(name)));
        }
        best_effort(fs::remove_dir(self.directory.join("state")));
        best_effort(fs::remove_dir(&self.directory));
    }
}

/// The namespace that rides as a descriptor, by a path that the runtime can open.
fn join_network(spec: &mut Spec, netns: BorrowedFd<'_>) {
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd()));
    let Some(linux) = spec.linux_mut() else { return };
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    for namespace in &mut namespaces {
        if namespace.typ() == LinuxNamespaceType::Network {
            namespace.set_path(Some(path.clone()));
        }
    }
    linux.set_namespaces(Some(namespaces));
}

/// The last error in a runtime's log of JSON lines.
fn last_word(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    let said =
        text.lines().rev().filter_map(line).find(|l| l["level"] == "error" || l["level"] == "fatal")?;
    Some(said["msg"].as_str()?.trim_end().to_owned())
}

/// `/dev/null` three times.
struct Null(OwnedFd);

impl Null {
    fn each_fd(&self) -> [BorrowedFd<'_>; 3] {
        [self.0.as_fd(); 3]
    }
}

fn null() -> Result<Null, ForeignError> {
    rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map(Null)
        .map_err(|e| io_error("open /dev/null")(e.into()))
}

/// Where the runtime sends a terminal's master to.
struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    fn listen(directory: &Path) -> Result<Self, ForeignError> {
        let mut path = directory.join("console.sock");
        if path.as_os_str().len() > 107 {
            // The runtime has to reach it by its path, and an address holds 107 bytes.
            path = std::env::temp_dir().join(format!("minke-console-{}.sock", std::process::id()));
        }
        best_effort(fs::remove_file(&path));
        let listener = UnixListener::bind(&path).map_err(io_error("listen for the terminal"))?;
        // By now the runtime has ended: it has connected, or it never will.
        listener.set_nonblocking(true).map_err(io_error("listen for the terminal"))?;
        Ok(Self { listener, path })
    }

    fn receive(self) -> Result<OwnedFd, ForeignError> {
        let failed = io_error("receive the terminal");
        let (mut socket, _) = self.listener.accept().map_err(&failed)?;
        socket.set_nonblocking(false).map_err(&failed)?;
        let mut name = [0u8; 4096];
        let mut received = minke_sys::scm::receive(&socket, &mut name).map_err(|e| failed(e.into()))?;
        best_effort(socket.read(&mut name));
        received.fds.pop().ok_or_else(|| ForeignError::Said("the runtime sent no terminal".to_owned()))
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        best_effort(fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_runtimes_log_is_its_word() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log.json");
        fs::write(&log, "{\"level\":\"warning\",\"msg\":\"w\"}\n{\"level\":\"error\",\"msg\":\"no such thing\\n\"}\nnoise\n")
            .expect("written");
        assert_eq!(last_word(&log).as_deref(), Some("no such thing"));
        assert_eq!(last_word(&directory.path().join("none")), None);
    }
}
