//! The daemon's options: dockerd's own names, as flags and as keys of daemon.json, in one table.
//!
//! Each option works, or is refused with a sentence unless its value is what happens anyway. The table is the only place
//! that knows which; reading flags, reading the file and printing the help all walk over it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How an option's value looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Bool,
    Text,
    Number,
    /// May be given again; a list in the file.
    List,
    /// `key=value`, may be given again; an object in the file.
    Map,
    /// A list of objects in the file, `key=value,key=value` as a flag.
    Records,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    Text(String),
    Number(i64),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

impl std::fmt::Display for Value {
    /// As Go prints it: clients and people know `[a b]` and `map[a:b]`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::List(items) => write!(f, "[{}]", items.join(" ")),
            Self::Map(map) => {
                let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                write!(f, "map[{}]", pairs.join(" "))
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Support {
    Works,
    /// Refused unless the value is one of these, which are what happens anyway.
    Refused {
        unless: &'static [&'static str],
        because: &'static str,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    /// The key in daemon.json; empty when it is a flag only.
    pub(crate) key: &'static str,
    pub(crate) shape: Shape,
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    pub(crate) support: Support,
}

const fn works(name: &'static str, shape: Shape, default: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, key: name, shape, default, help, support: Support::Works }
}

const fn refused(
    name: &'static str,
    shape: Shape,
    unless: &'static [&'static str],
    help: &'static str,
    because: &'static str,
) -> Flag {
    Flag {
        name,
        short: None,
        key: name,
        shape,
        default: "",
        help,
        support: Support::Refused { unless, because },
    }
}

impl Flag {
    const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    const fn key(mut self, key: &'static str) -> Self {
        self.key = key;
        self
    }

    /// The value's name in the help.
    fn placeholder(&self) -> &'static str {
        match self.shape {
            Shape::Bool => "",
            Shape::Text => "string",
            Shape::Number => "int",
            Shape::List => "list",
            Shape::Map => "map",
            Shape::Records => "options",
        }
    }
}

use Shape::{Bool, List, Map, Number, Records, Text};

const FAMILIES: &str = "minke writes the rules of both families or of none, as --iptables says";
const DIRECT: &str = "containers are reached from outside by published ports only";
const CDI: &str = "CDI is not built yet: name device nodes with --device";
const REAL_TIME: &str = "set it in the parent's cgroup: /sys/fs/cgroup/cpu/minke/cpu.rt_runtime_us";
const LABELS: &str = "minke sets no SELinux labels";
const USERNS: &str = "containers share the host's user namespace";
const SWARM: &str = "swarm mode is not built yet";
const CONTAINERD: &str = "minke runs containers itself and has no containerd";

