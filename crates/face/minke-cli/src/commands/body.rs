//! The create request: every flag of `run` and `create` in the place Docker's client puts it.
//!
//! The document is written in full and in Docker's order, because engines tell "empty" from "not said" for some fields,
//! and because that makes it comparable with what Docker's client sends. Checks that need more than one flag are here.

use super::{devices, mounts, networks, ports::Ports, security, variables};
use crate::check;
use crate::given::Given;
use crate::session::Session;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Which streams a command joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl Streams {
    /// `-a` says which; without it output, and input with `-i`.
    pub(crate) fn of(given: &Given) -> Streams {
        let named: Vec<String> = given.list("attach").iter().map(|s| s.to_ascii_lowercase()).collect();
        if named.is_empty() {
            return Streams { stdin: given.on("interactive"), stdout: true, stderr: true };
        }
        let has = |name: &str| named.iter().any(|n| n == name);
        let stdin = has("stdin") || given.on("interactive");
        Streams { stdin, stdout: has("stdout"), stderr: has("stderr") }
    }
}

fn or_null(items: Vec<String>) -> Value {
    if items.is_empty() { Value::Null } else { items.into() }
}

fn owned(items: &[&str]) -> Vec<String> {
    items.iter().map(|s| (*s).to_owned()).collect()
}

/// `key=value` strings as an object.
pub(crate) fn pairs<S: AsRef<str>>(items: &[S]) -> Map<String, Value> {
    items
        .iter()
        .map(|item| {
            let (key, value) = item.as_ref().split_once('=').unwrap_or((item.as_ref(), ""));
            (key.to_owned(), Value::from(value))
        })
        .collect()
}

/// A mode of a namespace that only knows a few words.
fn mode<'g>(given: &'g Given, flag: &str, kind: &str, words: &[&str]) -> Result<&'g str, String> {
    let value = given.str(flag);
    let joins = flag == "pid" && value.strip_prefix("container:").is_some_and(|c| !c.is_empty());
    if value.is_empty() || words.contains(&value) || joins {
        Ok(value)
    } else {
        Err(format!("--{flag}: invalid {kind} mode"))
    }
}

pub(super) fn restart(given: &Given) -> Result<Value, String> {
    let text = given.get("restart").unwrap_or("no");
    let (name, count) = match text.split_once(':') {
        Some((_, more)) if more.contains(':') => {
            return Err("invalid restart policy format: too many colons".into());
        }
        Some(("", _)) => return Err("invalid restart policy format: no policy provided before colon".into()),
        Some((name, count)) => {
            let count = count
                .parse::<i64>()
                .map_err(|_e| "invalid restart policy format: maximum retry count must be an integer")?;
            (name, count)
        }
        None => (text, 0),
    };
    Ok(json!({"Name": name, "MaximumRetryCount": count}))
}

fn health(given: &Given) -> Result<Option<Value>, String> {
    const TIMES: [(&str, &str); 4] = [
        ("health-interval", "Interval"),
        ("health-timeout", "Timeout"),
        ("health-start-period", "StartPeriod"),
        ("health-start-interval", "StartInterval"),
    ];
    let nanos =
        |flag: &str| given.get(flag).and_then(|t| minke_base::duration::parse_go(t).ok()).unwrap_or(0);
    let command = given.str("health-cmd");
    let retries = given.int("health-retries").unwrap_or(0);
    let any = !command.is_empty() || retries != 0 || TIMES.iter().any(|(flag, _)| nanos(flag) != 0);
    if given.on("no-healthcheck") {
        if any {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(json!({"Test": ["NONE"]})));
    }
    if !any {
        return Ok(None);
    }
    let mut out = Map::new();
    if !command.is_empty() {
        out.insert("Test".into(), json!(["CMD-SHELL", command]));
    }
    for (flag, key) in TIMES {
        let value = nanos(flag);
        if value < 0 {
            return Err(format!("--{flag} cannot be negative"));
        }
        if value != 0 {
            out.insert(key.into(), value.into());
        }
    }
    if retries < 0 {
        return Err("--health-retries cannot be negative".into());
    }
    if retries != 0 {
        out.insert("Retries".into(), retries.into());
    }
    Ok(Some(Value::Object(out)))
}

