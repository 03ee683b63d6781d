//! `create`, and what `run` shares with it: the image that may be missing, the file for the id.

use super::{body, options};
use crate::check;
use crate::command::{Args, Command, Outcome};
use crate::failure::{Failure, go_io};
use crate::flag::Complete;
use crate::given::Given;
use crate::printer::complain;
use crate::progress::{self, To};
use crate::session::Session;
use minke_base::Reference;
use minke_client::ClientError;
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

pub(crate) const CREATE: Command = Command {
    paths: &["container create", "create"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Make a container without starting it",
    details: "",
    args: Args::AtLeast(1),
    flags: &[options::SHARED, options::CREATE],
    interspersed: false,
    complete: Complete::Images,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    check_pull(session, given)?;
    let streams = body::Streams::of(given);
    let refuse = |text: String| super::run::failed(session, &given.path, 125, &text);
    let request = body::build(session, given, streams).map_err(refuse)?;
    check_image(given)?;
    let cid = CidFile::claim(given)?;
    pull_first(session, given)?;
    let created = create(session, given, &request)?;
    warn(&created);
    let id = created.get("Id").and_then(Value::as_str).unwrap_or_default();
    cid.write(id)?;
    session.out.line(id);
    Ok(0)
}

/// Flags for containers of another system are refused, and `--pull` knows three words.
pub(crate) fn check_pull(session: &Session, given: &Given) -> Result<(), Failure> {
    const WINDOWS: [&str; 4] = ["cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"];
    if let Some(flag) = WINDOWS.iter().find(|flag| given.changed(flag)) {
        return Err(Failure::new(
            1,
            format!(
                "\"--{flag}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux"
            ),
        ));
    }
    match given.get("pull").unwrap_or("missing") {
        "always" | "missing" | "never" | "" => Ok(()),
        other => Err(super::run::failed(
            session,
            &given.path,
            125,
            &format!("invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""),
        )),
    }
}

/// Refuses a name that cannot be an image's, and a platform that cannot be one.
pub(crate) fn check_image(given: &Given) -> Result<(), String> {
    let image = given.args.first().map_or("", String::as_str);
    if let Some(platform) = given.get("platform").filter(|p| !p.is_empty()) {
        check::platform(platform)?;
    }
    let is_id = image.len() == 64 && image.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id || image.starts_with("sha256:") {
        return Ok(());
    }
    Reference::parse(image).map(drop).map_err(|e| e.to_string())
}

/// Warnings of a create answer.
pub(crate) fn warn(created: &Value) {
    let list = created.get("Warnings").and_then(Value::as_array);
    for warning in list.into_iter().flatten().filter_map(Value::as_str) {
        complain(&format!("WARNING: {warning}"));
    }
}

/// Sends the create request; an image that is not there is pulled first.
pub(crate) fn create(session: &Session, given: &Given, request: &Value) -> Result<Value, Failure> {
    let client = session.client()?;
    let send = || {
        let mut call = client.post("/containers/create").json(request);
        for flag in ["name", "platform"] {
            if let Some(value) = given.get(flag) {
                call = call.query(flag, value);
            }
        }
        call.send()
    };
    match send() {
        Ok(response) => Ok(response.json()?),
        Err(ClientError::Refused { status: 404, message, .. })
            if image_is_missing(&message) && given.get("pull") != Some("never") =>
        {
            pull_missing(session, given)?;
            Ok(send()?.json()?)
        }
        Err(other) => Err(other.into()),
    }
}

/// The engine's words for an image it does not have.
pub(crate) fn image_is_missing(message: &str) -> bool {
    message.to_ascii_lowercase().contains("no such image")
}

/// `--pull always` pulls before anything else.
pub(crate) fn pull_first(session: &Session, given: &Given) -> Result<(), Failure> {
    if given.get("pull") == Some("always") { pull(session, given) } else { Ok(()) }
}

/// Says that the image is missing, and pulls it.
pub(crate) fn pull_missing(session: &Session, given: &Given) -> Result<(), Failure> {
    let image = given.args.first().map_or("", String::as_str);
    if !given.on("quiet") {
        complain(&format!("Unable to find image '{}' locally", familiar(image)));
    }
    pull(session, given)
}

/// `busybox:latest` for what was typed.
fn familiar(image: &str) -> String {
    match Reference::parse(image) {
        Ok(reference) => reference.or_latest().familiar(),
        Err(_) => image.to_owned(),
    }
}

fn pull(session: &Session, given: &Given) -> Result<(), Failure> {
    let image = given.args.first().map_or("", String::as_str);
    let reference = Reference::parse(image).map_err(|e| e.to_string())?.or_latest();
    let platform = given.get("platform").filter(|p| !p.is_empty());
    let response = super::pull::request(session, &reference, platform)?;
    if given.on("quiet") {
        return progress::listen(response);
    }
    progress::show(response, To::Stderr)
}

/// The file of `--cidfile`: taken before the container is made, so that two runs cannot share it.
#[derive(Debug)]
pub(crate) struct CidFile {
    path: Option<PathBuf>,
    written: std::cell::Cell<bool>,
}

impl CidFile {
    pub(crate) fn claim(given: &Given) -> Result<CidFile, String> {
        let Some(path) = given.get("cidfile").filter(|p| !p.is_empty()) else {
            return Ok(CidFile { path: None, written: true.into() });
        };
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        match made {
            Ok(_) => Ok(CidFile { path: Some(path.into()), written: false.into() }),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            )),
            Err(e) => Err(format!("failed to create the container ID file: open {path}: {}", go_io(&e))),
        }
    }

    pub(crate) fn write(&self, id: &str) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        self.written.set(true);
        put(path, id).map_err(|e| {
            let path = path.display();
            Failure::new(
                125,
                format!("failed to write the container ID ({id}) to file {path}: {}", go_io(&e)),
            )
        })
    }
}

fn put(path: &Path, id: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(path)?.write_all(id.as_bytes())
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && !self.written.get()
        {
            // No container came of it; an empty file would block the next run.
            drop(fs::remove_file(path));
        }
    }
}
