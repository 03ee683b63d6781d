//! Mount entries of the configuration as steps: every option parsed once, and refused here when it is none.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use minke_sys::mount::{AttrChange, Attrs, Depth, Flags, Propagation};
use oci_spec::runtime::{LinuxIdMapping, Mount};

use super::{c_path, c_string};
use crate::error::LaunchError;
use crate::steps::{BindSource, FileSystem, MountKind, MountStep, Step};

/// A mount the parent has to make before the child exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The path of the host.
    pub source: PathBuf,
    /// Whether the mounts below come along.
    pub depth: Depth,
    /// The identity map to show owners through.
    pub idmap: Option<IdMap>,
    /// Mounts that come to be on one side appear on the other.
    pub shared: bool,
}

/// Identity maps for an id-mapped mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    /// Lines for `uid_map`.
    pub uids: Vec<LinuxIdMapping>,
    /// Lines for `gid_map`; the container's user namespace when both are empty.
    pub gids: Vec<LinuxIdMapping>,
    /// Whether the mounts below are mapped, too.
    pub depth: Depth,
}

/// One cgroup hierarchy as a `cgroup` mount shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupView {
    /// v1: the directory's name inside (`cpu,cpuacct`); empty for v2.
    pub name: String,
    /// v1: data for mounting this hierarchy.
    pub data: String,
    /// v1: its controllers, each of which gets a link when there are several.
    pub controllers: Vec<String>,
    /// The container's cgroup on the host, for showing it without a namespace.
    pub directory: PathBuf,
    /// Whether it is the unified hierarchy.
    pub is_unified: bool,
}

/// What the options of one entry say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `MS_*` bits of a new file system.
    pub flags: FlagSet,
    /// The same as attribute changes, for bind mounts.
    pub attrs: AttrChange,
    /// Attribute changes of the whole tree (`rro` …).
    pub recursive: AttrChange,
    /// Propagation changes, in order.
    pub propagation: Vec<(Propagation, Depth)>,
    /// `bind` or `rbind`.
    pub bind: Option<Depth>,
    /// `remount`.
    pub remount: bool,
    /// `tmpcopyup`.
    pub copy_up: bool,
    /// `idmap` or `ridmap`.
    pub idmap: Option<Depth>,
    /// What the file system itself is told.
    pub data: Vec<String>,
}

/// Flags with a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagSet(pub Flags);

impl Default for FlagSet {
    fn default() -> Self {
        Self(Flags::empty())
    }
}

