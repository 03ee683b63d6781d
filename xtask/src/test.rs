//! Everything that CI runs, in the order in which it fails soonest.

use anyhow::Result;

use crate::{fixtures, step, tidy};

/// What the end-to-end tests drive besides minke: a program to look for, and Debian's package for it.
const CLIENTS: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("curl", "curl"),
    ("docker", "docker.io"),
    ("docker-compose", "docker-compose"),
    ("gcc", "gcc"),
    ("ip", "iproute2"),
    ("podman", "podman"),
    ("skopeo", "skopeo"),
    ("/usr/lib/python3/dist-packages/docker/__init__.py", "python3-docker"),
];

/// Adds the crates' tests that make containers, cgroups and links; they fail where they may not.
const KERNEL_TESTS: &str = "kernel-tests";

pub(crate) fn main(areas: &[String]) -> Result<()> {
    if areas.is_empty() {
        step::run(&["cargo", "fmt", "--all", "--check"])?;
        tidy::main()?;
        step::run(&[
            "cargo",
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            KERNEL_TESTS,
            "--",
            "-D",
            "warnings",
        ])?;
    }
    step::ensure(CLIENTS)?;
    fixtures::main()?;
    step::run(&["cargo", "build", "--release", "--package", "minke"])?;
    if areas.is_empty() {
        step::run(&["cargo", "test", "--workspace", "--exclude", "minke-tests", "--features", KERNEL_TESTS])?;
        return step::run(&["cargo", "test", "--package", "minke-tests"]);
    }
    let mut only = step::command(&["cargo", "test", "--package", "minke-tests"]);
    for area in areas {
        only.args(["--test", area]);
    }
    step::run_with(only)
}
