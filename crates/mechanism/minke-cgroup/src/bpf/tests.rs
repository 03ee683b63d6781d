use super::*;
use crate::devices::{Access, default_rules};

/// Runs the program the way the kernel does, for the instructions this compiler makes.
fn run(program: &[Insn], kind: u32, operation: u32, major: u32, minor: u32) -> bool {
    let context = [kind | operation << 16, major, minor];
    let mut registers = [0u64; 11];
    let mut at = 0usize;
    loop {
        let step = program[at];
        at += 1;
        let (to, from) = (usize::from(step.registers & 15), usize::from(step.registers >> 4));
        let value = u64::from_ne_bytes(i64::from(step.immediate).to_ne_bytes());
        let jump = match step.code {
            LOAD_WORD => {
                assert_eq!(from, usize::from(CONTEXT));
                registers[to] = context[usize::try_from(step.offset).unwrap() / 4].into();
                false
            }
            MOVE => {
                registers[to] = registers[from];
                false
            }
            MOVE_VALUE => {
                registers[to] = value;
                false
            }
            AND_VALUE_32 => {
                registers[to] = registers[to] & value & 0xffff_ffff;
                false
            }
            SHIFT_RIGHT_VALUE_32 => {
                registers[to] = (registers[to] & 0xffff_ffff) >> value;
                false
            }
            JUMP_UNLESS_EQUAL_VALUE => registers[to] != value,
            JUMP_UNLESS_EQUAL => registers[to] != registers[from],
            JUMP_IF_EQUAL_VALUE => registers[to] == value,
            EXIT => return registers[0] == 1,
            code => panic!("instruction {code:#x}"),
        };
        if jump {
            at += usize::try_from(step.offset).unwrap();
        }
    }
}

#[test]
fn the_program_agrees_with_the_list_on_every_operation() {
    let mut closed = DeviceList::deny_all();
    default_rules().iter().for_each(|rule| closed.apply(rule));
    closed.exceptions.push(Exception {
        kind: DeviceKind::Block,
        major: Some(8),
        minor: None,
        access: Access::READ,
    });
    let mut open = DeviceList::allow_all();
    open.exceptions = closed.exceptions.clone();
    for list in [DeviceList::deny_all(), DeviceList::allow_all(), closed, open] {
        let program = compile(&list);
        for (kind, kind_bits) in [(DeviceKind::Block, 1), (DeviceKind::Char, 2)] {
            for (major, minor) in [(1, 3), (1, 4), (8, 0), (8, 16), (136, 7), (5, 2), (10, 200), (0, 0)] {
                for letters in ["r", "w", "m", "rw", "rm", "wm", "rwm"] {
                    let bit = |l, bit| if letters.contains(l) { bit } else { 0 };
                    let operation = bit('m', 1) | bit('r', 2) | bit('w', 4);
                    let expected = list.allows(kind, major, minor, Access::parse(letters));
                    let got = run(&program, kind_bits, operation, major, minor);
                    assert_eq!(got, expected, "{kind:?} {major}:{minor} {letters} on {list:?}");
                }
            }
        }
    }
}

#[test]
fn the_empty_list_is_one_answer() {
    assert_eq!(compile(&DeviceList::deny_all()).len(), 8);
}
