//! `load` and `import`: archives into the engine.

use crate::check;
use crate::command::{Args, Command, Outcome};
use crate::failure::{Failure, go_io};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::progress::{self, To};
use crate::session::Session;
use minke_base::Reference;
use minke_client::Response;
use std::fs::File;
use std::io;

const FLAGS: &[Flag] = &[
    short("input", 'i', Kind::Str, "Read this file instead of STDIN").complete(Complete::Files),
    flag("platform", Kind::Str, "Load only this platform's variant (os[/arch[/variant]])"),
    short("quiet", 'q', Kind::Bool, "Print no progress"),
];

pub(crate) const LOAD: Command = Command {
    paths: &["image load", "load"],
    usage: "[OPTIONS]",
    about: "Load images from a tar archive or STDIN",
    details: "",
    args: Args::None,
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run: load,
};

fn open(path: &str) -> Result<File, Failure> {
    let failed = |why: String| Failure::new(1, format!("open {path}: {why}"));
    let file = File::open(path).map_err(|e| failed(go_io(&e)))?;
    let meta = file.metadata().map_err(|e| failed(go_io(&e)))?;
    if meta.is_dir() {
        return Err(Failure::new(1, format!("read {path}: is a directory")));
    }
    Ok(file)
}

fn load(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let input = given.str("input");
    if input.is_empty() && crate::terminal::stdin_is() {
        return Err("requested load from stdin, but stdin is empty".into());
    }
    let file = if input.is_empty() { None } else { Some(open(input)?) };
    let quiet = given.on("quiet") || !crate::terminal::stdout_is();
    let mut call = client.post("/images/load").query("quiet", if quiet { "1" } else { "0" });
    if let Some(platform) = given.get("platform").filter(|p| !p.is_empty()) {
        call = call.query("platform", check::platform(platform)?.to_string());
    }
    let call = call.header("Content-Type", "application/x-tar");
    let response = match file {
        Some(file) => call.send_body(file)?,
        None => call.send_body(io::stdin())?,
    };
    finish(response)
}

fn finish(response: Response) -> Outcome {
    if response.header("content-type").is_some_and(|t| t.starts_with("application/json")) {
        progress::show(response, To::Stdout)?;
    } else {
        crate::printer::write_stdout(&response.bytes()?)?;
    }
    Ok(0)
}

const IMPORT_FLAGS: &[Flag] = &[
    short("change", 'c', Kind::List, "Dockerfile instruction to apply"),
    short("message", 'm', Kind::Str, "Message to keep with the image"),
    flag("platform", Kind::Str, "Platform, when the engine has several"),
];

pub(crate) const IMPORT: Command = Command {
    paths: &["image import", "import"],
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    about: "Make an image from the files of a tar archive",
    details: "",
    args: Args::AtLeast(1),
    flags: &[IMPORT_FLAGS],
    interspersed: true,
    complete: Complete::Files,
    run: import,
};

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn import(session: &Session, given: &Given) -> Outcome {
    let source = &given.args[0];
    let name = given.args.get(1).map_or("", String::as_str);
    if !name.is_empty() {
        Reference::parse(name).map_err(|e| e.to_string())?;
    }
    let local = !is_url(source);
    let mut call =
        session.client()?.post("/images/create").query("fromSrc", if local { "-" } else { source });
    if !name.is_empty() {
        call = call.query("repo", name);
    }
    if given.changed("message") {
        call = call.query("message", given.str("message"));
    }
    for change in given.list("change") {
        call = call.query("changes", change);
    }
    if let Some(platform) = given.get("platform").filter(|p| !p.is_empty()) {
        check::platform(platform)?;
        call = call.query("platform", platform.to_lowercase());
    }
    let response = if source == "-" {
        call.send_body(io::stdin())?
    } else if local {
        call.send_body(open(source)?)?
    } else {
        call.send()?
    };
    progress::show(response, To::Stdout)?;
    Ok(0)
}
