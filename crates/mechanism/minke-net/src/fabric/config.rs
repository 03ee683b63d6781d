//! What holds for all networks of an engine.

use std::time::Duration;

use crate::address::{AddressPool, default_pools};

/// What holds for all networks; each field has the daemon flag or daemon.json key of the same meaning.
#[derive(Clone, Debug)]
pub struct FabricConfig {
    /// Tells this engine's table from those of others on the host: the default bridge's name, whether or not there is a default
    /// bridge.
    pub mark: String,
    /// The id of the network whose namespaces wait plugged: the default bridge.
    pub default_network: Option<String>,
    /// `default-address-pools`, of both families. Without one of IPv6, subnets come from a private range of the host's own.
    pub pools: Vec<AddressPool>,
    /// `--ip-forward`: switch routing on when it is off.
    pub ip_forward: bool,
    /// The opposite of `--ip-forward-no-drop`: a host whose routing the engine switched on routes for the engine's bridges only.
    pub forward_guard: bool,
    /// `--iptables`: whether any rule is written at all. Without rules every published port goes through a proxy.
    pub firewall: bool,
    /// `--userland-proxy`: whether [`Published::proxies`] lists any.
    pub userland_proxy: bool,
    /// How many namespaces plugged into the default network wait for a container.
    pub ready: usize,
    /// How many namespaces with the resolver's sockets but without interfaces wait for a container of a user's network.
    pub bare_ready: usize,
    /// How many namespaces at most wait plugged into a user's network that is being used.
    pub shelved: usize,
    /// For how long after its last claim they do.
    pub shelf_life: Duration,
}

impl Default for FabricConfig {
    fn default() -> Self {
        Self {
            mark: "minke0".to_owned(),
            default_network: None,
            pools: default_pools(),
            ip_forward: true,
            forward_guard: true,
            firewall: true,
            userland_proxy: true,
            ready: 8,
            bare_ready: 4,
            shelved: 8,
            shelf_life: Duration::from_secs(60),
        }
    }
}
