//! Runs a client to its end and keeps what it said, with assertions that print all of it when they fail.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a finished command left behind.
#[derive(Debug, Clone)]
pub struct Run {
    pub line: String,
    /// The exit status, or 128 + signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// How long any client may take before the test is called stuck.
const LIMIT: Duration = Duration::from_secs(120);

impl Run {
    /// Runs `command` with `input` on its standard input.
    #[track_caller]
    pub fn new(command: Command, input: &[u8]) -> Self {
        let spawned = Spawned::new(command);
        spawned.feed(input);
        spawned.finish(LIMIT)
    }

    /// Fails the test unless the exit status is `code`; gives itself back for more assertions.
    #[track_caller]
    #[must_use = "chain an assertion or read the output; or call .done()"]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit status of {self}");
        self
    }

    #[track_caller]
    #[must_use = "chain an assertion or read the output; or call .done()"]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Ends a chain.
    pub fn done(self) {}

    /// Standard output without the white space around it.
    #[must_use]
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "expected {part:?} on standard output of {self}");
        self
    }

    #[track_caller]
    pub fn complains(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "expected {part:?} on standard error of {self}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {self}"))
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "`{line}` (exit status {code})\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// A command that still runs. Killed when dropped.
#[derive(Debug)]
pub struct Spawned {
    line: String,
    child: Option<Child>,
    stdout: Option<Output>,
    stderr: Option<Output>,
}

impl Spawned {
    #[track_caller]
    pub fn new(mut command: Command) -> Self {
        let line = describe(&command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("spawn `{line}`: {e}"));
        let stdout = child.stdout.take().map(Output::read);
        let stderr = child.stderr.take().map(Output::read);
        Self { line, child: Some(child), stdout, stderr }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Writes `input` and closes standard input.
    pub(crate) fn feed(&self, input: &[u8]) {
        let Some(mut stdin) = self.take_stdin() else { return };
        let input = input.to_vec();
        std::thread::spawn(move || {
            // A client that closes its input early is no fault of the test.
            stdin.write_all(&input).ok();
        });
    }

    fn take_stdin(&self) -> Option<std::fs::File> {
        let stdin = self.child.as_ref()?.stdin.as_ref()?;
        let copy = rustix::io::dup(stdin).ok()?;
        Some(std::fs::File::from(copy))
    }

    /// What it has printed on its standard output so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.stdout.as_ref().map(Output::so_far).unwrap_or_default()
    }

    /// Sends a signal to the client alone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) =
            self.child.as_ref().and_then(|c| rustix::process::Pid::from_raw(c.id().cast_signed()))
        {
            rustix::process::kill_process(pid, signal).ok();
        }
    }

    /// Waits for the end and collects the output.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Run {
        let limit = crate::patience(limit);
        let mut child = self.child.take().expect("finish is called once");
        drop(child.stdin.take());
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait for a child") {
                break status;
            }
            if Instant::now() > end {
                child.kill().ok();
                child.wait().ok();
                panic!("`{}` did not end within {limit:?}", self.line);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let whole = |output: Option<Output>| output.map(Output::whole).unwrap_or_default();
        let (stdout, stderr) = (whole(self.stdout.take()), whole(self.stderr.take()));
        Run { line: std::mem::take(&mut self.line), code: code_of(status), stdout, stderr }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

pub(crate) fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

pub(crate) fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// One of its outputs, read as it comes.
#[derive(Debug)]
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Output {
    fn read(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 16 << 10];
            while let Ok(count @ 1..) = from.read(&mut piece) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..count]);
            }
        });
        Self { bytes, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn whole(self) -> String {
        let Self { bytes, reader } = self;
        reader.join().ok();
        let bytes = std::mem::take(&mut *bytes.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
