//! The flags of `run` and `create`: everything a container can be told at birth.
//!
//! Only names, kinds and help; what they put into the request is in `body.rs` and its neighbours.

use crate::check;
use crate::flag::{Complete, Flag, Kind, flag, short};

fn ulimit(text: &str) -> Result<(), String> {
    check::ulimit(text).map(drop)
}

fn rate_bytes(text: &str) -> Result<(), String> {
    check::device_rate(text, true).map(drop)
}

fn rate_count(text: &str) -> Result<(), String> {
    check::device_rate(text, false).map(drop)
}

fn weight(text: &str) -> Result<(), String> {
    check::device_weight(text).map(drop)
}

pub(super) fn swap(text: &str) -> Result<(), String> {
    check::swap(text).map(drop)
}

fn mount(text: &str) -> Result<(), String> {
    super::mounts::parse_mount(text).map(drop)
}

fn network(text: &str) -> Result<(), String> {
    super::networks::parse(text).map(drop)
}

fn gpus(text: &str) -> Result<(), String> {
    super::devices::parse_gpus(text).map(drop)
}

/// Shared by both.
pub(crate) const SHARED: &[Flag] = &[
    flag("add-host", Kind::List, "Line for the container's hosts file (host:ip)").check(check::extra_host),
    flag("annotation", Kind::Map, "Annotation handed to the OCI runtime").default("map[]"),
    short("attach", 'a', Kind::List, "Join STDIN, STDOUT or STDERR")
        .check(check::attach)
        .complete(Complete::Words(&["stdin", "stdout", "stderr"])),
    flag("blkio-weight", Kind::Uint16, "Share of block I/O, 10 to 1000, or 0 for none").default("0"),
    flag("blkio-weight-device", Kind::List, "Share of block I/O on one device").default("[]").check(weight),
    flag("cap-add", Kind::List, "Capability to give"),
    flag("cap-drop", Kind::List, "Capability to take away"),
    flag("cgroup-parent", Kind::Str, "Parent cgroup of the container's"),
    flag("cgroupns", Kind::Str, "Cgroup namespace (host|private)\n'host':    the host's\n'private': its own\n'':        as the engine is set up (default)")
        .complete(Complete::Words(&["host", "private"])),
    flag("cidfile", Kind::Str, "File to write the container's ID to").complete(Complete::Files),
    flag("cpu-count", Kind::Int, "Number of CPUs (Windows only)").hidden(),
    flag("cpu-percent", Kind::Int, "Share of all CPUs (Windows only)").hidden(),
    flag("cpu-period", Kind::Int, "CFS period in microseconds"),
    flag("cpu-quota", Kind::Int, "CFS quota in microseconds"),
    flag("cpu-rt-period", Kind::Int, "Real-time period in microseconds"),
    flag("cpu-rt-runtime", Kind::Int, "Real-time run time in microseconds"),
    short("cpu-shares", 'c', Kind::Int, "Relative share of CPU time"),
    flag("cpus", Kind::Decimal, "How many CPUs' worth of time"),
    flag("cpuset-cpus", Kind::Str, "CPUs to run on (0-3, 0,1)"),
    flag("cpuset-mems", Kind::Str, "Memory nodes to use (0-3, 0,1)"),
    flag("device", Kind::List, "Host device to add").complete(Complete::Files),
    flag("device-cgroup-rule", Kind::List, "Rule for the list of allowed devices").check(check::device_rule),
    flag("device-read-bps", Kind::List, "Most bytes per second to read from a device").default("[]").check(rate_bytes),
    flag("device-read-iops", Kind::List, "Most reads per second from a device").default("[]").check(rate_count),
    flag("device-write-bps", Kind::List, "Most bytes per second to write to a device").default("[]").check(rate_bytes),
    flag("device-write-iops", Kind::List, "Most writes per second to a device").default("[]").check(rate_count),
    flag("disable-content-trust", Kind::Bool, "Skip the check of image signatures").default("true"),
    flag("dns", Kind::List, "DNS server").check(check::address),
    flag("dns-opt", Kind::List, "DNS option").hidden(),
    flag("dns-option", Kind::List, "DNS option"),
    flag("dns-search", Kind::List, "DNS search domain").check(check::search_domain),
    flag("domainname", Kind::Str, "NIS domain name of the container"),
    flag("entrypoint", Kind::Str, "Program to run instead of the image's entrypoint"),
    short("env", 'e', Kind::List, "Environment variable").check(check::environment),
    flag("env-file", Kind::List, "File of environment variables").complete(Complete::Files),
    flag("expose", Kind::List, "Port, or range of ports, that the container listens on"),
    flag("gpus", Kind::Gpus, "GPUs to add ('all' for each of them)").check(gpus),
    flag("group-add", Kind::List, "Further group to join"),
    flag("health-cmd", Kind::Str, "Command that tells whether the container is well"),
    flag("health-interval", Kind::Duration, "Time between two checks (ms|s|m|h)").default("0s"),
    flag("health-retries", Kind::Int, "Failures in a row that mean unhealthy"),
    flag("health-start-interval", Kind::Duration, "Time between two checks while starting (ms|s|m|h)").default("0s"),
    flag("health-start-period", Kind::Duration, "Time to start up before failures count (ms|s|m|h)").default("0s"),
    flag("health-timeout", Kind::Duration, "Longest time one check may take (ms|s|m|h)").default("0s"),
    short("hostname", 'h', Kind::Str, "Host name of the container"),
    flag("init", Kind::Bool, "Run an init that forwards signals and reaps processes"),
    short("interactive", 'i', Kind::Bool, "Keep STDIN open even when not attached"),
    flag("io-maxbandwidth", Kind::Bytes, "Most I/O per second (Windows only)").hidden(),
    flag("io-maxiops", Kind::Int, "Most I/O operations per second (Windows only)").hidden(),
    flag("ip", Kind::Str, "IPv4 address (172.30.100.104)"),
    flag("ip6", Kind::Str, "IPv6 address (2001:db8::33)"),
    flag("ipc", Kind::Str, "IPC namespace"),
    flag("isolation", Kind::Str, "Technology that isolates the container"),
    flag("kernel-memory", Kind::Bytes, "Limit of kernel memory"),
    short("label", 'l', Kind::List, "Label of the container").check(check::label),
    flag("label-file", Kind::List, "File of labels, one a line").complete(Complete::Files),
    flag("link", Kind::List, "Link to another container").check(check::link).complete(Complete::Containers),
    flag("link-local-ip", Kind::List, "Link-local address").check(check::address),
    flag("log-driver", Kind::Str, "Where the log goes").complete(Complete::Words(&["json-file", "local", "none"])),
    flag("log-opt", Kind::List, "Option of the log driver"),
    flag("mac-address", Kind::Str, "MAC address (92:d0:c6:0a:29:33)"),
    short("memory", 'm', Kind::Bytes, "Limit of memory"),
    flag("memory-reservation", Kind::Bytes, "Soft limit of memory"),
    flag("memory-swap", Kind::Bytes, "Limit of memory plus swap; '-1' for no limit").check(swap),
    flag("memory-swappiness", Kind::Int, "How readily to swap (0 to 100)").default("-1"),
    flag("mount", Kind::Mount, "File system to mount").check(mount),
    flag("name", Kind::Str, "Name of the container"),
    flag("net", Kind::Network, "Network to join").check(network).hidden(),
    flag("net-alias", Kind::List, "Name on the network").hidden(),
    flag("network", Kind::Network, "Network to join").check(network).complete(Complete::Words(&["bridge", "host", "none"])),
    flag("network-alias", Kind::List, "Further name on the network"),
    flag("no-healthcheck", Kind::Bool, "Turn off the image's health check"),
    flag("oom-kill-disable", Kind::Bool, "Do not kill when memory runs out"),
    flag("oom-score-adj", Kind::Int, "How likely to be killed when the host's memory runs out (-1000 to 1000)"),
    flag("pid", Kind::Str, "PID namespace"),
    flag("pids-limit", Kind::Int, "Most processes (-1 for no limit)"),
    flag("platform", Kind::Str, "Platform, when the engine has several"),
    flag("privileged", Kind::Bool, "Give every privilege"),
    short("publish", 'p', Kind::List, "Port to publish on the host"),
    short("publish-all", 'P', Kind::Bool, "Publish every exposed port on a random port"),
    short("quiet", 'q', Kind::Bool, "Print no progress of a pull"),
    flag("read-only", Kind::Bool, "Mount the root file system read-only"),
    flag("restart", Kind::Str, "What to do when the container exits")
        .default("no")
        .complete(Complete::Words(&["no", "always", "on-failure", "unless-stopped"])),
    flag("rm", Kind::Bool, "Remove the container and its anonymous volumes when it exits"),
    flag("runtime", Kind::Str, "OCI runtime to use"),
    flag("security-opt", Kind::List, "Security option"),
    flag("shm-size", Kind::Bytes, "Size of /dev/shm"),
    flag("stop-signal", Kind::Str, "Signal that stops the container"),
    flag("stop-timeout", Kind::Int, "Seconds to wait before it is killed"),
    flag("storage-opt", Kind::List, "Option of the storage driver"),
    flag("sysctl", Kind::Map, "Kernel parameter").default("map[]").check(check::sysctl),
    flag("tmpfs", Kind::List, "Directory to mount a tmpfs on"),
    short("tty", 't', Kind::Bool, "Give it a terminal"),
    flag("ulimit", Kind::Ulimit, "Resource limit").default("[]").check(ulimit),
    flag("use-api-socket", Kind::Bool, "Mount the engine's socket and its credentials"),
    short("user", 'u', Kind::Str, "User, and group, to run as (<name|uid>[:<group|gid>])"),
    flag("userns", Kind::Str, "User namespace").complete(Complete::Words(&["host"])),
    flag("uts", Kind::Str, "UTS namespace").complete(Complete::Words(&["host"])),
    short("volume", 'v', Kind::List, "Directory or volume to mount").complete(Complete::Files),
    flag("volume-driver", Kind::Str, "Driver of the container's volumes"),
    flag("volumes-from", Kind::List, "Container whose volumes to mount").complete(Complete::Containers),
    short("workdir", 'w', Kind::Str, "Directory to start in"),
];

const PULL: Complete = Complete::Words(&["always", "missing", "never"]);

/// Of `run` alone.
pub(crate) const RUN: &[Flag] = &[
    short("detach", 'd', Kind::Bool, "Run in the background and print the container's ID"),
    flag("detach-keys", Kind::Str, "Keys that leave the container running and go away"),
    flag("pull", Kind::Str, "When to pull the image (\"always\", \"missing\", \"never\")")
        .default("missing")
        .complete(PULL),
    flag("sig-proxy", Kind::Bool, "Hand received signals on to the process").default("true"),
];

/// Of `create` alone.
pub(crate) const CREATE: &[Flag] =
    &[flag("pull", Kind::Str, "When to pull the image (\"always\", \"missing\", \"never\")")
        .default("missing")
        .complete(PULL)];
