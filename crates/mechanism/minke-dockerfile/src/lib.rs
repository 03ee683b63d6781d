//! Dockerfiles as data.
//!
//! [`parse`] reads a file into stages of steps, each with its lines and its text as it was written;
//! [`Scope`] is what variables mean at one place of it, [`Step::expanded`] puts their values in;
//! [`Ignore`] says what `.dockerignore` leaves out of a context; [`lint`] warns by BuildKit's rule names.
//! Errors quote the file with line numbers and an arrow ([`Source::excerpt`]).
//!
//! It executes nothing, reads no file and knows no image: what a step does is the engine's business.

mod arguments;
mod ast;
mod error;
mod expand;
mod flags;
mod heredoc;
mod ignore;
mod instruction;
mod lexer;
mod lint;
mod mounts;
mod parse;
mod pattern;
mod scope;
mod words;

pub use ast::{
    AddOptions, Argument, Bind, Command, Copy, Directives, Dockerfile, Form, From, Healthcheck, Heredoc,
    Instruction, Mount, MountKind, Network, Pair, Run, Security, Sharing, Source, Span, Stage, Step,
    Transfer,
};
pub use error::{Error, ErrorKind};
pub use ignore::Ignore;
pub use lint::{Around, Brings, Rule, Warning, lint};
pub use parse::{parse, parse_trigger};
pub use pattern::{PatternError, matches};
pub use scope::{Given, Platform, Scope};

#[cfg(test)]
mod tests;
