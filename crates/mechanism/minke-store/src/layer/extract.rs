//! Entries of a tar made into files of a layer.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use minke_base::Digest;
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::place::{Place, Privilege, Spot, is_whiteout, times};
use super::{LayerError, Limits};
use crate::tar::{Entry, Kind, Reader, show};

const WHITEOUT: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What may be kept in memory about directories until the end.
const DIRECTORIES_MAX: u64 = 512 << 20;
/// Files at least this big are checked against the free space before a byte is written.
const SPACE_CHECK: u64 = 64 << 20;

/// What unpacking found out about the layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(super) size: u64,
    pub(super) entries: u64,
    pub(super) opaque: bool,
}

/// What an archive is taken for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// It is a layer: names that start with `.wh.` hide, and its size is wanted.
    pub(crate) layer: bool,
    /// No directory is replaced by something else, and nothing else by a directory.
    pub(crate) keep_kinds: bool,
    /// Who owns everything, whatever the archive says.
    pub(crate) owner: Option<(u32, u32)>,
}

pub(crate) struct Extractor {
    place: Place,
    rules: Rules,
    /// The first of these in a name becomes the second.
    rename: Option<(Vec<u8>, Vec<u8>)>,
    limits: Limits,
    contents: Contents,
    /// Bytes the layer's files have in all, holes included.
    apparent: u64,
    /// Modes, owners, times and attributes of directories, set last: making a child changes its parent's time, and a parent may
    /// be read-only.
    directories: Vec<(Vec<u8>, Entry)>,
    directories_size: u64,
    /// Something was replaced, so the running size is no longer exact.
    replaced: bool,
    skipped_attributes: u64,
    /// The digests of files, by their cleaned names, where somebody wants them.
    sums: Option<HashMap<Vec<u8>, Digest>>,
}

/// Digests that are kept; who wants those of more files reads them again.
const SUMS_MAX: usize = 1 << 20;

impl Extractor {
    pub(super) fn new(root: &Path, privilege: Privilege, limits: Limits) -> io::Result<Self> {
        let place = Place::open(root, privilege)?;
        Ok(Self::over(place, Rules { layer: true, ..Rules::default() }, limits))
    }

    /// Unpacks over what is there already.
    pub(crate) fn over(place: Place, rules: Rules, limits: Limits) -> Self {
        Self {
            place,
            rules,
            rename: None,
            limits,
            contents: Contents::default(),
            apparent: 0,
            directories: Vec::new(),
            directories_size: 0,
            replaced: false,
            skipped_attributes: 0,
            sums: None,
        }
    }

    /// Has the digests of files computed while they are written.
    pub(crate) fn summing(mut self) -> Self {
        self.sums = Some(HashMap::new());
        self
    }

    /// The digests, by the names that files have in the end: one that came twice has the later one's.
    pub(crate) fn into_sums(self) -> HashMap<Vec<u8>, Digest> {
        self.sums.unwrap_or_default()
    }

    /// Has `from`, where it first stands in a name, become `to`.
    pub(crate) fn renaming(mut self, rename: Option<(Vec<u8>, Vec<u8>)>) -> Self {
        self.rename = rename;
        self
    }

    /// Unpacks a layer.
    pub(super) fn run<R: BufRead>(
        mut self,
        reader: &mut Reader<R>,
        root: &Path,
    ) -> Result<Contents, LayerError> {
        self.unpack(reader)?;
        if self.replaced {
            self.contents.size = super::usage::of_tree(root)
                .map_err(|source| LayerError::Io { action: "measure", path: root.to_owned(), source })?
                .bytes;
        }
        Ok(self.contents)
    }

    /// Unpacks every entry.
    pub(crate) fn unpack<R: BufRead>(&mut self, reader: &mut Reader<R>) -> Result<(), LayerError> {
        while let Some(entry) = reader.next_entry()? {
            self.contents.entries += 1;
            if self.contents.entries > self.limits.entries {
                return Err(LayerError::Limit { what: "entries", max: self.limits.entries });
            }
            self.take(entry, reader)?;
        }
        for (path, entry) in std::mem::take(&mut self.directories) {
            self.finish_directory(&path, &entry).map_err(|e| failed(&entry, "finish directory", e))?;
        }
        if self.skipped_attributes > 0 {
            tracing::warn!(
                count = self.skipped_attributes,
                "extended attributes the filesystem does not take were left out"
            );
        }
        Ok(())
    }

