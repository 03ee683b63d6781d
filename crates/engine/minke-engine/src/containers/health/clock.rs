//! One timer for all containers: it sleeps until the next check is due, and for ever when there is none.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::Containers;
use super::super::container::Container;

/// What is due: whose check, and of which round.
type Due = (Weak<Container>, u64);

/// The checks that wait.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    waiting: Mutex<BTreeMap<(Instant, u64), Due>>,
    /// Tells apart what is due at the same moment.
    next: AtomicU64,
    changed: Arc<Notify>,
    ticks: AtomicBool,
}

impl Clock {
    /// Has `container` checked after `pause`. The first call of all starts the timer.
    pub(super) fn add(
        &self,
        containers: &Arc<Containers>,
        container: &Arc<Container>,
        pause: Duration,
        round: u64,
    ) {
        let key = (Instant::now() + pause, self.next.fetch_add(1, Ordering::Relaxed));
        let first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.insert(key, (Arc::downgrade(container), round));
            waiting.first_key_value().is_some_and(|(first, _)| *first == key)
        };
        if first {
            self.changed.notify_one();
        }
        if !self.ticks.swap(true, Ordering::Relaxed) {
            tokio::spawn(tick(Arc::downgrade(containers), Arc::clone(&self.changed)));
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.first_key_value().map(|((at, _), _)| *at)
    }

    fn take_due(&self, now: Instant) -> Vec<Due> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let later = waiting.split_off(&(now + Duration::from_nanos(1), 0));
        std::mem::replace(&mut *waiting, later).into_values().collect()
    }
}

async fn tick(containers: Weak<Containers>, changed: Arc<Notify>) {
    loop {
        let Some(due) = containers.upgrade().map(|containers| containers.health.next_due()) else { return };
        match due {
            Some(at) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = changed.notified() => continue,
                }
            }
            None => {
                changed.notified().await;
                continue;
            }
        }
        let Some(containers) = containers.upgrade() else { return };
        for (container, round) in containers.health.take_due(Instant::now()) {
            if let Some(container) = container.upgrade() {
                containers.check_now(container, round);
            }
        }
    }
}
