//! What the options mean: from flags and file to the engine's configuration and the sockets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use minke_api::StringMap;
use minke_engine::images::TransferLimits;
use minke_engine::{CgroupDriver, Config, NetworkDefaults};
use minke_net::{AddressPool, IpNet};
use minke_registry::{Insecure, InvalidSetting, Mirror, Proxies};
use minke_store::rootfs::DriverChoice;

use super::flags::{FLAGS, Given, Value};
use crate::listen::{Address, Protection, TlsFiles};
use crate::settings::Settings;

/// Everything the daemon needs to start.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) engine: Config,
    pub(crate) settings: Settings,
    pub(crate) hosts: Vec<Address>,
    /// `/var/run/docker.sock` too, when nobody else serves it.
    pub(crate) docker_socket: bool,
    pub(crate) group: String,
    /// The group was asked for by name, so that it must exist.
    pub(crate) group_named: bool,
    pub(crate) protection: Protection,
    pub(crate) pidfile: PathBuf,
    pub(crate) log: LogOptions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub(crate) level: tracing::Level,
    pub(crate) colours: bool,
}

/// Typed reading of what was given, with the table's defaults.
pub(crate) struct Reader<'a>(pub(crate) &'a Given);

impl Reader<'_> {
    fn default_of(name: &str) -> &'static str {
        FLAGS.iter().find(|flag| flag.name == name).map_or("", |flag| flag.default)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(flag)) => *flag,
            _ => Self::default_of(name) == "true",
        }
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(Value::Text(text)) => text,
            _ => Self::default_of(name),
        }
    }

    fn number(&self, name: &str) -> i64 {
        match self.0.get(name) {
            Some(Value::Number(number)) => *number,
            _ => Self::default_of(name).parse().unwrap_or(0),
        }
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn map(&self, name: &str) -> StringMap {
        match self.0.get(name) {
            Some(Value::Map(map)) => map.clone(),
            _ => StringMap::new(),
        }
    }

    /// An address or network, absent when empty.
    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, String> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|error| format!("{name}: {text}: {error}")),
        }
    }
}

/// Decides everything; an error is a sentence that names the option.
pub(crate) fn plan(given: &Given) -> Result<Plan, String> {
    let options = Reader(given);
    let level = log_level(&options)?;
    let engine = plan_engine(&options)?;
    let protection = plan_protection(&options);
    let (hosts, docker_socket) = plan_hosts(&options, &engine)?;
    let mut settings = Settings {
        version: engine.version.clone(),
        experimental: options.flag("experimental"),
        debug: options.flag("debug"),
        labels: engine.labels.clone(),
        shutdown_timeout: u64::try_from(options.number("shutdown-timeout")).ok(),
        live_restore: options.flag("live-restore"),
        buildkit: plan_features(&options)?,
        registry_mirrors: options.list("registry-mirror").into_iter().map(with_slash).collect(),
        insecure_registries: options.list("insecure-registry"),
        default_address_pools: Vec::new(),
        warnings: Vec::new(),
    };
    if options.has("default-address-pool") {
        settings.default_address_pools =
            engine.networks.fabric.pools.iter().map(|pool| (pool.base.to_string(), pool.size)).collect();
    }
    if protection.tls.is_none() {
        for host in hosts.iter().filter(|host| matches!(host, Address::Tcp(_))) {
            settings.warnings.push(format!("WARNING: API is accessible on {host} without encryption."));
        }
    }
    let pidfile = match options.text("pidfile") {
        "" => engine.exec_root.join("minke.pid"),
        path => PathBuf::from(path),
    };
    Ok(Plan {
        settings,
        hosts,
        docker_socket,
        group: options.text("group").to_owned(),
        group_named: options.has("group") && !options.text("group").is_empty(),
        protection,
        pidfile,
        log: LogOptions { level, colours: !options.flag("raw-logs") },
        engine,
    })
}

