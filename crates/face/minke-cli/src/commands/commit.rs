//! `commit`: an image of what a container changed.

use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, short};
use crate::given::Given;
use crate::session::Session;
use minke_base::Reference;
use serde_json::{Value, json};

const FLAGS: &[Flag] = &[
    short("author", 'a', Kind::Str, "Who made the image"),
    short("change", 'c', Kind::List, "Dockerfile instruction to apply"),
    short("message", 'm', Kind::Str, "Message to keep with the image"),
    short("pause", 'p', Kind::Bool, "Stop the container's processes meanwhile").default("true"),
];

pub(crate) const COMMIT: Command = Command {
    paths: &["container commit", "commit"],
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Make an image of a container's changes",
    details: "",
    args: Args::Between(1, 2),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Containers,
    run: commit,
};

fn commit(session: &Session, given: &Given) -> Outcome {
    let name = given.args.get(1).map_or("", String::as_str);
    let mut call = session.client()?.post("/commit").query("container", given.args[0].as_str());
    if !name.is_empty() {
        let reference = Reference::parse(name).map_err(|e| e.to_string())?;
        if reference.digest().is_some() {
            return Err("refusing to create a tag with a digest reference".into());
        }
        let tag = reference.tag().unwrap_or("latest").to_owned();
        call = call.query("repo", reference.familiar_name()).query("tag", tag);
    }
    call = call.query("comment", given.str("message")).query("author", given.str("author"));
    for change in given.list("change") {
        call = call.query("changes", change);
    }
    if !given.on_unless("pause") {
        call = call.query("pause", "0");
    }
    let answer: Value = call.json(&json!(null)).send()?.json()?;
    session.out.line(answer.get("Id").and_then(Value::as_str).unwrap_or_default());
    Ok(0)
}
