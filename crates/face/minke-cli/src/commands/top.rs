//! `top`: the processes of a container, as the host sees them.

use crate::command::{Args, Command};
use crate::flag::Complete;
use minke_client::Client;
use minke_template::table::Tabwriter;
use serde_json::Value;

pub(crate) const TOP: Command = Command {
    paths: &["container top", "top"],
    usage: "CONTAINER [ps OPTIONS]",
    about: "Show the processes of a container",
    details: "",
    args: Args::AtLeast(1),
    flags: &[],
    interspersed: false,
    complete: Complete::Running,
    run: |session, given| {
        let path = format!("/containers/{}/top", Client::segment(&given.args[0]));
        let mut call = session.client()?.get(&path);
        if given.args.len() > 1 {
            call = call.query("ps_args", given.args[1..].join(" "));
        }
        let answer = call.send()?.json()?;
        let row = |cells: &Value| {
            let cells = cells.as_array().map_or(&[][..], Vec::as_slice);
            cells.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\t")
        };
        let mut text = row(answer.get("Titles").unwrap_or(&Value::Null));
        text.push('\n');
        for process in answer.get("Processes").and_then(Value::as_array).into_iter().flatten() {
            text.push_str(&row(process));
            text.push('\n');
        }
        session.out.text(&Tabwriter { min_width: 20, padding: 3 }.align(&text));
        Ok(0)
    },
};
