//! A client of the Engine API, for minke's own commands.
//!
//! It is blocking and has no runtime, because start-up time is a promise of `minke ps`: one connect, one write, one
//! read, no thread and no ping. Commands that wait for several things at once (attach, wait, signals) ask a connection
//! for its descriptor and poll. Paths go out without a version, which every engine answers as its newest, unless the
//! user names one with `DOCKER_API_VERSION`.
//!
//! | module | what |
//! |---|---|
//! | `endpoint` | `-H`, `DOCKER_HOST`: where an engine is |
//! | `connection` | a byte stream to it: unix, TCP, TLS |
//! | `http` | requests, responses, bodies, upgrades |
//! | `client` | the whole: connect on demand, reuse, errors in Docker's words |
//! | `contexts` | docker's context store |
//! | `autostart` | starting the engine when nothing answers |
//!
//! What requests contain is the business of the commands.

pub mod autostart;
mod client;
mod connection;
pub mod contexts;
mod endpoint;
mod error;
mod http;
mod tls;

pub use client::{Client, Pending, Request};
pub use connection::Connection;
pub use endpoint::{DEFAULT_SOCKET, Endpoint, EndpointError, TlsFiles};
pub use error::ClientError;
pub use http::Response;

#[cfg(test)]
mod tests;
