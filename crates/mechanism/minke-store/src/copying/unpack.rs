//! A tar stream, compressed or not, over what is there already.

use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{self, FileType, Mode, OFlags};

use super::{CopyError, Root};
use crate::compression::Decoder;
use crate::layer::extract::{Extractor, Rules};
use crate::layer::place::Place;
use crate::layer::{Limits, Privilege};
use crate::tar::Reader;

/// How an archive is unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpack {
    /// A directory is not replaced by something else, nor anything else by a directory.
    pub keep_kinds: bool,
    /// Who owns every file, instead of whom the archive names.
    pub owner: Option<(u32, u32)>,
    /// The first of these, where it first stands in an entry's name, becomes the second.
    pub rename: Option<(Vec<u8>, Vec<u8>)>,
}

/// A copy may hold as much as the disk does, and repeat itself.
const LIMITS: Limits = Limits { entries: u64::MAX, bytes: u64::MAX, ratio: u64::MAX, ratio_floor: u64::MAX };

/// Unpacks into the directory `path` (without links, see [`Root::real_path`]) of a root.
pub fn unpack_inside(
    root: &Root,
    path: &[u8],
    input: impl Read + Send,
    how: Unpack,
) -> Result<(), CopyError> {
    let failed = || CopyError::at("open", path);
    let found = root.lstat(path).map_err(failed())?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Err(CopyError::NotDirectory { path: String::from_utf8_lossy(path).into_owned() });
    }
    let bounds = root.open(b"/", OFlags::PATH | OFlags::DIRECTORY).map_err(failed())?;
    let prefix = path.strip_prefix(b"/").unwrap_or(path);
    let place = Place::inside(bounds, prefix).map_err(failed())?;
    unpack(place, input, how)
}

/// Unpacks into a directory of the caller's own, whose files they all become; what an archive's links lead to outside of it is not
/// touched.
pub fn unpack_below(directory: &OwnedFd, input: impl Read + Send, how: Unpack) -> Result<(), CopyError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = fs::openat(directory, c".", flags, Mode::empty())
        .map_err(|e| CopyError::at("open", b".")(e.into()))?;
    let root = rustix::process::geteuid().is_root();
    let privilege = if root { Privilege::Root } else { Privilege::Unprivileged };
    unpack(Place::below(directory, privilege), input, how)
}

fn unpack(place: Place, input: impl Read + Send, how: Unpack) -> Result<(), CopyError> {
    let decoder = Decoder::new(input, LIMITS).map_err(CopyError::at("read", b"the archive"))?;
    let mut reader = Reader::new(BufReader::with_capacity(1 << 16, decoder));
    let rules = Rules { layer: false, keep_kinds: how.keep_kinds, owner: how.owner };
    Extractor::over(place, rules, LIMITS).renaming(how.rename).unpack(&mut reader)?;
    Ok(())
}
