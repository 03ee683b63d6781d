//! Links, addresses, rules: netlink and nftables from long-lived sockets, planned as values.

pub mod address;
pub mod bridge;
pub mod endpoint;
pub mod files;

pub use address::{AddressPool, Ipv4Net, Mac, default_pools};
pub use bridge::{Bridge, BridgeConfig, BridgeError, BridgeFacts, IsolatedNamespaces, Statistics};
pub use endpoint::{Claim, ClaimRequest, Endpoint};
