//! Help pages in docker's layout: usage, description, aliases, options in wrapped columns.
//!
//! The column rules are pflag's: names right behind each other, descriptions in one column, wrapped at word ends with
//! a little slack so that a line does not end in an orphan.

use crate::command::Command;
use crate::flag::{Flag, Kind};
use crate::table::{self, Section};
use std::fmt::Write;

/// The page of one command.
pub(crate) fn command_page(program: &str, path: &str, command: &Command, width: usize) -> String {
    let mut page = format!("Usage:  {}\n\n", command.usage_line(program, path));
    let text = if command.details.is_empty() { command.about } else { command.details };
    let _infallible = writeln!(page, "{}", text.replace("{program}", program));
    if command.paths.len() > 1 {
        let names: Vec<_> = command.paths.iter().map(|p| format!("{program} {p}")).collect();
        let _infallible = writeln!(page, "\nAliases:\n  {}", names.join(", "));
    }
    let mut flags: Vec<&Flag> = command.flags().filter(|f| !f.hidden).collect();
    if !flags.is_empty() {
        flags.sort_by_key(|f| f.long);
        let _infallible = write!(page, "\nOptions:\n{}", flag_table(&flags, width));
    }
    page
}

/// The page of a group such as `container`.
pub(crate) fn group_page(program: &str, group: &str, about: &str) -> String {
    let mut page = format!("Usage:  {program} {group} COMMAND\n\n{about}\n\nCommands:\n");
    let mut rows: Vec<_> = table::group_commands(group).collect();
    rows.sort_by_key(|(name, _)| *name);
    for (name, command) in rows {
        let _infallible = writeln!(page, "  {name:<11} {}", command.about);
    }
    let _infallible =
        write!(page, "\nRun '{program} {group} COMMAND --help' for more information on a command.\n");
    page
}

/// The first page.
pub(crate) fn top_page(program: &str, globals: &[&Flag], width: usize) -> String {
    let mut page = format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nContainers on Linux: build, run and look after them\n"
    );
    for section in [Section::Common, Section::Management, Section::Other] {
        let rows = table::top_rows(section);
        let _infallible = writeln!(page, "\n{}:", section.title());
        for (name, about) in rows {
            let _infallible = writeln!(page, "  {name:<11} {about}");
        }
    }
    let _infallible = write!(page, "\nGlobal Options:\n{}", flag_table(globals, width));
    let _infallible = write!(page, "\nRun '{program} COMMAND --help' for more information on a command.\n");
    page
}

/// Flags in two columns.
pub(crate) fn flag_table(flags: &[&Flag], width: usize) -> String {
    let names: Vec<String> = flags
        .iter()
        .map(|flag| {
            let mut name = if flag.short == '\0' {
                format!("      --{}", flag.long)
            } else {
                format!("  -{}, --{}", flag.short, flag.long)
            };
            let word = flag.type_word();
            if !word.is_empty() {
                name.push(' ');
                name.push_str(word);
            }
            name
        })
        .collect();
    let column = names.iter().map(|n| n.chars().count()).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (flag, name) in flags.iter().zip(&names) {
        let text = describe(flag);
        let fill = column - name.chars().count();
        let _infallible = writeln!(out, "{name}{:fill$}{}", "", wrap(column, width.saturating_sub(1), &text));
    }
    out
}

fn describe(flag: &Flag) -> String {
    let shown = match (flag.kind, flag.default) {
        (_, "") => return flag.about.to_owned(),
        (Kind::Str, text) => format!("{text:?}"),
        (_, text) => text.to_owned(),
    };
    format!("{} (default {shown})", flag.about)
}

/// Wraps `text` into the lines from `indent` to `width`.
fn wrap(indent: usize, width: usize, text: &str) -> String {
    const SLACK: usize = 5;
    let mut indent = indent;
    let mut room = width.saturating_sub(indent);
    let mut out = String::new();
    if room < 24 {
        indent = 16;
        room = width.saturating_sub(indent);
        out.push('\n');
        out.push_str(&" ".repeat(indent));
    }
    if room < 24 {
        return text.replace('\n', &out);
    }
    let room = room - SLACK;
    let mut rest = text;
    let mut first = true;
    while first || !rest.is_empty() {
        let (line, more) = break_line(room, SLACK, rest);
        if !first {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&line.replace('\n', &format!("\n{}", " ".repeat(indent))));
        rest = more;
        first = false;
    }
    out
}

fn break_line(room: usize, slack: usize, text: &str) -> (&str, &str) {
    if room + slack > text.len() {
        return (text, "");
    }
    let mut end = room;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let Some(at) = text[..end].rfind([' ', '\t', '\n']).filter(|at| *at > 0) else { return (text, "") };
    match text[..end].find('\n') {
        Some(newline) if newline > 0 && newline < at => (&text[..newline], &text[newline + 1..]),
        _ => (&text[..at], &text[at + 1..]),
    }
}
