//! The configuration, read once: what is refused is refused here, and what remains is a list of steps.
//!
//! Everything in this module is a function of its arguments. Order is decided here, too, and follows the OCI specification
//! and runc where the specification leaves it open: cgroup, namespaces, mounts, hooks, root, terminal, settings, filter,
//! rights, program.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use minke_sys::mount::{Depth, Propagation};
use minke_sys::pty::Size;
use minke_sys::spawn::flags;
use oci_spec::runtime::{Linux, LinuxIdMapping, Process, Spec};

use crate::error::LaunchError;
use crate::steps::{Phase, Step};

pub mod devices;
pub mod hooks;
pub mod mounts;
mod namespaces;
pub mod process;
mod settings;

pub use mounts::CgroupView;
use mounts::{MountInputs, Prepared};
use namespaces::{Namespaces, plan_entering, plan_namespaces};
use process::{ProcessInputs, Program};
use settings::plan_settings;

/// How a namespace comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its `CLONE_NEW*` bit.
    pub kind: u64,
    /// Its file.
    pub path: PathBuf,
}

/// How the root directory is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root<'a> {
    /// A path of the host.
    Path(&'a Path),
    /// A detached mount.
    Mount,
}

/// What a plan is made from besides the configuration.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate yes or no of the caller")]
pub struct Inputs<'a> {
    /// The container's name.
    pub id: &'a str,
    /// Relative paths count from here.
    pub bundle: &'a Path,
    /// Where the root comes from.
    pub root: Root<'a>,
    /// The terminal's size when there is a terminal.
    pub terminal: Option<Option<Size>>,
    /// The caller brings the network namespace.
    pub netns: bool,
    /// The launcher may mount on the host's behalf; without that right only the child, in a user namespace, may.
    pub privileged: bool,
    /// There is a cgroup to join.
    pub cgroup: bool,
    /// Hierarchies that a `cgroup` mount shows.
    pub cgroups: &'a [CgroupView],
    /// There is a filter to install.
    pub seccomp: bool,
    /// The filter has a listener, which the parent must still be there to receive.
    pub notifies: bool,
    /// The process waits before its program is executed.
    pub waits: bool,
    /// See [`crate::Launch`].
    pub listen_fds: u32,
    /// See [`crate::Launch`].
    pub no_pivot: bool,
    /// See [`crate::Launch`].
    pub no_new_keyring: bool,
    /// See [`crate::Launch`].
    pub keep_mount_namespace: bool,
    /// Limits that cannot be raised are cut instead.
    pub lenient: bool,
    /// The host has `/proc/kcore`.
    pub has_kcore: bool,
}

/// What a launch does, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Namespaces to make when the child is made.
    pub clone_flags: u64,
    /// Namespaces to join, the user namespace first.
    pub joined: Vec<Joined>,
    /// Lines for `uid_map` and `gid_map` of a new user namespace.
    pub maps: Option<Maps>,
    /// The out-of-memory score for the parent to set, where the child lacks the rights.
    pub oom_score: Option<CString>,
    /// Limits that cannot be raised are cut instead.
    pub lenient: bool,
    /// Bind mounts for the parent to make.
    pub prepared: Vec<Prepared>,
    /// What the child does.
    pub steps: Vec<Step>,
    /// What it executes.
    pub program: Program,
    /// Hooks for the parent.
    pub hooks: hooks::ParentHooks,
}

/// Identity maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maps {
    /// For `uid_map`.
    pub uids: Vec<LinuxIdMapping>,
    /// For `gid_map`.
    pub gids: Vec<LinuxIdMapping>,
}

impl Plan {
    /// Whether the child may run on the parent's memory: it is alone in a new pid namespace, nobody has to do anything for it
    /// meanwhile, and no program of others runs before the container's.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        let alone = self.clone_flags & flags::NEWPID != 0 && self.clone_flags & flags::NEWUSER == 0;
        let joins_identity =
            self.joined.iter().any(|joined| joined.kind == flags::NEWUSER || joined.kind == flags::NEWPID);
        let waits = self.steps.iter().any(|step| {
            matches!(step, Step::AwaitParent(_) | Step::AwaitStart | Step::Hook(_) | Step::TimeOffsets(_))
        });
        alone && !joins_identity && !waits
    }
}

