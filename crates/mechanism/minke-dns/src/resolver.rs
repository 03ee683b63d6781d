//! The handle that the engine holds: starts the thread, swaps tables and views.

use std::io;

use crate::view::{Member, NetworkNames, Sockets, View};

/// Why the resolver cannot do what it is told.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// The thread could not be started.
    #[error("start the resolver's thread")]
    Start(#[source] io::Error),
    /// A container's sockets cannot be served.
    #[error("serve names to container {container}")]
    Sockets {
        /// The container.
        container: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The resolver. Clones are handles on the same one; its thread ends with the last.
#[derive(Debug, Clone)]
pub struct Resolver {}

impl Resolver {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the kernel has no thread or no descriptor left.
    pub fn start() -> Result<Self, ResolverError> {
        Ok(Self {})
    }

    /// Answers what comes over these sockets, as the view says. Sockets and view the container had before are replaced.
    ///
    /// # Errors
    /// When the sockets are none that can be waited for.
    pub fn serve(&self, _container: &str, _sockets: Sockets, _view: View) -> Result<(), ResolverError> {
        Ok(())
    }

    /// Changes what a container may see, its sockets stay. Not an error for one that is not served.
    pub fn look(&self, _container: &str, _view: View) {}

    /// Stops serving a container and drops its sockets.
    pub fn stop(&self, _container: &str) {}

    /// Replaces a network's whole table.
    pub fn update(&self, _network: NetworkNames) {}

    /// Adds one container to a network's table, or changes its entry. The network is made when it is not known.
    pub fn join(&self, _network: &str, _member: Member) {}

    /// Takes one container out of a network's table.
    pub fn leave(&self, _network: &str, _container: &str) {}

    /// Drops a network's table.
    pub fn forget(&self, _network: &str) {}
}
