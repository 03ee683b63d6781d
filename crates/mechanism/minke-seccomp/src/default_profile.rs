//! minke's default profile: what a container without `--security-opt seccomp=…` may call.
//!
//! An allow list by exclusion: every call in the table is sorted here either into a group that is withheld, with the
//! reason, or it is plain. A test counts both, so that a new kernel's calls do not slip in unseen. Withheld calls answer
//! EPERM; calls newer than the table answer ENOSYS (the compiler sees to that), so that libraries fall back.

use oci_spec::runtime::{
    Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use crate::table::{Machine, names};

/// A kernel's version, as far as rules ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    pub major: u32,
    pub minor: u32,
}

impl Kernel {
    /// Parses a release like `6.18.44-fc`. What cannot be read counts as old, which is the stricter reading.
    #[must_use]
    pub fn parse(release: &str) -> Self {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        Self { major: numbers.next().unwrap_or(0), minor: numbers.next().unwrap_or(0) }
    }

    /// From here on ptrace cannot be used to slip past a filter any more.
    const TRACING_IS_FILTERED: Self = Self { major: 4, minor: 8 };
}

/// Never allowed, whatever the capabilities.
const WITHHELD: &[(&str, &[&str])] = &[
    ("the kernel keyring is shared by all containers", &["add_key", "keyctl", "request_key"]),
    (
        "a history of kernel holes, and calls made by it bypass this filter",
        &["io_uring_enter", "io_uring_register", "io_uring_setup"],
    ),
    ("loads another kernel", &["kexec_file_load", "kexec_load"]),
    ("makes kernel races easy to win", &["userfaultfd"]),
    ("changes the root of the mount namespace", &["pivot_root"]),
    ("swap belongs to the host", &["swapoff", "swapon"]),
    ("moves memory of other processes between nodes", &["migrate_pages", "move_pages"]),
    ("returns kernel-internal file system numbers, long replaced by /proc/filesystems", &["sysfs", "ustat"]),
    ("loads code by an obsolete path", &["uselib"]),
    ("real mode on 32-bit x86, a large attack surface for nothing current", &["vm86", "vm86old"]),
    (
        "removed from the kernel, or never there",
        &[
            "_sysctl",
            "afs_syscall",
            "bdflush",
            "break",
            "create_module",
            "ftime",
            "get_kernel_syms",
            "getpmsg",
            "gtty",
            "idle",
            "lock",
            "mpx",
            "multiplexer",
            "nfsservctl",
            "prof",
            "profil",
            "putpmsg",
            "query_module",
            "security",
            "stty",
            "timerfd",
            "tuxcall",
            "ulimit",
            "vserver",
        ],
    ),
    (
        "superseded calls that no C library of this century makes",
        &[
            "nice",
            "oldfstat",
            "oldlstat",
            "oldolduname",
            "oldstat",
            "olduname",
            "readdir",
            "sgetmask",
            "sigaction",
            "signal",
            "sigpending",
            "sigsuspend",
            "ssetmask",
        ],
    ),
    (
        "machine control of other architectures",
        &[
            "get_tls",
            "pciconfig_iobase",
            "pciconfig_read",
            "pciconfig_write",
            "rtas",
            "s390_guarded_storage",
            "s390_sthyi",
            "spu_create",
            "spu_run",
            "subpage_prot",
            "switch_endian",
            "sys_debug_setcontext",
        ],
    ),
    ("made by the kernel's own trampolines only", &["uprobe"]),
    (
        "so new that no container can depend on it; wait until its use is known",
        &["file_getattr", "file_setattr", "open_tree_attr"],
    ),
];

