//! A log's files on disk: `<path>` is written, `<path>.1` is the one before it, and so on; `.gz` when compressed.
//!
//! Files are replaced by new ones under the same name, never truncated, so that a reader which still holds an old one
//! finishes it in peace. A compressed file's header names the inode it was made of: that is how a slow follower finds
//! its place again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use flate2::{Compression, GzBuilder, bufread::GzDecoder};

/// `path` with something behind its name.
pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The older file number `index` (from 1), compressed or not.
pub(crate) fn older(path: &Path, index: u32, compressed: bool) -> PathBuf {
    suffixed(path, &if compressed { format!(".{index}.gz") } else { format!(".{index}") })
}

/// Who a file is, whatever its name has become. A number is used again only after its file is gone, so the newest file
/// with a number is the one that an open file's holder means.
pub(crate) fn identity(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}

/// Opens the file that is written, with room made for a record after a torn one. Gives the file and its length.
pub(crate) fn open_for_append(
    path: &Path,
    whole: fn(&File, u64) -> io::Result<u64>,
) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o640);
    let file = match (options.open(path), path.parent()) {
        // The driver's own directory, at the first start.
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new().mode(0o700).create(parent)?;
            options.open(path)?
        }
        (opened, _) => opened?,
    };
    let length = file.metadata()?.len();
    let good = whole(&file, length)?;
    if good < length {
        file.set_len(good)?;
    }
    Ok((file, good))
}

/// Length without a torn last line: json-file.
pub(crate) fn whole_lines(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut block = vec![0; 4096];
    while end > 0 {
        let start = end.saturating_sub(4096);
        let part = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(part, start)?;
        if let Some(newline) = memchr::memrchr(b'\n', part) {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Length without a torn last record: local. A good end is checked by its last record alone.
pub(crate) fn whole_local(file: &File, length: u64) -> io::Result<u64> {
    const WINDOW: u64 = 64 << 10;
    let start = length.saturating_sub(WINDOW);
    let mut tail = vec![0; usize::try_from(length - start).unwrap_or(0)];
    file.read_exact_at(&mut tail, start)?;
    if let Some(last) = crate::local::last_length(&tail)
        && let Some(begin) = tail.len().checked_sub(last)
        && crate::local::whole_records(&tail[begin..]) == last
    {
        return Ok(length);
    }
    let mut all = Vec::new();
    let mut from_start = file;
    io::Seek::seek(&mut from_start, io::SeekFrom::Start(0))?;
    from_start.read_to_end(&mut all)?;
    Ok(crate::local::whole_records(&all) as u64)
}

/// Makes `path` a new, empty file; what it was becomes number 1, and whoever is beyond `max_file` goes.
pub(crate) fn rotate(path: &Path, max_file: u32) -> io::Result<File> {
    if max_file < 2 {
        ignore_missing(fs::remove_file(path))?;
    } else {
        for compressed in [false, true] {
            ignore_missing(fs::remove_file(older(path, max_file - 1, compressed)))?;
        }
        for index in (1..max_file - 1).rev() {
            for compressed in [false, true] {
                let target = older(path, index + 1, compressed);
                ignore_missing(fs::rename(older(path, index, compressed), target))?;
            }
        }
        ignore_missing(fs::rename(path, older(path, 1, false)))?;
    }
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Compresses number 1. Slow: called in a process of its own.
pub(crate) fn compress_newest_old(path: &Path) -> io::Result<()> {
    let source_path = older(path, 1, false);
    let mut source = File::open(&source_path)?;
    let target_path = older(path, 1, true);
    let draft_path = suffixed(&target_path, ".tmp");
    let draft = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&draft_path)?;
    let comment = format!("{INODE_MARK}{}", identity(&source)?);
    let mut encoder = GzBuilder::new().comment(comment).write(draft, Compression::fast());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.flush()?;
    fs::rename(&draft_path, &target_path)?;
    fs::remove_file(&source_path)
}

const INODE_MARK: &str = "inode ";

/// One file of a log, opened for reading.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    /// The inode the records were written to.
    pub(crate) identity: u64,
    pub(crate) compressed: bool,
    /// How long it was when it was opened: a log goes on growing while somebody reads it.
    pub(crate) length: u64,
    pub(crate) path: PathBuf,
}

/// A stream of a compressed file's text.
pub(crate) type Unzip = GzDecoder<io::BufReader<File>>;

pub(crate) fn unzip(file: File) -> Unzip {
    GzDecoder::new(io::BufReader::with_capacity(32 << 10, file))
}

fn open_one(path: PathBuf, compressed: bool) -> io::Result<Option<Opened>> {
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let identity = if compressed { written_identity(&file) } else { identity(&file)? };
    Ok(Some(Opened { file, identity, compressed, length, path }))
}

/// The inode a compressed file was made of; 0 when it does not say.
fn written_identity(file: &File) -> u64 {
    let Ok(again) = file.try_clone() else { return 0 };
    let decoder = unzip(again);
    let comment = decoder.header().and_then(|header| header.comment()).unwrap_or_default();
    let inode =
        std::str::from_utf8(comment).ok().and_then(|text| text.strip_prefix(INODE_MARK)?.parse().ok());
    let mut file = file;
    if io::Seek::seek(&mut file, io::SeekFrom::Start(0)).is_err() {
        return 0;
    }
    inode.unwrap_or(0)
}

/// Opens every file of the log, oldest first. What rotates away meanwhile is looked for again.
pub(crate) fn open_all(path: &Path, max_file: u32) -> Result<Vec<Opened>, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    for _attempt in 0..8 {
        found.clear();
        for index in 0..max_file.max(1) {
            let plain = if index == 0 { path.to_owned() } else { older(path, index, false) };
            // Between the end of compression and the removal of its source both are there: one will do.
            let opened = match open_one(plain.clone(), false) {
                Ok(None) if index > 0 => {
                    let zipped = older(path, index, true);
                    open_one(zipped.clone(), true).map_err(|error| (zipped, error))?
                }
                other => other.map_err(|error| (plain, error))?,
            };
            found.extend(opened);
        }
        let now = fs::metadata(path).map(|metadata| metadata.ino()).ok();
        let seen = found.iter().find(|opened| opened.path == path).map(|opened| opened.identity);
        if now == seen {
            break;
        }
    }
    found.reverse();
    Ok(found)
}
