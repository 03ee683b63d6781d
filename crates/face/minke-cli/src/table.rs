//! All commands: one list, looked up by the words that were typed.

use crate::command::Command;
use crate::commands;

/// Sections of the first help page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Common,
    Management,
    Other,
}

impl Section {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Section::Common => "Common Commands",
            Section::Management => "Management Commands",
            Section::Other => "Commands",
        }
    }
}

/// Commands that lead the first page, in this order.
const COMMON: [&str; 6] = ["run", "exec", "ps", "images", "version", "info"];

/// Groups and what they are about.
pub(crate) const GROUPS: [(&str, &str); 10] = [
    ("builder", "Look after builds and their cache"),
    ("buildx", "Build images, under docker's newer name"),
    ("completion", "Write a completion script for a shell"),
    ("container", "Look after containers"),
    ("context", "Look after contexts"),
    ("image", "Look after images"),
    ("manifest", "Look after manifests and lists of them"),
    ("network", "Look after networks"),
    ("system", "Look after the engine"),
    ("volume", "Look after volumes"),
];

/// docker's commands that later versions of minke will have; the first word, or two.
const LATER: &[&str] = &[
    "compose",
    "config",
    "container cp",
    "container diff",
    "container export",
    "container stats",
    "container update",
    "context export",
    "context import",
    "cp",
    "diff",
    "export",
    "machine",
    "node",
    "plugin",
    "registry",
    "secret",
    "service",
    "stack",
    "stats",
    "swarm",
    "trust",
    "update",
    "checkpoint",
];

/// Every command.
pub(crate) fn commands() -> impl Iterator<Item = &'static Command> {
    commands::ALL.iter().copied()
}

/// What the typed words mean.
#[derive(Debug)]
pub(crate) enum Found {
    Command { path: &'static str, command: &'static Command, used: usize },
    Group { name: &'static str, about: &'static str },
    Later { path: String },
    UnknownInGroup { group: &'static str, word: String },
    Unknown { word: String },
}

fn exact(path: &str) -> Option<&'static Command> {
    commands().find(|c| c.paths.contains(&path))
}

/// Looks up the command at the start of `words`.
pub(crate) fn find(words: &[String]) -> Found {
    let Some(first) = words.first() else { return Found::Unknown { word: String::new() } };
    if let Some((group, about)) = GROUPS.iter().copied().find(|(name, _)| name == first) {
        let Some(second) = words.get(1).filter(|w| !w.starts_with('-')) else {
            return Found::Group { name: group, about };
        };
        let path = format!("{first} {second}");
        return match exact(&path) {
            Some(command) => Found::Command { path: command.canonical(&path), command, used: 2 },
            None if LATER.contains(&path.as_str()) => Found::Later { path },
            None => Found::UnknownInGroup { group, word: second.clone() },
        };
    }
    match exact(first) {
        Some(command) => Found::Command { path: command.canonical(first), command, used: 1 },
        None if LATER.contains(&first.as_str()) => {
            let second = words.get(1).filter(|w| !w.starts_with('-'));
            let management = ["swarm", "builder", "plugin", "node", "service", "stack"];
            let path = match second {
                Some(second) if management.contains(&first.as_str()) => format!("{first} {second}"),
                _ => first.clone(),
            };
            Found::Later { path }
        }
        None => Found::Unknown { word: first.clone() },
    }
}

/// Commands of a group with their names in it.
pub(crate) fn group_commands(group: &str) -> impl Iterator<Item = (&'static str, &'static Command)> {
    commands().filter_map(move |command| {
        let path = command.paths.iter().find(|p| p.split_once(' ').is_some_and(|(g, _)| g == group))?;
        Some((path.split_once(' ')?.1, command))
    })
}

/// Rows of a section of the first page.
pub(crate) fn top_rows(section: Section) -> Vec<(&'static str, &'static str)> {
    let single = |c: &'static Command| c.paths.iter().find(|p| !p.contains(' ')).map(|p| (*p, c.about));
    match section {
        Section::Common => COMMON.iter().filter_map(|name| exact(name).and_then(single)).collect(),
        Section::Management => GROUPS.iter().filter(|(name, _)| *name != "completion").copied().collect(),
        Section::Other => {
            let mut rows: Vec<_> =
                commands().filter_map(single).filter(|(n, _)| !COMMON.contains(n) && *n != "help").collect();
            rows.sort_unstable();
            rows
        }
    }
}

/// Commands one slip away from `word`.
pub(crate) fn similar(word: &str) -> Vec<&'static str> {
    let names = commands().flat_map(|c| c.paths.iter().copied()).chain(GROUPS.iter().map(|(n, _)| *n));
    near(word, names.filter(|name| !name.contains(' ')))
}

/// Names one slip away from `word`, the nearest first.
pub(crate) fn near<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let most = if word.len() <= 3 { 1 } else { 2 };
    let mut near: Vec<_> = names.filter(|name| distance(name, word) <= most).collect();
    near.sort_by_key(|name| distance(name, word));
    near.dedup();
    near.truncate(3);
    near
}

/// A sentence that offers names, or nothing.
pub(crate) fn did_you_mean<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { String::new() } else { format!("\n\nDid you mean {}?", names.join(", ")) }
}

/// Letters to change, add or drop between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
