//! The device list as an eBPF program, for cgroup v2.
//!
//! The kernel runs it on every open and mknod with a small context: `access_type` (type in the low, operation in the high
//! 16 bits), `major`, `minor`. It answers 1 for "go on" and 0 for EPERM. One block of a few instructions per exception.

use std::path::Path;

use minke_sys::bpf::{
    Insn, attach_device_filter, attached_device_filters, detach_device_filter, load_device_filter,
};

use crate::devices::{DeviceKind, DeviceList, Exception};
use crate::error::CgroupError;

// Registers: 1 context (as called), 2 type, 3 operation, 4 major, 5 minor, 6 scratch, 0 answer.
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const OPERATION: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;
const ANSWER: u8 = 0;

// Opcodes: class | width or source | operation.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const MOVE_VALUE: u8 = 0xb7;
const AND_VALUE_32: u8 = 0x54;
const SHIFT_RIGHT_VALUE_32: u8 = 0x74;
const JUMP_UNLESS_EQUAL_VALUE: u8 = 0x55;
const JUMP_UNLESS_EQUAL: u8 = 0x5d;
const JUMP_IF_EQUAL_VALUE: u8 = 0x15;
const EXIT: u8 = 0x95;

const fn insn(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: source << 4 | destination, offset, immediate }
}

const fn answer(value: bool) -> [Insn; 2] {
    [insn(MOVE_VALUE, ANSWER, 0, 0, value as i32), insn(EXIT, 0, 0, 0, 0)]
}

/// Compiles the list.
#[must_use]
pub fn compile(list: &DeviceList) -> Vec<Insn> {
    let mut program = vec![
        insn(LOAD_WORD, TYPE, CONTEXT, 0, 0),
        insn(AND_VALUE_32, TYPE, 0, 0, 0xffff),
        insn(LOAD_WORD, OPERATION, CONTEXT, 0, 0),
        insn(SHIFT_RIGHT_VALUE_32, OPERATION, 0, 0, 16),
        insn(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        insn(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for exception in &list.exceptions {
        program.extend(block(exception, list.allow_by_default));
    }
    program.extend(answer(list.allow_by_default));
    program
}

/// Tests one exception and leaves with the opposite of the default when it applies.
fn block(exception: &Exception, allow_by_default: bool) -> Vec<Insn> {
    let kind = match exception.kind {
        DeviceKind::Block => 1,
        DeviceKind::Char => 2,
    };
    let mut tests = vec![insn(JUMP_UNLESS_EQUAL_VALUE, TYPE, 0, 0, kind)];
    // The kernel's bits are mknod 1, read 2, write 4.
    let bits = i32::from(exception.access.bits());
    let operations = (bits & 4) >> 2 | (bits & 3) << 1;
    if operations != 7 {
        tests.push(insn(MOVE, SCRATCH, OPERATION, 0, 0));
        tests.push(insn(AND_VALUE_32, SCRATCH, 0, 0, operations));
        tests.push(if allow_by_default {
            // Denied as soon as one operation asked for is denied …
            insn(JUMP_IF_EQUAL_VALUE, SCRATCH, 0, 0, 0)
        } else {
            // … but allowed only when all of them are.
            insn(JUMP_UNLESS_EQUAL, SCRATCH, OPERATION, 0, 0)
        });
    }
    for (register, number) in [(MAJOR, exception.major), (MINOR, exception.minor)] {
        if let Some(number) = number {
            tests.push(insn(JUMP_UNLESS_EQUAL_VALUE, register, 0, 0, number.cast_signed()));
        }
    }
    tests.extend(answer(!allow_by_default));
    let length = i16::try_from(tests.len()).expect("a block has at most eight instructions");
    let jumps = [JUMP_UNLESS_EQUAL_VALUE, JUMP_UNLESS_EQUAL, JUMP_IF_EQUAL_VALUE];
    for (at, test) in (0i16..).zip(&mut tests) {
        if jumps.contains(&test.code) {
            test.offset = length - at - 1;
        }
    }
    tests
}

/// Puts the list in force on a v2 cgroup, in place of whatever filter it had.
///
/// The new program is attached before the old one goes: both must agree meanwhile, so nothing slips through.
pub fn attach(cgroup: &Path, list: &DeviceList) -> Result<(), CgroupError> {
    let fail =
        |e: rustix::io::Errno| CgroupError::DeviceFilterAttach { path: cgroup.to_owned(), source: e.into() };
    let filter =
        load_device_filter(&compile(list)).map_err(|e| CgroupError::DeviceFilterLoad { source: e.into() })?;
    // bpf(2) takes no O_PATH descriptor.
    let readable = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let dir = rustix::fs::open(cgroup, readable, rustix::fs::Mode::empty()).map_err(fail)?;
    let old = attached_device_filters(&dir).map_err(fail)?;
    if let [only] = old.as_slice()
        && attach_device_filter(&dir, &filter, Some(only)).is_ok()
    {
        return Ok(());
    }
    attach_device_filter(&dir, &filter, None).map_err(fail)?;
    old.iter().try_for_each(|old| detach_device_filter(&dir, old)).map_err(fail)
}

#[cfg(test)]
mod tests;