fn plan_engine(options: &Reader<'_>) -> Result<Config, String> {
    let cgroup_driver = plan_cgroup_driver(&options.list("exec-opt"))?;
    let cgroup_parent = match options.text("cgroup-parent") {
        "" => cgroup_driver.default_parent(),
        given => given,
    };
    cgroup_driver.check(cgroup_parent)?;
    let mut config = Config {
        cgroup_driver,
        data_root: absolute(options, "data-root")?,
        exec_root: absolute(options, "exec-root")?,
        cgroup_parent: cgroup_parent.to_owned(),
        transfers: plan_transfers(options)?,
        log_driver: options.text("log-driver").to_owned(),
        log_options: options.map("log-opt"),
        dns: plan_dns(options)?,
        dns_options: options.list("dns-opt"),
        dns_search: options.list("dns-search"),
        labels: plan_labels(options)?,
        init: options.flag("init"),
        containers: super::containers::plan(options)?,
        debug: options.flag("debug"),
        storage_driver: match options.text("storage-driver") {
            "" => DriverChoice::Auto,
            "overlay2" | "overlay" | "overlayfs" => DriverChoice::Overlay,
            "vfs" => DriverChoice::Vfs,
            other => return Err(format!("storage-driver: {other}: want overlay2 or vfs")),
        },
        registries: plan_registries(options)?,
        ..Config::default()
    };
    if !matches!(config.log_driver.as_str(), "json-file" | "local" | "none") {
        return Err(format!("log-driver: {}: want json-file, local or none", config.log_driver));
    }
    config.networks = plan_networks(options)?;
    Ok(config)
}

fn plan_transfers(options: &Reader<'_>) -> Result<TransferLimits, String> {
    let limit = |name: &str| match usize::try_from(options.number(name)) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("invalid {name}: {}: want a number above 0", options.number(name))),
    };
    Ok(TransferLimits {
        downloads: limit("max-concurrent-downloads")?,
        uploads: limit("max-concurrent-uploads")?,
    })
}

fn plan_registries(options: &Reader<'_>) -> Result<minke_registry::Settings, String> {
    let said = |name: &str| Some(options.text(name).to_owned()).filter(|text| !text.is_empty());
    let proxies = Proxies { http: said("http-proxy"), https: said("https-proxy"), none: said("no-proxy") };
    let settings = minke_registry::Settings {
        insecure: each(&options.list("insecure-registry"), Insecure::parse)?,
        mirrors: each(&options.list("registry-mirror"), Mirror::parse)?,
        proxies: proxies.or(Proxies::from_environment()),
        attempts: match options.number("max-download-attempts") {
            number @ 1..=100 => u32::try_from(number).unwrap_or(1),
            number => return Err(format!("invalid max download attempts: {number}")),
        },
        ..minke_registry::Settings::default()
    };
    settings.proxies.check().map_err(|error| error.to_string())?;
    Ok(settings)
}

fn each<T>(texts: &[String], read: fn(&str) -> Result<T, InvalidSetting>) -> Result<Vec<T>, String> {
    texts.iter().map(|text| read(text).map_err(|error| error.to_string())).collect()
}

/// The only runtime option there is; the last one given counts.
fn plan_cgroup_driver(given: &[String]) -> Result<CgroupDriver, String> {
    let mut driver = CgroupDriver::default();
    for text in given {
        driver = match text.split_once('=') {
            Some(("native.cgroupdriver", "cgroupfs")) => CgroupDriver::Cgroupfs,
            Some(("native.cgroupdriver", "systemd")) => CgroupDriver::Systemd,
            Some(("native.cgroupdriver", other)) => {
                return Err(format!(
                    "exec-opt: native.cgroupdriver option {other:?} is invalid: want cgroupfs or systemd"
                ));
            }
            _ => {
                return Err(format!(
                    "exec-opt: {text:?} is unknown: there is native.cgroupdriver=cgroupfs|systemd"
                ));
            }
        };
    }
    Ok(driver)
}

