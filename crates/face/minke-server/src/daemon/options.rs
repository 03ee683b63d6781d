//! What the options mean: from flags and file to the engine's configuration and the sockets.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use minke_api::StringMap;
use minke_engine::{CgroupDriver, Config};
use minke_net::{AddressPool, IpNet};
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

    fn list(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    fn map(&self, name: &str) -> StringMap {
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
        shutdown_timeout: u64::try_from(options.number("shutdown-timeout")).unwrap_or(u64::MAX),
        buildkit: plan_features(&options)?,
        registry_mirrors: options.list("registry-mirror").into_iter().map(with_slash).collect(),
        insecure_registries: options.list("insecure-registry"),
        default_address_pools: Vec::new(),
        warnings: Vec::new(),
    };
    if options.has("default-address-pool") {
        settings.default_address_pools =
            engine.bridge.pools.iter().map(|pool| (pool.base.to_string(), pool.size)).collect();
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
        log_driver: options.text("log-driver").to_owned(),
        log_options: options.map("log-opt"),
        dns: plan_dns(options)?,
        dns_options: options.list("dns-opt"),
        dns_search: options.list("dns-search"),
        labels: plan_labels(options)?,
        init: options.flag("init"),
        debug: options.flag("debug"),
        storage_driver: match options.text("storage-driver") {
            "" => DriverChoice::Auto,
            "overlay2" | "overlay" | "overlayfs" => DriverChoice::Overlay,
            "vfs" => DriverChoice::Vfs,
            other => return Err(format!("storage-driver: {other}: want overlay2 or vfs")),
        },
        ..Config::default()
    };
    if !matches!(config.log_driver.as_str(), "json-file" | "local" | "none") {
        return Err(format!("log-driver: {}: want json-file, local or none", config.log_driver));
    }
    let bridge = &mut config.bridge;
    bridge.name = match options.text("bridge") {
        "none" => return Err("bridge: running without a default bridge is not built yet".to_owned()),
        name => name.to_owned(),
    };
    if bridge.name.is_empty() || bridge.name.len() > 15 || bridge.name.contains(['/', ' ', '%']) {
        return Err(format!("bridge: {:?} is no name a network link may have", bridge.name));
    }
    bridge.bip = options.parsed("bip")?;
    bridge.fixed_cidr = options.parsed("fixed-cidr")?;
    bridge.default_gateway = options.parsed::<Ipv4Addr>("default-gateway")?;
    bridge.mtu = match options.number("mtu") {
        0 => bridge.mtu,
        mtu => u32::try_from(mtu)
            .ok()
            .filter(|mtu| (68..=65535).contains(mtu))
            .ok_or(format!("mtu: {mtu} is out of range (68 to 65535)"))?,
    };
    bridge.icc = options.flag("icc");
    bridge.masquerade = options.flag("ip-masq");
    bridge.ip_forward = options.flag("ip-forward");
    bridge.forward_guard = !options.flag("ip-forward-no-drop");
    bridge.firewall = options.flag("iptables");
    if options.has("default-address-pool") {
        bridge.pools =
            options.list("default-address-pool").iter().map(|text| pool(text)).collect::<Result<_, _>>()?;
    }
    Ok(config)
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
        assert!(plan.engine.bridge.icc && plan.engine.bridge.masquerade);
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
    fn plain_tcp_is_warned_of_and_forced_only_in_words() {
        let plan = planned(&["-H", "tcp://0.0.0.0:2375", "--tls=false"]).unwrap();
        assert!(plan.protection.force_plain);
        assert_eq!(plan.settings.warnings.len(), 1);
        assert!(!planned(&["-H", "tcp://0.0.0.0:2375"]).unwrap().protection.force_plain);
        assert!(planned(&["--tlsverify"]).unwrap().protection.tls.unwrap().verify);
    }
}
