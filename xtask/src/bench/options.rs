//! The bench's command line and environment.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::rows::Row;

pub(crate) const HELP: &str = "\
cargo xtask bench [OPTION…]

  --rounds N        samples per row (30; heavy rows take a sixth of it, three at least)
  --idle MS         pause before each sample (60)
  --row KEY         only this row; may be given again
  --engine NAME     only this engine beside minke: docker, podman, crun, runc, docker-cli (docker's CLI on minke)
  --image TAR       the busybox image as a docker-archive (the fixture otherwise)
  --minke PATH      the binary under test (a release build otherwise; also MINKE_BIN)
  --data-root DIR   where minke's private daemon keeps its data; `loop` makes a journaled ext4 of its own
  --peers-only      leave minke out, to see what the others take
  --no-write        print only

environment:
  MINKE_BENCH_DOCKER_HOST   the real Docker's socket (the default one otherwise)
  MINKE_BENCH_WRAP          words before podman, crun and runc, for peers that live in a mount namespace of their own,
                            such as `nsenter -t PID -m --`; time is taken inside, the words themselves cost nothing
";

/// What is to be measured, and how.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) rounds: Option<u32>,
    pub(crate) idle: Duration,
    rows: Vec<String>,
    engines: Vec<String>,
    pub(crate) image: Option<PathBuf>,
    pub(crate) minke: Option<PathBuf>,
    pub(crate) data_root: Option<String>,
    pub(crate) peers_only: bool,
    pub(crate) write: bool,
    pub(crate) docker_host: String,
    pub(crate) wrap: Vec<String>,
}

const DEFAULT_ROUNDS: u32 = 30;

impl Options {
    /// `None` asks for the help text.
    pub(crate) fn parse(args: &[String]) -> Result<Option<Self>> {
        let variable = |name: &str| std::env::var(name).ok();
        let mut options = Self {
            rounds: None,
            idle: Duration::from_millis(60),
            rows: Vec::new(),
            engines: Vec::new(),
            image: None,
            minke: variable("MINKE_BIN").map(PathBuf::from),
            data_root: None,
            peers_only: false,
            write: true,
            docker_host: variable("MINKE_BENCH_DOCKER_HOST")
                .unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned()),
            wrap: variable("MINKE_BENCH_WRAP")
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value")).cloned();
            match word.as_str() {
                "--rounds" => options.rounds = Some(number(word, &value()?)?),
                "--idle" => options.idle = Duration::from_millis(u64::from(number(word, &value()?)?)),
                "--row" => options.rows.push(value()?),
                "--engine" => options.engines.push(value()?),
                "--image" => options.image = Some(value()?.into()),
                "--minke" => options.minke = Some(value()?.into()),
                "--data-root" => options.data_root = Some(value()?),
                "--peers-only" => options.peers_only = true,
                "--no-write" => options.write = false,
                "--help" | "-h" => return Ok(None),
                _ => bail!("unknown option {word}; see cargo xtask bench --help"),
            }
        }
        if options.rounds == Some(0) {
            bail!("--rounds needs at least 1");
        }
        let known = super::rows::keys();
        if let Some(row) = options.rows.iter().find(|row| !known.contains(&row.as_str())) {
            bail!("no row {row}; there are {}", known.join(", "));
        }
        Ok(Some(options))
    }

    pub(crate) fn wants_row(&self, key: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| row == key)
    }

    pub(crate) fn wants_engine(&self, name: &str) -> bool {
        self.engines.is_empty() || self.engines.iter().any(|engine| engine == name)
    }

    pub(crate) fn rounds_of(&self, row: &Row) -> u32 {
        let rounds = self.rounds.unwrap_or(DEFAULT_ROUNDS);
        if row.heavy { rounds.min(3).max(rounds.div_ceil(6)) } else { rounds }
    }
}

fn number(word: &str, value: &str) -> Result<u32> {
    value.parse().with_context(|| format!("{word}: {value} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn rows_and_engines_narrow_the_run() {
        let options = parse("--row ps --row oci --engine crun --rounds 7").unwrap().unwrap();
        assert!(options.wants_row("ps") && options.wants_row("oci") && !options.wants_row("exec"));
        assert!(options.wants_engine("crun") && !options.wants_engine("docker"));
        let rounds: Vec<_> = super::super::rows::all()
            .iter()
            .filter(|row| ["ps", "logs"].contains(&row.key))
            .map(|row| options.rounds_of(row))
            .collect();
        assert_eq!(rounds, [7, 3]);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (line, named) in
            [("--fast", "--fast"), ("--row nope", "nope"), ("--rounds x", "x"), ("--rounds 0", "1")]
        {
            let refused = format!("{:#}", parse(line).unwrap_err());
            assert!(refused.contains(named), "{line}: {refused}");
        }
        assert!(parse("--help").unwrap().is_none());
    }
}
