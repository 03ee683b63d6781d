//! A layer's directory back into a tar, a whole root into a tar, and the list of what changed.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags};

use super::is_whiteout;
use super::walk::{Descend, Node, moment, walk};
use crate::stack::Stack;
use crate::tar::{Entry, Kind, Writer};

/// One line of `docker diff`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute inside the container.
    pub path: PathBuf,
    pub kind: ChangeKind,
}

/// With the numbers that the API gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Modified = 0,
    Added = 1,
    Deleted = 2,
}

/// Writes a layer's directory (an overlay's upper) as a layer's tar: sorted, whiteouts in the image format, nothing in it that
/// depends on when or where it was written.
pub fn write_layer(dir: &Path, output: &mut dyn Write) -> io::Result<()> {
    write_tree(&open_dir(dir)?, Form::Layer, output)
}

/// Writes a whole root as a plain tar.
pub fn write_root(root: &OwnedFd, output: &mut dyn Write) -> io::Result<()> {
    write_tree(root, Form::Whole, output)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// overlayfs's marks become whiteouts.
    Layer,
    /// There are no marks.
    Whole,
}

fn write_tree(root: &OwnedFd, form: Form, output: &mut dyn Write) -> io::Result<()> {
    let mut sink = if form == Form::Whole { Sink::live(output) } else { Sink::new(output) };
    write_nodes(root, form, &mut sink)?;
    sink.finish()
}

/// A layer's directory for who wants its entries otherwise than they are.
pub(crate) fn write_layer_into(dir: &Path, mut sink: Sink<'_>) -> io::Result<()> {
    write_nodes(&open_dir(dir)?, Form::Layer, &mut sink)?;
    sink.finish()
}

fn write_nodes(root: &OwnedFd, form: Form, sink: &mut Sink<'_>) -> io::Result<()> {
    walk(root, &mut |node| {
        if form == Form::Layer && is_whiteout(&node.stat) {
            sink.whiteout(node.path)?;
        } else {
            sink.node(node, form == Form::Layer)?;
        }
        Ok(Descend::Yes)
    })
}

/// Writes nodes, remembering inodes so that hard links stay links.
pub(crate) struct Sink<'a> {
    writer: Writer<&'a mut dyn Write>,
    links: HashMap<(u64, u64), Vec<u8>>,
    live: bool,
    /// What every entry goes through before it is written.
    adjust: Option<&'a dyn Fn(&mut Entry)>,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(output: &'a mut dyn Write) -> Self {
        Self { writer: Writer::new(output), links: HashMap::new(), live: false, adjust: None }
    }

    /// For trees that change while they are read: a file that became shorter is filled up with zeros, one that became something
    /// else is left out.
    pub(crate) fn live(output: &'a mut dyn Write) -> Self {
        Self { live: true, ..Self::new(output) }
    }

    /// Owners, modes and the like as somebody wants them instead of as they are.
    pub(crate) fn adjusting(mut self, adjust: &'a dyn Fn(&mut Entry)) -> Self {
        self.adjust = Some(adjust);
        self
    }

    /// A file that is in no tree.
    pub(crate) fn file(&mut self, mut entry: Entry, bytes: &[u8]) -> io::Result<()> {
        entry.size = bytes.len() as u64;
        if let Some(adjust) = self.adjust {
            adjust(&mut entry);
        }
        self.writer.append(&entry, &mut &*bytes)
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        self.writer.finish().map(|_output| ())
    }

    #[expect(clippy::unnecessary_cast, reason = "field types differ between architectures")]
    pub(crate) fn node(&mut self, node: &Node<'_>, marks: bool) -> io::Result<()> {
        let Some(mut entry) = node.entry()? else { return Ok(()) };
        if let Some(adjust) = self.adjust {
            adjust(&mut entry);
        }
        let inode = (node.stat.st_dev as u64, node.stat.st_ino as u64);
        if entry.kind != Kind::Directory && node.stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&inode) {
                entry.kind = Kind::HardLink;
                entry.link.clone_from(first);
                entry.size = 0;
                return self.writer.append(&entry, &mut io::empty());
            }
            self.links.insert(inode, entry.path.clone());
        }
        let attributes = node.attributes()?;
        let opaque = marks
            && entry.kind == Kind::Directory
            && attributes.iter().any(|(name, v)| is_opaque_mark(name, v));
        entry.xattrs = attributes.into_iter().filter(|(name, _)| belongs_to_image(name)).collect();
        if entry.kind == Kind::File {
            let file = match node.open() {
                Err(error) if self.live && has_changed(&error) => return Ok(()),
                other => File::from(other?),
            };
            // Between the look and the opening somebody may have put a device there.
            if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) != FileType::RegularFile {
                return Ok(());
            }
            if self.live {
                self.writer.append(&entry, &mut file.chain(io::repeat(0)))?;
            } else {
                self.writer.append(&entry, &mut { file })?;
            }
        } else {
            self.writer.append(&entry, &mut io::empty())?;
        }
        if opaque {
            let path = [&entry.path[..], b".wh..wh..opq"].concat();
            self.writer.append(&Entry { path, mtime: entry.mtime, ..Entry::default() }, &mut io::empty())?;
        }
        Ok(())
    }

    /// Marks a path as gone. When it went is not said: the mark in a layer's tree has another time than the one it was made from.
    pub(crate) fn whiteout(&mut self, path: &[u8]) -> io::Result<()> {
        self.gone(path, crate::tar::Moment::default())
    }

    pub(crate) fn gone(&mut self, path: &[u8], mtime: crate::tar::Moment) -> io::Result<()> {
        let name = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        let path = [&path[..name], b".wh.", &path[name..]].concat();
        self.writer.append(&Entry { path, mtime, ..Entry::default() }, &mut io::empty())
    }
}

