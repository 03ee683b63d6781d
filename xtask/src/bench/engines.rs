//! Who takes part: minke by its own CLI and by docker's, and whichever of Docker, Podman, crun and runc is here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use minke_testkit::Netns;
use serde_json::{Value, json};

use super::bundle;
use super::daemon::PrivateDaemon;
use super::options::Options;
use super::timer::{Agent, Order, Place};

/// A program under measurement, with the daemon behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Engine {
    /// minke's CLI and daemon.
    Minke,
    /// docker's CLI, minke's daemon.
    DockerCli,
    Docker,
    Podman,
    /// `minke oci`, runc's command line.
    MinkeOci,
    Crun,
    Runc,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Minke => "minke",
            Self::DockerCli => "docker-cli",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::MinkeOci => "minke-oci",
            Self::Crun => "crun",
            Self::Runc => "runc",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::DockerCli => "docker CLI on minke",
            Self::Docker => "Docker",
            Self::Podman => "Podman",
            Self::MinkeOci => "minke oci",
            other => other.name(),
        }
    }

    pub(crate) fn is_oci(self) -> bool {
        matches!(self, Self::MinkeOci | Self::Crun | Self::Runc)
    }
}

/// One engine with how it is called.
#[derive(Debug)]
struct Participant {
    engine: Engine,
    /// The program and what stands before its command.
    prefix: Vec<String>,
    env: Vec<(String, String)>,
    version: String,
    /// Directory of an OCI runtime's bundle, where the engine runs.
    bundle: String,
    /// Whether it runs behind the wrapper.
    away: bool,
}

/// Everyone who takes part, and the places they work in.
#[derive(Debug)]
pub(crate) struct Peers {
    participants: Vec<Participant>,
    here: Place,
    away: Option<Place>,
    /// What `docker info` tells of the real Docker.
    docker_info: Value,
    pub(crate) docker_host: String,
    /// A process of the network namespace that minke's containers call the host; Docker's is this one's.
    minke_netns: Option<u32>,
    bundles: Vec<PathBuf>,
}

const BUNDLE: &str = "/dev/shm/minke-bench-bundle";

impl Peers {
    /// Looks for each engine, and says which ones are not here.
    pub(crate) fn find(options: &Options, daemon: Option<&PrivateDaemon>) -> Result<Self> {
        let away = match options.wrap.is_empty() {
            true => None,
            false => Some(Place::Agent(Box::new(Agent::start(&options.wrap)?))),
        };
        let mut peers = Self {
            participants: Vec::new(),
            here: Place::Here,
            away,
            docker_info: Value::Null,
            docker_host: options.docker_host.clone(),
            minke_netns: daemon.map(PrivateDaemon::netns_pid),
            bundles: Vec::new(),
        };
        let docker = minke_testkit::tools::docker();
        if let Some(daemon) = daemon {
            let minke = daemon.program.to_string_lossy().into_owned();
            peers.add(Engine::Minke, vec![minke.clone(), "-H".into(), daemon.host()], &["version"], false)?;
            peers.look(Engine::MinkeOci, vec![minke, "oci".into()], &["--version"], false);
            if options.wants_engine("docker-cli") {
                peers.look(
                    Engine::DockerCli,
                    vec![docker.clone(), "-H".into(), daemon.host()],
                    &["version"],
                    false,
                );
            }
        }
        if options.wants_engine("docker") {
            peers.look_for_docker(&docker);
        }
        if options.wants_engine("podman") {
            peers.look(Engine::Podman, vec!["podman".into()], &["--version"], true);
        }
        for (engine, program) in [(Engine::Crun, "crun"), (Engine::Runc, "runc")] {
            if options.wants_engine(program) {
                peers.look(engine, vec![program.into()], &["--version"], true);
            }
        }
        peers.make_bundles()?;
        Ok(peers)
    }

