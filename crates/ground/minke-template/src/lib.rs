//! Go templates as `--format` takes them, and docker's tables.
//!
//! Docker's `--format` is Go's `text/template` over Go structs, so users rely on its blanks (`<no value>`), its
//! printing (`map[a:b]`, `{no 0}`) and its error texts. This crate is that language over a small value model:
//! [`Value`] says what Go's reflection would have seen, [`Template`] parses once and runs often,
//! [`table::Tabwriter`] aligns cells, and [`json`] writes JSON the way Go's encoder does.
//!
//! It knows no Docker noun: which fields a row has, or how a struct of the API prints, is told by the caller
//! through [`Record`] and [`Schema`]. `define`, `template` and `block` are left out and refused with a sentence.

mod exec;
mod functions;
pub mod json;
mod lex;
mod parse;
mod print;
mod schema;
pub mod table;
mod value;

pub use exec::{ExecError, Mode};
pub use parse::{ParseError, Template};
pub use schema::{Schema, Structs, go_time};
pub use value::{List, Map, Record, Value};

#[cfg(test)]
mod tests;
