//! Where the fixture images lie that `cargo xtask fixtures` makes from Debian's packages.

use std::path::PathBuf;

/// The directory of the archives: `MINKE_FIXTURES`, or `target/fixtures`.
#[must_use]
pub fn dir() -> PathBuf {
    std::env::var_os("MINKE_FIXTURES")
        .map_or_else(|| crate::tools::workspace().join("target/fixtures"), PathBuf::from)
}

/// The docker-archive of one fixture image.
#[must_use]
#[track_caller]
pub fn archive(name: &str) -> PathBuf {
    let path = dir().join(format!("{name}.tar"));
    assert!(path.exists(), "no fixture {}: run `cargo xtask fixtures`", path.display());
    path
}

/// A root file system with busybox, unpacked (for OCI bundles).
#[must_use]
#[track_caller]
pub fn busybox_rootfs() -> PathBuf {
    let path = dir().join("busybox-rootfs");
    assert!(path.exists(), "no fixture {}: run `cargo xtask fixtures`", path.display());
    path
}
