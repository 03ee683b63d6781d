//! The resolver of user-defined networks: what a container finds at 127.0.0.11.
//!
//! One thread serves every container, over sockets that were bound inside the containers' namespaces and are handed over
//! here ([`Resolver::serve`]). A name of a container that shares a network with the asker is answered from tables in
//! memory ([`Resolver::join`], [`Resolver::leave`]) and never leaves this host; everything else is passed on to the
//! asker's own servers, from the host's side. [`resolv_conf`] plans what containers read in `/etc/resolv.conf`.
//!
//! Who is on which network is decided by the engine; sockets inside namespaces and the rules that lead to them are made
//! by `minke-net`; that they outlive the daemon is the keeper's business.
//!
//! ```text
//! start ─▶ update(network) … ─▶ serve(container, sockets, view) ─▶ join / leave / look … ─▶ stop(container)
//! ```

mod exchange;
#[doc(hidden)]
pub mod fuzz;
mod lookup;
pub mod resolv_conf;
mod resolver;
mod server;
mod stream;
mod table;
mod upstream;
mod view;
mod wire;

pub use resolver::{Resolver, ResolverError};
pub use view::{Link, Member, NetworkNames, NetworkView, Sockets, View};

/// For what is tried and has no consequence when it fails; the caller says beside it why that is so.
fn best_effort<T, E>(_outcome: Result<T, E>) {}
