//! The rows of the table: what is timed, who can do it, and what minke promises against whom.

use std::time::Duration;

use anyhow::Result;

use super::builds;
use super::engines::{Engine, Peers};
use super::images;
use super::log_lines;
use super::network;
use super::traffic;

/// minke's time as a part of a peer's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Promise {
    pub(crate) against: Engine,
    pub(crate) at_most: f64,
    pub(crate) stretch: f64,
}

/// One kind of work.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) promise: Promise,
    /// What is promised against somebody else as well.
    pub(crate) also: Option<Promise>,
    /// Takes long, so fewer samples are taken.
    pub(crate) heavy: bool,
    oci: bool,
    /// Needs what only the Docker API gives.
    no_podman: bool,
    pub(crate) prepare: fn(&mut Peers, Engine) -> Result<()>,
    pub(crate) sample: fn(&mut Peers, Engine, u32) -> Result<Duration>,
    pub(crate) clean: fn(&mut Peers, Engine),
}

impl Row {
    pub(crate) fn suits(&self, engine: Engine) -> bool {
        engine.is_oci() == self.oci
            && !(self.no_podman && matches!(engine, Engine::Podman | Engine::DockerCli))
    }
}

/// Rows that weigh instead of timing.
const WEIGHTS: [&str; 5] = ["keeper-memory", "engine-memory", "transfer-memory", "binaries", "log-lines-cpu"];

pub(crate) fn keys() -> Vec<&'static str> {
    all().iter().map(|row| row.key).chain(WEIGHTS).chain(super::sizes::KEYS).collect()
}

fn of_podman(part: f64, stretch: f64) -> Option<Promise> {
    Some(Promise { against: Engine::Podman, at_most: 1.0 / part, stretch: 1.0 / stretch })
}

fn of_docker(part: f64, stretch: f64) -> Promise {
    Promise { against: Engine::Docker, at_most: 1.0 / part, stretch: 1.0 / stretch }
}

const PS_CONTAINERS: u32 = 5;
const MANY: u32 = 20;
const AT_A_TIME: usize = 4;
const LINES: &str = "100000";

