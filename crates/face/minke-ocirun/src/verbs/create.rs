//! `create` and `run`: from a bundle to a waiting or a running process.
//!
//! The name is claimed first and everything made after it is undone when a later step fails, in reverse: process, cgroup,
//! directory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

use minke_cgroup::systemd::{Of, Scope, Wish};
use minke_cgroup::{Cgroup, CgroupError, Host};
use minke_runtime::{Gate, Launch, Launched, Limits, Rootfs, Stdio, launch};
use minke_sys::pidfd;
use oci_spec::runtime::{ContainerState, LinuxResources};
use rustix::fs::{Mode, OFlags, open};

use super::{exit_code, id};
use crate::bundle::Bundle;
use crate::flags::Parsed;
use crate::handover::{send_console, send_listener, send_pidfd, write_pid_file};
use crate::relay::Foreground;
use crate::scope;
use crate::state::{GATE, Home, Record};
use crate::{Globals, OciError};

/// `create`: the process waits for `start`.
pub(super) fn create(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let bundle = Bundle::read(parsed.path("bundle"))?;
    check_terminal(&bundle, parsed, true)?;
    let home = Home::claim(&globals.root, &id(parsed))?;
    let gate = undo_on_error(make_gate(&home), &home, None)?;
    let start = Start { globals, parsed, bundle: &bundle, home: &home, gate: Gate::Listener(gate.as_fd()) };
    start.go()?;
    Ok(ExitCode::SUCCESS)
}

/// `run`: the program starts at once; without `--detach` we stay until it has ended.
pub(super) fn run(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let bundle = Bundle::read(parsed.path("bundle"))?;
    let detach = parsed.is_set("detach");
    check_terminal(&bundle, parsed, detach)?;
    let home = Home::claim(&globals.root, &id(parsed))?;
    // Signals are ours from before the start, so that none falls between.
    let signals = if detach { None } else { Some(undo_on_error(Foreground::signals(), &home, None)?) };
    if !detach && !parsed.is_set("no-subreaper") {
        let reap = minke_sys::process::set_subreaper(true);
        undo_on_error(reap.map_err(|e| OciError::kernel("become subreaper", e)), &home, None)?;
    }
    let start = Start { globals, parsed, bundle: &bundle, home: &home, gate: Gate::Open };
    let (record, launched) = start.go()?;
    if let Err(e) = record.run_poststart() {
        end(&launched);
        super::delete::destroy(&home, &record, globals)?;
        return Err(e);
    }
    let Some(signals) = signals else { return Ok(ExitCode::SUCCESS) };
    let console = if parsed.get("console-socket").is_some() { None } else { launched.console };
    let code = Foreground { pidfd: launched.pidfd, console }.stay(&signals)?;
    if !parsed.is_set("keep") {
        super::delete::destroy(&home, &record, globals)?;
    }
    Ok(exit_code(code))
}

/// A terminal needs somebody at its other end.
fn check_terminal(bundle: &Bundle, parsed: &Parsed, detach: bool) -> Result<(), OciError> {
    let socket = parsed.get("console-socket").is_some_and(|s| !s.is_empty());
    let text = match (bundle.wants_terminal(), socket) {
        (true, false) if detach => "cannot allocate tty if minke will detach without setting console socket",
        (false, true) => "cannot use console socket if minke will not detach or allocate tty",
        _ => return Ok(()),
    };
    Err(OciError::Usage(text.to_owned()))
}

/// The waiting process and `start` meet here. Made through a handle of the directory, whose path may be longer than a
/// socket address.
fn make_gate(home: &Home) -> Result<UnixListener, OciError> {
    let path = home.gate();
    let fail = |e: std::io::Error| OciError::io("listen on", &path, e);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open(&home.dir, flags, Mode::empty()).map_err(|e| fail(e.into()))?;
    UnixListener::bind(format!("/proc/self/fd/{}/{GATE}", dir.as_raw_fd())).map_err(fail)
}

