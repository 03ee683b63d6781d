//! Looking into a stack of layers without mounting it: whiteouts and opaque directories are honoured as overlayfs would.
//!
//! For `/etc/passwd` at container creation, for the changes of a container, and for the driver that copies. A directory of the
//! stack is the list of directories that overlayfs would merge, top first, each held open, so no path is walked twice and no link
//! can lead out.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::layer::diff::open_dir;
use crate::layer::is_whiteout;

/// As many symbolic links as the kernel follows.
const LINKS_MAX: usize = 40;

/// A stack of layer directories, top first.
#[derive(Debug)]
pub struct Stack {
    layers: Vec<PathBuf>,
}

/// A merged directory: what overlayfs would merge, top first.
#[derive(Debug, Clone)]
pub(crate) struct MergedDir {
    parts: Rc<Vec<OwnedFd>>,
}

/// Something found in a merged directory.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) stat: fs::Stat,
    /// Which part of the directory holds it.
    part: usize,
    dir: MergedDir,
    name: CString,
}

impl Found {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// The layer's own directory that holds it.
    pub(crate) fn holder(&self) -> &OwnedFd {
        &self.dir.parts[self.part]
    }

    /// What it is called there.
    pub(crate) fn name(&self) -> &CString {
        &self.name
    }

    /// The directory that it was found in.
    pub(crate) fn parent(&self) -> &MergedDir {
        &self.dir
    }

    pub(crate) fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(self.holder(), &self.name, flags, Mode::empty())?))
    }
}

impl MergedDir {
    /// The topmost directory, whose owner, mode and times the merged one shows.
    pub(crate) fn top(&self) -> &OwnedFd {
        &self.parts[0]
    }

    /// The layers' own directories, top first.
    pub(crate) fn parts(&self) -> &[OwnedFd] {
        &self.parts
    }

    pub(crate) fn find(&self, name: &CString) -> io::Result<Option<Found>> {
        for (part, dir) in self.parts.iter().enumerate() {
            match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
                Ok(stat) if is_whiteout(&stat) => return Ok(None),
                Ok(stat) => return Ok(Some(Found { stat, part, dir: self.clone(), name: name.clone() })),
            }
        }
        Ok(None)
    }

    /// Enters a directory that [`Self::find`] found: joins the directories of that name until something hides the rest.
    pub(crate) fn enter(&self, found: &Found) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut parts = Vec::new();
        for dir in &self.parts[found.part..] {
            match fs::openat(dir, &found.name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) => break,
                Err(e) => return Err(e.into()),
                Ok(fd) => {
                    let opaque = is_opaque(&fd)?;
                    parts.push(fd);
                    if opaque {
                        break;
                    }
                }
            }
        }
        if parts.is_empty() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { parts: Rc::new(parts) })
    }

    /// Everything that shows in the directory, sorted by name.
    pub(crate) fn entries(&self) -> io::Result<BTreeMap<CString, Found>> {
        let mut names = std::collections::BTreeSet::new();
        for dir in self.parts.iter() {
            names.extend(crate::layer::directory_names(dir)?);
        }
        let mut entries = BTreeMap::new();
        for name in names {
            if let Some(found) = self.find(&name)? {
                entries.insert(name, found);
            }
        }
        Ok(entries)
    }
}

fn is_opaque(dir: &OwnedFd) -> io::Result<bool> {
    for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        let mut value = [0_u8; 8];
        match fs::fgetxattr(dir, name, &mut value[..]) {
            Ok(1) if value[0] == b'y' => return Ok(true),
            Ok(_) | Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(false)
}

impl Stack {
    /// A stack of layer directories, top first.
    #[must_use]
    pub const fn new(layers: Vec<PathBuf>) -> Self {
        Self { layers }
    }

    pub(crate) fn root(&self) -> io::Result<MergedDir> {
        let parts = self.layers.iter().map(|layer| open_dir(layer)).collect::<io::Result<Vec<_>>>()?;
        if parts.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "an image without layers has no files"));
        }
        Ok(MergedDir { parts: Rc::new(parts) })
    }

    /// Reads a file as a process inside would see it, symbolic links followed inside the stack. `None`: there is no such file.
    pub fn read_file(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(found) = self.resolve(path, true)?.filter(|found| found.kind() == FileType::RegularFile)
        else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        found.open()?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{} is larger than the {max} bytes that are allowed", path.display()),
            ));
        }
        Ok(Some(bytes))
    }

    /// What a path leads to, its last component not followed.
    pub fn lstat(&self, path: &Path) -> io::Result<Option<fs::Stat>> {
        Ok(self.resolve(path, false)?.map(|found| found.stat))
    }

    /// What a path leads to, every link followed.
    pub fn stat(&self, path: &Path) -> io::Result<Option<fs::Stat>> {
        Ok(self.resolve(path, true)?.map(|found| found.stat))
    }

    pub(crate) fn resolve(&self, path: &Path, follow_last: bool) -> io::Result<Option<Found>> {
        if self.layers.is_empty() {
            return Ok(None);
        }
        let mut above = vec![self.root()?];
        let mut rest: VecDeque<Vec<u8>> = components(path.as_os_str().as_bytes()).collect();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == b".." {
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let Ok(name) = CString::new(name) else { return Ok(None) };
            let Some(dir) = above.last().cloned() else { return Ok(None) };
            let Some(found) = dir.find(&name)? else { return Ok(None) };
            match found.kind() {
                FileType::Symlink if follow_last || !rest.is_empty() => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP.into());
                    }
                    let target = fs::readlinkat(found.holder(), &name, Vec::new())?.into_bytes();
                    if target.starts_with(b"/") {
                        above.truncate(1);
                    }
                    for part in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(part);
                    }
                }
                FileType::Directory if !rest.is_empty() => above.push(dir.enter(&found)?),
                _ if rest.is_empty() => return Ok(Some(found)),
                _ => return Ok(None),
            }
        }
        // The path ended in a directory by `..` or is the root: look it up as itself.
        let Some(dir) = above.pop() else { return Ok(None) };
        let stat = fs::fstat(dir.top())?;
        Ok(Some(Found { stat, part: 0, dir, name: c".".to_owned() }))
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests;
