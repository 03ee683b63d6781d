//! The keeper's role: a blank waits for its container, launches it, tends it, and is gone with it.
//!
//! **Card.** Started by: the nursery, as a copy of itself. Inherits: its control socket; 0, 1, 2 are `/dev/null`.
//! Touches: one container's log, cgroup, mounts, `keeper.sock` and, without a daemon, `exit.json`. Reports: frames on the
//! control socket or on a connection to `keeper.sock`. Ends: when the container's exit is recorded and its clients are
//! served; a blank, when its socket closes or its launch fails.

use std::{
    collections::VecDeque,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
};

use minke_cgroup::{Host, Parent};
use oci_spec::runtime::{Hooks, Spec};
use rustix::event::{PollFd, PollFlags};

use crate::{
    best_effort,
    connection::Connection,
    ending::Phase,
    holding::Holding,
    launching::{self, Started},
    program::ProgramKey,
    protocol::{Body, LaunchRequest, Message, Refusal, Reply, VERSION},
    requests::own_pid,
    tending::Keeper,
};

/// What every keeper finds ready, made once by the nursery.
#[derive(Debug)]
pub(crate) struct Warm {
    pub(crate) host: Host,
    /// Where this program's file is.
    pub(crate) program: PathBuf,
    /// The cgroup that most containers' cgroups are made in, and its path.
    pub(crate) parent: Option<(Parent, PathBuf)>,
}

/// Lives a keeper's life on this socket. `blankness` tells the nursery, by closing, that this is no blank any more.
pub(crate) fn live(control: UnixStream, warm: Warm, blankness: OwnedFd) {
    // A new session: no terminal's signals, no group that somebody kills.
    best_effort(rustix::process::setsid());
    best_effort(minke_sys::process::set_name("minke:blank"));
    let Ok(connection) = Connection::new(control, true) else { return };
    if let Some(keeper) = wait_for_container(connection, warm, blankness) {
        keeper.tend();
    }
}

#[inline(never)]
fn wait_for_container(mut connection: Connection, warm: Warm, blankness: OwnedFd) -> Option<Keeper> {
    while !connection.is_broken() {
        let mut fds = [PollFd::new(&connection, PollFlags::IN)];
        if rustix::event::poll(&mut fds, None).is_err() {
            continue;
        }
        connection.receive();
        while let Some((request, fds)) = connection.next_request() {
            let reply = match request.body {
                Body::Hello { .. } => Reply::Hello { version: VERSION, pid: own_pid(), id: None },
                Body::Launch(launch) => {
                    drop(blankness);
                    return start(connection, request.seq, launch, fds, &warm);
                }
                _ => Reply::Refused {
                    refusal: Refusal::NotRunning,
                    text: "this keeper has no container yet".into(),
                },
            };
            connection.send(&Message::reply(request.seq, reply));
        }
    }
    None
}

fn start(
    mut connection: Connection,
    seq: u64,
    mut launch: Box<LaunchRequest>,
    fds: Vec<OwnedFd>,
    warm: &Warm,
) -> Option<Keeper> {
    let mut fds = VecDeque::from(fds);
    let netns = if launch.netns { fds.pop_front() } else { None };
    if fds.len() != launch.attach.len() + launch.held.len() {
        let text = "a launch needs one descriptor for each client and each thing to hold".to_owned();
        let reply = Reply::Refused { refusal: Refusal::Malformed, text };
        connection.send(&Message::reply(seq, reply));
        return None;
    }
    let started = match launching::launch(&mut launch, netns.as_ref().map(AsFd::as_fd), warm) {
        Ok(started) => started,
        Err(failure) => {
            connection.send(&Message::reply(seq, Reply::Failed(failure)));
            return None;
        }
    };
    drop(netns);
    Some(employ(connection, seq, *launch, fds, started))
}

