//! The engine's side of builds: what lends steps, what is done at once, where sources come from, and what a build that is disturbed leaves.

mod builds_engine {
    mod disturbed;
    mod lending;
    mod repositories;
}

use std::path::PathBuf;
use std::process::Command;

use minke_testkit::{Client, Daemon, Run};

/// A directory with a Dockerfile and files.
#[track_caller]
fn context(daemon: &Daemon, name: &str, dockerfile: &str, files: &[(&str, &str)]) -> PathBuf {
    let directory = daemon.path().join(name);
    for (path, text) in files.iter().chain([&("Dockerfile", dockerfile)]) {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().expect("it is in the context")).expect("make a directory");
        std::fs::write(path, text).expect("write a file of the context");
    }
    directory
}

/// The client builds as it did before `BuildKit`.
fn build_command(daemon: &Daemon, client: Client, args: &[&str]) -> Command {
    let mut command = daemon.command(client, &[&["build"], args].concat());
    command.env("DOCKER_BUILDKIT", "0");
    command
}

fn build(daemon: &Daemon, client: Client, args: &[&str]) -> Run {
    Run::new(build_command(daemon, client, args), b"")
}
