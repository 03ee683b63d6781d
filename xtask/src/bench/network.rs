//! Rows about networks: lookups, throughput and latency, with servers and clients that are threads of the bench.
//!
//! Both engines get the same bytes from the same code: a thread enters the container's network namespace, or the one that
//! the engine's containers call the host, and opens its sockets there. No program inside an image is part of a figure.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use minke_testkit::Netns;

use super::engines::{Engine, Peers};
use super::rows::{name, remove};

const LOOKUPS: u16 = 1000;
const BYTES: u64 = 512 << 20;
const TRIPS: usize = 2000;
/// Others that run while the last one is started.
const OTHERS: u32 = 299;
const PATIENCE: Duration = Duration::from_secs(10);

/// A network with two containers, one of which publishes port 80.
pub(super) fn prepare(peers: &mut Peers, engine: Engine) -> Result<()> {
    let (network, server, client) = names(engine);
    peers.output(engine, &["network", "create", &network])?;
    let run = |peers: &mut Peers, name: &str, more: &[&str]| {
        let line =
            [&["run", "-d", "--name", name, "--network", &network], more, &["busybox", "sleep", "1000000"]];
        peers.output(engine, &line.concat()).map(drop)
    };
    run(peers, &server, &["-p", "0:80"])?;
    run(peers, &client, &[])
}

pub(super) fn clean(peers: &mut Peers, engine: Engine) {
    let (network, server, client) = names(engine);
    remove(peers, engine, &server);
    remove(peers, engine, &client);
    drop(peers.output(engine, &["network", "rm", &network]));
}

fn names(engine: Engine) -> (String, String, String) {
    (name(engine, "net"), name(engine, "server"), name(engine, "client"))
}

fn inspect(peers: &mut Peers, engine: Engine, name: &str, format: &str) -> Result<String> {
    Ok(peers.output(engine, &["inspect", "-f", format, name])?.trim().to_owned())
}

fn netns(peers: &mut Peers, engine: Engine, name: &str) -> Result<Netns> {
    Ok(Netns::of(inspect(peers, engine, name, "{{.State.Pid}}")?.parse()?))
}

fn address(peers: &mut Peers, engine: Engine, name: &str) -> Result<Ipv4Addr> {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let text = inspect(peers, engine, name, format)?;
    text.parse().with_context(|| format!("the address {text:?} of {name}"))
}

/// The published port by the network's gateway: an address of the host that both engines translate in the kernel.
fn published(peers: &mut Peers, engine: Engine) -> Result<SocketAddr> {
    let (_, server, _) = names(engine);
    let format = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}";
    let gateway: Ipv4Addr = inspect(peers, engine, &server, format)?.parse()?;
    let ports = peers.output(engine, &["port", &server, "80/tcp"])?;
    let port = ports.lines().next().and_then(|line| line.rsplit(':').next()).context("a published port")?;
    Ok(SocketAddr::from((gateway, port.parse()?)))
}

/// One question after the other, each answered with the address.
pub(super) fn look_up(peers: &mut Peers, engine: Engine, _: u32) -> Result<Duration> {
    let (_, server, client) = names(engine);
    let wanted = address(peers, engine, &server)?.octets();
    let mut question = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, u8::try_from(server.len())?];
    question.extend_from_slice(server.as_bytes());
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    netns(peers, engine, &client)?.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("127.0.0.11:53")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut answer = [0; 512];
        let start = Instant::now();
        for number in 0..LOOKUPS {
            question[..2].copy_from_slice(&number.to_be_bytes());
            socket.send(&question)?;
            let count = socket.recv(&mut answer)?;
            let answer = &answer[..count];
            if answer.get(..2) != Some(&number.to_be_bytes()[..]) || !answer.windows(4).any(|w| w == wanted) {
                bail!("a lookup of {server} was answered with {answer:?}");
            }
        }
        Ok(start.elapsed())
    })
}

