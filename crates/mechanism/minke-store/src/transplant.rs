//! Files from one tree into another, chosen by patterns, with other owners and modes; and the digest of what was chosen.
//!
//! For who builds: the source is a directory of files that somebody sent, or a stack that is open to be read; the target is a stack
//! that is open to be written to. No name of either is resolved by its text (see [`crate::copying`]). The digest covers what a copy
//! would bring: names, kinds, modes, contents, links and attributes, no times.

mod choose;
mod digest;
mod finish;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::thread;

use minke_sys::beneath;
use rustix::fs::{self, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::compression::Decoder;
use crate::copying::{CopyError, Root};
use crate::layer::diff::Sink;
use crate::layer::extract::{Extractor, Rules};
use crate::layer::place::Place;
use crate::layer::walk::{Descend, Node, walk};
use crate::layer::{Limits, Privilege};
use crate::pipeline::pipe;
use crate::seal::Chunks;
use crate::tar::{Entry, Kind, Moment, Reader};

pub use choose::{Found, choose};
pub use digest::{digest, file_digest, tree_digest};
pub use finish::{clamp_times, remove_stubs};

/// The digests of files by their names, as a tree came in.
pub type Sums = std::collections::HashMap<Vec<u8>, minke_base::Digest>;

const LIMITS: Limits = Limits { entries: u64::MAX, bytes: u64::MAX, ratio: u64::MAX, ratio_floor: u64::MAX };

/// How many entries and bytes somebody may send.
const SENT: Limits = Limits { entries: 4_000_000, bytes: 1 << 38, ratio: 1000, ratio_floor: 1 << 30 };

/// How modes change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModeChange {
    /// To this.
    Octal(u32),
    /// Step by step: which bits of whom, set (`=`), added (`+`) or taken (`-`). `X` is execute where it is a directory or executable.
    Symbolic(Vec<Clause>),
}

/// `go+rX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// Any of user (4), group (2), others (1).
    who: u32,
    operation: u8,
    /// Of `rwx` as in one octal digit.
    bits: u32,
    execute_if: bool,
    /// Set-user-id and set-group-id, and the sticky bit.
    special: u32,
}

impl ModeChange {
    /// Reads `755` or `u=rwX,go=rX`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).map(Self::Octal);
        }
        text.split(',').map(Clause::parse).collect::<Option<Vec<_>>>().map(Self::Symbolic)
    }

    /// A file's mode after the change.
    #[must_use]
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Octal(wanted) => *wanted,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_dir)),
        }
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let at = text.find(['=', '+', '-'])?;
        let (whom, rest) = text.split_at(at);
        let mut who = 0;
        for letter in whom.chars() {
            who |= match letter {
                'u' => 4,
                'g' => 2,
                'o' => 1,
                'a' => 7,
                _ => return None,
            };
        }
        let who = if who == 0 { 7 } else { who };
        let mut clause = Self { who, operation: rest.as_bytes()[0], bits: 0, execute_if: false, special: 0 };
        for letter in rest[1..].chars() {
            match letter {
                'r' => clause.bits |= 4,
                'w' => clause.bits |= 2,
                'x' => clause.bits |= 1,
                'X' => clause.execute_if = true,
                's' => {
                    clause.special |=
                        if who & 4 > 0 { 0o4000 } else { 0 } | if who & 2 > 0 { 0o2000 } else { 0 }
                }
                't' => clause.special |= 0o1000,
                _ => return None,
            }
        }
        Some(clause)
    }

    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let execute = self.execute_if && (is_dir || mode & 0o111 != 0);
        let bits = self.bits | u32::from(execute);
        let spread = |digit: u32| {
            [(4, 6), (2, 3), (1, 0)]
                .iter()
                .filter(|(whom, _)| self.who & whom > 0)
                .fold(0, |all, (_, shift)| all | digit << shift)
        };
        match self.operation {
            b'=' => mode & !spread(7) | spread(bits) | self.special,
            b'+' => mode | spread(bits) | self.special,
            _ => mode & !(spread(bits) | self.special),
        }
    }
}

/// How files change on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dress {
    /// Whose they become.
    pub owner: Option<(u32, u32)>,
    /// Their modes.
    pub mode: Option<ModeChange>,
}

impl Dress {
    fn adjust(&self, entry: &mut Entry) {
        if let Some((uid, gid)) = self.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some(mode) = self.mode.as_ref().filter(|_| entry.kind != Kind::Symlink) {
            entry.mode = mode.apply(entry.mode, entry.kind == Kind::Directory);
        }
    }
}

