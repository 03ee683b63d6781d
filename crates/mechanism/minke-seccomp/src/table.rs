//! Architectures and their system call numbers.
//!
//! [`Machine`] is the architecture a kernel runs on or emulates, with what a filter must know of it: its audit number,
//! its word size and byte order. The numbers themselves are in `table/rows.rs`.

use oci_spec::runtime::Arch;

mod rows;

/// A column without a number: that architecture has no such call.
const NO: u32 = u32::MAX;

/// x32 calls carry this bit on top of their number.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// ARM's private calls (`set_tls` …) start here, far beyond the common table.
pub(crate) const ARM_PRIVATE: u32 = 0x0f_0000;

/// An architecture whose calls can be filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Machine {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    Riscv64,
    Ppc64le,
    S390x,
    Loongarch64,
}

impl Machine {
    /// What this binary runs on.
    pub const NATIVE: Self = if cfg!(target_arch = "x86_64") {
        Self::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else if cfg!(target_arch = "riscv64") {
        Self::Riscv64
    } else if cfg!(target_arch = "powerpc64") {
        Self::Ppc64le
    } else if cfg!(target_arch = "s390x") {
        Self::S390x
    } else if cfg!(target_arch = "loongarch64") {
        Self::Loongarch64
    } else if cfg!(target_arch = "arm") {
        Self::Arm
    } else {
        Self::X86
    };

    /// The machine an OCI architecture means; `None` for those minke has no numbers for (they cannot occur in a call
    /// on a machine minke runs on, so a filter needs no part for them).
    #[must_use]
    pub fn from_oci(arch: Arch) -> Option<Self> {
        Some(match arch {
            Arch::ScmpArchNative => Self::NATIVE,
            Arch::ScmpArchX86_64 => Self::X86_64,
            Arch::ScmpArchX86 => Self::X86,
            Arch::ScmpArchX32 => Self::X32,
            Arch::ScmpArchAarch64 => Self::Aarch64,
            Arch::ScmpArchArm => Self::Arm,
            Arch::ScmpArchRiscv64 => Self::Riscv64,
            Arch::ScmpArchPpc64le => Self::Ppc64le,
            Arch::ScmpArchS390x => Self::S390x,
            Arch::ScmpArchLoongarch64 => Self::Loongarch64,
            _ => return None,
        })
    }

    #[must_use]
    pub fn to_oci(self) -> Arch {
        match self {
            Self::X86_64 => Arch::ScmpArchX86_64,
            Self::X86 => Arch::ScmpArchX86,
            Self::X32 => Arch::ScmpArchX32,
            Self::Aarch64 => Arch::ScmpArchAarch64,
            Self::Arm => Arch::ScmpArchArm,
            Self::Riscv64 => Arch::ScmpArchRiscv64,
            Self::Ppc64le => Arch::ScmpArchPpc64le,
            Self::S390x => Arch::ScmpArchS390x,
            Self::Loongarch64 => Arch::ScmpArchLoongarch64,
        }
    }

    /// `AUDIT_ARCH_*`: what `seccomp_data.arch` holds. x32 shares x86_64's and differs by a bit of the number.
    #[must_use]
    pub fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
            Self::Riscv64 => 0xc000_00f3,
            Self::Ppc64le => 0xc000_0015,
            Self::S390x => 0x8000_0016,
            Self::Loongarch64 => 0xc000_0102,
        }
    }

    /// Only the low half of an argument exists.
    #[must_use]
    pub fn is_32_bit(self) -> bool {
        matches!(self, Self::X86 | Self::Arm)
    }

    #[must_use]
    pub fn is_big_endian(self) -> bool {
        self == Self::S390x
    }

    /// The number of a call, x32's bit included.
    #[must_use]
    pub fn number(self, name: &str) -> Option<u32> {
        self.number_of(find(name)?)
    }

    /// The same for a row already found.
    pub(crate) fn number_of(self, row: &Row) -> Option<u32> {
        let number = row.numbers[self as usize];
        let bit = if self == Self::X32 { X32_BIT } else { 0 };
        (number != NO).then_some(number | bit)
    }

    /// Old ABIs reach some calls through a multiplexer as well: its number, and the first argument that selects the call.
    #[must_use]
    pub(crate) fn multiplexed(self, name: &str) -> Option<(u32, u64)> {
        const SOCKETCALL: [&str; 20] = [
            "socket",
            "bind",
            "connect",
            "listen",
            "accept",
            "getsockname",
            "getpeername",
            "socketpair",
            "send",
            "recv",
            "sendto",
            "recvfrom",
            "shutdown",
            "setsockopt",
            "getsockopt",
            "sendmsg",
            "recvmsg",
            "accept4",
            "recvmmsg",
            "sendmmsg",
        ];
        const IPC: [(&str, u64); 12] = [
            ("semop", 1),
            ("semget", 2),
            ("semctl", 3),
            ("semtimedop", 4),
            ("msgsnd", 11),
            ("msgrcv", 12),
            ("msgget", 13),
            ("msgctl", 14),
            ("shmat", 21),
            ("shmdt", 22),
            ("shmget", 23),
            ("shmctl", 24),
        ];
        if !matches!(self, Self::X86 | Self::S390x | Self::Ppc64le) {
            return None;
        }
        if let Some(at) = SOCKETCALL.iter().position(|call| *call == name) {
            return Some((self.number("socketcall")?, at as u64 + 1));
        }
        let (_, selector) = IPC.iter().find(|(call, _)| *call == name)?;
        Some((self.number("ipc")?, *selector))
    }
}

