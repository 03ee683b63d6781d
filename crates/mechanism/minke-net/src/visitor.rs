//! A thread that enters namespaces on behalf of others.
//!
//! Sysctls and sockets of a namespace are reached only by standing in it. The engine's own threads never do; this one goes, does what
//! it is asked and comes back. Waking it costs less than making a thread for each visit.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::namespace::{NamespaceError, Outside};

type Visit = Box<dyn FnOnce(&Outside) + Send>;

/// See the page above. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Visitor {
    visits: Option<Mutex<Sender<Visit>>>,
    thread: Option<JoinHandle<()>>,
}

impl Visitor {
    pub(crate) fn open(outside: Outside) -> std::io::Result<Self> {
        let (visits, queue): (Sender<Visit>, Receiver<Visit>) = channel();
        let thread = std::thread::Builder::new().name("minke-net-visit".to_owned()).spawn(move || {
            for visit in queue {
                visit(&outside);
            }
        })?;
        Ok(Self { visits: Some(Mutex::new(visits)), thread: Some(thread) })
    }

    /// Runs `work` inside the namespace and waits for it.
    pub(crate) fn visit<T: Send + 'static>(
        &self,
        netns: BorrowedFd<'_>,
        work: impl FnOnce() -> Result<T, NamespaceError> + Send + 'static,
    ) -> Result<T, NamespaceError> {
        let netns: OwnedFd = netns.try_clone_to_owned().map_err(|source| NamespaceError::Open { source })?;
        let (answer, answered): (SyncSender<Result<T, NamespaceError>>, _) = sync_channel(1);
        let visit: Visit = Box::new(move |outside| {
            use std::os::fd::AsFd;
            // Who asked waits below.
            drop(answer.send(outside.within(netns.as_fd(), work)));
        });
        let gone =
            || NamespaceError::Thread { source: std::io::Error::other("the visiting thread has ended") };
        let Some(visits) = &self.visits else { return Err(gone()) };
        if visits.lock().unwrap_or_else(PoisonError::into_inner).send(visit).is_err() {
            return Err(gone());
        }
        answered.recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        drop(self.visits.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that visits network namespaces had panicked");
        }
    }
}
