//! The device list: which device nodes the processes of a cgroup may open or make.
//!
//! OCI rules are applied one after the other to a small model with the kernel's v1 semantics (a default and its
//! exceptions). The result is either written to `devices.allow`/`devices.deny`, or compiled to BPF (see [`crate::bpf`]).

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType};

/// Allowed operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    pub const READ: Self = Self(1);
    pub const WRITE: Self = Self(2);
    pub const MKNOD: Self = Self(4);
    pub const ALL: Self = Self(7);

    /// Reads `rwm` letters; no letters at all mean everything, as runc reads an absent field.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let bits = text.bytes().fold(0, |bits, letter| {
            bits | match letter {
                b'r' => Self::READ.0,
                b'w' => Self::WRITE.0,
                b'm' => Self::MKNOD.0,
                _ => 0,
            }
        });
        if bits == 0 { Self::ALL } else { Self(bits) }
    }

    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (bit, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")] {
            if self.contains(bit) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// Block or character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Block,
    Char,
}

/// One exception to the default. `None` numbers mean "any".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    pub kind: DeviceKind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

impl Exception {
    /// `c 1:3 rwm`, as the v1 files want it.
    #[must_use]
    pub fn line(&self) -> String {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let kind = match self.kind {
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        format!("{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }

    fn same_devices(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Every device of `other` is a device of `self`.
    fn covers(&self, other: &Self) -> bool {
        let covers = |wide: Option<u32>, narrow| wide.is_none() || wide == narrow;
        self.kind == other.kind && covers(self.major, other.major) && covers(self.minor, other.minor)
    }
}

/// A default and its exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList {
    pub allow_by_default: bool,
    pub exceptions: Vec<Exception>,
}

impl DeviceList {
    #[must_use]
    pub fn deny_all() -> Self {
        Self { allow_by_default: false, exceptions: Vec::new() }
    }

    #[must_use]
    pub fn allow_all() -> Self {
        Self { allow_by_default: true, exceptions: Vec::new() }
    }

    /// Applies one OCI rule. A rule for all types and numbers resets the list, as `a` does in the kernel.
    pub fn apply(&mut self, rule: &LinuxDeviceCgroup) {
        let kind = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::B => DeviceKind::Block,
            LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
            LinuxDeviceType::A => {
                *self = Self { allow_by_default: rule.allow(), exceptions: Vec::new() };
                return;
            }
            // A fifo is no device: there is nothing to allow.
            LinuxDeviceType::P => return,
        };
        let number = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
        let access = Access::parse(rule.access().as_deref().unwrap_or_default());
        let rule_exception =
            Exception { kind, major: number(rule.major()), minor: number(rule.minor()), access };
        if rule.allow() == self.allow_by_default {
            self.remove(rule_exception);
        } else {
            self.add(rule_exception);
        }
    }

    fn add(&mut self, new: Exception) {
        match self.exceptions.iter_mut().find(|e| e.same_devices(&new)) {
            Some(known) => known.access = known.access.with(new.access),
            None => self.exceptions.push(new),
        }
    }

    /// Unlike the bare kernel list, a wide rule also takes back the narrow exceptions it covers: that is what its author meant.
    fn remove(&mut self, taken: Exception) {
        for exception in &mut self.exceptions {
            if taken.covers(exception) {
                exception.access = exception.access.without(taken.access);
            }
        }
        self.exceptions.retain(|e| !e.access.is_empty());
    }

    /// What the list says about one request.
    #[must_use]
    pub fn allows(&self, kind: DeviceKind, major: u32, minor: u32, access: Access) -> bool {
        let request = Exception { kind, major: Some(major), minor: Some(minor), access };
        let hit = self.exceptions.iter().any(|e| {
            let operation =
                if self.allow_by_default { e.access.overlaps(access) } else { e.access.contains(access) };
            e.covers(&request) && operation
        });
        hit != self.allow_by_default
    }

    /// Writes for a v1 devices cgroup: file and value, in order.
    #[must_use]
    pub fn v1_writes(&self) -> Vec<(&'static str, String)> {
        let (base, exceptions) = if self.allow_by_default {
            ("devices.allow", "devices.deny")
        } else {
            ("devices.deny", "devices.allow")
        };
        let lines = self.exceptions.iter().map(|e| (exceptions, e.line()));
        std::iter::once((base, "a".to_owned())).chain(lines).collect()
    }
}

/// What every container may use whatever its list says: making any node, and the devices of a minimal /dev.
/// The OCI runtime specification's "default devices", and one more that runc allows.
#[must_use]
pub fn default_rules() -> Vec<LinuxDeviceCgroup> {
    const NODES: [(i64, Option<i64>); 10] = [
        (1, Some(3)),    // null
        (1, Some(5)),    // zero
        (1, Some(7)),    // full
        (1, Some(8)),    // random
        (1, Some(9)),    // urandom
        (5, Some(0)),    // tty
        (5, Some(1)),    // console
        (5, Some(2)),    // ptmx
        (10, Some(200)), // net/tun, which runc's callers have come to count on
        (136, None),     // pts/*
    ];
    let rule = |typ, major: Option<i64>, minor: Option<i64>, access: &str| {
        let mut builder = LinuxDeviceCgroupBuilder::default().allow(true).typ(typ).access(access);
        if let Some(major) = major {
            builder = builder.major(major);
        }
        if let Some(minor) = minor {
            builder = builder.minor(minor);
        }
        builder.build().expect("every field of the builder has a default")
    };
    let mut rules =
        vec![rule(LinuxDeviceType::C, None, None, "m"), rule(LinuxDeviceType::B, None, None, "m")];
    rules.extend(NODES.iter().map(|(major, minor)| rule(LinuxDeviceType::C, Some(*major), *minor, "rwm")));
    rules
}

#[cfg(test)]
mod tests;