/// A word that sets or clears a mount flag: the word, the `MS_*` bit, whether it clears, the attribute.
type FlagWord = (&'static str, Flags, bool, Attrs);

const FLAG_WORDS: [FlagWord; 16] = [
    ("ro", Flags::RDONLY, false, Attrs::MOUNT_ATTR_RDONLY),
    ("rw", Flags::RDONLY, true, Attrs::MOUNT_ATTR_RDONLY),
    ("nosuid", Flags::NOSUID, false, Attrs::MOUNT_ATTR_NOSUID),
    ("suid", Flags::NOSUID, true, Attrs::MOUNT_ATTR_NOSUID),
    ("nodev", Flags::NODEV, false, Attrs::MOUNT_ATTR_NODEV),
    ("dev", Flags::NODEV, true, Attrs::MOUNT_ATTR_NODEV),
    ("noexec", Flags::NOEXEC, false, Attrs::MOUNT_ATTR_NOEXEC),
    ("exec", Flags::NOEXEC, true, Attrs::MOUNT_ATTR_NOEXEC),
    ("nodiratime", Flags::NODIRATIME, false, Attrs::MOUNT_ATTR_NODIRATIME),
    ("diratime", Flags::NODIRATIME, true, Attrs::MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", Flags::NOSYMFOLLOW, false, Attrs::MOUNT_ATTR_NOSYMFOLLOW),
    ("symfollow", Flags::NOSYMFOLLOW, true, Attrs::MOUNT_ATTR_NOSYMFOLLOW),
    ("noatime", Flags::NOATIME, false, Attrs::MOUNT_ATTR_NOATIME),
    ("atime", Flags::NOATIME, true, Attrs::MOUNT_ATTR_RELATIME),
    ("strictatime", Flags::STRICTATIME, false, Attrs::MOUNT_ATTR_STRICTATIME),
    ("relatime", Flags::RELATIME, false, Attrs::MOUNT_ATTR_RELATIME),
];

/// Words that concern only a new file system's superblock.
const SUPER_WORDS: [(&str, Flags, bool); 13] = [
    ("defaults", Flags::empty(), false),
    ("sync", Flags::SYNCHRONOUS, false),
    ("async", Flags::SYNCHRONOUS, true),
    ("dirsync", Flags::DIRSYNC, false),
    ("mand", Flags::PERMIT_MANDATORY_FILE_LOCKING, false),
    ("nomand", Flags::PERMIT_MANDATORY_FILE_LOCKING, true),
    ("lazytime", Flags::LAZYTIME, false),
    ("nolazytime", Flags::LAZYTIME, true),
    ("silent", Flags::SILENT, false),
    ("loud", Flags::SILENT, true),
    ("norelatime", Flags::RELATIME, true),
    ("nostrictatime", Flags::STRICTATIME, true),
    ("iversion", Flags::empty(), false),
];

const PROPAGATION_WORDS: [(&str, Propagation, Depth); 8] = [
    ("shared", Propagation::Shared, Depth::One),
    ("rshared", Propagation::Shared, Depth::Recursive),
    ("slave", Propagation::Slave, Depth::One),
    ("rslave", Propagation::Slave, Depth::Recursive),
    ("private", Propagation::Private, Depth::One),
    ("rprivate", Propagation::Private, Depth::Recursive),
    ("unbindable", Propagation::Unbindable, Depth::One),
    ("runbindable", Propagation::Unbindable, Depth::Recursive),
];

/// The propagation a word of the configuration names.
#[must_use]
pub fn plan_propagation(word: &str) -> Option<(Propagation, Depth)> {
    let found = PROPAGATION_WORDS.iter().find(|(known, ..)| *known == word);
    found.map(|(_, propagation, depth)| (*propagation, *depth))
}

/// Every word an entry's options may hold, sorted, for `features`.
#[must_use]
pub fn option_words() -> Vec<String> {
    let own = ["bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"].map(str::to_owned);
    let flags = FLAG_WORDS.iter().flat_map(|(word, ..)| [(*word).to_owned(), format!("r{word}")]);
    let others = SUPER_WORDS.iter().map(|(word, ..)| (*word).to_owned());
    let propagation = PROPAGATION_WORDS.iter().map(|(word, ..)| (*word).to_owned());
    let mut words: Vec<String> = own.into_iter().chain(flags).chain(others).chain(propagation).collect();
    words.sort();
    words
}

/// Reads the options of one entry.
#[must_use]
pub fn plan_options(words: &[String]) -> Options {
    let mut options = Options::default();
    for word in words {
        apply_word(&mut options, word);
    }
    options
}

fn apply_word(options: &mut Options, word: &str) {
    if let Some((_, flag, clears, attr)) = FLAG_WORDS.iter().find(|(known, ..)| *known == word) {
        options.flags.0.set(*flag, !clears);
        change(&mut options.attrs, *attr, *clears);
        return;
    }
    if let Some((_, flag, clears)) = SUPER_WORDS.iter().find(|(known, ..)| *known == word) {
        options.flags.0.set(*flag, !clears);
        return;
    }
    if let Some(propagation) = plan_propagation(word) {
        options.propagation.push(propagation);
        return;
    }
    match word {
        "bind" => options.bind = Some(options.bind.unwrap_or(Depth::One)),
        "rbind" => options.bind = Some(Depth::Recursive),
        "remount" => options.remount = true,
        "tmpcopyup" => options.copy_up = true,
        "idmap" => options.idmap = Some(Depth::One),
        "ridmap" => options.idmap = Some(Depth::Recursive),
        _ => {
            let bare = word.strip_prefix('r').unwrap_or_default();
            match FLAG_WORDS.iter().find(|(known, ..)| *known == bare) {
                Some((_, _, clears, attr)) => change(&mut options.recursive, *attr, *clears),
                None => options.data.push(word.to_owned()),
            }
        }
    }
}

/// The last word about an attribute counts. The three ways of keeping access times are one field of two bits.
fn change(change: &mut AttrChange, attr: Attrs, clears: bool) {
    let bits = u64::from(attr.bits());
    let atime = u64::from(Attrs::MOUNT_ATTR__ATIME.bits());
    if attr == Attrs::MOUNT_ATTR_RELATIME || bits & atime != 0 {
        change.clear |= atime;
        change.set = change.set & !atime | if clears { 0 } else { bits };
    } else if clears {
        change.set &= !bits;
        change.clear |= bits;
    } else {
        change.clear &= !bits;
        change.set |= bits;
    }
}

/// What mounts are planned from, besides the entries.
#[derive(Debug, Clone, Copy)]
pub struct MountInputs<'a> {
    /// Relative sources count from here.
    pub bundle: &'a Path,
    /// The child gets a user namespace, so that the parent has to open the sources.
    pub parent_opens: bool,
    /// The hierarchies a `cgroup` entry shows.
    pub cgroups: &'a [CgroupView],
    /// The container has a cgroup namespace of its own.
    pub cgroup_namespace: bool,
    /// SELinux label for new file systems.
    pub label: Option<&'a str>,
}

/// What the mount entries become.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MountPlan {
    /// In the order of the entries.
    pub steps: Vec<Step>,
    /// After everything has been put in place: what is to be read-only although things had to be made in it.
    pub late: Vec<Step>,
    /// For the parent.
    pub prepared: Vec<Prepared>,
}

