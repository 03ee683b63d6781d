//! A command: one value that says its names, arguments, flags, help and what it does.
//!
//! Names come first in the two forms docker has (`container ls`, `ps`); looking a command up, its usage line, its list
//! of aliases and its completion all come from the same list. The table of all commands is in `table.rs`.

use crate::failure::Failure;
use crate::flag::{Complete, Flag};
use crate::given::Given;
use crate::session::Session;

/// How many arguments a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Args {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

/// What a finished command exits with.
pub(crate) type Outcome = Result<u8, Failure>;

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    /// Every spelling, words separated by blanks; the first of a group is the one its help shows.
    pub(crate) paths: &'static [&'static str],
    /// After the name in the usage line.
    pub(crate) usage: &'static str,
    pub(crate) about: &'static str,
    /// Said instead of `about` on the command's own page, when there is more to say.
    pub(crate) details: &'static str,
    pub(crate) args: Args,
    /// Sets of flags, so that commands can share some.
    pub(crate) flags: &'static [&'static [Flag]],
    /// Flags may follow arguments; off where arguments are a command line of their own.
    pub(crate) interspersed: bool,
    pub(crate) complete: Complete,
    pub(crate) run: fn(&Session, &Given) -> Outcome,
}

impl Command {
    pub(crate) fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().flat_map(|set| set.iter())
    }

    /// The name to show when the command was called as `typed`: the first spelling in the same group.
    pub(crate) fn canonical(&self, typed: &str) -> &'static str {
        let group = |path: &str| path.split_once(' ').map(|(g, _)| g.to_owned());
        let wanted = group(typed);
        self.paths.iter().find(|p| group(p) == wanted).copied().unwrap_or(self.paths[0])
    }

    /// Refuses a wrong number of arguments in docker's words.
    pub(crate) fn check_args(&self, program: &str, path: &str, given: usize) -> Result<(), Failure> {
        let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
        let (says, hint) = match self.args {
            Args::None if given > 0 => ("accepts no arguments".to_owned(), "Run"),
            Args::Exactly(n) if given != n => (format!("requires {n} {}", plural(n)), "Run"),
            Args::AtLeast(n) if given < n => (format!("requires at least {n} {}", plural(n)), "See"),
            Args::AtMost(n) if given > n => (format!("requires at most {n} {}", plural(n)), "Run"),
            Args::Between(least, most) if !(least..=most).contains(&given) => {
                (format!("requires at least {least} and at most {most} arguments"), "Run")
            }
            _ => return Ok(()),
        };
        let usage = self.usage_line(program, path);
        Err(Failure::new(
            1,
            format!(
                "{program}: '{program} {path}' {says}\n\nUsage:  {usage}\n\n{hint} '{program} {path} --help' for more information"
            ),
        ))
    }

    /// `docker run [OPTIONS] IMAGE …`
    pub(crate) fn usage_line(&self, program: &str, path: &str) -> String {
        let blank = if self.usage.is_empty() { "" } else { " " };
        format!("{program} {path}{blank}{}", self.usage)
    }
}
