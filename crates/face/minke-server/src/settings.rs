//! What the face knows about the daemon and `info` shows, beyond what the engine itself knows.

use minke_api::system::{AddressPool, IndexInfo, Info, RegistryConfig};

#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) version: String,
    pub(crate) experimental: bool,
    pub(crate) debug: bool,
    pub(crate) labels: Vec<String>,
    /// Seconds that requests under way get at the end, and containers that end with the daemon; `None` without end.
    pub(crate) shutdown_timeout: Option<u64>,
    /// Containers outlive the daemon.
    pub(crate) live_restore: bool,
    /// Clients are told to build with BuildKit.
    pub(crate) buildkit: bool,
    pub(crate) registry_mirrors: Vec<String>,
    pub(crate) insecure_registries: Vec<String>,
    pub(crate) default_address_pools: Vec<(String, u8)>,
    /// Warnings about the daemon's own configuration (an API without TLS).
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// The builder that `_ping` recommends.
    pub(crate) fn builder(&self) -> &'static str {
        if self.buildkit { "2" } else { "1" }
    }

    pub(crate) fn complete(&self, info: &mut Info) {
        info.experimental_build = self.experimental;
        info.debug = self.debug;
        info.labels.clone_from(&self.labels);
        info.live_restore_enabled = self.live_restore;
        let pools = self.default_address_pools.iter();
        info.default_address_pools =
            Some(pools.map(|(base, size)| AddressPool { base: base.clone(), size: *size }).collect());
        let (cidrs, hosts): (Vec<_>, Vec<_>) =
            self.insecure_registries.iter().cloned().partition(|entry| entry.contains('/'));
        let mut config = RegistryConfig {
            insecure_registry_cidrs: ["::1/128".to_owned(), "127.0.0.0/8".to_owned()]
                .into_iter()
                .chain(cidrs)
                .collect(),
            mirrors: Some(self.registry_mirrors.clone()).filter(|mirrors| !mirrors.is_empty()),
            ..RegistryConfig::default()
        };
        let hub = IndexInfo {
            name: "docker.io".to_owned(),
            mirrors: self.registry_mirrors.clone(),
            official: true,
            secure: true,
        };
        config.index_configs.insert(hub.name.clone(), hub);
        for host in hosts {
            let index = IndexInfo { name: host.clone(), ..IndexInfo::default() };
            config.index_configs.insert(host, index);
        }
        info.registry_config = Some(config);
        if !self.warnings.is_empty() {
            info.warnings.get_or_insert_default().extend(self.warnings.iter().cloned());
        }
    }
}