/// Plans all entries.
pub fn plan_mounts(entries: &[Mount], inputs: MountInputs<'_>) -> Result<MountPlan, LaunchError> {
    let mut plan = MountPlan::default();
    for entry in entries {
        plan_entry(&mut plan, entry, inputs)?;
    }
    Ok(plan)
}

fn plan_entry(plan: &mut MountPlan, entry: &Mount, inputs: MountInputs<'_>) -> Result<(), LaunchError> {
    let options = plan_options(entry.options().as_deref().unwrap_or_default());
    let target = c_path(&Path::new("/").join(entry.destination()), "mount destination")?;
    let kind = entry.typ().as_deref().unwrap_or_default();
    let is_bind = options.bind.is_some() || kind == "bind";
    if options.remount {
        return plan_remount(plan, target, &options);
    }
    if is_bind {
        return plan_bind(plan, entry, target, options, inputs);
    }
    if matches!(kind, "cgroup" | "cgroup2")
        && (kind == "cgroup" || inputs.cgroups.iter().any(|view| view.is_unified))
    {
        return plan_cgroup(plan, entry, &options, inputs);
    }
    if kind.is_empty() {
        return Err(LaunchError::plan(format!(
            "mount {}: neither a type nor bind is given",
            entry.destination().display()
        )));
    }
    if options.idmap.is_some() || entry.uid_mappings().is_some() {
        return Err(LaunchError::plan(format!(
            "mount {}: id-mapped mounts are only supported for bind mounts",
            entry.destination().display()
        )));
    }
    let source = entry.source().as_deref().unwrap_or(Path::new(kind));
    let step = file_system(target.clone(), kind, source, options, inputs.label)?;
    push_with_late_read_only(plan, step, &target);
    Ok(())
}

/// `/dev` is filled before it becomes read-only.
fn push_with_late_read_only(plan: &mut MountPlan, mut step: MountStep, target: &CString) {
    if let MountKind::FileSystem(FileSystem { flags, .. }) = &mut step.kind
        && target.as_bytes() == b"/dev"
        && flags.contains(Flags::RDONLY)
    {
        flags.remove(Flags::RDONLY);
        plan.late.push(Step::MakeReadOnly { path: target.clone() });
    }
    plan.steps.push(Step::Mount(Box::new(step)));
}

