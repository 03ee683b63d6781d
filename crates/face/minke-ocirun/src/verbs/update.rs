//! `update`: other limits for a container that exists, from a document or from flags.

use std::io::Read;
use std::process::ExitCode;

use minke_cgroup::Host;
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::id;
use crate::bundle::read_json;
use crate::flags::{Flag, FlagError, Parsed, value};
use crate::state::{Home, Status};
use crate::{Globals, OciError};

pub(super) static FLAGS: &[Flag] = &[
    value(
        &["resources", "r"],
        "path to the file containing the resources to update or '-' to read from the standard input",
    ),
    value(&["blkio-weight"], "Specifies per cgroup weight, range is from 10 to 1000"),
    value(&["cpu-period"], "CPU CFS period to be used for hardcapping (in usecs). 0 to use system default"),
    value(&["cpu-quota"], "CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period"),
    value(
        &["cpu-burst"],
        "CPU CFS hardcap burst limit (in usecs). Allowed accumulated cpu time additionally for burst a given period",
    ),
    value(&["cpu-share"], "CPU shares (relative weight vs. other containers)"),
    value(
        &["cpu-rt-period"],
        "CPU realtime period to be used for hardcapping (in usecs). 0 to use system default",
    ),
    value(&["cpu-rt-runtime"], "CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period"),
    value(&["cpu-idle"], "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE"),
    value(&["cpuset-cpus"], "CPU(s) to use"),
    value(&["cpuset-mems"], "Memory node(s) to use"),
    value(&["kernel-memory"], "(obsoleted; do not use)"),
    value(&["kernel-memory-tcp"], "(obsoleted; do not use)"),
    value(&["memory"], "Memory limit (in bytes)"),
    value(&["memory-reservation"], "Memory reservation or soft_limit (in bytes)"),
    value(&["memory-swap"], "Total memory usage (memory + swap); set '-1' to enable unlimited swap"),
    value(&["pids-limit"], "Maximum number of pids allowed in the container"),
];

pub(super) fn update(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let home = Home::new(&globals.root, &id(parsed))?;
    let record = home.load()?;
    if record.status(&home) == Status::Stopped {
        return Err(OciError::NotRunning);
    }
    let resources = match parsed.path("resources") {
        Some(path) if path.as_os_str() == "-" => {
            let mut text = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut text);
            read.map_err(|e| OciError::kernel("read resources from standard input", e))?;
            serde_json::from_slice(&text).map_err(|source| OciError::Parse { path, source })?
        }
        Some(path) => read_json(&path)?,
        None => from_flags(parsed)?,
    };
    let group = record.require_cgroup()?;
    if let Some((unit, of)) = record.unit() {
        minke_cgroup::systemd::update(unit, of, &Host::probe()?, &resources)?;
    }
    let warnings = group.update(&resources)?;
    warnings.iter().for_each(|w| globals.log.warn(w));
    Ok(ExitCode::SUCCESS)
}

/// What was not given stays as it is.
fn from_flags(parsed: &Parsed) -> Result<LinuxResources, OciError> {
    let mut document = Map::new();
    let mut set = |section: &str, key: &str, value: Option<Value>| {
        if let Some(value) = value {
            let section = document.entry(section).or_insert_with(|| json!({}));
            section[key] = value;
        }
    };
    for (flag, key) in [
        ("memory", "limit"),
        ("memory-reservation", "reservation"),
        ("memory-swap", "swap"),
        ("kernel-memory", "kernel"),
        ("kernel-memory-tcp", "kernelTCP"),
    ] {
        set("memory", key, bytes(parsed, flag)?.map(Value::from));
    }
    for (flag, key) in [
        ("cpu-period", "period"),
        ("cpu-burst", "burst"),
        ("cpu-share", "shares"),
        ("cpu-rt-period", "realtimePeriod"),
    ] {
        set("cpu", key, parsed.number::<u64>(flag)?.map(Value::from));
    }
    for (flag, key) in [("cpu-quota", "quota"), ("cpu-rt-runtime", "realtimeRuntime"), ("cpu-idle", "idle")] {
        set("cpu", key, parsed.number::<i64>(flag)?.map(Value::from));
    }
    set("cpu", "cpus", parsed.text("cpuset-cpus").map(Value::from));
    set("cpu", "mems", parsed.text("cpuset-mems").map(Value::from));
    set("pids", "limit", parsed.number::<i64>("pids-limit")?.map(Value::from));
    set("blockIO", "weight", parsed.number::<u16>("blkio-weight")?.map(Value::from));
    Ok(serde_json::from_value(Value::Object(document)).expect("the document is made of the type's own keys"))
}

/// `-1`, a number, or a number with a unit (`64m`).
fn bytes(parsed: &Parsed, name: &'static str) -> Result<Option<i64>, OciError> {
    let Some(text) = parsed.text(name).filter(|t| !t.is_empty()) else { return Ok(None) };
    if text == "-1" {
        return Ok(Some(-1));
    }
    match minke_base::size::parse_ram(&text) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(_unreadable) => {
            Err(FlagError::Invalid { name, value: text, reason: "a size like 64m is expected" }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Order;

    #[test]
    fn only_what_is_given_is_changed() {
        let words = ["--memory=64m", "--memory-swap", "-1", "--cpu-share=512", "--pids-limit=9", "c"];
        let parsed = Parsed::read(FLAGS, Order::Anywhere, words.map(Into::into)).unwrap();
        let document = serde_json::to_value(from_flags(&parsed).unwrap()).unwrap();
        let expected = json!({"memory": {"limit": 67_108_864, "swap": -1}, "cpu": {"shares": 512}, "pids": {"limit": 9}});
        assert_eq!(document, expected);
    }

    #[test]
    fn a_size_that_cannot_be_read_is_named() {
        let parsed = Parsed::read(FLAGS, Order::Anywhere, ["--memory=much".into()]).unwrap();
        let text = from_flags(&parsed).unwrap_err().to_string();
        assert_eq!(text, "invalid value \"much\" for flag -memory: a size like 64m is expected");
    }
}
