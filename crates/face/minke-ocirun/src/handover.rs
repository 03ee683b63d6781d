//! Handing descriptors and pids to whoever asked for them: console socket, pid file, pidfd socket, seccomp listener.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use minke_sys::scm;
use rustix::fs::{Mode, OFlags};

use crate::OciError;

/// Connects to a socket by path, also where the path is longer than a socket address.
fn connect(path: &Path) -> Result<UnixStream, OciError> {
    const LIMIT: usize = 107;
    let fail = |e: std::io::Error| OciError::io("connect to", path, e);
    if path.as_os_str().len() <= LIMIT {
        return UnixStream::connect(path).map_err(fail);
    }
    use std::os::fd::AsRawFd;
    let parent = path.parent().unwrap_or(Path::new("."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(parent, flags, Mode::empty()).map_err(|e| fail(e.into()))?;
    let name = path.file_name().unwrap_or_default();
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    UnixStream::connect(short).map_err(fail)
}

fn send(path: &Path, message: &[u8], fd: BorrowedFd<'_>) -> Result<(), OciError> {
    let socket = connect(path)?;
    scm::send_all(&socket, message, &[fd]).map_err(|e| OciError::io("send a descriptor to", path, e))
}

/// The terminal's master goes to the console socket, with the name runc gives it.
pub(crate) fn send_console(path: &Path, master: &OwnedFd) -> Result<(), OciError> {
    send(path, b"/dev/ptmx", master.as_fd())
}

/// The first process's pidfd goes to the pidfd socket.
pub(crate) fn send_pidfd(path: &Path, pidfd: &OwnedFd) -> Result<(), OciError> {
    send(path, b"pidfd", pidfd.as_fd())
}

/// The seccomp listener goes to the profile's agent, with the state of the container.
pub(crate) fn send_listener(
    path: &Path,
    metadata: Option<&String>,
    pid: u32,
    state: oci_spec::runtime::State,
    listener: &OwnedFd,
) -> Result<(), OciError> {
    let mut document = oci_spec::runtime::ContainerProcessState::default();
    document
        .set_version(state.version().clone())
        .set_fds(vec![oci_spec::runtime::SECCOMP_FD_NAME.to_owned()])
        .set_pid(i32::try_from(pid).unwrap_or(0))
        .set_metadata(metadata.cloned())
        .set_state(state);
    let bytes = serde_json::to_vec(&document).expect("a state document has string keys only");
    send(path, &bytes, listener.as_fd())
}

/// Writes the pid whole or not at all: its reader may be waiting for the file to appear.
pub(crate) fn write_pid_file(path: &Path, pid: u32) -> Result<(), OciError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let new = path.with_file_name(format!(".{name}"));
    std::fs::write(&new, pid.to_string()).map_err(|e| OciError::io("write", &new, e))?;
    std::fs::rename(&new, path).map_err(|e| OciError::io("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_reaches_a_socket_however_long_its_path() {
        for depth in [0, 6] {
            let mut dir = tempfile::tempdir().unwrap().keep();
            let base = dir.clone();
            (0..depth).for_each(|_| dir.push("a-directory-name-of-some-length"));
            std::fs::create_dir_all(&dir).unwrap();
            let short = base.join("s");
            let listener = std::os::unix::net::UnixListener::bind(&short).unwrap();
            let path = dir.join("console.sock");
            std::fs::rename(&short, &path).unwrap();
            let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
            send_console(&path, &file).unwrap();
            let (peer, _) = listener.accept().unwrap();
            let mut buffer = [0; 32];
            let got = scm::receive(&peer, &mut buffer).unwrap();
            assert_eq!((&buffer[..got.len], got.fds.len()), (&b"/dev/ptmx"[..], 1));
            std::fs::remove_dir_all(base).unwrap();
        }
    }

    #[test]
    fn a_pid_file_appears_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        write_pid_file(&path, 42).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "42");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
