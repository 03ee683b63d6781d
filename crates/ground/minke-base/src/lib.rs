//! Values and rules every layer shares: ids, names, references, digests, sizes, times, error kinds.
//!
//! Nothing here reads a file, asks the clock or waits: a function of this crate answers from its arguments alone (random ids
//! excepted, which ask the kernel). What a value means to a kernel facility belongs to the mechanism crates, what it means to
//! Docker's users to the engine.

pub mod digest;
pub mod duration;
pub mod glob;
pub mod id;
pub mod kind;
pub mod name;
pub mod reference;
pub mod size;
pub mod time;

pub use digest::Digest;
pub use id::ContainerId;
pub use kind::Kind;
pub use name::ContainerName;
pub use reference::Reference;
