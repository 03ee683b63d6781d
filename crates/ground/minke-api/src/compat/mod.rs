//! What differs between API versions: pure functions, from the newest form of an answer to an older one, and from an older
//! request to the newest form.
//!
//! Everything else in minke speaks the newest version only. Each function names the version at which its difference ends.

pub mod containers;
pub mod images;
pub mod networks;
pub mod requests;
pub mod streams;
pub mod system;

use serde::Serialize;
use serde_json::{Map, Value};

/// A document as an object that can be changed; what does not encode as an object is left out by the callers' types.
fn object<T: Serialize>(document: &T) -> Map<String, Value> {
    match serde_json::to_value(document) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Sets a field that is missing.
fn fill(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests;
