//! The daemon at rest: some time after the last request it gives back the memory that serving took.
//!
//! Freed heap goes to the kernel, and code and constants leave the process for the page cache, from where a few pages at a time
//! come back with the next request. Nothing wakes up while nothing happens: the task waits for a request before it waits for time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How long nothing must happen.
const QUIET: Duration = Duration::from_secs(2);

/// Tells the requests of now from those of before.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    requests: AtomicU64,
    stirred: Notify,
}

impl Rest {
    /// A request came.
    pub(crate) fn stir(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.stirred.notify_one();
    }

    /// Gives memory back whenever it has become quiet; the first time after the start, whose code is not needed again.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            self.settle().await;
            minke_sys::memory::release_heap();
            minke_sys::memory::release_code();
            self.stirred.notified().await;
        }
    }

    async fn settle(&self) {
        loop {
            let before = self.requests.load(Ordering::Relaxed);
            tokio::time::sleep(QUIET).await;
            if self.requests.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_put_the_rest_off() {
        let rest = Arc::new(Rest::default());
        let resting = Arc::clone(&rest);
        let settled = tokio::spawn(async move { resting.settle().await });
        tokio::time::sleep(QUIET / 2).await;
        rest.stir();
        tokio::time::sleep(QUIET * 3 / 4).await;
        assert!(!settled.is_finished(), "a request came meanwhile");
        tokio::time::timeout(QUIET * 2, settled).await.expect("quiet at last").expect("no panic");
    }
}
