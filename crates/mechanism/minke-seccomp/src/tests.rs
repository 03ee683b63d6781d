use oci_spec::runtime::{LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};
use proptest::prelude::*;

use super::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_PROCESS: u32 = 0x8000_0000;

/// One call as the kernel shows it to a filter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) machine: Machine,
    pub(crate) number: u32,
    pub(crate) args: [u64; 6],
}

/// Runs classic BPF the way the kernel does, for the instructions this compiler makes.
pub(crate) fn run(program: &[sock_filter], call: Call) -> u32 {
    let mut data = Vec::new();
    data.extend(call.number.to_ne_bytes());
    data.extend(call.machine.audit().to_ne_bytes());
    data.extend(0u64.to_ne_bytes());
    for arg in call.args {
        let words = [arg & 0xffff_ffff, arg >> 32].map(|w| u32::try_from(w).unwrap());
        let words = if call.machine.is_big_endian() { [words[1], words[0]] } else { words };
        words.iter().for_each(|w| data.extend(w.to_ne_bytes()));
    }
    let (mut at, mut a) = (0usize, 0u32);
    loop {
        let step = program[at];
        at += 1;
        let hop = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
        match step.code {
            0x20 => {
                let offset = step.k as usize;
                a = u32::from_ne_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            0x54 => a &= step.k,
            0x05 => at += step.k as usize,
            0x15 => at += hop(a == step.k),
            0x25 => at += hop(a > step.k),
            0x35 => at += hop(a >= step.k),
            0x06 => return step.k,
            code => panic!("instruction {code:#x}"),
        }
    }
}

fn profile(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).unwrap()
}

fn answer(json: &str, machine: Machine, name: &str, args: [u64; 6]) -> u32 {
    let program = compile_for(&profile(json), Machine::X86_64).unwrap();
    let number = machine.number(name).unwrap();
    run(&program.instructions, Call { machine, number, args })
}

#[test]
fn each_action_has_its_return_value() {
    for (action, errno, expected) in [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, KILL_PROCESS),
        ("SCMP_ACT_TRAP", None, 0x0003_0000),
        ("SCMP_ACT_ERRNO", None, EPERM),
        ("SCMP_ACT_ERRNO", Some(38), ENOSYS),
        ("SCMP_ACT_NOTIFY", None, 0x7fc0_0000),
        ("SCMP_ACT_TRACE", Some(7), 0x7ff0_0007),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
    ] {
        let errno = errno.map_or(String::new(), |e| format!(r#","errnoRet":{e}"#));
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["mkdir"],"action":"{action}"{errno}}}]}}"#
        );
        assert_eq!(answer(&json, Machine::X86_64, "mkdir", [0; 6]), expected, "{action}");
        assert_eq!(answer(&json, Machine::X86_64, "rmdir", [0; 6]), ALLOW, "{action}");
    }
}

#[test]
fn calls_newer_than_the_profile_answer_enosys_and_older_ones_the_default() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read","clone3"],"action":"SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(answer(json, Machine::X86_64, "read", [0; 6]), ALLOW);
    assert_eq!(answer(json, Machine::X86_64, "write", [0; 6]), EPERM);
    assert_eq!(answer(json, Machine::X86_64, "clone3", [0; 6]), ALLOW);
    assert_eq!(answer(json, Machine::X86_64, "openat2", [0; 6]), ENOSYS);
}

#[test]
fn a_permissive_default_lets_new_calls_through() {
    let json =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#;
    assert_eq!(answer(json, Machine::X86_64, "openat2", [0; 6]), ALLOW);
}

#[test]
fn unknown_names_are_passed_over() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["not_a_call","read"],"action":"SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(answer(json, Machine::X86_64, "read", [0; 6]), ALLOW);
}

#[test]
fn an_architecture_that_is_not_listed_is_killed_and_a_listed_one_judged() {
    let rules = r#""syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]"#;
    let alone = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO",{rules}}}"#);
    let both = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32","SCMP_ARCH_MIPS"],{rules}}}"#
    );
    for machine in [Machine::X86, Machine::X32] {
        assert_eq!(answer(&alone, machine, "read", [0; 6]), KILL_PROCESS, "{machine:?}");
        assert_eq!(answer(&both, machine, "read", [0; 6]), ALLOW, "{machine:?}");
        assert_eq!(answer(&both, machine, "write", [0; 6]), ENOSYS, "{machine:?}");
    }
    assert_eq!(answer(&alone, Machine::Aarch64, "read", [0; 6]), KILL_PROCESS);
}

#[test]
fn a_call_number_of_minus_one_gets_the_default() {
    let json =
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let program = compile_for(&profile(json), Machine::X86_64).unwrap();
    let call = Call { machine: Machine::X86_64, number: u32::MAX, args: [0; 6] };
    assert_eq!(run(&program.instructions, call), EPERM);
}

