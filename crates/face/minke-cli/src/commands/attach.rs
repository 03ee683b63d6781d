//! `attach`: join a running container's streams.

use super::run::detach_keys;
use crate::attach::{self, Attach, Ended, Framing, Signals, Target};
use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, flag};
use crate::given::Given;
use crate::keys;
use crate::session::Session;
use minke_client::Client;
use serde_json::Value;

const FLAGS: &[Flag] = &[
    flag("detach-keys", Kind::Str, "Keys that leave the container running and go away"),
    flag("no-stdin", Kind::Bool, "Do not join STDIN"),
    flag("sig-proxy", Kind::Bool, "Hand received signals on to the process").default("true"),
];

pub(crate) const ATTACH: Command = Command {
    paths: &["container attach", "attach"],
    usage: "[OPTIONS] CONTAINER",
    about: "Join the streams of a running container",
    details: "",
    args: Args::Exactly(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Running,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let path = format!("/containers/{}", Client::segment(&given.args[0]));
    let document = client.get(&format!("{path}/json")).send()?.json()?;
    let is = |pointer: &str| document.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
    if !is("/State/Running") {
        return Err("cannot attach to a stopped container, start it first".into());
    }
    if is("/State/Paused") {
        return Err("cannot attach to a paused container, unpause it first".into());
    }
    if is("/State/Restarting") {
        return Err("cannot attach to a restarting container, wait until it is running".into());
    }
    let tty = is("/Config/Tty");
    let stdin = !given.on("no-stdin") && is("/Config/OpenStdin");
    if tty && stdin && !crate::terminal::stdin_is() {
        return Err("the input device is not a TTY".into());
    }
    let id = document.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let proxy = given.on_unless("sig-proxy") && !tty;
    let signals = Signals::catch(tty, proxy)?;
    let waiting = client.post(&format!("/containers/{id}/wait")).start()?;
    let keys_text = detach_keys(session, given);
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
    let target = Target { path: format!("/containers/{id}"), signals: true };
    if tty {
        attach::redraw(client, &target);
    }
    let keys = keys_text.and_then(|k| keys::parse(&k).ok()).unwrap_or_else(|| keys::DEFAULT.to_vec());
    let framing = if tty { Framing::Raw } else { Framing::Stdcopy };
    let joined = Attach { client, target, framing, tty, stdin, keys: Some(keys) };
    if joined.run(stream, &signals)? == Ended::Detached {
        return Err("read escape sequence".into());
    }
    let answer = waiting.finish()?.json()?;
    Ok(attach::exit_code(answer.get("StatusCode").and_then(Value::as_i64).unwrap_or(125)))
}
