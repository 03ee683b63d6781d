//! `man DIR`: the manual, one page for each command, made from the command table.

use crate::command::{Args, Command, Outcome};
use crate::failure::{Failure, go_io};
use crate::flag::Complete;
use crate::given::Given;
use crate::manual;
use crate::session::Session;
use std::fs;
use std::path::Path;

pub(crate) const MAN: Command = Command {
    paths: &["man"],
    usage: "DIRECTORY",
    about: "Write the manual pages into a directory",
    details: "Write the manual pages into a directory: one for each command, for man(1) to find below share/man/man1",
    args: Args::Exactly(1),
    flags: &[],
    interspersed: true,
    complete: Complete::Files,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let directory = Path::new(given.args.first().map_or("", String::as_str));
    let failed = |what: &Path, error: &std::io::Error| {
        Failure::new(1, format!("write {}: {}", what.display(), go_io(error)))
    };
    fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    for (name, text) in manual::pages(&session.program) {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, &error))?;
    }
    Ok(0)
}
