//! The client of the distribution protocol (`/v2/`), and plain downloads beside it: the one HTTP client of the engine.
//!
//! The crate moves bytes. It knows hosts, certificates, proxies, mirrors, tokens, retries and ranges; it does not know images:
//! manifests are bytes with a digest here, and which of an index's manifests fits is for those to say who read them.
//!
//! Terms:
//! - a *registry* is what a reference's domain names; it may have several *endpoints* (mirrors first, TLS before none);
//! - a [`Repository`] is one name at one registry, with what somebody may do there;
//! - a *challenge* is how a registry says what it wants to see before it answers (`WWW-Authenticate`).
//!
//! One use: [`Client::repository`], then [`Repository::manifest`], then [`Repository::blob`] for each that is missing, read by
//! blocking code through [`BlobReader`]. Dropping a future or a stream ends what it does.
//!
//! What holds everywhere: credentials go to the registry they were given for and to the token server that it names, never along
//! a redirect; manifests are checked against their digest here, blobs by the content store that takes them in (their length is
//! checked here); every answer that is read as a whole has a limit; what broke off goes on where it stopped.

mod blob;
mod certificates;
mod challenge;
mod client;
mod credentials;
mod endpoint;
mod error;
mod login;
mod repository;
mod resolve;
mod retry;
mod search;
mod settings;
mod token;
mod transport;
mod upload;

pub use blob::{BlobReader, BlobStream};
pub use challenge::{Challenge, parse_challenges};
pub use client::Client;
pub use credentials::Credentials;
pub use error::{ApiError, Error, Refusal};
pub use login::LoggedIn;
pub use repository::{FetchedManifest, ManifestHead, Repository, Selector};
pub use search::{Found, SearchHit};
pub use settings::{Insecure, InvalidSetting, Mirror, Patience, Proxies, Settings};
pub use upload::{BlobSource, Pushed, SourceStream, stream_of};

/// Manifests larger than this are refused, as other registries and clients do.
pub const MAX_MANIFEST: u64 = 4 << 20;
