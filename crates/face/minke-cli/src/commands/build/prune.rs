//! `builder prune`: what the cache of builds holds and nobody needs.

use serde_json::Value;

use super::super::prune::{lines, names, sure};
use crate::check;
use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::filters;
use crate::given::Given;
use crate::session::Session;
use minke_base::size;

const FLAGS: &[Flag] = &[
    short("all", 'a', Kind::Bool, "Remove what images use as well"),
    flag(
        "filter",
        Kind::Filter,
        "Remove only what fits (\"until=24h\", \"unused-for=…\", \"id=…\", \"type=…\")",
    ),
    short("force", 'f', Kind::Bool, "Do not ask"),
    flag("keep-storage", Kind::Bytes, "So much may stay"),
    flag("reserved-space", Kind::Bytes, "So much may stay"),
];

const fn command(paths: &'static [&'static str]) -> Command {
    Command {
        paths,
        usage: "",
        about: "Remove the cache of builds",
        details: "",
        args: Args::None,
        flags: &[FLAGS],
        interspersed: true,
        complete: Complete::Nothing,
        run,
    }
}

pub(crate) const PRUNE: Command = command(&["builder prune"]);
pub(crate) const CACHE: Command = command(&["buildx prune"]);

fn run(session: &Session, given: &Given) -> Outcome {
    let warning = if given.on("all") {
        "WARNING! This will remove all build cache."
    } else {
        "WARNING! This will remove all dangling build cache."
    };
    if !sure(session, given, warning)? {
        return Ok(0);
    }
    let mut call = session.client()?.post("/build/prune").flag("all", given.on("all"));
    if let Some(text) = given.get("reserved-space").or(given.get("keep-storage")) {
        let bytes = check::bytes(text)?.to_string();
        call = call.query("reserved-space", &bytes).query("keep-storage", &bytes);
    }
    if let Some(filters) = filters(&given.list("filter")) {
        call = call.query("filters", filters);
    }
    let answer = call.send()?.json()?;
    session.out.text(&lines("Deleted build cache objects", &names(&answer, "CachesDeleted")));
    let space = answer.get("SpaceReclaimed").and_then(Value::as_u64).unwrap_or(0);
    session.out.line(&format!("Total reclaimed space: {}", size::human(space)));
    Ok(0)
}