/// The process runs: tells the daemon, then sees to the rest.
fn employ(
    connection: Connection,
    seq: u64,
    launch: LaunchRequest,
    fds: VecDeque<OwnedFd>,
    started: Started,
) -> Keeper {
    let Started { program, log, compressor, cgroup, unit, mount_namespace, foreign, started_at, warnings } =
        started;
    let pid = program.pid;
    let LaunchRequest { id, spec, container_dir, exec_root_dir, attach, held, proxies, .. } = launch;
    let mut warnings = warnings;
    let mut fds = fds;
    let mut holding = Holding::default();
    let later = fds.drain(attach.len().min(fds.len())..);
    for told in [holding.hold(held, later), holding.set_proxies(proxies)] {
        if let Err(text) = told {
            warnings.push(format!("a port is not reachable by every address: {text}"));
        }
    }
    let mut keeper = Keeper {
        id,
        container_dir,
        exec_root_dir,
        connections: vec![connection],
        listener: None,
        programs: vec![program],
        clients: Vec::new(),
        gone: Vec::new(),
        log,
        compressor,
        cgroup,
        unit,
        oom_watch: None,
        oom_killed: false,
        mount_namespace,
        foreign,
        poststop: poststop_of(&spec),
        holding,
        started_at,
        next_key: 1,
        phase: Phase::Running,
        shutdown: None,
        buffer: Vec::new(),
        idle_at: Some(std::time::Instant::now()),
    };
    // Before the answer: from then on a daemon that comes back must find this keeper.
    match launching::listen(&keeper.exec_root_dir) {
        Ok(listener) => keeper.listener = Some(listener),
        Err(error) => warnings.push(format!(
            "the container will be lost if the daemon restarts: listen in {}: {error}",
            keeper.exec_root_dir.display()
        )),
    }
    for (spec, socket) in attach.into_iter().zip(fds) {
        keeper.attach(spec, socket, ProgramKey::INIT);
        keeper.greet(keeper.clients.len() - 1);
    }
    keeper.reply(seq, Reply::Launched { pid, started_at, warnings });
    if !keeper.has_daemon() {
        // The daemon went while this was being started: no record speaks of it, and nobody waits for the answer to the end.
        let _nobody = keeper.shut_down(seq);
    }
    run_poststart(&mut keeper, &spec);
    drop(spec);
    keeper.oom_watch = keeper.cgroup.as_ref().and_then(|cgroup| cgroup.watch_oom().ok().flatten());
    let short = keeper.id.get(..12).unwrap_or(&keeper.id).to_owned();
    // For the eyes of an administrator; nothing depends on it.
    best_effort(minke_sys::process::set_name(&format!("minke:{short}")));
    best_effort(minke_sys::process::set_title(&format!("minke: keeper {short}")));
    keeper
}

/// A poststart hook that fails ends the container, as with runc.
fn run_poststart(keeper: &mut Keeper, spec: &Spec) {
    let has_hooks = spec.hooks().as_ref().is_some_and(|hooks| hooks.poststart().is_some());
    if !has_hooks {
        return;
    }
    let first = &keeper.programs[0];
    let pid = u32::try_from(first.pid).unwrap_or(0);
    if minke_runtime::hooks::run_poststart(spec, &keeper.id, &keeper.container_dir, pid).is_err()
        && let Some(pidfd) = &first.pidfd
    {
        best_effort(minke_sys::pidfd::send_signal(pidfd, 9));
    }
}

/// As much of the configuration as `poststop` hooks are told, when there are any.
fn poststop_of(spec: &Spec) -> Option<Box<Spec>> {
    let hooks = spec.hooks().as_ref()?.poststop().as_ref()?;
    if hooks.is_empty() {
        return None;
    }
    let mut kept = Spec::default();
    let mut only = Hooks::default();
    only.set_poststop(Some(hooks.clone()));
    kept.set_version(spec.version().clone())
        .set_annotations(spec.annotations().clone())
        .set_hooks(Some(only))
        .set_process(None)
        .set_linux(None)
        .set_mounts(None);
    Some(Box::new(kept))
}
