//! The daemon under measurement: minke with everything of its own, beside whatever else runs on the host.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::options::Options;
use crate::step;

const PATIENCE: Duration = Duration::from_secs(20);
/// Size of the file behind `--data-root loop`; sparse, so that only what is written takes room.
const LOOP_SIZE: u64 = 16 << 30;

/// A running daemon; dropping it stops it and removes its files.
#[derive(Debug)]
pub(crate) struct PrivateDaemon {
    dir: tempfile::TempDir,
    /// A network namespace of its own: what the daemon leaves for its next start goes with it.
    machine: minke_testkit::Machine,
    child: Option<Child>,
    pub(crate) program: PathBuf,
    mounted: bool,
    /// Where containers live, in words for the report.
    pub(crate) backing: String,
}

impl PrivateDaemon {
    pub(crate) fn start(program: &Path, options: &Options) -> Result<Self> {
        let in_loop = options.data_root.as_deref() == Some("loop");
        let parent = match &options.data_root {
            Some(dir) if !in_loop => PathBuf::from(dir),
            // Beside where engines keep their data, so on the same kind of file system as the real Docker's.
            _ => PathBuf::from("/var/lib"),
        };
        fs::create_dir_all(&parent)?;
        let dir = tempfile::Builder::new()
            .prefix("minke-bench-")
            .tempdir_in(&parent)
            .with_context(|| format!("make a directory in {}", parent.display()))?;
        let machine = minke_testkit::Machine::new();
        let mut daemon = Self {
            dir,
            machine,
            child: None,
            program: program.to_owned(),
            mounted: false,
            backing: String::new(),
        };
        fs::create_dir(daemon.data())?;
        if in_loop {
            daemon.mount_loop()?;
        }
        let kind = file_system_of(&daemon.data());
        daemon.backing = if in_loop { format!("{kind} (journaled, loop)") } else { kind };
        daemon.spawn()?;
        Ok(daemon)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn mount_loop(&mut self) -> Result<()> {
        let image = self.dir.path().join("data.ext4");
        File::create(&image)?.set_len(LOOP_SIZE)?;
        let (image, data) =
            (image.to_string_lossy().into_owned(), self.data().to_string_lossy().into_owned());
        step::output(&["mkfs.ext4", "-q", "-O", "has_journal", &image])?;
        step::output(&["mount", "-o", "loop", &image, &data])?;
        self.mounted = true;
        Ok(())
    }

    fn spawn(&mut self) -> Result<()> {
        let dir = self.dir.path();
        let log = File::create(dir.join("log"))?;
        let child = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.machine.pid()))
            .arg("--")
            .arg(&self.program)
            .arg("daemon")
            .arg("--data-root")
            .arg(self.data())
            .arg("--exec-root")
            .arg(dir.join("run"))
            .args(["-H", &self.host(), "--pidfile"])
            .arg(dir.join("pid"))
            .args(["--cgroup-parent", &self.tag()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {} daemon", self.program.display()))?;
        let child = self.child.insert(child);
        let start = Instant::now();
        while UnixStream::connect(dir.join("s")).is_err() {
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
                self.child = None;
                bail!("minke's daemon ended with {status}:\n{log}");
            }
            if start.elapsed() > PATIENCE {
                bail!("minke's daemon does not answer; see {}", dir.join("log").display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("s").display())
    }

    /// A process of the daemon's network namespace.
    pub(crate) fn netns_pid(&self) -> u32 {
        self.machine.pid()
    }

    /// Of this run alone.
    fn tag(&self) -> String {
        format!("mkb{}", std::process::id())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Stops the daemon and takes away what it leaves on purpose.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        step::output(&["kill", "-TERM", &child.id().to_string()])?;
        let start = Instant::now();
        while child.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                bail!("minke's daemon did not stop when asked to");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        remove_cgroups(&self.tag());
        if self.mounted {
            step::output(&["umount", &self.data().to_string_lossy()])?;
            self.mounted = false;
        }
        Ok(())
    }
}

impl Drop for PrivateDaemon {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            step::complain(&format!("{error:#}"));
        }
        if self.mounted {
            drop(step::output(&["umount", "-l", &self.data().to_string_lossy()]));
        }
    }
}

/// The daemon's cgroup parent is empty by now, under whatever hierarchies the host has; one that is not stays, and shows a leak.
fn remove_cgroups(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in std::iter::once(root.to_owned()).chain(hierarchies) {
        let group = hierarchy.join(name);
        if group.is_dir()
            && let Err(error) = fs::remove_dir(&group)
        {
            step::complain(&format!("{} is left: {error}", group.display()));
        }
    }
}

/// The type of the file system that holds `path`, from the longest mount point above it.
fn file_system_of(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount_of = |line: &str| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    mounts
        .lines()
        .filter_map(mount_of)
        .filter(|(target, _)| path.starts_with(target))
        .max_by_key(|(target, _)| target.len())
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind)
}
