//! Starting another process inside a running container.
//!
//! The process never shares memory with its parent: it is visible inside the container before it executes the program, and
//! whoever can trace it there could otherwise read or change the engine (the CVE-2019-5736 class). So it is forked, by a
//! process in between that joins the pid namespace first, with its parent undumpable meanwhile, which the child inherits
//! until it executes the program. That the image it runs from cannot be overwritten is for the caller to see to
//! ([`minke_sys::sealed`]).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minke_cgroup::Cgroup;
use minke_sys::spawn::{Options, SharedCell, flags};
use minke_sys::{Errno, beneath, scm, signals};
use oci_spec::runtime::Process;
use rustix::fs::{Mode, OFlags};

use crate::attend;
use crate::child::{Report, Script, Table};
use crate::error::{LaunchError, Stage, chain};
use crate::identity;
use crate::launch::{Filter, Launched, Limits, Stdio, born_elsewhere, cannot, dup_above, lift};
use crate::plan::{self, ExecInputs};

/// What a further process in a running container is made from.
#[derive(Debug)]
pub struct Exec<'a> {
    /// The first process of the container, as the caller sees it.
    pub init_pid: u32,
    /// The pidfd of the first process.
    pub init: BorrowedFd<'a>,
    /// The process to start.
    pub process: &'a Process,
    /// Descriptors 0, 1, 2.
    pub stdio: Stdio<'a>,
    /// The cgroup to start in: [`Cgroup::open`] by path, or [`Cgroup::of_process`] of the first process.
    pub cgroup: Option<&'a Cgroup>,
    /// The container's filter; `None` for no seccomp.
    pub seccomp: Option<Filter<'a>>,
    /// Become descriptors 3, 4, … of the process.
    pub preserve_fds: &'a [BorrowedFd<'a>],
    /// How many of `preserve_fds` are sockets of systemd's activation protocol.
    pub listen_fds: u32,
    /// What to do about limits that cannot be raised.
    pub limits: Limits,
}

/// The namespaces an exec joins at once; those only its children could be in are joined by the process in between.
const AT_ONCE: [(u64, &str); 7] = [
    (flags::NEWUSER, "user"),
    (flags::NEWNS, "mnt"),
    (flags::NEWUTS, "uts"),
    (flags::NEWIPC, "ipc"),
    (flags::NEWNET, "net"),
    (flags::NEWCGROUP, "cgroup"),
    (flags::NEWTIME, "time"),
];

/// Starts a process in a running container. The caller is its parent.
pub fn exec(request: &Exec<'_>) -> Result<Launched, LaunchError> {
    start(request).map_err(LaunchError::of_exec)
}

