//! What must hold for any bytes from strangers: one function for each parser that they reach.
//!
//! `fuzz/` feeds these with what libFuzzer thinks of, the test beside them with the seeds in `fuzz/corpus/` and a little chance.
//! Each takes bytes as they may come and panics when something is wrong: an answer that contradicts itself, or a crash of the
//! parser's own. Inputs of several parts are written so that a person can write seeds: the parts are separated by line ends or
//! lengths, as each function says.

mod archives;
mod builds;
mod documents;
mod names;
mod wire;

pub use archives::{archive, tar};
pub use builds::{dockerfile, dockerignore};
pub use documents::{create_body, manifest, seccomp};
pub use names::{filters, reference, registry_auth, template, www_authenticate};
pub use wire::{dns, frame};

/// A property of a parser.
pub type Check = fn(&[u8]);

/// All of them, by the name of their target and of their seeds' directory.
pub const ALL: &[(&str, Check)] = &[
    ("archive", archive),
    ("create_body", create_body),
    ("dns", dns),
    ("dockerfile", dockerfile),
    ("dockerignore", dockerignore),
    ("filters", filters),
    ("frame", frame),
    ("manifest", manifest),
    ("reference", reference),
    ("registry_auth", registry_auth),
    ("seccomp", seccomp),
    ("tar", tar),
    ("template", template),
    ("www_authenticate", www_authenticate),
];
