//! The steps a child plays between its birth and the execution of the program: data only.
//!
//! Each step holds ready-made C strings and tables, so that playing it needs no memory. Its `Display` is both what golden
//! tests compare and what an error message says was being done.

use std::ffi::{CStr, CString};
use std::fmt;

use minke_sys::caps::CapSet;
use minke_sys::limits::Limit;
use minke_sys::mount::{AttrChange, Depth, Flags, Propagation};
use minke_sys::pty::Size;
use minke_sys::sched::{CpuMask, SchedAttr};

use crate::error::Stage;

/// A point where the child waits until its parent has done something for it, in the order they can occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The parent writes the identity maps of the new user namespace.
    Mapping = 1,
    /// The parent runs the `prestart` and `createRuntime` hooks, with mounts in place and the root not yet changed.
    RuntimeHooks = 2,
    /// The container is created; the parent takes note.
    Created = 3,
}

/// What a bind mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindSource {
    /// A path of the host, resolved by the child before it changes root.
    Path(CString),
    /// A detached mount the parent made of this path, by position.
    Prepared(usize, CString),
}

/// A file system to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Its type.
    pub kind: CString,
    /// What `/proc/mounts` shows as its device.
    pub source: CString,
    /// `MS_*`.
    pub flags: Flags,
    /// Its own options, for mount(2).
    pub data: Option<CString>,
    /// The same one by one, with those of `flags` that concern the superblock, for fsconfig.
    pub parameters: Vec<(CString, Option<CString>)>,
    /// tmpfs only: begin with a copy of what the mount hides.
    pub copy_up: bool,
}

impl FileSystem {
    /// Whether mount(2) does all of it.
    #[must_use]
    pub fn is_simple(&self) -> bool {
        !self.copy_up
    }
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A new file system.
    FileSystem(FileSystem),
    /// A part of the host's tree.
    Bind {
        /// Which.
        source: BindSource,
        /// Whether the mounts below come along.
        depth: Depth,
    },
    /// New flags for what is mounted there already.
    Remount {
        /// `MS_*`, without `MS_REMOUNT`.
        flags: Flags,
        /// Its own options.
        data: Option<CString>,
    },
}

/// One mount of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountStep {
    /// Where, as the container sees it.
    pub target: CString,
    /// What.
    pub kind: MountKind,
    /// Attributes of the mount itself, for bind mounts (a new file system gets them as flags).
    pub attrs: AttrChange,
    /// Attributes of the mount and everything below it.
    pub recursive: AttrChange,
    /// Propagation of the mount, when asked for.
    pub propagation: Vec<(Propagation, Depth)>,
}

/// One device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStep {
    /// Where, as the container sees it.
    pub path: CString,
    /// Type and permission bits.
    pub mode: u32,
    /// Device number.
    pub dev: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The host's node to bind when making one is not permitted.
    pub host: CString,
}

/// Capability sets to end up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapsStep {
    /// What no exec may exceed.
    pub bounding: CapSet,
    /// In force.
    pub effective: CapSet,
    /// May be made effective.
    pub permitted: CapSet,
    /// Inherited by programs with file capabilities.
    pub inheritable: CapSet,
    /// Inherited by all programs.
    pub ambient: CapSet,
}

/// A hook the child itself runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookStep {
    /// The program.
    pub path: CString,
    /// Its arguments, the name it is called by first.
    pub args: Vec<CString>,
    /// Its environment.
    pub env: Vec<CString>,
    /// Seconds it may take; 0: as long as it likes.
    pub timeout: u64,
    /// The state document, up to the pid and from behind it.
    pub state: (Vec<u8>, Vec<u8>),
    /// `createContainer` or `startContainer`, and its position.
    pub name: (&'static str, usize),
}

