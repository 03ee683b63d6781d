//! `builder prune`: what the cache of builds holds and nobody needs.

use super::super::prune::{agreed, builds, report};
use crate::check;
use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::session::Session;

const FLAGS: &[Flag] = &[
    short("all", 'a', Kind::Bool, "Remove what images use as well"),
    flag(
        "filter",
        Kind::Filter,
        "Remove only what fits (until=24h, id=…, parent=…, type=…, description=…, shared=…, private=…)",
    ),
    short("force", 'f', Kind::Bool, "Do not ask"),
    flag("keep-storage", Kind::Bytes, "So much may stay (now --reserved-space)"),
    flag("max-used-space", Kind::Bytes, "No more than this stays"),
    flag("min-free-space", Kind::Bytes, "So much of the disk is to be free afterwards"),
    flag("reserved-space", Kind::Bytes, "So much stays in any case"),
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
    let which = if given.on("all") { "all build cache" } else { "all dangling build cache" };
    let question = format!("WARNING! This will remove {which}. Are you sure you want to continue?");
    if !agreed(session, given, &question)? {
        return Ok(0);
    }
    let mut limits = Vec::new();
    for name in ["keep-storage", "reserved-space", "max-used-space", "min-free-space"] {
        if let Some(text) = given.get(name) {
            limits.push((name, check::bytes(text)?.to_string()));
        }
    }
    if let Some((_, bytes)) = limits.iter().find(|(name, _)| *name == "reserved-space").cloned() {
        // What engines before 1.48 call it.
        limits.retain(|(name, _)| *name != "keep-storage");
        limits.push(("keep-storage", bytes));
    }
    let (text, space) = builds(session, given, &limits)?;
    report(session, &text, space);
    Ok(0)
}