fn file_system(
    target: CString,
    kind: &str,
    source: &Path,
    options: Options,
    label: Option<&str>,
) -> Result<MountStep, LaunchError> {
    let mut data = options.data;
    if let Some(label) =
        label.filter(|label| !label.is_empty() && !matches!(kind, "proc" | "sysfs" | "mqueue"))
    {
        data.push(format!("context=\"{label}\""));
    }
    if options.copy_up && kind != "tmpfs" {
        return Err(LaunchError::plan(format!("mount {}: tmpcopyup is for tmpfs", target.to_string_lossy())));
    }
    let parameters = plan_parameters(&data, options.flags.0)?;
    let data = data.join(",");
    if data.len() >= 4096 {
        return Err(LaunchError::plan(format!("mount {}: options are too long", target.to_string_lossy())));
    }
    Ok(MountStep {
        target,
        kind: MountKind::FileSystem(FileSystem {
            kind: c_string(kind, "mount type")?,
            source: c_path(source, "mount source")?,
            flags: options.flags.0,
            data: if data.is_empty() { None } else { Some(c_string(&data, "mount options")?) },
            parameters,
            copy_up: options.copy_up,
        }),
        attrs: AttrChange::default(),
        recursive: options.recursive,
        propagation: options.propagation,
    })
}

/// The options one by one; those of `flags` that belong to the superblock among them.
fn plan_parameters(data: &[String], flags: Flags) -> Result<Vec<(CString, Option<CString>)>, LaunchError> {
    let mut parameters = Vec::new();
    for option in data.iter().flat_map(|word| word.split(',')).filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
        let value = value.map(|value| c_string(value, "mount option")).transpose()?;
        parameters.push((c_string(key, "mount option")?, value));
    }
    let of_super =
        [(Flags::SYNCHRONOUS, c"sync"), (Flags::DIRSYNC, c"dirsync"), (Flags::LAZYTIME, c"lazytime")];
    for (flag, word) in of_super {
        if flags.contains(flag) {
            parameters.push((word.to_owned(), None));
        }
    }
    Ok(parameters)
}

fn plan_remount(plan: &mut MountPlan, target: CString, options: &Options) -> Result<(), LaunchError> {
    let data = options.data.join(",");
    let data = if data.is_empty() { None } else { Some(c_string(&data, "mount options")?) };
    let flags = options.flags.0 | if options.bind.is_some() { Flags::BIND } else { Flags::empty() };
    plan.steps.push(Step::Mount(Box::new(MountStep {
        target,
        kind: MountKind::Remount { flags, data },
        attrs: AttrChange::default(),
        recursive: options.recursive,
        propagation: options.propagation.clone(),
    })));
    Ok(())
}

/// Whether a path is the host's root: when the child is there, the container's root is mounted over it, and would come along.
fn is_root(path: &Path) -> bool {
    !path.components().any(|part| matches!(part, std::path::Component::Normal(_)))
}

/// Whether a path is an open descriptor of some process: what is open is of the host's mount namespace, where only the parent
/// can copy it.
fn is_descriptor(path: &Path) -> bool {
    let mut words = path.to_str().unwrap_or_default().split('/').skip(1);
    let is_number = |word: Option<&str>| {
        word.is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()))
    };
    words.next() == Some("proc")
        && is_number(words.next())
        && words.next() == Some("fd")
        && is_number(words.next())
        && words.next().is_none()
}

fn plan_bind(
    plan: &mut MountPlan,
    entry: &Mount,
    target: CString,
    options: Options,
    inputs: MountInputs<'_>,
) -> Result<(), LaunchError> {
    let given = entry.source().as_deref().filter(|source| !source.as_os_str().is_empty());
    let Some(given) = given else {
        return Err(LaunchError::plan(format!("bind mount {} has no source", entry.destination().display())));
    };
    if let Some(word) = options.data.first() {
        return Err(LaunchError::plan(format!(
            "bind mount {} cannot have the option {word:?}: it belongs to a file system",
            entry.destination().display()
        )));
    }
    let source = inputs.bundle.join(given);
    let depth = options.bind.unwrap_or(Depth::One);
    let idmap = plan_idmap(entry, &options)?;
    let source = if inputs.parent_opens || idmap.is_some() || is_descriptor(&source) || is_root(&source) {
        let shown = c_path(&source, "mount source")?;
        let shared = options.propagation.iter().any(|(propagation, _)| *propagation == Propagation::Shared);
        plan.prepared.push(Prepared { source, depth, idmap, shared });
        BindSource::Prepared(plan.prepared.len() - 1, shown)
    } else {
        BindSource::Path(c_path(&source, "mount source")?)
    };
    plan.steps.push(Step::Mount(Box::new(MountStep {
        target,
        kind: MountKind::Bind { source, depth },
        attrs: options.attrs,
        recursive: options.recursive,
        propagation: options.propagation,
    })));
    Ok(())
}

