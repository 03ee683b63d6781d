//! Mount steps: every target is opened inside the root first, and mounted on by descriptor.
//!
//! Between opening and mounting nothing is looked up by name again, so a symlink that appears meanwhile changes nothing
//! (CVE-2021-30465); magic links of procfs are never followed. Attributes are set on the detached mount, before anyone
//! can see it.

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minke_sys::beneath::{self, Missing};
use minke_sys::mount::{self, AttrChange, Attrs, Depth, Flags, FsContext, Propagation};
use minke_sys::{Errno, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

use super::{Lent, Player, copy_up};
use crate::steps::{BindSource, FileSystem, MountKind, MountStep};

const DIRECTORY: Missing = Missing::Directory(Mode::from_raw_mode(0o755));
const FILE: Missing = Missing::File(Mode::from_raw_mode(0o755));

impl Player<'_> {
    /// The container's root: the attached mount before the pivot, `/` after it, and `/` all along in an exec.
    pub(super) fn root_dir(&self) -> Result<Lent<'_>> {
        let mut root = Lent::of(&self.hands.root);
        if root.fd.is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            root.fd = Some(rustix::fs::openat(CWD, c"/", flags, Mode::empty())?);
        }
        Ok(root)
    }

    pub(super) fn root_from_path(&self, path: &CStr) -> Result<()> {
        let mount = mount::clone_tree(CWD, path, Depth::Recursive)?;
        // What is mounted over the root elsewhere later is none of the container's business.
        mount::set_attributes(
            &mount,
            AttrChange { propagation: Some(Propagation::Private), ..AttrChange::default() },
            Depth::One,
        )?;
        mount::attach_at(&mount, CWD, path)?;
        self.hands.root.set(Some(mount));
        Ok(())
    }

    pub(super) fn root_from_mount(&self) -> Result<()> {
        let given = self.root.ok_or(Errno::BADF)?;
        // Mounted over "/" itself: a place that is always there, and hides nothing from this process, whose root stays
        // the mount below until the pivot.
        mount::attach_at(given, CWD, c"/")?;
        self.hands.root.set(Some(rustix::io::fcntl_dupfd_cloexec(given, 3)?));
        Ok(())
    }

    /// pivot_root refuses a root whose parent mount is shared.
    pub(super) fn root_parent_private(&self) -> Result<()> {
        let root = Lent::of(&self.hands.root);
        rustix::process::fchdir(root.get()?)?;
        // The root itself is a fresh clone; the mount it hangs on is what ".." leads to.
        match mount::set_propagation(c"..", Propagation::Private, Depth::One) {
            // ".." is not where a mount begins: then it is the mount of "/" that counts.
            Err(Errno::INVAL) => mount::set_propagation(c"/", Propagation::Private, Depth::One),
            other => other,
        }?;
        mount::set_attributes(
            root.get()?,
            AttrChange { propagation: Some(Propagation::Private), ..AttrChange::default() },
            Depth::One,
        )
    }

    pub(super) fn pivot(&self, old_is_shared: bool) -> Result<()> {
        self.keep_host_handles()?;
        let root = self.hands.root.take().ok_or(Errno::BADF)?;
        mount::pivot_into(&root, old_is_shared)
    }

    pub(super) fn move_root(&self) -> Result<()> {
        self.keep_host_handles()?;
        let root = self.hands.root.take().ok_or(Errno::BADF)?;
        mount::move_root(&root)
    }

    pub(super) fn change_root(&self) -> Result<()> {
        self.keep_host_handles()?;
        let root = self.hands.root.take().ok_or(Errno::BADF)?;
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(c".")?;
        rustix::process::chdir(c"/")
    }

    /// Opens what later steps need and will not find: the host's procfs, verified, and what hides a file.
    ///
    /// A file is hidden behind the container's own `/dev/null`: whoever is root inside may change the mode of what he sees, and
    /// the host's must not be his. Only a container that has none gets the host's, read-only.
    fn keep_host_handles(&self) -> Result<()> {
        let proc = self.proc()?;
        drop(proc);
        let own = beneath::open_in_root(
            self.root_dir()?.get()?,
            c"dev/null",
            OFlags::PATH | OFlags::NOFOLLOW,
            Mode::empty(),
        );
        if let Ok(null) = own
            && is_null(&null)?
        {
            self.hands.null.keep(null, true);
            return Ok(());
        }
        let null = rustix::fs::openat(CWD, c"/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        if !is_null(&null)? {
            return Err(Errno::NODEV);
        }
        // A copy of the mount that the old root's going away does not concern.
        let clone = mount::clone_tree(&null, c"", Depth::One)?;
        set_read_only(&clone)?;
        self.hands.null.keep(clone, false);
        Ok(())
    }

    pub(super) fn mount(&self, step: &MountStep) -> Result<()> {
        self.forget_parent();
        let root = self.root_dir()?;
        let root = root.get()?;
        match &step.kind {
            MountKind::FileSystem(system) => {
                let target = beneath::ensure_in_root(root, &step.target, DIRECTORY)?;
                if system.is_simple() && step.recursive.is_empty() && step.propagation.is_empty() {
                    rustix::process::fchdir(&target)?;
                    return mount::mount(
                        &system.source,
                        c".",
                        &system.kind,
                        system.flags,
                        system.data.as_deref(),
                    );
                }
                detached_file_system(step, system, target.as_fd())
            }
            MountKind::Bind { source, depth } => {
                let opened;
                let tree = match source {
                    BindSource::Path(path) => {
                        opened = mount::clone_tree(CWD, path.as_c_str(), *depth)?;
                        opened.as_fd()
                    }
                    BindSource::Prepared(index, _) => self.prepared.get(*index).ok_or(Errno::BADF)?.as_fd(),
                };
                bind(step, tree, root)
            }
            MountKind::Remount { flags, data } => {
                let target =
                    beneath::open_in_root(root, step.target.as_c_str(), OFlags::PATH, Mode::empty())?;
                rustix::process::fchdir(&target)?;
                let flags = *flags | Flags::from_bits_retain(MS_REMOUNT);
                mount::mount(c"", c".", c"", flags, data.as_deref())?;
                if !step.recursive.is_empty() {
                    mount::set_attributes(&target, step.recursive, Depth::Recursive)?;
                }
                set_propagations(step, target.as_fd())
            }
        }
    }

    pub(super) fn make_directory(&self, path: &CStr, mode: u32) -> Result<()> {
        let missing = Missing::Directory(Mode::from_raw_mode(mode));
        beneath::ensure_in_root(self.root_dir()?.get()?, path, missing).map(drop)
    }

    pub(super) fn make_read_only(&self, path: &CStr) -> Result<()> {
        let root = self.root_dir()?;
        set_read_only(beneath::open_in_root(root.get()?, path, OFlags::PATH, Mode::empty())?)
    }

    /// Binds `path` over itself, read-only. A path that is not there needs no protection.
    pub(super) fn protect(&self, path: &CStr) -> Result<()> {
        let root = self.root_dir()?;
        let root = root.get()?;
        let target = match beneath::open_in_root(root, path, OFlags::PATH, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other?,
        };
        let copy = mount::clone_tree(&target, c"", Depth::Recursive)?;
        set_read_only(&copy)?;
        mount::attach(&copy, &target)
    }

    /// Hides `path`: a directory behind an empty one, a file behind `/dev/null`.
    pub(super) fn mask(&self, path: &CStr) -> Result<()> {
        let root = self.root_dir()?;
        let root = root.get()?;
        let target = match beneath::open_in_root(root, path, OFlags::PATH, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other?,
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode);
        if kind.is_dir() {
            self.make_empty_directory()?;
            return self.hands.empty.lay_over(&target);
        }
        self.hands.null.lay_over(&target)
    }

    /// One read-only tmpfs with room for nothing, shared by all masked directories.
    fn make_empty_directory(&self) -> Result<()> {
        if self.hands.empty.is_there() {
            return Ok(());
        }
        let context =
            FsContext::open(c"tmpfs")?.string(c"size", c"4k")?.string(c"nr_inodes", c"1")?.create()?;
        let attrs = Attrs::MOUNT_ATTR_RDONLY | Attrs::MOUNT_ATTR_NOSUID | Attrs::MOUNT_ATTR_NODEV;
        self.hands.empty.keep(context.mount(attrs)?, false);
        Ok(())
    }

    /// Makes the slave of the terminal appear as `/dev/console`.
    pub(super) fn bind_console(&self, root: BorrowedFd<'_>, slave: BorrowedFd<'_>) -> Result<()> {
        let missing = Missing::File(Mode::from_raw_mode(0o666));
        let target = beneath::ensure_in_root(root, c"/dev/console", missing)?;
        let node = mount::clone_tree(slave, c"", Depth::One)?;
        mount::attach(&node, &target)
    }
}

