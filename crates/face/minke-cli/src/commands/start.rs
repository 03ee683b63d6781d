//! `start`: one or more stopped containers, or one with its streams.

use super::run::detach_keys;
use crate::attach::{self, Attach, Ended, Framing, Signals, Target};
use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::keys;
use crate::printer::complain;
use crate::session::Session;
use minke_client::Client;
use serde_json::Value;

const FLAGS: &[Flag] = &[
    short("attach", 'a', Kind::Bool, "Join STDOUT and STDERR, and hand signals on"),
    flag("checkpoint", Kind::Str, "Checkpoint to restore from").hidden(),
    flag("checkpoint-dir", Kind::Str, "Directory of checkpoints").hidden(),
    flag("detach-keys", Kind::Str, "Keys that leave the container running and go away"),
    short("interactive", 'i', Kind::Bool, "Join STDIN"),
];

pub(crate) const START: Command = Command {
    paths: &["container start", "start"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start stopped containers",
    details: "",
    args: Args::AtLeast(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Containers,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    if given.changed("checkpoint") || given.changed("checkpoint-dir") {
        return Err("checkpoints are not built yet in this version of minke".into());
    }
    if given.on("attach") || given.on("interactive") {
        if given.args.len() > 1 {
            return Err("you cannot start and attach multiple containers at once".into());
        }
        return attached(session, given, client);
    }
    let mut failed = Vec::new();
    for name in &given.args {
        match client.post(&format!("/containers/{}/start", Client::segment(name))).send() {
            Ok(_) => session.out.line(name),
            Err(error) => {
                session.out.flush()?;
                complain(&error.to_string());
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    Err(Failure::new(1, format!("Error: failed to start containers: {}", failed.join(", "))))
}

fn attached(session: &Session, given: &Given, client: &Client) -> Outcome {
    let name = &given.args[0];
    let path = format!("/containers/{}", Client::segment(name));
    let document = client.get(&format!("{path}/json")).send()?.json()?;
    let is = |pointer: &str| document.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
    let tty = is("/Config/Tty");
    let id = document.get("Id").and_then(Value::as_str).unwrap_or(name).to_owned();
    let stdin = given.on("interactive") && is("/Config/OpenStdin");
    let keys_text = detach_keys(session, given);
    let signals = Signals::catch(tty, !tty)?;
    let target = Target { path: format!("/containers/{id}"), signals: true };
    let mut call = client
        .post(&format!("/containers/{id}/attach"))
        .flag("stream", true)
        .flag("stdin", stdin)
        .flag("stdout", true)
        .flag("stderr", true)
        .upgrading();
    if let Some(keys) = &keys_text {
        call = call.query("detachKeys", keys);
    }
    let stream = call.send()?.upgrade()?;
    let condition = if is("/HostConfig/AutoRemove") { "removed" } else { "next-exit" };
    let waiting = client.post(&format!("/containers/{id}/wait")).query("condition", condition).start()?;
    client.post(&format!("/containers/{id}/start")).send()?;
    if tty {
        attach::resize(client, &target);
    }
    let keys = keys_text.and_then(|k| keys::parse(&k).ok()).unwrap_or_else(|| keys::DEFAULT.to_vec());
    let framing = if tty { Framing::Raw } else { Framing::Stdcopy };
    let joined = Attach { client, target, framing, tty, stdin, keys: Some(keys) };
    if joined.run(stream, &signals)? == Ended::Detached {
        return Ok(0);
    }
    let answer = waiting.finish()?.json()?;
    Ok(attach::exit_code(answer.get("StatusCode").and_then(Value::as_i64).unwrap_or(125)))
}