/// What is copied.
#[derive(Debug, Clone)]
pub enum Item<'a> {
    /// What a name without links stands for in the source: a file becomes `name`, what is in a directory goes into the directory
    /// `name` (the target itself when that is empty).
    Tree { path: &'a [u8], name: &'a [u8] },
    /// A file with these bytes.
    Bytes { name: &'a [u8], bytes: &'a [u8] },
}

/// Copies into the directory `target` of `root`, which is made when it is missing. `skip` is asked for names relative to the source's
/// root.
pub fn transplant(
    source: &OwnedFd,
    items: &[Item<'_>],
    skip: &(dyn Fn(&[u8], bool) -> bool + Sync),
    dress: &Dress,
    root: &Root,
    target: &[u8],
) -> Result<(), CopyError> {
    let place = open_target(root, target, dress.owner)?;
    let (feed, reader) = pipe();
    thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut chunks = Chunks::new(&feed);
            let adjust = |entry: &mut Entry| dress.adjust(entry);
            let packed = {
                let mut sink = Sink::new(&mut chunks).adjusting(&adjust);
                items
                    .iter()
                    .try_for_each(|item| pack(source, item, skip, &mut sink))
                    .and_then(|()| sink.finish())
            };
            let packed = packed.and_then(|()| std::io::Write::flush(&mut chunks));
            if packed.is_err() {
                drop(feed.send(Err(std::io::Error::other("the source could not be read"))));
            }
            packed
        });
        let rules = Rules { layer: false, keep_kinds: true, owner: None };
        let unpacked = Extractor::over(place, rules, LIMITS).unpack(&mut Reader::new(reader));
        match (crate::layer::unpack::join(packing), unpacked) {
            // Who unpacks has hung up for a reason of its own.
            (Err(error), Err(own)) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(own.into()),
            (Err(error), _) => Err(CopyError::at("read", b"the source")(error)),
            (Ok(()), unpacked) => Ok(unpacked?),
        }
    })
}

/// Unpacks an archive, compressed or not, into the directory `target` of `root`, which is made when it is missing.
pub fn unpack_archive(
    input: impl Read + Send,
    owner: Option<(u32, u32)>,
    root: &Root,
    target: &[u8],
) -> Result<(), CopyError> {
    let place = open_target(root, target, owner)?;
    let decoder = Decoder::new(input, SENT).map_err(CopyError::at("read", b"the archive"))?;
    let mut reader = Reader::new(std::io::BufReader::with_capacity(1 << 16, decoder));
    let rules = Rules { layer: false, keep_kinds: false, owner };
    Ok(Extractor::over(place, rules, SENT).unpack(&mut reader)?)
}

/// Unpacks what somebody sent into a directory of the caller's, which all files come to belong to; no name and no link leads out of it.
pub fn receive(input: impl Read + Send, directory: &OwnedFd) -> Result<Sums, CopyError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = fs::openat(directory, c".", flags, Mode::empty())
        .map_err(|e| CopyError::at("open", b".")(e.into()))?;
    let decoder = Decoder::new(input, SENT).map_err(CopyError::at("read", b"the archive"))?;
    let mut reader = Reader::new(std::io::BufReader::with_capacity(1 << 16, decoder));
    let rules = Rules::default();
    let privilege =
        if rustix::process::geteuid().is_root() { Privilege::Root } else { Privilege::Unprivileged };
    let mut extractor = Extractor::over(Place::below(directory, privilege), rules, SENT).summing();
    extractor.unpack(&mut reader)?;
    Ok(extractor.into_sums())
}

/// Makes the directory `path` of `root` with what is missing above it, mode 0755, owned by `owner`.
pub fn make_directory(root: &Root, path: &[u8], owner: Option<(u32, u32)>) -> Result<(), CopyError> {
    let failed = || CopyError::at("make directory", path);
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect();
    let mut above = b"/".to_vec();
    for part in parts {
        let whole = [&above[..], b"/", part].concat();
        match root.open(&whole, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_there) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let parent = root.open(&above, OFlags::PATH | OFlags::DIRECTORY).map_err(failed())?;
                let name = std::ffi::CString::new(part).map_err(|e| failed()(e.into()))?;
                let made = fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o755)).and_then(|()| {
                    let (uid, gid) = owner.unwrap_or((0, 0));
                    fs::chownat(
                        &parent,
                        &name,
                        Some(Uid::from_raw(uid)),
                        Some(Gid::from_raw(gid)),
                        fs::AtFlags::SYMLINK_NOFOLLOW,
                    )?;
                    // Whatever the umask is.
                    fs::chmodat(&parent, &name, Mode::from_raw_mode(0o755), fs::AtFlags::empty())
                });
                made.map_err(|e| failed()(e.into()))?;
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {
                return Err(CopyError::NotDirectory { path: String::from_utf8_lossy(&whole).into_owned() });
            }
            Err(error) => return Err(failed()(error)),
        }
        above = whole;
    }
    Ok(())
}