/// All options, by name.
pub(crate) const FLAGS: &[Flag] = &[
    works("add-runtime", Map, "", "Register an OCI runtime: NAME=PATH").key("runtimes"),
    refused(
        "allow-direct-routing",
        Bool,
        &["false"],
        "Let others reach published ports on container addresses",
        DIRECT,
    ),
    refused("authorization-plugin", List, &[], "Authorization plugins to load", "plugins are not built yet")
        .key("authorization-plugins"),
    works("bip", Text, "", "IPv4 address and prefix of the default bridge"),
    works("bip6", Text, "", "IPv6 address and prefix of the default bridge"),
    works(
        "bridge",
        Text,
        "minke0",
        "Link of the default bridge, made when there is none; none for no bridge",
    )
    .short('b'),
    refused("cdi-spec-dir", List, &[], "Directories of CDI specifications", CDI).key("cdi-spec-dirs"),
    works("cgroup-parent", Text, "", "Parent cgroup of all containers (/minke; with systemd, system.slice)"),
    works("config-file", Text, "/etc/minke/daemon.json", "The daemon's configuration file").key(""),
    refused("containerd", Text, &[], "Address of containerd", CONTAINERD),
    refused("containerd-namespace", Text, &["moby"], "Namespace in containerd", CONTAINERD),
    refused(
        "containerd-plugins-namespace",
        Text,
        &["plugins.moby"],
        "Namespace of plugins in containerd",
        CONTAINERD,
    ),
    refused(
        "cpu-rt-period",
        Number,
        &["0"],
        "Real-time period of the parent cgroup in microseconds",
        REAL_TIME,
    ),
    refused(
        "cpu-rt-runtime",
        Number,
        &["0"],
        "Real-time runtime of the parent cgroup in microseconds",
        REAL_TIME,
    ),
    refused("cri-containerd", Bool, &["false"], "Start containerd with CRI", CONTAINERD),
    works("data-root", Text, "/var/lib/minke", "Where images, containers and records are kept"),
    works("debug", Bool, "false", "Log everything").short('D'),
    works("default-address-pool", Records, "", "Address pools for networks: base=CIDR,size=PREFIX")
        .key("default-address-pools"),
    works("default-cgroupns-mode", Text, "", "Cgroup namespace of containers: host or private"),
    works("default-gateway", Text, "", "IPv4 gateway of the default bridge"),
    works("default-gateway-v6", Text, "", "IPv6 gateway of the default bridge"),
    works("default-ipc-mode", Text, "private", "IPC namespace of containers: private or shareable"),
    works("default-network-opt", Records, "", "Options of new networks: DRIVER=OPTION=VALUE")
        .key("default-network-opts"),
    works("default-runtime", Text, "minke", "Runtime of containers"),
    works("default-shm-size", Text, "64MiB", "Size of /dev/shm in containers"),
    works("default-ulimit", Records, "", "Ulimits of containers: name=soft:hard").key("default-ulimits"),
    works("dns", List, "", "Name servers of containers"),
    works("dns-opt", List, "", "Resolver options of containers").key("dns-opts"),
    works("dns-search", List, "", "Search domains of containers"),
    works("exec-opt", List, "", "Runtime options: native.cgroupdriver=cgroupfs or systemd").key("exec-opts"),
    works("exec-root", Text, "/run/minke", "Where sockets and run state are kept"),
    works("experimental", Bool, "false", "Say that experimental features are on"),
    works("feature", Map, "", "Features: buildkit=true or false chooses the builder clients are told")
        .key("features"),
    refused("firewall-backend", Text, &["nftables"], "Firewall backend", "minke writes nftables rules only"),
    works("fixed-cidr", Text, "", "Part of the default bridge's subnet that containers get addresses from"),
    works("fixed-cidr-v6", Text, "", "IPv6 subnet of the default bridge"),
    works("group", Text, "docker", "Group that may use the unix sockets").short('G'),
    works("help", Bool, "false", "Print this help").key(""),
    works("host", List, "", "Where to listen: unix://PATH, tcp://HOST:PORT, fd://").short('H').key("hosts"),
    works("host-gateway-ip", List, "", "Addresses that host-gateway stands for").key("host-gateway-ips"),
    works("http-proxy", Text, "", "Proxy of http traffic to registries"),
    works("https-proxy", Text, "", "Proxy of https traffic to registries"),
    works("icc", Bool, "true", "Let containers of the default bridge talk to each other"),
    works("init", Bool, "false", "Run an init in containers that do not say"),
    refused("init-path", Text, &[], "Path of the init program", "minke carries its own init"),
    works("insecure-registry", List, "", "Registries to speak to without TLS").key("insecure-registries"),
    works("ip", Text, "0.0.0.0", "Host address of published ports that name none"),
    works("ip-forward", Bool, "true", "Switch routing on"),
    works(
        "ip-forward-no-drop",
        Bool,
        "false",
        "Leave forwarding of other traffic open after switching routing on",
    ),
    works("ip-masq", Bool, "true", "Give the host's address to traffic that leaves the host"),
    refused("ip6tables", Bool, &["true"], "Write IPv6 rules", FAMILIES),
    works("iptables", Bool, "true", "Write firewall rules"),
    works("ipv6", Bool, "false", "IPv6 on the default bridge"),
    works("label", List, "", "Labels of the daemon: key=value").key("labels"),
    works("live-restore", Bool, "true", "Containers outlive the daemon; =false stops them with it"),
    works("log-driver", Text, "json-file", "Log driver of containers"),
    refused(
        "log-format",
        Text,
        &["text"],
        "Format of the daemon's log: text or json",
        "the daemon logs text only",
    ),
    works("log-level", Text, "info", "What the daemon logs: debug, info, warn, error or fatal").short('l'),
    works("log-opt", Map, "", "Options of the log driver").key("log-opts"),
    works("max-concurrent-downloads", Number, "3", "Layers to download at once"),
    works("max-concurrent-uploads", Number, "5", "Layers of a push to upload at once"),
    works("max-download-attempts", Number, "5", "How often to try a transfer that gets nowhere"),
    refused("metrics-addr", Text, &[], "Where to serve metrics", "metrics are not built yet"),
    works("mtu", Number, "1500", "MTU of the default bridge"),
    refused("network-control-plane-mtu", Number, &["1500"], "MTU of the control plane", SWARM),
    works("no-new-privileges", Bool, "false", "Set no_new_privs in containers that do not say"),
    works("no-proxy", Text, "", "Hosts to reach without the proxy"),
    refused("node-generic-resource", List, &[], "Resources of the node", SWARM).key("node-generic-resources"),
    refused("oom-score-adjust", Number, &["0"], "OOM score of the daemon", "set it with the service manager"),
    works("pidfile", Text, "", "Where to write the daemon's process id (default EXEC-ROOT/minke.pid)")
        .short('p'),
    works("raw-logs", Bool, "false", "Log without colours"),
    works("registry-mirror", List, "", "Mirrors of the default registry").key("registry-mirrors"),
    refused("rootless", Bool, &["false"], "Run without root", "rootless mode is not built yet"),
    works("seccomp-profile", Text, "builtin", "Seccomp profile of containers: a file, builtin or unconfined"),
    refused("selinux-enabled", Bool, &["false"], "SELinux labels", LABELS),
    works(
        "shutdown-timeout",
        Number,
        "15",
        "Seconds that requests under way, and containers that end with it, get when the daemon is told to end",
    ),
    works("storage-driver", Text, "", "Storage driver: overlay2 or vfs").short('s'),
    refused("storage-opt", List, &[], "Options of the storage driver", "the storage drivers have no options")
        .key("storage-opts"),
    refused("swarm-default-advertise-addr", Text, &[], "Address of the node", SWARM),
    works("tls", Bool, "false", "Use TLS on TCP; --tls=false forces plain TCP beyond loopback"),
    works("tlscacert", Text, "", "Certificates of the authority that signs clients"),
    works("tlscert", Text, "", "The daemon's certificate"),
    works("tlskey", Text, "", "The daemon's key"),
    works("tlsverify", Bool, "false", "Use TLS and ask clients for a certificate"),
    works("userland-proxy", Bool, "true", "Carry what the kernel's rules cannot to published ports"),
    refused("userland-proxy-path", Text, &[], "Path of the proxy", "minke carries its own proxy"),
    refused("userns-remap", Text, &[], "User namespace of containers", USERNS),
    works("validate", Bool, "false", "Check the configuration and end").key(""),
    works("version", Bool, "false", "Print the version and end").short('v').key(""),
];

