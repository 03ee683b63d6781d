//! Values as flags take them: parsed here once, refused in docker's words.

use minke_base::size;
use std::net::IpAddr;

/// `strconv.ParseBool`.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// `strconv.ParseInt`.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    text.parse().map_err(|_e| {
        let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let why = if number { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseInt: parsing {text:?}: {why}")
    })
}

/// `strconv.ParseUint` with a limit.
pub(crate) fn unsigned(text: &str, limit: u64) -> Result<(), String> {
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u64>() {
        Ok(n) if n <= limit => Ok(()),
        _ => {
            let why = if number { "value out of range" } else { "invalid syntax" };
            Err(format!("strconv.ParseUint: parsing {text:?}: {why}"))
        }
    }
}

/// A size.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    size::parse_ram(text).map_err(|e| e.to_string())
}

/// A size, or `-1` for no limit (`--memory-swap`).
pub(crate) fn swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// `c 1:3 rwm`.
pub(crate) fn device_rule(text: &str) -> Result<(), String> {
    let number = |n: &str| n == "*" || (!n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let access = |a: &str| (1..=3).contains(&a.len()) && a.bytes().all(|b| b"rwm".contains(&b));
    let parts: Vec<&str> = text.split(' ').collect();
    match parts.as_slice() {
        ["a" | "b" | "c", numbers, words]
            if numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
                && access(words) =>
        {
            Ok(())
        }
        _ => Err(format!("invalid device cgroup format '{text}'")),
    }
}

/// `--cpus 0.5` in billionths.
pub(crate) fn nano_cpus(text: &str) -> Result<i64, String> {
    let bad = || format!("failed to parse {text} as a rational number");
    let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
    let (whole, fraction) = numerator.split_once('.').unwrap_or((numerator, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let unsigned_whole = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    if unsigned_whole.is_empty() && fraction.is_empty() || !digits(unsigned_whole) || !digits(fraction) {
        return Err(bad());
    }
    let trimmed = fraction.trim_end_matches('0');
    if trimmed.len() > 9 {
        return Err("value is too precise".into());
    }
    let nanos = format!("{}{trimmed:0<9}", if unsigned_whole.is_empty() { "0" } else { unsigned_whole });
    let nanos: i64 = nanos.parse().map_err(|_e| bad())?;
    let denominator: i64 = denominator.parse().ok().filter(|d| *d > 0).ok_or_else(bad)?;
    if nanos % denominator != 0 {
        return Err("value is too precise".into());
    }
    Ok(if whole.starts_with('-') { -nanos } else { nanos } / denominator)
}

/// `name=value` of a filter.
pub(crate) fn filter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned())),
        None => Err("bad format of filter (expected name=value)".into()),
    }
}

pub(crate) fn attach(text: &str) -> Result<(), String> {
    match text.to_ascii_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".into()),
    }
}

pub(crate) fn extra_host(text: &str) -> Result<(), String> {
    let bad = || format!("bad format for add-host: {text:?}");
    let (name, address) = text.split_once(['=', ':']).ok_or_else(bad)?;
    if name.is_empty() {
        return Err(bad());
    }
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if address == "host-gateway" || address.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(format!("invalid IP address in add-host: {address:?}"))
}

pub(crate) fn environment(text: &str) -> Result<(), String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    Ok(())
}

pub(crate) fn label(text: &str) -> Result<(), String> {
    if text.starts_with('=') || text.is_empty() {
        return Err(format!("invalid label '{text}': empty name"));
    }
    Ok(())
}

