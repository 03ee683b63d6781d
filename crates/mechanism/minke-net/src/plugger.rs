//! The bridge's worker in the background: it makes plugged namespaces for the stock, and does what an answer must not wait for.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bridge::{Addresses, lock};
use crate::links::Which;
use crate::namespace::{NamespaceError, Outside};
use crate::netlink::{Batch, Socket};
use crate::plug::{PlugPlan, Plugged};
use crate::stock::Worker;

/// The kernel lets a link go 15 to 60 ms after its namespace's last holder.
const NEXT_LOOK: Duration = Duration::from_millis(20);
const LATER_LOOK: Duration = Duration::from_secs(1);
/// A link that has not gone after this many looks is held by somebody who may well keep it.
const MANY_LOOKS: u32 = 50;

/// See the page above.
#[derive(Debug)]
pub(crate) struct Plugger {
    pub(crate) outside: Outside,
    pub(crate) route: Socket,
    pub(crate) plan: PlugPlan,
    pub(crate) addresses: Arc<Mutex<Addresses>>,
}

#[derive(Debug)]
pub(crate) enum Job {
    Alias {
        index: u32,
        alias: String,
    },
    /// Free the address when the link has gone.
    Leave {
        address: Ipv4Addr,
        index: u32,
        name: String,
        looks: u32,
    },
    /// A link that nobody owned when the daemon started: delete it if it is still there.
    DropOrphan {
        index: u32,
        name: String,
    },
}

impl Worker for Plugger {
    type Item = Plugged;
    type Error = NamespaceError;
    type Job = Job;

    fn make(&mut self) -> Result<Plugged, NamespaceError> {
        Plugged::make(&self.outside, &mut self.route, &self.plan)
    }

    fn run(&mut self, job: Job) -> Option<(Job, Duration)> {
        match job {
            Job::Alias { index, alias } => {
                let mut batch = Batch::new();
                batch.set_alias(Which::Index(index), &alias);
                if let Err(error) = self.route.apply(batch) {
                    // Its container may be gone already.
                    tracing::debug!("{alias}: {error}");
                }
                None
            }
            Job::Leave { address, index, name, looks } => {
                if self.has_link(index, &name) {
                    let pause = if looks < MANY_LOOKS { NEXT_LOOK } else { LATER_LOOK };
                    return Some((
                        Job::Leave { address, index, name, looks: looks.saturating_add(1) },
                        pause,
                    ));
                }
                let mut addresses = lock(&self.addresses);
                addresses.leaving.retain(|leaving| *leaving != address);
                addresses.allocator.free(address);
                None
            }
            Job::DropOrphan { index, name } => {
                if self.has_link(index, &name) {
                    let mut batch = Batch::new();
                    batch.delete_link(index);
                    match self.route.apply(batch) {
                        Ok(()) => tracing::info!("dropped interface {name}, which no container owns"),
                        Err(error) => {
                            tracing::warn!("cannot drop interface {name}, which no container owns: {error}")
                        }
                    }
                }
                None
            }
        }
    }
}

impl Plugger {
    fn has_link(&mut self, index: u32, name: &str) -> bool {
        self.route.read_link(Which::Index(index)).is_ok_and(|link| link.name == name)
    }
}
