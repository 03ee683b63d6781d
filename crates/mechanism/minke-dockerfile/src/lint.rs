//! Warnings about what is legal and probably not meant, under BuildKit's rule names.

mod ignored;
mod variables;

use crate::ast::{Command, Dockerfile, Instruction, Span, Stage, Step};
use crate::ignore::Ignore;
use crate::lexer::Line;

/// One warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub rule: Rule,
    pub message: String,
    pub span: Span,
}

/// BuildKit's names, as `# check=skip=…` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    ConsistentInstructionCasing,
    CopyIgnoredFile,
    DuplicateStageName,
    ExposeInvalidFormat,
    ExposeProtoCasing,
    FromAsCasing,
    FromPlatformFlagConstDisallowed,
    InvalidDefaultArgInFrom,
    JSONArgsRecommended,
    LegacyKeyValueFormat,
    MaintainerDeprecated,
    MultipleInstructionsDisallowed,
    NoEmptyContinuation,
    RedundantTargetPlatform,
    ReservedStageName,
    SecretsUsedInArgOrEnv,
    StageNameCasing,
    UndefinedArgInFrom,
    UndefinedVar,
    WorkdirRelativePath,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, out)
    }
}

/// What only the text itself shows, noted while it is read.
pub(crate) fn remark(line: &Line, file: &mut Dockerfile) {
    let mut note = |rule, message: String| file.remarks.push(Warning { rule, message, span: line.span });
    if line.gap {
        note(Rule::NoEmptyContinuation, "Empty continuation line".to_owned());
    }
    let keyword = line.keyword();
    match keyword.as_str() {
        "FROM" => {
            let words: Vec<&str> = line.rest.split_whitespace().collect();
            if let [_, word, name] = words.as_slice() {
                let upper = |text: &str| text.chars().all(|letter| !letter.is_lowercase());
                if upper(word) != upper(&line.word) {
                    let (word, from) = (word, &line.word);
                    note(Rule::FromAsCasing, format!("'{word}' and '{from}' keywords' casing do not match"));
                }
                if name.chars().any(char::is_uppercase) {
                    note(Rule::StageNameCasing, format!("Stage name '{name}' should be lowercase"));
                }
            }
        }
        "ENV" | "LABEL" => {
            let old = crate::arguments::pairs(&line.rest, file.directives.escape, &keyword);
            if matches!(old, Ok((_, true))) {
                note(
                    Rule::LegacyKeyValueFormat,
                    format!(
                        "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
                    ),
                );
            }
        }
        _ => {}
    }
    file.words.push((line.word.clone(), line.span));
}

/// The variables that an image brings, by the name of the image.
pub type Brings<'a> = dyn Fn(&str) -> Option<Vec<String>> + 'a;

/// What is known besides the file itself.
#[derive(Default)]
pub struct Around<'a> {
    /// What the context leaves out.
    pub ignored: Option<&'a Ignore>,
    /// The variables that a base image brings, by its name in `FROM`; `None` when nobody knows.
    pub variables: Option<&'a Brings<'a>>,
}

impl std::fmt::Debug for Around<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Around").field("ignored", &self.ignored).finish_non_exhaustive()
    }
}

/// All warnings about a file, in its order, without those that it switches off.
pub fn lint(file: &Dockerfile, around: &Around<'_>) -> Vec<Warning> {
    let mut found = file.remarks.clone();
    let mut note = |rule, span, message: String| found.push(Warning { rule, message, span });
    casing(file, &mut note);
    let mut names: Vec<&str> = Vec::new();
    for stage in &file.stages {
        if let Some(name) = stage.from.name.as_deref() {
            if matches!(name, "scratch" | "context") {
                let message = format!("Stage name should not use the same name as reserved stage {name:?}");
                note(Rule::ReservedStageName, stage.span, message);
            }
            if names.contains(&name) {
                let message = format!("Duplicate stage name {name:?}, stage names should be unique");
                note(Rule::DuplicateStageName, stage.span, message);
            }
            names.push(name);
        }
        platform(stage, &mut note);
        commands(stage, &mut note);
        let mut absolute = false;
        for step in &stage.steps {
            step_rules(step, &mut absolute, &mut note);
        }
    }
    for step in &file.globals {
        step_rules(step, &mut true, &mut note);
    }
    variables::rules(file, around, &mut note);
    let experimental = |rule: Rule| is_listed(&file.directives.experimental_checks, rule);
    if let Some(ignored) = around.ignored.filter(|_| experimental(Rule::CopyIgnoredFile)) {
        ignored::rule(file, ignored, &mut note);
    }
    found.retain(|warning| !is_listed(&file.directives.skipped_checks, warning.rule));
    found.sort_by_key(|warning| warning.span.first);
    found
}

