//! Containers: their records, their life, and everything a client may ask of one.
//!
//! [`Containers`] is the service; each verb lives in a file of its own. A container's life is changed in one of two
//! ways: by a verb that holds its `transition` lock (start, remove …), or by what its keeper reports (`supervise`).
//! Whatever a client is told is in the ledger first.

mod archive;
mod attach;
mod commit;
mod confinement;
mod connect;
mod container;
mod create;
mod exec;
mod files;
mod health;
mod inspect;
mod kill;
mod links;
mod list;
mod log_tag;
mod logs;
mod mounting;
mod names;
mod namespaces;
mod networking;
mod outcome;
mod own_file;
mod prepare;
mod prune;
mod record;
mod registry;
mod remove;
mod rename;
mod requests;
pub mod restart;
mod rootfs;
mod run;
mod shutdown;
pub mod signal;
mod start;
mod stats;
mod step;
mod supervise;
mod top;
mod update;
mod validate;
mod volumes;
mod wait;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use minke_store::Store;
use tokio::sync::watch;

use crate::config::Config;
use crate::error::Result;
use crate::events::Events;
use crate::images::Images;
use crate::keepers::Blanks;
use crate::ledger::Ledger;
use crate::networks::Networks;
use crate::seccomp::Filters as SeccompFilters;
use crate::spec::{HostFacts, environment};
use crate::volumes::Volumes;

pub use archive::{ArchivePieces, PutOptions};
pub use commit::CommitRequest;
pub use health::{Health, Outcome, Verdict};
pub use logs::LogStream;
pub use minke_store::copying::PathStat;
pub use record::{Life, Phase, Record};
pub use requests::{
    AcceptedAttach, AcceptedExec, AttachOptions, BegunRun, ClientStream, ListOptions, LogOptions,
    RemoveOptions, RunRequest, Streams, WaitCondition,
};
pub use stats::{Sampling, StatsStream};
pub use wait::Waiter;

pub(crate) use container::Container;
pub(crate) use registry::Registry;
pub(crate) use step::{EndedStep, Step, StepEvent};

/// What the service stands on.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) facts: Arc<HostFacts>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) events: Arc<Events>,
    pub(crate) images: Arc<Images>,
    pub(crate) networks: Arc<Networks>,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) store: Arc<Store>,
    pub(crate) blanks: Blanks,
    pub(crate) registry: Arc<Registry>,
}

/// The service.
#[derive(Debug)]
pub struct Containers {
    pub(crate) parts: Parts,
    seccomp: SeccompFilters,
    /// How many removals go on in the background.
    clearing: watch::Sender<usize>,
    execs: Mutex<HashMap<String, ExecPlace>>,
    health: health::Clock,
    /// Containers of builds, which no list shows.
    hidden: Mutex<HashSet<String>>,
    /// The engine ends and takes its containers with it: nothing is started any more.
    closing: AtomicBool,
}

/// Where an exec is to be found.
type ExecPlace = (Arc<Container>, Arc<exec::Exec>);

impl Containers {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            seccomp: SeccompFilters::default(),
            clearing: watch::Sender::new(0),
            execs: Mutex::new(HashMap::new()),
            health: health::Clock::default(),
            hidden: Mutex::default(),
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>> {
        self.parts.registry.find(reference)
    }

    fn execs(&self) -> std::sync::MutexGuard<'_, HashMap<String, ExecPlace>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what was removed is off the disk too, or `patience` is over.
    pub(crate) async fn settle(&self, patience: Duration) {
        let mut clearing = self.clearing.subscribe();
        let settled = clearing.wait_for(|count| *count == 0);
        if tokio::time::timeout(patience, settled).await.is_err() {
            tracing::warn!("removed containers are still on the disk: the next start finds them");
        }
    }

    /// A container's directory under the data-root.
    pub(crate) fn data_dir(&self, id: &str) -> PathBuf {
        self.parts.config.data_root.join("containers").join(id)
    }

    /// A container's directory under the exec-root.
    pub(crate) fn exec_dir(&self, id: &str) -> PathBuf {
        self.parts.config.exec_root.join("containers").join(id)
    }

    /// Tells the world that `action` happened to `container`.
    pub(crate) fn publish(&self, container: &Container, action: impl Into<String>, more: &[(&str, String)]) {
        let record = container.record();
        let mut attributes: BTreeMap<String, String> = record.labels();
        attributes.insert("image".to_owned(), record.config.image.clone());
        attributes.insert("name".to_owned(), record.name.clone());
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.parts.events.publish("container", action, container.id.as_str(), attributes);
    }

    /// How many containers are in which phase: running, paused, stopped.
    pub(crate) fn count(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for container in self.parts.registry.all() {
            match container.phase() {
                Phase::Running | Phase::Restarting => counts.0 += 1,
                Phase::Paused => counts.1 += 1,
                Phase::Created | Phase::Exited | Phase::Dead | Phase::Removing => counts.2 += 1,
            }
        }
        counts
    }
}

/// A new id of the kind that Docker gives endpoints and sandboxes.
fn random_id() -> String {
    minke_base::ContainerId::random().as_str().to_owned()
}
