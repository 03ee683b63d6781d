//! Children by clone3: on borrowed memory while the parent sleeps (the vfork way), or with a copy of it (the fork way).
//!
//! Both run one function and end; neither returns into the caller's stack. The vfork way costs a tenth of a millisecond
//! less per megabyte of parent, and asks more: the child shares every byte with its parent, thread-local storage
//! included, so it may only make raw calls and write to memory that is meant for it. It is for children in a *new*
//! pid namespace, where nobody hostile can trace the child and read the parent through it.

use std::arch::asm;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use crate::{Errno, Result, raw};

/// Namespaces to make, as `clone3` flag bits.
pub mod flags {
    /// New mount namespace.
    pub const NEWNS: u64 = 0x0002_0000;
    /// New cgroup namespace.
    pub const NEWCGROUP: u64 = 0x0200_0000;
    /// New UTS namespace.
    pub const NEWUTS: u64 = 0x0400_0000;
    /// New IPC namespace.
    pub const NEWIPC: u64 = 0x0800_0000;
    /// New user namespace.
    pub const NEWUSER: u64 = 0x1000_0000;
    /// New pid namespace.
    pub const NEWPID: u64 = 0x2000_0000;
    /// New network namespace.
    pub const NEWNET: u64 = 0x4000_0000;
    /// New time namespace.
    pub const NEWTIME: u64 = 0x0000_0080;
    /// The child is a sibling: its parent is the caller's parent.
    pub const PARENT: u64 = 0x0000_8000;
    /// The child shares the descriptor table.
    pub const FILES: u64 = 0x0000_0400;
    pub(super) const VM: u64 = 0x0000_0100;
    pub(super) const VFORK: u64 = 0x0000_4000;
    pub(super) const PIDFD: u64 = 0x0000_1000;
    pub(super) const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    pub(super) const INTO_CGROUP: u64 = 0x2_0000_0000;
}

/// Bytes of stack the vfork child gets.
const STACK_SIZE: usize = 256 * 1024;

/// A child that was started.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the caller's pid namespace.
    pub pid: u32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// What the child is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Bits of [`flags`].
    pub flags: u64,
    /// The v2 cgroup to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// The kernel's `struct clone_args`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl CloneArgs {
    fn new(options: &Options<'_>, pidfd: &mut i32) -> Self {
        let mut args = Self {
            flags: options.flags | flags::PIDFD | flags::CLEAR_SIGHAND,
            pidfd: ptr::from_mut(pidfd).expose_provenance() as u64,
            // With CLONE_PARENT the kernel takes the exit signal of the caller and wants none here.
            exit_signal: if options.flags & flags::PARENT == 0 { libc::SIGCHLD as u64 } else { 0 },
            ..Self::default()
        };
        if let Some(cgroup) = options.cgroup {
            args.flags |= flags::INTO_CGROUP;
            args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
        }
        args
    }
}

/// Runs `body` in a child that shares this process's memory, and waits until it has executed another program or
/// ended. What `body` returns is the exit code, should it return.
///
/// Signal handlers are reset in the child; ignored signals and the mask are not, see [`crate::signals`].
///
/// # Safety
/// `body` runs concurrently with every *other* thread of this process and on this thread's thread-local storage. It must
/// not allocate, lock, panic, or call anything that does; it must not write memory that another thread may touch.
/// Descriptors it closes are its own copies unless [`flags::FILES`] is given.
pub unsafe fn vfork<F: FnMut() -> i32>(options: &Options<'_>, body: &mut F) -> Result<Child> {
    let stack = Stack::new()?;
    let mut pidfd = -1;
    let mut args = CloneArgs::new(options, &mut pidfd);
    args.flags |= flags::VM | flags::VFORK;
    args.stack = stack.base.expose_provenance() as u64;
    args.stack_size = STACK_SIZE as u64;
    let entry: extern "C" fn(*mut F) -> ! = run::<F>;
    // SAFETY: the stack is fresh and outlives the child's use of it, since CLONE_VFORK holds us here until the child
    // has left our memory; `entry` never returns; the rest is what the caller vouched for.
    let pid = unsafe { clone3_call(&args, entry as usize, ptr::from_mut(body).expose_provenance()) }?;
    child_of(pid, pidfd)
}

