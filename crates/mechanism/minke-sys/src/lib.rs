//! The unsafe corner: clone3, pidfds, the mount API, openat2, fd passing, behind safe functions over owned fds.
//!
//! Where rustix has the call, callers use rustix and this crate only adds shape (a builder, a retry, an ordered
//! sequence); where it has not, the call is made here by [`raw`]. Every function that does not say otherwise is
//! free of allocation and of libc's thread-local state, because the child of [`spawn`] runs on borrowed memory.
//! What belongs elsewhere: any knowledge of containers.

#![expect(unsafe_code, reason = "this crate exists to hold the system calls that no safe crate offers")]

pub mod beneath;
pub mod bpf;
pub mod caps;
pub mod datagrams;
pub mod dispositions;
pub mod fds;
pub mod file;
pub mod forked;
pub mod keyring;
pub mod kill;
pub mod limits;
pub mod memory;
pub mod mount;
pub mod network;
pub mod ns;
pub mod overlay;
pub mod pidfd;
pub mod placeholder;
pub mod process;
pub mod procfs;
pub mod pty;
pub mod raw;
pub mod sched;
pub mod scm;
pub mod sealed;
pub mod seccomp;
pub mod signalfd;
pub mod signals;
pub mod sigwait;
pub mod spawn;

pub use rustix::io::Errno;

/// What every call of this crate answers: the value, or the kernel's error number.
pub type Result<T> = std::result::Result<T, Errno>;