pub(crate) fn address(text: &str) -> Result<(), String> {
    match text.trim().parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

pub(crate) fn search_domain(text: &str) -> Result<(), String> {
    let text = text.trim();
    let labels = |t: &str| {
        t.split('.').all(|l| {
            !l.is_empty()
                && l.len() <= 63
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
    };
    if text == "." || (text.len() <= 253 && labels(text.trim_end_matches('.'))) {
        return Ok(());
    }
    Err(format!("{text} is not a valid domain"))
}

pub(crate) fn link(text: &str) -> Result<(), String> {
    let parts: Vec<_> = text.split(':').collect();
    match parts.as_slice() {
        [""] => Err("empty string specified for links".into()),
        [_] | [_, _] => Ok(()),
        _ => Err(format!("bad format for links: {text}")),
    }
}

pub(crate) fn sysctl(text: &str) -> Result<(), String> {
    const PLAIN: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "net.",
    ];
    let name = text.split_once('=').map(|(n, _)| n);
    match name {
        Some(n) if PLAIN[..8].contains(&n) || n.starts_with("net.") || n.starts_with("fs.mqueue.") => Ok(()),
        _ => Err(format!("sysctl '{text}' is not allowed")),
    }
}

const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `nofile=1024:2048` as name, soft and hard.
pub(crate) fn ulimit(text: &str) -> Result<(String, i64, i64), String> {
    let (name, values) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = match values.split_once(':') {
        Some((_, hard)) if hard.contains(':') => {
            return Err(format!(
                "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
            ));
        }
        Some((soft, hard)) => (soft, Some(hard)),
        None => (values, None),
    };
    let soft_value = integer(soft)?;
    let hard_value = match hard {
        Some(hard) => integer(hard)?,
        None => soft_value,
    };
    let beyond = |soft, hard| hard != -1 && (soft == -1 || soft > hard);
    if beyond(soft_value, hard_value) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft_value} > {hard_value}"
        ));
    }
    Ok((name.to_owned(), soft_value, hard_value))
}

/// `/dev/sda:1mb` as path and rate.
pub(crate) fn device_rate(text: &str, bytes: bool) -> Result<(String, u64), String> {
    let (path, rate) = device_pair(text)?;
    let value = if bytes {
        size::parse_ram(rate).ok().and_then(|b| u64::try_from(b).ok())
    } else {
        rate.parse().ok()
    };
    match value {
        Some(rate) => Ok((path.to_owned(), rate)),
        None if bytes => Err(format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )),
        None => Err(format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )),
    }
}

/// `/dev/sda:300` as path and weight.
pub(crate) fn device_weight(text: &str) -> Result<(String, u64), String> {
    let (path, weight) = device_pair(text)?;
    match weight.parse::<u64>() {
        Ok(w) if w == 0 || (10..=1000).contains(&w) => Ok((path.to_owned(), w)),
        _ => Err(format!("invalid weight for device: {text}")),
    }
}

fn device_pair(text: &str) -> Result<(&str, &str), String> {
    let (path, value) =
        text.split_once(':').filter(|(p, _)| !p.is_empty()).ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, value))
}

/// A platform such as `linux/amd64`.
pub(crate) fn platform(text: &str) -> Result<serde_json::Value, String> {
    const SYSTEMS: [&str; 6] = ["linux", "windows", "darwin", "freebsd", "android", "wasi"];
    const MACHINES: [&str; 14] = [
        "amd64", "x86_64", "x86-64", "386", "i386", "arm64", "aarch64", "arm", "armhf", "armel", "ppc64le",
        "s390x", "riscv64", "mips64le",
    ];
    let refuse = |why: &str| format!("error parsing specified platform: {text:?}: {why}: invalid argument");
    let parts: Vec<&str> = text.split('/').collect();
    let machine = |m: &str| match m {
        "x86_64" | "x86-64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        "i386" => "386".to_owned(),
        other => other.to_owned(),
    };
    let host = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let (os, architecture, variant) = match parts.as_slice() {
        [one] if SYSTEMS.contains(one) => ((*one).to_owned(), host.to_owned(), ""),
        [one] if MACHINES.contains(one) => ("linux".to_owned(), machine(one), ""),
        [os, arch] if !os.is_empty() && !arch.is_empty() => ((*os).to_owned(), machine(arch), ""),
        [os, arch, variant] if !os.is_empty() && !arch.is_empty() => {
            ((*os).to_owned(), machine(arch), *variant)
        }
        [_] => return Err(refuse("unknown operating system or architecture")),
        _ => return Err(refuse("cannot parse platform specifier")),
    };
    let mut json = serde_json::json!({"architecture": architecture, "os": os});
    if !variant.is_empty() {
        json["variant"] = variant.into();
    }
    Ok(json)
}