/// One thing the child does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the step's Display says what it does, and its fields are the call's arguments"
)]
pub enum Step {
    AwaitParent(Phase),
    JoinCgroup,
    JoinNamespaces,
    BecomeRoot { traceable: bool },
    Unshare { kinds: u64, what: &'static str },
    TimeOffsets(CString),
    NewSession,
    Keyring(CString),
    Loopback,
    HostPropagation(Propagation, Depth),
    RootFromPath { path: CString },
    RootFromMount,
    RootParentPrivate,
    Mount(Box<MountStep>),
    MakeDirectory { path: CString, mode: u32 },
    Device(Box<DeviceStep>),
    Symlink { path: CString, to: CString, replace: bool },
    Hook(Box<HookStep>),
    Pivot { old_is_shared: bool },
    MoveRoot,
    ChangeRoot,
    Console { size: Option<Size>, node: bool },
    ExportMountNamespace,
    RootPropagation(Propagation, Depth),
    MakeReadOnly { path: CString },
    RootReadOnly,
    Hostname(CString),
    Domainname(CString),
    Sysctl { key: CString, path: CString, value: CString },
    ReadOnlyPath(CString),
    MaskPath(CString),
    Rlimit { number: u32, limit: Limit, name: &'static str, lenient: bool },
    OomScoreAdj { value: CString, lenient: bool },
    Umask(u32),
    NoNewPrivs,
    Scheduler(SchedAttr),
    IoPriority { class: u8, level: u8 },
    Affinity(CpuMask),
    Personality(u32),
    ExecLabel { path: &'static CStr, label: CString },
    Seccomp,
    DropBounding(CapSet),
    Stdio { own: Option<u32> },
    ChangeDirectory { path: CString, required: bool },
    SetUser { uid: u32, gid: u32, groups: Vec<u32>, set_groups: bool, keep: bool },
    SetCaps(CapsStep),
    FindProgram,
    AwaitStart,
    VerifyDirectory,
    Execute,
}

impl Step {
    /// The stage a failure of this step belongs to.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::AwaitParent(_)
            | Self::JoinCgroup
            | Self::JoinNamespaces
            | Self::BecomeRoot { .. }
            | Self::Unshare { .. }
            | Self::TimeOffsets(_)
            | Self::NewSession
            | Self::Keyring(_)
            | Self::ExportMountNamespace => Stage::Enter,
            Self::Loopback => Stage::Network,
            Self::HostPropagation(..)
            | Self::RootFromPath { .. }
            | Self::RootFromMount
            | Self::RootParentPrivate
            | Self::Mount(_)
            | Self::MakeDirectory { .. }
            | Self::Pivot { .. }
            | Self::MoveRoot
            | Self::ChangeRoot
            | Self::RootPropagation(..)
            | Self::MakeReadOnly { .. }
            | Self::RootReadOnly
            | Self::ReadOnlyPath(_)
            | Self::MaskPath(_) => Stage::Mount,
            Self::Device(_) | Self::Symlink { .. } | Self::Console { .. } | Self::Stdio { .. } => {
                Stage::Device
            }
            Self::Hook(_) => Stage::Hook,
            Self::Hostname(_)
            | Self::Domainname(_)
            | Self::Sysctl { .. }
            | Self::Rlimit { .. }
            | Self::OomScoreAdj { .. }
            | Self::Umask(_)
            | Self::Scheduler(_)
            | Self::IoPriority { .. }
            | Self::Affinity(_)
            | Self::Personality(_) => Stage::Settings,
            Self::NoNewPrivs
            | Self::ExecLabel { .. }
            | Self::Seccomp
            | Self::DropBounding(_)
            | Self::SetUser { .. }
            | Self::SetCaps(_) => Stage::Credentials,
            Self::ChangeDirectory { .. } | Self::VerifyDirectory => Stage::WorkingDirectory,
            Self::FindProgram | Self::Execute => Stage::Program,
            Self::AwaitStart => Stage::Start,
        }
    }
}

/// A C string for display.
struct Text<'a>(&'a CStr);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.to_string_lossy(), f)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwaitParent(phase) => write!(f, "waiting for the parent ({phase:?})"),
            Self::JoinCgroup => f.write_str("joining the cgroup"),
            Self::JoinNamespaces => f.write_str("joining namespaces"),
            Self::BecomeRoot { .. } => f.write_str("becoming root in the user namespace"),
            Self::Unshare { what, .. } => write!(f, "unsharing the {what} namespace"),
            Self::TimeOffsets(text) => write!(f, "setting time offsets {:?}", text.to_string_lossy()),
            Self::NewSession => f.write_str("setsid"),
            Self::Keyring(name) => write!(f, "joining session keyring {}", Text(name)),
            Self::Loopback => f.write_str("bringing up lo"),
            Self::HostPropagation(propagation, depth) => write!(f, "making / {propagation:?} ({depth:?})"),
            Self::RootFromPath { path } => write!(f, "taking {} as root", Text(path)),
            Self::RootFromMount => f.write_str("attaching the root mount"),
            Self::RootParentPrivate => f.write_str("making the parent mount of the root private"),
            Self::Mount(step) => fmt::Display::fmt(step, f),
            Self::MakeDirectory { path, mode } => write!(f, "making directory {} ({mode:o})", Text(path)),
            Self::Device(step) => write!(f, "creating device {} ({:o}, {:#x})", Text(&step.path), step.mode, step.dev),
            Self::Symlink { path, to, .. } => write!(f, "symlink {} {}", Text(to), Text(path)),
            Self::Hook(step) => {
                write!(f, "error running {} hook #{} ({})", step.name.0, step.name.1, Text(&step.path))
            }
            Self::Pivot { .. } => f.write_str("pivot_root"),
            Self::MoveRoot => f.write_str("moving the root mount"),
            Self::ChangeRoot => f.write_str("chroot"),
            Self::Console { size, node } => write!(f, "setting up the console (size {size:?}, node {node})"),
            Self::ExportMountNamespace => f.write_str("handing over the mount namespace"),
            Self::RootPropagation(propagation, depth) => write!(f, "making the new / {propagation:?} ({depth:?})"),
            Self::MakeReadOnly { path } => write!(f, "remounting {} read-only", Text(path)),
            Self::RootReadOnly => f.write_str("remounting / read-only"),
            Self::Hostname(name) => write!(f, "sethostname {}", Text(name)),
            Self::Domainname(name) => write!(f, "setdomainname {}", Text(name)),
            Self::Sysctl { key, value, .. } => write!(f, "writing sysctl {}={}", Text(key), Text(value)),
            Self::ReadOnlyPath(path) => write!(f, "can't make {:?} read-only", path.to_string_lossy()),
            Self::MaskPath(path) => write!(f, "can't mask path {:?}", path.to_string_lossy()),
            Self::Rlimit { number, limit, name, .. } => {
                write!(f, "error setting rlimit type {number} ({name}) to {}:{}", limit.soft, limit.hard)
            }
            Self::OomScoreAdj { value, .. } => write!(f, "writing oom_score_adj {}", Text(value)),
            Self::Umask(mask) => write!(f, "umask {mask:04o}"),
            Self::NoNewPrivs => f.write_str("setting no_new_privs"),
            Self::Scheduler(attr) => write!(f, "error setting scheduler (policy {})", attr.policy),
            Self::IoPriority { class, level } => write!(f, "failed to set io priority (class {class}, level {level})"),
            Self::Affinity(_) => f.write_str("setting CPU affinity"),
            Self::Personality(persona) => write!(f, "setting personality {persona:#x}"),
            Self::ExecLabel { path, label } => write!(f, "unable to apply label {} to {}", Text(label), Text(path)),
            Self::Seccomp => f.write_str("unable to init seccomp: error loading seccomp filter"),
            Self::DropBounding(keep) => write!(f, "bounding set {:#x}", keep.0),
            Self::Stdio { own } => write!(f, "placing stdio (owner {own:?})"),
            Self::ChangeDirectory { path, .. } => write!(f, "chdir to cwd ({:?}) set in config.json failed", path.to_string_lossy()),
            Self::SetUser { uid, gid, groups, .. } => write!(f, "setting user {uid}:{gid} groups {groups:?}"),
            Self::SetCaps(caps) => write!(
                f,
                "unable to apply caps (effective {:#x}, permitted {:#x}, inheritable {:#x}, ambient {:#x})",
                caps.effective.0, caps.permitted.0, caps.inheritable.0, caps.ambient.0
            ),
            Self::FindProgram => f.write_str("exec"),
            Self::AwaitStart => f.write_str("waiting for start"),
            Self::VerifyDirectory => {
                f.write_str("current working directory is outside of container mount namespace root -- possible container breakout detected")
            }
            Self::Execute => f.write_str("exec"),
        }
    }
}

