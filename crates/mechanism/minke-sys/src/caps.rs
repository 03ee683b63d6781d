//! Capabilities: names, sets as bit masks, and the calls that change those of the calling thread.

use crate::{Result, raw};

/// A set of capabilities, bit n for capability number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct CapSet(pub u64);

/// Capability names by number, without the `CAP_` prefix.
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// Every capability that has a name here.
    #[must_use]
    pub fn all_named() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// With this one added.
    #[must_use]
    pub fn with(self, number: u8) -> Self {
        Self(self.0 | 1 << number)
    }

    /// Whether capability `number` is in the set.
    #[must_use]
    pub fn has(self, number: u8) -> bool {
        number < 64 && self.0 >> number & 1 == 1
    }

    /// What both sets have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The numbers in the set, lowest first.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |number| self.has(*number))
    }
}

/// The number of a capability by name, with or without `CAP_`, in either case.
#[must_use]
pub fn number_of(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == bare).and_then(|number| u8::try_from(number).ok())
}

/// The three sets that capget and capset speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThreadCaps {
    /// In force now.
    pub effective: CapSet,
    /// May be made effective.
    pub permitted: CapSet,
    /// May be inherited by programs with file capabilities.
    pub inheritable: CapSet,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// The sets of the calling thread.
pub fn get() -> Result<ThreadCaps> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    let args = [(&raw mut header).expose_provenance(), data.as_mut_ptr().expose_provenance(), 0, 0, 0, 0];
    // SAFETY: version 3 reads one header and writes two data records; both live here.
    unsafe { raw::syscall(libc::SYS_capget, args) }?;
    let join = |low: u32, high: u32| CapSet(u64::from(low) | u64::from(high) << 32);
    let [low, high] = data;
    Ok(ThreadCaps {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

/// Sets the three sets of the calling thread only.
pub fn set(caps: ThreadCaps) -> Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the 64 bits are what is wanted")]
    let half = |shift: u32| Data {
        effective: (caps.effective.0 >> shift) as u32,
        permitted: (caps.permitted.0 >> shift) as u32,
        inheritable: (caps.inheritable.0 >> shift) as u32,
    };
    let data = [half(0), half(32)];
    let args = [(&raw mut header).expose_provenance(), data.as_ptr().expose_provenance(), 0, 0, 0, 0];
    // SAFETY: version 3 reads one header and two data records; both live here.
    unsafe { raw::syscall(libc::SYS_capset, args) }.map(drop)
}

fn prctl(option: i32, argument: usize, number: u8) -> Result<usize> {
    let args = if number == u8::MAX {
        [raw::arg(option), argument, 0, 0, 0, 0]
    } else {
        [raw::arg(option), argument, usize::from(number), 0, 0, 0]
    };
    // SAFETY: the options used here take numbers only.
    unsafe { raw::syscall(libc::SYS_prctl, args) }
}

/// Whether capability `number` is in the bounding set; `EINVAL` when the kernel does not know it.
pub fn bounding_has(number: u8) -> Result<bool> {
    prctl(libc::PR_CAPBSET_READ, usize::from(number), u8::MAX).map(|answer| answer == 1)
}

/// Takes capability `number` out of the bounding set.
pub fn bounding_drop(number: u8) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, usize::from(number), u8::MAX).map(drop)
}

/// Empties the ambient set.
pub fn ambient_clear() -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as usize, u8::MAX).map(drop)
}

/// Adds capability `number` to the ambient set; it must be permitted and inheritable.
pub fn ambient_raise(number: u8) -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as usize, number).map(drop)
}

/// The highest capability number the running kernel knows.
#[must_use]
pub fn last_known() -> u8 {
    (0..63).take_while(|number| bounding_has(*number).is_ok()).last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_every_spelling() {
        assert_eq!(number_of("CAP_SYS_ADMIN"), Some(21));
        assert_eq!(number_of("net_raw"), Some(13));
        assert_eq!(number_of("CAP_NOPE"), None);
    }

    #[test]
    fn a_thread_can_give_up_a_capability_alone() {
        let before = get().unwrap();
        let reduced = std::thread::spawn(move || {
            let mut caps = before;
            caps.effective.0 &= !(1 << 13);
            set(caps).unwrap();
            get().unwrap()
        });
        assert!(!reduced.join().unwrap().effective.has(13));
        assert_eq!(get().unwrap(), before);
    }
}
