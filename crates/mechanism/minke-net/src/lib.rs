//! Links, addresses, rules: netlink and nftables from long-lived sockets, planned as values.
//!
//! The crate gives the engine one thing above all: a network namespace that is plugged into a container's networks, at once
//! ([`Fabric::claim`]), and ports of it that others reach ([`Fabric::publish`]). Around it stand what makes that cheap and safe:
//! namespaces made ahead of need, rules written in one transaction, addresses that are given back only when the kernel has let their
//! link go, and a start that repairs what it finds.
//! Everything is synchronous, and no program is ever started. Which container gets what, and what is remembered about it, is the
//! engine's business.

pub mod address;
mod allocator;
mod attach;
mod bare;
pub mod endpoint;
pub mod fabric;
pub mod files;
mod flows;
mod host;
#[cfg(test)]
mod hosts_tests;
mod isolated;
mod links;
mod namespace;
mod netlink;
pub mod network;
mod nft;
#[cfg(test)]
mod one_bridge;
mod parent;
mod place;
mod plug;
mod plugger;
pub mod ports;
mod publish;
mod reconcile;
mod reserve;
mod shelves;
mod state;
mod stock;
#[cfg(test)]
mod tests;
mod visitor;

pub use address::{AddressPool, IpNet, Ipv4Net, Ipv6Net, Mac, default_pools};
pub use endpoint::{
    Claim, ClaimRequest, DnsSockets, Endpoint, EndpointWish, LiveEndpoint, RESOLVER, Statistics,
};
pub use fabric::{Fabric, FabricConfig, FabricError};
pub use isolated::IsolatedNamespaces;
pub use namespace::NamespaceError;
pub use netlink::NetlinkError;
pub use network::{
    BridgeSpec, Driver, FamilyFacts, GatewayMode, MacvlanMode, MacvlanSpec, NetworkFacts, NetworkSpec,
    SubnetSpec,
};
pub use ports::{Binding, Hole, PortWish, Protocol, Proxy, Published};
