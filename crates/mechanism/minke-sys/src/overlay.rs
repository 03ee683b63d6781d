//! A detached overlay mount, on kernels that take its layers one by one and on those that take one line of options.
//!
//! Since Linux 6.5 each layer is a parameter of its own (`lowerdir+`). Before, all options together fill at most a page, and
//! the new mount API lets no value through that is longer than 255 bytes. There the overlay is mounted the old way by a
//! thread in a mount namespace of its own, named from a directory that all layers share, and comes back as a clone that
//! belongs to no namespace. Nothing appears in the host's mount table either way. Which layers, and what to do when the
//! kernel refuses, is for the callers. Allocates.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use crate::mount::{self, Attrs, Depth, Flags, FsContext, Propagation};
use crate::spawn::flags;
use crate::{Errno, Result, ns};

/// What the overlay is made of.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// The layers below, the topmost first.
    pub lower: &'a [PathBuf],
    /// The writable directory and overlayfs's own beside it; without them the overlay is read-only.
    pub upper: Option<(&'a Path, &'a Path)>,
    /// Features that are turned off by name, such as `index`.
    pub off: &'a [&'a str],
    /// Never sync the upper directory.
    pub volatile: bool,
}

impl Overlay<'_> {
    /// Makes the mount.
    pub fn mount(&self) -> Result<OwnedFd> {
        match self.by_layer() {
            // Too old for `lowerdir+`, or a path too long for it: otherwise the second try fails for the same reason.
            Err(Errno::INVAL) => self.in_one_line(),
            other => other,
        }
    }

    fn by_layer(&self) -> Result<OwnedFd> {
        let mut context = FsContext::open(c"overlay")?.string(c"source", c"overlay")?;
        for layer in self.lower {
            context = context.string(c"lowerdir+", layer)?;
        }
        if let Some((upper, work)) = self.upper {
            context = context.string(c"upperdir", upper)?.string(c"workdir", work)?;
        }
        for feature in self.off {
            context = context.string(*feature, c"off")?;
        }
        if self.volatile {
            context = context.flag(c"volatile")?;
        }
        context.create()?.mount(Attrs::empty())
    }

    fn in_one_line(&self) -> Result<OwnedFd> {
        let base = self.base();
        let options = CString::new(self.options(&base)).map_err(|_nul| Errno::INVAL)?;
        let place = self.lower.first().ok_or(Errno::INVAL)?;
        let work = || {
            ns::unshare(flags::NEWNS)?;
            mount::set_propagation(c"/", Propagation::Private, Depth::Recursive)?;
            rustix::process::chdir(&base)?;
            mount::mount(c"overlay", place, c"overlay", Flags::empty(), Some(&options))?;
            mount::clone_tree(CWD, place, Depth::One)
        };
        // A namespace once entered is kept: the thread takes it along when it ends.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("overlay".to_owned()).spawn_scoped(scope, work);
            let thread = thread.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::AGAIN))?;
            thread.join().unwrap_or(Err(Errno::CANCELED))
        })
    }

    /// The deepest directory that holds them all: names count from it, so that more of them fit.
    fn base(&self) -> PathBuf {
        let mut all = self.lower.iter().map(PathBuf::as_path);
        let Some(first) = all.next() else { return PathBuf::from("/") };
        let upper = self.upper.map(|(upper, work)| [upper, work]);
        let rest: Vec<&Path> = all.chain(upper.into_iter().flatten()).collect();
        let holds_all = |dir: &&Path| rest.iter().all(|path| path.starts_with(dir) && path != dir);
        first.ancestors().skip(1).find(holds_all).unwrap_or(Path::new("/")).to_owned()
    }

    fn options(&self, base: &Path) -> Vec<u8> {
        let mut line = b"lowerdir=".to_vec();
        for (number, layer) in self.lower.iter().enumerate() {
            if number > 0 {
                line.push(b':');
            }
            escape(layer.strip_prefix(base).unwrap_or(layer), b",:\\", &mut line);
        }
        let upper = self.upper.map(|(upper, work)| [("upperdir", upper), ("workdir", work)]);
        for (key, path) in upper.into_iter().flatten() {
            line.extend(format!(",{key}=").bytes());
            escape(path.strip_prefix(base).unwrap_or(path), b",\\", &mut line);
        }
        for feature in self.off {
            line.extend(format!(",{feature}=off").bytes());
        }
        if self.volatile {
            line.extend(b",volatile");
        }
        line
    }
}

fn escape(path: &Path, special: &[u8], line: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if special.contains(byte) {
            line.push(b'\\');
        }
        line.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_from_the_directory_that_all_share() {
        let lower = ["/d/init/k".into(), "/d/layers/a:b".into(), "/d/layers/c".into()];
        let (upper, work) = (Path::new("/d/containers/x,y/upper"), Path::new("/d/containers/x,y/work"));
        let overlay = Overlay { lower: &lower, upper: Some((upper, work)), off: &["index"], volatile: true };
        assert_eq!(overlay.base(), Path::new("/d"));
        let line = String::from_utf8(overlay.options(&overlay.base())).unwrap();
        assert_eq!(
            line,
            "lowerdir=init/k:layers/a\\:b:layers/c,upperdir=containers/x\\,y/upper,workdir=containers/x\\,y/work,index=off,volatile"
        );
    }

    #[test]
    fn a_single_layer_is_named_from_its_parent() {
        let overlay = Overlay { lower: &["/d/a".into()], upper: None, off: &[], volatile: false };
        assert_eq!(overlay.options(&overlay.base()), b"lowerdir=a");
    }

    /// Both ways make the same mount, and neither shows in this namespace. Two layers, because one alone cannot be read-only.
    #[test]
    fn the_old_way_gives_the_same_detached_mount() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a", "b", "upper", "work"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::write(at("a/one"), "1").unwrap();
        std::fs::write(at("b/two"), "2").unwrap();
        let (lower, upper, work) = ([at("a"), at("b")], at("upper"), at("work"));
        for with_upper in [false, true] {
            let upper = with_upper.then_some((upper.as_path(), work.as_path()));
            let overlay = Overlay { lower: &lower, upper, off: &["index"], volatile: false };
            let mounted = overlay.in_one_line().unwrap();
            for name in ["one", "two"] {
                rustix::fs::statat(&mounted, name, rustix::fs::AtFlags::empty()).unwrap();
            }
            let made = rustix::fs::mkdirat(&mounted, "made", rustix::fs::Mode::RWXU);
            assert_eq!(made.is_ok(), with_upper);
            let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!table.contains(&*dir.path().to_string_lossy()), "{table}");
        }
        assert!(at("upper/made").is_dir());
    }
}