    fn take<R: BufRead>(&mut self, mut entry: Entry, reader: &mut Reader<R>) -> Result<(), LayerError> {
        if let Some((from, to)) = &self.rename {
            rename(&mut entry.path, from, to);
            if entry.kind == Kind::HardLink {
                rename(&mut entry.link, from, to);
            }
        }
        let Some(path) = clean(&entry.path).map_err(|()| LayerError::Escapes { name: entry.name() })? else {
            // The root itself. Docker leaves its owner and mode alone, whatever the archive says, and images rely on it: many
            // were packed from a private temporary directory.
            return Ok(());
        };
        if let Some(owner) = self.rules.owner {
            (entry.uid, entry.gid) = owner;
        }
        if !self.rules.layer {
            return self.make(path, entry, reader);
        }
        let mut components = path.split(|b| *b == b'/');
        let name = components.next_back().unwrap_or_default();
        if components.clone().any(|part| part.starts_with(META)) || (name.starts_with(META) && name != OPAQUE)
        {
            // AUFS kept its own files under such names; they mean nothing to anyone else.
            return Ok(());
        }
        if components.any(|part| part.starts_with(WHITEOUT)) {
            return Err(LayerError::Whiteout { name: entry.name() });
        }
        if name == OPAQUE {
            return self.hide_directory(&entry, &path[..path.len() - name.len()]);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if hidden.is_empty() || hidden == b"." || hidden == b".." {
                return Err(LayerError::Whiteout { name: entry.name() });
            }
            let hidden = [&path[..path.len() - name.len()], hidden].concat();
            return self.hide(&entry, &hidden).map_err(|e| failed(&entry, "whiteout", e));
        }
        self.make(path, entry, reader)
    }

    /// `.wh..wh..opq`: nothing below this directory shows through.
    fn hide_directory(&mut self, entry: &Entry, dir: &[u8]) -> Result<(), LayerError> {
        let Some((_slash, dir)) = dir.split_last() else {
            // overlayfs does not look for the mark on a layer's root, so the record carries it.
            self.contents.opaque = true;
            return Ok(());
        };
        let inside = self.place.spot(&[dir, b"/."].concat());
        inside.and_then(|spot| self.place.mark_opaque(&spot)).map_err(|e| failed(entry, "mark opaque", e))
    }