/// Allowed to holders of the capability that the kernel itself asks for, so that the filter adds nothing but depth.
const BY_CAPABILITY: &[(Capability, &[&str])] = &[
    (Capability::DacReadSearch, &["open_by_handle_at"]),
    (
        Capability::SysAdmin,
        &[
            "bpf",
            "clone",
            "clone3",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "lsm_get_self_attr",
            "lsm_list_modules",
            "lsm_set_self_attr",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "syslog",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (Capability::SysBoot, &["reboot"]),
    (Capability::SysChroot, &["chroot"]),
    (Capability::SysModule, &["delete_module", "finit_module", "init_module"]),
    (Capability::SysPacct, &["acct"]),
    (
        Capability::SysPtrace,
        &["kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace"],
    ),
    (Capability::SysRawio, &["ioperm", "iopl"]),
    (Capability::SysTime, &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    (Capability::SysTtyConfig, &["vhangup"]),
    (Capability::SysNice, &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    (Capability::Syslog, &["syslog"]),
    (Capability::Bpf, &["bpf"]),
    (Capability::Perfmon, &["perf_event_open"]),
];

/// Calls of one processor family. They are in no other family's table, but the profile should read true everywhere.
const BY_MACHINE: &[(&[Machine], &[&str])] = &[
    (&[Machine::X86_64, Machine::X32], &["arch_prctl"]),
    (&[Machine::X86_64, Machine::X32, Machine::X86], &["modify_ldt"]),
    (
        &[Machine::Aarch64, Machine::Arm],
        &[
            "arm_fadvise64_64",
            "arm_sync_file_range",
            "breakpoint",
            "cacheflush",
            "set_tls",
            "sync_file_range2",
        ],
    ),
    (&[Machine::Ppc64le], &["swapcontext", "sync_file_range2"]),
    (&[Machine::S390x], &["s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr"]),
    (&[Machine::Riscv64], &["riscv_flush_icache"]),
];

/// Allowed depending on arguments or the kernel's age; see [`conditional`].
const CONDITIONAL: &[&str] =
    &["clone", "clone3", "personality", "process_vm_readv", "process_vm_writev", "ptrace", "socket"];

/// clone flags that make namespaces: user, pid, net, ipc, uts, cgroup, mount.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Sockets into the kernel's crypto code: a large attack surface that hardly any program needs.
const AF_ALG: u64 = 38;

/// Sockets that reach the hypervisor and its other guests, past every network namespace.
const AF_VSOCK: u64 = 40;

/// Personalities that only change what uname and the address layout look like:
/// Linux, 32-bit Linux (8), the two with uname of 2.6 (0x20000), and "just tell".
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The default profile for a container with these capabilities, on this kernel and machine.
#[must_use]
pub fn default_profile(capabilities: &[Capability], kernel: Kernel, machine: Machine) -> LinuxSeccomp {
    let mut allowed: Vec<String> = plain_names().map(str::to_owned).collect();
    let held = BY_CAPABILITY.iter().filter(|(c, _)| capabilities.contains(c));
    let family = machine_family(machine);
    let of_machine = BY_MACHINE.iter().filter(|(machines, _)| machines.iter().any(|m| family.contains(m)));
    let further = held.map(|(_, names)| names).chain(of_machine.map(|(_, names)| names));
    allowed.extend(further.flat_map(|names| names.iter().map(|n| (*n).to_owned())));
    if kernel >= Kernel::TRACING_IS_FILTERED {
        allowed.extend(["process_vm_readv", "process_vm_writev", "ptrace"].map(str::to_owned));
    }
    allowed.sort();
    allowed.dedup();
    let mut rules = vec![rule(allowed, LinuxSeccompAction::ScmpActAllow, None, Vec::new())];
    rules.extend(conditional(capabilities, machine));
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(1u32)
        .architectures(family.iter().map(|m| m.to_oci()).collect::<Vec<_>>())
        .syscalls(rules)
        .build()
        .expect("every field of the builder has a default")
}

/// The machine and those it also runs programs of.
fn machine_family(machine: Machine) -> &'static [Machine] {
    match machine {
        Machine::X86_64 | Machine::X86 | Machine::X32 => &[Machine::X86_64, Machine::X86, Machine::X32],
        Machine::Aarch64 | Machine::Arm => &[Machine::Aarch64, Machine::Arm],
        Machine::Riscv64 => &[Machine::Riscv64],
        Machine::Ppc64le => &[Machine::Ppc64le],
        Machine::S390x => &[Machine::S390x],
        Machine::Loongarch64 => &[Machine::Loongarch64],
    }
}

/// Calls in no special group.
fn plain_names() -> impl Iterator<Item = &'static str> {
    let special = |name: &&str| {
        WITHHELD.iter().any(|(_, names)| names.contains(name))
            || BY_CAPABILITY.iter().any(|(_, names)| names.contains(name))
            || BY_MACHINE.iter().any(|(_, names)| names.contains(name))
            || CONDITIONAL.contains(name)
    };
    names().filter(move |name| !special(name))
}

fn conditional(capabilities: &[Capability], machine: Machine) -> Vec<LinuxSyscall> {
    let one = |name: &str, action, errno, args| rule(vec![name.to_owned()], action, errno, args);
    let allow = |name: &str, args| one(name, LinuxSeccompAction::ScmpActAllow, None, args);
    let mut rules = vec![
        allow("socket", vec![arg(0, LinuxSeccompOperator::ScmpCmpLt, AF_ALG, None)]),
        allow("socket", vec![arg(0, LinuxSeccompOperator::ScmpCmpEq, AF_ALG + 1, None)]),
        allow("socket", vec![arg(0, LinuxSeccompOperator::ScmpCmpGt, AF_VSOCK, None)]),
    ];
    rules.extend(
        PERSONALITIES.map(|p| allow("personality", vec![arg(0, LinuxSeccompOperator::ScmpCmpEq, p, None)])),
    );
    if !capabilities.contains(&Capability::SysAdmin) {
        // s390 takes the stack first and the flags second.
        let flags = usize::from(machine == Machine::S390x);
        let masked = arg(flags, LinuxSeccompOperator::ScmpCmpMaskedEq, NAMESPACE_FLAGS, Some(0));
        rules.push(allow("clone", vec![masked]));
        // Its flags are behind a pointer, out of a filter's sight: ENOSYS makes C libraries use clone.
        rules.push(one("clone3", LinuxSeccompAction::ScmpActErrno, Some(38), Vec::new()));
    }
    rules
}

fn rule(
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut builder = LinuxSyscallBuilder::default().names(names).action(action);
    if let Some(errno) = errno {
        builder = builder.errno_ret(errno);
    }
    if !args.is_empty() {
        builder = builder.args(args);
    }
    builder.build().expect("names and action are given")
}

fn arg(index: usize, op: LinuxSeccompOperator, value: u64, value_two: Option<u64>) -> LinuxSeccompArg {
    let mut builder = LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
    if let Some(second) = value_two {
        builder = builder.value_two(second);
    }
    builder.build().expect("index, operator and value are given")
}

#[cfg(test)]
mod tests;
