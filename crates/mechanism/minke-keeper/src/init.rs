//! The program behind `--init`: PID 1 that forwards signals, reaps what it inherits, and ends as its child ends.
//!
//! **Card.** Started by: the keeper, inside the container, as [`PATH`] (this very program, bound read-only). Inherits: the
//! container's stdio. Touches: its child. Reports: the child's exit code, 128 + signal when it was killed; 127 when there
//! is no such program, 126 when it cannot be executed. Ends: with its child.

use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use minke_sys::{
    forked::{self, Side},
    signals, sigwait,
};
use oci_spec::runtime::{Mount, Spec};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::best_effort;

/// Where the program is inside the container, as with Docker.
pub const PATH: &str = "/sbin/docker-init";

/// The last part of [`PATH`]: the name that makes the binary play this role.
pub const NAME: &str = "docker-init";

/// Puts `docker-init --` before a container's program and the program into its mounts.
pub(crate) fn wrap(spec: &mut Spec, program: &Path, directory: &Path) -> Result<(), String> {
    let own = own_program(program, directory).map_err(|error| format!("provide {PATH}: {error}"))?;
    let mut mount = Mount::default();
    mount
        .set_destination(PATH.into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(own))
        .set_options(Some(["bind", "ro", "nosuid", "nodev"].map(str::to_owned).to_vec()));
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    let Some(process) = spec.process_mut() else { return Err("the configuration has no process".to_owned()) };
    let mut args = vec![PATH.to_owned(), "--".to_owned()];
    args.extend(process.args().clone().unwrap_or_default());
    process.set_args(Some(args));
    Ok(())
}

/// A path of this program's file. After an upgrade the file at that place is a newer one, which is as good; when there
/// is none any more a copy is made.
fn own_program(program: &Path, directory: &Path) -> io::Result<PathBuf> {
    if program.is_file() {
        return Ok(program.to_owned());
    }
    std::fs::create_dir_all(directory)?;
    let copy = directory.join(NAME);
    std::fs::copy("/proc/self/exe", &copy)?;
    Ok(copy)
}

/// Runs `args` (what follows the program's own name; a leading `--` is passed over) and gives the exit code.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> i32 {
    let mut args = args.into_iter().peekable();
    args.next_if(|first| first == "--");
    let Some(program) = args.next() else {
        complain("no program given: docker-init -- PROGRAM [ARGUMENTS]");
        return 1;
    };
    // Blocked from here on, so that none that comes before the child exists is lost.
    if signals::set_mask(sigwait::ALL_BUT_FAULTS).is_err() {
        complain("cannot block signals");
        return 1;
    }
    match forked::fork() {
        Ok(Side::Child) => become_program(&program, args),
        Ok(Side::Parent(pid)) => serve(pid),
        Err(errno) => {
            complain(&format!("fork: {errno}"));
            1
        }
    }
}

/// The child: a group of its own, so that what a terminal sends reaches the program and not its parent; then the program.
/// Gives an exit code only when there is none to become.
fn become_program(program: &OsString, args: impl Iterator<Item = OsString>) -> i32 {
    // Without a terminal there is nothing to hand over.
    if rustix::process::setpgid(None, None).is_ok() {
        best_effort(rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid()));
    }
    if signals::set_mask(0).is_err() {
        complain("cannot unblock signals");
        return 1;
    }
    let error = Command::new(program).args(args).exec();
    complain(&format!("exec {} failed: {error}", program.to_string_lossy()));
    match error.kind() {
        io::ErrorKind::NotFound => 127,
        io::ErrorKind::PermissionDenied => 126,
        _ => 1,
    }
}

/// Forwards and reaps until the child has ended.
fn serve(child: u32) -> i32 {
    let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) else { return 1 };
    loop {
        if let Some(code) = reap_all(pid) {
            return code;
        }
        match sigwait::wait(sigwait::ALL_BUT_FAULTS) {
            Ok(libc::SIGCHLD) | Err(_) => {}
            // About our own access to the terminal.
            Ok(libc::SIGTTIN | libc::SIGTTOU) => {}
            // Gone already: its end is noticed in the next round.
            Ok(signal) => best_effort(minke_sys::kill::kill(pid.as_raw_nonzero().get(), signal)),
        }
    }
}

/// Reaps everyone who has ended; gives the exit code once the child is among them.
fn reap_all(child: Pid) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == child {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> i32 {
    let status = ExitStatus::from_raw(status.as_raw());
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

fn complain(text: &str) {
    // Nobody is left to tell when even this fails.
    best_effort(rustix::io::write(rustix::stdio::stderr(), format!("docker-init: {text}\n").as_bytes()));
}
