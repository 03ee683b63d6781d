//! A static program that tests put into containers: what escape kits try, message queues, load, memory, direct writes.
//!
//! It prints one line per attempt, `name: ok` or `name: errno N`, and judges nothing: the tests do.

#![expect(unsafe_code, reason = "raw system calls with made-up arguments are what it is for")]
#![expect(clippy::print_stdout, reason = "its output is its result")]

mod attempts;

use std::io::Write as _;
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["escape"] => attempts::all(),
        ["ids"] => ids(),
        ["burn", seconds] => burn(number(seconds)),
        ["allocate", mib] => allocate(number(mib)),
        ["write", path, mib] => write(path, number(mib)),
        ["-producer"] => produce(),
        ["-consumer"] => consume(),
        other => println!("no such attempt: {other:?}"),
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// Real and effective user, which a setuid program has two of.
fn ids() {
    println!("uid={} euid={}", rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw());
}

fn burn(seconds: u64) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut sum = 0u64;
    while Instant::now() < end {
        for number in 0..100_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(number));
        }
    }
}

/// Touches memory step by step and says how far it got.
fn allocate(mib: u64) {
    let mut kept = Vec::new();
    for step in 1..=mib {
        kept.push(vec![1u8; 1 << 20]);
        println!("{step}");
        std::io::stdout().flush().ok();
    }
    println!("done with {}", kept.len());
}

/// Writes so much past the page cache and says how long it took, in milliseconds.
fn write(path: &str, mib: u64) {
    use std::os::unix::fs::OpenOptionsExt as _;
    const CHUNK: usize = 256 << 10;
    let file = std::fs::File::options().write(true).custom_flags(libc::O_DIRECT).open(path);
    let Ok(mut file) = file else { return println!("cannot open {path}: {file:?}") };
    let buffer = vec![0u8; CHUNK + 4096];
    let aligned = buffer.as_ptr().align_offset(4096);
    let started = Instant::now();
    for _ in 0..mib * 4 {
        if let Err(error) = file.write_all(&buffer[aligned..aligned + CHUNK]) {
            return println!("cannot write: {error}");
        }
    }
    println!("{}", started.elapsed().as_millis());
}

const KEY: i32 = 0x006d_6b06;

#[repr(C)]
struct Letter {
    kind: libc::c_long,
    text: [u8; 8],
}

fn produce() {
    // SAFETY: msgget takes numbers only.
    let queue = unsafe { libc::msgget(KEY, libc::IPC_CREAT | 0o666) };
    for number in 0u32.. {
        let letter = Letter { kind: 1, text: *b"message\0" };
        // SAFETY: the letter lives through the call, and 8 bytes follow its kind.
        let sent =
            unsafe { libc::msgsnd(queue, (&raw const letter).cast(), letter.text.len(), libc::IPC_NOWAIT) };
        println!("{} {number}", if sent == 0 { "sent" } else { "full" });
        std::io::stdout().flush().ok();
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn consume() {
    loop {
        // SAFETY: msgget takes numbers only.
        let queue = unsafe { libc::msgget(KEY, 0) };
        let mut letter = Letter { kind: 0, text: [0; 8] };
        // SAFETY: there is room for 8 bytes behind the kind, and no more are asked for.
        let got = unsafe {
            libc::msgrcv(
                queue,
                (&raw mut letter).cast(),
                letter.text.len(),
                0,
                libc::IPC_NOWAIT | libc::MSG_NOERROR,
            )
        };
        if queue >= 0 && got >= 0 {
            println!("received {}", String::from_utf8_lossy(&letter.text[..7]));
            std::io::stdout().flush().ok();
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}
