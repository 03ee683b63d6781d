//! The porter's role: carries files in and out of one container's root, in a process of its own.
//!
//! **Card.** Started by: the daemon, one per copy. Inherits: 0, a socket for one request and the replies; 1, a socket for the archive;
//! 2, the root of a running container as a handle, or `/dev/null`. Touches: a mount namespace of its own, where the root is put
//! together: copies of a running container's mounts, or the overlay and mounts of one that does not run, as the runtime would; that
//! root, opened beneath it only. Reports: JSON lines on 0. Ends: when the archive is through, or either socket closes.
//!
//! A process, because a mount namespace belongs to one, because what hangs (a file system that answers no more) must not hang the
//! daemon, and because it is gone with everything it held.

mod stage;

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::copying::{self, CopyError, PathStat, Root, Unpack};
use crate::rootfs::Rootfs;

/// The first word of its command line.
pub const ROLE: &str = "porter";

/// What the archive goes through.
const BUFFER: usize = 128 << 10;

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Where.
    pub place: Place,
    /// What.
    pub work: Work,
}

/// Whose root.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Place {
    /// A container that runs: its root is descriptor 2, the process is one of its own.
    Live {
        /// The host's number of the process.
        pid: u32,
        /// Where what is seen of it is put together, in this process's own mount namespace.
        at: PathBuf,
        /// What of its mounts is seen, parents first: its volumes, not its memory, devices and kernel file systems.
        points: Vec<String>,
    },
    /// One that does not.
    Rest {
        /// What its root is made of.
        rootfs: Rootfs,
        /// Where it is put together, in this process's own mount namespace.
        at: PathBuf,
        /// What is mounted into it, parents first.
        mounts: Vec<Staged>,
    },
}

/// One mount of a container that does not run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Staged {
    /// A path of the host.
    pub source: PathBuf,
    /// Instead of it: directories that are seen as one, the topmost first.
    #[serde(default)]
    pub layers: Vec<PathBuf>,
    /// Where in the container.
    pub target: String,
    /// Whether it may be written to.
    pub writable: bool,
    /// With what is mounted below it.
    pub recursive: bool,
}

/// What is to be carried.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Work {
    /// Only say what a path is.
    Stat {
        /// In the container.
        path: String,
    },
    /// Out of the container.
    Pack {
        /// What.
        path: String,
    },
    /// Into the container.
    Unpack {
        /// The directory.
        path: String,
        /// See [`Unpack::keep_kinds`].
        keep_kinds: bool,
        /// See [`Unpack::owner`].
        owner: Option<(u32, u32)>,
        /// Mount points, and whether they may be written to.
        points: Vec<(String, bool)>,
        /// What is in none of them may not be written to.
        readonly: bool,
    },
    /// The whole root, without what is mounted into it.
    Export,
}

/// What comes back: first `Found` or `Ready`, then `Done`; or `Failed` at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The path is there; its archive follows if it was asked for.
    Found(PathStat),
    /// The archive may come, or follows.
    Ready,
    /// All of it is through.
    Done,
    /// It did not work.
    Failed {
        /// In which way.
        why: Why,
        /// In words.
        text: String,
    },
}

/// The ways to fail that a client is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// No such path.
    Missing,
    /// Not a directory.
    NotDirectory,
    /// The mount point is read-only.
    ReadonlyMount,
    /// The root is.
    ReadonlyRoot,
    /// The archive is not one, or may not be unpacked.
    Archive,
    /// Anything else.
    Other,
}

/// A porter at work, as its daemon has it.
#[derive(Debug)]
pub struct Porter {
    /// Where replies come.
    pub control: UnixStream,
    /// Where the archive goes through.
    pub archive: UnixStream,
    /// The process, to be waited for.
    pub child: Child,
}

impl Porter {
    /// Starts one. `root` is a running container's.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(program: &Path, request: &Request, root: Option<OwnedFd>) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        let (archive, their_archive) = UnixStream::pair()?;
        let child = Command::new(program)
            .arg(ROLE)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(OwnedFd::from(their_archive))
            .stderr(root.map_or_else(Stdio::null, Stdio::from))
            .spawn()?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        (&control).write_all(&line)?;
        Ok(Self { control, archive, child })
    }
}

