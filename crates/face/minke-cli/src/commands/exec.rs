//! `exec`: one more process in a running container.

use super::body::environment;
use super::run::detach_keys;
use crate::attach::{self, Attach, Ended, Framing, Signals, Target};
use crate::check;
use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::keys;
use crate::session::Session;
use minke_client::Client;
use serde_json::{Map, Value, json};

const FLAGS: &[Flag] = &[
    short("detach", 'd', Kind::Bool, "Run in the background"),
    flag("detach-keys", Kind::Str, "Keys that leave the process running and go away"),
    short("env", 'e', Kind::List, "Environment variable").check(check::environment),
    flag("env-file", Kind::List, "File of environment variables").complete(Complete::Files),
    short("interactive", 'i', Kind::Bool, "Keep STDIN open even when not attached"),
    flag("privileged", Kind::Bool, "Give the process every privilege"),
    short("tty", 't', Kind::Bool, "Give it a terminal"),
    short("user", 'u', Kind::Str, "User, and group, to run as (<name|uid>[:<group|gid>])"),
    short("workdir", 'w', Kind::Str, "Directory to start in"),
];

pub(crate) const EXEC: Command = Command {
    paths: &["container exec", "exec"],
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Run a command in a running container",
    details: "",
    args: Args::AtLeast(2),
    flags: &[FLAGS],
    interspersed: false,
    complete: Complete::Running,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let tty = given.on("tty");
    let detach = given.on("detach");
    let stdin = given.on("interactive") && !detach;
    let keys_text = detach_keys(session, given);
    let env = environment(&given.list("env-file"), &given.list("env"))?;
    if tty && stdin && !crate::terminal::stdin_is() {
        return Err("the input device is not a TTY".into());
    }
    let (height, width) = crate::terminal::size();
    let size = if tty && height > 0 { json!([height, width]) } else { Value::Null };
    let mut body = Map::new();
    let mut put = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    put("User", given.str("user").into());
    put("Privileged", given.on("privileged").into());
    put("Tty", tty.into());
    if !size.is_null() {
        put("ConsoleSize", size.clone());
    }
    put("AttachStdin", stdin.into());
    put("AttachStderr", (!detach).into());
    put("AttachStdout", (!detach).into());
    put("DetachKeys", keys_text.clone().unwrap_or_default().into());
    put("Env", if env.is_empty() { Value::Null } else { env.into() });
    put("WorkingDir", given.str("workdir").into());
    put("Cmd", given.args[1..].into());
    let path = format!("/containers/{}", Client::segment(&given.args[0]));
    let created = client.post(&format!("{path}/exec")).json(&Value::Object(body)).send()?.json()?;
    let id = created.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
    if id.is_empty() {
        return Err("exec ID empty".into());
    }
    let mut start = json!({"Detach": detach, "Tty": tty});
    if !size.is_null() {
        start["ConsoleSize"] = size;
    }
    let request = client.post(&format!("/exec/{id}/start")).json(&start);
    if detach {
        request.send()?;
        return Ok(0);
    }
    let signals = Signals::catch(tty, false)?;
    let stream = request.upgrading().send()?.upgrade()?;
    let target = Target { path: format!("/exec/{id}"), signals: false };
    if tty {
        attach::resize(client, &target);
    }
    let keys = keys_text.and_then(|k| keys::parse(&k).ok()).unwrap_or_else(|| keys::DEFAULT.to_vec());
    let framing = if tty { Framing::Raw } else { Framing::Stdcopy };
    let joined = Attach { client, target, framing, tty, stdin, keys: Some(keys) };
    if joined.run(stream, &signals)? == Ended::Detached {
        return Err("read escape sequence".into());
    }
    let answer = client.get(&format!("/exec/{id}/json")).send()?.json()?;
    Ok(attach::exit_code(answer.get("ExitCode").and_then(Value::as_i64).unwrap_or(1)))
}
