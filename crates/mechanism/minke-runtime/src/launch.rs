//! Starting a container's first process: what to give, what comes back, and the parent's half of the work.
//!
//! The way is chosen by [`Plan::is_fast`]: a child on borrowed memory that goes straight to the program, or a forked one
//! that can wait for its parent in the middle. A container that joins another's pid or user namespace is born through a
//! short-lived process in between, since both concern only the children of whoever joins.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use minke_cgroup::{Cgroup, Host};
use minke_sys::seccomp::Instruction;
use minke_sys::spawn::{Options, SharedCell, flags};
use minke_sys::{Errno, ns, pidfd, process, pty, scm, signals, spawn};
use oci_spec::runtime::Spec;

use crate::child::{Gate as ChildGate, Report, Script, Table};
use crate::error::{LaunchError, Stage};
use crate::plan::{self, Inputs, Plan, Root};
use crate::{attend, filter, identity, prepare};

/// Where the root file system comes from.
#[derive(Debug, Clone, Copy)]
pub enum Rootfs<'a> {
    /// A directory of the host (`root.path` of an OCI bundle).
    Path(&'a Path),
    /// A detached mount (`fsmount`, `open_tree`), attached inside the container's mount namespace only.
    Mount(BorrowedFd<'a>),
}

/// What descriptors 0, 1 and 2 of the process are.
#[derive(Debug, Clone, Copy)]
pub enum Stdio<'a> {
    /// These three. They stay the caller's.
    Fds {
        /// Standard input.
        stdin: BorrowedFd<'a>,
        /// Standard output.
        stdout: BorrowedFd<'a>,
        /// Standard error.
        stderr: BorrowedFd<'a>,
    },
    /// A new terminal from the container's own devpts; its master comes back in [`Launched::console`].
    Terminal {
        /// Its first size; the configuration's `consoleSize` counts when this is `None`.
        size: Option<pty::Size>,
    },
}

impl<'a> Stdio<'a> {
    pub(crate) fn fds(&self) -> Option<[BorrowedFd<'a>; 3]> {
        match self {
            Self::Fds { stdin, stdout, stderr } => Some([*stdin, *stdout, *stderr]),
            Self::Terminal { .. } => None,
        }
    }

    pub(crate) fn terminal(&self) -> Option<Option<pty::Size>> {
        match self {
            Self::Fds { .. } => None,
            Self::Terminal { size } => Some(*size),
        }
    }
}

/// When the program is executed.
#[derive(Debug, Clone, Copy, Default)]
pub enum Gate<'a> {
    /// At once.
    #[default]
    Open,
    /// When a byte is written to [`Launched::start`]; the process ends when that is closed unused.
    Handle,
    /// When somebody connects to this listening unix socket, in whatever process that is.
    Listener(BorrowedFd<'a>),
}

/// A seccomp filter compiled ahead of time.
#[derive(Debug, Clone, Copy)]
pub struct Filter<'a> {
    /// The program.
    pub program: &'a [Instruction],
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// What the caller does about limits the kernel does not let it raise (no CAP_SYS_RESOURCE).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limits {
    /// The launch fails, as runc's does.
    #[default]
    Strict,
    /// They are set as far as allowed, and [`Launched::warnings`] says so.
    AsFarAsAllowed,
}

/// Everything a container's first process is made from.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The container's name; hooks are told it, and the session keyring is named after it.
    pub id: &'a str,
    /// The OCI configuration.
    pub spec: &'a Spec,
    /// The directory that relative paths of the configuration count from; hooks are told it.
    pub bundle: &'a Path,
    /// The root file system.
    pub rootfs: Rootfs<'a>,
    /// Descriptors 0, 1, 2.
    pub stdio: Stdio<'a>,
    /// The cgroup to start in, made and limited by the caller; `None`: the caller's own.
    pub cgroup: Option<&'a Cgroup>,
    /// The host's cgroup hierarchies, for `cgroup` mounts; probed anew when `None` and the spec has such a mount.
    pub cgroup_host: Option<&'a Host>,
    /// The network namespace to join instead of what the spec says.
    pub netns: Option<BorrowedFd<'a>>,
    /// The filter to install instead of compiling `linux.seccomp`.
    pub seccomp: Option<Filter<'a>>,
    /// When the program is executed.
    pub gate: Gate<'a>,
    /// Become descriptors 3, 4, … of the process. They stay the caller's.
    pub preserve_fds: &'a [BorrowedFd<'a>],
    /// How many of `preserve_fds` are sockets of systemd's activation protocol (sets `LISTEN_FDS`).
    pub listen_fds: u32,
    /// Change root by moving mounts, for hosts whose root cannot be pivoted.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Also answer a descriptor of the container's mount namespace; as long as it is open the kernel defers taking the
    /// mounts apart, so that the container's end is seen sooner.
    pub keep_mount_namespace: bool,
    /// What to do about limits that cannot be raised.
    pub limits: Limits,
}

