//! `help [COMMAND]`: the same pages as `--help`.

use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag};
use crate::given::Given;
use crate::help;
use crate::session::{GLOBALS, Session};
use crate::table::{self, Found};
use crate::terminal;

pub(crate) const HELP: Command = Command {
    paths: &["help"],
    usage: "[COMMAND]",
    about: "Show how a command is used",
    details: "",
    args: Args::AtLeast(0),
    flags: &[],
    interspersed: true,
    complete: Complete::Nothing,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let width = terminal::width();
    let program = &session.program;
    let page = match table::find(&given.args) {
        _ if given.args.is_empty() => {
            let flags: Vec<&'static Flag> = GLOBALS.iter().collect();
            help::top_page(program, &flags, width)
        }
        Found::Command { path, command, .. } => help::command_page(program, path, command, width),
        Found::Group { name, about } => help::group_page(program, name, about),
        Found::Later { path } => {
            return Err(Failure::new(
                1,
                format!("'{program} {path}' is not built yet in this version of minke"),
            ));
        }
        Found::UnknownInGroup { .. } | Found::Unknown { .. } => {
            return Err(Failure::new(1, format!("unknown help topic: {}", given.args.join(" "))));
        }
    };
    session.out.text(&page);
    Ok(0)
}
