//! The process of a configuration as steps and tables: what both a container's first process and one added later need.

use std::ffi::{CStr, CString};
use std::path::Path;

use minke_sys::caps::{self, CapSet};
use minke_sys::limits::{INFINITY, Limit};
use minke_sys::pty::Size;
use minke_sys::sched::{CpuMask, SchedAttr};
use oci_spec::runtime::{
    Capabilities, IOPriorityClass, LinuxCapabilities, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    PosixRlimitType, Process, Scheduler,
};

use super::{c_path, c_string};
use crate::error::LaunchError;
use crate::steps::{CapsStep, Step};

/// The program and its surroundings, as execve wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The arguments; the first names the program.
    pub args: Vec<CString>,
    /// The environment.
    pub env: Vec<CString>,
    /// Where the program may be, in the order to look.
    pub candidates: Vec<CString>,
    /// Whether the candidates come from `PATH`.
    pub searched: bool,
    /// Whether the environment says where home is; if not, the container's passwd file does.
    pub has_home: bool,
    /// Whose home that would be.
    pub uid: u32,
}

/// Reads what is to be executed.
pub fn plan_program(process: &Process, listen_fds: u32) -> Result<Program, LaunchError> {
    let args = process.args().as_deref().unwrap_or_default();
    let Some(name) = args.first() else {
        return Err(LaunchError::plan("process.args must not be empty"));
    };
    let mut env = Vec::new();
    for entry in process.env().as_deref().unwrap_or_default() {
        if !entry.contains('=') || entry.starts_with('=') {
            return Err(LaunchError::plan(format!(
                "invalid environment variable {entry:?}: it has no name or no '='"
            )));
        }
        env.push(c_string(entry, "environment variable")?);
    }
    if listen_fds > 0 {
        env.push(c_string(&format!("LISTEN_FDS={listen_fds}"), "environment variable")?);
        env.push(c_string("LISTEN_PID=1", "environment variable")?);
    }
    let last = |key: &str| {
        env.iter().rev().find_map(|entry| entry.to_str().ok()?.strip_prefix(key)?.strip_prefix('='))
    };
    let searched = !name.contains('/');
    let candidates = if searched {
        plan_candidates(name, last("PATH").unwrap_or_default())?
    } else {
        vec![c_string(name, "argument")?]
    };
    let has_home = last("HOME").is_some_and(|home| !home.is_empty());
    let args = args.iter().map(|arg| c_string(arg, "argument")).collect::<Result<_, _>>()?;
    Ok(Program { args, env, candidates, searched, has_home, uid: process.user().uid() })
}

fn plan_candidates(name: &str, path: &str) -> Result<Vec<CString>, LaunchError> {
    if name.is_empty() {
        return Ok(Vec::new());
    }
    // A relative directory of PATH is passed over: what it means depends on where the image says to be.
    let directories = path.split(':').filter(|directory| directory.starts_with('/'));
    directories.map(|directory| c_path(&Path::new(directory).join(name), "argument")).collect()
}

/// The window size a configuration asks for.
#[must_use]
pub fn plan_console_size(process: &Process) -> Option<Size> {
    let size = process.console_size()?;
    let narrow = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    Some(Size { rows: narrow(size.height()), cols: narrow(size.width()) })
}

/// What differs between the first process and a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessInputs {
    /// There is a filter to install.
    pub seccomp: bool,
    /// Limits that cannot be raised are cut instead.
    pub lenient: bool,
    /// Set supplementary groups (not in a user namespace where the kernel forbids it).
    pub set_groups: bool,
    /// The first process waits and runs hooks between finding its program and executing it.
    pub is_init: bool,
}

/// The out-of-memory score, which may only be lowered with rights over the host: before any user namespace is entered.
pub fn plan_oom_score(process: &Process) -> Result<Option<CString>, LaunchError> {
    let Some(adjustment) = process.oom_score_adj() else { return Ok(None) };
    if !(-1000..=1000).contains(&adjustment) {
        return Err(LaunchError::plan(format!("oomScoreAdj {adjustment} is not between -1000 and 1000")));
    }
    c_string(&adjustment.to_string(), "oomScoreAdj").map(Some)
}