/// A call's name and its number in each column; without pointers, which would be relocated at every start of the program.
pub(crate) struct Row {
    letters: [u8; 31],
    length: u8,
    numbers: [u32; 9],
}

impl Row {
    const fn new((name, numbers): (&str, [u32; 9])) -> Self {
        let mut letters = [0; 31];
        let mut at = 0;
        while at < name.len() {
            letters[at] = name.as_bytes()[at];
            at += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a longer name would not have fitted above")]
        Self { letters, length: at as u8, numbers }
    }

    fn bytes(&self) -> &[u8] {
        &self.letters[..usize::from(self.length)]
    }

    pub(crate) fn name(&self) -> &str {
        str::from_utf8(self.bytes()).unwrap_or_default()
    }
}

static ROWS: [Row; rows::ROWS.len()] = {
    let mut all = [const { Row::new(("", [NO; 9])) }; rows::ROWS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = Row::new(rows::ROWS[at]);
        at += 1;
    }
    all
};

/// The row of a call; one look-up serves every architecture.
pub(crate) fn find(name: &str) -> Option<&'static Row> {
    let at = ROWS.binary_search_by_key(&name.as_bytes(), Row::bytes).ok()?;
    Some(&ROWS[at])
}

/// Every call name of any architecture, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(Row::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_by_name_so_that_bisection_works() {
        assert!(names().is_sorted());
    }

    #[test]
    fn numbers_are_those_of_each_architecture() {
        assert_eq!(Machine::X86_64.number("read"), Some(0));
        assert_eq!(Machine::X86.number("read"), Some(3));
        assert_eq!(Machine::X32.number("readv"), Some(X32_BIT | 515));
        assert_eq!(Machine::Aarch64.number("open"), None);
        assert_eq!(Machine::Arm.number("set_tls"), Some(0x0f_0005));
        assert_eq!(Machine::X86_64.number("no_such_call"), None);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_native_column_agrees_with_libc() {
        for (name, number) in [
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("mount", libc::SYS_mount),
            ("seccomp", libc::SYS_seccomp),
            ("futex_waitv", libc::SYS_futex_waitv),
        ] {
            assert_eq!(Machine::NATIVE.number(name).map(i64::from), Some(number), "{name}");
        }
    }

    #[test]
    fn i386_reaches_sockets_through_a_multiplexer_too() {
        assert_eq!(Machine::X86.multiplexed("socket"), Some((102, 1)));
        assert_eq!(Machine::X86.multiplexed("shmctl"), Some((117, 24)));
        assert_eq!(Machine::X86_64.multiplexed("socket"), None);
    }
}