fn plan_networks(options: &Reader<'_>) -> Result<NetworkDefaults, String> {
    let mut networks = NetworkDefaults {
        bridge: match options.text("bridge") {
            "none" => None,
            name => Some(name.to_owned()),
        },
        bridge_named: options.has("bridge"),
        bip: options.parsed("bip")?,
        bip6: options.parsed("bip6")?,
        fixed_cidr: options.parsed("fixed-cidr")?,
        fixed_cidr_v6: options.parsed("fixed-cidr-v6")?,
        default_gateway: options.parsed("default-gateway")?,
        default_gateway_v6: options.parsed("default-gateway-v6")?,
        ipv6: options.flag("ipv6"),
        icc: options.flag("icc"),
        masquerade: options.flag("ip-masq"),
        host_ip: options.parsed::<IpAddr>("ip")?.filter(|address| *address != IpAddr::from([0, 0, 0, 0])),
        network_options: plan_network_options(options)?,
        host_gateway: plan_addresses(options, "host-gateway-ip")?,
        ..NetworkDefaults::default()
    };
    if let Some(name) = &networks.bridge
        && (name.is_empty() || name.len() > 15 || name.contains(['/', ' ', '%']))
    {
        return Err(format!("bridge: {name:?} is no name a network link may have"));
    }
    networks.mtu = match options.number("mtu") {
        0 => networks.mtu,
        mtu => u32::try_from(mtu)
            .ok()
            .filter(|mtu| (68..=65535).contains(mtu))
            .ok_or(format!("mtu: {mtu} is out of range (68 to 65535)"))?,
    };
    let fabric = &mut networks.fabric;
    fabric.ip_forward = options.flag("ip-forward");
    fabric.forward_guard = !options.flag("ip-forward-no-drop");
    fabric.firewall = options.flag("iptables");
    fabric.userland_proxy = options.flag("userland-proxy");
    if options.has("default-address-pool") {
        fabric.pools =
            options.list("default-address-pool").iter().map(|text| pool(text)).collect::<Result<_, _>>()?;
    }
    check_networks(&networks)?;
    Ok(networks)
}

/// What cannot be had together.
fn check_networks(networks: &NetworkDefaults) -> Result<(), String> {
    if !networks.icc && !networks.fabric.firewall {
        return Err(
            "You specified --iptables=false with --icc=false. ICC=false uses iptables to function. Please set --icc or --iptables to true"
                .to_owned(),
        );
    }
    let inside = |subnet: Option<IpNet>, what: &str, address: Option<IpAddr>, text: Option<String>| match (
        subnet, address, text,
    ) {
        (Some(subnet), Some(address), Some(text)) if !subnet.contains(address) => {
            Err(format!("{what}: {text} is not in the default bridge's subnet {}", subnet.network()))
        }
        _ => Ok(()),
    };
    let (bip, bip6) = (networks.bip.map(IpNet::V4), networks.bip6.map(IpNet::V6));
    let subnet = bip.or(networks.fixed_cidr.map(IpNet::V4));
    let subnet6 = bip6.or(networks.fixed_cidr_v6.map(IpNet::V6));
    for (subnet, what, net) in [
        (bip, "fixed-cidr", networks.fixed_cidr.map(IpNet::V4)),
        (bip6, "fixed-cidr-v6", networks.fixed_cidr_v6.map(IpNet::V6)),
    ] {
        inside(subnet, what, net.map(IpNet::address), net.map(|net| net.to_string()))?;
        if let (Some(subnet), Some(net)) = (subnet, net)
            && net.prefix() < subnet.prefix()
        {
            return Err(format!("{what}: {net} is not in the default bridge's subnet {}", subnet.network()));
        }
    }
    for (what, bip) in [("bip", bip), ("bip6", bip6)] {
        if let Some(bip) = bip
            && bip.network().address() == bip.address()
            && bip.prefix() < if bip.is_v6() { 127 } else { 31 }
        {
            return Err(format!(
                "{what}: {bip} is the network's own address: give the bridge's, as in the address after it"
            ));
        }
    }
    let gateway = networks.default_gateway.map(IpAddr::V4);
    inside(subnet, "default-gateway", gateway, gateway.map(|address| address.to_string()))?;
    let gateway = networks.default_gateway_v6.map(IpAddr::V6);
    inside(subnet6, "default-gateway-v6", gateway, gateway.map(|address| address.to_string()))
}