pub(super) fn send_to_port(peers: &mut Peers, engine: Engine, _: u32) -> Result<Duration> {
    let (_, server, _) = names(engine);
    let to = published(peers, engine)?;
    let sink = netns(peers, engine, &server)?;
    send(&peers.host_netns(engine), &sink, to)
}

pub(super) fn send_between(peers: &mut Peers, engine: Engine, _: u32) -> Result<Duration> {
    let (_, server, client) = names(engine);
    let to = SocketAddr::from((address(peers, engine, &server)?, 80));
    let sink = netns(peers, engine, &server)?;
    send(&netns(peers, engine, &client)?, &sink, to)
}

/// From the first byte sent until the server has said that it has them all.
fn send(from: &Netns, sink: &Netns, to: SocketAddr) -> Result<Duration> {
    let listener = sink.run(|| TcpListener::bind("0.0.0.0:80")).context("bind in the container")?;
    std::thread::scope(|scope| {
        let server = scope.spawn(move || -> Result<()> {
            let mut stream = accept(&listener)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let (mut left, mut block) = (BYTES, vec![0; 256 << 10]);
            while left > 0 {
                match stream.read(&mut block)? {
                    0 => bail!("the connection ended {left} bytes early"),
                    count => left -= count as u64,
                }
            }
            Ok(stream.write_all(b"!")?)
        });
        let time = from.run(|| -> Result<Duration> {
            let mut stream =
                TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("connect to {to}"))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let block = vec![7; 256 << 10];
            let start = Instant::now();
            for _ in 0..BYTES / block.len() as u64 {
                stream.write_all(&block)?;
            }
            stream.read_exact(&mut [0])?;
            Ok(start.elapsed())
        });
        let time = time?;
        server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(time)
    })
}

/// The next connection, or an error when none comes: a client that failed must not leave its server waiting.
fn accept(listener: &TcpListener) -> Result<TcpStream> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&patience))? == 0 {
        bail!("nobody connected");
    }
    Ok(listener.accept()?.0)
}

/// Connect, a byte there and back, close, over and over; the time that 99 of 100 stay below.
pub(super) fn connections(peers: &mut Peers, engine: Engine, _: u32) -> Result<Duration> {
    let (_, server, _) = names(engine);
    let to = published(peers, engine)?;
    let container = netns(peers, engine, &server)?;
    let listener = container.run(|| TcpListener::bind("0.0.0.0:80")).context("bind in the container")?;
    let host = peers.host_netns(engine);
    std::thread::scope(|scope| {
        let server = scope.spawn(move || -> Result<()> {
            for _ in 0..TRIPS {
                let mut stream = accept(&listener)?;
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                stream.write_all(&byte)?;
            }
            Ok(())
        });
        let trips = host.run(|| -> Result<Vec<Duration>> {
            let mut trips = Vec::with_capacity(TRIPS);
            for _ in 0..TRIPS {
                let start = Instant::now();
                let mut stream =
                    TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("connect to {to}"))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(b"x")?;
                stream.read_exact(&mut [0])?;
                trips.push(start.elapsed());
            }
            Ok(trips)
        });
        let mut trips = trips?;
        server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        trips.sort_unstable();
        Ok(trips[TRIPS * 99 / 100])
    })
}

fn other(engine: Engine, number: u32) -> String {
    name(engine, &format!("crowd{number}"))
}

/// Everyone but the last, each with a port.
pub(super) fn crowd(peers: &mut Peers, engine: Engine) -> Result<()> {
    for number in 0..OTHERS {
        let name = other(engine, number);
        peers.output(engine, &["run", "-d", "-p", "0:80", "--name", &name, "busybox", "sleep", "1000000"])?;
    }
    Ok(())
}

pub(super) fn disperse(peers: &mut Peers, engine: Engine) {
    let names: Vec<String> = (0..OTHERS).map(|number| other(engine, number)).collect();
    let mut command = vec!["rm", "-f"];
    command.extend(names.iter().map(String::as_str));
    drop(peers.output(engine, &command));
    remove(peers, engine, &name(engine, "port"));
}
