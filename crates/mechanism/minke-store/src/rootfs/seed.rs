//! A part of an image outside of it: copied into a directory, or shown as the directories that it is made of.
//!
//! The image's own symbolic links are followed inside its stack of layers only. The directory that is copied into must be
//! its caller's alone while the copy is made.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::copy::{copy_directory, dress};
use crate::layer::diff::open_dir;
use crate::stack::Stack;

/// What [`seed`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeded {
    /// A directory; it was copied with its owner and mode.
    Directory,
    /// Nothing, or no directory.
    Nothing,
}

/// Copies what a process in the image would find at `path` into the empty directory `target`. `layers` are top first.
pub fn seed(layers: &[PathBuf], path: &Path, target: &Path) -> io::Result<Seeded> {
    let Some(found) = Stack::new(layers.to_vec()).resolve(path, true)? else { return Ok(Seeded::Nothing) };
    if found.kind() != FileType::Directory {
        return Ok(Seeded::Nothing);
    }
    let to = open_dir(target)?;
    copy_directory(&found.parent().enter(&found)?, &to)?;
    dress(&to, c".", &found)?;
    Ok(Seeded::Directory)
}

/// The directories of layers, top first, that together are the image's directory at `path`; one path when it is a file;
/// `None` when there is nothing.
pub fn parts(layers: &[PathBuf], path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    let Some(found) = Stack::new(layers.to_vec()).resolve(path, true)? else { return Ok(None) };
    let path_of = |fd: &std::os::fd::OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    if found.kind() == FileType::Directory {
        let inside = found.parent().enter(&found)?;
        return inside.parts().iter().map(path_of).collect::<io::Result<_>>().map(Some);
    }
    let name = OsString::from(found.name().to_string_lossy().into_owned());
    Ok(Some(vec![path_of(found.holder())?.join(name)]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn image() -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().expect("a directory");
        let (top, bottom) = (dir.path().join("top"), dir.path().join("bottom"));
        for path in ["top/data", "bottom/data/sub", "bottom/etc"] {
            std::fs::create_dir_all(dir.path().join(path)).expect("made");
        }
        std::fs::write(bottom.join("data/old"), "old").expect("written");
        std::fs::write(bottom.join("data/sub/deep"), "deep").expect("written");
        std::fs::hard_link(bottom.join("data/sub/deep"), bottom.join("data/twin")).expect("linked");
        std::fs::write(bottom.join("etc/passwd"), "of the image").expect("written");
        std::fs::write(top.join("data/new"), "new").expect("written");
        std::fs::set_permissions(top.join("data"), std::fs::Permissions::from_mode(0o1750)).expect("set");
        let layers = vec![top, bottom];
        (dir, layers)
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn all_layers_of_a_directory_are_copied_with_mode_and_links() {
        let (_dir, layers) = image();
        let target = tempfile::tempdir().expect("a directory");
        assert_eq!(seed(&layers, Path::new("/data"), target.path()).expect("copied"), Seeded::Directory);
        let path = |name: &str| target.path().join(name);
        assert_eq!([read(&path("old")), read(&path("new")), read(&path("twin"))], ["old", "new", "deep"]);
        assert_eq!(
            path("twin").metadata().expect("there").ino(),
            path("sub/deep").metadata().expect("there").ino()
        );
        assert_eq!(target.path().metadata().expect("there").mode() & 0o7777, 0o1750);
    }

    #[test]
    fn a_link_to_somewhere_on_the_host_leads_into_the_image() {
        let (_dir, layers) = image();
        symlink("/etc", layers[0].join("conf")).expect("linked");
        symlink("../../../../../etc", layers[0].join("climb")).expect("linked");
        for path in ["/conf", "/climb"] {
            let target = tempfile::tempdir().expect("a directory");
            seed(&layers, Path::new(path), target.path()).expect("copied");
            let names: Vec<_> =
                std::fs::read_dir(target.path()).expect("listed").flatten().map(|e| e.file_name()).collect();
            assert_eq!(names, ["passwd"], "{path}");
            assert_eq!(read(&target.path().join("passwd")), "of the image");
        }
    }

    #[test]
    fn links_inside_are_copied_and_not_followed() {
        let (_dir, layers) = image();
        symlink("/etc/shadow", layers[0].join("data/out")).expect("linked");
        let target = tempfile::tempdir().expect("a directory");
        seed(&layers, Path::new("/data"), target.path()).expect("copied");
        let link = std::fs::read_link(target.path().join("out")).expect("a link");
        assert_eq!(link, Path::new("/etc/shadow"));
    }

    #[test]
    fn what_is_no_directory_is_not_copied() {
        let (_dir, layers) = image();
        let target = tempfile::tempdir().expect("a directory");
        for path in ["/etc/passwd", "/nosuch", "/etc/passwd/below"] {
            assert_eq!(
                seed(&layers, Path::new(path), target.path()).expect("seen"),
                Seeded::Nothing,
                "{path}"
            );
        }
    }

    #[test]
    fn a_part_is_known_by_its_directories() {
        let (_dir, layers) = image();
        let part = |path: &str| parts(&layers, Path::new(path)).expect("seen");
        assert_eq!(part("/data"), Some(vec![layers[0].join("data"), layers[1].join("data")]));
        assert_eq!(part("/data/sub"), Some(vec![layers[1].join("data/sub")]));
        assert_eq!(part("/etc/passwd"), Some(vec![layers[1].join("etc/passwd")]));
        assert_eq!(part("/"), Some(layers.clone()));
        assert_eq!(part("/nosuch"), None);
    }
}
