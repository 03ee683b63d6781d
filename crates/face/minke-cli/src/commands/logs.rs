//! `logs`: what a container has said, and goes on saying.

use crate::attach::Frames;
use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::printer::{write_stderr, write_stdout};
use crate::session::Session;
use minke_base::time::parse_since;
use minke_client::Client;
use serde_json::Value;
use std::io::Read;

const FLAGS: &[Flag] = &[
    flag("details", Kind::Bool, "Show attributes that were given to the log"),
    short("follow", 'f', Kind::Bool, "Wait for more"),
    flag(
        "since",
        Kind::Str,
        "Show lines since a time (\"2013-01-02T13:23:37Z\") or for the last while (\"42m\")",
    ),
    short("tail", 'n', Kind::Str, "How many lines from the end").default("all"),
    short("timestamps", 't', Kind::Bool, "Show times"),
    flag("until", Kind::Str, "Show lines before a time (\"2013-01-02T13:23:37Z\") or a while ago (\"42m\")"),
];

pub(crate) const LOGS: Command = Command {
    paths: &["container logs", "logs"],
    usage: "[OPTIONS] CONTAINER",
    about: "Show the log of a container",
    details: "",
    args: Args::Exactly(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Containers,
    run,
};

/// A moment as the API takes it: seconds and nanoseconds; whole seconds for "so long ago", as docker says it.
pub(crate) fn moment(name: &str, text: &str) -> Result<String, String> {
    let now = chrono::Utc::now();
    if text != "0"
        && minke_base::time::parse_unix(text).is_none()
        && let Ok(ago) = minke_base::duration::parse_go(text)
    {
        return Ok((now - chrono::TimeDelta::nanoseconds(ago)).timestamp().to_string());
    }
    let at = parse_since(text, now).map_err(|_e| {
        format!("invalid value for \"{name}\": failed to parse value as time or duration: {text:?}")
    })?;
    Ok(format!("{}.{:09}", at.timestamp(), at.timestamp_subsec_nanos()))
}

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let path = format!("/containers/{}", Client::segment(&given.args[0]));
    let mut call = client.get(&format!("{path}/logs")).flag("details", given.on("details"));
    call = call.flag("follow", given.on("follow"));
    for name in ["since", "until"] {
        if let Some(text) = given.get(name).filter(|t| !t.is_empty()) {
            match moment(name, text) {
                Ok(at) => call = call.query(name, at),
                // A container that is not there is the greater mistake.
                Err(why) => return Err(is_tty(client, &path).err().unwrap_or(why.into())),
            }
        }
    }
    call = call.flag("stdout", true).flag("stderr", true);
    call = call.query("tail", given.get("tail").unwrap_or("all")).flag("timestamps", given.on("timestamps"));
    let mut response = call.send()?;
    // The content type tells a tty's raw log from frames; engines before 1.42 need the container's word.
    let raw = match response.header("content-type") {
        Some("application/vnd.docker.raw-stream") => is_tty(client, &path)?,
        Some("application/vnd.docker.multiplexed-stream") => false,
        _ => is_tty(client, &path)?,
    };
    let mut buffer = vec![0u8; 64 * 1024];
    let mut frames = Frames::default();
    loop {
        let count = response.read(&mut buffer)?;
        if count == 0 {
            return Ok(0);
        }
        if raw {
            write_stdout(&buffer[..count])?;
        } else {
            demultiplex(&mut frames, &buffer[..count])?;
        }
    }
}

fn is_tty(client: &Client, path: &str) -> Result<bool, Failure> {
    let document = client.get(&format!("{path}/json")).send()?.json()?;
    Ok(document.pointer("/Config/Tty").and_then(Value::as_bool).unwrap_or(false))
}

fn demultiplex(frames: &mut Frames, data: &[u8]) -> Result<(), Failure> {
    let mut rest = data;
    while let Some((kind, payload)) = frames.next(&mut rest)? {
        match kind {
            0 | 1 => write_stdout(&payload)?,
            2 => write_stderr(&payload)?,
            3 => {
                let text = String::from_utf8_lossy(&payload);
                return Err(Failure::new(1, format!("error from daemon in stream: {text}")));
            }
            other => return Err(format!("Unrecognized stream: {other}").into()),
        }
    }
    Ok(())
}
