//! What is set once the container's tree stands: names, kernel parameters, hidden and protected paths, personality.

use std::path::Path;

use minke_sys::spawn::flags;
use oci_spec::runtime::{Linux, LinuxPersonalityDomain, Process, Spec};

use super::namespaces::Namespaces;
use super::{Inputs, c_path, c_string, process, process_inputs};
use crate::error::LaunchError;
use crate::steps::Step;

pub(super) fn plan_settings(
    steps: &mut Vec<Step>,
    spec: &Spec,
    linux: &Linux,
    process: &Process,
    namespaces: &Namespaces,
    inputs: &Inputs<'_>,
) -> Result<(), LaunchError> {
    for (name, what) in [(spec.hostname(), "hostname"), (spec.domainname(), "domainname")] {
        let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else { continue };
        if !namespaces.is_own(flags::NEWUTS) {
            return Err(LaunchError::plan(format!("unable to set {what} without a private UTS namespace")));
        }
        let name = c_string(name, what)?;
        steps.push(if what == "hostname" { Step::Hostname(name) } else { Step::Domainname(name) });
    }
    let mut sysctls: Vec<_> = linux.sysctl().iter().flatten().collect();
    sysctls.sort();
    for (key, value) in sysctls {
        steps.push(plan_sysctl(key, value, namespaces, inputs.netns)?);
    }
    for path in linux.readonly_paths().iter().flatten() {
        steps.push(Step::ReadOnlyPath(c_path(Path::new(path), "readonlyPaths")?));
    }
    for path in linux.masked_paths().iter().flatten() {
        steps.push(Step::MaskPath(c_path(Path::new(path), "maskedPaths")?));
    }
    process::plan_settings(process, process_inputs(inputs), steps)?;
    if let Some(personality) = linux.personality() {
        if let Some(flag) = personality.flags().iter().flatten().next() {
            return Err(LaunchError::plan(format!("personality flag {flag:?} is not supported")));
        }
        let domain = match personality.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8,
        };
        steps.push(Step::Personality(domain));
    }
    Ok(())
}

/// A kernel parameter that would change the host's setting is refused.
fn plan_sysctl(key: &str, value: &str, namespaces: &Namespaces, netns: bool) -> Result<Step, LaunchError> {
    let dotted = key.replace('/', ".");
    let ipc = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let separate = "is not in a separate kernel namespace";
    let (own, why) = if ipc.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        (namespaces.is_own(flags::NEWIPC), "is not allowed in the hosts ipc namespace")
    } else if dotted.starts_with("net.") {
        (netns || namespaces.is_own(flags::NEWNET), "not allowed in host network namespace")
    } else if dotted == "kernel.domainname" || dotted == "kernel.hostname" {
        (namespaces.is_own(flags::NEWUTS), separate)
    } else {
        (dotted.starts_with("user.") && namespaces.is_own(flags::NEWUSER), separate)
    };
    if !own {
        return Err(LaunchError::plan(format!("sysctl {key:?} {why}")));
    }
    // A dot separates unless the name uses slashes, where a dot is part of it (eth0.100).
    let slashed = match (key.find('/'), key.find('.')) {
        (Some(slash), Some(dot)) if slash < dot => key.to_owned(),
        (Some(_), None) => key.to_owned(),
        _ => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
    };
    if slashed.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(LaunchError::plan(format!("sysctl {key:?} is not a name of a kernel parameter")));
    }
    Ok(Step::Sysctl {
        key: c_string(key, "sysctl")?,
        path: c_string(&format!("sys/{slashed}"), "sysctl")?,
        value: c_string(value, "sysctl")?,
    })
}