    /// `.wh.name`: the name is gone. What this very layer holds under that name stays, as the image specification wants it; a
    /// directory then hides what is below.
    fn hide(&mut self, entry: &Entry, path: &[u8]) -> io::Result<()> {
        let spot = self.place.spot(path)?;
        match spot.stat()? {
            Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                return self.place.mark_opaque(&spot);
            }
            Some(_) => return Ok(()),
            None => {}
        }
        fs::mknodat(spot.dir(), spot.file_name(), FileType::CharacterDevice, Mode::empty(), 0)?;
        self.place.chown(&spot, entry.uid, entry.gid)
    }

    fn make<R: BufRead>(
        &mut self,
        path: Vec<u8>,
        entry: Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), LayerError> {
        if let Kind::Other(byte) = entry.kind {
            return Err(LayerError::EntryType { name: entry.name(), byte });
        }
        if self.place.privilege == Privilege::Unprivileged
            && matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice)
        {
            return Ok(());
        }
        let spot = self.place.spot(&path).map_err(|e| failed(&entry, "make the parents of", e))?;
        let mut hides = false;
        if let Some(found) = spot.stat().map_err(|e| failed(&entry, "look up", e))? {
            let is_dir = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            if is_dir && entry.kind == Kind::Directory {
                return self.finish_later(path, entry);
            }
            if self.rules.keep_kinds && is_dir != (entry.kind == Kind::Directory) {
                return Err(LayerError::Kinds { name: entry.name(), is_dir });
            }
            hides = self.rules.layer && is_whiteout(&found) && entry.kind == Kind::Directory;
            self.replaced = true;
            if is_dir {
                let below = |known: &[u8]| {
                    known.starts_with(&path) && matches!(known.get(path.len()), None | Some(b'/'))
                };
                self.directories.retain(|(known, _)| !below(known));
            }
            self.place.remove(&spot, &found).map_err(|e| failed(&entry, "replace", e))?;
        }
        match entry.kind {
            Kind::File => {
                let sum = self.make_file(&spot, &entry, reader)?;
                if let Some(sums) = &mut self.sums {
                    sums.remove(&path);
                    if let Some(sum) = sum.filter(|_| sums.len() < SUMS_MAX) {
                        sums.insert(path, sum);
                    }
                }
            }
            Kind::HardLink => return self.make_link(&spot, &entry),
            Kind::Directory => {
                let made = fs::mkdirat(spot.dir(), spot.file_name(), Mode::from_raw_mode(0o700));
                made.map_err(|e| failed(&entry, "make directory", e.into()))?;
                if hides {
                    self.place.mark_opaque(&spot).map_err(|e| failed(&entry, "mark opaque", e))?;
                }
                return self.finish_later(path, entry);
            }
            Kind::Symlink => {
                self.make_symlink(&spot, &entry).map_err(|e| failed(&entry, "make symbolic link", e))?;
                self.contents.size += entry.link.len() as u64;
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo | Kind::Other(_) => {
                self.make_node(&spot, &entry).map_err(|e| failed(&entry, "make device", e))?;
            }
        }
        Ok(())
    }

    fn finish_later(&mut self, path: Vec<u8>, mut entry: Entry) -> Result<(), LayerError> {
        let attributes: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        self.directories_size += (2 * path.len() + attributes + size_of::<Entry>()) as u64;
        if self.directories_size > DIRECTORIES_MAX {
            return Err(LayerError::Limit { what: "bytes about directories", max: DIRECTORIES_MAX });
        }
        entry.xattrs.shrink_to_fit();
        self.directories.push((path, entry));
        Ok(())
    }

    fn make_file<R: BufRead>(
        &mut self,
        spot: &Spot,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<Option<Digest>, LayerError> {
        let mut hash = self.sums.as_ref().filter(|_| entry.sparse.is_none()).map(|_| Sha256::new());
        self.apparent = self.apparent.saturating_add(entry.size);
        if self.apparent > self.limits.bytes {
            return Err(LayerError::Limit { what: "bytes", max: self.limits.bytes });
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(spot.dir(), spot.file_name(), flags, Mode::from_raw_mode(0o600))
            .map_err(|e| failed(entry, "create", e.into()))?;
        let mut file = File::from(file);
        let stored = entry.sparse.as_ref().map_or(entry.size, |map| map.iter().map(|s| s.length).sum());
        if stored >= SPACE_CHECK {
            check_space(&file, stored).map_err(|e| failed(entry, "write", e))?;
        }
        let write = |e| failed(entry, "write", e);
        match &entry.sparse {
            None => copy(reader, &mut file, u64::MAX, entry, hash.as_mut())?,
            Some(segments) => {
                for segment in segments {
                    file.seek(SeekFrom::Start(segment.offset)).map_err(write)?;
                    copy(reader, &mut file, segment.length, entry, None)?;
                }
                file.set_len(entry.size).map_err(write)?;
            }
        }
        self.contents.size += entry.size;
        self.dress(&file, entry).map_err(|e| failed(entry, "set the attributes of", e))?;
        fs::futimens(&file, &times(entry.mtime)).map_err(|e| failed(entry, "set the time of", e.into()))?;
        Ok(hash.map(|hash| Digest::from_sha256(hash.finalize().into())))
    }

    /// Owner, mode and attributes, in the order that keeps them: a change of owner clears setuid bits and capabilities.
    fn dress(&mut self, file: impl std::os::fd::AsFd, entry: &Entry) -> io::Result<()> {
        if self.place.keeps_owners() {
            fs::fchown(&file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
        }
        fs::fchmod(&file, Mode::from_raw_mode(entry.mode))?;
        for (name, value) in own_attributes(entry) {
            let set = fs::fsetxattr(&file, OsStr::from_bytes(name), value, XattrFlags::empty());
            self.attribute_set(set)?;
        }
        Ok(())
    }

    /// A filesystem that takes no such attribute is no reason to refuse an image; Docker goes on as well.
    fn attribute_set(&mut self, result: rustix::io::Result<()>) -> io::Result<()> {
        match result {
            Err(Errno::NOTSUP | Errno::PERM) => {
                self.skipped_attributes += 1;
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn make_link(&mut self, spot: &Spot, entry: &Entry) -> Result<(), LayerError> {
        let gone = || LayerError::LinkTarget { name: entry.name(), target: show(&entry.link) };
        let target = clean(&entry.link).map_err(|()| gone())?.ok_or_else(gone)?;
        let linked = self.place.existing(&target).and_then(|from| {
            let flags = AtFlags::empty();
            Ok(fs::linkat(from.dir(), from.file_name(), spot.dir(), spot.file_name(), flags)?)
        });
        linked.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => gone(),
            _ => failed(entry, "make hard link", e),
        })
    }

    fn make_symlink(&mut self, spot: &Spot, entry: &Entry) -> io::Result<()> {
        fs::symlinkat(OsStr::from_bytes(&entry.link), spot.dir(), spot.file_name())?;
        self.place.chown(spot, entry.uid, entry.gid)?;
        self.dress_by_name(spot, entry)
    }

    fn make_node(&mut self, spot: &Spot, entry: &Entry) -> io::Result<()> {
        let (kind, device) = match entry.kind {
            Kind::CharDevice => (FileType::CharacterDevice, fs::makedev(entry.device.0, entry.device.1)),
            Kind::BlockDevice => (FileType::BlockDevice, fs::makedev(entry.device.0, entry.device.1)),
            _ => (FileType::Fifo, 0),
        };
        fs::mknodat(spot.dir(), spot.file_name(), kind, Mode::from_raw_mode(0o600), device)?;
        self.place.chown(spot, entry.uid, entry.gid)?;
        // The name was made by us a moment ago in a directory only we write to: it is no link.
        fs::chmodat(spot.dir(), spot.file_name(), Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        self.dress_by_name(spot, entry)
    }

    /// Attributes and time of what cannot be opened.
    fn dress_by_name(&mut self, spot: &Spot, entry: &Entry) -> io::Result<()> {
        for (name, value) in own_attributes(entry) {
            let path = spot.proc_path();
            let set = fs::lsetxattr(&path[..], OsStr::from_bytes(name), value, XattrFlags::empty());
            self.attribute_set(set)?;
        }
        Ok(fs::utimensat(spot.dir(), spot.file_name(), &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn finish_directory(&mut self, path: &[u8], entry: &Entry) -> io::Result<()> {
        let spot = match self.place.existing(path) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            other => other?,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match fs::openat(spot.dir(), spot.file_name(), flags, Mode::empty()) {
            // A later entry put something else in its place.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            other => other?,
        };
        self.dress(&dir, entry)?;
        Ok(fs::futimens(&dir, &times(entry.mtime))?)
    }
}

fn rename(name: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let at = if from.is_empty() { Some(0) } else { name.windows(from.len()).position(|part| part == from) };
    if let Some(at) = at {
        name.splice(at..at + from.len(), to.iter().copied());
    }
}

/// Attributes that belong to the image. overlayfs's own would let an image redirect its directories and are left out.
fn own_attributes(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    entry
        .xattrs
        .iter()
        .filter(|(name, _)| !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay."))
        .map(|(name, value)| (&name[..], &value[..]))
}

/// A path relative to the root without empty components and dots; `None` is the root itself, an error leads out of it. As Go's
/// `filepath.Clean` does it, `a/..` goes away by its text, before any link is looked at.
fn clean(path: &[u8]) -> Result<Option<Vec<u8>>, ()> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let absolute = path.first() == Some(&b'/');
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() && !absolute {
                    return Err(());
                }
            }
            part => parts.push(part),
        }
    }
    Ok((!parts.is_empty()).then(|| parts.join(&b'/')))
}

fn copy<R: BufRead>(
    reader: &mut Reader<R>,
    file: &mut File,
    mut length: u64,
    entry: &Entry,
    mut hash: Option<&mut Sha256>,
) -> Result<(), LayerError> {
    while length > 0 {
        let chunk = reader.chunk()?;
        if chunk.is_empty() {
            break;
        }
        let count = chunk.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        file.write_all(&chunk[..count]).map_err(|e| failed(entry, "write", e))?;
        if let Some(hash) = &mut hash {
            hash.update(&chunk[..count]);
        }
        reader.consume(count);
        length -= count as u64;
    }
    Ok(())
}

fn check_space(file: &File, wanted: u64) -> io::Result<()> {
    let found = fs::fstatvfs(file)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if wanted <= free {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::StorageFull,
        format!("no space left on device: {wanted} bytes wanted, {free} free"),
    ))
}

fn failed(entry: &Entry, action: &'static str, source: io::Error) -> LayerError {
    LayerError::Entry { action, name: entry.name(), source }
}
