//! OCI bundle to process: namespaces, mounts, rootfs, identity, exec, kill, delete.
//!
//! A start has two halves. The configuration is parsed once into a [`plan`]: an ordered list of steps with every string
//! and table the kernel will want ready made. Then a child plays the steps ([`child`]), making nothing but system calls, so
//! that the same code serves a child on borrowed memory (the fast path, a new pid namespace) and a forked one (everything
//! else). A failed step is reported by its number; the parent, who has the plan, says what it was.
//!
//! What is left to others: making and limiting cgroups (`minke-cgroup`), compiling profiles (`minke-seccomp`), keeping
//! stdio and exit status (`minke-keeper`), state files and command lines (`minke-ocirun`).

mod attend;
mod child;
pub mod error;
pub mod exec;
mod filter;
pub mod hooks;
pub mod identity;
pub mod launch;
mod notify;
pub mod plan;
mod prepare;
pub mod steps;
pub mod userns;
pub mod words;

pub use error::{LaunchError, Stage};
pub use exec::{Exec, exec};
pub use launch::{Filter, Gate, Launch, Launched, Limits, Rootfs, Stdio, launch};
