//! Rows about traffic: iperf3 between namespaces, wrk to an nginx that a container publishes.
//!
//! iperf3 runs on both ends inside the namespaces that the engine made, so that no program of an image is part of its figure;
//! nginx is the container's own program and its access log goes the engine's way, as it does for users.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use minke_testkit::Netns;

use super::engines::{Engine, Peers};
use super::network::{self, address, inspect, names, netns};
use super::rows::remove;

/// What one sample of iperf3 moves; its figure is the time of a gibibyte.
const GIB: f64 = (1 << 30) as f64;
const IPERF_PORT: u16 = 5201;
const WRK: [&str; 6] = ["-t1", "-c16", "-d2s", "--latency", "--timeout", "5s"];
/// Requests whose time is one figure of wrk.
const REQUESTS: f64 = 10_000.0;

/// As for lookups; iperf3 listens in the server's namespace.
pub(super) fn prepare(peers: &mut Peers, engine: Engine) -> Result<()> {
    network::prepare_publishing(peers, engine, IPERF_PORT)
}

pub(super) fn prepare_nginx(peers: &mut Peers, engine: Engine) -> Result<()> {
    if peers.output(engine, &["image", "inspect", "nginx"]).is_err() {
        let archive = minke_testkit::fixtures::dir().join("nginx.tar");
        peers.output(engine, &["load", "-i", &archive.to_string_lossy()])?;
    }
    let (network, server, _) = names(engine);
    peers.output(engine, &["network", "create", &network])?;
    peers
        .output(engine, &["run", "-d", "--name", &server, "--network", &network, "-p", "0:80", "nginx"])
        .map(drop)
}

pub(super) fn clean_nginx(peers: &mut Peers, engine: Engine) {
    let (network, server, _) = names(engine);
    remove(peers, engine, &server);
    drop(peers.output(engine, &["network", "rm", &network]));
}

/// A published port by the network's gateway: an address of the host that both engines translate in the kernel.
fn published(peers: &mut Peers, engine: Engine, port: u16) -> Result<SocketAddr> {
    let (_, server, _) = names(engine);
    let format = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}";
    let gateway: Ipv4Addr = inspect(peers, engine, &server, format)?.parse()?;
    let ports = peers.output(engine, &["port", &server, &format!("{port}/tcp")])?;
    let port = ports.lines().next().and_then(|line| line.rsplit(':').next()).context("a published port")?;
    Ok(SocketAddr::from((gateway, port.parse()?)))
}

pub(super) fn iperf_to_port(peers: &mut Peers, engine: Engine, _: u32) -> Result<Duration> {
    let (_, server, _) = names(engine);
    let to = published(peers, engine, IPERF_PORT)?;
    let sink = netns(peers, engine, &server)?;
    iperf(&peers.host_netns(engine), &sink, to)
}

pub(super) fn iperf_between(peers: &mut Peers, engine: Engine, _: u32) -> Result<Duration> {
    let (_, server, client) = names(engine);
    let to = SocketAddr::from((address(peers, engine, &server)?, IPERF_PORT));
    let sink = netns(peers, engine, &server)?;
    iperf(&netns(peers, engine, &client)?, &sink, to)
}

/// The time that the receiver needs for a gibibyte.
fn iperf(from: &Netns, sink: &Netns, to: SocketAddr) -> Result<Duration> {
    let mut server = sink
        .run(|| {
            Command::new("iperf3")
                .args(["--server", "--one-off"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
        })
        .context("start iperf3 (Debian's package iperf3)")?;
    let sent = sink.run(listens).and_then(|()| {
        let (host, port) = (to.ip().to_string(), to.port().to_string());
        from.run(|| output("iperf3", &["--client", &host, "--port", &port, "--bytes", "1G", "--json"]))
    });
    if sent.is_err() {
        drop(server.kill());
    }
    server.wait()?;
    let report: serde_json::Value = serde_json::from_str(&sent?)?;
    let sum = &report["end"]["sum_received"];
    let (Some(seconds), Some(bytes)) = (sum["seconds"].as_f64(), sum["bytes"].as_f64()) else {
        bail!("iperf3 to {to} gave no sum: {}", report["error"]);
    };
    Ok(Duration::from_secs_f64(seconds * GIB / bytes))
}

/// Until the server of this namespace listens; no connection is made, for it would be the server's only one.
fn listens() -> Result<()> {
    let wanted = format!(":{IPERF_PORT:04X} ");
    for _ in 0..200 {
        let tables =
            ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")));
        let listening = |line: &str| line.contains(" 0A ") && line.contains(&wanted);
        if tables.into_iter().flatten().any(|table| table.lines().any(listening)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("iperf3 does not listen on port {IPERF_PORT}")
}

pub(super) fn wrk_time(peers: &mut Peers, engine: Engine, _: u32) -> Result<Duration> {
    let report = wrk(peers, engine)?;
    let rate: f64 = figure(&report, "Requests/sec:")?.parse()?;
    Ok(Duration::from_secs_f64(REQUESTS / rate))
}

pub(super) fn wrk_latency(peers: &mut Peers, engine: Engine, _: u32) -> Result<Duration> {
    let report = wrk(peers, engine)?;
    let time = figure(&report, "99%")?;
    let split = time.find(|c: char| c.is_ascii_alphabetic()).with_context(|| format!("the time {time:?}"))?;
    let (number, unit) = time.split_at(split);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => bail!("wrk counts in {unit:?}"),
    };
    Ok(Duration::from_secs_f64(number.parse::<f64>()? * scale))
}

fn wrk(peers: &mut Peers, engine: Engine) -> Result<String> {
    let url = format!("http://{}/", published(peers, engine, 80)?);
    let report = peers.host_netns(engine).run(|| output("wrk", &[&WRK[..], &[&url]].concat()))?;
    if report.contains("Socket errors") || report.contains("Non-2xx") {
        bail!("wrk to {url}:\n{report}");
    }
    Ok(report)
}

/// The word after `label` in a report of wrk.
fn figure<'a>(report: &'a str, label: &str) -> Result<&'a str> {
    let mut words = report.split_whitespace();
    words
        .find(|word| *word == label)
        .and_then(|_| words.next())
        .with_context(|| format!("no {label} in:\n{report}"))
}

fn output(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {program} (Debian's package {program})"))?;
    if !output.status.success() {
        bail!(
            "{program}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}
