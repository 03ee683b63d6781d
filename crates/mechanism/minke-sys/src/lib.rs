//! The unsafe corner: clone3, pidfds, the mount API, openat2, fd passing, behind safe functions over owned fds.
#![expect(unsafe_code, reason = "this is the crate that unsafe code is gathered in")]

pub mod bpf;
pub mod file;
pub mod kill;

pub use rustix::io::Errno;

/// What every call of this crate answers: the value, or the kernel's error number.
pub type Result<T> = std::result::Result<T, Errno>;
