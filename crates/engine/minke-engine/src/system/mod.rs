//! The engine about itself: info, version, disk usage.

use std::collections::BTreeMap;
use std::sync::Arc;

use minke_api::ApiVersion;
use minke_api::system::{
    AddressPool, Commit, Component, DiskUsage, FirewallInfo, IndexInfo, Info, PluginsInfo, RegistryConfig,
    Runtime, SwarmInfo, Version,
};
use minke_keeper::protocol::RuntimeProgram;
use minke_store::Store;

use crate::builds::{Builds, CacheItem};
use crate::clock::Moment;
use crate::config::Config;
use crate::containers::{Containers, ListOptions};
use crate::error::Result;
use crate::events::Events;
use crate::images::{ImageListOptions, Images};
use crate::networks::Networks;
use crate::spec::HostFacts;
use crate::volumes::Volumes;

/// The service.
#[derive(Debug)]
pub struct System {
    pub(crate) id: String,
    pub(crate) config: Arc<Config>,
    pub(crate) facts: Arc<HostFacts>,
    pub(crate) store: Arc<Store>,
    pub(crate) events: Arc<Events>,
    pub(crate) images: Arc<Images>,
    pub(crate) networks: Arc<Networks>,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) containers: Arc<Containers>,
    pub(crate) builds: Arc<Builds>,
}

impl System {
    /// What `docker info` shows.
    pub fn info(&self) -> Info {
        let (running, paused, stopped) = self.containers.count();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let facts = &self.facts;
        let has = |name: &str| facts.v1_controllers.contains(name) || facts.v2_controllers.contains(name);
        let list = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let proxies = &self.config.registries.proxies;
        Info {
            id: self.id.clone(),
            containers: count(running + paused + stopped),
            containers_running: count(running),
            containers_paused: count(paused),
            containers_stopped: count(stopped),
            images: count(self.images.len()),
            driver: self.store.driver().name().to_owned(),
            driver_status: self.driver_status(),
            plugins: PluginsInfo {
                volume: list(&["local"]),
                network: list(&["bridge", "host", "macvlan", "null"]),
                authorization: None,
                log: list(&["json-file", "local", "none"]),
            },
            memory_limit: has("memory"),
            swap_limit: facts.swap_limit,
            cpu_cfs_period: has("cpu"),
            cpu_cfs_quota: has("cpu"),
            cpu_shares: has("cpu"),
            cpu_set: has("cpuset"),
            pids_limit: has("pids"),
            ipv4_forwarding: read("/proc/sys/net/ipv4/ip_forward") == "1",
            debug: self.config.debug,
            n_fd: std::fs::read_dir("/proc/self/fd").map_or(-1, |entries| count(entries.count())),
            oom_kill_disable: !facts.pure_v2 && has("memory"),
            n_goroutines: threads(),
            system_time: Moment::now().rfc3339(),
            logging_driver: self.config.log_driver.clone(),
            cgroup_driver: self.config.cgroup_driver.word().to_owned(),
            cgroup_version: if facts.pure_v2 { "2" } else { "1" }.to_owned(),
            n_events_listener: count(self.events.listeners()),
            kernel_version: facts.kernel.clone(),
            operating_system: operating_system(),
            os_type: "linux".to_owned(),
            architecture: facts.machine.clone(),
            index_server_address: "https://index.docker.io/v1/".to_owned(),
            registry_config: Some(registry_config()),
            ncpu: i64::from(facts.cpus),
            mem_total: i64::try_from(facts.memory).unwrap_or(i64::MAX),
            docker_root_dir: self.config.data_root.to_string_lossy().into_owned(),
            http_proxy: proxies.http.as_deref().map(masked).unwrap_or_default(),
            https_proxy: proxies.https.as_deref().map(masked).unwrap_or_default(),
            no_proxy: proxies.none.clone().unwrap_or_default(),
            name: facts.hostname.clone(),
            labels: self.config.labels.clone(),
            server_version: self.config.version.clone(),
            runtimes: self.runtimes(),
            default_runtime: self.config.containers.choose("").unwrap_or_default(),
            swarm: SwarmInfo::default(),
            // A container outlives the engine as a matter of course.
            live_restore_enabled: true,
            init_binary: "minke".to_owned(),
            containerd_commit: Commit::default(),
            runc_commit: Commit { id: self.config.git_commit.clone() },
            init_commit: Commit { id: self.config.git_commit.clone() },
            security_options: self.security_options(),
            default_address_pools: Some(
                self.config
                    .networks
                    .fabric
                    .pools
                    .iter()
                    .map(|pool| AddressPool { base: pool.base.to_string(), size: pool.size })
                    .collect(),
            ),
            firewall_backend: Some(FirewallInfo { driver: "nftables".to_owned(), info: None }),
            warnings: self.warnings(),
            ..Info::default()
        }
    }

