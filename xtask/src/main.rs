//! The project's helper: `cargo xtask test | endurance | fuzz | fixtures | bench | tidy | dist | vm`.
//!
//! One entry for people and for CI. Every step prints the command that repeats it alone.

mod bench;
mod dist;
mod endurance;
mod fixtures;
mod fuzz;
mod step;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  test [AREA…]     everything that CI runs; with areas (names of files in tests/), only those end-to-end tests;
                   with --vm first, in a machine with cgroup v2 alone (areas: isolation and limits when none is named)
  endurance [--minutes N] [--restarts N]
                   restarts of the daemon under eight clients, 10 minutes and 100 restarts when nothing is said
  fuzz [TARGET…] [--seconds N]
                   libFuzzer over what strangers' bytes reach, each target for a minute; wants a C++ compiler, and no nightly
  fixtures         the images that tests and benchmarks run, made from Debian's packages
  bench            minke beside Docker, Podman, crun and runc, whichever are here
  tidy             the rules of the repository: layers, file sizes, names in the documents, licences
  dist             the release binary, optimised as far as it goes, with its links, completions and manual
  vm               a small virtual machine with cgroup v2 alone, with or without systemd, to rehearse in; `vm help` says more
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let result = match command.as_str() {
        "test" => test::main(&rest),
        "bench" => bench::main(&rest),
        "endurance" => endurance::main(&rest),
        "fuzz" => fuzz::main(&rest),
        "fixtures" => fixtures::main(),
        "tidy" => tidy::main(),
        "dist" => dist::main(),
        "vm" => vm::main(&rest),
        _ => {
            step::say(HELP);
            return if command.is_empty() || command == "help" {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            };
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            step::complain(&format!("xtask {command}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
