//! Starting another process inside a running container.

use std::os::fd::BorrowedFd;

use minke_cgroup::Cgroup;
use oci_spec::runtime::Process;

use crate::error::LaunchError;
use crate::launch::{Filter, Launched, Limits, Stdio};

/// What a further process in a running container is made from.
#[derive(Debug)]
pub struct Exec<'a> {
    /// The container's name.
    pub id: &'a str,
    /// The first process of the container, as the caller sees it, and its pidfd.
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

/// Starts a process in a running container. The caller is its parent.
pub fn exec(_request: &Exec<'_>) -> Result<Launched, LaunchError> {
    Err(LaunchError::plan("exec is being built"))
}
