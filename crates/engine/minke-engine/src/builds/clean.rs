//! Layers of a build that failed or was given up belong to nobody unless they were recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Builds;

/// Held by a build and by whatever digests its layers; when the last of them is gone, what nobody has is collected.
#[derive(Debug)]
pub(super) struct Clean {
    builds: Arc<Builds>,
    settled: AtomicBool,
}

impl Clean {
    pub(super) fn new(builds: &Arc<Builds>) -> Arc<Self> {
        Arc::new(Self { builds: Arc::clone(builds), settled: AtomicBool::new(false) })
    }

    /// Everything that the build made is recorded.
    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Release);
    }
}

impl Drop for Clean {
    fn drop(&mut self) {
        if self.settled.load(Ordering::Acquire) {
            return;
        }
        let images = Arc::clone(&self.builds.containers.parts.images);
        tokio::spawn(async move {
            if let Err(error) = images.collect().await {
                tracing::warn!(error = %crate::error::chain(&error), "layers of a build that did not end well stay");
            }
        });
    }
}
