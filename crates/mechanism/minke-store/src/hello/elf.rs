//! A static ELF executable that writes a text to standard output and exits, machine code by hand.
//!
//! One loadable segment holds headers, code and text. The program is: write until all is out, exit 0, or 1 if a write failed.

const BASE: u64 = 0x40_0000;
const FILE_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const CODE: usize = FILE_HEADER + 2 * PROGRAM_HEADER;

pub(super) fn x86_64(text: &[u8]) -> Vec<u8> {
    assemble(62, code_x86_64, text)
}

pub(super) fn aarch64(text: &[u8]) -> Vec<u8> {
    assemble(183, code_aarch64, text)
}

fn assemble(machine: u16, code: impl Fn(u32) -> Vec<u8>, text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("the text is a constant of a few hundred bytes");
    let code = code(length);
    let size = (CODE + code.len() + text.len()) as u64;
    let mut out = Vec::new();
    out.extend_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for half in [2_u16, machine] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out.extend_from_slice(&1_u32.to_le_bytes());
    for word in [BASE + CODE as u64, FILE_HEADER as u64, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&0_u32.to_le_bytes());
    // Header sizes, two program headers, no sections.
    for half in [64_u16, 56, 2, 64, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    // PT_LOAD, readable and executable; PT_GNU_STACK, not executable.
    program_header(&mut out, 1, 5, [0, BASE, BASE, size, size, 0x1000]);
    program_header(&mut out, 0x6474_e551, 6, [0, 0, 0, 0, 0, 16]);
    out.extend_from_slice(&code);
    out.extend_from_slice(text);
    out
}

fn program_header(out: &mut Vec<u8>, kind: u32, flags: u32, words: [u64; 6]) {
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

/// The text follows the code.
fn code_x86_64(length: u32) -> Vec<u8> {
    let mut code = vec![0xbf, 1, 0, 0, 0]; // mov edi, 1 (standard output)
    code.extend_from_slice(&[0x48, 0x8d, 0x35]); // lea rsi, [rip + text]
    // From behind this instruction (12 bytes in) to the end of the 53 bytes of code.
    code.extend_from_slice(&41_u32.to_le_bytes());
    code.push(0xba); // mov edx, length
    code.extend_from_slice(&length.to_le_bytes());
    code.extend_from_slice(&[0xb8, 1, 0, 0, 0]); // again: mov eax, 1 (write)
    code.extend_from_slice(&[0x0f, 0x05]); // syscall
    code.extend_from_slice(&[0x48, 0x85, 0xc0]); // test rax, rax
    code.extend_from_slice(&[0x7e, 12]); // jle failed
    code.extend_from_slice(&[0x48, 0x01, 0xc6]); // add rsi, rax
    code.extend_from_slice(&[0x48, 0x29, 0xc2]); // sub rdx, rax
    code.extend_from_slice(&[0x75, 0xec]); // jnz again
    code.extend_from_slice(&[0x31, 0xff]); // xor edi, edi
    code.extend_from_slice(&[0xeb, 5]); // jmp exit
    code.extend_from_slice(&[0xbf, 1, 0, 0, 0]); // failed: mov edi, 1
    code.extend_from_slice(&[0xb8, 231, 0, 0, 0]); // exit: mov eax, 231 (exit_group)
    code.extend_from_slice(&[0x0f, 0x05]); // syscall
    code
}

fn code_aarch64(length: u32) -> Vec<u8> {
    const fn set(register: u32, value: u32) -> u32 {
        0xd280_0000 | value << 5 | register
    }
    const SYSCALL: u32 = 0xd400_0001;
    let words = [
        0x1000_0001 | (16 << 5), // adr x1, text (16 words on)
        set(2, length),
        set(0, 1),  // again: standard output
        set(8, 64), // write
        SYSCALL,
        0xf100_001f,                   // cmp x0, #0
        0x5400_000d | (6 << 5),        // b.le failed
        0x8b00_0021,                   // add x1, x1, x0
        0xeb00_0042,                   // subs x2, x2, x0
        0x5400_0001 | (0x7_fff9 << 5), // b.ne again (7 words back)
        set(0, 0),
        0x1400_0002, // b exit
        set(0, 1),   // failed:
        set(8, 94),  // exit: exit_group
        SYSCALL,
        0xd503_201f, // nop
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
