//! Manual pages in roff, made from the command table.

use crate::VERSION;
use crate::command::Command;
use crate::flag::Flag;
use crate::session::GLOBALS;
use crate::table::{self, GROUPS, Section};
use std::fmt::Write;

/// File names and texts of all pages.
pub(crate) fn pages(program: &str) -> Vec<(String, String)> {
    let mut pages = vec![(format!("{program}.1"), first_page(program))];
    for (group, about) in GROUPS {
        pages.push((format!("{program}-{group}.1"), group_page(program, group, about)));
    }
    for command in table::commands() {
        for path in command.paths {
            let name = format!("{program}-{}.1", path.replace(' ', "-"));
            pages.push((name, command_page(program, path, command)));
        }
    }
    pages
}

/// Text that roff leaves alone.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let line =
        |line: &str| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() };
    text.lines().map(line).collect::<Vec<_>>().join("\n.br\n")
}

fn head(program: &str, name: &str, about: &str, usage: &str) -> String {
    let title = name.to_uppercase();
    let about = about.lines().next().unwrap_or_default();
    format!(
        ".TH \"{title}\" \"1\" \"\" \"{program} {VERSION}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B {}\n",
        plain(name),
        plain(about),
        plain(usage)
    )
}

fn options(page: &mut String, title: &str, flags: &[&Flag]) {
    if flags.is_empty() {
        return;
    }
    let _infallible = writeln!(page, ".SH {title}");
    for flag in flags {
        let word = flag.type_word();
        let value = if word.is_empty() { String::new() } else { format!(" \\fI{word}\\fR") };
        let default = match flag.default {
            "" => String::new(),
            text => format!(" (default {})", plain(text)),
        };
        let _infallible =
            writeln!(page, ".TP\n\\fB{}\\fR{value}\n{}{default}", plain(&flag.shown()), plain(flag.about));
    }
}

fn command_page(program: &str, path: &str, command: &Command) -> String {
    let name = format!("{program}-{}", path.replace(' ', "-"));
    let mut page = head(program, &name, command.about, &command.usage_line(program, path));
    let text = if command.details.is_empty() { command.about } else { command.details };
    let _infallible = writeln!(page, ".SH DESCRIPTION\n{}", plain(&text.replace("{program}", program)));
    let others: Vec<String> = command
        .paths
        .iter()
        .filter(|other| **other != path)
        .map(|other| plain(&format!("{program} {other}")))
        .collect();
    if !others.is_empty() {
        let _infallible = writeln!(page, ".PP\nAlso: {}", others.join(", "));
    }
    let mut flags: Vec<&Flag> = command.flags().filter(|flag| !flag.hidden).collect();
    flags.sort_by_key(|flag| flag.long);
    options(&mut page, "OPTIONS", &flags);
    let _infallible = writeln!(page, ".SH SEE ALSO\n.BR {} (1)", plain(program));
    page
}

fn group_page(program: &str, group: &str, about: &str) -> String {
    let name = format!("{program}-{group}");
    let mut page = head(program, &name, about, &format!("{program} {group} COMMAND"));
    let _infallible = writeln!(page, ".SH COMMANDS");
    let mut rows: Vec<_> = table::group_commands(group).collect();
    rows.sort_by_key(|(name, _)| *name);
    for (name, command) in rows {
        let _infallible = writeln!(page, ".TP\n.B {}\n{}", plain(name), plain(command.about));
    }
    page
}

fn first_page(program: &str) -> String {
    let usage = format!("{program} [OPTIONS] COMMAND");
    let mut page = head(program, program, "Containers on Linux: build, run and look after them", &usage);
    for section in [Section::Common, Section::Management, Section::Other] {
        let _infallible = writeln!(page, ".SH {}", section.title().to_uppercase());
        for (name, about) in table::top_rows(section) {
            let _infallible = writeln!(page, ".TP\n.B {}\n{}", plain(name), plain(about));
        }
    }
    options(&mut page, "GLOBAL OPTIONS", &GLOBALS.iter().collect::<Vec<_>>());
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_with_its_flags() {
        let pages = pages("minke");
        let page = |name: &str| &pages.iter().find(|(found, _)| found == name).expect(name).1;
        assert!(page("minke-run.1").contains("\\fB\\-m, \\-\\-memory\\fR \\fIbytes\\fR"));
        assert!(page("minke-container-run.1").starts_with(".TH \"MINKE-CONTAINER-RUN\" \"1\""));
        assert!(page("minke-network.1").contains(".B connect"));
        assert!(page("minke.1").contains(".SH MANAGEMENT COMMANDS"));
        // No line of text begins like a request that roff does not have.
        let known = [".TH", ".SH", ".TP", ".B", ".BR", ".PP", ".br"];
        for (name, text) in &pages {
            for line in text.lines().filter(|line| line.starts_with('.')) {
                let request = line.split(' ').next().unwrap_or_default();
                assert!(known.contains(&request), "{name}: {line}");
            }
        }
    }
}
