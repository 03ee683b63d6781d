//! Layers on their way here, each once however many pulls want it.
//!
//! A fetch is a task that passes a blob's bytes on and a thread that takes them in. Pulls wait for it together; when the last one
//! stops waiting the task ends, the thread finds its stream broken off, and what came stays for the next try.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use futures_util::StreamExt as _;
use minke_base::Digest;
use minke_registry::{BlobReader, Repository};
use minke_store::{Coming, Store};
use tokio::sync::{mpsc, watch};

use super::slots::Slots;
use crate::error::{Error, Result};

/// Pieces between the task and the thread: they are as large as what the socket gave, and the thread has buffers of its own.
const PIECES: usize = 8;

/// A layer as an image wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) blob: Digest,
    pub(super) size: u64,
    pub(super) diff_id: Digest,
}

/// How far one is.
#[derive(Debug, Clone)]
pub(super) enum Stand {
    Begun,
    /// Others go first.
    Waiting,
    Downloading(u64),
    /// All bytes are here, checked.
    Downloaded,
    /// Unpacked.
    Done,
    Failed(Arc<Error>),
}

#[derive(Debug)]
struct Fetch {
    stand: watch::Receiver<Stand>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Fetches {
    store: Arc<Store>,
    slots: Arc<Slots>,
    under_way: Mutex<HashMap<Wanted, Weak<Fetch>>>,
}

impl Fetches {
    pub(super) fn new(store: Arc<Store>, at_once: usize) -> Self {
        Self { store, slots: Arc::new(Slots::new(at_once)), under_way: Mutex::default() }
    }

    /// How many go on at once from now on.
    pub(super) fn limit(&self, at_once: usize) {
        self.slots.set_limit(at_once);
    }

    /// Sees to it that a layer is here; `tell` hears how far it is.
    pub(super) async fn fetch(
        &self,
        repository: &Repository,
        wanted: Wanted,
        mut tell: impl FnMut(&Stand),
    ) -> Result<()> {
        loop {
            let (fetch, own) = self.join(repository, wanted);
            let mut stand = fetch.stand.clone();
            loop {
                let now = stand.borrow_and_update().clone();
                tell(&now);
                match now {
                    Stand::Done => return Ok(()),
                    // Somebody else's fetch failed, perhaps for a reason that is theirs alone.
                    Stand::Failed(_) if !own => break,
                    Stand::Failed(error) => return Err(Error::new(error.kind(), error.message())),
                    Stand::Begun | Stand::Waiting | Stand::Downloading(_) | Stand::Downloaded => {}
                }
                if stand.changed().await.is_err() {
                    return Err(Error::system("a download was given up inside the engine"));
                }
            }
            self.forget(wanted, &fetch);
        }
    }

    fn join(&self, repository: &Repository, wanted: Wanted) -> (Arc<Fetch>, bool) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|_, fetch| fetch.strong_count() > 0);
        let known = under_way.get(&wanted).and_then(Weak::upgrade);
        if let Some(fetch) = known.filter(|fetch| !matches!(*fetch.stand.borrow(), Stand::Failed(_))) {
            return (fetch, false);
        }
        let (tell, stand) = watch::channel(Stand::Begun);
        let (store, slots, repository) =
            (Arc::clone(&self.store), Arc::clone(&self.slots), repository.clone());
        let task = tokio::spawn(async move {
            let tell = Arc::new(tell);
            if slots.are_taken() {
                tell.send_replace(Stand::Waiting);
            }
            let _slot = slots.take().await;
            let done = carry(store, repository, wanted, Arc::clone(&tell)).await;
            tell.send_replace(match done {
                Ok(()) => Stand::Done,
                Err(error) => Stand::Failed(Arc::new(error)),
            });
        });
        let fetch = Arc::new(Fetch { stand, task });
        under_way.insert(wanted, Arc::downgrade(&fetch));
        (fetch, true)
    }

    fn forget(&self, wanted: Wanted, failed: &Arc<Fetch>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(&wanted).is_some_and(|known| known.as_ptr() == Arc::as_ptr(failed)) {
            under_way.remove(&wanted);
        }
    }
}

/// Passes the bytes on until the thread has what it needs. Aborted, it drops the channel, which the thread reads as the end.
async fn carry(
    store: Arc<Store>,
    repository: Repository,
    wanted: Wanted,
    tell: Arc<watch::Sender<Stand>>,
) -> Result<()> {
    let (feed, pieces) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let (ask, mut asked) = mpsc::channel::<u64>(1);
    let mut thread = tokio::task::spawn_blocking(move || {
        let mut pieces = Some(pieces);
        store.receive_layer(
            wanted.blob,
            wanted.size,
            wanted.diff_id,
            &mut |from| match (pieces.take(), ask.blocking_send(from)) {
                (Some(pieces), Ok(())) => Box::new(BlobReader::from_pieces(pieces)),
                _ => Box::new(io::empty()),
            },
            &mut |coming| {
                tell.send_replace(match coming {
                    Coming::Bytes(bytes) => Stand::Downloading(bytes),
                    Coming::Whole => Stand::Downloaded,
                });
            },
        )
    });
    // What the registry did says more than what the thread made of it.
    let mut broken = None;
    if let Some(from) = asked.recv().await {
        let mut stream = repository.blob(wanted.blob, wanted.size, from);
        while let Some(piece) = stream.next().await {
            let piece = match piece {
                Ok(piece) => Ok(piece),
                Err(error) => {
                    let text = error.to_string();
                    broken = Some(error);
                    Err(io::Error::other(text))
                }
            };
            if feed.send(piece).await.is_err() || broken.is_some() {
                break;
            }
        }
    }
    drop(feed);
    let taken = (&mut thread)
        .await
        .map_err(|source| Error::failed(format!("take in layer {}", wanted.blob), source))?;
    match (taken, broken) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(error)) => Err(Error::new(error.kind(), error.to_string())),
        (Err(source), None) => Err(Error::failed(format!("take in layer {}", wanted.blob), source)),
    }
}