/// Takes back what was made so far when `result` is an error, which stays the error that is told.
fn undo_on_error<T>(result: Result<T, OciError>, home: &Home, group: Option<&Cgroup>) -> Result<T, OciError> {
    if result.is_err() {
        if let Some(group) = group.filter(|g| g.is_fresh()) {
            drop(group.kill_and_wait().and_then(|()| group.remove()));
        }
        drop(home.remove());
    }
    result
}

/// Ends a process that was started in vain.
fn end(launched: &Launched) {
    // It may have ended by itself.
    pidfd::send_signal(&launched.pidfd, libc::SIGKILL).ok();
    pidfd::wait(&launched.pidfd).ok();
}

/// Where the container is to run, and systemd's unit around it.
struct Made {
    group: Option<Cgroup>,
    scope: Option<Scope>,
}

/// Whether anything is limited beyond the devices, whose list every configuration has.
fn is_limited(resources: &LinuxResources) -> bool {
    let mut devices_alone = LinuxResources::default();
    devices_alone.set_devices(resources.devices().clone());
    devices_alone != *resources
}

/// One start, from claimed name to saved record.
struct Start<'a> {
    globals: &'a Globals,
    parsed: &'a Parsed,
    bundle: &'a Bundle,
    home: &'a Home,
    gate: Gate<'a>,
}

