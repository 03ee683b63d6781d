//! `run`: create, join, start, wait.
//!
//! On minke it is one request: the answer is either an error, the id of a detached container, or a stream that also
//! carries the exit code. On any other engine it is Docker's four requests. Which one answers is seen from the answer
//! itself: an engine that does not know the path says 404 and is not minke.

use super::{body, create, options};
use crate::attach::{self, Attach, Ended, Framing, Signals, Target};
use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::Complete;
use crate::given::Given;
use crate::keys;
use crate::printer::complain;
use crate::session::Session;
use minke_client::{ClientError, Pending};
use serde_json::{Value, json};

pub(crate) const RUN: Command = Command {
    paths: &["container run", "run"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Make a container from an image and run a command in it",
    details: "",
    args: Args::AtLeast(1),
    flags: &[options::SHARED, options::RUN],
    interspersed: false,
    complete: Complete::Images,
    run,
};

/// Errors of `run` end with a hint and one of 125, 126, 127.
pub(crate) fn failed(session: &Session, path: &str, code: u8, text: &str) -> Failure {
    let program = &session.program;
    Failure::new(code, format!("{program}: {text}\n\nRun '{program} {path} --help' for more information"))
}

/// The exit code of a start that failed, from the words of the runtime.
pub(crate) fn start_code(text: &str) -> u8 {
    let text = text.trim().to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if has(&[
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ]) {
        127
    } else if has(&["permission denied", "not a directory", "is a directory", "exec format error"]) {
        126
    } else {
        125
    }
}

fn run(session: &Session, given: &Given) -> Outcome {
    let tty = given.on("tty");
    let detach = given.on("detach");
    let mut streams = body::Streams::of(given);
    if detach {
        if given.changed("attach") {
            return Err("conflicting options: cannot specify both --attach and --detach".into());
        }
        streams = body::Streams { stdin: false, stdout: false, stderr: false };
    }
    create::check_pull(session, given)?;
    if tty && streams.stdin && !crate::terminal::stdin_is() {
        return Err("the input device is not a TTY".into());
    }
    let refuse = |text: String| failed(session, &given.path, 125, &text);
    let mut request = body::build(session, given, streams).map_err(refuse)?;
    let keys = detach_keys(session, given);
    if let Some(Err(why)) = keys.as_deref().map(keys::parse) {
        let keys = keys.unwrap_or_default();
        return Err(failed(session, &given.path, 125, &format!("invalid detach keys ({keys}): {why}")));
    }
    let cid = create::CidFile::claim(given).map_err(refuse)?;
    create::check_image(given).map_err(refuse)?;
    create::pull_first(session, given).map_err(|e| refuse(e.text))?;
    let client = session.client()?;
    let proxy = given.on_unless("sig-proxy");
    let signals = if detach { Signals::catch(false, false)? } else { Signals::catch(tty, proxy)? };
    let (height, width) = crate::terminal::size();
    if let Some(object) = request.as_object_mut() {
        let asks = json!({
            "Detach": detach, "AttachStdin": streams.stdin, "AttachStdout": streams.stdout,
            "AttachStderr": streams.stderr, "DetachKeys": keys.clone().unwrap_or_default(),
            "ConsoleSize": [height, width],
        });
        object.insert("Minke".into(), asks);
    }
    let send = || {
        let mut call = client.post("/minke/run").json(&request);
        for flag in ["name", "platform"] {
            if let Some(value) = given.get(flag) {
                call = call.query(flag, value);
            }
        }
        if !detach { call.upgrading() } else { call }.send()
    };
    let mut answer = send();
    if let Err(ClientError::Refused { status: 404, minke: true, message }) = &answer
        && create::image_is_missing(message)
        && given.get("pull") != Some("never")
    {
        create::pull_missing(session, given).map_err(|e| refuse(e.text))?;
        answer = send();
    }
    let response = match answer {
        Ok(response) => response,
        Err(ClientError::Refused { status: 404 | 405 | 501, minke: false, .. }) => {
            if let Some(object) = request.as_object_mut() {
                object.shift_remove("Minke");
            }
            return classic(session, given, &request, streams, &signals, &cid);
        }
        Err(ClientError::Refused { message, .. }) => {
            return Err(failed(
                session,
                &given.path,
                start_code(&message),
                &format!("Error response from daemon: {message}"),
            ));
        }
        Err(other) => return Err(failed(session, &given.path, 125, &other.to_string())),
    };
    if detach {
        let created = response.json()?;
        create::warn(&created);
        let id = created.get("Id").and_then(Value::as_str).unwrap_or_default();
        cid.write(id)?;
        session.out.line(id);
        return Ok(0);
    }
    let id = response.header("minke-container").unwrap_or_default().to_owned();
    cid.write(&id)?;
    for warning in response.headers("minke-warning") {
        complain(&format!("WARNING: {warning}"));
    }
    let joined = Attach {
        client,
        target: Target { path: format!("/containers/{id}"), signals: true },
        framing: Framing::Minke,
        tty,
        stdin: streams.stdin,
        keys: None,
    };
    match joined.run(response.upgrade()?, &signals)? {
        Ended::Exit(code) => Ok(code),
        Ended::Detached => Ok(0),
        Ended::Failed { message, code } => {
            let code = if code == 125 { start_code(&message) } else { code };
            Err(failed(session, &given.path, code, &format!("Error response from daemon: {message}")))
        }
        // The engine went away; when it is back it knows the exit code.
        Ended::Closed => wait_again(session, &id),
    }
}

/// Asks an engine that comes back how the container ended.
fn wait_again(session: &Session, id: &str) -> Outcome {
    let client = session.client()?;
    let mut last = None;
    for _try in 0..50 {
        match client.post(&format!("/containers/{id}/wait")).send().and_then(minke_client::Response::json) {
            Ok(answer) => {
                return Ok(attach::exit_code(
                    answer.get("StatusCode").and_then(Value::as_i64).unwrap_or(125),
                ));
            }
            // The start was undone, or it ended and is gone: nobody knows its status any more.
            Err(error @ ClientError::Refused { .. }) => return Err(Failure { code: 125, ..error.into() }),
            Err(error) => last = Some(error),
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let text = last.map(|e| e.to_string()).unwrap_or_default();
    Err(Failure::new(125, format!("the engine went away while container {id} ran, and is not back: {text}")))
}

/// `--detach-keys`, else the config's.
pub(crate) fn detach_keys(session: &Session, given: &Given) -> Option<String> {
    let own = given.get("detach-keys").filter(|k| !k.is_empty());
    own.or_else(|| session.config().text("detachKeys")).map(str::to_owned)
}

/// Docker's way: create, attach, wait, start.
fn classic(
    session: &Session,
    given: &Given,
    request: &Value,
    streams: body::Streams,
    signals: &Signals,
    cid: &create::CidFile,
) -> Outcome {
    let client = session.client()?;
    let path = &given.path;
    let created = create::create(session, given, request).map_err(|e| failed(session, path, 125, &e.text))?;
    let id = created.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
    create::warn(&created);
    cid.write(&id)?;
    let tty = given.on("tty");
    let attached = streams.stdin || streams.stdout || streams.stderr;
    let target = Target { path: format!("/containers/{id}"), signals: true };
    let stream = if attached {
        let keys = detach_keys(session, given);
        let mut call = client.post(&format!("/containers/{id}/attach")).flag("stream", true).upgrading();
        call =
            call.flag("stdin", streams.stdin).flag("stdout", streams.stdout).flag("stderr", streams.stderr);
        if let Some(keys) = &keys {
            call = call.query("detachKeys", keys);
        }
        Some(call.send()?.upgrade()?)
    } else {
        None
    };
    let condition = if given.on("rm") { "removed" } else { "next-exit" };
    let waiting: Option<Pending> = if attached {
        Some(client.post(&format!("/containers/{id}/wait")).query("condition", condition).start()?)
    } else {
        None
    };
    if let Err(error) = client.post(&format!("/containers/{id}/start")).send() {
        drop(stream);
        if given.on("rm")
            && let Some(waiting) = waiting
        {
            // Docker removes a container that could not start; wait until it has.
            drop(waiting.finish());
        }
        let text = error.to_string();
        return Err(failed(session, path, start_code(&text), &text));
    }
    let (Some(stream), Some(waiting)) = (stream, waiting) else {
        session.out.line(&id);
        return Ok(0);
    };
    if tty {
        attach::resize(client, &target);
    }
    let keys = detach_keys(session, given).and_then(|k| keys::parse(&k).ok());
    let joined = Attach {
        client,
        target,
        framing: if tty { Framing::Raw } else { Framing::Stdcopy },
        tty,
        stdin: streams.stdin,
        keys: Some(keys.unwrap_or_else(|| keys::DEFAULT.to_vec())),
    };
    if joined.run(stream, signals)? == Ended::Detached {
        return Ok(0);
    }
    let answer = waiting.finish()?.json()?;
    if let Some(text) = answer.pointer("/Error/Message").and_then(Value::as_str) {
        complain(text);
        return Ok(125);
    }
    Ok(attach::exit_code(answer.get("StatusCode").and_then(Value::as_i64).unwrap_or(125)))
}
