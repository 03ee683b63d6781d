//! Completion scripts for bash, zsh and fish (PowerShell's is in `powershell.rs`), made from the command table.
//!
//! Names of commands and flags are in the script; names of containers, images and contexts are asked from the engine
//! when they are wanted, with the engine's own list commands and errors kept quiet.

use crate::command::Command;
use crate::flag::{Complete, Flag, Kind};
use crate::session::GLOBALS;
use crate::table::{self, GROUPS};
use std::fmt::Write;

/// The shell command that lists candidates.
fn candidates(program: &str, complete: Complete) -> String {
    let quiet = |words: &str| format!("$({program} {words} 2>/dev/null)");
    match complete {
        Complete::Nothing | Complete::Files => String::new(),
        Complete::Containers => quiet("ps -a --format '{{.Names}}'"),
        Complete::Running => quiet("ps --format '{{.Names}}'"),
        Complete::Images => quiet("images --format '{{.Repository}}:{{.Tag}}'"),
        Complete::Networks => quiet("network ls --format '{{.Name}}'"),
        Complete::Volumes => quiet("volume ls -q"),
        Complete::Contexts => quiet("context ls -q"),
        Complete::Words(words) => words.join(" "),
    }
}

pub(crate) fn spelled(flag: &Flag) -> Vec<String> {
    let mut out = vec![format!("--{}", flag.long)];
    if flag.short != '\0' {
        out.push(format!("-{}", flag.short));
    }
    out
}

pub(crate) fn visible(command: &'static Command) -> Vec<&'static Flag> {
    let mut flags: Vec<_> = command.flags().filter(|f| !f.hidden).collect();
    flags.sort_by_key(|f| f.long);
    flags
}

/// First words: commands and groups.
pub(crate) fn first_words() -> Vec<(&'static str, &'static str)> {
    let singles = table::commands().flat_map(|c| c.paths.iter().map(move |p| (*p, c.about)));
    let mut words: Vec<_> = singles.filter(|(p, _)| !p.contains(' ')).chain(GROUPS.iter().copied()).collect();
    words.sort_unstable();
    words.dedup_by_key(|(name, _)| *name);
    words
}

/// `path)` branches of a shell `case`.
fn branches(program: &str) -> String {
    let mut out = String::new();
    for command in table::commands() {
        let paths: Vec<String> = command.paths.iter().map(|p| format!("\"{p}\"")).collect();
        let flags: Vec<String> = visible(command).iter().flat_map(|f| spelled(f)).collect();
        let _infallible = writeln!(out, "    {})", paths.join("|"));
        let _infallible = writeln!(out, "      flags='{}'", flags.join(" "));
        let mut values = String::new();
        for flag in visible(command) {
            if flag.kind == Kind::Bool {
                continue;
            }
            let names = spelled(flag).join("|");
            let list = candidates(program, flag.complete);
            let action = match flag.complete {
                Complete::Files => "files=1".to_owned(),
                _ => format!("words=\"{list}\""),
            };
            let _infallible = writeln!(values, "        {names}) value=1; {action} ;;");
        }
        if !values.is_empty() {
            let _infallible = write!(out, "      case \"$previous\" in\n{values}      esac\n");
        }
        let list = candidates(program, command.complete);
        let arguments = match command.complete {
            Complete::Files => "files=1".to_owned(),
            _ => format!("words=\"{list}\""),
        };
        let _infallible = writeln!(out, "      [ -n \"$value\" ] || {arguments}");
        let _infallible = writeln!(out, "      ;;");
    }
    out
}

fn group_branches() -> String {
    let mut out = String::new();
    for (group, _) in GROUPS {
        let names: Vec<&str> = table::group_commands(group).map(|(name, _)| name).collect();
        let _infallible = writeln!(out, "      {group}) words='{}' ;;", names.join(" "));
    }
    out
}

/// The part bash and zsh share: from `line` (words so far) and `current` to `words`, `flags`, `files`.
fn decide(program: &str) -> String {
    let globals: Vec<String> = GLOBALS.iter().flat_map(spelled).collect();
    let with_value: Vec<String> = GLOBALS.iter().filter(|f| f.kind != Kind::Bool).flat_map(spelled).collect();
    let first: Vec<&str> = first_words().iter().map(|(name, _)| *name).collect();
    let groups: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
    format!(
        r#"  local flags='' words='' files='' value='' path='' skip='' word
  for word in $line; do
    if [ -n "$skip" ]; then skip=''; continue; fi
    case "$word" in
      {values}) [ -z "$path" ] && skip=1 ;;
      -*) ;;
      *)
        case "$path" in
          '') path=$word ;;
          {groups}) path="$path $word" ;;
        esac ;;
    esac
  done
  case "$path" in
    '') flags='{globals}'; words='{first}' ;;
{commands}    *)
      case "$path" in
{group_words}      esac ;;
  esac
