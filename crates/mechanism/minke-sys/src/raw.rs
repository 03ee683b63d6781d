//! System calls as bare instructions.
//!
//! libc's `syscall` writes `errno` into thread-local memory, which the child of a `CLONE_VM` clone shares with its
//! parent; these do not. Only what rustix lacks comes through here.

use std::arch::asm;

use rustix::io::Errno;

/// Makes system call `nr` with up to six arguments.
///
/// # Safety
/// The arguments must be what call `nr` demands: pointers valid for what the kernel reads and writes, and no effect
/// (such as closing a descriptor that someone owns) that breaks an invariant of safe code.
#[inline]
pub unsafe fn syscall(nr: libc::c_long, args: [usize; 6]) -> Result<usize, Errno> {
    let ret: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the `syscall` instruction reads exactly these registers and clobbers rcx and r11; what the kernel does
    // with the arguments is what the caller vouched for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number(nr) => ret,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: `svc 0` reads exactly these registers; what the kernel does with the arguments is what the caller
    // vouched for.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number(nr),
            inlateout("x0") args[0] as isize => ret,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x5") args[5],
            options(nostack),
        );
    }
    check(ret)
}

/// A number as the kernel takes it in a register, sign-extended.
#[inline]
#[must_use]
pub const fn arg(value: i32) -> usize {
    (value as isize).cast_unsigned()
}

/// A system call's number as it goes into its register.
#[expect(
    clippy::cast_possible_truncation,
    reason = "system call numbers are small, and registers have 64 bits here"
)]
#[inline]
pub(crate) const fn number(nr: libc::c_long) -> isize {
    nr as isize
}

/// Turns the kernel's return register into a result.
#[inline]
pub(crate) fn check(ret: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&ret) {
        #[expect(clippy::cast_possible_truncation, reason = "the range check above leaves 1..=4095")]
        let number = -ret as i32;
        Err(Errno::from_raw_os_error(number))
    } else {
        Ok(ret.cast_unsigned())
    }
}
