//! `completion bash|fish|powershell|zsh`: scripts made from the command table.

use crate::command::{Args, Command};
use crate::completion;
use crate::flag::Complete;
use crate::given::Given;
use crate::session::Session;

const fn shell(
    paths: &'static [&'static str],
    about: &'static str,
    run: fn(&Session, &Given) -> crate::command::Outcome,
) -> Command {
    Command {
        paths,
        usage: "",
        about,
        details: "",
        args: Args::None,
        flags: &[],
        interspersed: true,
        complete: Complete::Nothing,
        run,
    }
}

pub(crate) const BASH: Command = shell(
    &["completion bash"],
    "Write the script for bash (source <(minke completion bash))",
    |session, _| {
        session.out.text(&completion::bash(&session.program));
        Ok(0)
    },
);

pub(crate) const FISH: Command = shell(
    &["completion fish"],
    "Write the script for fish (minke completion fish | source)",
    |session, _| {
        session.out.text(&completion::fish(&session.program));
        Ok(0)
    },
);

pub(crate) const POWERSHELL: Command = shell(
    &["completion powershell"],
    "Write the script for PowerShell (minke completion powershell | Out-String | Invoke-Expression)",
    |session, _| {
        session.out.text(&crate::powershell::script(&session.program));
        Ok(0)
    },
);

pub(crate) const ZSH: Command =
    shell(&["completion zsh"], "Write the script for zsh (source <(minke completion zsh))", |session, _| {
        session.out.text(&completion::zsh(&session.program));
        Ok(0)
    });
