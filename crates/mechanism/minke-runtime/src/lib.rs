//! OCI bundle to process: namespaces, mounts, rootfs, identity, exec, kill, delete.
