//! Remove: out of the records first, then off the disk in the background.

use std::path::Path;
use std::sync::Arc;

use minke_keeper::protocol::Body;

use super::Containers;
use super::container::Container;
use super::record::{Phase, Record};
use super::requests::RemoveOptions;
use crate::error::{Error, Result};

impl Containers {
    /// Removes a container.
    pub async fn remove(self: &Arc<Self>, reference: &str, options: RemoveOptions) -> Result<()> {
        if options.link {
            return self.remove_link(reference);
        }
        let container = self.find(reference)?;
        if !options.force {
            refuse_live(&container)?;
        }
        if container.phase() == Phase::Removing {
            return Err(Error::conflict(format!("removal of container {reference} is already in progress")));
        }
        // From here on nothing starts it; a transition that is under way ends first, a stop does not hold the lock.
        let _held = container.transition.lock().await;
        if !options.force {
            refuse_live(&container)?;
        }
        if container.phase().is_live() {
            self.end_for_removal(&container, reference).await?;
        }
        if container.progress.borrow().removed {
            return Ok(());
        }
        if !container.begin_removal() {
            return Err(Error::conflict(format!("removal of container {reference} is already in progress")));
        }
        self.finish_removal(&container, options.volumes)
    }

    async fn end_for_removal(self: &Arc<Self>, container: &Arc<Container>, reference: &str) -> Result<()> {
        let progress = container.progress.subscribe();
        container.change_life(|life| life.by_hand = true);
        match self.signal(container, super::signal::KILL).await {
            Ok(()) => self.resume_for_signal(container).await,
            Err(_) if !container.phase().is_live() => return Ok(()),
            Err(error) => {
                let text =
                    format!("cannot remove container {reference:?}: could not kill container: {error}");
                return Err(Error::new(error.kind(), text).caused_by(error));
            }
        }
        self.await_exit(container, progress, std::time::Duration::from_secs(10)).await
    }

    /// `volumes`: those without a name of a person's too.
    fn finish_removal(self: &Arc<Self>, container: &Arc<Container>, volumes: bool) -> Result<()> {
        if let Err(error) = self.remove_record(container, volumes) {
            container.change_life(|life| life.phase = Phase::Dead);
            return Err(error.into());
        }
        self.parts.registry.remove(container);
        self.publish(container, "destroy", &[]);
        container.progress.send_modify(|progress| progress.removed = true);
        self.clear_away(container);
        Ok(())
    }

    /// Removes an ended container that its owner asked to be thrown away.
    pub(super) fn remove_ended(self: &Arc<Self>, container: &Arc<Container>) {
        if container.begin_removal()
            && let Err(error) = self.finish_removal(container, true)
        {
            tracing::error!(container = container.id.as_str(), error = %crate::error::chain(&error), "--rm failed");
        }
    }

    /// A container that nobody was told of.
    pub(super) fn forget_unrecorded(self: &Arc<Self>, container: &Arc<Container>) {
        container.begin_removal();
        self.give_volumes_back(container);
        self.parts.registry.remove(container);
        self.publish(container, "destroy", &[]);
        container.progress.send_modify(|progress| progress.removed = true);
        self.clear_away(container);
    }

    /// Removes what a container has on disk and under the exec-root, in the background. What stays behind because the
    /// engine dies first is found by the next one.
    pub(crate) fn clear_away(self: &Arc<Self>, container: &Arc<Container>) {
        self.forget_execs(container);
        drop(container.take_early_clients());
        let data = self.data_dir(container.id.as_str());
        let exec = self.exec_dir(container.id.as_str());
        let (containers, container) = (Arc::clone(self), Arc::clone(container));
        self.clearing.send_modify(|count| *count += 1);
        tokio::spawn(async move {
            // The keeper has the layer mounted until it has taken the container apart.
            container.await_last_keeper().await;
            let worker = Arc::clone(&containers);
            let cleared = tokio::task::spawn_blocking(move || {
                let containers = worker;
                if let Err(error) = containers.delete_directory(&data) {
                    tracing::warn!(path = %data.display(), %error, "a container's directory stays until the next start");
                }
                remove_tree(&exec);
                containers.parts.blanks.refill();
                if containers.parts.ledger.checkpoint_due()
                    && let Err(error) = containers.parts.ledger.checkpoint()
                {
                    tracing::warn!(error = %crate::error::chain(&error), "checkpoint failed");
                }
            });
            if let Err(error) = cleared.await {
                tracing::warn!(%error, "a container's directory stays until the next start");
            }
            containers.clearing.send_modify(|count| *count -= 1);
        });
    }

    /// Removes a container's directory, shared memory and writable layer included.
    pub(crate) fn delete_directory(&self, directory: &Path) -> std::io::Result<()> {
        unmount_shared_memory(&directory.join("shm"));
        if !directory.exists() {
            return Ok(());
        }
        if let Err(error) = self.parts.store.driver().remove(directory) {
            tracing::warn!(path = %directory.display(), error = %crate::error::chain(&error), "its layer stays");
        }
        std::fs::remove_dir_all(directory)
    }

    /// After an exit: what only a running container has.
    pub(super) async fn clear_run_state(&self, container: &Container) {
        let data = self.data_dir(container.id.as_str());
        let exec = self.exec_dir(container.id.as_str());
        let shares = container.record().host.ipc_mode == "shareable";
        let cleared = tokio::task::spawn_blocking(move || {
            if shares {
                unmount_shared_memory(&data.join("shm"));
            }
            remove_tree(&exec);
        });
        if let Err(error) = cleared.await {
            tracing::warn!(%error, "a run directory stays until the next start");
        }
    }

    /// Ends what a container whose keeper is gone has left running, by its cgroup.
    pub(crate) async fn kill_leftovers(&self, container: &Container, record: &Record) {
        let path = self.cgroup_path(record, container.id.as_str());
        let pid = container.pid();
        let done = tokio::task::spawn_blocking(move || crate::recovery::kill_cgroup(&path, pid)).await;
        if let Ok(Err(error)) = done {
            tracing::warn!(error = %crate::error::chain(&error), "processes of a container without keeper stay");
        }
    }

    /// Ends a keeper and its container at once; used by recovery for what no record knows.
    pub(crate) async fn shut_down_keeper(keeper: &crate::keepers::Connection) {
        if let Err(error) = keeper.order(Body::Shutdown, Vec::new()).await {
            tracing::warn!(error = %crate::error::chain(&error), "an unknown keeper did not end");
        }
    }
}

fn refuse_live(container: &Container) -> Result<()> {
    let name = container.record().name.clone();
    let why = match container.phase() {
        Phase::Paused => "container is paused and must be unpaused first",
        Phase::Running => "container is running: stop the container before removing or force remove",
        Phase::Restarting => "container is restarting: stop the container before removing or force remove",
        _ => return Ok(()),
    };
    Err(Error::conflict(format!("cannot remove container \"{name}\": {why}")))
}

pub(crate) fn unmount_shared_memory(path: &Path) {
    use rustix::mount::{UnmountFlags, unmount};
    if path.exists()
        && let Err(errno) = unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        // It was no mount point, which is what is wanted.
        && errno != rustix::io::Errno::INVAL
    {
        tracing::warn!(path = %path.display(), %errno, "shared memory stays mounted");
    }
}

/// Removes a directory of sockets; what is already gone is fine.
pub(crate) fn remove_tree(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a run directory stays until the next start");
    }
}
