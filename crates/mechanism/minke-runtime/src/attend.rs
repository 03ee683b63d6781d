//! The parent's half while and after the child plays its steps: answering phases, collecting descriptors, telling failure.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use minke_sys::spawn::{Child, SharedCell};
use minke_sys::{Errno, limits, pidfd, procfs, scm};
use oci_spec::runtime::Spec;

use crate::child::{CUT_OOM, RUNNING, Report, Word};
use crate::error::{LaunchError, Stage};
use crate::hooks;
use crate::launch::Launched;
use crate::notify;
use crate::plan::Plan;
use crate::plan::process::Program;
use crate::steps::{MountKind, Phase, Step};
use crate::userns;

/// Serves the child until its program runs, it waits at the gate, or it has failed.
pub(crate) fn attend(
    id: &str,
    bundle: &Path,
    spec: &Spec,
    plan: &Plan,
    child: Child,
    socket: &OwnedFd,
    report: &SharedCell<Report>,
) -> Result<Launched, LaunchError> {
    let mut launched = empty(child);
    let serve = |launched: &Launched, phase: Phase| match phase {
        Phase::Mapping => settle_user_namespace(plan, launched.pid, report),
        Phase::RuntimeHooks => hooks::run_runtime(plan, id, bundle, spec, launched.pid),
        Phase::Created => Ok(()),
    };
    let deliver = |launched: &Launched| match &launched.seccomp_listener {
        Some(listener) => notify::deliver(spec, id, bundle, launched.pid, listener.as_fd()),
        None => Ok(false),
    };
    serve_until_done(&mut launched, socket, serve, deliver)?;
    finish(launched, report, &plan.steps, &plan.program)
}

/// What only the parent has the rights for while the child enters its user namespace.
fn settle_user_namespace(plan: &Plan, pid: u32, report: &SharedCell<Report>) -> Result<(), LaunchError> {
    if let Some(maps) = &plan.maps {
        userns::apply_maps(pid, &maps.uids, &maps.gids).map_err(|errno| {
            LaunchError::with_errno(
                Stage::Enter,
                "cannot write the identity maps of the user namespace",
                errno,
            )
        })?;
    }
    let Some(value) = &plan.oom_score else { return Ok(()) };
    let path = CString::new(format!("{pid}/oom_score_adj")).unwrap_or_default();
    let written = procfs::open().and_then(|proc| procfs::write(proc, &path, value.to_bytes()));
    match written {
        Err(Errno::ACCESS | Errno::PERM) if plan.lenient => {
            let mut cut = report.get();
            cut.cut |= CUT_OOM;
            report.set(cut);
            Ok(())
        }
        other => other.map_err(|errno| {
            let doing = format_args!("writing oom_score_adj {}", value.to_string_lossy());
            LaunchError::with_errno(Stage::Settings, doing, errno)
        }),
    }
}

/// As [`attend`], for a process that needs nothing done for it.
pub(crate) fn attend_exec(
    steps: &[Step],
    program: &Program,
    child: Child,
    socket: &OwnedFd,
    report: &SharedCell<Report>,
) -> Result<Launched, LaunchError> {
    let mut launched = empty(child);
    serve_until_done(&mut launched, socket, |_, _| Ok(()), |_| Ok(false))?;
    finish(launched, report, steps, program)
}

fn empty(child: Child) -> Launched {
    Launched {
        pid: child.pid,
        pidfd: child.pidfd,
        console: None,
        mount_namespace: None,
        seccomp_listener: None,
        start: None,
        warnings: Vec::new(),
    }
}

