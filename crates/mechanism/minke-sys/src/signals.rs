//! Signals by name and number, and the dispositions a new program starts with.

use std::ptr;

use crate::{Result, raw};

/// The highest signal number.
pub const MAX: i32 = 64;

/// The first real-time signal that glibc leaves to programs, which is what `RTMIN` means to users.
pub const RTMIN: i32 = 34;

const NAMED: [(&str, i32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("IOT", 6),
    ("CLD", 17),
    ("POLL", 29),
];

/// The number of the signal of this name, in capitals and without `SIG`; real-time signals have none.
#[must_use]
pub fn by_name(name: &str) -> Option<i32> {
    NAMED.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The number of a signal given as `9`, `KILL`, `sigkill`, `RTMIN+3`, `SIGRTMAX-1`; `None` when there is none such.
#[must_use]
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=MAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = by_name(bare) {
        return Some(number);
    }
    let number = if let Some(offset) = bare.strip_prefix("RTMIN") {
        RTMIN + if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse::<i32>().ok()? }
    } else {
        let offset = bare.strip_prefix("RTMAX")?;
        MAX - if offset.is_empty() { 0 } else { offset.strip_prefix('-')?.parse::<i32>().ok()? }
    };
    (RTMIN..=MAX).contains(&number).then_some(number)
}

/// The name of signal `number` without `SIG` (`KILL`, `RTMIN+2`).
#[must_use]
pub fn name(number: i32) -> Option<String> {
    if let Some((name, _)) = NAMED.iter().find(|(_, known)| *known == number) {
        return Some((*name).to_owned());
    }
    match number {
        RTMIN => Some("RTMIN".to_owned()),
        MAX => Some("RTMAX".to_owned()),
        number if (RTMIN..MAX).contains(&number) => Some(format!("RTMIN+{}", number - RTMIN)),
        _ => None,
    }
}

/// The kernel's `struct sigaction` for rt_sigaction.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct KernelAction {
    handler: usize,
    flags: usize,
    #[cfg(target_arch = "x86_64")]
    restorer: usize,
    mask: u64,
}

const SIG_IGN: usize = 1;

/// The signals this process ignores, bit n-1 for signal n: what a child must set back by [`reset`].
#[must_use]
pub fn ignored() -> u64 {
    (1..=MAX)
        .filter(|number| action_of(*number) == Ok(SIG_IGN))
        .fold(0, |mask, number| mask | 1 << (number - 1))
}

fn action_of(number: i32) -> Result<usize> {
    let mut old = KernelAction::default();
    let args = [raw::arg(number), 0, (&raw mut old).expose_provenance(), size_of::<u64>(), 0, 0];
    // SAFETY: rt_sigaction with a null new action only writes the old one to `old`.
    unsafe { raw::syscall(libc::SYS_rt_sigaction, args) }?;
    Ok(old.handler)
}

/// Sets the signals of `mask` back to their default actions and unblocks all: the state a new program expects.
/// Free of allocation; for a child about to exec.
pub fn reset(mask: u64) -> Result<()> {
    let default = KernelAction::default();
    for number in (1..=MAX).filter(|number| mask >> (number - 1) & 1 == 1) {
        let args = [raw::arg(number), (&raw const default).expose_provenance(), 0, size_of::<u64>(), 0, 0];
        // SAFETY: rt_sigaction reads the new action (SIG_DFL, no handler) from `default` and writes nothing.
        unsafe { raw::syscall(libc::SYS_rt_sigaction, args) }?;
    }
    set_mask(0).map(drop)
}

/// Blocks exactly the signals of `mask` (bit n-1 for signal n) in the calling thread; answers what was blocked before.
pub fn set_mask(mask: u64) -> Result<u64> {
    const SIG_SETMASK: usize = 2;
    let mut old = 0u64;
    let args = [
        SIG_SETMASK,
        ptr::from_ref(&mask).expose_provenance(),
        (&raw mut old).expose_provenance(),
        size_of::<u64>(),
        0,
        0,
    ];
    // SAFETY: rt_sigprocmask reads one mask and writes one, both of the size given.
    unsafe { raw::syscall(libc::SYS_rt_sigprocmask, args) }?;
    Ok(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_number_and_by_every_spelling_of_their_name() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigusr1", 10),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in ["0", "65", "-1", "NOPE", "RTMIN+31", "RTMIN-1", "", "SIG"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_number_has_a_name_that_parses_back() {
        for number in (1..=31).chain(RTMIN..=MAX) {
            assert_eq!(parse(&name(number).unwrap()), Some(number));
        }
    }

    #[test]
    fn rust_ignores_sigpipe_and_that_is_seen() {
        assert_eq!(ignored() >> (libc::SIGPIPE - 1) & 1, 1);
    }
}
