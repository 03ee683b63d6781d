//! Rows about names and crowds: lookups by a thread inside a container's namespace, starts on a network that many use.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use minke_testkit::Netns;

use super::engines::{Engine, Peers};
use super::rows::{name, remove};

const LOOKUPS: u16 = 1000;
/// Others that run while the last one is started.
const OTHERS: u32 = 299;
const PATIENCE: Duration = Duration::from_secs(10);

/// A network with two containers.
pub(super) fn prepare(peers: &mut Peers, engine: Engine) -> Result<()> {
    prepare_publishing(peers, engine, 80)
}

/// A network with two containers, one of which publishes `port`.
pub(super) fn prepare_publishing(peers: &mut Peers, engine: Engine, port: u16) -> Result<()> {
    let (network, server, client) = names(engine);
    peers.output(engine, &["network", "create", &network])?;
    let run = |peers: &mut Peers, name: &str, more: &[&str]| {
        let line =
            [&["run", "-d", "--name", name, "--network", &network], more, &["busybox", "sleep", "1000000"]];
        peers.output(engine, &line.concat()).map(drop)
    };
    run(peers, &server, &["-p", &format!("0:{port}")])?;
    run(peers, &client, &[])
}

pub(super) fn clean(peers: &mut Peers, engine: Engine) {
    let (network, server, client) = names(engine);
    remove(peers, engine, &server);
    remove(peers, engine, &client);
    drop(peers.output(engine, &["network", "rm", &network]));
}

pub(super) fn names(engine: Engine) -> (String, String, String) {
    (name(engine, "net"), name(engine, "server"), name(engine, "client"))
}

pub(super) fn inspect(peers: &mut Peers, engine: Engine, name: &str, format: &str) -> Result<String> {
    Ok(peers.output(engine, &["inspect", "-f", format, name])?.trim().to_owned())
}

pub(super) fn netns(peers: &mut Peers, engine: Engine, name: &str) -> Result<Netns> {
    Ok(Netns::of(inspect(peers, engine, name, "{{.State.Pid}}")?.parse()?))
}

pub(super) fn address(peers: &mut Peers, engine: Engine, name: &str) -> Result<Ipv4Addr> {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let text = inspect(peers, engine, name, format)?;
    text.parse().with_context(|| format!("the address {text:?} of {name}"))
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

fn other(engine: Engine, number: u32) -> String {
    name(engine, &format!("crowd{number}"))
}

/// The network that the rows of starts with a port use.
fn square(engine: Engine) -> String {
    name(engine, "square")
}

fn enter(peers: &mut Peers, engine: Engine, container: &str) -> Result<Duration> {
    let line =
        format!("run -d -p 0:80 --network {} --name {container} busybox sleep 1000000", square(engine));
    peers.time(engine, &[line.split(' ').map(str::to_owned).collect()], 1)
}

/// An empty network.
pub(super) fn empty(peers: &mut Peers, engine: Engine) -> Result<()> {
    peers.output(engine, &["network", "create", &square(engine)]).map(drop)
}

/// A network with everyone but the last on it, each with a port.
pub(super) fn crowd(peers: &mut Peers, engine: Engine) -> Result<()> {
    empty(peers, engine)?;
    for number in 0..OTHERS {
        enter(peers, engine, &other(engine, number))?;
    }
    Ok(())
}

/// The start of one more; it leaves again.
pub(super) fn one_more(peers: &mut Peers, engine: Engine, _: u32) -> Result<Duration> {
    let name = name(engine, "port");
    let time = enter(peers, engine, &name)?;
    peers.output(engine, &["rm", "-f", &name])?;
    Ok(time)
}

pub(super) fn disperse(peers: &mut Peers, engine: Engine) {
    let names: Vec<String> = (0..OTHERS).map(|number| other(engine, number)).collect();
    let mut command = vec!["rm", "-f"];
    command.extend(names.iter().map(String::as_str));
    drop(peers.output(engine, &command));
    leave(peers, engine);
}

pub(super) fn leave(peers: &mut Peers, engine: Engine) {
    remove(peers, engine, &name(engine, "port"));
    drop(peers.output(engine, &["network", "rm", &square(engine)]));
}
