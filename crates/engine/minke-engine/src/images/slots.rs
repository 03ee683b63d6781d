//! How many transfers go on at once, over all pulls or all pushes. The number may change while they do.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Places for transfers. Whoever comes when all are taken waits.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: usize,
    taken: usize,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::new(State { limit: limit.max(1), taken: 0 }), freed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another number from now on. Those who have a place keep it.
    pub(super) fn set_limit(&self, limit: usize) {
        self.state().limit = limit.max(1);
        self.freed.notify_waiters();
    }

    pub(super) fn are_taken(&self) -> bool {
        let state = self.state();
        state.taken >= state.limit
    }

    pub(super) async fn take(&self) -> Slot<'_> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before the look: what is freed in between is heard of.
            freed.as_mut().enable();
            if let Some(slot) = self.try_take() {
                return slot;
            }
            freed.await;
        }
    }

    fn try_take(&self) -> Option<Slot<'_>> {
        let mut state = self.state();
        let free = state.taken < state.limit;
        free.then(|| {
            state.taken += 1;
            Slot(self)
        })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.state().taken -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn whoever_comes_when_all_places_are_taken_waits_for_one() {
        let slots = Slots::new(2);
        let (first, second) = (slots.take().await, slots.take().await);
        assert!(slots.are_taken());
        let mut third = Box::pin(slots.take());
        assert!((&mut third).now_or_never().is_none());
        drop(first);
        let third = third.await;
        assert!(slots.are_taken());
        drop((second, third));
        assert!(!slots.are_taken());
    }

    #[tokio::test]
    async fn more_places_are_taken_at_once_and_fewer_as_they_are_left() {
        let slots = Slots::new(1);
        let first = slots.take().await;
        let mut second = Box::pin(slots.take());
        assert!((&mut second).now_or_never().is_none());
        slots.set_limit(2);
        let second = second.await;
        slots.set_limit(1);
        drop(first);
        assert!(slots.are_taken(), "one is left, and there is one place");
        let mut third = Box::pin(slots.take());
        assert!((&mut third).now_or_never().is_none());
        drop(second);
        drop(third.await);
    }

    #[tokio::test]
    async fn a_place_is_not_lost_with_somebody_who_stops_waiting() {
        let slots = Arc::new(Slots::new(1));
        let first = slots.take().await;
        let mut given_up = Box::pin(slots.take());
        assert!((&mut given_up).now_or_never().is_none());
        let waiting = {
            let slots = Arc::clone(&slots);
            tokio::spawn(async move { drop(slots.take().await) })
        };
        tokio::task::yield_now().await;
        drop(first);
        drop(given_up);
        tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.unwrap().unwrap();
    }
}
