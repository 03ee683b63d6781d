//! cgroups v1, v2 and hybrid behind one set of verbs.
//!
//! [`Host::probe`] says what the host has. [`Parent`] makes containers' cgroups under one path, cheaply and many times;
//! [`Cgroup`] is one of them: limits, freezing, killing, counting, watching for OOM, removal. [`plan_limits`] is the pure half:
//! OCI resources in, file writes out. [`systemd`] asks systemd for it instead,
//! where the caller wants that. Container nouns and state files stay with the callers.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use minke_cgroup::{Host, Parent};
//! let host = Host::probe()?;
//! let parent = Parent::open(&host, "/minke".as_ref())?; // once
//! let group = parent.create("0123abcd")?; // per container
//! group.apply_limits(&Default::default())?;
//! let entry = group.entry()?; // clone3 with entry.into; the child writes "0" to each of entry.tasks
//! # drop(entry);
//! group.kill_and_wait()?;
//! group.remove()?;
//! # Ok(()) }
//! ```

pub mod bpf;
mod control;
pub mod devices;
mod error;
mod freeze;
mod group;
mod host;
mod kill;
mod limits;
mod oom;
mod plan;
pub mod stats;
pub mod systemd;

pub use error::CgroupError;
pub use freeze::Freezer;
pub use group::{Cgroup, Entry, Parent, remove_paths};
pub use host::{Hierarchy, Host, Layout, Mode, Version};
pub use oom::OomWatch;
pub use plan::{
    Plan, Policy, Stage, Write, blkio_weight_to_io_weight, memory_swap_to_v2, plan_limits, shares_to_weight,
};
pub use stats::{BlkioEntry, Stats};
