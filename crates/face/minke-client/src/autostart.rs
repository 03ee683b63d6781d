//! Starting the engine on demand: the first command on a fresh machine already runs a container.
//!
//! `/proc/self/exe daemon` is started in a process group of its own with `MINKE_READY_FD` naming the write end of a
//! pipe. The engine writes a byte there once its socket answers; a pipe that closes without one means it failed, and
//! the end of its log says why. Whether a command may do this at all is decided by the caller.

use crate::endpoint::Endpoint;
use std::fs::{File, OpenOptions, create_dir_all};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The variable that names the readiness pipe.
pub const READY_FD: &str = "MINKE_READY_FD";

/// How long another command's engine may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum AutostartError {
    #[error("cannot start the engine: {step}: {source}")]
    Prepare { step: String, source: io::Error },
    #[error("the engine did not start; the end of its log ({}):\n{tail}", log.display())]
    Failed { log: PathBuf, tail: String },
}

/// Starts the engine that serves `endpoint` and waits until it answers.
pub(crate) fn start(endpoint: &Endpoint) -> Result<(), AutostartError> {
    let Endpoint::Unix(socket) = endpoint else { return Ok(()) };
    let directory = socket.parent().unwrap_or(Path::new("/run/minke"));
    let fail = |step: &str| {
        let step = step.to_owned();
        move |source| AutostartError::Prepare { step, source }
    };
    create_dir_all(directory).map_err(fail("make its run directory"))?;
    let log = directory.join("daemon.log");
    let file =
        OpenOptions::new().create(true).append(true).mode(0o600).open(&log).map_err(fail("open its log"))?;
    let start = file.metadata().map(|m| m.len()).unwrap_or(0);
    let (mut reader, writer) = io::pipe().map_err(fail("make a pipe"))?;
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty())
        .map_err(|e| fail("hand over the pipe")(e.into()))?;
    let output = file.try_clone().map_err(fail("open its log"))?;
    // A command that is about to join a container has signals blocked; the engine must not be born with them blocked.
    let blocked = minke_sys::signals::set_mask(0);
    let spawned = Command::new("/proc/self/exe")
        .arg0("minke")
        .arg("daemon")
        .env(READY_FD, writer.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(file)
        .process_group(0)
        .spawn();
    if let Ok(blocked) = blocked {
        minke_sys::signals::set_mask(blocked).map_err(|e| fail("restore the signal mask")(e.into()))?;
    }
    spawned.map_err(fail("run it"))?;
    drop(writer);
    let mut byte = [0];
    if matches!(reader.read(&mut byte), Ok(1)) || answers(socket) {
        return Ok(());
    }
    Err(AutostartError::Failed { tail: tail(&log, start), log })
}

/// Another command may have started an engine at the same moment: ours then leaves, and that one answers soon.
fn answers(socket: &Path) -> bool {
    let holder = socket.with_file_name("lock").exists() || socket.with_file_name("minke.pid").exists();
    let end = Instant::now() + if holder { PATIENCE / 10 } else { Duration::ZERO };
    loop {
        if UnixStream::connect(socket).is_ok() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The last lines this start wrote.
fn tail(log: &Path, from: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(4096))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines[lines.len().saturating_sub(10)..].join("\n");
    if shown.is_empty() { "(it wrote nothing)".to_owned() } else { shown }
}
