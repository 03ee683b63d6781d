//! The root of a layer being unpacked: names are resolved beneath it, and nothing that an archive says leads out.
//!
//! Parents are opened with `openat2(RESOLVE_IN_ROOT)`: a symbolic link inside the layer is followed as it would be inside the
//! container, so an absolute target means the layer's own root and `..` stops there. The last component is never followed: every
//! call on it takes the parent's descriptor and the bare name.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{self, AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::tar::Moment;

/// Directories whose descriptors are kept: archives go through a tree depth first, so few are enough.
const CACHED: usize = 16;

/// How overlayfs will be mounted on the layer: it decides where its private attributes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Privilege {
    /// As root: owners and devices are made as told, `trusted.overlay.*`.
    #[default]
    Root,
    /// Inside a user namespace or as a plain user: owners are the caller's, devices are left out, `user.overlay.*`.
    Unprivileged,
}

impl Privilege {
    pub(crate) const fn opaque_attribute(self) -> &'static str {
        match self {
            Self::Root => "trusted.overlay.opaque",
            Self::Unprivileged => "user.overlay.opaque",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Place {
    /// Where the archive's names count from.
    root: Rc<OwnedFd>,
    /// What no name leads out of, and the way from there to `root`.
    bounds: Rc<OwnedFd>,
    prefix: Vec<u8>,
    resolve: ResolveFlags,
    cached: Vec<(Vec<u8>, Rc<OwnedFd>)>,
    pub(super) privilege: Privilege,
    /// Whether files get the owner that the archive names.
    owners: bool,
}

/// A path inside the layer, split where work happens: an open parent and a bare name.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) parent: Rc<OwnedFd>,
    pub(super) name: Vec<u8>,
}

impl Spot {
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    pub(super) fn file_name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }

