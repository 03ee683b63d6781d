//! Everything that CI runs, in the order in which it fails soonest.

use anyhow::Result;

use crate::{fixtures, step, tidy, vm};

/// What the end-to-end tests drive besides minke: a program to look for, and Debian's package for it.
const CLIENTS: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("curl", "curl"),
    ("docker", "docker.io"),
    ("docker-compose", "docker-compose"),
    ("docker-registry", "docker-registry"),
    ("gcc", "gcc"),
    ("git", "git"),
    ("ip", "iproute2"),
    ("podman", "podman"),
    ("skopeo", "skopeo"),
    ("umoci", "umoci"),
    ("/usr/lib/python3/dist-packages/docker/__init__.py", "python3-docker"),
];

/// Adds the crates' tests that make containers, cgroups and links; they fail where they may not.
const KERNEL_TESTS: &str = "kernel-tests";

/// What cgroup v2 alone, and an older kernel, may break: `--vm` runs these in the small machine.
const ON_V2: &[&str] = &["minke-cgroup", "minke-runtime", "minke-tests:isolation", "minke-tests:limits"];

/// Emulated processors take about so many times as long.
const EMULATED: &str = "6";

pub(crate) fn main(areas: &[String]) -> Result<()> {
    if let Some((first, areas)) = areas.split_first()
        && first == "--vm"
    {
        return in_a_machine(areas);
    }
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
        // A run takes long: it shows everything that fails, not the first only.
        let parts = ["--workspace", "--exclude", "minke-tests", "--features", KERNEL_TESTS];
        let crates = step::run(&[&["cargo", "test", "--no-fail-fast"][..], &parts].concat());
        let whole = step::run(&["cargo", "test", "--no-fail-fast", "--package", "minke-tests"]);
        return crates.and(whole);
    }
    let mut only = step::command(&["cargo", "test", "--no-fail-fast", "--package", "minke-tests"]);
    for area in areas {
        only.args(["--test", area]);
    }
    step::run_with(only)
}

/// The tests that matter there, or the named areas, in a machine with cgroup v2 alone.
fn in_a_machine(areas: &[String]) -> Result<()> {
    step::ensure(CLIENTS)?;
    fixtures::main()?;
    step::run(&["cargo", "build", "--release", "--package", "minke"])?;
    let named = areas.iter().map(|area| format!("minke-tests:{area}"));
    let tests: Vec<String> = match areas.is_empty() {
        true => ON_V2.iter().map(|&test| test.to_owned()).collect(),
        false => named.collect(),
    };
    let mut args = vec!["--slow".to_owned(), EMULATED.to_owned(), "--timeout".to_owned(), "3600".to_owned()];
    args.extend(tests.into_iter().flat_map(|test| ["--test".to_owned(), test]));
    vm::main(&args)
}
