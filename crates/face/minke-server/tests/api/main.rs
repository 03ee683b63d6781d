//! The API as bytes on a socket, against a real daemon with real containers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a failing test shows the daemon's log")]

mod errors;
mod harness;
mod images;
mod lifecycle;
mod network;
mod networks;
mod streams;
