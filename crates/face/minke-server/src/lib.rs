//! The Engine API over HTTP, and the daemon that serves it.
//!
//! [`daemon`] reads options and wires; `listen` opens sockets; `serve` runs connections; `routes` holds one file per group of
//! endpoints, each of which decodes, calls a service of `minke-engine`, and encodes; `http` is what they stand on.
//! What differs between API versions is in `minke_api::compat`, what containers and images do is in the engine.

pub mod daemon;
mod http;
mod listen;
mod rest;
mod routes;
mod serve;
mod settings;
mod work;
