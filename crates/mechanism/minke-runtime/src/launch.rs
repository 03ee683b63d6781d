//! Starting a container's first process: what to give, what comes back.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use minke_cgroup::{Cgroup, Host};
use minke_sys::pty;
use minke_sys::seccomp::Instruction;
use oci_spec::runtime::Spec;

use crate::error::LaunchError;

/// Where the root file system comes from.
#[derive(Debug)]
pub enum Rootfs<'a> {
    /// A directory of the host (`root.path` of an OCI bundle).
    Path(&'a Path),
    /// A detached mount (`fsmount`, `open_tree`), attached inside the container's mount namespace only.
    Mount(BorrowedFd<'a>),
}

/// What descriptors 0, 1 and 2 of the process are.
#[derive(Debug)]
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
        /// Its first size; the spec's `consoleSize` counts when this is `None`.
        size: Option<pty::Size>,
    },
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
    /// Stop before the program is executed, until [`Launched::start`] says go.
    pub two_phase: bool,
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
    /// With `two_phase`: send one byte to let the program run; closed unused, the process ends.
    pub start: Option<OwnedFd>,
    /// Sentences about what could not be done as asked.
    pub warnings: Vec<String>,
}

/// Starts the first process of a container. On failure nothing is left behind but what the caller made.
pub fn launch(_request: &Launch<'_>) -> Result<Launched, LaunchError> {
    Err(LaunchError::plan("the launcher is being built"))
}
