//! Blank keepers: taken from the nursery in one system call, the nursery itself replaced when it dies.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use minke_keeper::nursery::{Nursery, NurseryError};
use tokio::io::Interest;

/// How many blanks in a row may be found dead.
const TRIES: usize = 16;

/// The daemon's stock of blank keepers.
#[derive(Debug)]
pub struct Blanks {
    program: PathBuf,
    /// The cgroup below which containers are made: blanks hold it open. None where systemd makes them.
    cgroup_parent: Option<PathBuf>,
    waiting: i64,
    /// How many were asked for and not taken; below zero, somebody waits for one that nobody asked for yet.
    stock: AtomicI64,
    nursery: Mutex<Arc<Nursery>>,
}

impl Blanks {
    /// Starts the nursery, which is `program` in another role, and has `waiting` keepers stand ready.
    pub fn start(
        program: PathBuf,
        cgroup_parent: Option<PathBuf>,
        waiting: usize,
    ) -> Result<Self, NurseryError> {
        let nursery = Nursery::spawn_under(&program, waiting, cgroup_parent.as_deref())?;
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        Ok(Self {
            program,
            cgroup_parent,
            waiting,
            stock: AtomicI64::new(waiting),
            nursery: Mutex::new(Arc::new(nursery)),
        })
    }

    fn nursery(&self) -> Arc<Nursery> {
        Arc::clone(&self.nursery.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A blank keeper's socket.
    pub async fn take(&self) -> Result<UnixStream, NurseryError> {
        for _ in 0..TRIES {
            if self.stock.fetch_sub(1, Ordering::Relaxed) <= 0 {
                self.ask_for_one();
            }
            match self.take_from(self.nursery()).await {
                Err(NurseryError::Gone) => self.replace()?,
                // One that ended while it waited (killed when memory was short) has nothing to lose: the next, please.
                Ok(blank) if super::is_hung_up(&blank) => tracing::debug!("a blank keeper was dead"),
                taken => return taken,
            }
        }
        Err(NurseryError::Gone)
    }

    async fn take_from(&self, nursery: Arc<Nursery>) -> Result<UnixStream, NurseryError> {
        if let Some(blank) = nursery.try_take()? {
            return Ok(blank);
        }
        let copy = nursery.as_fd().try_clone_to_owned().map_err(NurseryError::Talk)?;
        let watched = tokio::net::UnixStream::from_std(copy.into()).map_err(NurseryError::Talk)?;
        let taken = watched.async_io(Interest::READABLE, || match nursery.try_take() {
            Ok(Some(blank)) => Ok(Ok(blank)),
            Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Ok(Err(error)),
        });
        taken.await.map_err(NurseryError::Talk)?
    }

    /// Fills the stock up again; off the way of `run`.
    pub fn refill(&self) {
        while self.stock.load(Ordering::Relaxed) < self.waiting {
            if !self.ask_for_one() {
                return;
            }
        }
    }

    fn ask_for_one(&self) -> bool {
        let asked = self.nursery().refill().or_else(|error| {
            tracing::warn!(error = %crate::error::chain(&error), "the nursery is replaced");
            self.replace()?;
            self.nursery().refill()
        });
        match asked {
            Ok(()) => {
                self.stock.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::error!(error = %crate::error::chain(&error), "no blank keeper can be had");
                false
            }
        }
    }

    fn replace(&self) -> Result<(), NurseryError> {
        let fresh = Nursery::spawn_under(
            &self.program,
            usize::try_from(self.waiting).unwrap_or(0),
            self.cgroup_parent.as_deref(),
        )?;
        self.stock.store(self.waiting, Ordering::Relaxed);
        *self.nursery.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }

    /// The nursery's process.
    pub fn pid(&self) -> u32 {
        self.nursery().pid()
    }
}