#[test]
fn an_unconditional_rule_wins_over_conditions_and_the_default_action_is_no_rule() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]},
        {"names":["socket"],"action":"SCMP_ACT_ERRNO"},
        {"names":["mkdir"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":2,"op":"SCMP_CMP_EQ"}]},
        {"names":["mkdir"],"action":"SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(answer(json, Machine::X86_64, "socket", [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(json, Machine::X86_64, "socket", [1, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(answer(json, Machine::X86_64, "mkdir", [0; 6]), ALLOW);
}

#[test]
fn two_conditions_on_one_argument_mean_either() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[
        {"index":0,"value":2,"op":"SCMP_CMP_EQ"},{"index":0,"value":10,"op":"SCMP_CMP_EQ"}]}]}"#;
    for (family, expected) in [(2, ALLOW), (10, ALLOW), (16, EPERM)] {
        assert_eq!(answer(json, Machine::X86_64, "socket", [family, 0, 0, 0, 0, 0]), expected);
    }
}

#[test]
fn a_forbidden_call_is_forbidden_through_the_i386_multiplexer_too() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],
        "syscalls":[{"names":["bind","shmat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    assert_eq!(answer(json, Machine::X86, "socketcall", [2, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(answer(json, Machine::X86, "socketcall", [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(json, Machine::X86, "ipc", [21, 0, 0, 0, 0, 0]), EPERM);
}

#[test]
fn profiles_that_cannot_work_are_refused_with_the_reason() {
    let refuse = |json: &str| compile(&profile(json)).unwrap_err();
    let by_default = refuse(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#);
    assert_eq!(by_default, SeccompError::NotifyByDefault);
    let write = refuse(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY"}]}"#,
    );
    assert_eq!(write, SeccompError::NotifyOnWrite);
    let errno = refuse(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":5000}]}"#,
    );
    assert_eq!(errno, SeccompError::Errno { value: 5000, limit: 4095 });
    let index = refuse(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO",
            "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    assert_eq!(index, SeccompError::Argument { name: "read".into(), index: 6 });
}

#[test]
fn flags_are_passed_on_and_default_to_speculation_allowed() {
    let of = |json: &str| compile(&profile(json)).unwrap().flags;
    assert_eq!(of(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#), 4);
    assert_eq!(of(r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":[]}"#), 0);
    let all = r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW","SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#;
    assert_eq!(of(all), 1 | 2 | 4 | 32);
}

/// What one argument comparison means, straight from the specification.
fn holds(arg: &LinuxSeccompArg, value: u64, narrow: bool) -> bool {
    let cut = |v: u64| if narrow { v & 0xffff_ffff } else { v };
    let (value, wanted) = (cut(value), cut(arg.value()));
    match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => value != wanted,
        LinuxSeccompOperator::ScmpCmpLt => value < wanted,
        LinuxSeccompOperator::ScmpCmpLe => value <= wanted,
        LinuxSeccompOperator::ScmpCmpEq => value == wanted,
        LinuxSeccompOperator::ScmpCmpGe => value >= wanted,
        LinuxSeccompOperator::ScmpCmpGt => value > wanted,
        LinuxSeccompOperator::ScmpCmpMaskedEq => value & wanted == cut(arg.value_two().unwrap_or(0)),
    }
}

/// Judges a call rule by rule, without ranges, trees or instructions.
pub(crate) fn judge(spec: &LinuxSeccomp, machine: Machine, name: &str, args: [u64; 6]) -> u32 {
    let value = |action, errno| plan::return_value(action, errno).unwrap();
    let default = value(spec.default_action(), spec.default_errno_ret());
    let rules = || {
        let all = spec.syscalls().iter().flatten();
        all.map(|r| (r, value(r.action(), r.errno_ret()))).filter(move |(_, answer)| *answer != default)
    };
    let named = |names: &[String]| names.iter().any(|n| n == name);
    let empty = |r: &oci_spec::runtime::LinuxSyscall| r.args().as_ref().is_none_or(Vec::is_empty);
    if let Some((_, answer)) = rules().find(|(r, _)| named(r.names()) && empty(r)) {
        return answer;
    }
    for (rule, answer) in rules().filter(|(r, _)| named(r.names()) && !empty(r)) {
        let conditions = rule.args().as_deref().unwrap();
        let mut indices: Vec<_> = conditions.iter().map(LinuxSeccompArg::index).collect();
        indices.sort_unstable();
        indices.dedup();
        let each = |c: &LinuxSeccompArg| holds(c, args[c.index()], machine.is_32_bit());
        let hit = if indices.len() < conditions.len() {
            conditions.iter().any(each)
        } else {
            conditions.iter().all(each)
        };
        if hit {
            return answer;
        }
    }
    let highest =
        spec.syscalls().iter().flatten().flat_map(|r| r.names()).filter_map(|n| machine.number(n)).max();
    let strict = !matches!(
        spec.default_action(),
        LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog | LinuxSeccompAction::ScmpActTrace
    );
    match (highest, machine.number(name)) {
        (Some(highest), Some(number)) if strict && number > highest => ENOSYS,
        _ => default,
    }
}

/// Compares program and rules for every call of the family of x86.
fn agree_on_every_call(spec: &LinuxSeccomp) {
    let program = compile_for(spec, Machine::X86_64).unwrap();
    for machine in [Machine::X86_64, Machine::X86, Machine::X32] {
        for name in names() {
            let Some(number) = machine.number(name) else { continue };
            for args in [[0; 6], [0x1000_0011; 6], [39; 6], [40; 6]] {
                let got = run(&program.instructions, Call { machine, number, args });
                // The multiplexers are judged by name only.
                if !["socketcall", "ipc"].contains(&name) {
                    assert_eq!(got, judge(spec, machine, name, args), "{name} on {machine:?}");
                }
            }
        }
    }
}

#[test]
fn the_default_profile_compiles_to_what_it_says() {
    agree_on_every_call(&default_profile(&[], Kernel { major: 6, minor: 18 }, Machine::X86_64));
}

#[test]
fn a_profile_whose_ranges_never_merge_needs_long_jumps_and_still_means_the_same() {
    let rules: Vec<_> = names()
        .enumerate()
        .map(|(i, name)| serde_json::json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": i + 2}))
        .collect();
    let json = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]});
    let spec: LinuxSeccomp = serde_json::from_value(json).unwrap();
    assert!(compile_for(&spec, Machine::X86_64).unwrap().instructions.len() > 2000);
    agree_on_every_call(&spec);
}

const NAMES: [&str; 12] = [
    "read",
    "write",
    "openat",
    "socket",
    "clone",
    "personality",
    "ioctl",
    "mkdir",
    "clone3",
    "openat2",
    "futex_waitv",
    "prctl",
];
const ACTIONS: [LinuxSeccompAction; 7] = [
    LinuxSeccompAction::ScmpActKillProcess,
    LinuxSeccompAction::ScmpActKillThread,
    LinuxSeccompAction::ScmpActTrap,
    LinuxSeccompAction::ScmpActErrno,
    LinuxSeccompAction::ScmpActTrace,
    LinuxSeccompAction::ScmpActLog,
    LinuxSeccompAction::ScmpActAllow,
];
const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];
/// Values around the borders of the halves.
const EDGES: [u64; 10] = [
    0,
    1,
    2,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0xffff_ffff_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

prop_compose! {
    fn any_arg()(index in 0..6usize, op in 0..7usize, value in 0..10usize, two in 0..10usize) -> serde_json::Value {
        serde_json::json!({"index": index, "op": OPERATORS[op], "value": EDGES[value], "valueTwo": EDGES[two]})
    }
}
prop_compose! {
    fn any_rule()(
        names in prop::collection::vec(0..12usize, 1..4),
        action in 0..7usize,
        args in prop::collection::vec(any_arg(), 0..4),
    ) -> serde_json::Value {
        let names: Vec<_> = names.into_iter().map(|n| NAMES[n]).collect();
        serde_json::json!({"names": names, "action": ACTIONS[action], "args": args})
    }
}

proptest! {
    #[test]
    fn the_program_agrees_with_the_rules_read_one_by_one(
        default in 0..7usize,
        rules in prop::collection::vec(any_rule(), 0..8),
        args in prop::collection::vec(0..10usize, 6),
        name in 0..12usize,
        which in 0..4usize,
    ) {
        let json = serde_json::json!({"defaultAction": ACTIONS[default], "syscalls": rules,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]});
        let spec: LinuxSeccomp = serde_json::from_value(json).unwrap();
        let machine = [Machine::X86_64, Machine::X86, Machine::X32, Machine::Aarch64][which];
        let program = compile_for(&spec, Machine::X86_64).unwrap();
        let mut values = [0; 6];
        for (slot, edge) in values.iter_mut().zip(args) {
            *slot = if machine.is_32_bit() { EDGES[edge] & 0xffff_ffff } else { EDGES[edge] };
        }
        // aarch64 has no mkdir.
        prop_assume!(machine.number(NAMES[name]).is_some());
        let number = machine.number(NAMES[name]).unwrap();
        let got = run(&program.instructions, Call { machine, number, args: values });
        prop_assert_eq!(got, judge(&spec, machine, NAMES[name], values));
    }

    #[test]
    fn every_number_of_a_listed_machine_ends_in_some_answer(number: u32, which in 0..3usize) {
        static PROGRAM: std::sync::LazyLock<Program> = std::sync::LazyLock::new(|| {
            let profile = default_profile(&[], Kernel { major: 6, minor: 1 }, Machine::X86_64);
            compile_for(&profile, Machine::X86_64).unwrap()
        });
        let machine = [Machine::X86_64, Machine::X86, Machine::X32][which];
        let got = run(&PROGRAM.instructions, Call { machine, number, args: [0; 6] });
        prop_assert!([ALLOW, EPERM, ENOSYS].contains(&got), "{:#x}", got);
    }
}