extern "C" fn run<F: FnMut() -> i32>(body: *mut F) -> ! {
    // SAFETY: `vfork` passes a pointer to a live `F` that nobody else uses while its own thread is suspended.
    let body = unsafe { &mut *body };
    exit_now(body())
}

/// Runs `body` in a child with a copy of this process's memory. What `body` returns is the exit code.
///
/// # Safety
/// When this process has other threads, their locks (the allocator's among them) may be held in the copy for ever:
/// then `body` must not allocate or lock. Destructors of values that the parent owns must not run in the child, which
/// holds since it never returns from here.
pub unsafe fn fork<F: FnMut() -> i32>(options: &Options<'_>, body: &mut F) -> Result<Child> {
    let mut pidfd = -1;
    let args = CloneArgs::new(options, &mut pidfd);
    let arguments = [(&raw const args).expose_provenance(), size_of::<CloneArgs>(), 0, 0, 0, 0];
    // SAFETY: without CLONE_VM and with no new stack clone3 behaves as fork; `args` is a valid clone_args that lives
    // until the call returns.
    let pid = unsafe { raw::syscall(libc::SYS_clone3, arguments) }?;
    if pid == 0 {
        exit_now(body());
    }
    child_of(pid, pidfd)
}

fn child_of(pid: usize, pidfd: i32) -> Result<Child> {
    let pid = u32::try_from(pid).map_err(|_wide| Errno::RANGE)?;
    // SAFETY: clone3 with CLONE_PIDFD stored a new descriptor here, which nobody else knows.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// Ends the calling process at once: no destructors, no atexit handlers, no flushing.
pub fn exit_now(code: i32) -> ! {
    loop {
        // SAFETY: exit_group takes a number and does not return.
        let _never = unsafe { raw::syscall(libc::SYS_exit_group, [raw::arg(code), 0, 0, 0, 0, 0]) };
    }
}

/// clone3 whose child calls `entry(argument)` on the stack given in `args`.
///
/// # Safety
/// `args.stack` must be a writable stack for the child; `entry` must be an `extern "C" fn(usize) -> !`.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3_call(args: &CloneArgs, entry: usize, argument: usize) -> Result<usize> {
    let ret: isize;
    // SAFETY: the child starts with rax = 0 on its own, 16-byte aligned stack and calls `entry`, which never returns,
    // so it never sees this frame; r8 and r9 survive the syscall instruction. The parent goes on at label 2.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r8",
            "ud2",
            "2:",
            inlateout("rax") raw::number(libc::SYS_clone3) => ret,
            in("rdi") ptr::from_ref(args),
            in("rsi") size_of::<CloneArgs>(),
            in("r8") entry,
            in("r9") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    raw::check(ret)
}

/// As above, for aarch64.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3_call(args: &CloneArgs, entry: usize, argument: usize) -> Result<usize> {
    let ret: isize;
    // SAFETY: the child starts with x0 = 0 on its own, 16-byte aligned stack and calls `entry`, which never returns;
    // x9 and x10 survive the call into the kernel. The parent goes on at label 2.
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x10",
            "blr x9",
            "brk 1",
            "2:",
            in("x8") raw::number(libc::SYS_clone3),
            inlateout("x0") ptr::from_ref(args) => ret,
            in("x1") size_of::<CloneArgs>(),
            in("x9") entry,
            in("x10") argument,
            lateout("x30") _,
        );
    }
    raw::check(ret)
}

/// Memory for the child's stack, unmapped when dropped; the lowest page is a guard.
struct Stack {
    base: *mut libc::c_void,
}

impl Stack {
    fn new() -> Result<Self> {
        use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::STACK;
        // SAFETY: an anonymous mapping at an address of the kernel's choosing touches nothing that exists.
        let base = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), STACK_SIZE, prot, flags) }?;
        let stack = Self { base };
        // SAFETY: the page belongs to the mapping just made, which nobody uses yet.
        unsafe { rustix::mm::mprotect(base, 4096, MprotectFlags::empty()) }?;
        Ok(stack)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this size, and the child that ran on it has left our memory.
        let unmapped = unsafe { rustix::mm::munmap(self.base, STACK_SIZE) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping");
    }
}

/// Memory that parent and forked child both see: a place for the child to leave a report.
#[derive(Debug)]
pub struct SharedCell<T: Copy> {
    at: ptr::NonNull<T>,
}

