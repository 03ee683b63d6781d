//! `cargo xtask fuzz`: libFuzzer over the checks of `minke-strangers`, on the toolchain that is here.
//!
//! The compiler's coverage pass needs flags, not a nightly: they are what `cargo fuzz` gives, with assertions and overflow checks on.
//! What the fuzzer finds worth keeping stays below `target/fuzz/`; seeds that are kept for good are put into `fuzz/corpus/` by hand.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step;

const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Cdebuginfo=line-tables-only";

/// No input of a few kilobytes needs more memory, in megabytes, or more time, in seconds.
const MEMORY: u32 = 512;
const PATIENCE: u32 = 10;

pub(crate) fn main(args: &[String]) -> Result<()> {
    let (mut seconds, mut wanted) = (60_u32, Vec::new());
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("--seconds", given) => {
                let given = if given.is_empty() { rest.next().map_or("", String::as_str) } else { given };
                seconds = given
                    .parse()
                    .ok()
                    .filter(|number| *number > 0)
                    .context("--seconds wants a number above zero")?;
            }
            (option, _) if option.starts_with('-') => bail!("unknown option {option}: --seconds N is known"),
            (target, _) => wanted.push(target.to_owned()),
        }
    }
    let fuzz = step::workspace().join("fuzz");
    let known = targets(&fuzz)?;
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        bail!("no target is called {unknown}: there are {}", known.join(", "));
    }
    let wanted = if wanted.is_empty() { known } else { wanted };
    let work = step::target_directory().join("fuzz");
    build(&fuzz, &work)?;
    // Targets that unpack archives make little else than files.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory } else { &work };
    let scratch = tempfile::Builder::new().prefix("minke-fuzz-").tempdir_in(place)?;
    let mut failed = Vec::new();
    for target in wanted {
        let mut fuzzer = fuzzer(&fuzz, &work, &target, seconds)?;
        fuzzer.env("TMPDIR", scratch.path());
        if step::run_with(fuzzer).is_err() {
            failed.push(target);
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("{}: the inputs are below {}", failed.join(", "), work.join("found").display()),
    }
}

fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(fuzz.join("targets")).context("list the targets")? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn build(fuzz: &Path, work: &Path) -> Result<()> {
    let mut build = step::command(&["cargo", "build", "--release", "--bins"]);
    build.current_dir(fuzz).env("CARGO_TARGET_DIR", work).env("RUSTFLAGS", COVERAGE);
    step::run_with(build)
}

/// One target at work: seeds are read from the repository, what is new goes elsewhere.
fn fuzzer(fuzz: &Path, work: &Path, target: &str, seconds: u32) -> Result<Command> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let program = work.join(host).join("release").join(target);
    let (corpus, found) = (work.join("corpus").join(target), work.join("found").join(target));
    for directory in [&corpus, &found] {
        std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    let mut command = Command::new("nice");
    command.arg(program).args([
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MEMORY}"),
        format!("-timeout={PATIENCE}"),
        format!("-artifact_prefix={}/", found.display()),
        "-print_final_stats=1".to_owned(),
        "-verbosity=0".to_owned(),
    ]);
    let dictionary = fuzz.join("dictionaries").join(target);
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    command.arg(corpus).arg(fuzz.join("corpus").join(target));
    Ok(command)
}
