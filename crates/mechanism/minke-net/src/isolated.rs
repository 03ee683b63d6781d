//! Namespaces with nothing but `lo`, ready for containers without a network.

use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::fabric::FabricError;
use crate::namespace::{NamespaceError, Outside};
use crate::stock::{Stock, Worker};

/// Namespaces with nothing but `lo`: for `--network none`.
#[derive(Debug)]
pub struct IsolatedNamespaces {
    outside: Outside,
    stock: Stock<Isolator>,
}

struct Isolator {
    outside: Outside,
}

impl Worker for Isolator {
    type Item = OwnedFd;
    type Error = NamespaceError;
    type Job = ();

    fn make(&mut self) -> Result<OwnedFd, NamespaceError> {
        self.outside.make_isolated()
    }

    fn run(&mut self, (): ()) -> Option<((), Duration)> {
        None
    }
}

impl IsolatedNamespaces {
    /// Begins to fill a store of `ready` namespaces.
    ///
    /// # Errors
    /// When the filling thread cannot be started.
    pub fn open(ready: usize) -> Result<Self, FabricError> {
        let outside = Outside::of_this_thread()?;
        let isolator = Isolator { outside: outside.duplicate()? };
        let stock = Stock::open("minke-net-none", ready, isolator)
            .map_err(|source| FabricError::Thread { source })?;
        Ok(Self { outside, stock })
    }

    /// Takes a ready namespace or makes one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn claim(&self) -> Result<OwnedFd, FabricError> {
        let ready = self.stock.take();
        self.stock.tend();
        match ready {
            Some(netns) => Ok(netns),
            None => Ok(self.outside.on_own_thread(Outside::make_isolated)?),
        }
    }
}
