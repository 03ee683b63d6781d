//! A whole file: instructions into stages.

use std::sync::Arc;

use crate::arguments::blanks;
use crate::ast::{Dockerfile, From, Instruction, Source, Span, Stage, Step};
use crate::error::Error;
use crate::flags::Flags;
use crate::instruction;
use crate::lexer::{self, Line};
use crate::lint;

/// Reads a Dockerfile; `name` is how errors and warnings call it.
///
/// # Errors
/// When it is no Dockerfile: the error says what is wrong in Docker's words, and which lines.
pub fn parse(name: &str, text: &[u8]) -> Result<Dockerfile, Error> {
    let text = std::str::from_utf8(text).map_err(|source| {
        let lines = text[..source.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        let line = u32::try_from(lines + 1).unwrap_or(u32::MAX);
        Error::syntax(format!("line {line} is not UTF-8")).at(Span { first: line, last: line })
    })?;
    let (directives, lines) = lexer::lines(text)?;
    let mut file = Dockerfile {
        source: Source { name: Arc::from(name), text: Arc::from(text) },
        directives,
        globals: Vec::new(),
        stages: Vec::new(),
        remarks: Vec::new(),
        words: Vec::new(),
    };
    for line in &lines {
        lint::remark(line, &mut file);
        if line.keyword() == "FROM" {
            let from = from(line).map_err(|error| error.at(line.span))?;
            file.stages.push(Stage {
                from,
                text: line.text.trim().to_owned(),
                span: line.span,
                steps: Vec::new(),
            });
            continue;
        }
        let instruction =
            instruction::read(line, file.directives.escape).map_err(|error| error.at(line.span))?;
        let step = Step { text: line.text.trim().to_owned(), span: line.span, instruction };
        match file.stages.last_mut() {
            Some(stage) => stage.steps.push(step),
            None if matches!(step.instruction, Instruction::Arg(_)) => file.globals.push(step),
            None => return Err(Error::file("no build stage in current context").at(line.span)),
        }
    }
    if file.stages.is_empty() {
        return Err(Error::file("dockerfile contains no stages to build"));
    }
    Ok(file)
}

/// Reads a single instruction: a trigger out of an image, a change that `commit` is given.
///
/// # Errors
/// As [`parse`]; `FROM` is refused.
pub fn parse_trigger(text: &str) -> Result<Step, Error> {
    let (directives, lines) = lexer::lines(text)?;
    let [line] = lines.as_slice() else {
        return Err(Error::syntax(format!("{text:?} is more than one instruction")));
    };
    if line.keyword() == "FROM" {
        return Err(Error::instruction("FROM isn't allowed as an ONBUILD trigger").at(line.span));
    }
    let instruction = instruction::read(line, directives.escape).map_err(|error| error.at(line.span))?;
    Ok(Step { text: line.text.trim().to_owned(), span: line.span, instruction })
}

fn from(line: &Line) -> Result<From, Error> {
    let flags = Flags::check(&line.flags, &["platform"], &[], &[])?;
    let words = blanks(&line.rest);
    let (image, name) = match words.as_slice() {
        [image] => (image, None),
        [image, word, name] if word.eq_ignore_ascii_case("as") => (image, Some(name.to_lowercase())),
        _ => return Err(Error::instruction("FROM requires either one or three arguments")),
    };
    if let Some(name) = &name {
        let valid = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'));
        if !valid {
            return Err(Error::instruction(format!(
                "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
            )));
        }
    }
    Ok(From { image: image.clone(), platform: flags.value("platform"), name })
}