const MS_REMOUNT: u32 = 32;

fn is_null(node: impl AsFd) -> Result<bool> {
    let stat = rustix::fs::fstat(node)?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == rustix::fs::makedev(1, 3))
}

/// A mount that several paths are hidden behind. Before Linux 6.15 only what is in some place can be copied, so the mount
/// itself is laid over the first path, and copies of it over the others.
#[derive(Default)]
pub(super) struct Cover {
    mount: Cell<Option<OwnedFd>>,
    placed: Cell<bool>,
}

impl Cover {
    fn keep(&self, mount: OwnedFd, placed: bool) {
        self.mount.set(Some(mount));
        self.placed.set(placed);
    }

    fn is_there(&self) -> bool {
        Lent::of(&self.mount).fd.is_some()
    }

    fn lay_over(&self, target: impl AsFd) -> Result<()> {
        let mount = Lent::of(&self.mount);
        if self.placed.replace(true) {
            mount::attach(&mount::clone_tree(mount.get()?, c"", Depth::One)?, target)
        } else {
            mount::attach(mount.get()?, target)
        }
    }
}

fn bind(step: &MountStep, tree: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::statat(tree, c"", AtFlags::EMPTY_PATH)?.st_mode);
    let missing = if kind.is_dir() { DIRECTORY } else { FILE };
    let target = beneath::ensure_in_root(root, &step.target, missing)?;
    if !step.attrs.is_empty() {
        mount::set_attributes(tree, step.attrs, Depth::One)?;
    }
    if !step.recursive.is_empty() {
        mount::set_attributes(tree, step.recursive, Depth::Recursive)?;
    }
    set_propagations(step, tree)?;
    match mount::attach(tree, &target) {
        // The kernel's word for a directory on a file, or a file on a directory.
        Err(Errno::INVAL) if is_directory(&target)? != kind.is_dir() => Err(Errno::NOTDIR),
        other => other,
    }
}