/// Plans the first process of a container.
pub fn plan_launch(spec: &Spec, inputs: &Inputs<'_>) -> Result<Plan, LaunchError> {
    let process =
        spec.process().as_ref().ok_or_else(|| LaunchError::plan("the configuration has no process"))?;
    let nothing = Linux::default();
    let linux = spec.linux().as_ref().unwrap_or(&nothing);
    let namespaces = plan_namespaces(linux, inputs)?;
    refuse_unsupported(linux)?;
    let program = process::plan_program(process, inputs.listen_fds)?;
    let mut steps = Vec::with_capacity(96);
    let oom_score = process::plan_oom_score(process)?;
    let in_user_namespace = namespaces.is_own(flags::NEWUSER);
    if let Some(value) = oom_score.clone().filter(|_| !in_user_namespace) {
        steps.push(Step::OomScoreAdj { value, lenient: inputs.lenient });
    }
    plan_entering(&mut steps, linux, &namespaces, inputs)?;
    let prepared = plan_tree(&mut steps, spec, linux, process, &namespaces, inputs)?;
    plan_settings(&mut steps, spec, linux, process, &namespaces, inputs)?;
    let hooks = hooks::plan_parent_hooks(spec)?;
    plan_end(&mut steps, spec, process, &namespaces, inputs)?;
    Ok(Plan {
        clone_flags: namespaces.new,
        joined: namespaces.joined,
        maps: namespaces.maps,
        oom_score: oom_score.filter(|_| in_user_namespace),
        lenient: inputs.lenient,
        prepared,
        steps,
        program,
        hooks,
    })
}

fn refuse_unsupported(linux: &Linux) -> Result<(), LaunchError> {
    let refuse = |what: &str| Err(LaunchError::plan(format!("{what} is not supported")));
    if linux.intel_rdt().is_some() {
        return refuse("linux.intelRdt (cache and memory bandwidth allocation)");
    }
    if linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        return refuse("linux.netDevices (moving host devices into the container)");
    }
    if linux.memory_policy().is_some() {
        return refuse("linux.memoryPolicy (NUMA)");
    }
    Ok(())
}

/// Everything from the first mount to the change of root. Answers what the parent has to prepare.
fn plan_tree(
    steps: &mut Vec<Step>,
    spec: &Spec,
    linux: &Linux,
    process: &Process,
    namespaces: &Namespaces,
    inputs: &Inputs<'_>,
) -> Result<Vec<Prepared>, LaunchError> {
    let asked = linux.rootfs_propagation().as_deref().filter(|word| !word.is_empty());
    let asked = asked.map(|word| {
        mounts::plan_propagation(word)
            .ok_or_else(|| LaunchError::plan(format!("rootfsPropagation {word:?} is not a propagation mode")))
    });
    let asked = asked.transpose()?;
    let (propagation, depth) = asked.unwrap_or((Propagation::Slave, Depth::Recursive));
    let old_is_shared = propagation == Propagation::Shared;
    if namespaces.is_private(flags::NEWNS) && propagation != Propagation::Unbindable {
        steps.push(Step::HostPropagation(propagation, depth));
    }
    match inputs.root {
        Root::Path(path) => {
            steps.push(Step::RootFromPath { path: c_path(&inputs.bundle.join(path), "root.path")? });
        }
        Root::Mount => steps.push(Step::RootFromMount),
    }
    if old_is_shared {
        steps.push(Step::RootParentPrivate);
    }
    // What is made in the root gets exactly the mode it is made with.
    steps.push(Step::Umask(0));
    let entries = spec.mounts().as_deref().unwrap_or_default();
    let mounts = mounts::plan_mounts(
        entries,
        MountInputs {
            bundle: inputs.bundle,
            parent_opens: namespaces.is_own(flags::NEWUSER) && inputs.privileged,
            cgroups: inputs.cgroups,
            cgroup_namespace: namespaces.cgroup,
            label: linux.mount_label().as_deref(),
        },
    )?;
    let dev_is_bound = entries.iter().any(|entry| {
        entry.destination().as_path() == Path::new("/dev")
            && entry.options().iter().flatten().any(|word| word == "bind" || word == "rbind")
    });
    steps.extend(mounts.steps);
    if !dev_is_bound {
        steps
            .extend(devices::plan_devices(linux.devices().as_deref().unwrap_or_default(), inputs.has_kcore)?);
    }
    steps.push(Step::Umask(0o022));
    if hooks::wants_runtime_phase(spec) {
        steps.push(Step::AwaitParent(Phase::RuntimeHooks));
    }
    hooks::push_child_hooks(steps, spec, inputs, hooks::ChildPoint::CreateContainer)?;
    steps.push(if inputs.no_pivot { Step::MoveRoot } else { Step::Pivot { old_is_shared } });
    if inputs.keep_mount_namespace {
        steps.push(Step::ExportMountNamespace);
    }
    if let Some(size) = inputs.terminal {
        let size = size.or_else(|| process::plan_console_size(process));
        steps.push(Step::Console { size, node: !dev_is_bound });
    }
    if let Some((propagation, depth)) = asked.filter(|(propagation, _)| *propagation != Propagation::Slave) {
        steps.push(Step::RootPropagation(propagation, depth));
    }
    steps.extend(mounts.late);
    if process.cwd() != Path::new("/") && process.cwd().is_absolute() {
        // A working directory that is not there is made, as runc and Docker do.
        steps.push(Step::MakeDirectory { path: c_path(process.cwd(), "cwd")?, mode: 0o755 });
    }
    if spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly) == Some(true) {
        steps.push(Step::RootReadOnly);
    }
    Ok(mounts.prepared)
}