pub(crate) fn all() -> Vec<Row> {
    let row = |key, title, promise, sample| Row {
        key,
        title,
        promise,
        also: None,
        heavy: false,
        oci: false,
        no_podman: false,
        prepare: nothing,
        sample,
        clean: clean_nothing,
    };
    vec![
        row(
            "run-bridge",
            "`run --rm busybox true`, default bridge",
            of_docker(20.0, 40.0),
            |peers, engine, _| peers.time(engine, &[words("run --rm busybox true")], 1),
        ),
        row("run-none", "the same, `--net none`", of_docker(20.0, 40.0), |peers, engine, _| {
            peers.time(engine, &[words("run --rm --net none busybox true")], 1)
        }),
        row("run-host", "the same, `--net host`", of_docker(20.0, 40.0), |peers, engine, _| {
            peers.time(engine, &[words("run --rm --net host busybox true")], 1)
        }),
        row("run-port", "`run --rm -p 0:80 busybox true`", of_docker(10.0, 20.0), |peers, engine, _| {
            peers.time(engine, &[words("run --rm -p 0:80 busybox true")], 1)
        }),
        Row {
            no_podman: true,
            prepare: network::prepare,
            clean: network::clean,
            ..row(
                "lookups",
                "1000 lookups of a container's name, one by one",
                of_docker(5.0, 10.0),
                network::look_up,
            )
        },
        Row {
            no_podman: true,
            prepare: traffic::prepare,
            clean: network::clean,
            ..row(
                "throughput-port",
                "1 GiB by iperf3 through a published port, from the host",
                of_docker(1.0, 1.25),
                traffic::iperf_to_port,
            )
        },
        Row {
            no_podman: true,
            prepare: traffic::prepare,
            clean: network::clean,
            ..row(
                "throughput-containers",
                "1 GiB by iperf3 from container to container",
                of_docker(1.0, 1.25),
                traffic::iperf_between,
            )
        },
        Row {
            no_podman: true,
            prepare: traffic::prepare_nginx,
            clean: traffic::clean_nginx,
            ..row(
                "requests-port",
                "10,000 requests by wrk to nginx through a published port, 16 connections",
                of_docker(1.0, 1.25),
                traffic::wrk_time,
            )
        },
        Row {
            no_podman: true,
            prepare: traffic::prepare_nginx,
            clean: traffic::clean_nginx,
            ..row(
                "latency-port",
                "99th percentile of those requests",
                of_docker(1.0, 1.25),
                traffic::wrk_latency,
            )
        },
        Row {
            prepare: network::empty,
            clean: network::leave,
            ..row(
                "run-d-port",
                "`run -d -p 0:80` on a user's network, the only one",
                of_docker(10.0, 20.0),
                network::one_more,
            )
        },
        Row {
            no_podman: true,
            prepare: network::crowd,
            clean: network::disperse,
            ..row(
                "run-d-port-300",
                "`run -d -p 0:80` on a user's network, the 300th",
                of_docker(10.0, 20.0),
                network::one_more,
            )
        },
        Row {
            oci: true,
            ..row(
                "oci",
                "OCI bundle, create + start + delete of `true`",
                Promise { against: Engine::Crun, at_most: 0.65, stretch: 0.4 },
                oci,
            )
        },
        Row {
            prepare: |peers, engine| start(peers, engine, &name(engine, "exec")),
            clean: |peers, engine| remove(peers, engine, &name(engine, "exec")),
            ..row("exec", "`exec c true`", of_docker(15.0, 25.0), |peers, engine, _| {
                let name = name(engine, "exec");
                peers.time(engine, &[vec!["exec".into(), name, "true".into()]], 1)
            })
        },
        Row {
            prepare: prepare_ps,
            clean: clean_ps,
            ..row("ps", "`ps -a`", of_docker(8.0, 12.0), |peers, engine, _| {
                peers.time(engine, &[words("ps -a")], 1)
            })
        },
        Row {
            clean: |peers, engine| remove(peers, engine, &name(engine, "run-d")),
            ..row("run-d", "`run -d`", of_docker(20.0, 30.0), |peers, engine, _| {
                let name = name(engine, "run-d");
                let time = peers.time(engine, &[detached(&name)], 1)?;
                peers.output(engine, &["rm", "-f", &name])?;
                Ok(time)
            })
        },
        Row {
            clean: |peers, engine| remove(peers, engine, &name(engine, "rm-f")),
            ..row("rm-f", "`rm -f` of a running container", of_docker(20.0, 40.0), |peers, engine, _| {
                let name = name(engine, "rm-f");
                start(peers, engine, &name)?;
                std::thread::sleep(Duration::from_millis(60));
                peers.time(engine, &[vec!["rm".into(), "-f".into(), name]], 1)
            })
        },
        Row {
            heavy: true,
            clean: clean_many,
            ..row("run-20", "20 `run -d`, 4 at a time", of_docker(15.0, 25.0), |peers, engine, _| {
                let commands: Vec<_> = many(engine).iter().map(|name| detached(name)).collect();
                let time = peers.time(engine, &commands, AT_A_TIME);
                clean_many(peers, engine);
                time
            })
        },
        Row {
            heavy: true,
            no_podman: true,
            clean: |peers, engine| remove(peers, engine, &name(engine, "lines")),
            ..row(
                "log-lines",
                "1,000,000 lines of 100 bytes into the log (`run -d`, `wait`)",
                of_docker(5.0, 8.0),
                log_lines::sample,
            )
        },
        Row {
            no_podman: true,
            clean: builds::clean,
            ..row("build-cold", "`build --no-cache` of eight steps", of_docker(6.0, 10.0), builds::cold)
        },
        Row {
            no_podman: true,
            prepare: builds::prepare,
            clean: builds::clean,
            ..row("build-cached", "the same, nothing changed", of_docker(1.0, 1.25), builds::cached)
        },
        Row {
            heavy: true,
            no_podman: true,
            clean: builds::clean,
            ..row(
                "build-context",
                "`build` that copies a context of 20,000 files",
                of_docker(2.0, 3.0),
                builds::context,
            )
        },
        Row {
            heavy: true,
            also: of_podman(2.0, 3.0),
            ..row(
                "pull-gzip",
                "`pull` of 500 MB in ten layers from a registry on loopback, gzip",
                of_docker(2.0, 3.0),
                images::pull_gzip,
            )
        },
        Row {
            heavy: true,
            also: of_podman(2.0, 3.0),
            ..row("pull-zstd", "the same, zstd", of_docker(2.0, 3.0), images::pull_zstd)
        },
        Row {
            heavy: true,
            also: of_podman(2.0, 3.0),
            clean: images::clean,
            ..row("load", "`load` of those 500 MB, layers not compressed", of_docker(2.0, 3.0), images::load)
        },
        Row {
            heavy: true,
            also: of_podman(2.0, 3.0),
            prepare: images::prepare_save,
            clean: images::clean,
            ..row("save", "`save` of them to a file", of_docker(2.0, 3.0), images::save)
        },
        Row {
            heavy: true,
            clean: |peers, engine| remove(peers, engine, &name(engine, "logs")),
            ..row("logs", "`run` + `logs` of 100,000 lines", of_docker(6.0, 10.0), |peers, engine, _| {
                let name = name(engine, "logs");
                let run = words(&format!("run --name {name} busybox seq {LINES}"));
                let time = peers.time(engine, &[run, vec!["logs".into(), name.clone()]], 1)?;
                peers.output(engine, &["rm", &name])?;
                Ok(time)
            })
        },
    ]
}

