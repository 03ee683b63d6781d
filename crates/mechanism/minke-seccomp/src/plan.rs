//! From OCI rules to one decision per call number: what libseccomp and runc would decide, before any instruction exists.
//!
//! For each machine the plan is a list of ranges of numbers with the same [`Verdict`]. Rules whose action equals the default
//! are dropped; an unconditional rule wins over conditional ones; otherwise the first rule whose conditions all hold decides.
//! Numbers above the highest one the profile mentions answer ENOSYS, so that programs fall back as on an older kernel.

use std::collections::BTreeMap;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use crate::SeccompError;
use crate::table::{ARM_PRIVATE, Machine, Row, X32_BIT, find};

pub(crate) const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_KILL_THREAD: u32 = 0;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_NOTIFY: u32 = 0x7fc0_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// The kernel cuts larger ones down silently.
const MAX_ERRNO: u32 = 4095;

/// What to do with a call, as the filter returns it.
pub(crate) fn return_value(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, SeccompError> {
    let data = |default: u32, limit: u32| match errno.unwrap_or(default) {
        value if value <= limit => Ok(value),
        value => Err(SeccompError::Errno { value, limit }),
    };
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => RET_KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => RET_KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => RET_TRAP,
        LinuxSeccompAction::ScmpActErrno => RET_ERRNO | data(EPERM, MAX_ERRNO)?,
        LinuxSeccompAction::ScmpActNotify => RET_NOTIFY,
        LinuxSeccompAction::ScmpActTrace => RET_TRACE | data(EPERM, 0xffff)?,
        LinuxSeccompAction::ScmpActLog => RET_LOG,
        LinuxSeccompAction::ScmpActAllow => RET_ALLOW,
    })
}

/// One comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// 0 to 5.
    pub(crate) argument: u8,
    pub(crate) operator: LinuxSeccompOperator,
    /// For a masked comparison: what the masked argument must equal.
    pub(crate) value: u64,
    /// All ones except for a masked comparison.
    pub(crate) mask: u64,
}

impl Condition {
    fn parse(arg: &LinuxSeccompArg, name: &str) -> Result<Self, SeccompError> {
        let wrong = || SeccompError::Argument { name: name.to_owned(), index: arg.index() };
        let argument = u8::try_from(arg.index()).ok().filter(|i| *i < 6).ok_or_else(wrong)?;
        let (value, mask) = match arg.op() {
            LinuxSeccompOperator::ScmpCmpMaskedEq => (arg.value_two().unwrap_or(0), arg.value()),
            _ => (arg.value(), u64::MAX),
        };
        Ok(Self { argument, operator: arg.op(), value, mask })
    }
}

/// Conditions that must all hold, and what happens then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) answer: u32,
}

/// What to do with one call number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Return(u32),
    /// The first case that holds, else the default.
    Cases(Vec<Case>, u32),
}

/// A machine's numbers in ascending ranges; each reaches to the next one's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MachinePlan {
    /// x32 is part of x86_64's plan.
    pub(crate) machine: Machine,
    pub(crate) ranges: Vec<(u32, Verdict)>,
}

/// Decides for `native` and every further architecture the profile lists. The native one always comes first.
pub(crate) fn plan_filter(spec: &LinuxSeccomp, native: Machine) -> Result<Vec<MachinePlan>, SeccompError> {
    let listed = spec.architectures().iter().flatten().filter_map(|arch| Machine::from_oci(*arch));
    let mut machines = vec![native];
    for machine in listed {
        if !machines.contains(&machine) {
            machines.push(machine);
        }
    }
    let default = return_value(spec.default_action(), spec.default_errno_ret())?;
    if default == RET_NOTIFY {
        return Err(SeccompError::NotifyByDefault);
    }
    let rules = parse_rules(spec)?;
    let mut plans: Vec<MachinePlan> = Vec::new();
    for machine in &machines {
        if *machine == Machine::X32 && machines.contains(&Machine::X86_64) {
            continue;
        }
        let mut calls = decide(*machine, &rules, default);
        let mut gaps = vec![(0, gap(&calls, default, spec))];
        if *machine == Machine::X86_64 {
            let x32 = if machines.contains(&Machine::X32) {
                let x32 = decide(Machine::X32, &rules, default);
                let gap = gap(&x32, default, spec);
                calls.verdicts.extend(x32.verdicts);
                gap
            } else {
                Gap { below: RET_KILL_PROCESS, last: u32::MAX, above: RET_KILL_PROCESS }
            };
            gaps.push((X32_BIT, x32));
        }
        plans.push(MachinePlan { machine: *machine, ranges: ranges(&calls, &gaps, default) });
    }
    Ok(plans)
}

struct Rule {
    /// Names the table does not know are passed over.
    calls: Vec<&'static Row>,
    /// Each list is one case; no list at all means "always".
    cases: Vec<Vec<Condition>>,
    answer: u32,
}

