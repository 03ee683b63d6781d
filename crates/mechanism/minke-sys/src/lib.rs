//! The unsafe corner: clone3, pidfds, the mount API, openat2, fd passing, behind safe functions over owned fds.