fn storage(given: &Given) -> Result<Map<String, Value>, String> {
    let options = given.list("storage-opt");
    if options.iter().any(|o| !o.contains('=')) {
        return Err("invalid storage option".into());
    }
    Ok(pairs(&options))
}

fn capability(name: &str) -> String {
    let upper = name.trim().to_ascii_uppercase();
    if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

fn throttle(given: &Given, flag: &str, bytes: bool) -> Result<Value, String> {
    let rate =
        |text: &&str| check::device_rate(text, bytes).map(|(path, rate)| json!({"Path": path, "Rate": rate}));
    given.list(flag).iter().map(rate).collect()
}

/// Sizes given as `-m 64m`.
pub(super) fn size(given: &Given, flag: &str) -> i64 {
    given.get(flag).and_then(|t| check::swap(t).ok()).unwrap_or(0)
}

/// The document for `POST /containers/create`.
pub(crate) fn build(session: &Session, given: &Given, streams: Streams) -> Result<Value, String> {
    let swappiness = given.int("memory-swappiness").unwrap_or(-1);
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(format!("invalid value: {swappiness}. Valid memory swappiness range is 0-100"));
    }
    let mut binds = Vec::new();
    let mut volumes = Map::new();
    for text in given.list("volume") {
        match mounts::parse_volume(text)? {
            mounts::Volume::Bind(bind) => binds.push(bind),
            mounts::Volume::Anonymous(path) => drop(volumes.insert(path, json!({}))),
        }
    }
    let mut ports = Ports::default();
    for text in given.list("publish") {
        ports.publish(text)?;
    }
    for text in given.list("expose") {
        ports.expose(text)?;
    }
    let (cdi, plain): (Vec<&str>, Vec<&str>) =
        given.list("device").into_iter().partition(|d| devices::is_cdi(d));
    let device_list: Value = plain.into_iter().map(devices::parse_device).collect::<Result<_, _>>()?;
    let mut requests: Vec<Value> =
        given.list("gpus").into_iter().map(devices::parse_gpus).collect::<Result<_, _>>()?;
    if !cdi.is_empty() {
        requests.push(
            json!({"Driver": "cdi", "Count": 0, "DeviceIDs": cdi, "Capabilities": null, "Options": null}),
        );
    }
    let mut env = variables::environment(&given.list("env-file"), &given.list("env"))?;
    add_proxies(session, &mut env);
    let labels = variables::labels(given)?;
    let pid = mode(given, "pid", "PID", &["host"])?;
    let uts = mode(given, "uts", "UTS", &["host"])?;
    let userns = mode(given, "userns", "USER", &["host"])?;
    let cgroupns = mode(given, "cgroupns", "CGROUP", &["host", "private"])?;
    let restart = restart(given)?;
    if given.on("rm") && !matches!(restart["Name"].as_str(), Some("no" | "")) {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    let health = health(given)?;
    let (security, unmasked) = security::options(given)?;
    let storage = storage(given)?;
    let log_options = given.list("log-opt");
    if given.str("log-driver") == "none" && !log_options.is_empty() {
        return Err("invalid logging opts for driver none".into());
    }
    let (network_mode, endpoints) = networks::plan(given)?;
    let mut mount_list: Vec<Value> =
        given.list("mount").into_iter().map(mounts::parse_mount).collect::<Result<_, _>>()?;
    if given.on("use-api-socket") {
        mount_list.push(api_socket(session)?);
    }
    // The last of each kind, in the order of their names.
    let mut ulimits = BTreeMap::new();
    for text in given.list("ulimit") {
        let (name, soft, hard) = check::ulimit(text)?;
        ulimits.insert(name.clone(), json!({"Name": name, "Hard": hard, "Soft": soft}));
    }
    let ulimits: Vec<Value> = ulimits.into_values().collect();
    let dns_options = [given.list("dns-option"), given.list("dns-opt")].concat();
    // A name's last dot says nothing here; the dot alone means "no search domain".
    let bare = |t: &str| if t == "." { t.to_owned() } else { t.strip_suffix('.').unwrap_or(t).to_owned() };
    let search: Vec<String> = given.list("dns-search").into_iter().map(str::trim).map(bare).collect();
    let extra_hosts = given.list("add-host").into_iter().map(extra_host).collect();
    let tmpfs: Map<String, Value> = given
        .list("tmpfs")
        .into_iter()
        .map(|t| t.split_once(':').unwrap_or((t, "")))
        .map(|(path, options)| (path.to_owned(), options.into()))
        .collect();
    let weights: Value = given
        .list("blkio-weight-device")
        .into_iter()
        .map(|t| check::device_weight(t).map(|(path, weight)| json!({"Path": path, "Weight": weight})))
        .collect::<Result<_, _>>()?;

    // Two lists of fields in Docker's order; absent ones are left out as its encoder does.
    let mut config = Map::new();
    let mut put = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
    put("Hostname", given.str("hostname").into());
    put("Domainname", given.str("domainname").into());
    put("User", given.str("user").into());
    put("AttachStdin", streams.stdin.into());
    put("AttachStdout", streams.stdout.into());
    put("AttachStderr", streams.stderr.into());
    if let Some(exposed) = ports.exposed() {
        put("ExposedPorts", exposed);
    }
    put("Tty", given.on("tty").into());
    put("OpenStdin", given.on("interactive").into());
    put("StdinOnce", (given.on("interactive") && streams.stdin).into());
    put("Env", or_null(env));
    put("Cmd", or_null(given.args.iter().skip(1).cloned().collect()));
    if let Some(health) = health {
        put("Healthcheck", health);
    }
    put("Image", given.args.first().map_or("", String::as_str).into());
    put("Volumes", Value::Object(volumes));
    put("WorkingDir", given.str("workdir").into());
    put("Entrypoint", given.get("entrypoint").map_or(Value::Null, |e| json!([e])));
    put("OnBuild", Value::Null);
    put("Labels", Value::Object(labels));
    if let Some(signal) = given.get("stop-signal") {
        put("StopSignal", signal.into());
    }
    if let Some(seconds) = given.int("stop-timeout") {
        put("StopTimeout", seconds.into());
    }

    let mut host = Map::new();
    let mut put = |key: &str, value: Value| drop(host.insert(key.to_owned(), value));
    put("Binds", or_null(binds));
    put("ContainerIDFile", given.str("cidfile").into());
    put("LogConfig", json!({"Type": given.str("log-driver"), "Config": pairs(&log_options)}));
    put("NetworkMode", network_mode.into());
    put("PortBindings", ports.bindings());
    put("RestartPolicy", restart);
    put("AutoRemove", given.on("rm").into());
    put("VolumeDriver", given.str("volume-driver").into());
    put("VolumesFrom", or_null(owned(&given.list("volumes-from"))));
    put("ConsoleSize", console_size(given));
    let annotations = pairs(&given.list("annotation"));
    if !annotations.is_empty() {
        put("Annotations", Value::Object(annotations));
    }
    let capabilities = |flag: &str| {
        let names: BTreeSet<String> = given.list(flag).into_iter().map(capability).collect();
        or_null(names.into_iter().collect())
    };
    put("CapAdd", capabilities("cap-add"));
    put("CapDrop", capabilities("cap-drop"));
    put("CgroupnsMode", cgroupns.into());
    put("Dns", owned(&given.list("dns")).into());
    put("DnsOptions", owned(&dns_options).into());
    put("DnsSearch", search.into());
    put("ExtraHosts", or_null(extra_hosts));
    put("GroupAdd", or_null(owned(&given.list("group-add"))));
    put("IpcMode", given.str("ipc").into());
    put("Cgroup", "".into());
    put("Links", or_null(owned(&given.list("link"))));
    put("OomScoreAdj", given.int("oom-score-adj").unwrap_or(0).into());
    put("PidMode", pid.into());
    put("Privileged", given.on("privileged").into());
    put("PublishAllPorts", given.on("publish-all").into());
    put("ReadonlyRootfs", given.on("read-only").into());
    // An option that only the client needs leaves an empty list behind, not none.
    put("SecurityOpt", if unmasked { security.into() } else { or_null(security) });
    if !storage.is_empty() {
        put("StorageOpt", Value::Object(storage));
    }
    if !tmpfs.is_empty() {
        put("Tmpfs", Value::Object(tmpfs));
    }
    put("UTSMode", uts.into());
    put("UsernsMode", userns.into());
    put("ShmSize", size(given, "shm-size").into());
    let sysctls = pairs(&given.list("sysctl"));
    if !sysctls.is_empty() {
        put("Sysctls", Value::Object(sysctls));
    }
    if let Some(runtime) = given.get("runtime").filter(|r| !r.is_empty()) {
        put("Runtime", runtime.into());
    }
    put("Isolation", given.str("isolation").into());
    put("CpuShares", given.int("cpu-shares").unwrap_or(0).into());
    put("Memory", size(given, "memory").into());
    put("NanoCpus", given.get("cpus").and_then(|c| check::nano_cpus(c).ok()).unwrap_or(0).into());
    put("CgroupParent", given.str("cgroup-parent").into());
    put("BlkioWeight", given.int("blkio-weight").unwrap_or(0).into());
    put("BlkioWeightDevice", weights);
    put("BlkioDeviceReadBps", throttle(given, "device-read-bps", true)?);
    put("BlkioDeviceWriteBps", throttle(given, "device-write-bps", true)?);
    put("BlkioDeviceReadIOps", throttle(given, "device-read-iops", false)?);
    put("BlkioDeviceWriteIOps", throttle(given, "device-write-iops", false)?);
    put("CpuPeriod", given.int("cpu-period").unwrap_or(0).into());
    put("CpuQuota", given.int("cpu-quota").unwrap_or(0).into());
    put("CpuRealtimePeriod", given.int("cpu-rt-period").unwrap_or(0).into());
    put("CpuRealtimeRuntime", given.int("cpu-rt-runtime").unwrap_or(0).into());
    put("CpusetCpus", given.str("cpuset-cpus").into());
    put("CpusetMems", given.str("cpuset-mems").into());
    put("Devices", device_list);
    put("DeviceCgroupRules", or_null(owned(&given.list("device-cgroup-rule"))));
    put("DeviceRequests", if requests.is_empty() { Value::Null } else { requests.into() });
    if size(given, "kernel-memory") != 0 {
        put("KernelMemory", size(given, "kernel-memory").into());
    }
    put("MemoryReservation", size(given, "memory-reservation").into());
    put("MemorySwap", size(given, "memory-swap").into());
    put("MemorySwappiness", swappiness.into());
    put("OomKillDisable", given.on("oom-kill-disable").into());
    put("PidsLimit", given.int("pids-limit").unwrap_or(0).into());
    put("Ulimits", ulimits.into());
    put("CpuCount", given.int("cpu-count").unwrap_or(0).into());
    put("CpuPercent", given.int("cpu-percent").unwrap_or(0).into());
    put("IOMaximumIOps", given.int("io-maxiops").unwrap_or(0).into());
    put("IOMaximumBandwidth", size(given, "io-maxbandwidth").into());
    if !mount_list.is_empty() {
        put("Mounts", mount_list.into());
    }
    let masked = if unmasked { json!([]) } else { Value::Null };
    put("MaskedPaths", masked.clone());
    put("ReadonlyPaths", masked);
    if given.changed("init") {
        put("Init", given.on("init").into());
    }
    drop(config.insert("HostConfig".into(), Value::Object(host)));
    drop(config.insert("NetworkingConfig".into(), json!({"EndpointsConfig": endpoints})));
    Ok(Value::Object(config))
}

/// Height and width for a tty, so that the program starts in the right size.
fn console_size(given: &Given) -> Value {
    let (height, width) = if given.on("tty") { crate::terminal::size() } else { (0, 0) };
    json!([height, width])
}

fn extra_host(text: &str) -> String {
    match text.split_once(['=', ':']) {
        Some((name, address)) => {
            let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            format!("{name}:{address}")
        }
        None => text.to_owned(),
    }
}

/// Proxy settings of docker's config reach containers as variables, unless given.
fn add_proxies(session: &Session, env: &mut Vec<String>) {
    let Ok(client) = session.client() else { return };
    for (name, value) in session.config().proxies(&client.endpoint().to_string()) {
        let given = env.iter().any(|e| e.split('=').next() == Some(&name));
        if !given {
            env.push(format!("{name}={value}"));
        }
    }
}

fn api_socket(session: &Session) -> Result<Value, String> {
    match session.endpoint() {
        Ok((minke_client::Endpoint::Unix(path), _)) => Ok(
            json!({"Type": "bind", "Source": path.to_string_lossy(), "Target": "/var/run/docker.sock", "BindOptions": {}}),
        ),
        _ => Err("flag --use-api-socket can only be used with unix sockets".into()),
    }
}
