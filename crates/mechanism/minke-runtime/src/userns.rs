//! Identity maps of user namespaces.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};

use minke_sys::spawn::{self, Options, flags};
use minke_sys::{Errno, pidfd, procfs, scm};
use oci_spec::runtime::LinuxIdMapping;
use rustix::fs::{Mode, OFlags};

/// The text of a `uid_map` or `gid_map`.
#[must_use]
pub fn plan_map(mappings: &[LinuxIdMapping]) -> String {
    let mut text = String::new();
    for mapping in mappings {
        // Writing to a string does not fail.
        writeln!(text, "{} {} {}", mapping.container_id(), mapping.host_id(), mapping.size()).ok();
    }
    text
}

/// Writes the maps of the process `pid`, which is in a new user namespace. An unprivileged writer may map only itself, and
/// only after giving up setgroups.
pub fn apply_maps(pid: u32, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<(), Errno> {
    let proc = procfs::open()?;
    let write = |file: &str, text: &str| {
        let path = std::ffi::CString::new(format!("{pid}/{file}")).map_err(|_nul| Errno::INVAL)?;
        procfs::write(&proc, &path, text.as_bytes())
    };
    let groups = plan_map(gids);
    write("uid_map", &plan_map(uids))?;
    match write("gid_map", &groups) {
        Err(Errno::PERM) => {
            write("setgroups", "deny")?;
            write("gid_map", &groups)
        }
        other => other,
    }
}

/// A user namespace with these maps that no process is in: what an id-mapped mount needs.
pub fn detached(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd, Errno> {
    let (ours, theirs) = scm::stream_pair()?;
    let waiting = theirs.as_fd();
    let mut body = || {
        let mut byte = [0u8; 1];
        // Ends with the parent's end of the socket.
        i32::from(rustix::io::read(waiting, &mut byte).is_err())
    };
    let options = Options { flags: flags::NEWUSER, cgroup: None };
    // SAFETY: the body only reads from a socket.
    #[expect(unsafe_code, reason = "a process to hold the namespace while it is mapped")]
    let child = unsafe { spawn::fork(&options, &mut body) }?;
    let mapped = apply_maps(child.pid, uids, gids).and_then(|()| {
        let path = format!("/proc/{}/ns/user", child.pid);
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    });
    // The child still holds a copy of our end, so it is ended by signal.
    drop(ours);
    pidfd::send_signal(&child.pidfd, 9)?;
    pidfd::wait(&child.pidfd)?;
    mapped
}
