//! Which device nodes a container has and which it may use.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use minke_api::container::DeviceMapping;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use crate::error::{Error, Result};

/// Nodes that go into the container and the rules that let it use them.
#[derive(Clone, Debug, Default)]
pub struct DevicePlan {
    /// Nodes beyond the runtime's standard ones.
    pub nodes: Vec<LinuxDevice>,
    /// Rules in order, the last match decides.
    pub rules: Vec<LinuxDeviceCgroup>,
}

fn rule(
    allow: bool,
    typ: Option<LinuxDeviceType>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow).set_typ(typ).set_major(major).set_minor(minor).set_access(Some(access.to_owned()));
    rule
}

/// The standing rules: nothing, except the harmless character devices.
pub fn default_rules() -> Vec<LinuxDeviceCgroup> {
    let c = Some(LinuxDeviceType::C);
    let mut rules = vec![rule(false, None, None, None, "rwm")];
    for (major, minor) in [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)] {
        rules.push(rule(true, c, Some(major), Some(minor), "rwm"));
    }
    rules.push(rule(false, c, Some(10), Some(229), "rwm"));
    rules
}

/// The rules of a container that may use everything.
pub fn all_rules() -> Vec<LinuxDeviceCgroup> {
    vec![rule(true, None, None, None, "rwm")]
}

/// Reads the host's nodes for `--device` and `--device-cgroup-rule`.
pub fn read_devices(mappings: &[DeviceMapping], cgroup_rules: &[String]) -> Result<DevicePlan> {
    let mut plan = DevicePlan { nodes: Vec::new(), rules: default_rules() };
    for mapping in mappings {
        let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
        if access.is_empty() || !access.bytes().all(|b| matches!(b, b'r' | b'w' | b'm')) {
            return Err(Error::invalid(format!("invalid device mode: {access}")));
        }
        let inside = if mapping.path_in_container.is_empty() {
            &mapping.path_on_host
        } else {
            &mapping.path_in_container
        };
        let nodes = read_nodes(Path::new(&mapping.path_on_host), Path::new(inside))?;
        for node in &nodes {
            plan.rules.push(rule(true, Some(node.typ()), Some(node.major()), Some(node.minor()), access));
        }
        plan.nodes.extend(nodes);
    }
    for text in cgroup_rules {
        plan.rules.push(parse_rule(text)?);
    }
    Ok(plan)
}

/// Every node under the host's `/dev`, for `--privileged`.
pub fn read_all() -> Vec<LinuxDevice> {
    let mut nodes = Vec::new();
    // What the container has of its own is skipped, as Docker does.
    collect(
        Path::new("/dev"),
        Path::new("/dev"),
        &mut nodes,
        &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"],
    );
    nodes.retain(|node| node.path() != Path::new("/dev/console"));
    nodes
}

fn read_nodes(host: &Path, inside: &Path) -> Result<Vec<LinuxDevice>> {
    let real = std::fs::canonicalize(host).map_err(|source| missing(host, &source))?;
    let metadata = std::fs::metadata(&real).map_err(|source| missing(host, &source))?;
    if metadata.is_dir() {
        let mut nodes = Vec::new();
        collect(&real, inside, &mut nodes, &[]);
        if nodes.is_empty() {
            return Err(Error::system(format!(
                "error gathering device information while adding custom device {host:?}: not a device node"
            )));
        }
        return Ok(nodes);
    }
    match node(&metadata, inside) {
        Some(node) => Ok(vec![node]),
        None => Err(Error::system(format!(
            "error gathering device information while adding custom device {host:?}: not a device node"
        ))),
    }
}

fn missing(host: &Path, source: &std::io::Error) -> Error {
    let why = if source.kind() == std::io::ErrorKind::NotFound {
        "no such file or directory".to_owned()
    } else {
        source.to_string()
    };
    Error::system(format!("error gathering device information while adding custom device {host:?}: {why}"))
}

fn collect(directory: &Path, inside: &Path, nodes: &mut Vec<LinuxDevice>, skip: &[&str]) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        if skip.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let Ok(metadata) = std::fs::symlink_metadata(entry.path()) else { continue };
        let target: PathBuf = inside.join(&name);
        if metadata.is_dir() {
            collect(&entry.path(), &target, nodes, &[]);
        } else if let Some(node) = node(&metadata, &target) {
            nodes.push(node);
        }
    }
}

fn node(metadata: &std::fs::Metadata, inside: &Path) -> Option<LinuxDevice> {
    let kind = metadata.file_type();
    let typ = if kind.is_char_device() {
        LinuxDeviceType::C
    } else if kind.is_block_device() {
        LinuxDeviceType::B
    } else {
        return None;
    };
    let number = metadata.rdev();
    let mut node = LinuxDevice::default();
    node.set_path(inside.to_path_buf())
        .set_typ(typ)
        .set_major(i64::from(rustix::fs::major(number)))
        .set_minor(i64::from(rustix::fs::minor(number)))
        .set_file_mode(Some(metadata.mode() & 0o7777))
        .set_uid(Some(metadata.uid()))
        .set_gid(Some(metadata.gid()));
    Some(node)
}

/// `c 1:3 rwm`, `b *:* r`, `a *:* rwm`.
pub fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let refuse = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let mut words = text.split_whitespace();
    let (Some(typ), Some(numbers), Some(access), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(refuse());
    };
    let typ = match typ {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(refuse()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(refuse)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse::<i64>().map(Some).map_err(|source| refuse().caused_by(source)),
    };
    if access.len() > 3 || !access.bytes().all(|b| matches!(b, b'r' | b'w' | b'm')) {
        return Err(refuse());
    }
    Ok(rule(true, Some(typ), number(major)?, number(minor)?, access))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_type_numbers_and_access() {
        let rule = parse_rule("c 42:* rmw").expect("well formed");
        assert_eq!((rule.major(), rule.minor(), rule.access().as_deref()), (Some(42), None, Some("rmw")));
        for bad in ["zz", "x 1:1 r", "c 1 r", "c 1:1 q", "c 1:1 r w"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_of_the_host_brings_its_rule() {
        let mapping = DeviceMapping { path_on_host: "/dev/full".into(), ..DeviceMapping::default() };
        let plan = read_devices(&[mapping], &[]).expect("every Linux has /dev/full");
        assert_eq!((plan.nodes[0].major(), plan.nodes[0].minor()), (1, 7));
        assert_eq!(plan.rules.last().and_then(|rule| rule.minor()), Some(7));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let mapping = DeviceMapping { path_on_host: "/dev/nope".into(), ..DeviceMapping::default() };
        let error = read_devices(&[mapping], &[]).expect_err("not there");
        assert_eq!(
            error.message(),
            "error gathering device information while adding custom device \"/dev/nope\": no such file or directory"
        );
    }
}
