//! Where the kernel begins to run the program: before the C library relocates it.
//!
//! A position-independent program writes an address into nearly every page of its read-only data at every start, and each first
//! write is a page fault of its own. Asked for beforehand, all of them are copied in one system call, which costs half. A kernel
//! that does not know the request (before Linux 5.14) refuses it, and the faults come as ever.

// SAFETY: this is where the kernel enters: no code has run, no lock is held, the stack pointer stands at `argc`. The entry of the
// C library, jumped to in the end, expects that stack pointer and `rdx` as the kernel left them; both are kept, and every other
// register is free for use. `__ehdr_start` is the linker's name of this program's own ELF header, which is always mapped.
std::arch::global_asm!(
    ".globl minke_entry",
    "minke_entry:",
    "lea r8, [rip + __ehdr_start]",
    "mov r9, [r8 + {e_phoff}]",
    "movzx r12d, word ptr [r8 + {e_phnum}]",
    "add r9, r8",
    "movabs rax, {writable_load}",
    // The first program header that is to be loaded writable.
    "2:",
    "cmp qword ptr [r9], rax",
    "je 3f",
    "add r9, {phdr}",
    "dec r12d",
    "jnz 2b",
    "jmp 4f",
    // madvise(start of its first page, length from there, MADV_POPULATE_WRITE)
    "3:",
    "mov rdi, [r9 + {p_vaddr}]",
    "add rdi, r8",
    "mov rsi, [r9 + {p_filesz}]",
    "mov eax, edi",
    "and eax, 4095",
    "add rsi, rax",
    "and rdi, -4096",
    "mov r10, rdx",
    "mov edx, {populate}",
    "mov eax, {madvise}",
    "syscall",
    "mov rdx, r10",
    "4:",
    "jmp {start}",
    e_phoff = const 32,
    e_phnum = const 56,
    phdr = const 56,
    p_vaddr = const 16,
    p_filesz = const 32,
    // p_type PT_LOAD, p_flags PF_R | PF_W.
    writable_load = const 0x6_0000_0001_u64,
    populate = const 23,
    madvise = const 28,
    start = sym _start,
);

unsafe extern "C" {
    /// The C library's entry.
    fn _start();
}