    pub(super) fn stat(&self) -> io::Result<Option<fs::Stat>> {
        match fs::statat(self.dir(), self.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// A path that extended attribute calls take, because they know no directory descriptors before Linux 6.13.
    pub(super) fn proc_path(&self) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", self.parent.as_raw_fd()).into_bytes();
        path.extend_from_slice(&self.name);
        path
    }
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Place {
    pub(super) fn open(path: &Path, privilege: Privilege) -> io::Result<Self> {
        let root = Rc::new(fs::openat(CWD, path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?);
        Ok(Self {
            bounds: Rc::clone(&root),
            root,
            prefix: Vec::new(),
            resolve: ResolveFlags::IN_ROOT,
            cached: Vec::new(),
            privilege,
            owners: privilege == Privilege::Root,
        })
    }

    /// The directory `prefix` (clean, without a slash in front) of a root that lives: names count from that directory, and links
    /// lead where they lead for who lives in the root.
    pub(crate) fn inside(bounds: OwnedFd, prefix: &[u8]) -> io::Result<Self> {
        let bounds = Rc::new(bounds);
        let mut place = Self {
            root: Rc::clone(&bounds),
            bounds,
            prefix: prefix.to_vec(),
            resolve: ResolveFlags::IN_ROOT,
            cached: Vec::new(),
            privilege: Privilege::Root,
            owners: true,
        };
        place.root = Rc::new(place.resolve(b"")?);
        Ok(place)
    }

    /// A directory of the caller's: what leads out of it is an error, and every file is the caller's.
    pub(crate) fn below(directory: OwnedFd, privilege: Privilege) -> Self {
        let root = Rc::new(directory);
        Self {
            bounds: Rc::clone(&root),
            root,
            prefix: Vec::new(),
            resolve: ResolveFlags::BENEATH,
            cached: Vec::new(),
            privilege,
            owners: false,
        }
    }

    /// Where `path` (clean, not empty) is or shall be. Missing parents are made, owned by root, mode 0755, as Docker does.
    pub(super) fn spot(&mut self, path: &[u8]) -> io::Result<Spot> {
        let (parent, name) = split(path);
        Ok(Spot { parent: self.directory(parent, true)?, name: name.to_vec() })
    }

    /// Where `path` is; its parents must exist.
    pub(super) fn existing(&mut self, path: &[u8]) -> io::Result<Spot> {
        let (parent, name) = split(path);
        Ok(Spot { parent: self.directory(parent, false)?, name: name.to_vec() })
    }

    fn directory(&mut self, path: &[u8], create: bool) -> io::Result<Rc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(at) = self.cached.iter().position(|(known, _)| known == path) {
            let hit = self.cached.remove(at);
            let fd = Rc::clone(&hit.1);
            self.cached.push(hit);
            return Ok(fd);
        }
        let opened = match self.resolve(path) {
            Err(e) if create && missing(&e) => self.make_parents(path)?,
            other => other?,
        };
        let fd = Rc::new(opened);
        if self.cached.len() == CACHED {
            self.cached.remove(0);
        }
        self.cached.push((path.to_vec(), Rc::clone(&fd)));
        Ok(fd)
    }

    fn resolve(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let how = self.resolve | ResolveFlags::NO_MAGICLINKS;
        let whole = match (self.prefix.is_empty(), path.is_empty()) {
            (true, true) => b".".to_vec(),
            (true, false) => path.to_vec(),
            (false, true) => self.prefix.clone(),
            (false, false) => [&self.prefix[..], b"/", path].concat(),
        };
        let mut attempts = 0;
        loop {
            // EAGAIN: something was renamed elsewhere on the host while `..` was walked.
            match fs::openat2(&self.bounds, OsStr::from_bytes(&whole), DIRECTORY, Mode::empty(), how) {
                Err(Errno::AGAIN) if attempts < 128 => attempts += 1,
                other => return Ok(other?),
            }
        }
    }

    /// Makes what is missing of a directory path. A whiteout in the way, put there by this very layer, becomes a directory that
    /// hides what is below it.
    fn make_parents(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        let mut last = None;
        for end in (0..path.len()).filter(|i| path[*i] == b'/').chain([path.len()]) {
            let opened = match self.resolve(&path[..end]) {
                Err(e) if missing(&e) => {
                    let spot = self.existing(&path[..end])?;
                    let whiteout = spot.stat()?.is_some_and(|found| is_whiteout(&found));
                    if whiteout {
                        fs::unlinkat(spot.dir(), spot.file_name(), AtFlags::empty())?;
                    }
                    fs::mkdirat(spot.dir(), spot.file_name(), Mode::from_raw_mode(0o755))?;
                    let made = self.resolve(&path[..end])?;
                    fs::chmodat(spot.dir(), spot.file_name(), Mode::from_raw_mode(0o755), AtFlags::empty())?;
                    if whiteout {
                        self.mark_opaque(&spot)?;
                    }
                    made
                }
                other => other?,
            };
            last = Some(opened);
        }
        last.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// Must be called when anything but a file that was never a parent is removed: what names lead to may have changed.
    pub(super) fn forget(&mut self) {
        self.cached.clear();
    }

    /// Removes whatever is at the spot, a tree included.
    pub(super) fn remove(&mut self, spot: &Spot, found: &fs::Stat) -> io::Result<()> {
        self.forget();
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            remove_tree(spot.dir(), spot.file_name())
        } else {
            Ok(fs::unlinkat(spot.dir(), spot.file_name(), AtFlags::empty())?)
        }
    }

    pub(super) fn mark_opaque(&self, spot: &Spot) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = fs::openat(spot.dir(), spot.file_name(), flags, Mode::empty())?;
        Ok(fs::fsetxattr(dir, self.privilege.opaque_attribute(), b"y", fs::XattrFlags::empty())?)
    }

    pub(super) fn keeps_owners(&self) -> bool {
        self.owners
    }

    pub(super) fn chown(&self, spot: &Spot, uid: u32, gid: u32) -> io::Result<()> {
        if !self.owners {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(fs::chownat(spot.dir(), spot.file_name(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A character device 0/0: overlayfs's mark for "nothing here, whatever is below".
pub(crate) fn is_whiteout(found: &fs::Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.iter().rposition(|b| *b == b'/').map_or((&[][..], path), |at| (&path[..at], &path[at + 1..]))
}

/// Removes a directory tree without ever following a link. It keeps one descriptor however deep the tree is, and climbs by `..`;
/// where that leads elsewhere, because somebody moved the directory meanwhile, it ends with an error.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = fs::openat(parent, name, flags, Mode::empty())?;
    let mut above: Vec<(std::ffi::CString, Identity)> = Vec::new();
    loop {
        if let Some(child) = clear_directory(&dir)? {
            let own = identity(&dir)?;
            dir = fs::openat(&dir, &child, flags, Mode::empty())?;
            above.push((child, own));
            continue;
        }
        let Some((done, parent)) = above.pop() else { break };
        dir = fs::openat(&dir, c"..", flags, Mode::empty())?;
        if identity(&dir)? != parent {
            return Err(io::Error::other("a directory was moved while it was being removed"));
        }
        fs::unlinkat(&dir, &done, AtFlags::REMOVEDIR)?;
    }
    Ok(fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

type Identity = (u64, u64);

fn identity(dir: &OwnedFd) -> io::Result<Identity> {
    let found = fs::fstat(dir)?;
    Ok((found.st_dev, found.st_ino))
}

/// Removes all but the first directory that is not empty, which it returns.
fn clear_directory(dir: &OwnedFd) -> io::Result<Option<std::ffi::CString>> {
    for entry in fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                FileType::from_raw_mode(fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
            }
            known => known,
        };
        if kind != FileType::Directory {
            fs::unlinkat(dir, name, AtFlags::empty())?;
            continue;
        }
        match fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_owned())),
            other => other?,
        }
    }
    Ok(None)
}

pub(super) const fn times(mtime: Moment) -> Timestamps {
    let at = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds as _ };
    Timestamps { last_access: at, last_modification: at }
}
