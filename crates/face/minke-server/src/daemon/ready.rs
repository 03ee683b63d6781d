//! Telling whoever started the daemon that it answers, and keeping its process id in a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

/// Names the descriptor of a pipe into which one byte is written.
const READY_FD: &str = "MINKE_READY_FD";

/// Says "ready" the ways that were asked for; a failure is only worth a line in the log.
pub(super) fn announce() {
    if let Ok(number) = std::env::var(READY_FD)
        && let Err(error) = write_pipe(&number)
    {
        tracing::warn!("tell {READY_FD}={number} that the daemon is ready: {error}");
    }
    notify("READY=1");
}

/// Through /proc, so that no descriptor changes hands by number.
fn write_pipe(number: &str) -> io::Result<()> {
    let number: u32 = number.parse().map_err(io::Error::other)?;
    File::options().write(true).open(format!("/proc/self/fd/{number}"))?.write_all(b"1")
}

/// A word to the service manager, when there is one.
pub(super) fn notify(state: &str) {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&path, state) {
        tracing::warn!("tell the service manager {state}: {error}");
    }
}

fn send(path: &str, state: &str) -> io::Result<()> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

/// The file with the process id; removed when dropped.
#[derive(Debug)]
pub(super) struct Pidfile(PathBuf);

impl Pidfile {
    /// Refuses when the file names a process that lives; a file left over by a dead one is replaced.
    pub(super) fn create(path: &Path) -> Result<Self, String> {
        if let Ok(text) = fs::read_to_string(path)
            && let Ok(pid) = text.trim().parse::<u32>()
            && pid != std::process::id()
            && Path::new("/proc").join(pid.to_string()).exists()
            && is_daemon(pid)
        {
            return Err(format!(
                "process with PID {pid} is still running; ensure another daemon does not use {}",
                path.display()
            ));
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .map_err(|error| format!("make {}: {error}", directory.display()))?;
        }
        fs::write(path, std::process::id().to_string())
            .map_err(|error| format!("write {}: {error}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

/// Process ids are used again: only a process of this program counts.
fn is_daemon(pid: u32) -> bool {
    let program = |pid: &str| {
        fs::read_link(format!("/proc/{pid}/exe")).ok().and_then(|path| path.file_name().map(Into::into))
    };
    let other: Option<std::ffi::OsString> = program(&pid.to_string());
    other.is_some() && other == program("self")
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!("remove {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_process_s_file_is_replaced_and_removed_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/minke.pid");
        fs::create_dir(directory.path().join("run")).unwrap();
        fs::write(&path, "999999999").unwrap();
        let pidfile = Pidfile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn another_program_s_process_is_not_a_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("minke.pid");
        fs::write(&path, "1").unwrap();
        assert!(Pidfile::create(&path).is_ok());
    }

    #[test]
    fn the_service_manager_hears_that_the_daemon_is_ready() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.to_str().unwrap(), "READY=1").unwrap();
        let mut bytes = [0; 32];
        let count = manager.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..count], b"READY=1");
    }
}