/// Settings and limits: what is done while the process still has all its rights.
pub fn plan_settings(
    process: &Process,
    inputs: ProcessInputs,
    steps: &mut Vec<Step>,
) -> Result<(), LaunchError> {
    for limit in process.rlimits().iter().flatten() {
        let (number, name) = rlimit(limit.typ());
        let limit = Limit { soft: limit.soft(), hard: limit.hard() };
        if limit.soft > limit.hard && limit.hard != INFINITY {
            return Err(LaunchError::plan(format!(
                "{name}: the soft limit {} exceeds the hard limit {}",
                limit.soft, limit.hard
            )));
        }
        steps.push(Step::Rlimit { number, limit, name, lenient: inputs.lenient });
    }
    if process.no_new_privileges() == Some(true) {
        steps.push(Step::NoNewPrivs);
    }
    if let Some(scheduler) = process.scheduler() {
        steps.push(Step::Scheduler(plan_scheduler(scheduler)?));
    }
    if let Some(priority) = process.io_priority() {
        let class = match priority.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        let level = u8::try_from(priority.priority()).ok().filter(|level| *level < 8);
        let level = level.ok_or_else(|| {
            LaunchError::plan(format!("ioPriority {} is not between 0 and 7", priority.priority()))
        })?;
        steps.push(Step::IoPriority { class, level });
    }
    let affinity = process.exec_cpu_affinity().as_ref().filter(|_| !inputs.is_init);
    if let Some(list) = affinity
        .and_then(|affinity| affinity.initial().clone().or_else(|| affinity.cpu_affinity_final().clone()))
    {
        let mask = CpuMask::parse(&list)
            .ok_or_else(|| LaunchError::plan(format!("execCPUAffinity {list:?} is not a list of CPUs")))?;
        steps.push(Step::Affinity(mask));
    }
    Ok(())
}

/// Labels, filter, identity, rights, directory, and finding the program: what leaves the process as the user's.
pub fn plan_identity(
    process: &Process,
    inputs: ProcessInputs,
    steps: &mut Vec<Step>,
) -> Result<(), LaunchError> {
    push_labels(process, steps)?;
    let no_new_privs = process.no_new_privileges() == Some(true);
    if inputs.seccomp && !no_new_privs {
        // Without no_new_privs the filter needs CAP_SYS_ADMIN, so it goes in before the rights go.
        steps.push(Step::Seccomp);
    }
    let user = process.user();
    let plan = process.capabilities().as_ref().map(plan_caps);
    if let Some(plan) = plan {
        steps.push(Step::DropBounding(plan.bounding));
    }
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        return Err(LaunchError::plan(format!(
            "cwd {:?} must be an absolute path",
            cwd.display().to_string()
        )));
    }
    let cwd = c_path(cwd, "cwd")?;
    // Tried before and after becoming the user: either may be the one who is allowed in.
    steps.push(Step::ChangeDirectory { path: cwd.clone(), required: false });
    steps.push(Step::SetUser {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        set_groups: inputs.set_groups,
        keep: plan.is_some(),
    });
    if let Some(mask) = user.umask() {
        steps.push(Step::Umask(mask & 0o777));
    }
    steps.push(Step::ChangeDirectory { path: cwd, required: true });
    if let Some(plan) = plan {
        steps.push(Step::SetCaps(plan));
    }
    steps.push(Step::FindProgram);
    Ok(())
}

/// With no_new_privs the filter needs no rights, so it goes in as late as may be, where it refuses least of our own calls.
pub(super) fn push_late_filter(process: &Process, inputs: ProcessInputs, steps: &mut Vec<Step>) {
    if inputs.seccomp && process.no_new_privileges() == Some(true) {
        steps.push(Step::Seccomp);
    }
}