/// `bridge=com.docker.network.driver.mtu=1400` as a flag, `{"bridge": {"com.docker.network.driver.mtu": "1400"}}` in the file.
fn plan_network_options(options: &Reader<'_>) -> Result<BTreeMap<String, StringMap>, String> {
    let mut read: BTreeMap<String, StringMap> = BTreeMap::new();
    for text in options.list("default-network-opt") {
        let wrong = || format!("default-network-opt: {text}: want DRIVER=OPTION=VALUE");
        let (driver, rest) =
            text.split_once('=').filter(|(driver, _)| !driver.is_empty()).ok_or_else(wrong)?;
        let map = read.entry(driver.to_owned()).or_default();
        if rest.starts_with('{') {
            map.extend(serde_json::from_str::<StringMap>(rest).map_err(|_source| wrong())?);
        } else {
            let (key, value) = rest.split_once('=').ok_or_else(wrong)?;
            map.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(read)
}

fn plan_addresses(options: &Reader<'_>, name: &str) -> Result<Vec<IpAddr>, String> {
    let read = |text: &String| text.parse().map_err(|_source| format!("{name}: {text} is not an IP address"));
    options.list(name).iter().map(read).collect()
}

fn absolute(options: &Reader<'_>, name: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(options.text(name));
    if path.is_absolute() {
        return Ok(path);
    }
    std::path::absolute(&path).map_err(|error| format!("{name}: {}: {error}", path.display()))
}

fn plan_dns(options: &Reader<'_>) -> Result<Vec<String>, String> {
    let servers = options.list("dns");
    match servers.iter().find(|server| server.parse::<std::net::IpAddr>().is_err()) {
        Some(bad) => Err(format!("dns: {bad} is not an IP address")),
        None => Ok(servers),
    }
}

fn plan_labels(options: &Reader<'_>) -> Result<Vec<String>, String> {
    let labels = options.list("label");
    for (index, label) in labels.iter().enumerate() {
        let Some((key, value)) = label.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("bad attribute format: {label}"));
        };
        let earlier = labels[..index].iter().find(|other| other.split('=').next() == Some(key));
        if let Some(earlier) =
            earlier.filter(|earlier| earlier.split_once('=').is_none_or(|(_, other)| other != value))
        {
            return Err(format!("conflict labels for {key}={value} and {earlier}"));
        }
    }
    Ok(labels)
}

/// `base=10.0.0.0/8,size=24`
fn pool(text: &str) -> Result<AddressPool, String> {
    let (mut base, mut size) = (None, None);
    for pair in text.split(',') {
        match pair.split_once('=') {
            Some(("base", value)) => {
                let net = value
                    .parse::<IpNet>()
                    .map_err(|error| format!("default-address-pool: {value}: {error}"))?;
                base = Some(net);
            }
            Some(("size", value)) => size = value.parse::<u8>().ok(),
            _ => return Err(format!("default-address-pool: {pair}: want base=CIDR,size=PREFIX")),
        }
    }
    match (base, size) {
        (Some(base), Some(size)) if size >= base.prefix() && size <= if base.is_v6() { 128 } else { 32 } => {
            Ok(AddressPool { base, size })
        }
        _ => Err(format!("default-address-pool: {text}: want base=CIDR,size=PREFIX")),
    }
}

/// The only feature that means something here is the builder that clients are told to use.
fn plan_features(options: &Reader<'_>) -> Result<bool, String> {
    let mut buildkit = true;
    for (name, value) in options.map("feature") {
        match (name.as_str(), value.as_str()) {
            ("buildkit", "true" | "1" | "") => buildkit = true,
            ("buildkit", "false" | "0") => buildkit = false,
            (_, "false" | "0") => {}
            (name, value) => {
                return Err(format!("features: {name}={value} is not possible: there is no such feature"));
            }
        }
    }
    Ok(buildkit)
}

