use std::collections::BTreeSet;

use super::*;
use crate::tests::judge;
use crate::{compile_for, names};

const NOW: Kernel = Kernel { major: 6, minor: 18 };
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn ask(capabilities: &[Capability], name: &str, args: [u64; 6]) -> u32 {
    judge(&default_profile(capabilities, NOW, Machine::X86_64), Machine::X86_64, name, args)
}

#[test]
fn every_call_is_sorted_into_exactly_one_kind() {
    let withheld: Vec<&str> = WITHHELD.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let unique: BTreeSet<&str> = withheld.iter().copied().collect();
    assert_eq!(unique.len(), withheld.len(), "a call is withheld for one reason");
    let known: BTreeSet<&str> = names().collect();
    let groups = BY_CAPABILITY.iter().map(|(_, n)| *n).chain(BY_MACHINE.iter().map(|(_, n)| *n));
    for name in withheld.iter().chain(groups.flatten()).chain(CONDITIONAL) {
        assert!(known.contains(name), "{name} is in no table");
    }
    // Docker's profile of engine 28 and 29 allows the same 361 without a condition.
    assert_eq!((plain_names().count(), withheld.len(), known.len()), (361, 72, 498));
}

#[test]
fn namespaces_need_the_administrator() {
    assert_eq!(ask(&[], "clone", [0x11, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask(&[], "clone", [0x1000_0011, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(ask(&[], "clone3", [0; 6]), ENOSYS);
    assert_eq!(ask(&[], "unshare", [0; 6]), EPERM);
    for name in ["clone", "clone3", "unshare", "mount", "setns", "bpf"] {
        assert_eq!(ask(&[Capability::SysAdmin], name, [0x1000_0011, 0, 0, 0, 0, 0]), ALLOW, "{name}");
    }
}

#[test]
fn sockets_to_the_hypervisor_and_into_kernel_crypto_are_closed() {
    for (family, expected) in
        [(1, ALLOW), (2, ALLOW), (37, ALLOW), (38, EPERM), (39, ALLOW), (40, EPERM), (44, ALLOW)]
    {
        assert_eq!(ask(&[], "socket", [family, 0, 0, 0, 0, 0]), expected, "family {family}");
    }
}

#[test]
fn only_harmless_personalities_can_be_taken_on() {
    for (persona, expected) in [
        (0, ALLOW),
        (8, ALLOW),
        (0x20000, ALLOW),
        (0x20008, ALLOW),
        (0xffff_ffff, ALLOW),
        (0x0004_0000, EPERM),
    ] {
        assert_eq!(ask(&[], "personality", [persona, 0, 0, 0, 0, 0]), expected, "{persona:#x}");
    }
}

#[test]
fn tracing_needs_a_kernel_that_filters_the_traced_or_the_capability() {
    let old = Kernel { major: 4, minor: 7 };
    let on = |kernel, caps: &[Capability]| {
        judge(&default_profile(caps, kernel, Machine::X86_64), Machine::X86_64, "ptrace", [0; 6])
    };
    assert_eq!(on(old, &[]), EPERM);
    assert_eq!(on(old, &[Capability::SysPtrace]), ALLOW);
    assert_eq!(on(Kernel { major: 4, minor: 8 }, &[]), ALLOW);
}

/// Tracing is open to all on this kernel.
const OPEN_TO_ALL: [&str; 3] = ["process_vm_readv", "process_vm_writev", "ptrace"];

#[test]
fn a_capability_opens_its_calls_and_no_others() {
    for (capability, names) in BY_CAPABILITY {
        for name in *names {
            if Machine::X86_64.number(name).is_some() {
                let without = ask(&[], name, [u64::MAX; 6]);
                assert_eq!(ask(&[*capability], name, [u64::MAX; 6]), ALLOW, "{name}");
                assert_eq!(without == ALLOW, OPEN_TO_ALL.contains(name), "{name}");
            }
        }
    }
    assert_eq!(ask(&[Capability::SysTime], "reboot", [0; 6]), EPERM);
    for name in ["keyctl", "io_uring_setup", "kexec_load", "userfaultfd", "pivot_root"] {
        assert_eq!(ask(&[Capability::SysAdmin], name, [0; 6]), EPERM, "{name}");
    }
}

#[test]
fn kernel_releases_are_read_up_to_the_minor_number() {
    assert_eq!(Kernel::parse("6.18.44-fc-v669"), Kernel { major: 6, minor: 18 });
    assert_eq!(Kernel::parse("5.10"), Kernel { major: 5, minor: 10 });
    assert_eq!(Kernel::parse("odd"), Kernel { major: 0, minor: 0 });
}

#[test]
fn the_program_stays_small_and_shallow() {
    let program = compile_for(&default_profile(&[], NOW, Machine::X86_64), Machine::X86_64).unwrap();
    assert!(program.instructions.len() < 450, "{} instructions", program.instructions.len());
    assert!(!program.notifies);
}

/// By hand: `MINKE_DOCKER_PROFILE=…/default.json cargo test -p minke-seccomp -- --ignored` with moby's profile.
#[test]
#[ignore = "needs moby's default profile, which is not part of this repository"]
fn nothing_is_allowed_that_docker_forbids() {
    let path = std::env::var_os("MINKE_DOCKER_PROFILE").expect("MINKE_DOCKER_PROFILE names moby's profile");
    let docker: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let every: Vec<Capability> = BY_CAPABILITY.iter().map(|(c, _)| *c).collect();
    let sets: Vec<Vec<Capability>> =
        std::iter::once(Vec::new()).chain(every.iter().map(|c| vec![*c])).chain([every.clone()]).collect();
    let values = [0, 1, 8, 37, 38, 39, 40, 41, 0x11, 0x20000, 0x20008, 0x1000_0000, 0x4000_0000, 0xffff_ffff];
    let mut stricter = BTreeSet::new();
    for caps in &sets {
        for (machine, arch) in [
            (Machine::X86_64, "amd64"),
            (Machine::Aarch64, "arm64"),
            (Machine::Riscv64, "riscv64"),
            (Machine::S390x, "s390x"),
        ] {
            let theirs = docker_profile(&docker, caps, arch);
            let ours = default_profile(caps, NOW, machine);
            for name in names().filter(|n| machine.number(n).is_some()) {
                for value in values {
                    let args = [value; 6];
                    let (a, b) = (judge(&ours, machine, name, args), judge(&theirs, machine, name, args));
                    if a != b {
                        assert_ne!(a, ALLOW, "{name} {value:#x} {caps:?} {arch}");
                        stricter.insert((name, a, b));
                    }
                }
            }
        }
    }
    assert!(stricter.is_empty(), "stricter or differently refused: {stricter:?}");
}

/// moby's template with its conditions resolved.
fn docker_profile(template: &serde_json::Value, caps: &[Capability], arch: &str) -> LinuxSeccomp {
    let list = |value: &serde_json::Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    let caps: Vec<String> = caps.iter().map(|c| format!("CAP_{c}")).collect();
    let applies = |rule: &serde_json::Value| {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let arches = list(&includes["arches"]);
        let wanted = list(&includes["caps"]);
        (arches.is_empty() || arches.iter().any(|a| a == arch))
            && wanted.iter().all(|c| caps.contains(c))
            && !list(&excludes["caps"]).iter().any(|c| caps.contains(c))
            && !list(&excludes["arches"]).iter().any(|a| a == arch)
    };
    let rules: Vec<_> =
        template["syscalls"].as_array().unwrap().iter().filter(|r| applies(r)).cloned().collect();
    let json = serde_json::json!({"defaultAction": template["defaultAction"], "defaultErrnoRet": 1, "syscalls": rules});
    serde_json::from_value(json).unwrap()
}
