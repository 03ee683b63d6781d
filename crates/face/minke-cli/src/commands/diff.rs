//! `diff`: what a container changed below its root.

use minke_client::Client;
use serde_json::Value;

use crate::command::{Args, Command};
use crate::flag::Complete;

pub(crate) const DIFF: Command = Command {
    paths: &["container diff", "diff"],
    usage: "CONTAINER",
    about: "Show what a container changed in its files",
    details: "Each line is a path, behind A (added), C (changed) or D (deleted).",
    args: Args::Exactly(1),
    flags: &[],
    interspersed: true,
    complete: Complete::Containers,
    run: |session, given| {
        if given.args[0].is_empty() {
            return Err("Container name cannot be empty".into());
        }
        let path = format!("/containers/{}/changes", Client::segment(&given.args[0]));
        let answer = session.client()?.get(&path).send()?.json()?;
        for change in answer.as_array().into_iter().flatten() {
            let mark = match change.get("Kind").and_then(Value::as_i64) {
                Some(0) => "C",
                Some(1) => "A",
                Some(2) => "D",
                _ => "?",
            };
            let path = change.get("Path").and_then(Value::as_str).unwrap_or_default();
            session.out.line(&format!("{mark} {path}"));
        }
        Ok(0)
    },
};
