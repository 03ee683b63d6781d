//! The bridge's worker in the background: it makes plugged namespaces for the stock, and does what an answer must not wait for.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::attach::PortPlan;
use crate::flows::forget_flows;
use crate::host::bridges_show_packets;
use crate::links::Which;
use crate::namespace::{NamespaceError, Outside};
use crate::netlink::{Batch, NetlinkError, Socket};
use crate::plug::Plugged;
use crate::ports::Binding;
use crate::state::{State, lock};
use crate::stock::Worker;

/// The kernel lets a link go 15 to 60 ms after its namespace's last holder.
const NEXT_LOOK: Duration = Duration::from_millis(20);
const LATER_LOOK: Duration = Duration::from_secs(1);
/// A link that has not gone after this many looks is dropped: connections that were never said goodbye to, or a container that
/// joined, may hold its namespace for minutes.
const MANY_LOOKS: u32 = 50;

/// Alias of a pair until a container claims it.
pub(crate) const READY: &str = "minke:ready";

/// See the page above.
#[derive(Debug)]
pub(crate) struct Plugger {
    pub(crate) outside: Outside,
    pub(crate) route: Socket,
    /// Kept open; see [`crate::nft`].
    pub(crate) filter: Socket,
    /// How to plug into the default network, if there is one.
    pub(crate) plan: Option<PortPlan>,
    pub(crate) state: Arc<Mutex<State>>,
}

#[derive(Debug)]
pub(crate) enum Job {
    Alias {
        index: u32,
        alias: String,
    },
    /// Where bridges show packets to the rules of IP, one that a container sends to its own published port turns back in the bridge:
    /// let its port do that.
    TurnBack {
        index: u32,
    },
    /// Forget what the kernel remembers of datagrams to these ports.
    ForgetFlows {
        ports: Vec<(Binding, SocketAddr)>,
    },
    /// Free the addresses when the link has gone.
    Leave {
        network: String,
        addresses: Vec<IpAddr>,
        index: u32,
        name: String,
        looks: u32,
    },
    /// Delete a link if it is still there: one that nobody owned when the daemon started, or that a network or a container gave up.
    Drop {
        index: u32,
        name: String,
        why: &'static str,
    },
    /// Delete an interface of a container's from the inside.
    DropInside {
        socket: Socket,
        index: u32,
    },
}

impl Worker for Plugger {
    type Item = Plugged;
    type Error = NamespaceError;
    type Job = Job;

    fn make(&mut self) -> Result<Plugged, NamespaceError> {
        let plan = self.plan.as_ref().ok_or(NamespaceError::NoNetwork)?;
        Plugged::make(&self.outside, &mut self.route, plan, READY, false)
    }

    fn run(&mut self, job: Job) -> Option<(Job, Duration)> {
        match job {
            Job::Alias { index, alias } => {
                let mut batch = Batch::new();
                batch.set_alias(Which::Index(index), &alias);
                // Its container may be gone already.
                self.try_to(&alias, batch);
            }
            Job::TurnBack { index } => {
                if bridges_show_packets() {
                    let mut batch = Batch::new();
                    batch.set_hairpin(index);
                    self.try_to("hairpin", batch);
                }
            }
            Job::ForgetFlows { ports } => {
                if let Err(error) = forget_flows(&mut self.filter, &ports) {
                    tracing::debug!("flows of published ports: {error}");
                }
            }
            Job::Leave { network, addresses, index, name, looks } => {
                if self.has_link(index, &name) {
                    if looks == MANY_LOOKS {
                        self.drop_link(index, &name, "its container has ended, its namespace is still held");
                    }
                    let pause = if looks < MANY_LOOKS { NEXT_LOOK } else { LATER_LOOK };
                    let looks = looks.saturating_add(1);
                    return Some((Job::Leave { network, addresses, index, name, looks }, pause));
                }
                lock(&self.state).give_back(&network, addresses);
            }
            Job::Drop { index, name, why } => {
                if self.has_link(index, &name) {
                    self.drop_link(index, &name, why);
                }
            }
            Job::DropInside { mut socket, index } => {
                let mut batch = Batch::new();
                batch.delete_link(index);
                let dropped: Result<(), NetlinkError> = socket.apply(batch);
                if let Err(error) = dropped {
                    tracing::debug!("interface {index} inside a container: {error}");
                }
            }
        }
        None
    }

    fn end(&mut self, job: Job) {
        match job {
            Job::Leave { index, name, .. } => {
                if self.has_link(index, &name) {
                    self.drop_link(index, &name, "its container has ended, and the engine ends");
                }
            }
            short => drop(self.run(short)),
        }
    }
}

impl Plugger {
    /// Deletes a link that is there.
    fn drop_link(&mut self, index: u32, name: &str, why: &str) {
        let mut batch = Batch::new();
        batch.delete_link(index);
        match self.route.apply(batch) {
            Ok(()) => tracing::debug!("dropped interface {name}: {why}"),
            Err(error) => tracing::warn!("cannot drop interface {name} ({why}): {error}"),
        }
    }

    fn try_to(&mut self, what: &str, batch: Batch) {
        if let Err(error) = self.route.apply(batch) {
            tracing::debug!("{what}: {error}");
        }
    }

    fn has_link(&mut self, index: u32, name: &str) -> bool {
        self.route.read_link(Which::Index(index)).is_ok_and(|link| link.name == name)
    }
}
