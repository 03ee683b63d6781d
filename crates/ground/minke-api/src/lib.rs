//! The Engine API as values: wire types with Docker's exact JSON, what differs between API versions,
//! stream framing, and the texts that clients match on.
//!
//! Pure: no I/O, no clock. The server decodes into these types and encodes from them, the client does the reverse,
//! and the engine's services speak them. Which version of a document a client gets is decided by [`compat`], once,
//! at the edge; everything below that speaks the newest version.

pub mod build;
pub mod compat;
pub mod container;
pub mod error;
pub mod filters;
pub mod framing;
pub mod image;
pub mod lenient;
pub mod mount;
pub mod network;
pub mod progress;
pub mod run;
pub mod system;
pub mod texts;
pub mod version;
pub mod volume;

use std::collections::BTreeMap;

pub use error::ErrorResponse;
pub use version::ApiVersion;

/// An empty JSON object: the value side of Docker's sets (`{"80/tcp": {}}`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Empty {}

/// A set as Docker writes it: an object whose values are empty objects.
pub type Set = BTreeMap<String, Empty>;

/// String to string, sorted as Go's encoder sorts it.
pub type StringMap = BTreeMap<String, String>;

/// The zero time of Go, which Docker writes where a time was never set.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// `skip_serializing_if` helper: Go's `omitempty` for numbers and booleans.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Go's `omitempty` for slices that may be null.
pub(crate) fn no_items<T>(value: &Option<Vec<T>>) -> bool {
    value.as_ref().is_none_or(Vec::is_empty)
}

/// Go's `omitempty` for maps that may be null.
pub(crate) fn no_entries<K, V>(value: &Option<BTreeMap<K, V>>) -> bool {
    value.as_ref().is_none_or(BTreeMap::is_empty)
}
