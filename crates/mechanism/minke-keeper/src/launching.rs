//! From a launch request to a running container: log, root file system, cgroup, stdio, process.
//!
//! What fails undoes what was made before it, in reverse, by dropping it; the cgroup is removed by hand.

use std::{
    ffi::OsStr,
    fs::DirBuilder,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::DirBuilderExt, net::UnixListener},
    },
    path::{Path, PathBuf},
};

use minke_cgroup::systemd::{Of, Scope, SystemdError, SystemdPath, Wish};
use minke_cgroup::{Cgroup, CgroupError};
use minke_logs::Writer;
use minke_runtime::{
    Exec, Filter, Gate, Launch, LaunchError, Launched, Limits, Rootfs as RuntimeRootfs, Stdio,
};
use minke_sys::{overlay::Overlay, seccomp::Instruction};
use oci_spec::runtime::{LinuxResources, Process, Spec};

use crate::{
    background::Compressor,
    best_effort,
    foreign::{Foreign, ForeignError, Streams, Wish as ForeignWish},
    init,
    keeper::Warm,
    program::{Ends, Program, ProgramKey, open_pipes},
    protocol::{
        ExecRequest, Failure, LaunchRequest, Rootfs, RuntimeProgram, SOCKET_NAME, SeccompFilter, Stage,
    },
};

/// What a successful launch leaves the keeper with.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) program: Program,
    pub(crate) log: Writer,
    pub(crate) compressor: Compressor,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) unit: Option<String>,
    pub(crate) mount_namespace: Option<OwnedFd>,
    pub(crate) foreign: Option<Foreign>,
    pub(crate) started_at: i64,
    pub(crate) warnings: Vec<String>,
}

/// Starts a container. Hooks that run after the start are the caller's, once the daemon has been told.
pub(crate) fn launch(
    request: &mut LaunchRequest,
    netns: Option<BorrowedFd<'_>>,
    warm: &Warm,
) -> Result<Started, Failure> {
    if request.init {
        init::wrap(&mut request.spec, &warm.program, &request.exec_root_dir)
            .map_err(|text| failure(Stage::Request, text))?;
    }
    let compressor = Compressor::default();
    let log = Writer::open(&request.log, Some(Box::new(compressor.clone()))).map_err(|error| {
        let text = format!("failed to initialize logging driver: {}", chain(&error));
        failure(Stage::Stdio, format!("failed to create task for container: {text}"))
    })?;
    let root = open_rootfs(request)?;
    if let Some(runtime) = &request.runtime {
        return launch_foreign(request, runtime, root.as_ref(), netns, warm, (log, compressor));
    }
    let cgroup = match request.systemd {
        true => make_scope(&request.id, &request.spec, warm)?,
        false => make_cgroup(&request.spec, warm)?,
    };
    let undo = |failure| {
        if let Some(made) = &cgroup {
            // Empty, as nothing was started in it; should it stay behind, the daemon's sweep finds it. A scope goes by
            // itself when its placeholder does.
            if made.scope.is_none() {
                best_effort(made.cgroup.remove());
            }
        }
        failure
    };
    let process = request.spec.process().as_ref();
    let stdio = prepare_stdio(process, request.open_stdin).map_err(undo)?;
    let filter = request.seccomp.as_ref().map(read_filter);
    let launched = minke_runtime::launch(&Launch {
        id: &request.id,
        spec: &request.spec,
        bundle: &request.container_dir,
        rootfs: match &root {
            Some(mount) => RuntimeRootfs::Mount(mount.as_fd()),
            None => match &request.rootfs {
                Rootfs::Path(path) => RuntimeRootfs::Path(path),
                Rootfs::Overlay { upper, .. } => RuntimeRootfs::Path(upper),
            },
        },
        stdio: stdio.for_child(),
        cgroup: cgroup.as_ref().map(|made| &made.cgroup),
        cgroup_host: Some(&warm.host),
        netns,
        seccomp: filter.as_ref().map(|(program, flags)| Filter { program, flags: *flags }),
        gate: Gate::Open,
        preserve_fds: &[],
        listen_fds: 0,
        no_pivot: false,
        no_new_keyring: false,
        keep_mount_namespace: true,
        limits: limits(request.strict_limits),
    })
    .map_err(|error| undo(launch_failure(&error)))?;
    let started_at = minke_logs::stamp::now();
    let mut warnings = cgroup.as_ref().map(|made| made.warnings.clone()).unwrap_or_default();
    warnings.extend(launched.warnings.iter().cloned());
    let mount_namespace = launched.mount_namespace.as_ref().and_then(|fd| fd.try_clone().ok());
    let mut program = stdio.into_program(ProgramKey::INIT, String::new(), launched, request.open_stdin)?;
    program.stdin_once = request.stdin_once;
    let unit = cgroup.as_ref().and_then(|made| Some(made.scope.as_ref()?.unit().to_owned()));
    let cgroup = cgroup.map(|made| made.cgroup);
    Ok(Started {
        program,
        log,
        compressor,
        cgroup,
        unit,
        mount_namespace,
        foreign: None,
        started_at,
        warnings,
    })
}

