//! The plan itself: one container's OCI configuration, one exec's process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use minke_api::container::{ContainerConfig, HostConfig};
use oci_spec::runtime::{
    BoxBuilder, Capabilities, Linux, LinuxCapabilities, LinuxDevice, LinuxNamespace, LinuxNamespaceType,
    Mount, Process, Root, Spec, User,
};

use super::devices::DevicePlan;
use super::identity::Identity;
use super::mounts::{MountWish, Sources};
use super::security::SecurityOptions;
use super::{environment, resources};
use crate::error::{Error, Result};

/// What is hidden from a container under `/proc` and `/sys`.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What a container may not write to under `/proc`.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Docker's size of `/dev/shm`.
const SHM_SIZE: i64 = 64 << 20;

/// Where a namespace comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NamespacePlan {
    /// A new one.
    #[default]
    New,
    /// The host's.
    Host,
    /// An existing one, by its file.
    Join(PathBuf),
}

/// The namespaces of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Interfaces and addresses. `New` also stands for one that rides to the keeper as a descriptor.
    pub net: NamespacePlan,
    /// Processes.
    pub pid: NamespacePlan,
    /// System V and POSIX objects.
    pub ipc: NamespacePlan,
    /// Names of host and domain.
    pub uts: NamespacePlan,
    /// The view of the cgroup tree.
    pub cgroup: NamespacePlan,
}

/// The files that a container has from its engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemFiles {
    /// `/etc/hostname`.
    pub hostname: Option<PathBuf>,
    /// `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// `/etc/resolv.conf`.
    pub resolv: Option<PathBuf>,
    /// A directory for `/dev/shm` that is shared with others; a new tmpfs otherwise.
    pub shm: Option<PathBuf>,
}

/// Everything a plan is made of.
#[derive(Debug)]
pub struct PlanInput<'a> {
    /// The container's configuration, the image's filled in.
    pub config: &'a ContainerConfig,
    /// Variables that links bring; the configuration's own replace them.
    pub environment: &'a [String],
    /// The host's half.
    pub host: &'a HostConfig,
    /// What it says about security, parsed.
    pub security: &'a SecurityOptions,
    /// The host name inside.
    pub hostname: &'a str,
    /// As whom.
    pub identity: &'a Identity,
    /// With which capabilities.
    pub capabilities: &'a Capabilities,
    /// Under which AppArmor profile, on a host that has AppArmor.
    pub apparmor: Option<&'a str>,
    /// In which namespaces.
    pub namespaces: &'a Namespaces,
    /// The network namespace is there already, with its settings made.
    pub net_ready: bool,
    /// With which files.
    pub files: &'a SystemFiles,
    /// With which mounts.
    pub mounts: &'a [MountWish],
    /// Where the data of volumes and images is.
    pub sources: &'a Sources,
    /// With which devices.
    pub devices: &'a DevicePlan,
    /// The container's cgroup, from the root of each hierarchy.
    pub cgroup: &'a Path,
    /// The terminal's height and width, when known.
    pub console_size: Option<[u32; 2]>,
}

/// The OCI configuration of a container.
pub fn plan_spec(input: &PlanInput<'_>) -> Result<Spec> {
    let mut spec = Spec::default();
    let mut root = Root::default();
    root.set_path(PathBuf::from("rootfs")).set_readonly(Some(input.host.readonly_rootfs));
    spec.set_version("1.2.1".to_owned())
        .set_root(Some(root))
        .set_process(Some(plan_process(input)?))
        .set_mounts(Some(plan_mounts(input)))
        .set_hooks(None)
        .set_linux(Some(plan_linux(input)?));
    if input.namespaces.uts == NamespacePlan::New {
        spec.set_hostname(Some(input.hostname.to_owned()));
        if !input.config.domainname.is_empty() {
            spec.set_domainname(Some(input.config.domainname.clone()));
        }
    } else {
        spec.set_hostname(None);
    }
    spec.set_annotations(
        input.host.annotations.as_ref().filter(|map| !map.is_empty()).map(|map| {
            map.iter().map(|(key, value)| (key.clone(), value.clone())).collect::<HashMap<_, _>>()
        }),
    );
    Ok(spec)
}

fn plan_process(input: &PlanInput<'_>) -> Result<Process> {
    let args = environment::program(input.config);
    if args.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("no command specified"));
    }
    let cwd = if input.config.working_dir.is_empty() { "/" } else { &input.config.working_dir };
    let mut process = Process::default();
    process
        .set_terminal(Some(input.config.tty))
        .set_user(plan_user(input.identity, input.host.umask))
        .set_args(Some(args))
        .set_env(Some(environment::plan(
            input.config,
            input.hostname,
            &input.identity.home,
            input.environment,
        )))
        .set_cwd(PathBuf::from(cwd))
        .set_capabilities(Some(plan_capabilities(input.capabilities)))
        .set_no_new_privileges(Some(input.security.no_new_privileges))
        .set_oom_score_adj(i32::try_from(input.host.oom_score_adj).ok().filter(|score| *score != 0))
        .set_apparmor_profile(input.apparmor.map(str::to_owned))
        .set_rlimits(None)
        .set_console_size(None);
    let rlimits = resources::plan_rlimits(input.host.ulimits.as_deref().unwrap_or_default())?;
    if !rlimits.is_empty() {
        process.set_rlimits(Some(rlimits));
    }
    set_console(&mut process, input.config.tty, input.console_size)?;
    Ok(process)
}

