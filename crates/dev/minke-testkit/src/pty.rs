//! A client on a terminal of its own: what a person types and sees.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::command::code_of;

/// A program on a pseudo terminal.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    child: Child,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `command` in a new session whose terminal has `rows` and `columns`.
    #[track_caller]
    pub fn spawn(command: &Command, rows: u16, columns: u16) -> Self {
        let master: OwnedFd =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&master).expect("grant the pty");
        unlockpt(&master).expect("unlock the pty");
        resize(&master, rows, columns);
        let name = ptsname(&master, Vec::new()).expect("the pty's name");
        let slave = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("a plain name"))
            .expect("open the pty");
        // Tests that run in the background may have been told to ignore the keys' signals; a terminal's programs are not.
        let mut wrapped = Command::new("env");
        wrapped.args(["--default-signal=INT,QUIT", "setsid", "--ctty", "--wait"]);
        wrapped.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        let copy = || slave.try_clone().expect("a second handle of the pty");
        wrapped.env("TERM", "xterm").stdin(copy()).stdout(copy()).stderr(copy());
        let child = wrapped.spawn().expect("env (coreutils) and setsid (util-linux) start the client");
        drop((slave, wrapped));
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) =
            (master.try_clone().expect("a second handle of the pty"), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                sink.lock().expect("no reader panics").extend_from_slice(&buffer[..n]);
            }
        });
        Self { master, child, screen }
    }

    /// Types `keys`.
    pub fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("type on the terminal");
    }

    /// All that was shown until now.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no reader panics")).into_owned()
    }

    /// Waits until `part` was shown.
    #[track_caller]
    pub fn expect(&self, part: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.shown().contains(part) {
            assert!(
                Instant::now() < end,
                "expected {part:?} on the terminal, which shows:\n{}",
                self.shown()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.master, rows, columns);
    }

    /// Waits for the client's end; its exit status.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for the client") {
                return code_of(status);
            }
            assert!(Instant::now() < end, "the client did not end; the terminal shows:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn resize(fd: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(fd, size).expect("set the window's size");
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
