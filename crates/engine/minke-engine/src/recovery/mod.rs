//! When the engine opens: what the records say against what is there, and making the two agree.
//!
//! Nothing here stops at the first failure. Containers that run are adopted by their keepers' sockets, all at once;
//! those that ended meanwhile are recorded from the note that their keeper left; what no record knows (keepers,
//! directories, cgroups) was never told to anybody and goes.

mod leftovers;
mod lock;
mod parents;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minke_keeper::protocol::{Body, EXIT_RECORD, Exit, Reply, SOCKET_NAME, State, Status};

use crate::clock::Moment;
use crate::containers::restart::Policy;
use crate::containers::{Container, Containers, Phase};
use crate::keepers;

pub(crate) use leftovers::{kill_cgroup, read_pids};
pub(crate) use lock::Lock;
pub(crate) use parents::{note_missing, remove_empty};

/// The note that a keeper left when nobody answered its exit.
pub(crate) fn read_exit_record(directory: &Path) -> Option<State> {
    let bytes = std::fs::read(directory.join(EXIT_RECORD)).ok()?;
    match serde_json::from_slice(&bytes) {
        Ok(state) => Some(state),
        Err(error) => {
            tracing::warn!(path = %directory.display(), %error, "a keeper's last note cannot be read");
            None
        }
    }
}

/// The note has been recorded.
pub(crate) fn remove_exit_record(directory: &Path) {
    let path = directory.join(EXIT_RECORD);
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a keeper's note stays");
    }
}

/// Brings every recorded container to where it is now. Returns when all that run are adopted.
pub(crate) async fn adopt_all(containers: &Arc<Containers>) {
    let mut tasks = tokio::task::JoinSet::new();
    for container in containers.parts.registry.all() {
        let containers = Arc::clone(containers);
        tasks.spawn(async move { adopt(&containers, container).await });
    }
    while let Some(done) = tasks.join_next().await {
        if let Err(error) = done {
            tracing::error!(%error, "a container could not be adopted");
        }
    }
}

async fn adopt(containers: &Arc<Containers>, container: Arc<Container>) {
    let life = container.life();
    let id = container.id.as_str().to_owned();
    if life.phase == Phase::Removing {
        return;
    }
    let socket = containers.exec_dir(&id).join(SOCKET_NAME);
    if life.phase.is_live() {
        match adopt_keeper(containers, &container, &socket).await {
            Adopted::Running => return,
            Adopted::Ended => {}
            Adopted::Gone => record_end(containers, &container).await,
        }
    } else if let Ok((connection, _events)) = keepers::connect(&socket).await {
        // A start that nobody was told of: the engine went between the launch and the record. It is undone.
        Containers::shut_down_keeper(&connection).await;
        remove_exit_record(&containers.data_dir(&id));
    }
    restart_if_wanted(containers, &container, life.phase).await;
}

/// What became of a keeper that the records speak of.
enum Adopted {
    Running,
    Ended,
    Gone,
}

async fn adopt_keeper(containers: &Arc<Containers>, container: &Arc<Container>, socket: &Path) -> Adopted {
    let Ok((connection, events)) = keepers::connect(socket).await else { return Adopted::Gone };
    let state = match connection.ask(Body::Query, Vec::new()).await {
        Ok(Reply::State(state)) if state.id == container.id.as_str() => state,
        Ok(other) => {
            tracing::warn!(container = container.id.as_str(), ?other, "its keeper gives no account");
            return Adopted::Gone;
        }
        Err(error) => {
            tracing::warn!(container = container.id.as_str(), error = %crate::error::chain(&error), "its keeper gives no account");
            return Adopted::Gone;
        }
    };
    container.skip_clients(state.attached.iter().copied().max().unwrap_or(0));
    if let Some(exit) = state.exit {
        container.change_life(|life| {
            life.phase = Phase::Running;
            life.started_at = Moment(state.started_at);
        });
        let farewell = containers.record_exit(container, exit, Some(&connection)).await;
        containers.see_off(container, farewell).await;
        drop(events);
        return Adopted::Ended;
    }
    let life = container.change_life(|life| {
        life.phase = if state.status == Status::Paused { Phase::Paused } else { Phase::Running };
        life.pid = state.pid;
        life.started_at = Moment(state.started_at);
    });
    if let Err(error) = containers.parts.ledger.save_life(container.id.as_str(), &life) {
        tracing::error!(container = container.id.as_str(), error = %crate::error::chain(&error), "an adoption is not recorded");
    }
    for exec in state.execs.iter().filter(|exec| exec.exit.is_none()) {
        containers.adopt_exec(container, &exec.id, exec.pid);
    }
    container.set_keeper(Some(Arc::clone(&connection)));
    container.progress.send_modify(|progress| progress.live = true);
    containers.adopt_network(container, &connection).await;
    if state.status != Status::Paused {
        containers.begin_checks(container);
    }
    let (containers, watched) = (Arc::clone(containers), Arc::clone(container));
    container
        .set_watcher(tokio::spawn(async move { containers.supervise(watched, connection, events).await }));
    Adopted::Running
}

