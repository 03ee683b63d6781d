//! The unsafe corner: clone3, pidfds, the mount API, openat2, fd passing, behind safe functions over owned fds.
#![expect(unsafe_code, reason = "this is the crate that unsafe code is gathered in")]

pub mod file;
