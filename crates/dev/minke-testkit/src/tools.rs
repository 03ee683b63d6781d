//! The programs that tests drive, found once, with a sentence when one is missing.

use std::path::{Path, PathBuf};

/// The binary under test: `MINKE_BIN`, or the release build of this workspace.
#[must_use]
pub fn minke() -> String {
    if let Ok(path) = std::env::var("MINKE_BIN") {
        return path;
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let candidates = [
        target.join(format!("{}-unknown-linux-gnu/release/minke", std::env::consts::ARCH)),
        target.join("release/minke"),
    ];
    let found = candidates.iter().find(|path| path.exists());
    let found = found.unwrap_or_else(|| {
        panic!("no minke binary at {candidates:?}: run `cargo xtask test`, which builds it")
    });
    found.to_string_lossy().into_owned()
}

/// The real `docker` CLI: `MINKE_TEST_DOCKER`, or the one on the path.
#[must_use]
pub fn docker() -> String {
    std::env::var("MINKE_TEST_DOCKER").unwrap_or_else(|_| "docker".to_owned())
}

/// The socket of a real Docker that parity tests are to run against instead of minke, all with the `docker` CLI and one at a
/// time: `MINKE_PEER_DOCKER=unix:///… cargo test -p minke-tests --test chapter2 -- --test-threads=1`.
#[must_use]
pub fn peer_docker() -> Option<String> {
    std::env::var("MINKE_PEER_DOCKER").ok()
}

/// Whether `program` is on the path.
#[must_use]
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(3).unwrap_or(here).to_path_buf()
}

/// The file that `program` stands for.
#[must_use]
#[track_caller]
pub fn resolve(program: &str) -> PathBuf {
    if program.contains('/') {
        return PathBuf::from(program);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("{program} is not on the path"))
}
