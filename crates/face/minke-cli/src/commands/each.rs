//! Commands that do one thing to each of several containers: stop, restart, kill, pause, rm, wait; and rename.
//!
//! Requests go out side by side, answers are taken in order, so `stop a b c` takes as long as the slowest. A container
//! that fails does not keep the others from theirs.

use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, short};
use crate::given::Given;
use crate::printer::complain;
use crate::session::Session;
use minke_client::{Client, Request};
use serde_json::Value;

/// More at once would only queue in the engine.
const SIDE_BY_SIDE: usize = 50;

/// Sends `request` for each container and prints the name of each that worked.
fn for_each<'a>(
    session: &Session,
    given: &'a Given,
    request: impl Fn(&'a str, String) -> Request<'a>,
) -> Outcome {
    for_each_of("containers", session, given, request)
}

/// The same for things whose pages are below another `noun`.
pub(super) fn for_each_of<'a>(
    noun: &str,
    session: &Session,
    given: &'a Given,
    request: impl Fn(&'a str, String) -> Request<'a>,
) -> Outcome {
    let mut code = 0;
    for group in given.args.chunks(SIDE_BY_SIDE) {
        let started: Vec<_> = group
            .iter()
            .map(|name| request(name, format!("/{noun}/{}", Client::segment(name))).start())
            .collect();
        for (name, pending) in group.iter().zip(started) {
            match pending.and_then(minke_client::Pending::finish) {
                Ok(response) => {
                    // Read to its end, so that the connection can serve again.
                    drop(response.bytes());
                    session.out.line(name);
                }
                Err(error) if error.unreachable() => return Err(error.into()),
                Err(error) => {
                    session.out.flush()?;
                    complain(&error.to_string());
                    code = 1;
                }
            }
        }
    }
    Ok(code)
}

const SIGNAL: Complete = Complete::Words(&[
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGCONT", "SIGSTOP",
]);

const STOP_FLAGS: &[Flag] = &[
    short("signal", 's', Kind::Str, "Signal to send").complete(SIGNAL),
    short("time", '\0', Kind::Int, "Seconds to wait before killing").hidden(),
    short("timeout", 't', Kind::Int, "Seconds to wait before killing"),
];