fn set_console(process: &mut Process, tty: bool, size: Option<[u32; 2]>) -> Result<()> {
    if let (true, Some([height, width])) = (tty, size.filter(|size| size[0] > 0 && size[1] > 0)) {
        let size = BoxBuilder::default()
            .height(height)
            .width(width)
            .build()
            .map_err(|source| Error::failed("plan the terminal's size", source))?;
        process.set_console_size(Some(size));
    }
    Ok(())
}

fn plan_user(identity: &Identity, umask: Option<u32>) -> User {
    let mut user = User::default();
    user.set_uid(identity.uid)
        .set_gid(identity.gid)
        .set_additional_gids(Some(identity.groups.clone()))
        .set_umask(umask)
        .set_username(None);
    user
}

fn plan_capabilities(set: &Capabilities) -> LinuxCapabilities {
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_permitted(Some(set.clone()))
        .set_inheritable(None)
        .set_ambient(None);
    capabilities
}

fn mount(target: &str, typ: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(target))
        .set_typ(Some(typ.to_owned()))
        .set_source(Some(PathBuf::from(source)))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

fn bind(target: &str, source: &Path, readonly: bool) -> Mount {
    let mut options = vec!["rbind", "rprivate"];
    if readonly {
        options.push("ro");
    }
    mount(target, "bind", &source.to_string_lossy(), &options)
}

fn plan_mounts(input: &PlanInput<'_>) -> Vec<Mount> {
    let privileged = input.host.privileged;
    let taken = |target: &str| input.mounts.iter().any(|wish| wish.target == target);
    let mut mounts = Vec::with_capacity(10 + input.mounts.len());
    let mut push = |mount: Mount| {
        if !input.mounts.iter().any(|wish| Path::new(&wish.target) == mount.destination()) {
            mounts.push(mount);
        }
    };
    push(match &input.namespaces.pid {
        // The host's processes are shown through the host's own proc, which also works where a new one is refused.
        NamespacePlan::Host | NamespacePlan::New | NamespacePlan::Join(_) => {
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])
        }
    });
    push(mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]));
    push(mount(
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ));
    let readonly: &[&str] = if privileged { &[] } else { &["ro"] };
    let with = |base: &[&'static str]| [base, readonly].concat();
    push(mount("/sys", "sysfs", "sysfs", &with(&["nosuid", "noexec", "nodev"])));
    let cgroup: &[&str] = if input.security.writable_cgroups.unwrap_or(privileged) { &[] } else { &["ro"] };
    push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &[&["nosuid", "noexec", "nodev"], cgroup].concat()));
    // Message queues belong to the ipc namespace, whichever it is: a fresh mount shows the host's with `--ipc host`, and needs no
    // /dev/mqueue on the host.
    push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    if input.host.ipc_mode != "none" {
        match &input.files.shm {
            Some(shared) => push(bind("/dev/shm", shared, false)),
            None => {
                let size = if input.host.shm_size > 0 { input.host.shm_size } else { SHM_SIZE };
                let size = format!("size={size}");
                push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]));
            }
        }
    }
    for (target, file) in [
        ("/etc/resolv.conf", &input.files.resolv),
        ("/etc/hostname", &input.files.hostname),
        ("/etc/hosts", &input.files.hosts),
    ] {
        if let Some(file) = file.as_deref().filter(|_| !taken(target)) {
            push(bind(target, file, input.host.readonly_rootfs));
        }
    }
    mounts.extend(input.mounts.iter().map(|wish| wish.plan(input.sources)));
    mounts
}

fn plan_linux(input: &PlanInput<'_>) -> Result<Linux> {
    let mut linux = Linux::default();
    let mut limits = resources::plan_resources(input.host)?;
    limits.set_devices(Some(input.devices.rules.clone()));
    let unmasked = input.host.privileged || input.security.unmasked;
    let paths = |own: &Option<Vec<String>>| own.clone().filter(|list| !list.is_empty() && !unmasked);
    linux
        .set_namespaces(Some(plan_namespaces(input.namespaces)))
        .set_resources(Some(limits))
        .set_cgroups_path(Some(input.cgroup.to_path_buf()))
        .set_devices(Some(input.devices.nodes.clone()).filter(|nodes: &Vec<LinuxDevice>| !nodes.is_empty()))
        .set_sysctl(Some(plan_sysctls(input)).filter(|map| !map.is_empty()))
        .set_masked_paths(paths(&input.host.masked_paths))
        .set_readonly_paths(paths(&input.host.readonly_paths))
        // The filter goes to the keeper compiled, not in the configuration.
        .set_seccomp(None)
        .set_rootfs_propagation(plan_root_propagation(input.mounts))
        .set_uid_mappings(None)
        .set_gid_mappings(None)
        .set_mount_label(None);
    Ok(linux)
}