/// The same by another runtime, which makes the cgroup as well.
fn launch_foreign(
    request: &LaunchRequest,
    runtime: &RuntimeProgram,
    root: Option<&OwnedFd>,
    netns: Option<BorrowedFd<'_>>,
    warm: &Warm,
    (log, compressor): (Writer, Compressor),
) -> Result<Started, Failure> {
    let stdio = prepare_stdio(request.spec.process().as_ref(), request.open_stdin)?;
    let path = match &request.rootfs {
        Rootfs::Path(path) => path,
        Rootfs::Overlay { upper, .. } => upper,
    };
    let (foreign, launched) = Foreign::launch(&ForeignWish {
        program: runtime,
        id: &request.id,
        spec: &request.spec,
        exec_root: &request.exec_root_dir,
        root: root.ok_or(path),
        netns,
        streams: stdio.for_foreign(),
    })
    .map_err(|error| foreign_failure(&error, "create"))?;
    let started_at = minke_logs::stamp::now();
    // For pausing, limits and figures; the runtime has put the process there.
    let cgroup = request.spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let cgroup =
        cgroup.and_then(|path| Cgroup::open(&warm.host, path).ok()).filter(|found| !found.is_absent());
    let mut program = stdio.into_program(ProgramKey::INIT, String::new(), launched, request.open_stdin)?;
    program.stdin_once = request.stdin_once;
    Ok(Started {
        program,
        log,
        compressor,
        cgroup,
        unit: None,
        mount_namespace: None,
        foreign: Some(foreign),
        started_at,
        warnings: Vec::new(),
    })
}

/// Starts a further process by the runtime that built the container.
pub(crate) fn exec_foreign(
    request: &ExecRequest,
    key: ProgramKey,
    foreign: &mut Foreign,
) -> Result<Program, Failure> {
    let stdio = prepare_stdio(Some(&request.process), request.open_stdin)?;
    let launched = foreign
        .exec(&request.process, stdio.for_foreign())
        .map_err(|error| foreign_failure(&error, "exec"))?;
    let mut program = stdio.into_program(key, request.id.clone(), launched, request.open_stdin)?;
    program.stdin_once = true;
    Ok(program)
}

/// What another runtime said, in the frame that Docker's clients know.
fn foreign_failure(error: &ForeignError, verb: &str) -> Failure {
    let text = chain(error);
    let has = |words: &[&str]| words.iter().any(|word| text.to_ascii_lowercase().contains(word));
    let exit_code = if has(&["executable file not found", "no such file or directory"]) {
        127
    } else if has(&["permission denied", "is a directory"]) {
        126
    } else {
        128
    };
    let text = match verb {
        "exec" => {
            let text = text.strip_prefix("exec failed: ").unwrap_or(&text);
            format!("OCI runtime exec failed: exec failed: {text}")
        }
        _ => format!(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: {text}"
        ),
    };
    let stage = if exit_code == 128 { Stage::Setup } else { Stage::Program };
    Failure { stage, text, errno: None, exit_code }
}

/// Starts a further process.
pub(crate) fn exec(
    request: &ExecRequest,
    key: ProgramKey,
    first: &Program,
    cgroup: Option<&Cgroup>,
) -> Result<Program, Failure> {
    let Some(pidfd) = &first.pidfd else {
        return Err(failure(Stage::Request, "the container is not running".to_owned()));
    };
    let stdio = prepare_stdio(Some(&request.process), request.open_stdin)?;
    let filter = request.seccomp.as_ref().map(read_filter);
    let launched = minke_runtime::exec(&Exec {
        init_pid: u32::try_from(first.pid).unwrap_or(0),
        init: pidfd.as_fd(),
        process: &request.process,
        stdio: stdio.for_child(),
        cgroup,
        seccomp: filter.as_ref().map(|(program, flags)| Filter { program, flags: *flags }),
        preserve_fds: &[],
        listen_fds: 0,
        limits: limits(request.strict_limits),
    })
    .map_err(|error| Failure {
        // The runtime speaks of its init, which an exec has none of.
        text: format!("OCI runtime exec failed: exec failed: {error}")
            .replace("error during container init: ", ""),
        ..launch_failure(&error)
    })?;
    let mut program = stdio.into_program(key, request.id.clone(), launched, request.open_stdin)?;
    program.stdin_once = true;
    program.bound = request.bound;
    Ok(program)
}