fn parse_rules(spec: &LinuxSeccomp) -> Result<Vec<Rule>, SeccompError> {
    spec.syscalls().iter().flatten().map(parse_rule).collect()
}

fn parse_rule(rule: &LinuxSyscall) -> Result<Rule, SeccompError> {
    let name = rule.names().first().map_or("", String::as_str);
    let answer = return_value(rule.action(), rule.errno_ret())?;
    if answer == RET_NOTIFY && rule.names().iter().any(|n| n == "write") {
        return Err(SeccompError::NotifyOnWrite);
    }
    let parsed: Result<Vec<_>, _> =
        rule.args().iter().flatten().map(|arg| Condition::parse(arg, name)).collect();
    let conditions = parsed?;
    let mut seen = 0u8;
    let repeated = conditions.iter().any(|c| {
        let bit = 1 << c.argument;
        let before = seen;
        seen |= bit;
        before & bit != 0
    });
    let cases = if conditions.is_empty() {
        Vec::new()
    } else if repeated {
        // Two conditions on the same argument mean "either", as runc has kept from its early days.
        conditions.into_iter().map(|c| vec![c]).collect()
    } else {
        vec![conditions]
    };
    Ok(Rule { calls: rule.names().iter().filter_map(|name| find(name)).collect(), cases, answer })
}

struct Calls {
    verdicts: BTreeMap<u32, Verdict>,
    /// The highest number any rule mentions, whatever its action.
    last: Option<u32>,
}

fn decide(machine: Machine, rules: &[Rule], default: u32) -> Calls {
    let mut calls = Calls { verdicts: BTreeMap::new(), last: None };
    for rule in rules {
        for row in &rule.calls {
            if let Some(number) = machine.number_of(row) {
                if !(ARM_PRIVATE..X32_BIT).contains(&number) {
                    calls.last = calls.last.max(Some(number));
                }
                add(&mut calls.verdicts, number, &rule.cases, rule.answer, default);
            }
            if rule.cases.is_empty()
                && let Some((number, selector)) = machine.multiplexed(row.name())
            {
                let operator = LinuxSeccompOperator::ScmpCmpEq;
                let condition = Condition { argument: 0, operator, value: selector, mask: u64::MAX };
                add(&mut calls.verdicts, number, &[vec![condition]], rule.answer, default);
            }
        }
    }
    calls
}

fn add(
    verdicts: &mut BTreeMap<u32, Verdict>,
    number: u32,
    cases: &[Vec<Condition>],
    answer: u32,
    default: u32,
) {
    if answer == default {
        return;
    }
    let verdict = verdicts.entry(number).or_insert_with(|| Verdict::Cases(Vec::new(), default));
    let Verdict::Cases(known, _) = verdict else { return };
    if cases.is_empty() {
        *verdict = Verdict::Return(answer);
    } else {
        known.extend(cases.iter().map(|conditions| Case { conditions: conditions.clone(), answer }));
    }
}

/// What numbers without a rule get: one answer up to `last`, another above.
#[derive(Clone, Copy)]
struct Gap {
    below: u32,
    last: u32,
    above: u32,
}

fn gap(calls: &Calls, default: u32, spec: &LinuxSeccomp) -> Gap {
    // A permissive default lets new calls through anyway.
    let permissive = matches!(
        spec.default_action(),
        LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog | LinuxSeccompAction::ScmpActTrace
    );
    match calls.last {
        Some(last) if !permissive => Gap { below: default, last, above: RET_ERRNO | ENOSYS },
        _ => Gap { below: default, last: u32::MAX, above: default },
    }
}

fn ranges(calls: &Calls, gaps: &[(u32, Gap)], default: u32) -> Vec<(u32, Verdict)> {
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    let mut push = |start: u32, verdict: &Verdict| match ranges.last_mut() {
        Some((_, known)) if known == verdict => {}
        Some((at, known)) if *at == start => *known = verdict.clone(),
        _ => ranges.push((start, verdict.clone())),
    };
    for (i, (start, gap)) in gaps.iter().enumerate() {
        let end = gaps.get(i + 1).map_or(u32::MAX, |(next, _)| next - 1);
        let mut next = *start;
        let fill = |from: u32, to: u32, push: &mut dyn FnMut(u32, &Verdict)| {
            if from > to {
                return;
            }
            if from <= gap.last {
                push(from, &Verdict::Return(gap.below));
            }
            if to > gap.last {
                push(from.max(gap.last + 1), &Verdict::Return(gap.above));
            }
        };
        for (number, verdict) in calls.verdicts.range(*start..=end) {
            if *number > next {
                fill(next, number - 1, &mut push);
            }
            push(*number, verdict);
            next = number + 1;
        }
        fill(next, end, &mut push);
    }
    // -1 is how a tracer skips a call; it is no x32 call, and killing for it would break ptrace.
    push(u32::MAX, &Verdict::Return(default));
    ranges
}