fn plan_protection(options: &Reader<'_>) -> Protection {
    let path =
        |name: &str| Some(PathBuf::from(options.text(name))).filter(|path| !path.as_os_str().is_empty());
    let verify = options.flag("tlsverify");
    let tls = (verify || options.flag("tls")).then(|| TlsFiles {
        certificate: path("tlscert"),
        key: path("tlskey"),
        authority: path("tlscacert"),
        verify,
    });
    let force_plain = tls.is_none() && (options.has("tls") || options.has("tlsverify"));
    Protection { tls, force_plain }
}

/// Without `-H`: the socket in the exec-root, and Docker's own when this is the machine's default engine.
fn plan_hosts(options: &Reader<'_>, engine: &Config) -> Result<(Vec<Address>, bool), String> {
    let given = options.list("host");
    if given.is_empty() {
        let own = engine.exec_root == Config::default().exec_root;
        return Ok((vec![Address::Unix(engine.exec_root.join("minke.sock"))], own));
    }
    let mut hosts: Vec<Address> = Vec::new();
    for text in given {
        let address = text.parse::<Address>().map_err(|error| error.to_string())?;
        if !hosts.contains(&address) {
            hosts.push(address);
        }
    }
    Ok((hosts, false))
}

fn log_level(options: &Reader<'_>) -> Result<tracing::Level, String> {
    if options.flag("debug") {
        return Ok(tracing::Level::DEBUG);
    }
    Ok(match options.text("log-level").to_ascii_lowercase().as_str() {
        "trace" => tracing::Level::TRACE,
        "debug" => tracing::Level::DEBUG,
        "info" => tracing::Level::INFO,
        "warn" | "warning" => tracing::Level::WARN,
        "error" | "fatal" | "panic" => tracing::Level::ERROR,
        other => return Err(format!("invalid logging level: {other}")),
    })
}

fn with_slash(mirror: String) -> String {
    if mirror.ends_with('/') { mirror } else { mirror + "/" }
}

#[cfg(test)]
mod tests {
    use super::super::flags;
    use super::*;