fn plan_idmap(entry: &Mount, options: &Options) -> Result<Option<IdMap>, LaunchError> {
    let uids = entry.uid_mappings().clone().unwrap_or_default();
    let gids = entry.gid_mappings().clone().unwrap_or_default();
    if uids.is_empty() != gids.is_empty() {
        return Err(LaunchError::plan(format!(
            "mount {}: uidMappings and gidMappings go together",
            entry.destination().display()
        )));
    }
    if uids.is_empty() && options.idmap.is_none() {
        return Ok(None);
    }
    Ok(Some(IdMap { uids, gids, depth: options.idmap.unwrap_or(Depth::One) }))
}

fn plan_cgroup(
    plan: &mut MountPlan,
    entry: &Mount,
    options: &Options,
    inputs: MountInputs<'_>,
) -> Result<(), LaunchError> {
    let base = Path::new("/").join(entry.destination());
    let has_v1 = inputs.cgroups.iter().any(|view| !view.is_unified);
    if !has_v1 {
        let Some(view) = inputs.cgroups.first() else { return Ok(()) };
        let step = cgroup_view(&base, "cgroup2", "cgroup2", String::new(), view, options, inputs)?;
        plan.steps.push(step);
        return Ok(());
    }
    let read_only = options.flags.0.contains(Flags::RDONLY);
    let words: Vec<String> = ["nosuid", "nodev", "noexec", "mode=755"].map(str::to_owned).into();
    let mut holder = plan_options(&words);
    holder.propagation.clone_from(&options.propagation);
    let base_c = c_path(&base, "mount destination")?;
    plan.steps.push(Step::Mount(Box::new(file_system(
        base_c.clone(),
        "tmpfs",
        Path::new("tmpfs"),
        holder,
        inputs.label,
    )?)));
    for view in inputs.cgroups.iter().filter(|view| !view.is_unified) {
        let at = base.join(&view.name);
        plan.steps.push(Step::MakeDirectory { path: c_path(&at, "cgroup")?, mode: 0o755 });
        let named = view.controllers.iter().any(|name| name.starts_with("name="));
        let source = if named { view.name.as_str() } else { "cgroup" };
        plan.steps.push(cgroup_view(&at, "cgroup", source, view.data.clone(), view, options, inputs)?);
        for controller in
            view.controllers.iter().filter(|name| **name != view.name && !name.starts_with("name="))
        {
            plan.steps.push(Step::Symlink {
                path: c_path(&base.join(controller), "cgroup")?,
                to: c_string(&view.name, "cgroup")?,
                replace: false,
            });
        }
    }
    if read_only {
        plan.steps.push(Step::MakeReadOnly { path: base_c });
    }
    Ok(())
}

fn cgroup_view(
    at: &Path,
    kind: &str,
    source: &str,
    data: String,
    view: &CgroupView,
    options: &Options,
    inputs: MountInputs<'_>,
) -> Result<Step, LaunchError> {
    let target = c_path(at, "mount destination")?;
    let safe = Flags::NOSUID | Flags::NODEV | Flags::NOEXEC;
    let step = if inputs.cgroup_namespace {
        let flags = options.flags.0 | safe;
        let mut own = Options { flags: FlagSet(flags), ..Options::default() };
        own.data.extend(Some(data).filter(|data| !data.is_empty()));
        file_system(target, kind, Path::new(source), own, None)?
    } else {
        let mut attrs = options.attrs;
        let safe = Attrs::MOUNT_ATTR_NOSUID | Attrs::MOUNT_ATTR_NODEV | Attrs::MOUNT_ATTR_NOEXEC;
        attrs.set |= u64::from(safe.bits());
        MountStep {
            target,
            kind: MountKind::Bind {
                source: BindSource::Path(c_path(&view.directory, "cgroup")?),
                depth: Depth::One,
            },
            attrs,
            recursive: options.recursive,
            propagation: Vec::new(),
        }
    };
    Ok(Step::Mount(Box::new(step)))
}
