//! What the engine needs to know of its host, read once when it opens.
//!
//! Plans take this as an argument and stay pure; tests make their own host.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use oci_spec::runtime::Capabilities;

use super::capabilities;

/// The AppArmor profile of containers that name none; Docker loads it, and so does `apparmor_parser` at boot.
pub const DEFAULT_PROFILE: &str = "docker-default";

/// The host as plans see it.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// How many processors there are.
    pub cpus: u32,
    /// The list of usable processors as the kernel writes it (`0-3`).
    pub cpus_online: String,
    /// The list of memory nodes as the kernel writes it.
    pub mems_online: String,
    /// Bytes of memory.
    pub memory: u64,
    /// The v1 hierarchies that hold controllers, by controller.
    pub v1_controllers: BTreeSet<String>,
    /// The controllers of the v2 hierarchy.
    pub v2_controllers: BTreeSet<String>,
    /// Whether v2 is the only hierarchy with controllers.
    pub pure_v2: bool,
    /// Whether swap can be limited.
    pub swap_limit: bool,
    /// Whether a cgroup can say how readily it swaps; v2 has no such file.
    pub swappiness: bool,
    /// Whether a cgroup can be kept from the out-of-memory killer; v2 has no such file.
    pub oom_kill_disable: bool,
    /// Whether real-time threads can have time of their own.
    pub real_time: bool,
    /// Whether the weight of block I/O can be set.
    pub blkio_weight: bool,
    /// Whether block I/O can be throttled.
    pub blkio_throttle: bool,
    /// The capabilities that the engine itself may hand on.
    pub capabilities: Capabilities,
    /// Whether AppArmor is there.
    pub apparmor: bool,
    /// Whether [`DEFAULT_PROFILE`] is loaded there.
    pub apparmor_default: bool,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub machine: String,
    /// The host's name.
    pub hostname: String,
}

impl HostFacts {
    /// Looks at the host.
    pub fn read() -> Self {
        let uname = rustix::system::uname();
        let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
        let cgroup = Path::new("/sys/fs/cgroup");
        let v1_controllers = read_v1_controllers();
        let v2_root = [cgroup.to_path_buf(), cgroup.join("unified")]
            .into_iter()
            .find(|root| root.join("cgroup.controllers").exists());
        let v2_controllers: BTreeSet<String> = v2_root
            .and_then(|root| fs::read_to_string(root.join("cgroup.controllers")).ok())
            .map(|list| list.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default();
        let pure_v2 = v1_controllers.is_empty() && cgroup.join("cgroup.controllers").exists();
        let v1_file = |path: &str| cgroup.join(path).exists();
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
            cpus_online: first_line("/sys/devices/system/cpu/online"),
            mems_online: match first_line("/sys/devices/system/node/online") {
                list if list.is_empty() => "0".to_owned(),
                list => list,
            },
            memory: rustix::system::sysinfo()
                .totalram
                .saturating_mul(u64::from(rustix::system::sysinfo().mem_unit)),
            swap_limit: v2_controllers.contains("memory") || v1_file("memory/memory.memsw.limit_in_bytes"),
            swappiness: v1_file("memory/memory.swappiness"),
            oom_kill_disable: v1_file("memory/memory.oom_control"),
            real_time: v1_file("cpu/cpu.rt_runtime_us"),
            blkio_weight: v2_controllers.contains("io")
                || v1_file("blkio/blkio.weight")
                || v1_file("blkio/blkio.bfq.weight"),
            blkio_throttle: v2_controllers.contains("io") || v1_file("blkio/blkio.throttle.read_bps_device"),
            v1_controllers,
            v2_controllers,
            pure_v2,
            capabilities: read_capabilities(),
            apparmor_default: fs::read_to_string("/sys/kernel/security/apparmor/profiles")
                .is_ok_and(|list| list.lines().any(|l| l.split(' ').next() == Some(DEFAULT_PROFILE))),
            apparmor: first_line("/sys/module/apparmor/parameters/enabled") == "Y",
            kernel: text(uname.release()),
            machine: text(uname.machine()),
            hostname: text(uname.nodename()),
        }
    }

    /// Whether limits of this kind can be set, on whichever hierarchy.
    pub fn controls(&self, controller: &str) -> bool {
        self.v1_controllers.contains(controller) || self.v2_controllers.contains(controller)
    }

    /// Docker's name of the machine's architecture.
    pub fn architecture(&self) -> &str {
        architecture(&self.machine)
    }
}

/// Go's name for a machine as `uname -m` calls it.
pub fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" => "arm",
        "i686" | "i386" => "386",
        other => other,
    }
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path)
        .ok()
        .and_then(|text| text.lines().next().map(|line| line.trim().to_owned()))
        .unwrap_or_default()
}

fn read_v1_controllers() -> BTreeSet<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| line.split_once(" - cgroup "))
        .filter_map(|(_, rest)| rest.rsplit(' ').next())
        .flat_map(|options| options.split(','))
        .filter(|option| {
            !matches!(*option, "rw" | "ro" | "xattr" | "clone_children" | "noprefix") && !option.contains('=')
        })
        .map(str::to_owned)
        .collect()
}

fn read_capabilities() -> Capabilities {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
            .unwrap_or(0)
    };
    capabilities::from_mask(mask("CapBnd:") & mask("CapPrm:"))
}
