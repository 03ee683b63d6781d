//! Which filter of system calls a container gets, compiled once per set of capabilities.
//!
//! The default profile depends on the container's capabilities, a profile of the user's on its own text. Compiling
//! takes longer than starting a process should, so the result is kept; the keeper gets finished instructions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use minke_keeper::protocol::SeccompFilter;
use minke_seccomp::{Kernel, Machine, default_profile};
use oci_spec::runtime::{Capabilities, Capability, LinuxSeccomp};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::spec::HostFacts;
use crate::spec::capabilities::to_mask;
use crate::spec::security::Seccomp;

/// How many compiled filters are kept.
const KEPT: usize = 32;

/// Compiled filters, by what they were compiled from.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    compiled: Mutex<HashMap<(u64, String), Arc<SeccompFilter>>>,
}

impl Filters {
    /// The filter of a container with these capabilities; `None` for none.
    pub(crate) fn filter(
        &self,
        choice: &Seccomp,
        capabilities: &Capabilities,
        facts: &HostFacts,
    ) -> Result<Option<SeccompFilter>> {
        let text = match choice {
            Seccomp::Unconfined => return Ok(None),
            Seccomp::Default | Seccomp::Builtin => String::new(),
            Seccomp::Profile(text) => text.clone(),
        };
        let key = (to_mask(capabilities), text);
        let kept = self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(filter) = kept {
            return Ok(Some((*filter).clone()));
        }
        let Some(profile) = profile(choice, capabilities, facts)? else { return Ok(None) };
        let program = minke_seccomp::compile(&profile)
            .map_err(|source| Error::failed("the seccomp profile cannot be used", source))?;
        if program.notifies {
            return Err(Error::invalid("seccomp profiles that notify a listener are not built yet"));
        }
        let mut bytes = Vec::with_capacity(program.instructions.len() * 8);
        for instruction in &program.instructions {
            bytes.extend_from_slice(&instruction.code.to_ne_bytes());
            bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
            bytes.extend_from_slice(&instruction.k.to_ne_bytes());
        }
        let filter = Arc::new(SeccompFilter { program: bytes, flags: program.flags });
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= KEPT {
            compiled.clear();
        }
        compiled.insert(key, Arc::clone(&filter));
        Ok(Some((*filter).clone()))
    }
}

/// The profile of a container with these capabilities; `None` for none.
pub(crate) fn profile(
    choice: &Seccomp,
    capabilities: &Capabilities,
    facts: &HostFacts,
) -> Result<Option<LinuxSeccomp>> {
    match choice {
        Seccomp::Unconfined => Ok(None),
        Seccomp::Profile(text) => parse_profile(text, capabilities, facts).map(Some),
        Seccomp::Default | Seccomp::Builtin => {
            let list: Vec<Capability> = capabilities.iter().copied().collect();
            Ok(Some(default_profile(&list, Kernel::parse(&facts.kernel), Machine::NATIVE)))
        }
    }
}

/// Docker's form of a profile (`archMap`, `includes`, `excludes`) or plain OCI, as OCI.
fn parse_profile(text: &str, capabilities: &Capabilities, facts: &HostFacts) -> Result<LinuxSeccomp> {
    let refuse = |source: serde_json::Error| {
        Error::system(format!("Decoding seccomp profile failed: {source}")).caused_by(source)
    };
    let mut profile: Value = serde_json::from_str(text).map_err(refuse)?;
    let Some(map) = profile.as_object_mut() else {
        return Err(Error::system("Decoding seccomp profile failed: it is not a JSON object"));
    };
    if let Some(arch_map) = map.remove("archMap")
        && !arch_map.is_null()
    {
        let native = native_arch(&facts.machine);
        let entry = arch_map.as_array().into_iter().flatten().find(|entry| entry["architecture"] == native);
        if let Some(entry) = entry {
            let mut list = vec![Value::from(native)];
            list.extend(entry["subArchitectures"].as_array().into_iter().flatten().cloned());
            map.insert("architectures".to_owned(), Value::Array(list));
        }
    }
    map.remove("defaultErrno");
    if let Some(rules) = map.get_mut("syscalls").and_then(Value::as_array_mut) {
        rules.retain(|rule| applies(rule, capabilities, facts));
        for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
            for key in ["includes", "excludes", "comment", "errno"] {
                rule.remove(key);
            }
            if let Some(name) = rule.remove("name") {
                rule.insert("names".to_owned(), Value::Array(vec![name]));
            }
            if rule.get("args").is_some_and(Value::is_null) {
                rule.remove("args");
            }
        }
    }
    serde_json::from_value(profile).map_err(refuse)
}