// SAFETY: the cell is plain memory, reached only through volatile copies of a `Copy` value.
unsafe impl<T: Copy + Send> Send for SharedCell<T> {}

impl<T: Copy> SharedCell<T> {
    /// A cell holding `value`.
    pub fn new(value: T) -> Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags};
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: an anonymous mapping at an address of the kernel's choosing touches nothing that exists.
        let at =
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), Self::bytes(), prot, MapFlags::SHARED) }?;
        let cell = Self { at: ptr::NonNull::new(at.cast()).ok_or(Errno::NOMEM)? };
        cell.set(value);
        Ok(cell)
    }

    fn bytes() -> usize {
        size_of::<T>().max(1).next_multiple_of(4096)
    }

    /// Stores `value`, for whoever shares the cell.
    pub fn set(&self, value: T) {
        // SAFETY: the mapping is page-aligned, writable, at least as long as a `T`, and lives as long as `self`.
        unsafe { self.at.as_ptr().write_volatile(value) };
    }

    /// What was stored last.
    #[must_use]
    pub fn get(&self) -> T {
        // SAFETY: as in `set`; `new` stored a valid `T` and only `set` changes it.
        unsafe { self.at.as_ptr().read_volatile() }
    }
}

impl<T: Copy> Drop for SharedCell<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and of this size; a child has its own reference to the pages.
        let unmapped = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), Self::bytes()) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping");
    }
}

/// Replaces the calling process by the program at `path`. Returns only on failure. Free of allocation.
///
/// # Safety
/// `argv` and `envp` must end with a null pointer, and every pointer before it be a valid C string.
pub unsafe fn execve(
    path: &std::ffi::CStr,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) -> Errno {
    let args =
        [path.as_ptr().expose_provenance(), argv.expose_provenance(), envp.expose_provenance(), 0, 0, 0];
    // SAFETY: the caller vouches for both vectors, `path` is a C string.
    match unsafe { raw::syscall(libc::SYS_execve, args) } {
        Err(errno) => errno,
        Ok(_) => Errno::INVAL,
    }
}

/// Replaces the calling process by the program behind `fd`.
///
/// # Safety
/// As for [`execve`].
pub unsafe fn execve_fd(
    fd: BorrowedFd<'_>,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) -> Errno {
    let fd = raw::arg(fd.as_raw_fd());
    let args = [
        fd,
        c"".as_ptr().expose_provenance(),
        argv.expose_provenance(),
        envp.expose_provenance(),
        libc::AT_EMPTY_PATH as usize,
        0,
    ];
    // SAFETY: the caller vouches for both vectors, the path is an empty C string, the descriptor is open.
    match unsafe { raw::syscall(libc::SYS_execveat, args) } {
        Err(errno) => errno,
        Ok(_) => Errno::INVAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pidfd::{self, Exit};

    #[test]
    fn a_vfork_child_runs_in_our_memory_and_ends_with_its_code() {
        let mut seen = 0;
        let mut body = || {
            seen = 41;
            7
        };
        // SAFETY: the body only writes a local of this suspended frame.
        let child = unsafe { vfork(&Options::default(), &mut body) }.unwrap();
        assert_eq!(pidfd::wait(&child.pidfd).unwrap(), Exit::Code(7));
        assert_eq!(seen, 41);
    }

    #[test]
    fn a_fork_child_has_its_own_memory_and_reports_through_a_shared_cell() {
        let cell = SharedCell::new(0u64).unwrap();
        let mut local = 0;
        let mut body = || {
            local = 1;
            cell.set(99);
            local
        };
        // SAFETY: the body neither allocates nor locks.
        let child = unsafe { fork(&Options::default(), &mut body) }.unwrap();
        assert_eq!(pidfd::wait(&child.pidfd).unwrap(), Exit::Code(1));
        assert_eq!((cell.get(), local), (99, 0));
    }

    #[test]
    fn a_child_in_a_new_pid_namespace_is_number_one() {
        let mut pid = 0;
        let mut body = || {
            pid = rustix::process::getpid().as_raw_nonzero().get();
            0
        };
        let options = Options { flags: flags::NEWPID, cgroup: None };
        // SAFETY: the body makes one raw system call and writes a local of this suspended frame.
        let child = unsafe { vfork(&options, &mut body) }.unwrap();
        pidfd::wait(&child.pidfd).unwrap();
        assert_eq!(pid, 1);
    }
}