fn open_target(root: &Root, target: &[u8], owner: Option<(u32, u32)>) -> Result<Place, CopyError> {
    make_directory(root, target, owner)?;
    let failed = || CopyError::at("open", target);
    let real = root.real_path(target)?;
    let bounds = root.open(b"/", OFlags::PATH | OFlags::DIRECTORY).map_err(failed())?;
    Place::inside(bounds, real.strip_prefix(b"/").unwrap_or(&real)).map_err(failed())
}

/// What an item is made of, one after the other, each with its name in the source and in the target.
fn visit(
    source: &OwnedFd,
    path: &[u8],
    name: &[u8],
    skip: &dyn Fn(&[u8], bool) -> bool,
    each: &mut dyn FnMut(&[u8], &Node<'_>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let slashed = |left: &[u8], right: &[u8]| match (left.is_empty(), right.is_empty()) {
        (true, _) => right.to_vec(),
        (_, true) => left.to_vec(),
        _ => [left, b"/", right].concat(),
    };
    let (parent, last) =
        path.iter().rposition(|b| *b == b'/').map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
    let open = |path: &[u8], flags| {
        let path = if path.is_empty() { b"." } else { path };
        // It was resolved before: a link in it now was put there by nobody who should.
        beneath::open_beneath(
            source.as_fd(),
            std::ffi::OsStr::from_bytes(path),
            flags | OFlags::NOFOLLOW,
            Mode::empty(),
        )
    };
    if !last.is_empty() {
        let parent = open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        let last = std::ffi::CString::new(last)?;
        let stat = fs::statat(&parent, &last, fs::AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return each(path, &Node { path: name, dir: parent.as_fd(), name: &last, stat });
        }
    }
    let directory = open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    walk(&directory, &mut |node| {
        let own = slashed(path, node.path);
        let is_dir = node.kind() == FileType::Directory;
        if skip(&own, is_dir) {
            // Something below may not be skipped.
            return Ok(if is_dir { Descend::Yes } else { Descend::No });
        }
        if crate::layer::is_whiteout(&node.stat) {
            return Ok(Descend::No);
        }
        let there = slashed(name, node.path);
        each(&own, &Node { path: &there, dir: node.dir, name: node.name, stat: node.stat })?;
        Ok(Descend::Yes)
    })
}

fn pack(
    source: &OwnedFd,
    item: &Item<'_>,
    skip: &dyn Fn(&[u8], bool) -> bool,
    sink: &mut Sink<'_>,
) -> std::io::Result<()> {
    match item {
        Item::Bytes { name, bytes } => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let mtime = Moment { seconds: i64::try_from(now.as_secs()).unwrap_or(0), nanoseconds: 0 };
            sink.file(Entry { path: name.to_vec(), mode: 0o644, mtime, ..Entry::default() }, bytes)
        }
        Item::Tree { path, name } => {
            visit(source, path, name, skip, &mut |_own, node| sink.node(node, false))
        }
    }
}

/// Whether `path` of a root is a directory, links followed; `None`: there is nothing.
pub fn is_directory(root: &Root, path: &[u8]) -> Result<Option<bool>, CopyError> {
    match root.open(path, OFlags::PATH) {
        Ok(found) => {
            let stat = fs::fstat(&found).map_err(|e: Errno| CopyError::at("stat", path)(e.into()))?;
            Ok(Some(FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CopyError::at("stat", path)(error)),
    }
}

/// Whether a file is a tar archive, compressed or not.
#[must_use]
pub fn is_archive(file: std::fs::File) -> bool {
    let Ok(decoder) = Decoder::new(file, SENT) else { return false };
    let mut start = Vec::with_capacity(512);
    decoder.take(512).read_to_end(&mut start).is_ok_and(|count| count == 512)
        && crate::tar::looks_like_header(&start)
}

#[cfg(test)]
mod tests;
