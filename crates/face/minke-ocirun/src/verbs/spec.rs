//! `spec`: a configuration to start from, in the bundle's directory.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::flags::Parsed;
use crate::state::OCI_VERSION;
use crate::{Globals, OciError};

pub(super) fn spec(_: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let path = parsed.path("bundle").unwrap_or_else(|| ".".into()).join("config.json");
    if path.exists() {
        let text = format!("File {} exists. Remove it first", path.display());
        return Err(OciError::Usage(text));
    }
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let document = if parsed.is_set("rootless") { rootless(ids) } else { rooted() };
    std::fs::write(&path, pretty(&document)).map_err(|e| OciError::io("write", &path, e))?;
    Ok(ExitCode::SUCCESS)
}

/// Tabs, as runc writes it.
fn pretty(document: &Value) -> Vec<u8> {
    use serde::Serialize;
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut out, format);
    document.serialize(&mut writer).expect("JSON is JSON");
    out
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

fn rooted() -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "minke",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"])
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// Without privileges: the caller's own ids become root, the host's network stays, and what needs real root goes.
fn rootless((uid, gid): (u32, u32)) -> Value {
    let mut document = rooted();
    let linux = &mut document["linux"];
    let namespaces = linux["namespaces"].as_array_mut().expect("made above");
    namespaces.retain(|n| n["type"] != "network");
    namespaces.push(json!({"type": "user"}));
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    linux.as_object_mut().expect("made above").remove("resources");
    let mounts = document["mounts"].as_array_mut().expect("made above");
    // sysfs can only be mounted by the owner of the network namespace.
    mounts.retain(|m| m["destination"] != "/sys");
    for mount in mounts.iter_mut() {
        if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
            options.retain(|o| !o.as_str().is_some_and(|o| o.starts_with("gid=") || o.starts_with("uid=")));
        }
    }
    let at = mounts.iter().position(|m| m["destination"] == "/sys/fs/cgroup").unwrap_or(mounts.len());
    mounts.insert(at, mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]));
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_documents_read_as_configurations() {
        for document in [rooted(), rootless((1000, 1000))] {
            let spec: oci_spec::runtime::Spec = serde_json::from_value(document).unwrap();
            assert_eq!(spec.version(), OCI_VERSION);
        }
    }

    #[test]
    fn the_rootless_one_maps_the_caller_and_keeps_the_hosts_network() {
        let document = rootless((1000, 1001));
        assert_eq!(document["linux"]["uidMappings"][0]["hostID"], 1000);
        assert_eq!(document["linux"]["gidMappings"][0]["hostID"], 1001);
        let namespaces = document["linux"]["namespaces"].to_string();
        assert!(namespaces.contains("user") && !namespaces.contains("network"));
        assert!(!document["mounts"].to_string().contains("gid=5"));
        assert!(document["linux"]["resources"].is_null());
    }

    #[test]
    fn the_file_is_indented_by_tabs() {
        let text = String::from_utf8(pretty(&rooted())).unwrap();
        assert!(text.starts_with(&format!("{{\n\t\"ociVersion\": \"{OCI_VERSION}\"")), "{text}");
    }
}