fn start(request: &Exec<'_>) -> Result<Launched, LaunchError> {
    let proc = minke_sys::procfs::open().map_err(cannot("open /proc"))?;
    let differing = differing_namespaces(&proc, request.init_pid)?;
    let inputs = ExecInputs {
        terminal: request.stdio.terminal(),
        cgroup: request.cgroup.is_some(),
        seccomp: request.seccomp.is_some(),
        lenient: request.limits == Limits::AsFarAsAllowed,
        user_namespace: differing & flags::NEWUSER != 0,
        listen_fds: request.listen_fds,
    };
    let (steps, mut program) = plan::plan_exec(request.process, &inputs)?;
    if !program.has_home {
        let home = home(&proc, request.init_pid, program.uid);
        program
            .env
            .push(std::ffi::CString::new(format!("HOME={home}")).unwrap_or_else(|_nul| c"HOME=/".into()));
    }
    let first = i32::try_from(request.init_pid).unwrap_or(0);
    let entry = request.cgroup.map(|cgroup| Cgroup::entry_beside(cgroup, first)).transpose();
    let entry = entry.map_err(|error| LaunchError::new(Stage::Prepare, chain(&error)))?;
    let report = SharedCell::new(Report::new()).map_err(cannot("map memory to share"))?;
    let (ours, theirs) = scm::seqpacket_pair().map_err(cannot("make a socket pair"))?;
    let above = 3 + i32::try_from(request.preserve_fds.len()).unwrap_or(i32::MAX);
    let theirs = lift(theirs, above)?;
    let preserved =
        request.preserve_fds.iter().map(|fd| dup_above(*fd, above)).collect::<Result<Vec<_>, _>>()?;
    let preserved: Vec<_> = preserved.iter().map(AsFd::as_fd).collect();
    // The process in between joins the pid namespace; who is not root may only from inside the user namespace that owns it.
    let unprivileged = differing & flags::NEWUSER != 0 && !rustix::process::geteuid().is_root();
    let between = if unprivileged { flags::NEWUSER | flags::NEWPID } else { flags::NEWPID };
    let script = Script {
        foreign: &[ours.as_fd()],
        steps: &steps,
        report: &report,
        socket: theirs.as_fd(),
        tasks: entry.as_ref().map_or(&[], |entry| &entry.tasks),
        joined: &[(request.init, differing & !between)],
        root: None,
        prepared: &[],
        stdio: request.stdio.fds(),
        preserved: &preserved,
        gate: None,
        filter: request.seccomp.map_or(&[], |filter| filter.program),
        filter_flags: request.seccomp.map_or(0, |filter| filter.flags),
        ignored: signals::ignored(),
        program: Table::new(&program),
    };
    let into = entry.as_ref().and_then(|entry| entry.into.as_ref());
    let options = Options { flags: 0, cgroup: into.map(AsFd::as_fd) };
    let child = born_elsewhere(&options, &[(request.init, between)], &script);
    let child = child.map_err(|errno| match errno {
        Errno::SRCH => LaunchError::new(Stage::Spawn, "the container is not running"),
        errno => LaunchError::with_errno(Stage::Spawn, "unable to start a process in the container", errno),
    })?;
    drop(theirs);
    attend::attend_exec(&steps, &program, child, &ours, &report)
}

/// The kinds of namespaces in which the container differs from the caller; joining one's own user namespace would fail.
fn differing_namespaces(proc: &OwnedFd, pid: u32) -> Result<u64, LaunchError> {
    let mut kinds = 0;
    for (kind, name) in AT_ONCE {
        let inode = |who: &str| -> Result<Option<u64>, Errno> {
            match rustix::fs::statat(proc, format!("{who}/ns/{name}"), rustix::fs::AtFlags::empty()) {
                Ok(stat) => Ok(Some(stat.st_ino)),
                // A kernel without this kind has no such file, while a process that is gone has none at all.
                Err(Errno::NOENT) if who == "self" => Ok(None),
                Err(errno) => Err(errno),
            }
        };
        let own = inode("self").map_err(cannot("read own namespaces"))?;
        if own.is_none() {
            continue;
        }
        let theirs = inode(&pid.to_string()).map_err(|errno| match errno {
            Errno::NOENT | Errno::SRCH => LaunchError::new(Stage::Spawn, "the container is not running"),
            errno => cannot("read the container's namespaces")(errno),
        })?;
        if own != theirs {
            kinds |= kind;
        }
    }
    Ok(kinds)
}

fn home(proc: &OwnedFd, pid: u32, uid: u32) -> String {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The link is magic and leads to the container's root; everything below is opened beneath it.
    match rustix::fs::openat(proc, format!("{pid}/root"), flags, Mode::empty()) {
        Ok(root) => identity::home_of(root, uid),
        Err(_) => "/".to_owned(),
    }
}

/// A handle of the root directory of the process `pid`, to resolve names of users or paths beneath.
pub fn root_of(pid: u32) -> Result<OwnedFd, Errno> {
    let proc = minke_sys::procfs::open()?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(&proc, format!("{pid}/root"), flags, Mode::empty())?;
    // A process that is gone has no root to open; one that is here has a directory.
    beneath::open_in_root(&root, "/", flags, Mode::empty())
}
