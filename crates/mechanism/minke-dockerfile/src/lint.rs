//! Warnings about what is legal and probably not meant, under BuildKit's rule names.

use crate::ast::{Dockerfile, Span};
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
    NoEmptyContinuation,
}

pub(crate) fn remark(_line: &Line, _file: &mut Dockerfile) {}

/// All warnings about a file, in its order, without those that it switches off.
pub fn lint(file: &Dockerfile) -> Vec<Warning> {
    file.remarks.clone()
}