pub(crate) const STOP: Command = Command {
    paths: &["container stop", "stop"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop running containers",
    details: "",
    args: Args::AtLeast(1),
    flags: &[STOP_FLAGS],
    interspersed: true,
    complete: Complete::Running,
    run: |session, given| halt(session, given, "stop"),
};

pub(crate) const RESTART: Command = Command {
    paths: &["container restart", "restart"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop containers and start them again",
    details: "",
    args: Args::AtLeast(1),
    flags: &[STOP_FLAGS],
    interspersed: true,
    complete: Complete::Containers,
    run: |session, given| halt(session, given, "restart"),
};

fn halt(session: &Session, given: &Given, verb: &str) -> Outcome {
    if given.changed("time") && given.changed("timeout") {
        return Err("conflicting options: cannot specify both --timeout and --time".into());
    }
    let client = session.client()?;
    let timeout = given.int("timeout").or_else(|| given.int("time"));
    for_each(session, given, |_, path| {
        let mut call = client.post(&format!("{path}/{verb}"));
        if let Some(signal) = given.get("signal") {
            call = call.query("signal", signal);
        }
        match timeout {
            Some(seconds) => call.query("t", seconds.to_string()),
            None => call,
        }
    })
}

const KILL_FLAGS: &[Flag] = &[short("signal", 's', Kind::Str, "Signal to send").complete(SIGNAL)];

pub(crate) const KILL: Command = Command {
    paths: &["container kill", "kill"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Kill running containers",
    details: "",
    args: Args::AtLeast(1),
    flags: &[KILL_FLAGS],
    interspersed: true,
    complete: Complete::Running,
    run: |session, given| {
        let client = session.client()?;
        for_each(session, given, |_, path| {
            let call = client.post(&format!("{path}/kill"));
            match given.get("signal").filter(|s| !s.is_empty()) {
                Some(signal) => call.query("signal", signal),
                None => call,
            }
        })
    },
};

pub(crate) const PAUSE: Command = Command {
    paths: &["container pause", "pause"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Freeze all processes of containers",
    details: "",
    args: Args::AtLeast(1),
    flags: &[],
    interspersed: true,
    complete: Complete::Running,
    run: |session, given| freeze(session, given, "pause"),
};

pub(crate) const UNPAUSE: Command = Command {
    paths: &["container unpause", "unpause"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Let frozen processes go on",
    details: "",
    args: Args::AtLeast(1),
    flags: &[],
    interspersed: true,
    complete: Complete::Containers,
    run: |session, given| freeze(session, given, "unpause"),
};

fn freeze(session: &Session, given: &Given, verb: &str) -> Outcome {
    let client = session.client()?;
    for_each(session, given, |_, path| client.post(&format!("{path}/{verb}")))
}

const RM_FLAGS: &[Flag] = &[
    short("force", 'f', Kind::Bool, "Kill a running container first"),
    short("link", 'l', Kind::Bool, "Remove the link of that name"),
    short("volumes", 'v', Kind::Bool, "Remove the container's anonymous volumes too"),
];

pub(crate) const RM: Command = Command {
    paths: &["container rm", "container remove", "rm"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove containers",
    details: "",
    args: Args::AtLeast(1),
    flags: &[RM_FLAGS],
    interspersed: true,
    complete: Complete::Containers,
    run: remove,
};

fn remove(session: &Session, given: &Given) -> Outcome {
    if given.args.iter().any(|name| name.trim_matches('/').is_empty()) {
        return Err("invalid container name or ID: value is empty".into());
    }
    let client = session.client()?;
    let force = given.on("force");
    let request = |_: &str, path: String| {
        client
            .delete(&path)
            .flag("force", force)
            .flag("link", given.on("link"))
            .flag("v", given.on("volumes"))
    };
    if !force {
        return for_each(session, given, request);
    }
    // What is not there need not be removed: said, but no failure.
    let mut code = 0;
    for group in given.args.chunks(SIDE_BY_SIDE) {
        let started: Vec<_> = group
            .iter()
            .map(|name| request(name, format!("/containers/{}", Client::segment(name))).start())
            .collect();
        for (name, pending) in group.iter().zip(started) {
            match pending.and_then(minke_client::Pending::finish) {
                Ok(_) => session.out.line(name),
                Err(error) if error.unreachable() => return Err(error.into()),
                Err(error) => {
                    session.out.flush()?;
                    complain(&error.to_string());
                    if error.status() != Some(404) {
                        code = 1;
                    }
                }
            }
        }
    }
    Ok(code)
}

pub(crate) const WAIT: Command = Command {
    paths: &["container wait", "wait"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Wait until containers stop, and print their exit codes",
    details: "",
    args: Args::AtLeast(1),
    flags: &[],
    interspersed: true,
    complete: Complete::Running,
    run: wait,
};

fn wait(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let mut failures = Vec::new();
    for name in &given.args {
        let answer = client.post(&format!("/containers/{}/wait", Client::segment(name))).send();
        match answer.and_then(minke_client::Response::json) {
            Ok(answer) => match answer.pointer("/Error/Message").and_then(Value::as_str) {
                Some(text) => failures.push(text.to_owned()),
                None => {
                    let code = answer.get("StatusCode").and_then(Value::as_i64).unwrap_or_default();
                    session.out.line(&code.to_string());
                    session.out.flush()?;
                }
            },
            Err(error) if error.unreachable() => return Err(error.into()),
            Err(error) => failures.push(error.to_string()),
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(1, failures.join("\n"))) }
}

pub(crate) const RENAME: Command = Command {
    paths: &["container rename", "rename"],
    usage: "CONTAINER NEW_NAME",
    about: "Give a container another name",
    details: "",
    args: Args::Exactly(2),
    flags: &[],
    interspersed: true,
    complete: Complete::Containers,
    run: |session, given| {
        let [old, new] = [given.args[0].trim(), given.args[1].trim()];
        if old.is_empty() || new.is_empty() {
            return Err("Error: Neither old nor new names may be empty".into());
        }
        let path = format!("/containers/{}/rename", Client::segment(old));
        match session.client()?.post(&path).query("name", new).send() {
            Ok(_) => Ok(0),
            Err(error) => {
                Err(Failure::new(1, format!("{error}\nError: failed to rename container named {old}")))
            }
        }
    },
};