fn process_inputs(inputs: &Inputs<'_>) -> ProcessInputs {
    ProcessInputs { seccomp: inputs.seccomp, lenient: inputs.lenient, set_groups: true, is_init: true }
}

fn plan_end(
    steps: &mut Vec<Step>,
    spec: &Spec,
    process: &Process,
    namespaces: &Namespaces,
    inputs: &Inputs<'_>,
) -> Result<(), LaunchError> {
    let for_process = process_inputs(inputs);
    let own =
        (process.user().uid() != 0 || namespaces.is_own(flags::NEWUSER)).then_some(process.user().uid());
    steps.push(Step::Stdio { own });
    process::plan_identity(process, for_process, steps)?;
    if inputs.notifies {
        process::push_late_filter(process, for_process, steps);
    }
    if inputs.waits {
        steps.push(Step::AwaitParent(Phase::Created));
        steps.push(Step::AwaitStart);
    }
    hooks::push_child_hooks(steps, spec, inputs, hooks::ChildPoint::StartContainer)?;
    steps.push(Step::VerifyDirectory);
    if !inputs.notifies {
        process::push_late_filter(process, for_process, steps);
    }
    steps.push(Step::Execute);
    Ok(())
}

/// Plans a further process of a running container.
pub fn plan_exec(process: &Process, inputs: &ExecInputs) -> Result<(Vec<Step>, Program), LaunchError> {
    let program = process::plan_program(process, inputs.listen_fds)?;
    let for_process =
        ProcessInputs { seccomp: inputs.seccomp, lenient: inputs.lenient, set_groups: true, is_init: false };
    let mut steps = Vec::with_capacity(32);
    if let Some(value) = process::plan_oom_score(process)? {
        steps.push(Step::OomScoreAdj { value, lenient: inputs.lenient });
    }
    if inputs.cgroup {
        steps.push(Step::JoinCgroup);
    }
    steps.push(Step::JoinNamespaces);
    if inputs.user_namespace {
        steps.push(Step::BecomeRoot { traceable: false });
    }
    steps.push(Step::NewSession);
    if let Some(size) = inputs.terminal {
        steps.push(Step::Console { size: size.or_else(|| process::plan_console_size(process)), node: false });
    }
    steps.push(Step::Umask(0o022));
    process::plan_settings(process, for_process, &mut steps)?;
    let own = (process.user().uid() != 0 || inputs.user_namespace).then_some(process.user().uid());
    steps.push(Step::Stdio { own });
    process::plan_identity(process, for_process, &mut steps)?;
    steps.push(Step::VerifyDirectory);
    process::push_late_filter(process, for_process, &mut steps);
    steps.push(Step::Execute);
    Ok((steps, program))
}

/// What an exec is planned from besides the process.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate yes or no of the caller")]
pub struct ExecInputs {
    /// The terminal's size when there is a terminal.
    pub terminal: Option<Option<Size>>,
    /// There is a cgroup to join.
    pub cgroup: bool,
    /// There is a filter to install.
    pub seccomp: bool,
    /// Limits that cannot be raised are cut instead.
    pub lenient: bool,
    /// The container has a user namespace of its own.
    pub user_namespace: bool,
    /// See [`crate::Exec`].
    pub listen_fds: u32,
}

fn c_string(text: &str, what: &str) -> Result<CString, LaunchError> {
    CString::new(text).map_err(|_nul| LaunchError::plan(format!("{what} {text:?} contains a zero byte")))
}

fn c_path(path: &Path, what: &str) -> Result<CString, LaunchError> {
    let bytes = path.as_os_str().as_bytes();
    CString::new(bytes).map_err(|_nul| LaunchError::plan(format!("{what} {path:?} contains a zero byte")))
}

#[cfg(test)]
mod tests;
