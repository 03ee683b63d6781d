//! Docker's nouns, one service each, joined by a root that only wires.
//!
//! [`Engine::open`] takes a [`Config`], locks its two directories, reads the ledger, brings the records and the host to
//! agreement (`recovery`) and hands out the services. The services answer in the wire types of the newest API; what
//! older clients expect is worked out at the edge. Mechanisms (store, network, keepers) know none of Docker's words:
//! here is where the two meet.

pub mod builds;
mod cgroups;
pub mod clock;
mod config;
pub mod containers;
mod error;
pub mod events;
pub mod filters;
pub mod images;
pub mod keepers;
pub mod ledger;
pub mod networks;
mod recovery;
pub mod registries;
mod root;
pub mod runtimes;
mod seccomp;
pub mod spec;
pub mod system;
mod volumes;

pub use builds::Builds;
pub use cgroups::CgroupDriver;
pub use clock::{Moment, parse_moment};
pub use config::{Config, NetworkDefaults};
pub use containers::Containers;
pub use error::{Error, Result};
pub use events::{Event, Events};
pub use filters::Filters;
pub use images::Images;
pub use minke_logs::{LogLine, Stream as LogSource};
pub use networks::Networks;
pub use registries::Registries;
pub use root::Engine;
pub use runtimes::ContainerDefaults;
pub use system::System;
