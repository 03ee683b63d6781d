//! The project's helper.
fn main() {}
