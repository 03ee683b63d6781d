//! The engine about itself.

mod auth;
mod df;
mod event;
mod info;
mod version;

pub use auth::{AuthConfig, AuthResponse, InvalidAuth, auth_configs_from_header};
pub use df::{BuildCacheRecord, DiskUsage, UsageTotals};
pub use event::{Actor, EventMessage};
pub use info::{
    AddressPool, Commit, ContainerdInfo, ContainerdNamespaces, DeviceInfo, FirewallInfo, IndexInfo, Info,
    PluginsInfo, RegistryConfig, Runtime, SwarmInfo,
};
pub use version::{Component, Platform, Version};
