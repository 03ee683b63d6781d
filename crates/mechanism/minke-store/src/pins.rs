//! What must not be collected although no record names it yet.
//!
//! A load adds blobs and layers first and its caller records the image afterwards; a collection in between must spare them. So
//! every addition takes place under a [`Hold`], whose pins last until it is dropped, which the caller does after its record is
//! durable. A collection that began before the hold was dropped spares its pins as well, because it may have read the records
//! before the new one was there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minke_base::Digest;

#[derive(Debug, Default)]
pub struct Pins {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    held: HashMap<u64, HashSet<Digest>>,
    /// What was pinned since the running collection began, and what was pinned when it did.
    sweeping: Option<HashSet<Digest>>,
}

/// Keeps everything that is pinned while it lives.
#[derive(Debug)]
#[must_use = "a hold protects only while it is alive"]
pub struct Hold {
    pins: Arc<Pins>,
    id: u64,
}

impl Pins {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn hold(self: &Arc<Self>) -> Hold {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.held.insert(id, HashSet::new());
        Hold { pins: Arc::clone(self), id }
    }

    /// Pins for everyone who holds now: additions cannot tell on whose behalf they happen, and sparing too much is harmless.
    pub(crate) fn pin(&self, digest: Digest) {
        let mut state = self.lock();
        for held in state.held.values_mut() {
            held.insert(digest);
        }
        if let Some(sweeping) = &mut state.sweeping {
            sweeping.insert(digest);
        }
    }

    /// Begins a collection; `false` when one is running.
    pub(crate) fn begin_sweep(&self) -> bool {
        let mut state = self.lock();
        if state.sweeping.is_some() {
            return false;
        }
        state.sweeping = Some(state.held.values().flatten().copied().collect());
        true
    }

    /// Runs `remove` unless the digest is pinned, atomically with respect to pinning.
    pub(crate) fn sweep<T>(&self, digest: Digest, remove: impl FnOnce() -> T) -> Option<T> {
        let state = self.lock();
        let pinned = state.sweeping.as_ref().is_none_or(|spared| spared.contains(&digest));
        if pinned { None } else { Some(remove()) }
    }

    /// Whether somebody is adding just now.
    pub(crate) fn anything_held(&self) -> bool {
        !self.lock().held.is_empty()
    }

    pub(crate) fn end_sweep(&self) {
        self.lock().sweeping = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.pins.lock().held.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::from_sha256([n; 32])
    }

    #[test]
    fn a_sweep_spares_what_was_pinned_before_and_during_it() {
        let pins = Arc::new(Pins::default());
        let hold = pins.hold();
        pins.pin(digest(1));
        assert!(pins.begin_sweep());
        assert!(!pins.begin_sweep(), "one collection at a time");
        drop(hold);
        pins.pin(digest(2));
        let swept = |n| pins.sweep(digest(n), || ()).is_some();
        assert_eq!([swept(1), swept(2), swept(3)], [false, false, true]);
        pins.end_sweep();
        assert!(pins.begin_sweep());
        assert!(pins.sweep(digest(1), || ()).is_some(), "the hold is gone");
    }
}