fn push_labels(process: &Process, steps: &mut Vec<Step>) -> Result<(), LaunchError> {
    const EXEC: &CStr = c"thread-self/attr/exec";
    const APPARMOR: &CStr = c"thread-self/attr/apparmor/exec";
    if let Some(profile) = process
        .apparmor_profile()
        .as_deref()
        .filter(|profile| !profile.is_empty() && *profile != "unconfined")
    {
        let label = c_string(&format!("exec {profile}"), "apparmorProfile")?;
        steps.push(Step::ExecLabel { path: APPARMOR, label });
    }
    if let Some(label) = process.selinux_label().as_deref().filter(|label| !label.is_empty()) {
        steps.push(Step::ExecLabel { path: EXEC, label: c_string(label, "selinuxLabel")? });
    }
    Ok(())
}

/// The five sets. Effective rights must be permitted and ambient ones inheritable; the kernel says no otherwise.
#[must_use]
pub fn plan_caps(sets: &LinuxCapabilities) -> CapsStep {
    CapsStep {
        bounding: cap_set(sets.bounding().as_ref()),
        effective: cap_set(sets.effective().as_ref()),
        permitted: cap_set(sets.permitted().as_ref()),
        inheritable: cap_set(sets.inheritable().as_ref()),
        ambient: cap_set(sets.ambient().as_ref()),
    }
}

fn cap_set(names: Option<&Capabilities>) -> CapSet {
    let numbers = names.into_iter().flatten().filter_map(|name| caps::number_of(&name.to_string()));
    numbers.fold(CapSet::EMPTY, CapSet::with)
}

fn rlimit(kind: PosixRlimitType) -> (u32, &'static str) {
    use PosixRlimitType as T;
    match kind {
        T::RlimitCpu => (0, "RLIMIT_CPU"),
        T::RlimitFsize => (1, "RLIMIT_FSIZE"),
        T::RlimitData => (2, "RLIMIT_DATA"),
        T::RlimitStack => (3, "RLIMIT_STACK"),
        T::RlimitCore => (4, "RLIMIT_CORE"),
        T::RlimitRss => (5, "RLIMIT_RSS"),
        T::RlimitNproc => (6, "RLIMIT_NPROC"),
        T::RlimitNofile => (7, "RLIMIT_NOFILE"),
        T::RlimitMemlock => (8, "RLIMIT_MEMLOCK"),
        T::RlimitAs => (9, "RLIMIT_AS"),
        T::RlimitLocks => (10, "RLIMIT_LOCKS"),
        T::RlimitSigpending => (11, "RLIMIT_SIGPENDING"),
        T::RlimitMsgqueue => (12, "RLIMIT_MSGQUEUE"),
        T::RlimitNice => (13, "RLIMIT_NICE"),
        T::RlimitRtprio => (14, "RLIMIT_RTPRIO"),
        T::RlimitRttime => (15, "RLIMIT_RTTIME"),
    }
}

fn plan_scheduler(scheduler: &Scheduler) -> Result<SchedAttr, LaunchError> {
    use {LinuxSchedulerFlag as F, LinuxSchedulerPolicy as P};
    let policy = match scheduler.policy() {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIso => 4,
        P::SchedIdle => 5,
        P::SchedDeadline => 6,
    };
    let mut flags = 0;
    for flag in scheduler.flags().iter().flatten() {
        flags |= match flag {
            F::SchedResetOnFork => 0x01,
            F::SchedFlagReclaim => 0x02,
            F::SchedFlagDLOverrun => 0x04,
            F::SchedFlagKeepPolicy => 0x08,
            F::SchedFlagKeepParams => 0x10,
            F::SchedFlagUtilClampMin => 0x20,
            F::SchedFlagUtilClampMax => 0x40,
        };
    }
    let priority = u32::try_from(scheduler.priority().unwrap_or(0));
    Ok(SchedAttr {
        size: 0,
        policy,
        flags,
        nice: scheduler.nice().unwrap_or(0),
        priority: priority
            .map_err(|_negative| LaunchError::plan("scheduler.priority must not be negative"))?,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    })
}