fn serve_until_done(
    launched: &mut Launched,
    socket: &OwnedFd,
    serve: impl Fn(&Launched, Phase) -> Result<(), LaunchError>,
    deliver: impl Fn(&Launched) -> Result<bool, LaunchError>,
) -> Result<(), LaunchError> {
    let mut message = [0u8; 8];
    loop {
        let received =
            scm::receive(socket, &mut message).map_err(crate::launch::cannot("hear from the child"));
        let received = match received {
            Ok(received) => received,
            Err(error) => return Err(abandon(launched, error)),
        };
        // The socket is close-on-exec: its end is the program's beginning, or the child's end.
        if received.len == 0 {
            return Ok(());
        }
        let fd = received.fds.into_iter().next();
        let [word, phase, ..] = message;
        match word {
            word if word == Word::Console as u8 => launched.console = fd,
            word if word == Word::MountNamespace as u8 => launched.mount_namespace = fd,
            word if word == Word::Listener as u8 => {
                launched.seccomp_listener = fd;
                // At once: the very execve may be what the agent is asked about. The agent's is the only copy that
                // remains, so that its end is noticed.
                match deliver(launched) {
                    Ok(true) => launched.seccomp_listener = None,
                    Ok(false) => {}
                    Err(error) => return Err(abandon(launched, error)),
                }
            }
            _ => {
                let phase = phase_of(phase);
                if let Some(phase) = phase
                    && let Err(error) = serve(launched, phase)
                {
                    return Err(abandon(launched, error));
                }
                if let Err(errno) = rustix::io::write(socket, b"g") {
                    return Err(abandon(launched, crate::launch::cannot("answer the child")(errno)));
                }
                if phase == Some(Phase::Created) {
                    return Ok(());
                }
            }
        }
    }
}

fn phase_of(number: u8) -> Option<Phase> {
    [Phase::Mapping, Phase::RuntimeHooks, Phase::Created].into_iter().find(|phase| *phase as u8 == number)
}

/// Ends a child that is no longer wanted, and passes the reason on.
fn abandon(launched: &Launched, error: LaunchError) -> LaunchError {
    // It may have ended already; either way it is reaped.
    pidfd::send_signal(&launched.pidfd, 9).ok();
    pidfd::wait(&launched.pidfd).ok();
    error
}

fn finish(
    mut launched: Launched,
    report: &SharedCell<Report>,
    steps: &[Step],
    program: &Program,
) -> Result<Launched, LaunchError> {
    let report = report.get();
    if report.step == RUNNING {
        launched.warnings = warnings(report.cut);
        return Ok(launched);
    }
    pidfd::wait(launched.pidfd.as_fd()).ok();
    let step = usize::try_from(report.step).ok().and_then(|index| steps.get(index));
    Err(step.map_or_else(
        || LaunchError::new(Stage::Spawn, "the child ended without saying why"),
        |step| explain(step, &report, program),
    ))
}

/// What a failed step means, in Docker's words where it has some.
fn explain(step: &Step, report: &Report, program: &Program) -> LaunchError {
    let errno = Errno::from_raw_os_error(report.errno);
    let name = program.args.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match step {
        Step::FindProgram if program.searched => {
            LaunchError::program(format!("exec: {name:?}: executable file not found in $PATH"), Errno::NOENT)
        }
        Step::FindProgram if matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            let text = format!("exec: {name:?}: stat {name}: {}", crate::words::errno_text(errno));
            LaunchError::program(text, errno)
        }
        Step::FindProgram => {
            LaunchError::program(format!("exec: {name:?}: {}", crate::words::errno_text(errno)), errno)
        }
        Step::Hook(_) if errno == Errno::CHILD => {
            LaunchError::new(Stage::Hook, format!("{step}: exit status {}", report.detail))
        }
        Step::Hook(_) if errno == Errno::TIMEDOUT => {
            LaunchError::new(Stage::Hook, format!("{step}: it took too long"))
        }
        Step::VerifyDirectory => LaunchError::new(Stage::WorkingDirectory, step.to_string()),
        Step::Mount(mount) if errno == Errno::NOTDIR && matches!(mount.kind, MountKind::Bind { .. }) => {
            LaunchError::with_errno(step.stage(), step, errno).with_hint(
                "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type",
            )
        }
        _ => LaunchError::with_errno(step.stage(), step, errno),
    }
}

fn warnings(cut: u32) -> Vec<String> {
    let mut sentences = Vec::new();
    for (number, name) in (0u32..).zip(limits::NAMES) {
        if cut >> number & 1 == 1 {
            sentences.push(format!(
                "RLIMIT_{name} could not be raised as far as asked: CAP_SYS_RESOURCE is missing"
            ));
        }
    }
    if cut & CUT_OOM != 0 {
        sentences
            .push("the out-of-memory score could not be lowered: CAP_SYS_RESOURCE is missing".to_owned());
    }
    sentences
}
