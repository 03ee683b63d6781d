//! Which namespaces a container gets, which it joins, and the steps that enter them.

use std::ffi::CString;

use minke_sys::spawn::flags;
use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::{Inputs, Joined, Maps, c_string};
use crate::error::LaunchError;
use crate::steps::{Phase, Step};

/// The namespaces of a container, sorted by what has to be done about them.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    pub(super) new: u64,
    pub(super) joined: Vec<Joined>,
    pub(super) maps: Option<Maps>,
    pub(super) cgroup: bool,
    pub(super) time: bool,
}

impl Namespaces {
    pub(super) fn is_private(&self, kind: u64) -> bool {
        self.new & kind != 0
    }

    pub(super) fn is_own(&self, kind: u64) -> bool {
        self.is_private(kind) || self.joined.iter().any(|joined| joined.kind == kind)
    }
}

pub(super) fn plan_namespaces(linux: &Linux, inputs: &Inputs<'_>) -> Result<Namespaces, LaunchError> {
    let mut plan = Namespaces::default();
    let mut seen = 0;
    for namespace in linux.namespaces().iter().flatten() {
        let kind = namespace_flag(namespace.typ());
        if seen & kind != 0 {
            return Err(LaunchError::plan(format!("the {} namespace is listed twice", namespace.typ())));
        }
        seen |= kind;
        if kind == flags::NEWNET && inputs.netns {
            continue;
        }
        match namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => plan.joined.push(Joined { kind, path: path.to_owned() }),
            None if kind == flags::NEWCGROUP => plan.cgroup = true,
            None if kind == flags::NEWTIME => plan.time = true,
            None => plan.new |= kind,
        }
    }
    // The user namespace decides about the rights in all others, so it is entered first; the mount namespace last, since
    // paths change their meaning there.
    plan.joined.sort_by_key(|joined| match joined.kind {
        flags::NEWUSER => 0,
        flags::NEWNS => 2,
        _ => 1,
    });
    let uids = linux.uid_mappings().clone().unwrap_or_default();
    let gids = linux.gid_mappings().clone().unwrap_or_default();
    if plan.new & flags::NEWUSER != 0 {
        if uids.is_empty() || gids.is_empty() {
            return Err(LaunchError::plan("a new user namespace needs uidMappings and gidMappings"));
        }
        plan.maps = Some(Maps { uids, gids });
    } else if !uids.is_empty() && !plan.joined.iter().any(|joined| joined.kind == flags::NEWUSER) {
        return Err(LaunchError::plan("uidMappings are given, but no user namespace"));
    }
    if plan.new & flags::NEWNS == 0 && !plan.joined.iter().any(|joined| joined.kind == flags::NEWNS) {
        return Err(LaunchError::plan(
            "a container without a mount namespace of its own is not supported: it would change the host's mounts",
        ));
    }
    Ok(plan)
}

fn namespace_flag(kind: LinuxNamespaceType) -> u64 {
    match kind {
        LinuxNamespaceType::Mount => flags::NEWNS,
        LinuxNamespaceType::Cgroup => flags::NEWCGROUP,
        LinuxNamespaceType::Uts => flags::NEWUTS,
        LinuxNamespaceType::Ipc => flags::NEWIPC,
        LinuxNamespaceType::User => flags::NEWUSER,
        LinuxNamespaceType::Pid => flags::NEWPID,
        LinuxNamespaceType::Network => flags::NEWNET,
        LinuxNamespaceType::Time => flags::NEWTIME,
    }
}

pub(super) fn plan_entering(
    steps: &mut Vec<Step>,
    linux: &Linux,
    namespaces: &Namespaces,
    inputs: &Inputs<'_>,
) -> Result<(), LaunchError> {
    if inputs.cgroup {
        steps.push(Step::JoinCgroup);
    }
    if namespaces.is_own(flags::NEWUSER) {
        steps.push(Step::AwaitParent(Phase::Mapping));
        steps.push(Step::BecomeRoot { traceable: namespaces.is_private(flags::NEWPID) });
    }
    if inputs.netns
        || namespaces.joined.iter().any(|joined| !matches!(joined.kind, flags::NEWUSER | flags::NEWPID))
    {
        steps.push(Step::JoinNamespaces);
    }
    if namespaces.cgroup {
        steps.push(Step::Unshare { kinds: flags::NEWCGROUP, what: "cgroup" });
    }
    if namespaces.time {
        steps.push(Step::Unshare { kinds: flags::NEWTIME, what: "time" });
        if let Some(text) = plan_time_offsets(linux)? {
            steps.push(Step::TimeOffsets(text));
        }
    }
    steps.push(Step::NewSession);
    if !inputs.no_new_keyring {
        steps.push(Step::Keyring(c_string(&format!("_ses.{}", inputs.id), "container id")?));
    }
    if namespaces.is_private(flags::NEWNET) {
        steps.push(Step::Loopback);
    }
    Ok(())
}

fn plan_time_offsets(linux: &Linux) -> Result<Option<CString>, LaunchError> {
    let mut lines = Vec::new();
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(LaunchError::plan(format!("timeOffsets: no clock {clock:?}")));
        }
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        lines.push(format!("{clock} {seconds} {nanoseconds}\n"));
    }
    lines.sort();
    if lines.is_empty() { Ok(None) } else { c_string(&lines.concat(), "timeOffsets").map(Some) }
}
