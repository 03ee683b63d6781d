//! From OCI resources to the properties of a systemd unit: pure, so that every conversion has a test.
//!
//! Only what systemd has a property for; the rest is written to the cgroup's files afterwards, and so are these once more.
//! They are told to systemd nevertheless, because it writes its own idea of a unit whenever it reloads: above all the device
//! list, which on cgroup v1 it would open again.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::wire::Value;
use crate::devices::{DeviceKind, DeviceList, Exception};
use crate::error::CgroupError;
use crate::host::Version;
use crate::plan::{blkio_weight_to_io_weight, memory_swap_to_v2, shares_to_weight};

pub(super) type Property = (String, Value);

fn property(name: &str, value: Value) -> Property {
    (name.to_owned(), value)
}

/// Every unit of a container is accounted for, and nothing else is started or stopped because of it.
pub(super) fn of_unit(version: Version) -> Vec<Property> {
    let io = match version {
        Version::V1 => "BlockIOAccounting",
        Version::V2 => "IOAccounting",
    };
    let mut list = vec![property("DefaultDependencies", Value::Bool(false))];
    let accounting = ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"];
    list.extend(accounting.map(|name| property(name, Value::Bool(true))));
    list
}

/// The limits that systemd knows. 0 means "unset" and a negative amount "unlimited", as everywhere in OCI resources.
pub(super) fn of_limits(version: Version, resources: &LinuxResources) -> Result<Vec<Property>, CgroupError> {
    let mut list = Vec::new();
    if let Some(found) = resources.memory() {
        memory(version, found, &mut list)?;
    }
    if let Some(found) = resources.cpu() {
        cpu(version, found, &mut list)?;
    }
    if let Some(limit) = resources.pids().map(|p| p.limit()).filter(|limit| *limit != 0) {
        list.push(property("TasksMax", Value::U64(amount(limit))));
    }
    if let Some(found) = resources.block_io() {
        io(version, found, &mut list);
    }
    if version == Version::V2 {
        let mut keys: Vec<_> = resources.unified().iter().flatten().collect();
        keys.sort();
        list.extend(keys.into_iter().filter_map(|(key, value)| unified(key, value)));
    }
    Ok(list)
}

fn amount(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn memory(version: Version, memory: &LinuxMemory, list: &mut Vec<Property>) -> Result<(), CgroupError> {
    let limit = memory.limit().unwrap_or(0);
    let name = match version {
        Version::V1 => "MemoryLimit",
        Version::V2 => "MemoryMax",
    };
    if limit != 0 {
        list.push(property(name, Value::U64(amount(limit))));
    }
    if version == Version::V1 {
        return Ok(());
    }
    if let Some(reservation) = memory.reservation().filter(|v| *v != 0) {
        list.push(property("MemoryLow", Value::U64(amount(reservation))));
    }
    if let Some(swap) = memory_swap_to_v2(memory.swap().unwrap_or(0), limit)? {
        list.push(property("MemorySwapMax", Value::U64(swap.parse().unwrap_or(u64::MAX))));
    }
    Ok(())
}

fn cpu(version: Version, cpu: &LinuxCpu, list: &mut Vec<Property>) -> Result<(), CgroupError> {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        list.push(match version {
            Version::V1 => property("CPUShares", Value::U64(shares)),
            Version::V2 => property("CPUWeight", Value::U64(shares_to_weight(shares))),
        });
    }
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    if period != 0 {
        list.push(property("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    if quota != 0 || period != 0 {
        let period = if period == 0 { 100_000 } else { period };
        let per_second = match u64::try_from(quota) {
            Ok(quota) if quota > 0 => {
                // systemd keeps whole percents: a fraction is rounded up, the file gets the exact value afterwards.
                let exact = u128::from(quota) * 1_000_000 / u128::from(period);
                u64::try_from(exact).unwrap_or(u64::MAX).checked_next_multiple_of(10_000).unwrap_or(u64::MAX)
            }
            _ => u64::MAX,
        };
        list.push(property("CPUQuotaPerSecUSec", Value::U64(per_second)));
    }
    if version == Version::V2 {
        for (name, text) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
            if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                list.push(property(name, Value::Bytes(bit_mask(text)?)));
            }
        }
    }
    Ok(())
}

fn io(version: Version, io: &LinuxBlockIo, list: &mut Vec<Property>) {
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        list.push(match version {
            Version::V1 => property("BlockIOWeight", Value::U64(weight.into())),
            Version::V2 => property("IOWeight", Value::U64(blkio_weight_to_io_weight(weight))),
        });
    }
}