impl<'a> Launch<'a> {
    /// A launch with nothing special about it.
    #[must_use]
    pub fn new(id: &'a str, spec: &'a Spec, bundle: &'a Path, rootfs: Rootfs<'a>, stdio: Stdio<'a>) -> Self {
        Self {
            id,
            spec,
            bundle,
            rootfs,
            stdio,
            cgroup: None,
            cgroup_host: None,
            netns: None,
            seccomp: None,
            gate: Gate::Open,
            preserve_fds: &[],
            listen_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            keep_mount_namespace: false,
            limits: Limits::Strict,
        }
    }
}

/// A process that was started.
#[derive(Debug)]
pub struct Launched {
    /// Its pid as the caller sees it.
    pub pid: u32,
    /// Its pidfd; the caller is its parent and reaps it ([`minke_sys::pidfd::wait`]).
    pub pidfd: OwnedFd,
    /// The master of its terminal.
    pub console: Option<OwnedFd>,
    /// Its mount namespace, when asked for.
    pub mount_namespace: Option<OwnedFd>,
    /// The listener of `SCMP_ACT_NOTIFY`, when the filter has such an action.
    pub seccomp_listener: Option<OwnedFd>,
    /// With [`Gate::Handle`]: send one byte to let the program run; closed unused, the process ends.
    pub start: Option<OwnedFd>,
    /// Sentences about what could not be done as asked.
    pub warnings: Vec<String>,
}

const CAP_SYS_ADMIN: u8 = 21;

/// Starts the first process of a container. On failure nothing is left behind but what the caller made.
///
/// `poststart` hooks are the business of whoever opens the gate: [`crate::hooks::run_poststart`].
pub fn launch(request: &Launch<'_>) -> Result<Launched, LaunchError> {
    let cgroups = prepare::cgroup_views(request)?;
    let compiled = filter::compile(request.seccomp, request.spec)?;
    let filter = request.seccomp.or_else(|| compiled.as_ref().map(filter::Compiled::as_filter));
    let inputs = Inputs {
        id: request.id,
        bundle: request.bundle,
        root: match request.rootfs {
            Rootfs::Path(path) => Root::Path(path),
            Rootfs::Mount(_) => Root::Mount,
        },
        terminal: request.stdio.terminal(),
        netns: request.netns.is_some(),
        privileged: minke_sys::caps::get().is_ok_and(|caps| caps.effective.has(CAP_SYS_ADMIN)),
        cgroup: request.cgroup.is_some(),
        cgroups: &cgroups,
        seccomp: filter.is_some(),
        notifies: filter.is_some_and(|filter| filter.flags & minke_sys::seccomp::NEW_LISTENER != 0),
        waits: !matches!(request.gate, Gate::Open),
        listen_fds: request.listen_fds,
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        keep_mount_namespace: request.keep_mount_namespace,
        lenient: request.limits == Limits::AsFarAsAllowed,
        has_kcore: Path::new("/proc/kcore").exists(),
    };
    let mut plan = plan::plan_launch(request.spec, &inputs)?;
    if !plan.program.has_home {
        let home = prepare::home(request, plan.program.uid);
        plan.program.env.push(home);
    }
    start(request, &plan, filter)
}

