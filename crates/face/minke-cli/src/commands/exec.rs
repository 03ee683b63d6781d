//! `exec`: one more process in a running container.
//!
//! On minke an attached one is a single request, whose stream also carries the exit code; on any other engine it is Docker's
//! three.

use super::run::detach_keys;
use super::variables::environment;
use crate::attach::{self, Attach, Ended, Framing, Signals, Target};
use crate::check;
use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::keys;
use crate::session::Session;
use minke_client::{Client, ClientError};
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
    let body = Value::Object(body);
    if detach {
        let created = create(client, given, &body)?;
        client.post(&format!("/exec/{created}/start")).json(&json!({"Detach": true, "Tty": tty})).send()?;
        return Ok(0);
    }
    let keys = keys_text.and_then(|k| keys::parse(&k).ok()).unwrap_or_else(|| keys::DEFAULT.to_vec());
    let signals = Signals::catch(tty, false)?;
    let whole = format!("/minke/containers/{}/exec", Client::segment(&given.args[0]));
    let (id, framing, stream) = match client.post(&whole).json(&body).upgrading().send() {
        Ok(answer) => {
            let id = answer.header("minke-exec").unwrap_or_default().to_owned();
            (id, Framing::Minke, answer.upgrade()?)
        }
        // Another engine than minke: Docker's two requests.
        Err(ClientError::Refused { status: 404 | 405 | 501, minke: false, .. }) => {
            let id = create(client, given, &body)?;
            let mut start = json!({"Detach": false, "Tty": tty});
            if !size.is_null() {
                start["ConsoleSize"] = size;
            }
            let answer = client.post(&format!("/exec/{id}/start")).json(&start).upgrading().send()?;
            (id, if tty { Framing::Raw } else { Framing::Stdcopy }, answer.upgrade()?)
        }
        Err(other) => return Err(other.into()),
    };
    let target = Target { path: format!("/exec/{id}"), signals: false };
    if tty {
        attach::resize(client, &target);
    }
    // minke's stream is watched for the detach keys by the engine.
    let keys = (framing != Framing::Minke).then_some(keys);
    let joined = Attach { client, target, framing, tty, stdin, keys };
    match joined.run(stream, &signals)? {
        Ended::Exit(code) => Ok(code),
        Ended::Detached => Err("read escape sequence".into()),
        Ended::Failed { message, code } => Err(Failure::new(code, message)),
        Ended::Closed => {
            let answer = client.get(&format!("/exec/{id}/json")).send()?.json()?;
            Ok(attach::exit_code(answer.get("ExitCode").and_then(Value::as_i64).unwrap_or(1)))
        }
    }
}

/// Makes the exec with Docker's request; its id.
fn create(client: &Client, given: &Given, body: &Value) -> Result<String, Failure> {
    let path = format!("/containers/{}/exec", Client::segment(&given.args[0]));
    let created = client.post(&path).json(body).send()?.json()?;
    match created.get("Id").and_then(Value::as_str) {
        Some(id) if !id.is_empty() => Ok(id.to_owned()),
        _ => Err("exec ID empty".into()),
    }
}