/// By its name, or all at once.
fn is_listed(names: &[String], rule: Rule) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case("all") || *name == rule.to_string())
}

type Note<'a> = &'a mut dyn FnMut(Rule, Span, String);

fn casing(file: &Dockerfile, note: Note<'_>) {
    let is_upper = |word: &str| word.chars().all(|letter| letter.is_uppercase());
    let is_lower = |word: &str| word.chars().all(|letter| letter.is_lowercase());
    let upper = file.words.iter().filter(|(word, _)| is_upper(word)).count();
    let lower = file.words.iter().filter(|(word, _)| is_lower(word)).count();
    let (fits, name): (&dyn Fn(&str) -> bool, _) =
        if lower > upper { (&is_lower, "lowercase") } else { (&is_upper, "uppercase") };
    for (word, span) in file.words.iter().filter(|(word, _)| !fits(word)) {
        let message = format!("Command '{word}' should match the case of the command majority ({name})");
        note(Rule::ConsistentInstructionCasing, *span, message);
    }
}

fn platform(stage: &Stage, note: Note<'_>) {
    let Some(platform) = stage.from.platform.as_deref() else { return };
    if matches!(platform, "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
        let message = format!(
            "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
        );
        note(Rule::RedundantTargetPlatform, stage.span, message);
    }
    // A stage that is named after its platform chose it on purpose.
    let architecture = platform.split('/').nth(1).unwrap_or(platform);
    let on_purpose = stage.from.name.as_deref().is_some_and(|name| name.contains(architecture));
    if !platform.contains('$') && !on_purpose {
        let message = format!("FROM --platform flag should not use constant value {platform:?}");
        note(Rule::FromPlatformFlagConstDisallowed, stage.span, message);
    }
}

/// Of these only the last in a stage counts.
fn commands(stage: &Stage, note: Note<'_>) {
    for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
        let all: Vec<&Step> = stage.steps.iter().filter(|step| step.instruction.name() == name).collect();
        for step in all.iter().rev().skip(1).rev() {
            let message = format!(
                "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
            );
            note(Rule::MultipleInstructionsDisallowed, step.span, message);
        }
    }
}

fn step_rules(step: &Step, absolute: &mut bool, note: Note<'_>) {
    let name = step.instruction.name();
    match &step.instruction {
        Instruction::Cmd(Command::Shell(_)) | Instruction::Entrypoint(Command::Shell(_)) => {
            let message = format!(
                "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
            );
            note(Rule::JSONArgsRecommended, step.span, message);
        }
        Instruction::Maintainer(_) => {
            let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
            note(Rule::MaintainerDeprecated, step.span, message);
        }
        Instruction::Workdir(path) => {
            if path.starts_with(['/', '$', '"', '\'']) {
                *absolute = true;
            } else if !*absolute {
                let message = format!(
                    "Relative workdir {path:?} can have unexpected results if the base image changes"
                );
                note(Rule::WorkdirRelativePath, step.span, message);
            }
        }
        Instruction::Env(pairs) => {
            for pair in pairs.iter().filter(|pair| is_secret(&pair.key)) {
                note(Rule::SecretsUsedInArgOrEnv, step.span, secret(name, &pair.key));
            }
        }
        Instruction::Arg(arguments) => {
            for argument in arguments.iter().filter(|argument| is_secret(&argument.name)) {
                note(Rule::SecretsUsedInArgOrEnv, step.span, secret(name, &argument.name));
            }
        }
        Instruction::Expose(ports) => {
            for port in ports.iter().filter(|port| !port.contains('$')) {
                expose(port, step.span, note);
            }
        }
        _ => {}
    }
}

fn expose(port: &str, span: Span, note: Note<'_>) {
    if port.contains(':') {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        );
        note(Rule::ExposeInvalidFormat, span, message);
    }
    if port.split_once('/').is_some_and(|(_, protocol)| protocol.chars().any(char::is_uppercase)) {
        let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
        note(Rule::ExposeProtoCasing, span, message);
    }
}

fn secret(name: &str, key: &str) -> String {
    format!("Do not use ARG or ENV instructions for sensitive data ({name} {key:?})")
}

/// Names that speak of secrets, except of public ones.
fn is_secret(name: &str) -> bool {
    const WORDS: &[&str] = &[
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    let name = name.to_ascii_lowercase();
    let mut parts = name.split('_');
    parts.clone().any(|part| WORDS.contains(&part)) && !parts.any(|part| matches!(part, "public" | "file"))
}

#[cfg(test)]
mod tests;