    fn planned(words: &[&str]) -> Result<Plan, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        plan(&flags::parse(&words).unwrap())
    }

    #[test]
    fn the_defaults_are_the_design_s() {
        let plan = planned(&[]).unwrap();
        assert_eq!(plan.engine.data_root, PathBuf::from("/var/lib/minke"));
        assert_eq!(plan.hosts, [Address::Unix("/run/minke/minke.sock".into())]);
        assert!(plan.docker_socket);
        assert_eq!(plan.pidfile, PathBuf::from("/run/minke/minke.pid"));
        assert!(plan.engine.networks.icc && plan.engine.networks.masquerade);
    }

    #[test]
    fn a_private_daemon_leaves_docker_s_socket_alone() {
        let plan = planned(&["--exec-root", "/tmp/x"]).unwrap();
        assert_eq!(plan.hosts, [Address::Unix("/tmp/x/minke.sock".into())]);
        assert!(!plan.docker_socket);
        assert!(!planned(&["-H", "unix:///y"]).unwrap().docker_socket);
    }

    #[test]
    fn the_cgroup_driver_brings_its_own_parent() {
        let engine = planned(&[]).unwrap().engine;
        assert_eq!((engine.cgroup_driver, &*engine.cgroup_parent), (CgroupDriver::Cgroupfs, "/minke"));
        let systemd = "native.cgroupdriver=systemd";
        let engine = planned(&["--exec-opt", systemd]).unwrap().engine;
        assert_eq!((engine.cgroup_driver, &*engine.cgroup_parent), (CgroupDriver::Systemd, "system.slice"));
        let wrong = planned(&["--exec-opt", systemd, "--cgroup-parent", "/x"]).unwrap_err();
        assert!(wrong.contains("xxx.slice"), "{wrong}");
        for (given, expected) in
            [("native.cgroupdriver=x", "option \"x\" is invalid"), ("foo=bar", "is unknown")]
        {
            let error = planned(&["--exec-opt", given]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn wrong_values_are_told_by_option() {
        for (words, expected) in [
            (&["--bip", "x"][..], "bip: x"),
            (&["--mtu", "12"], "mtu: 12 is out of range"),
            (&["--bip", "192.168.0.128/25"], "bip: 192.168.0.128/25 is the network's own address"),
            (
                &["--bip", "192.168.0.129/25", "--fixed-cidr", "10.0.0.0/26"],
                "fixed-cidr: 10.0.0.0/26 is not in the default bridge's subnet 192.168.0.128/25",
            ),
            (
                &["--bip", "10.0.0.1/24", "--default-gateway", "10.0.1.1"],
                "default-gateway: 10.0.1.1 is not in",
            ),
            (&["--icc=false", "--iptables=false"], "You specified --iptables=false with --icc=false."),
            (&["--default-network-opt", "bridge"], "default-network-opt: bridge: want"),
            (&["--dns", "foo"], "dns: foo is not an IP address"),
            (&["--label", "foo"], "bad attribute format: foo"),
            (&["--label", "a=1", "--label", "a=2"], "conflict labels for a=2 and a=1"),
            (&["-H", "foo://x"], "\"foo://x\" is no address"),
            (&["-l", "loud"], "invalid logging level: loud"),
            (&["--default-address-pool", "base=10.0.0.0/8"], "default-address-pool: "),
            (&["--feature", "warp=true"], "features: warp"),
            (&["--log-driver", "syslog"], "log-driver: syslog"),
            (&["--storage-driver", "zfs"], "storage-driver: zfs"),
            (&["--bridge", "a-name-that-is-too-long"], "bridge: "),
        ] {
            let error = planned(words).unwrap_err();
            assert!(error.starts_with(expected), "{words:?}: {error}");
        }
    }

    #[test]
    fn the_default_bridge_is_planned_from_dockerd_s_options() {
        let words = [
            "--bip",
            "192.168.0.129/25",
            "--fixed-cidr",
            "192.168.0.192/26",
            "--mtu",
            "1200",
            "--ip",
            "10.0.0.1",
            "--ipv6",
            "--fixed-cidr-v6",
            "fd00::/64",
            "--userland-proxy=false",
            "--default-network-opt",
            "bridge=com.docker.network.driver.mtu=1300",
            "--default-network-opt",
            "bridge=com.docker.network.bridge.enable_icc=false",
            "--host-gateway-ip",
            "10.9.9.9",
        ];
        let networks = planned(&words).unwrap().engine.networks;
        assert_eq!(networks.bip, Some("192.168.0.129/25".parse().unwrap()));
        assert_eq!(networks.fixed_cidr_v6, Some("fd00::/64".parse().unwrap()));
        assert_eq!((networks.mtu, networks.ipv6, networks.fabric.userland_proxy), (1200, true, false));
        assert_eq!(networks.host_ip, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(networks.network_options["bridge"].len(), 2);
        assert_eq!(networks.host_gateway, ["10.9.9.9".parse::<IpAddr>().unwrap()]);
        assert!(planned(&["--bridge", "none"]).unwrap().engine.networks.bridge.is_none());
        assert_eq!(planned(&["--ip", "0.0.0.0"]).unwrap().engine.networks.host_ip, None);
    }

    #[test]
    fn plain_tcp_is_warned_of_and_forced_only_in_words() {
        let plan = planned(&["-H", "tcp://0.0.0.0:2375", "--tls=false"]).unwrap();
        assert!(plan.protection.force_plain);
        assert_eq!(plan.settings.warnings.len(), 1);
        assert!(!planned(&["-H", "tcp://0.0.0.0:2375"]).unwrap().protection.force_plain);
        assert!(planned(&["--tlsverify"]).unwrap().protection.tls.unwrap().verify);
    }
}
