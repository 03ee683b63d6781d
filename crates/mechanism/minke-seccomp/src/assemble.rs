//! From ranges to classic BPF: a tree of comparisons per machine.
//!
//! When a filter is attached the kernel emulates it for every call number to learn which calls are always allowed. A chain of
//! several hundred comparisons makes that cost half a millisecond; a tree makes it a tenth of that, and one whose wide ranges
//! are near the root a little less.

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
        let body = tree(&plan.ranges, plan.machine);
        program.push(branch(JUMP_EQUAL, plan.machine.audit(), 1, 0));
        program.push(insn(JUMP, distance(body.len())));
        program.extend(body);
    }
    program.push(insn(RETURN, RET_KILL_PROCESS));
    program
}

/// How much the kernel's emulation at attach gains from a range near the root: one for each number it asks about, and next
/// to nothing for x32's, which it does not ask about.
fn weights(ranges: &[(u32, Verdict)]) -> Vec<u32> {
    const ASKED: u32 = 512;
    let end = |i: usize| ranges.get(i + 1).map_or(u32::MAX, |(next, _)| *next).min(ASKED);
    ranges.iter().enumerate().map(|(i, (start, _))| 1 + 8 * end(i).saturating_sub(*start)).collect()
}

/// Loads the number and branches down to a verdict.
fn tree(ranges: &[(u32, Verdict)], machine: Machine) -> Vec<sock_filter> {
    let mut grown = Backwards { code: Vec::with_capacity(ranges.len() * 2), leaves: Vec::new(), machine };
    let root = grown.grow(ranges, &weights(ranges));
    if grown.hop(root) != 0 {
        grown.push_jump(root);
    }
    grown.code.push(insn(LOAD, NUMBER));
    grown.code.reverse();
    grown.code
}

/// A program written from its end: every target is known before the branch to it, so that branches can share the returns
/// behind them. That halves the program, and the kernel's work of checking and translating it.
struct Backwards<'a> {
    /// Last instruction first.
    code: Vec<sock_filter>,
    /// Where the latest copy of each verdict starts.
    leaves: Vec<(&'a Verdict, usize)>,
    machine: Machine,
}

impl<'a> Backwards<'a> {
    /// How far the next instruction jumps to reach `target`.
    fn hop(&self, target: usize) -> usize {
        self.code.len() - target - 1
    }

    fn push_jump(&mut self, target: usize) -> usize {
        self.code.push(insn(JUMP, distance(self.hop(target))));
        self.code.len() - 1
    }

    /// Where `verdict` is, put here again when the last copy is out of a branch's reach.
    fn leaf(&mut self, verdict: &'a Verdict) -> usize {
        const NEAR: usize = 250;
        let known = self.leaves.iter().position(|(known, _)| *known == verdict);
        if let Some(at) = known.map(|i| self.leaves[i].1)
            && self.hop(at) <= NEAR
        {
            return at;
        }
        self.code.extend(leaf(verdict, self.machine).into_iter().rev());
        let at = self.code.len() - 1;
        match known {
            Some(i) => self.leaves[i].1 = at,
            None => self.leaves.push((verdict, at)),
        }
        at
    }

    /// Writes the tree of `ranges`, split where both halves weigh about the same; answers where it starts.
    fn grow(&mut self, ranges: &'a [(u32, Verdict)], weights: &[u32]) -> usize {
        if let [(_, verdict)] = ranges {
            return self.leaf(verdict);
        }
        let split = middle(weights);
        let (below, above) = ranges.split_at(split);
        // A lone verdict last, so that it is near.
        let (left, right) = if above.len() == 1 {
            let left = self.grow(below, &weights[..split]);
            (left, self.grow(above, &weights[split..]))
        } else {
            let right = self.grow(above, &weights[split..]);
            (self.grow(below, &weights[..split]), right)
        };
        let far = usize::from(u8::MAX) - 1;
        let right = if self.hop(right) > far { self.push_jump(right) } else { right };
        let left = if self.hop(left) > far { self.push_jump(left) } else { left };
        let short = |hop| u8::try_from(hop).expect("what is far got a jump of its own");
        let (jt, jf) = (short(self.hop(right)), short(self.hop(left)));
        self.code.push(branch(JUMP_GREATER_OR_EQUAL, above[0].0, jt, jf));
        self.code.len() - 1
    }
}

/// Where to split; the range across the middle goes to the side it leans to.
fn middle(weights: &[u32]) -> usize {
    let half = weights.iter().sum::<u32>() / 2;
    let mut sum = 0;
    let heavier = weights.iter().position(|weight| {
        sum += weight;
        sum > half
    });
    let at = heavier.unwrap_or(0);
    let split = if sum - half < weights[at] / 2 { at + 1 } else { at };
    split.clamp(1, weights.len() - 1)
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