    /// The real Docker: something else may answer on its socket.
    fn look_for_docker(&mut self, docker: &str) {
        let prefix = vec![docker.to_owned(), "-H".into(), self.docker_host.clone()];
        let info = Order {
            words: [&prefix[..], &["info".into(), "--format".into(), "{{json .}}".into()]].concat(),
            env: Vec::new(),
        };
        let answer = self.here.output(&info).and_then(|text| Ok(serde_json::from_str::<Value>(&text)?));
        match answer {
            Ok(info)
                if info["Runtimes"]["runc"].is_object()
                    && !info["InitBinary"].to_string().contains("minke") =>
            {
                let version = info["ServerVersion"].as_str().unwrap_or_default().to_owned();
                self.docker_info = info;
                self.push(Engine::Docker, prefix, version, false);
            }
            Ok(_) => skip(Engine::Docker, &format!("what answers on {} is not Docker", self.docker_host)),
            Err(error) => skip(Engine::Docker, &format!("{error:#}")),
        }
    }

    fn look(&mut self, engine: Engine, prefix: Vec<String>, probe: &[&str], away: bool) {
        if let Err(error) = self.add(engine, prefix, probe, away) {
            skip(engine, &format!("{error:#}"));
        }
    }

    fn add(&mut self, engine: Engine, prefix: Vec<String>, probe: &[&str], away: bool) -> Result<()> {
        let words = prefix.iter().cloned().chain(probe.iter().map(|word| (*word).to_owned())).collect();
        let away = away && self.away.is_some();
        let order = Order { words, env: environment(engine) };
        let text = self
            .place_of(away)
            .output(&order)
            .with_context(|| format!("{} does not answer", engine.title()))?;
        let version = text
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
            .unwrap_or("?");
        self.push(engine, prefix, version.to_owned(), away);
        Ok(())
    }

    fn push(&mut self, engine: Engine, prefix: Vec<String>, version: String, away: bool) {
        let bundle = String::new();
        self.participants.push(Participant {
            engine,
            prefix,
            env: environment(engine),
            version,
            bundle,
            away,
        });
    }

    fn place_of(&mut self, away: bool) -> &mut Place {
        match &mut self.away {
            Some(place) if away => place,
            _ => &mut self.here,
        }
    }

    pub(crate) fn engines(&self) -> impl Iterator<Item = Engine> + use<> {
        self.participants.iter().map(|participant| participant.engine).collect::<Vec<_>>().into_iter()
    }

    /// The network namespace that an engine's containers call the host.
    pub(crate) fn host_netns(&self, engine: Engine) -> Netns {
        match self.minke_netns {
            Some(pid) if matches!(engine, Engine::Minke | Engine::DockerCli) => Netns::of(pid),
            _ => Netns::of(std::process::id()),
        }
    }

    /// A process of that namespace.
    pub(crate) fn host_pid(&self, engine: Engine) -> u32 {
        match self.minke_netns {
            Some(pid) if matches!(engine, Engine::Minke | Engine::DockerCli) => pid,
            _ => std::process::id(),
        }
    }

    pub(crate) fn has(&self, engine: Engine) -> bool {
        self.find_participant(engine).is_ok()
    }

    /// `Docker 28.5.2` and so on.
    pub(crate) fn names(&self) -> Vec<String> {
        self.participants.iter().map(|p| format!("{} {}", p.engine.title(), p.version)).collect()
    }

    pub(crate) fn docker_backing(&self) -> Option<String> {
        let status = self.docker_info["DriverStatus"].as_array()?;
        let backing = status.iter().find(|pair| pair[0] == json!("Backing Filesystem"))?;
        backing[1].as_str().map(str::to_owned)
    }

    fn find_participant(&self, engine: Engine) -> Result<&Participant> {
        let found = self.participants.iter().find(|participant| participant.engine == engine);
        found.with_context(|| format!("{} takes no part", engine.title()))
    }

    fn orders(&self, engine: Engine, commands: &[Vec<String>]) -> Result<(Vec<Order>, bool)> {
        let participant = self.find_participant(engine)?;
        let order = |command: &Vec<String>| Order {
            words: participant
                .prefix
                .iter()
                .chain(command)
                .map(|word| word.replace("{bundle}", &participant.bundle))
                .collect(),
            env: participant.env.clone(),
        };
        Ok((commands.iter().map(order).collect(), participant.away))
    }