    fn driver_status(&self) -> Vec<[String; 2]> {
        let pair = |key: &str, value: &str| [key.to_owned(), value.to_owned()];
        let mut status = vec![pair("Backing Filesystem", &backing(&self.config.data_root))];
        if self.store.driver().name() == "overlay2" {
            status.push(pair("Supports d_type", "true"));
            status.push(pair("Mounted by", "the new mount API, in the container's own mount namespace"));
        }
        status
    }

    fn runtimes(&self) -> BTreeMap<String, Runtime> {
        let shown = |program: Option<RuntimeProgram>| match program {
            None => Runtime { path: "minke".to_owned(), ..Runtime::default() },
            Some(program) => Runtime {
                path: program.path.to_string_lossy().into_owned(),
                runtime_args: Some(program.args).filter(|args| !args.is_empty()),
                ..Runtime::default()
            },
        };
        self.config.containers.all().into_iter().map(|(name, program)| (name, shown(program))).collect()
    }

    fn security_options(&self) -> Vec<String> {
        let mut options = vec![match self.config.containers.seccomp.as_str() {
            "" => "name=seccomp,profile=builtin".to_owned(),
            "unconfined" => "name=seccomp,profile=unconfined".to_owned(),
            _ => "name=seccomp,profile=custom".to_owned(),
        }];
        if self.facts.apparmor {
            options.insert(0, "name=apparmor".to_owned());
        }
        if self.config.containers.no_new_privileges {
            options.push("name=no-new-privileges".to_owned());
        }
        if self.facts.pure_v2 {
            options.push("name=cgroupns".to_owned());
        }
        options
    }

    fn warnings(&self) -> Option<Vec<String>> {
        let mut warnings = self.networks.warnings().to_vec();
        if !self.facts.swap_limit {
            warnings.push("WARNING: No swap limit support".to_owned());
        }
        (!warnings.is_empty()).then_some(warnings)
    }

    /// What `docker version` shows.
    pub fn version(&self) -> Version {
        let (newest, oldest) = (ApiVersion::MAX.to_string(), ApiVersion::MIN.to_string());
        let arch = self.facts.architecture().to_owned();
        let details = BTreeMap::from(
            [
                ("ApiVersion", newest.as_str()),
                ("Arch", &arch),
                ("BuildTime", &self.config.build_time),
                ("Experimental", "false"),
                ("GitCommit", &self.config.git_commit),
                ("GoVersion", "none (Rust)"),
                ("KernelVersion", &self.facts.kernel),
                ("MinAPIVersion", &oldest),
                ("Os", "linux"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        Version {
            platform: minke_api::system::Platform { name: "minke".to_owned() },
            components: vec![Component {
                name: "Engine".to_owned(),
                version: self.config.version.clone(),
                details: Some(details),
            }],
            version: self.config.version.clone(),
            api_version: newest,
            min_api_version: oldest,
            git_commit: self.config.git_commit.clone(),
            go_version: "none (Rust)".to_owned(),
            os: "linux".to_owned(),
            arch,
            kernel_version: self.facts.kernel.clone(),
            experimental: false,
            build_time: self.config.build_time.clone(),
        }
    }

    /// What everything takes on disk.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        let layers =
            self.store.layers().list().iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size));
        let images =
            self.images.list(ImageListOptions { shared_size: true, ..ImageListOptions::default() }).await?;
        let containers =
            self.containers.list(ListOptions { all: true, size: true, ..ListOptions::default() }).await?;
        let volumes = Arc::clone(&self.volumes);
        let volumes = tokio::task::spawn_blocking(move || volumes.usage())
            .await
            .map_err(|source| crate::Error::failed("measure the volumes", source))?;
        let build_cache = self.builds.items().await?.iter().map(CacheItem::told).collect();
        Ok(DiskUsage {
            volumes,
            build_cache,
            layers_size: i64::try_from(layers).unwrap_or(i64::MAX),
            images,
            containers,
        })
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn threads() -> i64 {
    let status = read("/proc/self/status");
    status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

fn operating_system() -> String {
    let text = read("/etc/os-release");
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn backing(path: &std::path::Path) -> String {
    let kind = rustix::fs::statfs(path).map_or(0, |stat| stat.f_type);
    match kind {
        0xef53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        _ => "<unknown>",
    }
    .to_owned()
}

fn registry_config() -> RegistryConfig {
    let hub = IndexInfo { mirrors: Vec::new(), name: "docker.io".to_owned(), official: true, secure: true };
    RegistryConfig {
        index_configs: BTreeMap::from([("docker.io".to_owned(), hub)]),
        insecure_registry_cidrs: vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()],
        mirrors: None,
    }
}
/// A proxy's address without the password in it.
fn masked(proxy: &str) -> String {
    let (scheme, rest) = proxy.split_once("://").map_or(("", proxy), |(scheme, rest)| (scheme, rest));
    match rest.rsplit_once('@') {
        Some((_, host)) if scheme.is_empty() => format!("xxxxx:xxxxx@{host}"),
        Some((_, host)) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        None => proxy.to_owned(),
    }
}
