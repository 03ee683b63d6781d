//! Real containers, as root, from a root file system with busybox in it.
//!
//! `harness` makes the root and runs programs in it; each other module holds the tests of one subject. Everything a test makes
//! (mounts, cgroups, processes) is gone when it ends: the mounts die with their namespace, the rest is looked for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking, in helpers, too")]

mod basics;
mod cgroups;
mod execs;
mod failures;
mod harness;
mod hooks;
mod hostile;
mod mounts;
mod rights;
mod terminals;
mod users;