/// No keeper: either it left a note, or it and the container are gone with a reboot or a kill.
async fn record_end(containers: &Arc<Containers>, container: &Arc<Container>) {
    let directory = containers.data_dir(container.id.as_str());
    let note = read_exit_record(&directory).filter(|state| state.id == container.id.as_str());
    let exit = match note.as_ref().and_then(|state| state.exit) {
        Some(exit) => exit,
        None => {
            containers.kill_leftovers(container, &container.record()).await;
            Exit { code: 255, oom_killed: false, at: Moment::now().0 }
        }
    };
    container.change_life(|life| {
        if let Some(note) = &note {
            life.started_at = Moment(note.started_at);
        }
    });
    let farewell = containers.record_exit(container, exit, None).await;
    containers.see_off(container, farewell).await;
    remove_exit_record(&directory);
}

/// Policies are honoured across the engine's own end. An exit that was recorded just now has already been judged.
async fn restart_if_wanted(containers: &Arc<Containers>, container: &Arc<Container>, before: Phase) {
    let record = container.record();
    let policy =
        Policy::from_wire(&record.host.restart_policy.name, record.host.restart_policy.maximum_retry_count);
    let life = container.life();
    let wanted = match life.phase {
        // It waited for its restart when the engine ended, or is waiting since a moment ago.
        Phase::Restarting => before == Phase::Restarting,
        Phase::Exited => {
            before == Phase::Exited && policy.starts_with_engine(life.exit_code, life.by_hand, false)
        }
        _ => false,
    };
    if !wanted {
        return;
    }
    let _held = container.transition.lock().await;
    if !matches!(container.phase(), Phase::Restarting | Phase::Exited) {
        return;
    }
    if let Err(error) = containers.restart_adopted(container).await {
        tracing::warn!(container = container.id.as_str(), error = %crate::error::chain(&error), "restart failed");
    }
}

/// Containers that run and have no interface any more are told of; those that ended meanwhile have none by right.
pub(crate) fn report_lost(containers: &Containers) {
    for endpoint in containers.parts.networks.lost() {
        let runs = containers.parts.registry.find(&endpoint.container).is_ok_and(|container| {
            let life = container.life();
            life.phase.is_live() && life.places.iter().any(|place| place.endpoint.as_ref() == Some(endpoint))
        });
        if runs {
            tracing::warn!(
                container = endpoint.container,
                "its network interface {} is gone: start it again to reconnect it",
                endpoint.host_link
            );
        }
    }
}

/// How long after the opening the second sweep comes.
const SECOND_LOOK: std::time::Duration = std::time::Duration::from_secs(10);

/// A container that the engine before was launching when it was killed may come up after the first sweep.
pub(crate) fn sweep_again_later(containers: &Arc<Containers>, strays: BTreeSet<String>) {
    let containers = Arc::downgrade(containers);
    tokio::spawn(async move {
        tokio::time::sleep(SECOND_LOOK).await;
        if let Some(containers) = containers.upgrade() {
            sweep(&containers, strays).await;
        }
    });
}

/// Removes what no record knows: keepers first, so that nothing of theirs is in use, then directories and cgroups.
///
/// Only what has a directory of this engine's is its own: another engine may have the same cgroup parent. `strays` are names that
/// an earlier sweep found, whose directories are gone; those found now are added and returned.
pub(crate) async fn sweep(containers: &Arc<Containers>, mut strays: BTreeSet<String>) -> BTreeSet<String> {
    let known = |name: &str| {
        containers.is_hidden(name)
            || containers.parts.registry.find(name).is_ok_and(|found| found.id.as_str() == name)
    };
    let config = &containers.parts.config;
    for (name, path) in entries(&config.exec_root.join("containers")) {
        if known(&name) {
            continue;
        }
        if let Ok((connection, _events)) = keepers::connect(&path.join(SOCKET_NAME)).await {
            tracing::info!(container = name, "ending a container that no record knows");
            Containers::shut_down_keeper(&connection).await;
        }
        remove(&path);
        strays.insert(name);
    }
    let owner = Arc::clone(containers);
    let data: Vec<(String, PathBuf)> =
        entries(&config.data_root.join("containers")).into_iter().filter(|(name, _)| !known(name)).collect();
    strays.extend(data.iter().map(|(name, _)| name.clone()));
    let directory = |name: &String| config.cgroup_driver.directory(&config.cgroup_parent, name);
    let cgroups: Vec<PathBuf> = strays.iter().map(directory).collect();
    let swept = tokio::task::spawn_blocking(move || {
        for (name, path) in data {
            tracing::info!(container = name, "removing a directory that no record knows");
            if let Err(error) = owner.delete_directory(&path) {
                tracing::warn!(path = %path.display(), %error, "it stays");
            }
        }
        leftovers::sweep_cgroups(&cgroups);
    })
    .await;
    if let Err(error) = swept {
        tracing::error!(%error, "the sweep did not end");
    }
    strays
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "it stays");
    }
}

/// The directories of containers below `parent`; nothing else there is touched.
fn entries(parent: &Path) -> Vec<(String, PathBuf)> {
    let Ok(list) = std::fs::read_dir(parent) else { return Vec::new() };
    list.flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_id = name.len() == 64 && minke_base::id::is_id_prefix(&name);
            is_id.then(|| (name, entry.path()))
        })
        .collect()
}
