//! One container in memory: what is remembered of it, and what is going on with it right now.
//!
//! Three locks, none held while another is waited for. `record` and `life` are held for a copy or an assignment;
//! `transition` is held over a whole change of state (start, stop, remove …), so that two clients cannot start and
//! remove at once. What the keeper reports (an exit) takes only `life`, so that a stop can wait for the exit it caused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use minke_base::ContainerId;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::exec::Exec;
use super::record::{Life, Phase, Record};
use super::requests::ClientStream;
use crate::images::Image;
use crate::keepers::Connection;

/// How long a keeper may take to leave; it serves clients that are slow to read.
const KEEPER_PATIENCE: Duration = Duration::from_secs(10);

/// What others wait for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// How many times it has ended.
    pub(crate) exits: u64,
    /// Whether its program is there (or about to be restarted).
    pub(crate) live: bool,
    /// Whether it is gone from the records.
    pub(crate) removed: bool,
    /// The last exit code.
    pub(crate) exit_code: i64,
    /// Why the last start failed.
    pub(crate) error: String,
}

/// A client that attached before the container ran.
#[derive(Debug)]
pub(crate) struct EarlyClient {
    pub(crate) spec: minke_keeper::protocol::AttachSpec,
    pub(crate) stream: ClientStream,
}

/// A container.
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    /// What it was made from; lives here even when the image has lost its name.
    pub(crate) image: Arc<Image>,
    record: RwLock<Arc<Record>>,
    life: Mutex<Life>,
    /// Held over a whole change of state.
    pub(crate) transition: tokio::sync::Mutex<()>,
    pub(crate) progress: watch::Sender<Progress>,
    keeper: Mutex<Option<Arc<Connection>>>,
    /// Follows the keeper until it has left.
    watcher: Mutex<Option<JoinHandle<()>>>,
    early: Mutex<Vec<EarlyClient>>,
    execs: Mutex<BTreeMap<String, Arc<Exec>>>,
    next_client: AtomicU64,
    /// Counts starts, so that a timer for a restart knows whether it is stale.
    starts: AtomicU64,
    /// Counts the times that health checks begin or end, so that an answer knows whether it still counts.
    rounds: AtomicU64,
    /// Whether the ledger has it.
    recorded: AtomicBool,
    /// It is being stopped only to be started again: `--rm` has to wait.
    pub(crate) stays: AtomicBool,
    /// The pause before its last restart.
    pub(crate) last_pause: Mutex<Duration>,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container")
            .field("id", &self.id)
            .field("phase", &self.life().phase)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Container {
    pub(crate) fn new(id: ContainerId, record: Record, life: Life, image: Arc<Image>) -> Arc<Self> {
        let progress = Progress {
            exits: 0,
            live: false,
            removed: false,
            exit_code: life.exit_code,
            error: life.error.clone(),
        };
        Arc::new(Self {
            id,
            image,
            record: RwLock::new(Arc::new(record)),
            life: Mutex::new(life),
            transition: tokio::sync::Mutex::new(()),
            progress: watch::Sender::new(progress),
            keeper: Mutex::new(None),
            watcher: Mutex::new(None),
            early: Mutex::new(Vec::new()),
            execs: Mutex::new(BTreeMap::new()),
            next_client: AtomicU64::new(1),
            starts: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            recorded: AtomicBool::new(false),
            stays: AtomicBool::new(false),
            last_pause: Mutex::new(Duration::ZERO),
        })
    }

    pub(crate) fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_record(&self, record: Record) {
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(record);
    }

    /// A copy of how it is.
    pub(crate) fn life(&self) -> Life {
        lock(&self.life).clone()
    }

    pub(crate) fn phase(&self) -> Phase {
        lock(&self.life).phase
    }

    pub(crate) fn pid(&self) -> i32 {
        lock(&self.life).pid
    }

    /// Changes how it is and gives the result back as a copy, for the ledger.
    pub(crate) fn change_life(&self, change: impl FnOnce(&mut Life)) -> Life {
        let mut life = lock(&self.life);
        change(&mut life);
        life.clone()
    }

    /// Marks it as being removed; `false` when somebody else already has.
    pub(crate) fn begin_removal(&self) -> bool {
        let mut life = lock(&self.life);
        let first = life.phase != Phase::Removing;
        life.phase = Phase::Removing;
        first
    }

    pub(crate) fn keeper(&self) -> Option<Arc<Connection>> {
        lock(&self.keeper).clone()
    }

    pub(crate) fn set_keeper(&self, keeper: Option<Arc<Connection>>) {
        *lock(&self.keeper) = keeper;
    }

    pub(crate) fn set_watcher(&self, watcher: JoinHandle<()>) {
        *lock(&self.watcher) = Some(watcher);
    }

    /// Waits until the keeper of the run before has left: it takes the container's cgroup with it, which a new run
    /// would otherwise lose under its feet.
    pub(crate) async fn await_last_keeper(&self) {
        let Some(mut watcher) = lock(&self.watcher).take() else { return };
        if tokio::time::timeout(KEEPER_PATIENCE, &mut watcher).await.is_err() {
            tracing::warn!(container = self.id.as_str(), "its last keeper is still there");
            watcher.abort();
        }
    }

    /// A number for an attached client, unique in this container's life under this daemon.
    pub(crate) fn next_client(&self) -> u64 {
        self.next_client.fetch_add(1, Ordering::Relaxed)
    }

    /// After adoption: numbers below `used` are taken by clients of the daemon before.
    pub(crate) fn skip_clients(&self, used: u64) {
        self.next_client.fetch_max(used + 1, Ordering::Relaxed);
    }

    pub(crate) fn add_early_client(&self, client: EarlyClient) {
        lock(&self.early).push(client);
    }

    pub(crate) fn has_early_clients(&self) -> bool {
        !lock(&self.early).is_empty()
    }

    pub(crate) fn take_early_clients(&self) -> Vec<EarlyClient> {
        std::mem::take(&mut *lock(&self.early))
    }

    /// Forgets early clients whose other end has gone.
    pub(crate) fn prune_early_clients(&self) {
        lock(&self.early).retain(|client| !crate::keepers::is_hung_up(&client.stream.socket));
    }

    pub(crate) fn execs(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Exec>>> {
        lock(&self.execs)
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Acquire)
    }

    pub(crate) fn set_recorded(&self) {
        self.recorded.store(true, Ordering::Release);
    }

    /// Somebody starts it: its restart policy counts from zero.
    pub(crate) fn begin_series(&self) {
        self.change_life(|life| life.restarts = 0);
        *lock(&self.last_pause) = Duration::ZERO;
    }

    pub(crate) fn count_start(&self) -> u64 {
        self.starts.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Health checks that were planned before do not count any more.
    pub(crate) fn next_round(&self) -> u64 {
        self.rounds.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn round(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    pub(crate) fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }
}