fn nothing(_: &mut Peers, _: Engine) -> Result<()> {
    Ok(())
}

fn clean_nothing(_: &mut Peers, _: Engine) {}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A container's name that no other run and no other engine of this run uses.
pub(crate) fn name(engine: Engine, what: &str) -> String {
    format!("minke-bench-{}-{}-{what}", std::process::id(), engine.name())
}

fn detached(name: &str) -> Vec<String> {
    words(&format!("run -d --name {name} busybox sleep 1000000"))
}

fn start(peers: &mut Peers, engine: Engine, name: &str) -> Result<()> {
    let words = detached(name);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    peers.output(engine, &words).map(|_| ())
}

/// Removes what a row left; a row that failed half-way may have left nothing.
pub(crate) fn remove(peers: &mut Peers, engine: Engine, name: &str) {
    drop(peers.output(engine, &["rm", "-f", name]));
}

fn oci(peers: &mut Peers, engine: Engine, round: u32) -> Result<Duration> {
    let id = format!("{}-{round}", name(engine, "oci"));
    let commands = [
        words(&format!("create --bundle {{bundle}} {id}")),
        words(&format!("start {id}")),
        words(&format!("delete --force {id}")),
    ];
    let time = peers.time(engine, &commands, 1);
    if time.is_err() {
        drop(peers.output(engine, &["delete", "--force", &id]));
    }
    time
}

fn ps_name(engine: Engine, number: u32) -> String {
    name(engine, &format!("ps{number}"))
}

/// docker's CLI lists the containers that minke's made.
fn prepare_ps(peers: &mut Peers, engine: Engine) -> Result<()> {
    if engine == Engine::DockerCli {
        return Ok(());
    }
    for number in 0..PS_CONTAINERS {
        peers.output(engine, &["create", "--name", &ps_name(engine, number), "busybox", "true"])?;
    }
    Ok(())
}

fn clean_ps(peers: &mut Peers, engine: Engine) {
    for number in 0..PS_CONTAINERS {
        remove(peers, engine, &ps_name(engine, number));
    }
}

fn many(engine: Engine) -> Vec<String> {
    (0..MANY).map(|number| name(engine, &format!("many{number}"))).collect()
}

fn clean_many(peers: &mut Peers, engine: Engine) {
    let names = many(engine);
    let mut command = vec!["rm", "-f"];
    command.extend(names.iter().map(String::as_str));
    drop(peers.output(engine, &command));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_key_of_its_own_and_a_promise_below_one() {
        let mut keys = keys();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count);
        for row in all() {
            assert!(row.promise.stretch < row.promise.at_most && row.promise.at_most <= 1.0, "{}", row.key);
            assert!(
                row.suits(row.promise.against) && row.also.is_none_or(|also| row.suits(also.against)),
                "{}: the promise is against someone who takes part",
                row.key
            );
        }
    }

    #[test]
    fn runtimes_take_part_in_the_oci_row_only() {
        for row in all() {
            assert_eq!(row.suits(Engine::Runc), row.key == "oci");
            assert_eq!(row.suits(Engine::Minke), row.key != "oci");
            assert!(row.suits(Engine::Podman) || row.oci || row.no_podman, "{}", row.key);
        }
    }
}