fn is_directory(fd: impl AsFd) -> Result<bool> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_dir())
}

fn set_propagations(step: &MountStep, mounted: BorrowedFd<'_>) -> Result<()> {
    for (propagation, depth) in &step.propagation {
        let change = AttrChange { propagation: Some(*propagation), ..AttrChange::default() };
        mount::set_attributes(mounted, change, *depth)?;
    }
    Ok(())
}

/// Builds the file system out of sight, fills it, sets what mount(2) cannot, and only then puts it in place.
fn detached_file_system(step: &MountStep, system: &FileSystem, target: BorrowedFd<'_>) -> Result<()> {
    let mut context = FsContext::open(system.kind.as_c_str())?.string(c"source", system.source.as_c_str())?;
    for (key, value) in &system.parameters {
        context = match value {
            Some(value) => context.string(key.as_c_str(), value.as_c_str())?,
            None => context.flag(key.as_c_str())?,
        };
    }
    let attrs = mount::attrs_of(system.flags);
    let mounted = context.create()?.mount(attrs - Attrs::MOUNT_ATTR_RDONLY)?;
    if system.copy_up {
        let has_mode = system.parameters.iter().any(|(key, _)| key.as_bytes() == b"mode");
        copy_up::copy_tree(target, mounted.as_fd(), has_mode)?;
    }
    if attrs.contains(Attrs::MOUNT_ATTR_RDONLY) {
        set_read_only(&mounted)?;
    }
    if !step.recursive.is_empty() {
        mount::set_attributes(&mounted, step.recursive, Depth::Recursive)?;
    }
    set_propagations(step, mounted.as_fd())?;
    mount::attach(&mounted, target)
}

/// Makes the mount behind `fd` read-only.
pub(super) fn set_read_only(fd: impl AsFd) -> Result<()> {
    mount::set_attributes(fd, AttrChange::setting(Attrs::MOUNT_ATTR_RDONLY), Depth::One)
}