/// The porter's life: the binary calls this for the role [`ROLE`] and ends with the code it gives.
#[must_use]
pub fn main() -> i32 {
    let descriptors = [io::stdin().as_fd().try_clone_to_owned(), io::stdout().as_fd().try_clone_to_owned()];
    let [Ok(control), Ok(archive)] = descriptors else { return 1 };
    let control = UnixStream::from(control);
    let mut line = String::new();
    if BufReader::new(&control).read_line(&mut line).is_err() {
        return 1;
    }
    let Ok(request) = serde_json::from_str::<Request>(&line) else { return 1 };
    let reply = match carry(&request, &control, UnixStream::from(archive)) {
        Ok(()) => Reply::Done,
        Err(Failure { why, text }) => Reply::Failed { why, text },
    };
    i32::from(tell(&control, &reply).is_err())
}

fn tell(control: &UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    (&mut &*control).write_all(&line)
}

/// Why it did not work.
#[derive(Debug)]
struct Failure {
    why: Why,
    text: String,
}

impl Failure {
    fn new(why: Why, text: impl Into<String>) -> Self {
        Self { why, text: text.into() }
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        let why = match &error {
            CopyError::Missing { .. } => Why::Missing,
            CopyError::NotDirectory { .. } => Why::NotDirectory,
            CopyError::Archive(_) => Why::Archive,
            CopyError::Io { .. } => Why::Other,
        };
        Self::new(why, chain(&error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Why::Other, error.to_string())
    }
}

/// An error with its causes, none said twice.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

fn carry(request: &Request, control: &UnixStream, archive: UnixStream) -> Result<(), Failure> {
    if let Work::Export = request.work {
        let root = stage::bare_root(&request.place)?;
        tell(control, &Reply::Ready)?;
        return send(archive, |output| Ok(copying::pack_whole(&root, output)?));
    }
    let root = Root::new(stage::whole_root(&request.place)?);
    match &request.work {
        Work::Stat { path } => Ok(tell(control, &Reply::Found(root.stat(path)?))?),
        Work::Pack { path } => {
            tell(control, &Reply::Found(root.stat(path)?))?;
            send(archive, |output| Ok(copying::pack(&root, path, output)?))
        }
        Work::Unpack { path, keep_kinds, owner, points, readonly } => {
            let real = root.real_path(path.as_bytes())?;
            check_directory(&root, &real)?;
            check_writable(&real, points, *readonly)?;
            tell(control, &Reply::Ready)?;
            let how = Unpack { keep_kinds: *keep_kinds, owner: *owner, rename: None };
            let mut archive = archive;
            copying::unpack_inside(&root, &real, &mut archive, how)?;
            // What stands behind the archive's end is taken too, so that who sends it is not cut off.
            io::copy(&mut archive, &mut io::sink())?;
            Ok(())
        }
        Work::Export => Ok(()),
    }
}

fn send(
    archive: UnixStream,
    pack: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut output = BufWriter::with_capacity(BUFFER, &archive);
    pack(&mut output)?;
    output.flush()?;
    drop(output);
    Ok(archive.shutdown(std::net::Shutdown::Write)?)
}

fn check_directory(root: &Root, path: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(path);
    let found = root.stat(&text)?;
    if rustix::fs::FileType::from_raw_mode(found.mode as _) == rustix::fs::FileType::Directory {
        return Ok(());
    }
    Err(Failure::new(Why::NotDirectory, format!("{text} is not a directory")))
}

/// Which mount point the path is in decides, as it was asked for: the first that holds it.
fn check_writable(path: &[u8], points: &[(String, bool)], readonly: bool) -> Result<(), Failure> {
    let path = String::from_utf8_lossy(path);
    let holds = |point: &str| {
        let rest = path.strip_prefix(point.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // The deepest one counts, as in the container.
    let point = points.iter().filter(|(point, _)| holds(point)).max_by_key(|(point, _)| point.len());
    match point {
        Some((_, true)) => Ok(()),
        Some((point, false)) => Err(Failure::new(Why::ReadonlyMount, format!("{point} is read-only"))),
        None if readonly => Err(Failure::new(Why::ReadonlyRoot, "the root is read-only")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_point_decides_about_writing() {
        let points = [("/data".to_owned(), true), ("/data/ro".to_owned(), false)];
        let why = |path: &str, readonly| {
            check_writable(path.as_bytes(), &points, readonly).err().map(|failure| failure.why)
        };
        assert_eq!(why("/data/x", true), None);
        assert_eq!(why("/data/ro/x", false), Some(Why::ReadonlyMount));
        assert_eq!(why("/datax", true), Some(Why::ReadonlyRoot));
        assert_eq!(why("/datax", false), None);
    }
}