/// The socket a later daemon finds this keeper by. A name left by a keeper that was killed is taken over.
pub(crate) fn listen(directory: &Path) -> io::Result<UnixListener> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let listener = bind_at(&directory.join(SOCKET_NAME))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A socket at a path of any length.
fn bind_at(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() < 108 {
        return bind(path, path);
    }
    // An address holds 107 bytes: a long path is reached through its directory.
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let opened = rustix::fs::open(directory, flags, rustix::fs::Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&opened);
    bind(&Path::new(&format!("/proc/self/fd/{number}")).join(name), path)
}

fn bind(address: &Path, path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            std::fs::remove_file(path)?;
            UnixListener::bind(address)
        }
        other => other,
    }?;
    Ok(listener)
}

fn open_rootfs(request: &mut LaunchRequest) -> Result<Option<OwnedFd>, Failure> {
    let Rootfs::Overlay { lower, upper, work, volatile, readonly } = &request.rootfs else { return Ok(None) };
    if *readonly && let Some(root) = request.spec.root_mut() {
        // By the runtime, once the mount points are made.
        root.set_readonly(Some(true));
    }
    mount_overlay(lower, upper, work, *volatile).map(Some).map_err(|errno| Failure {
        errno: Some(errno.raw_os_error()),
        ..failure(
            Stage::Rootfs,
            format!(
                "failed to create task for container: mount overlay of {} layers on {}: {}",
                lower.len(),
                upper.display(),
                io::Error::from(errno)
            ),
        )
    })
}

/// A detached overlay mount.
fn mount_overlay(lower: &[PathBuf], upper: &Path, work: &Path, volatile: bool) -> minke_sys::Result<OwnedFd> {
    let overlay = Overlay { lower, upper: Some((upper, work)), off: &["index"], volatile };
    match overlay.mount() {
        Err(minke_sys::Errno::INVAL) if volatile => {
            // The mark of an earlier volatile mount of this upper directory, which bars the next: after a crash of the
            // host its content could not be trusted. Such containers do not live that long; their restarts do count.
            best_effort(std::fs::remove_dir_all(work.join("work/incompat")));
            overlay.mount()
        }
        other => other,
    }
}

/// A cgroup with what its limits had to say. The scope keeps the unit alive until the container is in it.
struct Made {
    cgroup: Cgroup,
    warnings: Vec<String>,
    scope: Option<Scope>,
}

fn cgroup_failure(errno: Option<i32>, error: &dyn std::error::Error) -> Failure {
    let text = runtime_words(&format!("unable to apply cgroup configuration: {}", chain(error)));
    Failure { errno, ..failure(Stage::Cgroup, text) }
}

/// The cgroup as a unit that systemd makes.
fn make_scope(id: &str, spec: &Spec, warm: &Warm) -> Result<Option<Made>, Failure> {
    let linux = spec.linux().as_ref();
    let Some(path) = linux.and_then(|linux| linux.cgroups_path().as_ref()) else { return Ok(None) };
    let failed = |error: &SystemdError| cgroup_failure(None, error);
    let path = SystemdPath::parse(&path.to_string_lossy()).map_err(|error| failed(&error))?;
    let resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let annotations = spec.annotations().as_ref();
    let wish = Wish { path: &path, id, of: Of::Machine, resources: &resources, annotations, collect: true };
    let (scope, cgroup) = Scope::start(&warm.host, &wish).map_err(|error| failed(&error))?;
    match cgroup.apply_limits(&resources) {
        Ok(warnings) => Ok(Some(Made { cgroup, warnings, scope: Some(scope) })),
        Err(error) => {
            scope.undo();
            Err(cgroup_failure(error.errno(), &error))
        }
    }
}

