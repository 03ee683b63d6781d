//! Resource limits by name and number, for this process and for others.

use crate::{Errno, Result, raw};

/// No limit.
pub const INFINITY: u64 = u64::MAX;

/// A soft and a hard limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// What is enforced.
    pub soft: u64,
    /// Up to where the soft limit may be raised.
    pub hard: u64,
}

/// Limit names by number, without the `RLIMIT_` prefix.
pub const NAMES: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// The number of a limit by name, with or without `RLIMIT_`, in either case.
#[must_use]
pub fn number_of(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("RLIMIT_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == bare).and_then(|number| u32::try_from(number).ok())
}

/// Sets limit `number` of process `pid` (0: the caller) and answers the old one. Free of allocation.
pub fn set(pid: u32, number: u32, limit: Limit) -> Result<Limit> {
    prlimit(pid, number, Some(limit))
}

/// Reads limit `number` of process `pid` (0: the caller).
pub fn get(pid: u32, number: u32) -> Result<Limit> {
    prlimit(pid, number, None)
}

fn prlimit(pid: u32, number: u32, new: Option<Limit>) -> Result<Limit> {
    let mut old = Limit { soft: 0, hard: 0 };
    let new = new.as_ref().map_or(0, |limit| std::ptr::from_ref(limit).expose_provenance());
    let args = [pid as usize, number as usize, new, (&raw mut old).expose_provenance(), 0, 0];
    // SAFETY: prlimit64 reads one limit (or none when null) and writes one; `Limit` has the kernel's layout.
    unsafe { raw::syscall(libc::SYS_prlimit64, args) }?;
    Ok(old)
}

/// Sets limit `number` of the caller as near to `limit` as may be: where raising the hard limit is not permitted, both
/// are cut to the hard limit that is. Answers whether they had to be cut.
pub fn set_as_far_as_allowed(number: u32, limit: Limit) -> Result<bool> {
    match set(0, number, limit) {
        Ok(_) => Ok(false),
        Err(Errno::PERM) => {
            let now = get(0, number)?;
            let hard = limit.hard.min(now.hard);
            set(0, number, Limit { soft: limit.soft.min(hard), hard })?;
            Ok(true)
        }
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_known_by_name() {
        assert_eq!(number_of("RLIMIT_NOFILE"), Some(7));
        assert_eq!(number_of("core"), Some(4));
        assert_eq!(number_of("nope"), None);
    }

    #[test]
    fn a_limit_that_was_set_is_read_back() {
        let before = get(0, 4).unwrap();
        let lower = Limit { soft: 0, hard: before.hard };
        set(0, 4, lower).unwrap();
        assert_eq!(get(std::process::id(), 4).unwrap(), lower);
        set(0, 4, before).unwrap();
    }
}
