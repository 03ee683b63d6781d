//! Registries for tests: the real one of Debian's package, and one that plays tricks.

mod fake;
mod http;
mod line;
pub mod parts;
mod real;

pub use fake::{FakeRegistry, Hub, Seen, Torment, Tricks};
pub use line::Line;
pub use real::{Registry, RegistryOptions};
