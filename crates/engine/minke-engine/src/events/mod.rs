//! The bus on which every service says what happened, and from which clients follow the engine.
//!
//! Events are facts in Docker's words (`container start`, `image tag` …). The last few hundred are kept so that a
//! client can ask `since` a moment; nothing is written to disk. A subscriber that does not keep up loses the oldest
//! ones and is told nothing, as with Docker; it can never slow a service down.

mod matching;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::clock::Moment;
use crate::filters::Filters;

pub use stream::EventStream;

/// How many past events are kept.
const KEPT: usize = 512;
/// How many events a subscriber may lag behind.
const LAG: usize = 1024;

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What sort of thing it happened to: `container`, `image`, `network`, `daemon`.
    pub kind: &'static str,
    /// What happened: `create`, `exec_start: sh`, `die` …
    pub action: String,
    /// The thing's id (an image's name for tag events).
    pub id: String,
    /// What else is worth knowing, in Docker's keys.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub at: Moment,
}

/// The bus. Cheap to share; publishing never waits.
#[derive(Debug)]
pub struct Events {
    past: Mutex<VecDeque<Arc<Event>>>,
    live: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Events {
    /// A bus on which nothing happened yet.
    pub fn new() -> Self {
        Self { past: Mutex::new(VecDeque::with_capacity(64)), live: broadcast::channel(LAG).0 }
    }

    /// Tells everybody that `action` happened to the thing `id`.
    pub fn publish(
        &self,
        kind: &'static str,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let event =
            Arc::new(Event { kind, action: action.into(), id: id.into(), attributes, at: Moment::now() });
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == KEPT {
            past.pop_front();
        }
        past.push_back(Arc::clone(&event));
        // Sent under the lock, so that a subscriber that reads the past under it sees each event exactly once.
        // An error only says that nobody listens.
        drop(self.live.send(event));
    }

    /// Past events from `since` on, then live ones up to `until`, all passing `filters`.
    ///
    /// Without `since` only live events come, unless `until` lies in the past, when the kept ones up to it come.
    pub fn subscribe(&self, since: Option<Moment>, until: Option<Moment>, filters: Filters) -> EventStream {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.subscribe();
        let now = Moment::now();
        let wanted = since.is_some() || until.is_some_and(|until| until <= now);
        let chosen: VecDeque<_> = if wanted {
            past.iter()
                .filter(|event| since.is_none_or(|since| event.at >= since))
                .filter(|event| until.is_none_or(|until| event.at <= until))
                .filter(|event| matching::passes(event, &filters))
                .cloned()
                .collect()
        } else {
            VecDeque::new()
        };
        drop(past);
        EventStream::new(chosen, live, until, filters)
    }

    /// How many clients are listening.
    pub fn listeners(&self) -> usize {
        self.live.receiver_count()
    }
}

#[cfg(test)]
mod tests;
