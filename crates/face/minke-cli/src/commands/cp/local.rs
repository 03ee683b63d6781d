//! This host's end of a copy: what a path is here, and reading it as an archive.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::plan::{self, Destination, Source, clean, ends_in_dot};
use super::shown;
use crate::failure::{Failure, go_io};

/// As many links as Docker follows.
const LINKS_MAX: usize = 10;

fn failed(action: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(1, format!("{action} {}: {}", shown(path), go_io(error)))
}

/// The path from the root, a slash or a dot at its end kept.
pub(super) fn absolute(path: &str) -> Result<String, Failure> {
    let here = std::env::current_dir().map_err(|e| Failure::new(1, go_io(&e)))?;
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", here.display()) };
    let mut clean = clean(&whole);
    if ends_in_dot(path) {
        clean.push_str(if clean == "/" { "." } else { "/." });
    } else if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    Ok(clean)
}

/// Refuses a destination whose parent is missing, and what is neither directory nor file.
pub(super) fn check_output(path: &str) -> Result<(), Failure> {
    let cleaned = clean(path);
    if let Some(parent) = Path::new(&cleaned).parent()
        && fs::metadata(parent).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    {
        let parent = shown(parent);
        return Err(format!("invalid output path: directory {parent:?} does not exist").into());
    }
    let kind = match fs::metadata(path) {
        Ok(found) => found.file_type(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("stat", Path::new(path), &e)),
    };
    if kind.is_char_device() || kind.is_block_device() {
        return Err(format!(
            "invalid output path: {path:?} must be a directory or a regular file: got a device"
        )
        .into());
    }
    Ok(())
}

/// What a destination is, links followed; its parent must be there.
pub(super) fn destination(path: &str) -> Result<Destination, Failure> {
    let mut at = path.to_owned();
    for _ in 0..=LINKS_MAX {
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_symlink() => {
                let target = fs::read_link(&at).map_err(|e| failed("readlink", Path::new(&at), &e))?;
                let (parent, _) = plan::split(&at);
                at = match target.is_absolute() {
                    true => shown(&target),
                    false => clean(&format!("{parent}/{}", shown(&target))),
                };
            }
            Ok(found) => return Ok(Destination { path: at, exists: true, is_dir: found.is_dir() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let (parent, _) = plan::split(&at);
                let found = fs::metadata(&parent).map_err(|e| failed("stat", Path::new(&parent), &e))?;
                if !found.is_dir() {
                    return Err("not a directory".into());
                }
                return Ok(Destination { path: at, exists: false, is_dir: false });
            }
            Err(e) => return Err(failed("lstat", Path::new(&at), &e)),
        }
    }
    Err(format!("too many symlinks in {path}").into())
}

/// What a source is. Links on the way to it are followed, the last one when that is wished.
pub(super) fn source(path: &str, follow: bool) -> Result<Source, Failure> {
    let resolve = |path: &str| fs::canonicalize(path).map_err(|e| failed("lstat", Path::new(path), &e));
    let (path, rebase) = if follow {
        plan::rebase_name(path, shown(&resolve(path)?))
    } else {
        let (parent, base) = path.rsplit_once('/').unwrap_or((".", path));
        let parent = resolve(if parent.is_empty() { "/" } else { parent })?;
        let resolved = format!("{}/{base}", shown(&parent).trim_end_matches('/'));
        let asked = plan::split(path).1;
        let other = path.ends_with('/') && asked != plan::split(&resolved).1;
        (resolved, other.then_some(asked))
    };
    let found = fs::symlink_metadata(&path).map_err(|e| failed("lstat", Path::new(&path), &e))?;
    Ok(Source { path, is_dir: found.is_dir(), rebase })
}

/// A directory to unpack in.
pub(super) fn open_directory(path: &str) -> Result<OwnedFd, Failure> {
    Ok(File::open(path).map_err(|e| failed("open", Path::new(path), &e))?.into())
}

/// An archive being made by a thread.
pub(super) struct Packing {
    pipe: io::PipeReader,
    /// What went wrong in making it.
    pub(super) problem: Arc<Mutex<Option<io::Error>>>,
}

impl Read for Packing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pipe.read(buffer)
    }
}

/// Reads `path` as an archive in which it is called `name`.
pub(super) fn pack(path: &str, name: String) -> Result<Packing, Failure> {
    let (parent, base) = plan::split(path);
    let parent = PathBuf::from(parent);
    let base = if base == "/" { ".".to_owned() } else { base };
    let directory = File::open(&parent).map_err(|e| failed("open", &parent, &e))?;
    let (pipe, output) = io::pipe()?;
    let problem = Arc::new(Mutex::new(None));
    let told = Arc::clone(&problem);
    std::thread::spawn(move || {
        let mut output = io::BufWriter::with_capacity(128 << 10, output);
        let packed = minke_store::copying::pack_files(
            &directory.into(),
            base.as_bytes(),
            name.as_bytes(),
            &mut output,
        )
        .and_then(|()| io::Write::flush(&mut output));
        match packed {
            // The engine has enough, or wants no more: it says so itself.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                if let Ok(mut place) = told.lock() {
                    *place = Some(error);
                }
            }
            _ => {}
        }
    });
    Ok(Packing { pipe, problem })
}
