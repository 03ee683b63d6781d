//! `export`: a container's files as one tar archive.

use minke_client::Client;

use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, short};
use crate::given::Given;
use crate::session::Session;

const FLAGS: &[Flag] =
    &[short("output", 'o', Kind::Str, "Write to this file instead of STDOUT").complete(Complete::Files)];

pub(crate) const EXPORT: Command = Command {
    paths: &["container export", "export"],
    usage: "[OPTIONS] CONTAINER",
    about: "Write a container's files as a tar archive",
    details: "",
    args: Args::Exactly(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Containers,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let output = given.str("output");
    if output.is_empty() && crate::terminal::stdout_is() {
        return Err("cowardly refusing to save to a terminal. Use the -o flag or redirect".into());
    }
    let target = super::save::target(output, "failed to export container")?;
    let path = format!("/containers/{}/export", Client::segment(&given.args[0]));
    let mut response = session.client()?.get(&path).send()?;
    super::save::deliver(&mut response, target, "failed to export container")?;
    Ok(0)
}