/// It is gone, or something else has its name.
fn has_changed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(libc::ELOOP)
        || error.raw_os_error() == Some(libc::ENXIO)
}

pub(crate) fn is_opaque_mark(name: &[u8], value: &[u8]) -> bool {
    matches!(name, b"trusted.overlay.opaque" | b"user.overlay.opaque") && value == b"y"
}

/// Labels and signatures of this host, and overlayfs's own notes, stay here.
fn belongs_to_image(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
        && !matches!(name, b"security.selinux" | b"security.ima" | b"security.evm")
}

/// What an overlay's upper directory changes on the layers below it, sorted by path. As in Docker, the parents of a change are
/// changes too, and a directory that overlayfs only copied up is none.
pub fn read_changes(upper: &Path, lowers: &Stack) -> io::Result<Vec<Change>> {
    let mut found: BTreeMap<Vec<u8>, ChangeKind> = BTreeMap::new();
    // Directories whose lower contents do not show: everything in them is new.
    let mut fresh: Option<Vec<u8>> = None;
    walk(&open_dir(upper)?, &mut |node| {
        if fresh.as_ref().is_some_and(|dir| !is_below(node.path, dir)) {
            fresh = None;
        }
        let hidden = fresh.is_some();
        let below = if hidden { None } else { lowers.lstat(&as_path(node.path))? };
        let is_dir = node.kind() == FileType::Directory;
        let kind = match below {
            _ if is_whiteout(&node.stat) => below.map(|_| ChangeKind::Deleted),
            None => Some(ChangeKind::Added),
            Some(old) if is_dir && FileType::from_raw_mode(old.st_mode) == FileType::Directory => {
                if node.attributes()?.iter().any(|(name, value)| is_opaque_mark(name, value)) {
                    fresh = Some(node.path.to_vec());
                    Some(ChangeKind::Modified)
                } else {
                    (moment(&old) != moment(&node.stat)
                        || old.st_mode != node.stat.st_mode
                        || (old.st_uid, old.st_gid) != (node.stat.st_uid, node.stat.st_gid))
                        .then_some(ChangeKind::Modified)
                }
            }
            Some(_) => Some(ChangeKind::Modified),
        };
        if let Some(kind) = kind {
            add_change(&mut found, node.path, kind);
        }
        Ok(Descend::Yes)
    })?;
    Ok(as_changes(found))
}

/// Notes a change and, for parents not noted yet, that they changed.
pub(crate) fn add_change(found: &mut BTreeMap<Vec<u8>, ChangeKind>, path: &[u8], kind: ChangeKind) {
    for end in (0..path.len()).filter(|i| path[*i] == b'/') {
        found.entry(path[..end].to_vec()).or_insert(ChangeKind::Modified);
    }
    found.insert(path.to_vec(), kind);
}

pub(crate) fn as_changes(found: BTreeMap<Vec<u8>, ChangeKind>) -> Vec<Change> {
    let absolute = |path: Vec<u8>| Path::new("/").join(std::ffi::OsString::from_vec(path));
    let mut changes: Vec<Change> =
        found.into_iter().map(|(path, kind)| Change { path: absolute(path), kind }).collect();
    changes.sort();
    changes
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.len() > dir.len() && path.starts_with(dir) && path[dir.len()] == b'/'
}

pub(crate) fn as_path(path: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(path))
}

pub(crate) fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(CWD, path, flags, Mode::empty())?)
}

/// The stat of a path's last component.
pub(crate) fn lstat_at(dir: &OwnedFd, path: &Path) -> io::Result<Option<fs::Stat>> {
    match fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