/// The host's mounts reach into a container only where a bind asks for it.
fn plan_root_propagation(mounts: &[MountWish]) -> Option<String> {
    let asked = |words: [&str; 2]| {
        mounts.iter().any(|wish| {
            matches!(&wish.what, super::mounts::What::Bind { propagation, .. } if words.contains(&propagation.as_str()))
        })
    };
    if asked(["shared", "rshared"]) {
        Some("shared".to_owned())
    } else if asked(["slave", "rslave"]) {
        Some("rslave".to_owned())
    } else {
        None
    }
}

fn plan_namespaces(plans: &Namespaces) -> Vec<LinuxNamespace> {
    [
        (LinuxNamespaceType::Mount, &NamespacePlan::New),
        (LinuxNamespaceType::Network, &plans.net),
        (LinuxNamespaceType::Uts, &plans.uts),
        (LinuxNamespaceType::Pid, &plans.pid),
        (LinuxNamespaceType::Ipc, &plans.ipc),
        (LinuxNamespaceType::Cgroup, &plans.cgroup),
    ]
    .into_iter()
    .filter_map(|(typ, plan)| {
        let path = match plan {
            NamespacePlan::Host => return None,
            NamespacePlan::New => None,
            NamespacePlan::Join(path) => Some(path.clone()),
        };
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(typ).set_path(path);
        Some(namespace)
    })
    .collect()
}

fn plan_sysctls(input: &PlanInput<'_>) -> HashMap<String, String> {
    let mut map: HashMap<String, String> = HashMap::new();
    if input.namespaces.net == NamespacePlan::New && !input.net_ready {
        map.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        map.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    map.extend(input.host.sysctls.iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    map
}

/// What an exec's process is made of.
#[derive(Debug)]
pub struct ExecInput<'a> {
    /// The container's configuration.
    pub config: &'a ContainerConfig,
    /// The container's host name.
    pub hostname: &'a str,
    /// The program.
    pub args: Vec<String>,
    /// Variables on top of the container's.
    pub env: &'a [String],
    /// Where; the container's directory when empty.
    pub working_dir: &'a str,
    /// Variables that links bring.
    pub links: &'a [String],
    /// As whom.
    pub identity: &'a Identity,
    /// With which capabilities.
    pub capabilities: &'a Capabilities,
    /// Under which AppArmor profile, on a host that has AppArmor.
    pub apparmor: Option<&'a str>,
    /// Whether it may not gain privileges.
    pub no_new_privileges: bool,
    /// Whether it has a terminal.
    pub tty: bool,
    /// The terminal's height and width, when known.
    pub console_size: Option<[u32; 2]>,
    /// The container's ulimits.
    pub ulimits: &'a [minke_api::container::Ulimit],
    /// The container's score for the out-of-memory killer.
    pub oom_score_adj: i64,
}

/// The process of an exec.
pub fn plan_exec(input: ExecInput<'_>) -> Result<Process> {
    let mut env = environment::plan(
        &ContainerConfig { tty: input.tty, env: input.config.env.clone(), ..ContainerConfig::default() },
        input.hostname,
        &input.identity.home,
        input.links,
    );
    env = environment::merge(env, input.env);
    let cwd = [input.working_dir, &input.config.working_dir, "/"]
        .into_iter()
        .find(|dir| !dir.is_empty())
        .unwrap_or("/");
    let mut process = Process::default();
    process
        .set_terminal(Some(input.tty))
        .set_user(plan_user(input.identity, None))
        .set_args(Some(input.args))
        .set_env(Some(env))
        .set_cwd(PathBuf::from(cwd))
        .set_capabilities(Some(plan_capabilities(input.capabilities)))
        .set_no_new_privileges(Some(input.no_new_privileges))
        .set_oom_score_adj(i32::try_from(input.oom_score_adj).ok().filter(|score| *score != 0))
        .set_apparmor_profile(input.apparmor.map(str::to_owned))
        .set_rlimits(None)
        .set_console_size(None);
    let rlimits = resources::plan_rlimits(input.ulimits)?;
    if !rlimits.is_empty() {
        process.set_rlimits(Some(rlimits));
    }
    set_console(&mut process, input.tty, input.console_size)?;
    Ok(process)
}

#[cfg(test)]
mod tests;
