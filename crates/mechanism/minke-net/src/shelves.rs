//! Ready namespaces for users' networks: what [`crate::stock`] is for the default network, for each network that is being used.
//!
//! A network's first claim opens its shelf, which a thread of this crate fills behind the answer; a claim that finds it empty makes it
//! longer, up to a limit. Shelves nobody takes from are cleared away after a while, and those of a network that goes go with it: what
//! lies on them holds nothing but itself, so dropping it is all there is to do.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::attach::PortPlan;
use crate::namespace::{NamespaceError, Outside};
use crate::netlink::{Family, Socket};
use crate::plug::Plugged;
use crate::plugger::READY;
use crate::state::lock;
use crate::stock::refill_delay;

/// How many a shelf holds at first.
const FIRST_LENGTH: usize = 2;

/// See the page above. Dropping it ends the thread and drops what is ready.
pub(crate) struct Shelves {
    shared: Arc<Shared>,
    longest: usize,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    idle: Duration,
}

#[derive(Default)]
struct State {
    /// By the network's id.
    shelves: BTreeMap<String, Shelf>,
    /// How many shelves there have been.
    opened: u64,
    stop: bool,
}

struct Shelf {
    /// Tells it from one of the same network before and after.
    serial: u64,
    plan: PortPlan,
    items: VecDeque<Plugged>,
    wanted: usize,
    last_claim: Instant,
    failed_at: Option<Instant>,
}

impl fmt::Debug for Shelves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.shared.state);
        f.debug_map().entries(state.shelves.iter().map(|(id, shelf)| (id, shelf.items.len()))).finish()
    }
}

impl Shelves {
    /// Starts the thread. A shelf holds `longest` at most, none if that is 0, and is cleared away `idle` after its last claim.
    pub(crate) fn open(outside: Outside, longest: usize, idle: Duration) -> Result<Self, NamespaceError> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), idle });
        let theirs = Arc::clone(&shared);
        let mut maker = Maker { outside, route: Socket::open(Family::Route)? };
        let started: io::Result<_> = std::thread::Builder::new()
            .name("minke-net-shelf".to_owned())
            .spawn(move || serve(&theirs, &mut maker));
        let thread = started.map_err(|source| NamespaceError::Thread { source })?;
        Ok(Self { shared, longest, thread: Some(thread) })
    }

    /// Takes a namespace that is plugged into the network as `plan` says, when one is ready. The thread learns of it with the next
    /// [`Self::tend`].
    pub(crate) fn take(&self, network: &str, plan: &PortPlan) -> Option<Plugged> {
        if self.longest == 0 {
            return None;
        }
        let mut state = lock(&self.shared.state);
        if let Some(shelf) = state.shelves.get_mut(network).filter(|shelf| shelf.plan == *plan) {
            shelf.last_claim = Instant::now();
            let ready = shelf.items.pop_front();
            if ready.is_none() {
                shelf.wanted = (shelf.wanted * 2).min(self.longest);
            }
            return ready;
        }
        state.opened += 1;
        let shelf = Shelf {
            serial: state.opened,
            plan: plan.clone(),
            items: VecDeque::new(),
            wanted: FIRST_LENGTH.min(self.longest),
            last_claim: Instant::now(),
            failed_at: None,
        };
        state.shelves.insert(network.to_owned(), shelf);
        None
    }

    /// Wakes the thread to see to the shelves.
    pub(crate) fn tend(&self) {
        self.shared.changed.notify_one();
    }

    /// Drops what is ready for a network.
    pub(crate) fn clear(&self, network: &str) {
        let gone = lock(&self.shared.state).shelves.remove(network);
        drop(gone);
    }

    /// How many are ready for a network.
    pub(crate) fn ready(&self, network: &str) -> usize {
        lock(&self.shared.state).shelves.get(network).map_or(0, |shelf| shelf.items.len())
    }
}

impl Drop for Shelves {
    fn drop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps namespaces of users' networks ready had panicked");
        }
    }
}

struct Maker {
    outside: Outside,
    route: Socket,
}

/// The shelf that shall be filled next.
struct Next {
    delay: Duration,
    network: String,
    serial: u64,
    plan: PortPlan,
}

fn serve(shared: &Shared, maker: &mut Maker) {
    loop {
        let mut state = lock(&shared.state);
        if state.stop {
            return;
        }
        state.shelves.retain(|_, shelf| shelf.last_claim.elapsed() < shared.idle);
        let Some(next) = next(&state.shelves) else {
            // Woken by a claim, or when the first shelf has lain idle.
            let oldest = state.shelves.values().map(|shelf| shelf.last_claim.elapsed()).max();
            match oldest {
                Some(since) => {
                    drop(shared.changed.wait_timeout(state, shared.idle.saturating_sub(since)));
                }
                None => drop(shared.changed.wait(state)),
            }
            continue;
        };
        if !next.delay.is_zero() {
            drop(shared.changed.wait_timeout(state, next.delay));
            continue;
        }
        drop(state);
        let made = Plugged::make(&maker.outside, &mut maker.route, &next.plan, READY, true);
        let mut state = lock(&shared.state);
        let shelf = state.shelves.get_mut(&next.network).filter(|shelf| shelf.serial == next.serial);
        match (made, shelf) {
            (Ok(plugged), Some(shelf)) => {
                shelf.items.push_back(plugged);
                shelf.failed_at = None;
            }
            (Err(error), Some(shelf)) => {
                tracing::warn!("cannot keep a namespace of network {} ready: {error}", next.network);
                shelf.failed_at = Some(Instant::now());
            }
            // The network has gone meanwhile.
            (Ok(_) | Err(_), None) => {}
        }
    }
}

/// The shelf whose turn comes first, among equals the emptiest.
fn next(shelves: &BTreeMap<String, Shelf>) -> Option<Next> {
    let waiting = shelves.iter().filter_map(|(network, shelf)| {
        let ready = shelf.items.len();
        let delay = refill_delay(ready, shelf.wanted, Some(shelf.last_claim), shelf.failed_at)?;
        Some((delay, ready, network, shelf))
    });
    let (delay, _, network, shelf) = waiting.min_by_key(|(delay, ready, ..)| (*delay, *ready))?;
    Some(Next { delay, network: network.clone(), serial: shelf.serial, plan: shelf.plan.clone() })
}
