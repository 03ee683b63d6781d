//! docker's commands, flags, output and exit codes.
//!
//! A command is one value in a table ([`command::Command`]), a flag is one value of a command ([`flag::Flag`]); parsing, help and
//! completion are made from them. Commands speak to any engine of the Docker API through `minke-client`; only `run`
//! knows that minke can do it in one request. Start-up is part of the promise: no runtime, no thread, no file read
//! that is not needed.
//!
//! | module | what |
//! |---|---|
//! | `table` | all commands |
//! | `given`, `flag`, `check` | what was typed |
//! | `help`, `manual`, `completion`, `powershell` | what is shown about it |
//! | `session`, `config` | which engine, which settings |
//! | `format` | `--format`, tables, rows |
//! | `attach`, `terminal`, `keys` | a terminal joined to a container |
//! | `progress` | long work, live |
//! | `commands/*` | one file per command or family |

mod attach;
mod check;
mod command;
mod commands;
mod completion;
mod config;
mod credentials;
mod failure;
mod flag;
mod format;
mod given;
mod help;
mod keys;
mod manual;
mod powershell;
mod printer;
mod progress;
mod session;
mod table;
mod terminal;

use crate::failure::Failure;
use crate::flag::Flag;
use crate::given::{Given, Help};
use crate::printer::complain;
use crate::session::{GLOBALS, Session};
use crate::table::Found;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// The version `--version` and `version` show.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs one command line: the name the program was called by, and the words after it.
pub fn main(called_as: OsString, words: Vec<OsString>) -> ExitCode {
    let program = match Path::new(&called_as).file_name().and_then(OsStr::to_str) {
        Some("docker") => "docker",
        _ => "minke",
    };
    let words: Result<Vec<String>, OsString> = words.into_iter().map(OsString::into_string).collect();
    let outcome = match words {
        Ok(words) => dispatch(program, &words),
        Err(word) => Err(Failure::new(1, format!("{program}: {word:?} is not UTF-8 text"))),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if !failure.text.is_empty() {
                complain(&failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(program: &str, words: &[String]) -> Result<u8, Failure> {
    let flags: Vec<&'static Flag> = GLOBALS.iter().collect();
    let globals = Given::parse(&flags, false, words).map_err(|why| {
        Failure::new(
            125,
            format!("{why}\n\nUsage:  {program} [OPTIONS] COMMAND [ARG...]\n\nRun '{program} --help' for more information"),
        )
    })?;
    let words = globals.args.clone();
    let help = globals.help;
    let session = Session::new(program.to_owned(), globals);
    if session.globals.on("version") {
        session.out.line(&commands::version::short(program));
        return done(&session, 0);
    }
    if help.is_some() || words.is_empty() {
        note_short_help(help);
        session.out.text(&help::top_page(program, &flags, terminal::width()));
        return done(&session, 0);
    }
    match table::find(&words) {
        Found::Command { path, command, used } => {
            let flags: Vec<&'static Flag> = command.flags().collect();
            let usage = command.usage_line(program, path);
            let mut given = Given::parse(&flags, command.interspersed, &words[used..]).map_err(|why| {
                let hint = format!("Run '{program} {path} --help' for more information");
                Failure::new(125, format!("{why}\n\nUsage:  {usage}\n\n{hint}"))
            })?;
            given.path = path.to_owned();
            if let Some(asked) = given.help {
                note_short_help(Some(asked));
                session.out.text(&help::command_page(program, path, command, terminal::width()));
                return done(&session, 0);
            }
            command.check_args(program, path, given.args.len())?;
            let outcome = (command.run)(&session, &given);
            session.out.flush()?;
            outcome
        }
        Found::Group { name, about } => {
            session.out.text(&help::group_page(program, name, about));
            done(&session, 0)
        }
        Found::Later { path } => Err(Failure::new(
            1,
            format!("{program}: '{program} {path}' is not built yet in this version of minke ({VERSION})"),
        )),
        Found::UnknownInGroup { group, word } => Err(Failure::new(
            1,
            format!(
                "{program}: unknown command: {program} {group} {word}{}\n\nUsage:  {program} {group}\n\nRun '{program} {group} --help' for more information",
                table::did_you_mean(&table::near(&word, table::group_commands(group).map(|(name, _)| name)))
            ),
        )),
        Found::Unknown { word } => {
            let hint = table::did_you_mean(&table::similar(&word));
            let text = format!("{program}: unknown command: {program} {word}{hint}");
            Err(Failure::new(1, format!("{text}\n\nRun '{program} --help' for more information")))
        }
    }
}

fn done(session: &Session, code: u8) -> Result<u8, Failure> {
    session.out.flush()?;
    Ok(code)
}

fn note_short_help(help: Option<Help>) {
    if help == Some(Help::Short) {
        complain("Flag shorthand -h has been deprecated, use --help");
    }
}

#[cfg(test)]
mod tests;