fn make_cgroup(spec: &Spec, warm: &Warm) -> Result<Option<Made>, Failure> {
    let Some(path) = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref()) else {
        return Ok(None);
    };
    let failed = |error: &CgroupError| cgroup_failure(error.errno(), error);
    let below = warm.parent.as_ref().filter(|(_, parent)| path.parent() == Some(parent));
    let ready = below.zip(path.file_name().and_then(OsStr::to_str));
    // The parent may have been removed since, by somebody who tidied up.
    let made = ready.and_then(|((parent, _), name)| parent.create(name).ok());
    let cgroup = made.map_or_else(|| Cgroup::create(&warm.host, path), Ok).map_err(|error| failed(&error))?;
    let limits = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    match limits.map_or(Ok(Vec::new()), |limits: &LinuxResources| cgroup.apply_limits(limits)) {
        Ok(warnings) => Ok(Some(Made { cgroup, warnings, scope: None })),
        Err(error) => {
            best_effort(cgroup.remove());
            Err(failed(&error))
        }
    }
}

/// Both halves of a process's stdio before it is started.
#[derive(Debug)]
enum Prepared {
    Pipes { child: crate::program::ChildEnds, ours: Ends },
    Terminal,
}

fn prepare_stdio(process: Option<&Process>, open_stdin: bool) -> Result<Prepared, Failure> {
    let Some(process) = process else {
        return Err(failure(Stage::Request, "the configuration has no process".to_owned()));
    };
    if process.terminal().unwrap_or(false) {
        return Ok(Prepared::Terminal);
    }
    let user = process.user();
    let (child, ours) = open_pipes(open_stdin, user.uid(), user.gid()).map_err(|errno| Failure {
        errno: Some(errno.raw_os_error()),
        ..failure(Stage::Stdio, format!("open pipes for the process: {}", io::Error::from(errno)))
    })?;
    Ok(Prepared::Pipes { child, ours })
}

impl Prepared {
    fn for_child(&self) -> Stdio<'_> {
        match self {
            Self::Pipes { child, .. } => Stdio::Fds {
                stdin: child.stdin.as_fd(),
                stdout: child.stdout.as_fd(),
                stderr: child.stderr.as_fd(),
            },
            Self::Terminal => Stdio::Terminal { size: None },
        }
    }

    fn for_foreign(&self) -> Streams<'_> {
        match self {
            Self::Pipes { child, .. } => {
                Streams::Fds([child.stdin.as_fd(), child.stdout.as_fd(), child.stderr.as_fd()])
            }
            Self::Terminal => Streams::Terminal,
        }
    }

    /// Our half, with the process it belongs to; the child's half closes.
    fn into_program(
        self,
        key: ProgramKey,
        name: String,
        launched: Launched,
        open_stdin: bool,
    ) -> Result<Program, Failure> {
        let (ends, tty) = match self {
            Self::Pipes { ours, .. } => (ours, false),
            Self::Terminal => {
                let Some(master) = launched.console else {
                    return Err(failure(Stage::Stdio, "the runtime gave no terminal".to_owned()));
                };
                let ends = Ends::terminal(master, open_stdin).map_err(|errno| Failure {
                    errno: Some(errno.raw_os_error()),
                    ..failure(Stage::Stdio, format!("prepare the terminal: {}", io::Error::from(errno)))
                })?;
                (ends, true)
            }
        };
        let mut program = Program::new(key, name, launched.pid, launched.pidfd, ends);
        program.tty = tty;
        Ok(program)
    }
}

fn read_filter(filter: &SeccompFilter) -> (Vec<Instruction>, u32) {
    let (instructions, _) = filter.program.as_chunks::<8>();
    let program = instructions
        .iter()
        .map(|[a, b, jt, jf, k @ ..]| Instruction {
            code: u16::from_ne_bytes([*a, *b]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes(*k),
        })
        .collect();
    (program, filter.flags)
}

fn limits(strict: bool) -> Limits {
    if strict { Limits::Strict } else { Limits::AsFarAsAllowed }
}

fn launch_failure(error: &LaunchError) -> Failure {
    use minke_runtime::Stage as At;
    let stage = match error.stage() {
        At::Plan => Stage::Request,
        At::Hook => Stage::Hook,
        At::Program => Stage::Program,
        _ => Stage::Setup,
    };
    let text = runtime_words(&error.to_string());
    Failure { stage, text, errno: error.errno(), exit_code: error.exit_code() }
}

/// A failure of the runtime in the words Docker's clients know, with our name for the runtime.
fn runtime_words(text: &str) -> String {
    format!(
        "failed to create task for container: failed to create shim task: OCI runtime create failed: \
         minke create failed: {text}"
    )
}

fn failure(stage: Stage, text: String) -> Failure {
    Failure { stage, text, errno: None, exit_code: 128 }
}

/// An error with what caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
