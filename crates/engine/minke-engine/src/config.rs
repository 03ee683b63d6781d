//! How an engine shall be: where it keeps things and what containers get when nobody says otherwise.
//!
//! Reading daemon.json and flags is the face's work; this is what comes of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use minke_api::StringMap;
use minke_net::{FabricConfig, Ipv4Net, Ipv6Net};
use minke_store::rootfs::DriverChoice;

use crate::cgroups::CgroupDriver;
use crate::runtimes::ContainerDefaults;

/// The settings of one engine. [`Config::default`] is what `minke daemon` without flags runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What must survive a reboot: images, containers, the ledger.
    pub data_root: PathBuf,
    /// What goes with a reboot: sockets, locks.
    pub exec_root: PathBuf,
    /// The default bridge, and what holds for all networks.
    pub networks: NetworkDefaults,
    /// How many namespaces wait for containers without a network.
    pub isolated_ready: usize,
    /// How many blank keepers stand ready.
    pub blanks: usize,
    /// The program that becomes nursery and keepers: this one.
    pub keeper_program: PathBuf,
    /// Who makes containers' cgroups.
    pub cgroup_driver: CgroupDriver,
    /// The parent of containers' cgroups: a path from the root of each hierarchy, or a slice of systemd's.
    pub cgroup_parent: String,
    /// The storage driver.
    pub storage_driver: DriverChoice,
    /// How many layers travel at once.
    pub transfers: crate::images::TransferLimits,
    /// The log driver of containers that name none.
    pub log_driver: String,
    /// Its options.
    pub log_options: StringMap,
    /// Name servers of containers that name none; the host's when empty.
    pub dns: Vec<String>,
    /// Their options.
    pub dns_options: Vec<String>,
    /// Their search domains.
    pub dns_search: Vec<String>,
    /// What containers get when nobody says otherwise, and which runtimes there are.
    pub containers: ContainerDefaults,
    /// How registries are reached.
    pub registries: minke_registry::Settings,
    /// Labels of the engine, shown by `info`.
    pub labels: Vec<String>,
    /// `--init` for containers that do not say.
    pub init: bool,
    /// `info` says so.
    pub debug: bool,
    /// Seconds between SIGTERM and SIGKILL when the engine shuts down containers or `stop` names no time.
    pub stop_timeout: i64,
    /// Version of the engine, for `version` and `info`.
    pub version: String,
    /// The commit it was built from.
    pub git_commit: String,
    /// When it was built, RFC 3339.
    pub build_time: String,
}

/// The default bridge, and what networks get when nobody says otherwise; each field has the daemon flag of the same meaning.
#[derive(Clone, Debug)]
pub struct NetworkDefaults {
    /// What holds for all networks. Which of them is the default one is the engine's to fill in.
    pub fabric: FabricConfig,
    /// `--bridge`: the default bridge's link; `None` for an engine without one.
    pub bridge: Option<String>,
    /// A person named the bridge, so that one which is there already is theirs.
    pub bridge_named: bool,
    /// `--bip`.
    pub bip: Option<Ipv4Net>,
    /// `--bip6`.
    pub bip6: Option<Ipv6Net>,
    /// `--fixed-cidr`.
    pub fixed_cidr: Option<Ipv4Net>,
    /// `--fixed-cidr-v6`.
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// `--default-gateway`.
    pub default_gateway: Option<Ipv4Addr>,
    /// `--default-gateway-v6`.
    pub default_gateway_v6: Option<Ipv6Addr>,
    /// `--ipv6`: the default bridge has IPv6 too.
    pub ipv6: bool,
    /// `--mtu` of the default bridge.
    pub mtu: u32,
    /// `--icc` of the default bridge.
    pub icc: bool,
    /// `--ip-masq` of the default bridge.
    pub masquerade: bool,
    /// `--ip`: where ports of the default bridge are published that name no address; `None` for everywhere.
    pub host_ip: Option<IpAddr>,
    /// `--default-network-opt`: options of new networks, by driver.
    pub network_options: BTreeMap<String, StringMap>,
    /// `--host-gateway-ip`: what `host-gateway` means instead of the default bridge's addresses.
    pub host_gateway: Vec<IpAddr>,
}

impl Default for NetworkDefaults {
    fn default() -> Self {
        Self {
            fabric: FabricConfig::default(),
            bridge: Some("minke0".to_owned()),
            bridge_named: false,
            bip: None,
            bip6: None,
            fixed_cidr: None,
            fixed_cidr_v6: None,
            default_gateway: None,
            default_gateway_v6: None,
            ipv6: false,
            mtu: 1500,
            icc: true,
            masquerade: true,
            host_ip: None,
            network_options: BTreeMap::new(),
            host_gateway: Vec::new(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_root: PathBuf::from("/var/lib/minke"),
            exec_root: PathBuf::from("/run/minke"),
            networks: NetworkDefaults::default(),
            isolated_ready: 2,
            blanks: 4,
            keeper_program: PathBuf::from("/proc/self/exe"),
            cgroup_driver: CgroupDriver::Cgroupfs,
            cgroup_parent: "/minke".to_owned(),
            storage_driver: DriverChoice::default(),
            transfers: crate::images::TransferLimits::default(),
            log_driver: "json-file".to_owned(),
            log_options: StringMap::new(),
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            containers: ContainerDefaults::default(),
            registries: minke_registry::Settings::default(),
            labels: Vec::new(),
            init: false,
            debug: false,
            stop_timeout: 10,

            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: String::new(),
            build_time: String::new(),
        }
    }
}