/// Options that were given somewhere, by flag name.
pub(crate) type Given = BTreeMap<&'static str, Value>;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FlagError {
    #[error("unknown flag: {0}")]
    Unknown(String),
    #[error("unknown shorthand flag: '{letter}' in -{word}")]
    UnknownShort { letter: char, word: String },
    #[error("flag needs an argument: {0}")]
    NoValue(String),
    #[error("invalid argument \"{value}\" for \"--{name}\" flag: {why}")]
    BadValue { name: &'static str, value: String, why: String },
    #[error("\"minke daemon\" accepts no arguments, but \"{0}\" was given")]
    Argument(String),
    #[error("--{name}={value} is not possible: {because}")]
    Refused { name: &'static str, value: String, because: &'static str },
}

/// Reads the command line.
pub(crate) fn parse(args: &[String]) -> Result<Given, FlagError> {
    let mut given = Given::new();
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        if let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let flag = FLAGS
                .iter()
                .find(|flag| flag.name == name)
                .ok_or_else(|| FlagError::Unknown(format!("--{name}")))?;
            let value = match (value, flag.shape) {
                (Some(value), _) => value,
                (None, Shape::Bool) => "true".to_owned(),
                (None, _) => rest.next().cloned().ok_or_else(|| FlagError::NoValue(format!("--{name}")))?,
            };
            put(&mut given, flag, &value)?;
        } else if let Some(letters) =
            word.strip_prefix('-').filter(|letters| !letters.is_empty() && *letters != "-")
        {
            parse_short(letters, &mut rest, &mut given)?;
        } else {
            return Err(FlagError::Argument(word.clone()));
        }
    }
    Ok(given)
}

/// `-D`, `-Hvalue`, `-H=value`, `-H value`, `-DH value`.
fn parse_short<'a>(
    letters: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    given: &mut Given,
) -> Result<(), FlagError> {
    let mut tail = letters;
    while let Some(letter) = tail.chars().next() {
        tail = &tail[letter.len_utf8()..];
        let flag = FLAGS
            .iter()
            .find(|flag| flag.short == Some(letter))
            .ok_or_else(|| FlagError::UnknownShort { letter, word: letters.to_owned() })?;
        if flag.shape == Shape::Bool && !tail.starts_with('=') {
            put(given, flag, "true")?;
            continue;
        }
        let value = if tail.is_empty() {
            rest.next().cloned().ok_or_else(|| FlagError::NoValue(format!("'{letter}' in -{letters}")))?
        } else {
            tail.strip_prefix('=').unwrap_or(tail).to_owned()
        };
        return put(given, flag, &value);
    }
    Ok(())
}

