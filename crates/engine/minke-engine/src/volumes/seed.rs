//! What an image has at a volume's place becomes an empty volume's first content.
//!
//! The copy is made in a directory that nobody but the engine can enter. It replaces the volume's empty directory as a whole when
//! nobody uses the volume, so that a crash leaves it empty or full. A container that has the volume keeps its directory: then
//! the copies are moved into it one by one, by name only, so that whatever that container does meanwhile leads nowhere.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use minke_store::rootfs::{Seeded, seed};
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;

use super::{Volumes, place};
use crate::error::{Error, Result};

/// The same inside a file system of the volume's own, where nothing can be moved in from outside.
const INSIDE: &str = ".minke-new";

impl Volumes {
    /// Copies what the layers have at `target` into a volume that is empty. May take as long as copying does.
    pub(crate) fn fill(&self, name: &str, layers: &[PathBuf], target: &Path) -> Result<()> {
        let Some(volume) = self.index.find(name) else { return Ok(()) };
        let failed = |source: io::Error| {
            Error::failed(format!("copy the image's {} to volume {name}", target.display()), source)
        };
        let _one_at_a_time = volume.work();
        let data = self.data(name);
        place::make_directory(&self.directory(name)).map_err(failed)?;
        let own = volume.record.has_file_system();
        let new = if own { data.join(INSIDE) } else { self.directory(name).join(place::NEW_DATA) };
        place::delete(&new);
        if !place::is_empty(&data).map_err(failed)? {
            return Ok(());
        }
        std::fs::DirBuilder::new().mode(0o700).create(&new).map_err(failed)?;
        let whole = !own && self.index.is_idle(name);
        let filled = seed(layers, target, &new).and_then(|seeded| match seeded {
            Seeded::Nothing => Ok(()),
            Seeded::Directory if whole => match std::fs::rename(&new, &data) {
                // What somebody has put there meanwhile stays.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                other => other,
            },
            Seeded::Directory => move_in(&new, &data),
        });
        place::delete(&new);
        filled.map_err(failed)
    }

    /// Whether a volume is empty again whenever nobody uses it, so that it is filled when somebody comes.
    pub(crate) fn is_filled_late(&self, name: &str) -> bool {
        self.index.find(name).is_some_and(|volume| volume.record.has_file_system())
    }
}

/// Moves what is in `from` into `to`, and gives `to` its owner and mode. What is there already stays.
fn move_in(from: &Path, to: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (old, new) = (fs::open(from, flags, Mode::empty())?, fs::open(to, flags, Mode::empty())?);
    for entry in std::fs::read_dir(from)? {
        let name = entry?.file_name();
        match fs::renameat_with(&old, &name, &new, &name, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => {}
            // Not every file system knows the careful way.
            Err(Errno::INVAL) if fs::statat(&new, &name, AtFlags::SYMLINK_NOFOLLOW).is_err() => {
                fs::renameat(&old, &name, &new, &name)?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    let stat = fs::fstat(&old)?;
    fs::fchown(&new, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    Ok(fs::fchmod(&new, Mode::from_raw_mode(stat.st_mode))?)
}