fn native_arch(machine: &str) -> &'static str {
    match machine {
        "aarch64" => "SCMP_ARCH_AARCH64",
        "riscv64" => "SCMP_ARCH_RISCV64",
        "s390x" => "SCMP_ARCH_S390X",
        "ppc64le" => "SCMP_ARCH_PPC64LE",
        _ => "SCMP_ARCH_X86_64",
    }
}

/// Whether a rule with Docker's conditions is for this container on this host.
fn applies(rule: &Value, capabilities: &Capabilities, facts: &HostFacts) -> bool {
    let has = |name: &Value| {
        let name = name.as_str().unwrap_or_default();
        crate::spec::capabilities::parse(name).is_ok_and(|capability| capabilities.contains(&capability))
    };
    let arch = facts.architecture();
    let here = |name: &Value| name.as_str() == Some(arch);
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
    let kernel_at_least = |value: &Value| match value["minKernel"].as_str() {
        Some(text) => Kernel::parse(&facts.kernel) >= Kernel::parse(text),
        None => true,
    };
    let (arches, caps) = (list(includes, "arches"), list(includes, "caps"));
    (arches.is_empty() || arches.iter().any(here))
        && caps.iter().all(has)
        && kernel_at_least(includes)
        && !list(excludes, "arches").iter().any(here)
        && !list(excludes, "caps").iter().any(has)
        && (excludes["minKernel"].is_null() || !kernel_at_least(excludes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::capabilities::DEFAULT;

    fn facts() -> HostFacts {
        HostFacts { kernel: "6.18.0".into(), machine: "x86_64".into(), ..HostFacts::default() }
    }

    #[test]
    fn a_filter_is_compiled_once_per_set() {
        let filters = Filters::default();
        let set: Capabilities = DEFAULT.into_iter().collect();
        let first =
            filters.filter(&Seccomp::Default, &set, &facts()).expect("compiles").expect("there is one");
        let again =
            filters.filter(&Seccomp::Default, &set, &facts()).expect("compiles").expect("there is one");
        assert_eq!(first, again);
        assert!(first.program.len() > 64 && first.program.len() % 8 == 0);
        assert!(filters.filter(&Seccomp::Unconfined, &set, &facts()).expect("nothing to do").is_none());
    }

    #[test]
    fn dockers_conditions_are_resolved() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO",
            "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
            "syscalls":[
              {"names":["read"],"action":"SCMP_ACT_ALLOW","args":null,"includes":{},"excludes":{}},
              {"name":"mount","action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
              {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
              {"names":["clone"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_CHOWN"]}}]}"#;
        let set: Capabilities = DEFAULT.into_iter().collect();
        let profile = parse_profile(text, &set, &facts()).expect("well formed");
        let names: Vec<_> =
            profile.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect();
        assert_eq!(names, ["read", "ptrace"]);
        assert_eq!(profile.architectures().as_ref().map(Vec::len), Some(2));
    }

    #[test]
    fn nonsense_is_refused() {
        let error = parse_profile("nope", &Capabilities::new(), &facts()).expect_err("no JSON");
        assert!(error.message().starts_with("Decoding seccomp profile failed"), "{error}");
    }
}
