//! What is wrong with a Dockerfile, and where.

use std::fmt::Write as _;

use crate::ast::{Source, Span};

/// How many lines around the wrong one are quoted.
const AROUND: u32 = 4;

/// A refusal, with the lines it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    /// Without place and file.
    pub message: String,
    pub span: Option<Span>,
}

/// Which words Docker puts before the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is not made of instructions.
    Syntax,
    /// An instruction is not what it has to be.
    Instruction,
    /// A variable could not be put in.
    Expansion,
    /// The file as a whole (empty, too large).
    File,
}

impl std::error::Error for Error {}

/// Docker's classic builder's words: clients show and match them.
impl std::fmt::Display for Error {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.kind, self.span) {
            (ErrorKind::Instruction, Some(span)) => {
                write!(out, "dockerfile parse error on line {}: {}", span.first, self.message)
            }
            (ErrorKind::Syntax, _) => write!(out, "failed to parse Dockerfile: {}", self.message),
            _ => out.write_str(&self.message),
        }
    }
}

impl Error {
    pub(crate) fn syntax(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Syntax, message: message.into(), span: None }
    }

    pub(crate) fn instruction(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Instruction, message: message.into(), span: None }
    }

    pub(crate) fn expansion(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Expansion, message: message.into(), span: None }
    }

    pub(crate) fn file(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::File, message: message.into(), span: None }
    }

    /// Says where, unless that is known more exactly already.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }
}

impl Source {
    /// The lines of a span with their neighbours, numbered, the span's own marked with an arrow.
    ///
    /// ```text
    /// Dockerfile:3
    /// --------------------
    ///    2 |
    ///    3 | >>> RUN exit 7
    ///    4 |     CMD ["true"]
    /// --------------------
    /// ```
    pub fn excerpt(&self, span: Span) -> String {
        const RULE: &str = "--------------------\n";
        let mut text = format!("{}:{}\n{RULE}", self.name, span.first);
        let total = u32::try_from(self.text.lines().count()).unwrap_or(u32::MAX);
        let from = span.first.saturating_sub(AROUND).max(1);
        let to = span.last.saturating_add(AROUND).min(total);
        let skipped = usize::try_from(from - 1).unwrap_or(usize::MAX);
        for (number, line) in (from..=to).zip(self.text.lines().skip(skipped)) {
            let mark = if span.lines().contains(&number) { ">>>" } else { "   " };
            // A String takes every write.
            let _unfailing = writeln!(text, " {number:3} | {mark} {line}");
        }
        text.push_str(RULE);
        text
    }
}
