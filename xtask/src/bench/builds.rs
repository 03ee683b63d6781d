//! Builds: eight steps from nothing, the same from the cache, and a context of twenty thousand files.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, bail};

use super::engines::{Engine, Peers};

/// What eight steps look like in small images: files, a package's worth of work, a user, a program.
const EIGHT: &str = "FROM busybox\nENV APP=/app\nRUN mkdir -p $APP/bin && echo one > $APP/one\nCOPY data /app/data\n\
    RUN cat /app/data /app/one > /app/two\nRUN sed -i s/one/three/ /app/two && ls -lR /app > /app/list\n\
    WORKDIR /app\nCMD [\"cat\", \"/app/two\"]\n";

const FILES: usize = 20_000;

#[derive(Debug)]
struct Stage {
    dir: tempfile::TempDir,
}

static STAGE: OnceLock<Result<Stage, String>> = OnceLock::new();

fn stage() -> Result<&'static Stage> {
    match STAGE.get_or_init(|| Stage::make().map_err(|error| format!("{error:#}"))) {
        Ok(stage) => Ok(stage),
        Err(error) => bail!("{error}"),
    }
}

/// Removes what the rows needed.
pub(crate) fn tear_down() {
    if let Some(Ok(stage)) = STAGE.get() {
        drop(fs::remove_dir_all(stage.dir.path()));
    }
}

impl Stage {
    fn make() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("minke-bench-builds-").tempdir_in("/var/lib")?;
        let eight = dir.path().join("eight");
        fs::create_dir(&eight)?;
        fs::write(eight.join("Dockerfile"), EIGHT)?;
        fs::write(eight.join("data"), "x".repeat(100_000))?;
        let many = dir.path().join("many");
        fs::create_dir(&many)?;
        fs::write(many.join("Dockerfile"), "FROM busybox\nCOPY . /src\n")?;
        let mut text = String::new();
        for number in 0..FILES {
            let folder = many.join(format!("d{}", number / 100));
            if number % 100 == 0 {
                fs::create_dir(&folder)?;
            }
            text.clear();
            // Between nothing and eight kilobytes, as source files are.
            for line in 0..number % 200 {
                writeln!(text, "line {line} of file {number}, as in a source")?;
            }
            fs::write(folder.join(format!("f{number}")), &text)?;
        }
        Ok(Self { dir })
    }

    /// The directory, as whoever lives in another mount namespace can name it.
    fn seen(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn time(peers: &mut Peers, engine: Engine, what: &str, flags: &[&str]) -> Result<Duration> {
    let directory = stage()?.seen(what);
    let tag = tag(engine, what);
    let mut words: Vec<String> = vec!["build".into(), "-q".into(), "-t".into(), tag];
    words.extend(flags.iter().map(|flag| (*flag).to_owned()));
    words.push(directory.to_string_lossy().into_owned());
    peers.time(engine, &[words], 1)
}

fn tag(engine: Engine, what: &str) -> String {
    super::rows::name(engine, what)
}

pub(crate) fn cold(peers: &mut Peers, engine: Engine, _round: u32) -> Result<Duration> {
    time(peers, engine, "eight", &["--no-cache"])
}

pub(crate) fn prepare(peers: &mut Peers, engine: Engine) -> Result<()> {
    time(peers, engine, "eight", &[]).map(|_| ())
}

pub(crate) fn cached(peers: &mut Peers, engine: Engine, _round: u32) -> Result<Duration> {
    time(peers, engine, "eight", &[])
}

pub(crate) fn context(peers: &mut Peers, engine: Engine, _round: u32) -> Result<Duration> {
    time(peers, engine, "many", &["--no-cache"])
}

pub(crate) fn clean(peers: &mut Peers, engine: Engine) {
    for what in ["eight", "many"] {
        drop(peers.output(engine, &["rmi", "-f", &tag(engine, what)]));
    }
    drop(peers.output(engine, &["image", "prune", "-f"]));
}
