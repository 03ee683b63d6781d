//! Variables that nobody set: in `FROM`, where only globals count, and in stages that stand on what is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Around, Note, Rule};
use crate::ast::{Argument, Copy, Dockerfile, Instruction, Stage, Step};
use crate::flags;
use crate::scope::{Given, Platform, Scope};

/// Names at one place, and whether each has a value: only such are what somebody may have meant.
type Known = BTreeMap<String, bool>;

pub(super) fn rules(file: &Dockerfile, around: &Around<'_>, note: Note<'_>) {
    froms(file, note);
    let mut declared: Vec<Option<Known>> = Vec::new();
    for stage in &file.stages {
        let known = stage_names(file, stage, &declared, around);
        declared.push(undefined(file.directives.escape, stage, known, note));
    }
}

fn froms(file: &Dockerfile, note: Note<'_>) {
    let platform =
        Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: String::new() };
    let given = Given { build: platform.clone(), target: platform, ..Given::default() };
    let Ok(scope) = Scope::of_globals(file, Arc::new(given)) else { return };
    let declared = |name: &str| {
        file.globals.iter().any(|step| {
            matches!(&step.instruction, Instruction::Arg(list) if list.iter().any(|argument| argument.name == name))
        })
    };
    for stage in &file.stages {
        let texts = [Some(stage.from.image.as_str()), stage.from.platform.as_deref()];
        let names: Vec<String> =
            texts.into_iter().flatten().flat_map(|text| names(text, file.directives.escape)).collect();
        for name in &names {
            if !declared(name) && scope.get(name).is_none() {
                let message = format!("FROM argument '{name}' is not declared");
                note(Rule::UndefinedArgInFrom, stage.span, message);
            }
        }
        let image = scope.expand(&stage.from.image).unwrap_or_default();
        let broken = image.is_empty() || image.ends_with(':') || image.starts_with(':');
        if let Some(name) = names.iter().find(|name| declared(name)).filter(|_| broken) {
            let message =
                format!("Default value for ARG ${{{name}}} results in empty or invalid base image name");
            note(Rule::InvalidDefaultArgInFrom, stage.span, message);
        }
    }
}

/// The names a stage begins with; nothing when an image outside the file may bring more.
fn stage_names(
    file: &Dockerfile,
    stage: &Stage,
    before: &[Option<Known>],
    around: &Around<'_>,
) -> Option<Known> {
    if stage.from.image.eq_ignore_ascii_case("scratch") {
        return Some(Known::from([("PATH".to_owned(), true)]));
    }
    match file.stage(&stage.from.image).filter(|base| *base < before.len()) {
        Some(base) => before[base].clone(),
        None => {
            let names = around.variables?(&stage.from.image)?;
            Some(names.into_iter().chain(["PATH".to_owned()]).map(|name| (name, true)).collect())
        }
    }
}

/// Warns, and gives the names that a stage ends with.
fn undefined(escape: char, stage: &Stage, known: Option<Known>, note: Note<'_>) -> Option<Known> {
    let mut known = known?;
    for step in &stage.steps {
        for text in texts(step) {
            for name in names(text, escape).into_iter().filter(|name| !known.contains_key(name)) {
                let near = flags::near(&name, valued(&known), str::to_owned);
                let near = near.map_or_else(String::new, |near| format!(" (did you mean ${near}?)"));
                let message = format!("Usage of undefined variable '${name}'{near}");
                note(Rule::UndefinedVar, step.span, message);
            }
        }
        match &step.instruction {
            Instruction::Env(pairs) => {
                known.extend(pairs.iter().map(|pair| (pair.key.clone(), true)));
            }
            Instruction::Arg(list) => {
                let set = |argument: &Argument| (argument.name.clone(), argument.default.is_some());
                known.extend(list.iter().map(set));
            }
            _ => {}
        }
    }
    Some(known)
}

fn valued(known: &Known) -> impl Iterator<Item = &str> {
    known.iter().filter(|(_, valued)| **valued).map(|(name, _)| name.as_str())
}

/// The texts of an instruction that are expanded.
fn texts(step: &Step) -> Vec<&str> {
    match &step.instruction {
        Instruction::Env(pairs) | Instruction::Label(pairs) => {
            pairs.iter().map(|pair| pair.value.as_str()).collect()
        }
        Instruction::Arg(list) => list.iter().filter_map(|argument| argument.default.as_deref()).collect(),
        Instruction::Expose(words) | Instruction::Volume(words) => words.iter().map(String::as_str).collect(),
        Instruction::User(text) | Instruction::Workdir(text) | Instruction::Stopsignal(text) => vec![text],
        Instruction::Add(transfer) | Instruction::Copy(transfer) => {
            let sources = transfer.sources.iter().filter_map(|source| match source {
                Copy::Path(path) => Some(path.as_str()),
                Copy::Inline(_) => None,
            });
            sources.chain([transfer.target.as_str()]).collect()
        }
        _ => Vec::new(),
    }
}

/// `$name` and `${name}`; a substitution that says what is to be without a value is fine.
fn names(text: &str, escape: char) -> Vec<String> {
    let mut found = Vec::new();
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => quoted = !quoted,
            letter if letter == escape => {
                letters.next();
            }
            '$' if !quoted => {
                let braced = letters.next_if_eq(&'{').is_some();
                let mut name = String::new();
                while let Some(part) = letters.next_if(|part| part.is_ascii_alphanumeric() || *part == '_') {
                    name.push(part);
                }
                let plain = !braced || letters.peek() == Some(&'}');
                if plain && name.starts_with(|first: char| !first.is_ascii_digit()) {
                    found.push(name);
                }
            }
            _ => {}
        }
    }
    found
}
