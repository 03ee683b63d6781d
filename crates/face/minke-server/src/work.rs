//! Work that must not be cut off: requests that change something run to their end, even when the client leaves, and the
//! daemon waits for them (for a time) before it ends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use minke_base::Kind;
use tokio::sync::watch;

use crate::http::Failure;

/// Counts the work under way.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    under_way: Arc<watch::Sender<usize>>,
}

impl Default for Work {
    fn default() -> Self {
        Self { under_way: Arc::new(watch::channel(0).0) }
    }
}

/// One piece of work; counted until dropped.
#[derive(Debug)]
struct Piece(Arc<watch::Sender<usize>>);

impl Drop for Piece {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Work {
    /// Starts work that nobody can cut off.
    pub(crate) fn start<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.under_way.send_modify(|count| *count += 1);
        let piece = Piece(Arc::clone(&self.under_way));
        tokio::spawn(async move {
            let _piece = piece;
            work.await
        })
    }

    /// Starts it and waits for what it brings.
    pub(crate) async fn to_the_end<T, F>(&self, work: F) -> Result<T, Failure>
    where
        F: Future<Output = minke_engine::Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        match self.start(work).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(Failure::new(Kind::System, format!("the engine failed inside: {error}"))),
        }
    }

    /// The same for work that keeps a thread: the disk's, or the kernel's. `what` it does is for the error of a thread that died.
    pub(crate) async fn apart<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> minke_engine::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.to_the_end(async move {
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|source| minke_engine::Error::failed(what, source))?
        })
        .await
    }

    /// Waits until nothing is under way; false when that takes longer than the time given.
    pub(crate) async fn drain(&self, patience: Duration) -> bool {
        let mut under_way = self.under_way.subscribe();
        tokio::time::timeout(patience, under_way.wait_for(|count| *count == 0)).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it() {
        let work = Work::default();
        let (send, receive) = tokio::sync::oneshot::channel();
        let waiting = work.to_the_end(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            send.send(()).unwrap();
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), waiting).await.is_err());
        assert!(!work.drain(Duration::from_millis(1)).await);
        assert!(work.drain(Duration::from_secs(5)).await);
        receive.await.unwrap();
    }
}