fn start(request: &Launch<'_>, plan: &Plan, filter: Option<Filter<'_>>) -> Result<Launched, LaunchError> {
    let prepared = prepare::mounts(plan)?;
    let entry = request.cgroup.map(Cgroup::entry).transpose();
    let entry = entry.map_err(|error| LaunchError::new(Stage::Prepare, crate::error::chain(&error)))?;
    let joined = prepare::namespaces(plan)?;
    let (first, later): (Vec<_>, Vec<_>) =
        joined.iter().map(|(fd, kind)| (fd.as_fd(), *kind)).partition(|(_, kind)| is_for_children(*kind));
    let later: Vec<_> = request.netns.map(|fd| (fd, flags::NEWNET)).into_iter().chain(later).collect();
    let report = SharedCell::new(Report::new()).map_err(cannot("map memory to share"))?;
    let (ours, theirs) = scm::seqpacket_pair().map_err(cannot("make a socket pair"))?;
    let above = 3 + i32::try_from(request.preserve_fds.len()).unwrap_or(i32::MAX);
    let theirs = lift(theirs, above)?;
    let (start, gate) = make_gate(request, above)?;
    let preserved =
        request.preserve_fds.iter().map(|fd| dup_above(*fd, above)).collect::<Result<Vec<_>, _>>()?;
    let preserved: Vec<_> = preserved.iter().map(AsFd::as_fd).collect();
    let foreign: Vec<_> = [Some(&ours), start.as_ref()].into_iter().flatten().map(AsFd::as_fd).collect();
    let script = Script {
        foreign: &foreign,
        steps: &plan.steps,
        report: &report,
        socket: theirs.as_fd(),
        tasks: entry.as_ref().map_or(&[], |entry| &entry.tasks),
        joined: &later,
        root: match request.rootfs {
            Rootfs::Path(_) => None,
            Rootfs::Mount(mount) => Some(mount),
        },
        prepared: &prepared,
        stdio: request.stdio.fds(),
        preserved: &preserved,
        gate: gate.child(),
        filter: filter.map_or(&[], |filter| filter.program),
        filter_flags: filter.map_or(0, |filter| filter.flags),
        ignored: signals::ignored(),
        program: Table::new(&plan.program),
    };
    let into = entry.as_ref().and_then(|entry| entry.into.as_ref());
    let options = Options { flags: plan.clone_flags, cgroup: into.map(AsFd::as_fd) };
    let child = give_birth(plan, &options, &first, &script)?;
    drop(theirs);
    drop(gate);
    let mut launched = attend::attend(request.id, request.bundle, request.spec, plan, child, &ours, &report)?;
    launched.start = start;
    Ok(launched)
}

/// Namespaces that only the children of whoever joins are in, or that decide about the rights in all others.
fn is_for_children(kind: u64) -> bool {
    kind == flags::NEWPID || kind == flags::NEWUSER
}

