//! Files that a step wants to copy and the context leaves out.

use super::{Note, Rule};
use crate::ast::{Copy, Dockerfile, Instruction, Transfer};
use crate::ignore::Ignore;

pub(super) fn rule(file: &Dockerfile, ignored: &Ignore, note: Note<'_>) {
    for step in file.stages.iter().flat_map(|stage| &stage.steps) {
        let (word, transfer) = match &step.instruction {
            Instruction::Copy(transfer) => ("Copy", transfer),
            Instruction::Add(transfer) => ("Add", transfer),
            _ => continue,
        };
        for source in of_the_context(transfer).filter(|source| leaves_out(ignored, source)) {
            let message = format!("Attempting to {word} file {source:?} that is excluded by .dockerignore");
            note(Rule::CopyIgnoredFile, step.span, message);
        }
    }
}

/// Paths that are known as they stand, in the context itself.
fn of_the_context(transfer: &Transfer) -> impl Iterator<Item = &str> {
    let own = transfer.from.is_none();
    transfer.sources.iter().filter_map(move |source| match source {
        Copy::Path(path) if own && !path.contains('$') && !path.contains("://") => Some(path.as_str()),
        _ => None,
    })
}

/// All of it: below a directory that is left out something may be there all the same.
fn leaves_out(ignored: &Ignore, source: &str) -> bool {
    let parts = source.split('/').filter(|part| !matches!(*part, "" | "."));
    let path = parts.collect::<Vec<_>>().join("/");
    !path.is_empty() && ignored.excludes(&path) && !ignored.may_return_below(&path)
}