    /// Takes the time of commands of one engine, `parallel` at a time.
    pub(crate) fn time(
        &mut self,
        engine: Engine,
        commands: &[Vec<String>],
        parallel: usize,
    ) -> Result<std::time::Duration> {
        let (orders, away) = self.orders(engine, commands)?;
        self.place_of(away).time(&orders, parallel)
    }

    /// Runs one command of an engine for what it prints.
    pub(crate) fn output(&mut self, engine: Engine, command: &[&str]) -> Result<String> {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let (orders, away) = self.orders(engine, &[command])?;
        self.place_of(away).output(&orders[0])
    }

    /// Loads the busybox image into every engine that has none.
    pub(crate) fn load_image(&mut self, archive: &Path) -> Result<()> {
        let own = format!("/proc/{}/root{}", std::process::id(), archive.display());
        for engine in self
            .engines()
            .filter(|engine| !engine.is_oci() && *engine != Engine::DockerCli)
            .collect::<Vec<_>>()
        {
            if self.output(engine, &["image", "inspect", "busybox"]).is_ok() {
                continue;
            }
            self.output(engine, &["load", "-i", &own])
                .with_context(|| format!("load {} into {}", archive.display(), engine.title()))?;
            // Podman needs the short name to mean this image.
            if engine == Engine::Podman {
                drop(self.output(engine, &["tag", "docker.io/library/busybox:latest", "busybox"]));
            }
        }
        Ok(())
    }

    /// A bundle for the OCI runtimes, on a tmpfs, in each place they run in.
    fn make_bundles(&mut self) -> Result<()> {
        if !self.participants.iter().any(|participant| participant.engine.is_oci()) {
            return Ok(());
        }
        let name = format!("{BUNDLE}-{}", std::process::id());
        let path = PathBuf::from(&name);
        bundle::make(&path)?;
        self.bundles.push(path);
        if let Some(away) = &mut self.away {
            let from = format!("/proc/{}/root{name}", std::process::id());
            let copy = |words: &[&str]| Order {
                words: words.iter().map(|w| (*w).to_owned()).collect(),
                env: Vec::new(),
            };
            // The other namespace may see the same tmpfs.
            if away.output(&copy(&["test", "-d", &name])).is_err() {
                away.output(&copy(&["cp", "-a", &from, &name]))
                    .context("copy the bundle to where the peers live")?;
            }
        }
        for participant in &mut self.participants {
            participant.bundle.clone_from(&name);
        }
        Ok(())
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for path in &self.bundles {
            let remove = Order {
                words: vec!["rm".into(), "-rf".into(), path.to_string_lossy().into_owned()],
                env: vec![],
            };
            if let Some(away) = &mut self.away {
                drop(away.output(&remove));
            }
            drop(self.here.output(&remove));
        }
    }
}

fn environment(engine: Engine) -> Vec<(String, String)> {
    match engine {
        Engine::Podman => vec![("PODMAN_IGNORE_CGROUPSV1_WARNING".into(), "1".into())],
        // The classic builder, which is what the promise is about and what needs nothing else installed.
        Engine::Docker | Engine::DockerCli => vec![("DOCKER_BUILDKIT".into(), "0".into())],
        _ => Vec::new(),
    }
}

fn skip(engine: Engine, why: &str) {
    let first = why.lines().next().unwrap_or_default();
    crate::step::say(&format!("without {}: {first}", engine.title()));
}

/// The id in what `run -d` printed.
pub(crate) fn container_id(output: &str) -> Result<String> {
    match output
        .split_whitespace()
        .find(|word| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        Some(id) => Ok(id.to_owned()),
        None => bail!("`run -d` printed no container id but {output:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_among_warnings() {
        let id = "ab".repeat(32);
        assert_eq!(container_id(&format!("WARNING: no swap\n{id}\n")).unwrap(), id);
        assert!(container_id("Error").is_err());
    }
}