fn give_birth(
    plan: &Plan,
    options: &Options<'_>,
    first: &[(BorrowedFd<'_>, u64)],
    script: &Script<'_>,
) -> Result<spawn::Child, LaunchError> {
    let cannot_start =
        |errno| LaunchError::with_errno(Stage::Spawn, "unable to start the container's first process", errno);
    if plan.is_fast() {
        let mut body = || script.play();
        // SAFETY: `play` only makes system calls and writes to the report and to its own `Hands`, neither of which any
        // other thread touches; it opens descriptors in a table of its own.
        #[expect(unsafe_code, reason = "the fast path: a child on this process's memory")]
        return unsafe { spawn::vfork(options, &mut body) }.map_err(cannot_start);
    }
    if first.is_empty() {
        let mut body = || script.play();
        // SAFETY: `play` neither allocates nor locks, so other threads' locks do not matter.
        #[expect(unsafe_code, reason = "a forked child, for what needs the parent's help meanwhile")]
        return unsafe { spawn::fork(options, &mut body) }.map_err(cannot_start);
    }
    born_elsewhere(options, first, script).map_err(cannot_start)
}

/// Through a process that joins and then has a child in its own parent's place, undumpable like this process meanwhile: others
/// in the namespaces joined see it before it executes its program.
pub(crate) fn born_elsewhere(
    options: &Options<'_>,
    first: &[(BorrowedFd<'_>, u64)],
    script: &Script<'_>,
) -> Result<spawn::Child, Errno> {
    let failure = SharedCell::new(0i32)?;
    // A pair of its own: the child proper may have spoken on the script's socket before its birth is told.
    let (birth, register) = scm::seqpacket_pair()?;
    let hidden = Hidden::begin()?;
    let mut between = || {
        let mut body = || script.play();
        let join = first.iter().try_for_each(|(fd, kind)| ns::join(*fd, *kind));
        let sibling = Options { flags: options.flags | flags::PARENT, cgroup: options.cgroup };
        let born = join.and_then(|()| {
            // SAFETY: as for the other forked child.
            #[expect(unsafe_code, reason = "the child proper, a sibling of this one")]
            unsafe {
                spawn::fork(&sibling, &mut body)
            }
        });
        let told = born.and_then(|child| {
            let mut message = [crate::child::Word::Born as u8, 0, 0, 0, 0];
            let [_, pid @ ..] = &mut message;
            *pid = child.pid.to_ne_bytes();
            let sent = scm::send(&register, &message, &[child.pidfd.as_fd()]);
            // The descriptor is this process's own and ends with it.
            std::mem::forget(child);
            sent
        });
        match told {
            Ok(_) => 0,
            Err(errno) => {
                failure.set(errno.raw_os_error());
                1
            }
        }
    };
    // SAFETY: the body makes system calls only; it shares this memory while this thread sleeps.
    #[expect(unsafe_code, reason = "a process to join namespaces with")]
    let helper = unsafe { spawn::vfork(&Options::default(), &mut between) }?;
    drop(hidden);
    pidfd::wait(&helper.pidfd)?;
    if failure.get() != 0 {
        return Err(Errno::from_raw_os_error(failure.get()));
    }
    let mut message = [0u8; 8];
    let received = scm::receive(&birth, &mut message)?;
    let pidfd = received.fds.into_iter().next().ok_or(Errno::PROTO)?;
    let [_, a, b, c, d, ..] = message;
    Ok(spawn::Child { pid: u32::from_ne_bytes([a, b, c, d]), pidfd })
}

/// This process is not dumpable while the child is copied from it, so that the child is not either.
struct Hidden {
    was_dumpable: bool,
}

impl Hidden {
    fn begin() -> Result<Self, Errno> {
        use rustix::process::DumpableBehavior;
        let was_dumpable = rustix::process::dumpable_behavior()? == DumpableBehavior::Dumpable;
        process::set_dumpable(false)?;
        Ok(Self { was_dumpable })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if self.was_dumpable {
            // It was so before, so the kernel allows it.
            process::set_dumpable(true).ok();
        }
    }
}

/// The child's end of the gate.
enum OwnGate {
    Open,
    Byte(OwnedFd),
    Listener(OwnedFd),
}

impl OwnGate {
    fn child(&self) -> Option<ChildGate<'_>> {
        match self {
            Self::Open => None,
            Self::Byte(fd) => Some(ChildGate::Byte(fd.as_fd())),
            Self::Listener(fd) => Some(ChildGate::Listener(fd.as_fd())),
        }
    }
}

fn make_gate(request: &Launch<'_>, above: i32) -> Result<(Option<OwnedFd>, OwnGate), LaunchError> {
    match request.gate {
        Gate::Open => Ok((None, OwnGate::Open)),
        Gate::Handle => {
            let (ours, theirs) = scm::stream_pair().map_err(cannot("make a socket pair"))?;
            Ok((Some(ours), OwnGate::Byte(lift(theirs, above)?)))
        }
        Gate::Listener(socket) => Ok((None, OwnGate::Listener(dup_above(socket, above)?))),
    }
}

/// Gives `fd` a number from `above` up, where the child will not overwrite it.
pub(crate) fn lift(fd: OwnedFd, above: i32) -> Result<OwnedFd, LaunchError> {
    if fd.as_raw_fd() >= above { Ok(fd) } else { dup_above(fd.as_fd(), above) }
}

pub(crate) fn dup_above(fd: BorrowedFd<'_>, above: i32) -> Result<OwnedFd, LaunchError> {
    rustix::io::fcntl_dupfd_cloexec(fd, above).map_err(cannot("copy a descriptor"))
}

/// An error of the parent's preparations.
pub(crate) fn cannot(what: &'static str) -> impl Fn(Errno) -> LaunchError {
    move |errno| LaunchError::with_errno(Stage::Prepare, format_args!("cannot {what}"), errno)
}

impl Launch<'_> {
    /// The home directory of `uid` by the root's own passwd file.
    pub(crate) fn home_of(&self, uid: u32) -> String {
        match self.rootfs {
            Rootfs::Mount(mount) => identity::home_of(mount, uid),
            Rootfs::Path(path) => match minke_sys::beneath::open_root(&self.bundle.join(path)) {
                Ok(root) => identity::home_of(&root, uid),
                Err(_) => "/".to_owned(),
            },
        }
    }
}