fn unified(key: &str, value: &str) -> Option<Property> {
    let name = match key {
        "memory.min" => "MemoryMin",
        "memory.low" => "MemoryLow",
        "memory.high" => "MemoryHigh",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        _ => return None,
    };
    let value = value.trim();
    let number = if value == "max" { u64::MAX } else { value.parse().ok()? };
    Some(property(name, Value::U64(number)))
}

/// `0-2,8` as bits, the lowest byte first.
fn bit_mask(text: &str) -> Result<Vec<u8>, CgroupError> {
    let invalid = || CgroupError::Invalid {
        limit: "cpuset",
        value: format!("{text:?}"),
        reason: "a list like 0-2,8 is expected",
    };
    let mut mask = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_unreadable| invalid());
        for bit in number(first)?..=number(last)? {
            let byte = usize::from(bit / 8);
            if mask.len() <= byte {
                mask.resize(byte + 1, 0);
            }
            mask[byte] |= 1 << (bit % 8);
        }
    }
    if mask.is_empty() { Err(invalid()) } else { Ok(mask) }
}

/// The device list. `groups` is the text of /proc/devices: a whole major number goes by its name there.
pub(super) fn of_devices(list: &DeviceList, groups: &str) -> Vec<Property> {
    let policy = if list.allow_by_default { "auto" } else { "strict" };
    let exceptions = if list.allow_by_default { &[][..] } else { &list.exceptions };
    // What cannot be named stays to the cgroup's own filter.
    let allowed = exceptions.iter().filter_map(|e| Some((device(e, groups)?, e.access.to_string())));
    vec![
        property("DevicePolicy", Value::Text(policy.to_owned())),
        property("DeviceAllow", Value::Pairs(allowed.collect())),
    ]
}

fn device(exception: &Exception, groups: &str) -> Option<String> {
    let (word, heading) = match exception.kind {
        DeviceKind::Block => ("block", "Block devices:"),
        DeviceKind::Char => ("char", "Character devices:"),
    };
    match (exception.major, exception.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{word}/{major}:{minor}")),
        (None, None) => Some(format!("{word}-*")),
        (None, Some(_)) => None,
        (Some(major), None) => {
            let lines = groups.lines().skip_while(|line| *line != heading).skip(1);
            let mut entries =
                lines.take_while(|line| !line.is_empty()).filter_map(|l| l.trim().split_once(' '));
            entries
                .find(|(number, _)| number.parse() == Ok(major))
                .map(|(_, name)| format!("{word}-{}", name.trim()))
        }
    }
}

/// Properties that the caller's annotations ask for (`org.systemd.property.NAME`), each a literal: `'text'`, `true`,
/// `uint64 5`, `['a', 'b']`. A name that ends in `Sec` is a time in seconds, which systemd calls `USec` and counts in
/// microseconds.
pub(super) fn of_annotations<'a>(
    annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Vec<Property>, CgroupError> {
    let mut list = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix("org.systemd.property.") else { continue };
        let invalid = || CgroupError::Invalid {
            limit: "annotation",
            value: format!("{key}={text:?}"),
            reason: "a property's value is like 'text', true, uint64 5 or ['a', 'b']",
        };
        if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(invalid());
        }
        let value = literal(text.trim()).ok_or_else(invalid)?;
        list.push(match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
            None => property(name, value),
            Some(stem) => {
                let seconds = match value {
                    Value::I32(seconds) => u64::try_from(seconds).ok(),
                    Value::U32(seconds) => Some(seconds.into()),
                    Value::U64(seconds) => Some(seconds),
                    _ => None,
                };
                let micros = seconds.and_then(|s| s.checked_mul(1_000_000)).ok_or_else(invalid)?;
                property(&format!("{stem}USec"), Value::U64(micros))
            }
        });
    }
    list.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(list)
}