fn put(given: &mut Given, flag: &Flag, text: &str) -> Result<(), FlagError> {
    let bad =
        |why: &str| FlagError::BadValue { name: flag.name, value: text.to_owned(), why: why.to_owned() };
    let value = match flag.shape {
        Shape::Bool => Value::Bool(parse_bool(text).ok_or_else(|| bad("want true or false"))?),
        Shape::Text => Value::Text(text.to_owned()),
        Shape::Number => {
            Value::Number(text.parse().map_err(|error: std::num::ParseIntError| bad(&error.to_string()))?)
        }
        Shape::List | Shape::Records => {
            let mut list = match given.remove(flag.name) {
                Some(Value::List(list)) => list,
                _ => Vec::new(),
            };
            list.push(text.to_owned());
            Value::List(list)
        }
        Shape::Map => {
            let (key, value) = text.split_once('=').ok_or_else(|| bad("want key=value"))?;
            let mut map = match given.remove(flag.name) {
                Some(Value::Map(map)) => map,
                _ => BTreeMap::new(),
            };
            map.insert(key.to_owned(), value.to_owned());
            Value::Map(map)
        }
    };
    check_support(flag, &value)?;
    given.insert(flag.name, value);
    Ok(())
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Whether the value is one that can be had.
pub(crate) fn check_support(flag: &Flag, value: &Value) -> Result<(), FlagError> {
    let Support::Refused { unless, because } = flag.support else { return Ok(()) };
    let harmless = match value {
        Value::List(items) => items.iter().all(|item| unless.contains(&item.as_str())),
        Value::Map(map) => map.is_empty(),
        Value::Text(text) => text.is_empty() || unless.contains(&text.as_str()),
        other => unless.contains(&other.to_string().as_str()),
    };
    if harmless {
        return Ok(());
    }
    Err(FlagError::Refused { name: flag.name, value: value.to_string(), because })
}

/// What `--help` prints.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "\nUsage:  minke daemon [OPTIONS]\n\nRuns the engine: images, containers, networks, and the API that clients \
         speak to.\n\nOptions:\n",
    );
    for flag in FLAGS {
        let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
        let head = format!("  {short}--{} {}", flag.name, flag.placeholder());
        let default = match flag.default {
            "" | "false" => String::new(),
            default => format!(" (default {default})"),
        };
        let refused = match flag.support {
            Support::Works => String::new(),
            Support::Refused { because, .. } => format!(" (refused: {because})"),
        };
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{head:<43} {}{default}{refused}", flag.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn flags_come_in_every_form() {
        let given = parse(&args(&[
            "--icc=false",
            "-DH",
            "unix:///a",
            "-Hunix:///b",
            "--mtu",
            "1400",
            "--log-opt",
            "a=b",
        ]));
        let given = given.unwrap();
        assert_eq!(given["icc"], Value::Bool(false));
        assert_eq!(given["debug"], Value::Bool(true));
        assert_eq!(given["host"], Value::List(args(&["unix:///a", "unix:///b"])));
        assert_eq!(given["mtu"], Value::Number(1400));
        assert_eq!(given["log-opt"].to_string(), "map[a:b]");
    }

    #[test]
    fn unknown_flags_and_words_are_named() {
        assert_eq!(parse(&args(&["--nosuch"])).unwrap_err().to_string(), "unknown flag: --nosuch");
        assert_eq!(parse(&args(&["-x"])).unwrap_err().to_string(), "unknown shorthand flag: 'x' in -x");
        assert_eq!(parse(&args(&["--bip"])).unwrap_err().to_string(), "flag needs an argument: --bip");
        assert!(matches!(parse(&args(&["foo"])), Err(FlagError::Argument(_))));
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_a_reason() {
        let error = parse(&args(&["--userns-remap", "default"])).unwrap_err().to_string();
        assert!(error.starts_with("--userns-remap=default is not possible: "), "{error}");
        assert!(parse(&args(&["--live-restore"])).is_ok());
        assert!(parse(&args(&["--live-restore=false"])).is_ok());
        assert!(parse(&args(&["--exec-opt", "native.cgroupdriver=cgroupfs"])).is_ok());
    }

    #[test]
    fn the_table_is_sorted_and_has_no_name_twice() {
        assert!(FLAGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        let mut keys: Vec<&str> = FLAGS.iter().map(|flag| flag.key).filter(|key| !key.is_empty()).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn the_help_names_every_flag() {
        let help = help();
        assert!(FLAGS.iter().all(|flag| help.contains(&format!("--{}", flag.name))));
    }
}
