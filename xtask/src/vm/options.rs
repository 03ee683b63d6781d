//! The command line of `cargo xtask vm`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub(crate) const HELP: &str = "\
cargo xtask vm [OPTION…] [-- SCRIPT]

Boots a Debian machine with cgroup v2 alone and runs SCRIPT (for bash) in it; with --test, the tests instead or before it.

  --init minimal|systemd   what is process 1: a few lines of shell (default), or systemd
  --test PACKAGE[:TARGET]  build the package's tests with its kernel-tests feature, where it has one, and run them inside;
                           TARGET is `lib` or the name of one test; may be given again
  --filter WORDS           arguments for the test programs, in one string
  --file PATH              a file or directory to have inside, at the same path; may be given again
  --minke PATH             the binary under test (else MINKE_BIN, else the release build)
  --slow N                 waits of end-to-end tests take N times as long (MINKE_TEST_PATIENCE; 1)
  --cpus N                 processors (2)
  --memory MIB             memory (3072)
  --timeout SECONDS        when the machine is stopped at the latest (1800)
  --append WORDS           more for the kernel's command line
  --kvm                    with the processor's help (a nested host may offer it and hang: emulation is the default)
";

/// What is process 1 of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Init {
    Minimal,
    Systemd,
}

impl Init {
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Minimal => "/vm/init",
            Self::Systemd => "/lib/systemd/systemd",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) init: Init,
    pub(crate) tests: Vec<String>,
    pub(crate) filter: String,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) minke: Option<PathBuf>,
    pub(crate) slow: u32,
    pub(crate) cpus: u32,
    pub(crate) memory: u32,
    pub(crate) timeout: Duration,
    pub(crate) append: String,
    pub(crate) kvm: bool,
    pub(crate) script: String,
}

impl Options {
    /// `None` asks for the help text.
    pub(crate) fn parse(args: &[String]) -> Result<Option<Self>> {
        let mut options = Self {
            init: Init::Minimal,
            tests: Vec::new(),
            filter: String::new(),
            files: Vec::new(),
            minke: std::env::var_os("MINKE_BIN").map(PathBuf::from),
            slow: 1,
            cpus: 2,
            memory: 3072,
            timeout: Duration::from_secs(1800),
            append: String::new(),
            kvm: false,
            script: String::new(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--init" => {
                    options.init = match value()?.as_str() {
                        "minimal" => Init::Minimal,
                        "systemd" => Init::Systemd,
                        other => bail!("--init is minimal or systemd, not {other:?}"),
                    }
                }
                "--test" => options.tests.push(value()?.clone()),
                "--filter" => options.filter = value()?.clone(),
                "--file" => options.files.push(std::path::absolute(value()?)?),
                "--minke" => options.minke = Some(std::path::absolute(value()?)?),
                "--slow" => options.slow = value()?.parse().context("--slow takes a number")?,
                "--cpus" => options.cpus = value()?.parse().context("--cpus takes a number")?,
                "--memory" => options.memory = value()?.parse().context("--memory takes MiB")?,
                "--timeout" => {
                    options.timeout =
                        Duration::from_secs(value()?.parse().context("--timeout takes seconds")?);
                }
                "--append" => options.append = value()?.clone(),
                "--kvm" => options.kvm = true,
                "--" => {
                    options.script = args.by_ref().cloned().collect::<Vec<_>>().join(" ");
                }
                "-h" | "--help" | "help" => return Ok(None),
                other => bail!("unknown option {other}; a script goes after `--`"),
            }
        }
        if options.script.is_empty() && options.tests.is_empty() {
            return Ok(None);
        }
        Ok(Some(options))
    }
}
