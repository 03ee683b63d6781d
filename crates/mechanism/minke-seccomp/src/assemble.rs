//! From ranges to classic BPF: a balanced tree of comparisons per machine.
//!
//! When a filter is attached the kernel emulates it for every call number to learn which calls are always allowed. A chain of
//! several hundred comparisons makes that cost half a millisecond; a tree of depth seven makes it a tenth.

use libc::sock_filter;
use oci_spec::runtime::LinuxSeccompOperator;

use crate::plan::{Case, Condition, MachinePlan, RET_KILL_PROCESS, Verdict};
use crate::table::Machine;

// Classic BPF: class | size or operation | mode or source.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

fn insn(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn distance(length: usize) -> u32 {
    u32::try_from(length).expect("a filter has a few thousand instructions at most")
}

/// The whole filter. A call of an architecture that is not planned for kills the process.
pub(crate) fn assemble(plans: &[MachinePlan]) -> Vec<sock_filter> {
    let mut program = vec![insn(LOAD, ARCH)];
    for plan in plans {
        let mut body = vec![insn(LOAD, NUMBER)];
        body.extend(tree(&plan.ranges, plan.machine));
        program.push(branch(JUMP_EQUAL, plan.machine.audit(), 1, 0));
        program.push(insn(JUMP, distance(body.len())));
        program.extend(body);
    }
    program.push(insn(RETURN, RET_KILL_PROCESS));
    program
}

fn tree(ranges: &[(u32, Verdict)], machine: Machine) -> Vec<sock_filter> {
    if let [(_, verdict)] = ranges {
        return leaf(verdict, machine);
    }
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let pivot = right[0].0;
    let (left, right) = (tree(left, machine), tree(right, machine));
    let mut program = Vec::with_capacity(left.len() + right.len() + 2);
    match u8::try_from(left.len()) {
        Ok(skip) => program.push(branch(JUMP_GREATER_OR_EQUAL, pivot, skip, 0)),
        Err(_too_far) => {
            program.push(branch(JUMP_GREATER_OR_EQUAL, pivot, 0, 1));
            program.push(insn(JUMP, distance(left.len())));
        }
    }
    program.extend(left);
    program.extend(right);
    program
}

fn leaf(verdict: &Verdict, machine: Machine) -> Vec<sock_filter> {
    match verdict {
        Verdict::Return(value) => vec![insn(RETURN, *value)],
        Verdict::Cases(cases, default) => {
            let mut program: Vec<_> = cases.iter().flat_map(|case| check(case, machine)).collect();
            program.push(insn(RETURN, *default));
            program
        }
    }
}

/// Where a comparison goes on, before distances are known.
#[derive(Clone, Copy, PartialEq)]
enum Goto {
    Next,
    /// The condition holds: skip the rest of it.
    Holds,
    /// It does not: on to the next case.
    Fails,
}

type Step = (sock_filter, Goto, Goto);

/// All conditions in a row, then the answer; a failing one jumps behind it.
fn check(case: &Case, machine: Machine) -> Vec<sock_filter> {
    let conditions: Vec<Vec<Step>> = case.conditions.iter().map(|c| compare(c, machine)).collect();
    let total = conditions.iter().map(Vec::len).sum::<usize>() + 1;
    let mut program = Vec::with_capacity(total);
    let mut end = 0;
    for steps in conditions {
        end += steps.len();
        for (mut step, yes, no) in steps {
            let here = program.len() + 1;
            let hop = |goto| match goto {
                Goto::Next => 0,
                Goto::Holds => end - here,
                Goto::Fails => total - here,
            };
            let short = |hop| u8::try_from(hop).expect("six conditions are at most forty instructions");
            (step.jt, step.jf) = (short(hop(yes)), short(hop(no)));
            program.push(step);
        }
    }
    program.push(insn(RETURN, case.answer));
    program
}

/// A 64-bit comparison by halves: the upper one decides unless it is equal.
fn compare(condition: &Condition, machine: Machine) -> Vec<Step> {
    use Goto::{Fails, Holds, Next};
    let base = ARGUMENTS + 8 * u32::from(condition.argument);
    let (low_at, high_at) = if machine.is_big_endian() { (base + 4, base) } else { (base, base + 4) };
    let halves = |value: u64| {
        let low = u32::try_from(value & 0xffff_ffff).expect("32 bits were kept");
        let high = u32::try_from(value >> 32).expect("32 bits are left");
        (low, high)
    };
    let ((low, high), (low_mask, high_mask)) = (halves(condition.value), halves(condition.mask));
    let mut steps: Vec<Step> = Vec::with_capacity(6);
    let load = |at| (insn(LOAD, at), Next, Next);
    let mask = |k| (insn(AND, k), Next, Next);
    let test = |code, k, yes, no| (insn(code, k), yes, no);
    let wide = !machine.is_32_bit();
    match condition.operator {
        LinuxSeccompOperator::ScmpCmpEq | LinuxSeccompOperator::ScmpCmpMaskedEq => {
            for (at, value, bits, present) in
                [(high_at, high, high_mask, wide), (low_at, low, low_mask, true)]
            {
                if !present || (bits == 0 && value == 0) {
                    continue;
                }
                steps.push(load(at));
                if bits != u32::MAX {
                    steps.push(mask(bits));
                }
                steps.push(test(JUMP_EQUAL, value, Next, Fails));
            }
        }
        LinuxSeccompOperator::ScmpCmpNe => {
            if wide {
                steps.extend([load(high_at), test(JUMP_EQUAL, high, Next, Holds)]);
            }
            steps.extend([load(low_at), test(JUMP_EQUAL, low, Fails, Holds)]);
        }
        LinuxSeccompOperator::ScmpCmpGt | LinuxSeccompOperator::ScmpCmpGe => {
            if wide {
                steps.extend([
                    load(high_at),
                    test(JUMP_GREATER, high, Holds, Next),
                    test(JUMP_EQUAL, high, Next, Fails),
                ]);
            }
            let strict = condition.operator == LinuxSeccompOperator::ScmpCmpGt;
            let code = if strict { JUMP_GREATER } else { JUMP_GREATER_OR_EQUAL };
            steps.extend([load(low_at), test(code, low, Holds, Fails)]);
        }
        LinuxSeccompOperator::ScmpCmpLt | LinuxSeccompOperator::ScmpCmpLe => {
            if wide {
                steps.extend([
                    load(high_at),
                    test(JUMP_GREATER, high, Fails, Next),
                    test(JUMP_EQUAL, high, Next, Holds),
                ]);
            }
            let strict = condition.operator == LinuxSeccompOperator::ScmpCmpLt;
            let code = if strict { JUMP_GREATER_OR_EQUAL } else { JUMP_GREATER };
            steps.extend([load(low_at), test(code, low, Fails, Holds)]);
        }
    }
    steps
}
