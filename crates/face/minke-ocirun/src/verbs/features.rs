//! `features`: what this runtime understands, as the runtime specification wants it told.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::flags::Parsed;
use crate::report::print;
use crate::state::OCI_VERSION;
use crate::{Globals, OciError};

pub(super) fn features(_: &Globals, _: &Parsed) -> Result<ExitCode, OciError> {
    let text = serde_json::to_string_pretty(&document()).expect("JSON is JSON");
    print(&(text + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn capabilities() -> Vec<String> {
    minke_sys::caps::NAMES.iter().map(|name| format!("CAP_{name}")).collect()
}

fn document() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": minke_runtime::plan::mounts::option_words(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities(),
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"
                ],
                "archs": [
                    "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_PPC64LE",
                    "SCMP_ARCH_RISCV64", "SCMP_ARCH_S390X", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"
                ],
                "knownFlags": [
                    "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
                    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
                ],
                "supportedFlags": [
                    "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
                    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
                ]
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": true}}
        },
        "annotations": {
            "io.minke.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.runc.checkpoint.enabled": "false"
        },
        "potentiallyUnsafeConfigAnnotations": []
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_named_is_one_the_configuration_can_name() {
        assert_eq!(capabilities().len(), 41);
        for name in capabilities() {
            let parsed: Result<oci_spec::runtime::Capability, _> = name.trim_start_matches("CAP_").parse();
            assert!(parsed.is_ok(), "{name}");
        }
    }

    #[test]
    fn the_document_reads_as_the_specifications_type() {
        let features: oci_spec::runtime::Features = serde_json::from_value(document()).unwrap();
        assert_eq!(features.oci_version_max(), OCI_VERSION);
    }
}