"#,
        values = with_value.join("|"),
        groups = groups.join("|"),
        globals = globals.join(" "),
        first = first.join(" "),
        commands = branches(program),
        group_words = group_branches(),
    )
}

pub(crate) fn bash(program: &str) -> String {
    format!(
        r#"# bash completion for {program}, made by `{program} completion bash`
_{program}_complete() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
  local line="${{COMP_WORDS[*]:1:COMP_CWORD-1}}"
{decide}  case "$current" in
    -*) [ -n "$value" ] || words=$flags ;;
  esac
  if [ -n "$files" ]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  fi
}}
complete -o bashdefault -o default -F _{program}_complete {program}
"#,
        decide = decide(program),
    )
}

pub(crate) fn zsh(program: &str) -> String {
    format!(
        r#"#compdef {program}
# zsh completion for {program}, made by `{program} completion zsh`
_{program}_complete() {{
  setopt localoptions shwordsplit
  local current=${{words[CURRENT]}} previous=${{words[CURRENT-1]}}
  local line="${{words[2,CURRENT-1]}}"
  local typed=("${{words[@]}}")
{decide}  case "$current" in
    -*) [ -n "$value" ] || words=$flags ;;
  esac
  if [ -n "$files" ]; then
    _files
  else
    compadd -- ${{=words}}
  fi
}}
compdef _{program}_complete {program}
"#,
        decide = decide(program)
            .replace("words=''", "")
            .replace("words=", "offers=")
            .replace("'' files", "'' offers='' files"),
    )
    .replace("words=$flags", "offers=$flags")
    .replace("${=words}", "${=offers}")
}

pub(crate) fn fish(program: &str) -> String {
    let quote = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let mut out = format!(
        "# fish completion for {program}, made by `{program} completion fish`\ncomplete -c {program} -f\n"
    );
    let groups: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
    let all: Vec<&str> = first_words().iter().map(|(name, _)| *name).collect();
    let none = format!("not __fish_seen_subcommand_from {}", all.join(" "));
    for (name, about) in first_words() {
        let _infallible = writeln!(out, "complete -c {program} -n '{none}' -a {name} -d '{}'", quote(about));
    }
    for (group, _) in GROUPS {
        let names: Vec<&str> = table::group_commands(group).map(|(name, _)| name).collect();
        for (name, command) in table::group_commands(group) {
            let condition = format!(
                "__fish_seen_subcommand_from {group}; and not __fish_seen_subcommand_from {}",
                names.join(" ")
            );
            let _infallible = writeln!(
                out,
                "complete -c {program} -n '{condition}' -a {name} -d '{}'",
                quote(command.about)
            );
        }
    }
    for command in table::commands() {
        for path in command.paths {
            let condition = match path.split_once(' ') {
                Some((group, name)) => {
                    format!("__fish_seen_subcommand_from {group}; and __fish_seen_subcommand_from {name}")
                }
                None => format!(
                    "__fish_seen_subcommand_from {path}; and not __fish_seen_subcommand_from {}",
                    groups.join(" ")
                ),
            };
            let arguments = candidates(program, command.complete).replace("$(", "(");
            match command.complete {
                Complete::Files => drop(writeln!(out, "complete -c {program} -n '{condition}' -F")),
                _ if arguments.is_empty() => {}
                _ => drop(writeln!(out, "complete -c {program} -n '{condition}' -a '{}'", quote(&arguments))),
            }
            for flag in visible(command) {
                let short = if flag.short == '\0' { String::new() } else { format!(" -s {}", flag.short) };
                let takes = match (flag.kind, flag.complete) {
                    (Kind::Bool, _) => String::new(),
                    (_, Complete::Files) => " -r -F".to_owned(),
                    (_, complete) => {
                        let list = candidates(program, complete).replace("$(", "(");
                        if list.is_empty() { " -x".to_owned() } else { format!(" -x -a '{}'", quote(&list)) }
                    }
                };
                let about = quote(flag.about.lines().next().unwrap_or_default());
                let _infallible = writeln!(
                    out,
                    "complete -c {program} -n '{condition}' -l {}{short}{takes} -d '{about}'",
                    flag.long
                );
            }
        }
    }
    out
}