impl fmt::Display for MountStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = Text(&self.target);
        match &self.kind {
            MountKind::FileSystem(FileSystem { kind, source, flags, data, copy_up, .. }) => {
                write!(
                    f,
                    "error mounting {:?} to rootfs at {:?}: ",
                    source.to_string_lossy(),
                    target.0.to_string_lossy()
                )?;
                write!(
                    f,
                    "mount src={}, dst={target}, type={}, flags={:#x}",
                    Text(source),
                    Text(kind),
                    flags.bits()
                )?;
                if let Some(data) = data {
                    write!(f, ", data={}", Text(data))?;
                }
                if *copy_up {
                    f.write_str(", tmpcopyup")?;
                }
            }
            MountKind::Bind { source, depth } => {
                let source = match source {
                    BindSource::Path(path) | BindSource::Prepared(_, path) => {
                        path.to_string_lossy().into_owned()
                    }
                };
                write!(f, "error mounting {source:?} to rootfs at {:?}: ", target.0.to_string_lossy())?;
                write!(f, "mount src={source}, dst={target}, bind ({depth:?})")?;
            }
            MountKind::Remount { flags, data } => {
                write!(f, "error remounting {target}, flags={:#x}", flags.bits())?;
                if let Some(data) = data {
                    write!(f, ", data={}", Text(data))?;
                }
            }
        }
        for (name, change) in [("attrs", self.attrs), ("recursive", self.recursive)] {
            if !change.is_empty() {
                write!(f, ", {name}=+{:#x}-{:#x}", change.set, change.clear)?;
            }
        }
        if !self.propagation.is_empty() {
            write!(f, ", propagation={:?}", self.propagation)?;
        }
        Ok(())
    }
}