fn literal(text: &str) -> Option<Value> {
    let quoted = |text: &str| {
        let inner = ['\'', '"'].into_iter().find_map(|q| text.trim().strip_prefix(q)?.strip_suffix(q))?;
        (!inner.contains(['\'', '"', '\\'])).then(|| inner.to_owned())
    };
    if let Some(text) = quoted(text) {
        return Some(Value::Text(text));
    }
    if let Some(list) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return list.split(',').map(quoted).collect::<Option<Vec<_>>>().map(Value::Texts);
    }
    let (kind, number) = text.split_once(' ').unwrap_or(("int32", text));
    match (text, kind) {
        ("true", _) => Some(Value::Bool(true)),
        ("false", _) => Some(Value::Bool(false)),
        (_, "int32") => number.parse().ok().map(Value::I32),
        (_, "uint32") => number.parse().ok().map(Value::U32),
        (_, "uint64") => number.parse().ok().map(Value::U64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(version: Version, json: &str) -> Vec<String> {
        let list = of_limits(version, &serde_json::from_str(json).unwrap()).unwrap();
        list.into_iter().map(|(name, value)| format!("{name} {value:?}")).collect()
    }

    const ALL: &str = r#"{"memory":{"limit":1000,"swap":1500,"reservation":500},"pids":{"limit":-1},
        "cpu":{"shares":1024,"quota":12345,"period":100000,"cpus":"0-2,9","mems":"0"},"blockIO":{"weight":500},
        "unified":{"memory.high":"max","cpu.max":"1 2"}}"#;

    #[test]
    fn limits_become_properties_of_the_unified_hierarchy() {
        let expected = [
            "MemoryMax U64(1000)",
            "MemoryLow U64(500)",
            "MemorySwapMax U64(500)",
            "CPUWeight U64(100)",
            "CPUQuotaPeriodUSec U64(100000)",
            "CPUQuotaPerSecUSec U64(130000)",
            "AllowedCPUs Bytes([7, 2])",
            "AllowedMemoryNodes Bytes([1])",
            "TasksMax U64(18446744073709551615)",
            "IOWeight U64(4950)",
            "MemoryHigh U64(18446744073709551615)",
        ];
        assert_eq!(limits(Version::V2, ALL), expected);
    }

    #[test]
    fn limits_have_their_old_names_on_v1() {
        let expected = [
            "MemoryLimit U64(1000)",
            "CPUShares U64(1024)",
            "CPUQuotaPeriodUSec U64(100000)",
            "CPUQuotaPerSecUSec U64(130000)",
            "TasksMax U64(18446744073709551615)",
            "BlockIOWeight U64(500)",
        ];
        assert_eq!(limits(Version::V1, ALL), expected);
        assert_eq!(limits(Version::V2, "{}"), Vec::<String>::new());
        assert_eq!(
            limits(Version::V2, r#"{"memory":{"limit":0},"cpu":{"quota":0},"pids":{"limit":0}}"#).len(),
            0
        );
    }

    #[test]
    fn a_lifted_quota_is_infinite() {
        let list = limits(Version::V2, r#"{"cpu":{"quota":-1}}"#);
        assert_eq!(list, ["CPUQuotaPerSecUSec U64(18446744073709551615)"]);
    }

    #[test]
    fn devices_go_by_number_and_whole_majors_by_name() {
        let mut list = DeviceList::deny_all();
        crate::devices::default_rules().iter().for_each(|rule| list.apply(rule));
        let groups = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n";
        let properties = of_devices(&list, groups);
        assert_eq!(properties[0].1, Value::Text("strict".into()));
        let Value::Pairs(pairs) = &properties[1].1 else { panic!("{properties:?}") };
        for (name, access) in
            [("char-*", "m"), ("block-*", "m"), ("/dev/char/1:3", "rwm"), ("char-pts", "rwm")]
        {
            assert!(pairs.contains(&(name.into(), access.into())), "{name} {access}: {pairs:?}");
        }
        let open = of_devices(&DeviceList::allow_all(), groups);
        assert_eq!(open[0].1, Value::Text("auto".into()));
        assert_eq!(open[1].1, Value::Pairs(Vec::new()));
    }

    #[test]
    fn annotations_carry_literals() {
        let read = |key: &str, value: &str| of_annotations([(&key.to_owned(), &value.to_owned())]);
        let ok = |key: &str, value: &str| read(key, value).unwrap();
        assert_eq!(
            ok("org.systemd.property.CollectMode", "'inactive-or-failed'"),
            [property("CollectMode", Value::Text("inactive-or-failed".into()))]
        );
        assert_eq!(
            ok("org.systemd.property.TimeoutStopSec", "uint64 5"),
            [property("TimeoutStopUSec", Value::U64(5_000_000))]
        );
        assert_eq!(
            ok("org.systemd.property.TimeoutStopUSec", "uint64 123456789"),
            [property("TimeoutStopUSec", Value::U64(123_456_789))]
        );
        assert_eq!(
            ok("org.systemd.property.After", "['a.service', 'b.service']"),
            [property("After", Value::Texts(vec!["a.service".into(), "b.service".into()]))]
        );
        assert_eq!(ok("io.other", "whatever"), []);
        for wrong in ["", "'a", "uint64 -1", "gibberish"] {
            let error = read("org.systemd.property.Foo", wrong).unwrap_err().to_string();
            assert!(error.contains("org.systemd.property.Foo"), "{error}");
        }
    }
}