impl Start<'_> {
    fn go(&self) -> Result<(Record, Launched), OciError> {
        let host = Host::probe();
        let made = if self.globals.no_cgroup {
            self.check_unlimited()
        } else if self.globals.systemd {
            self.make_scope(host.as_ref())
        } else {
            self.make_cgroup(host.as_ref())
        };
        let Made { group, scope } = undo_on_error(made, self.home, None)?;
        let unit = scope.as_ref().map(|scope| scope.unit().to_owned());
        let result = self.launch_in(host.ok().as_ref(), group.as_ref(), unit);
        if let (Err(_), Some(scope)) = (&result, scope) {
            scope.undo();
        }
        undo_on_error(result, self.home, group.as_ref())
    }

    fn given_path(&self) -> Option<PathBuf> {
        let linux = self.bundle.spec.linux().as_ref();
        linux.and_then(|l| l.cgroups_path().clone()).filter(|p| !p.as_os_str().is_empty())
    }

    fn resources(&self) -> LinuxResources {
        self.bundle.spec.linux().as_ref().and_then(|l| l.resources().clone()).unwrap_or_default()
    }

    /// The cgroup as systemd makes it.
    fn make_scope(&self, host: Result<&Host, &CgroupError>) -> Result<Made, OciError> {
        let of = scope::whose(self.globals);
        let path = scope::path(self.given_path().as_deref(), &self.home.id, of)?;
        let host = host.map_err(|_unreadable| Host::probe().err().unwrap_or(CgroupError::NoHierarchy))?;
        let resources = self.resources();
        let annotations = self.bundle.spec.annotations().as_ref();
        let wish =
            Wish { path: &path, id: &self.home.id, of, resources: &resources, annotations, collect: false };
        let (scope, group) = Scope::start(host, &wish)?;
        match self.limit(&group, &resources) {
            Ok(()) => Ok(Made { group: Some(group), scope: Some(scope) }),
            Err(e) => {
                scope.undo();
                Err(e)
            }
        }
    }

    /// No cgroup was asked for: then no limit may have been either.
    fn check_unlimited(&self) -> Result<Made, OciError> {
        if is_limited(&self.resources()) {
            let text = "limits need a cgroup, and --cgroup-manager says disabled";
            return Err(OciError::Usage(text.to_owned()));
        }
        Ok(Made { group: None, scope: None })
    }

    fn limit(&self, group: &Cgroup, resources: &LinuxResources) -> Result<(), OciError> {
        group.apply_limits(resources)?.iter().for_each(|w| self.globals.log.warn(w));
        Ok(())
    }

    /// Without the right to make cgroups a container runs in ours, as long as no limit was asked for.
    fn make_cgroup(&self, host: Result<&Host, &CgroupError>) -> Result<Made, OciError> {
        let path = self.given_path().unwrap_or_else(|| self.home.id.clone().into());
        let resources = self.resources();
        let limited = is_limited(&resources);
        let refused = |e: &CgroupError| {
            matches!(e, CgroupError::NoHierarchy)
                || e.errno().is_some_and(|e| [libc::EACCES, libc::EPERM, libc::EROFS].contains(&e))
        };
        let made = match host {
            Ok(host) => Cgroup::create(host, &path),
            Err(CgroupError::NoHierarchy) => Err(CgroupError::NoHierarchy),
            Err(_unreadable) => Err(Host::probe().err().unwrap_or(CgroupError::NoHierarchy)),
        };
        let group = match made {
            Err(e) if self.globals.rootless && !limited && refused(&e) => {
                self.globals.log.debug(&format!("no cgroup of its own: {e}"));
                return Ok(Made { group: None, scope: None });
            }
            made => made?,
        };
        if let Err(e) = self.limit(&group, &resources) {
            // The limit that failed is the error to tell.
            drop(group.remove());
            return Err(e);
        }
        Ok(Made { group: Some(group), scope: None })
    }

    fn launch_in(
        &self,
        host: Option<&Host>,
        group: Option<&Cgroup>,
        unit: Option<String>,
    ) -> Result<(Record, Launched), OciError> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let stdio = if self.bundle.wants_terminal() {
            Stdio::Terminal { size: None }
        } else {
            Stdio::Fds { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() }
        };
        let (preserved, listen_fds) = super::exec::preserved(self.parsed)?;
        let preserved: Vec<BorrowedFd<'_>> = preserved.iter().map(AsFd::as_fd).collect();
        let launched = launch(&Launch {
            id: &self.home.id,
            spec: &self.bundle.spec,
            bundle: &self.bundle.dir,
            rootfs: Rootfs::Path(&self.bundle.rootfs),
            stdio,
            cgroup: group,
            cgroup_host: host,
            netns: None,
            seccomp: None,
            gate: self.gate,
            preserve_fds: &preserved,
            listen_fds,
            no_pivot: self.parsed.is_set("no-pivot"),
            no_new_keyring: self.parsed.is_set("no-new-keyring"),
            keep_mount_namespace: false,
            limits: Limits::Strict,
        })?;
        launched.warnings.iter().for_each(|w| self.globals.log.warn(w));
        match self.hand_over(&launched, group, unit) {
            Ok(record) => Ok((record, launched)),
            Err(e) => {
                end(&launched);
                Err(e)
            }
        }
    }

    /// The record first: from then on other commands know the container.
    fn hand_over(
        &self,
        launched: &Launched,
        group: Option<&Cgroup>,
        unit: Option<String>,
    ) -> Result<Record, OciError> {
        let mut record = Record::new(self.home, &self.bundle.spec, &self.bundle.dir, &self.bundle.rootfs);
        record.set_process(launched.pid);
        record.set_cgroup(group);
        record.systemd_unit = unit;
        record.systemd_user = scope::whose(self.globals) == Of::User;
        self.home.save(&record)?;
        if let Some(path) = self.parsed.path("console-socket")
            && let Some(console) = &launched.console
        {
            send_console(&path, console)?;
        }
        if let Some(path) = self.parsed.path("pidfd-socket") {
            send_pidfd(&path, &launched.pidfd)?;
        }
        if let Some(listener) = &launched.seccomp_listener {
            let seccomp = self.bundle.spec.linux().as_ref().and_then(|l| l.seccomp().as_ref());
            let path = seccomp.and_then(|s| s.listener_path().as_ref()).ok_or_else(|| {
                OciError::Spec("seccomp notifies, but linux.seccomp.listenerPath is not set".to_owned())
            })?;
            let metadata = seccomp.and_then(|s| s.listener_metadata().as_ref());
            let state = record.document(ContainerState::Creating);
            send_listener(path, metadata, launched.pid, state, listener)?;
        }
        if let Some(path) = self.parsed.path("pid-file") {
            write_pid_file(&path, launched.pid)?;
        }
        Ok(record)
    }
}
