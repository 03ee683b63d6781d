//! The user's terminal: size, raw mode, and whether there is one.

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;

/// Whether stdin is a terminal.
pub(crate) fn stdin_is() -> bool {
    isatty(rustix::stdio::stdin())
}

/// Whether stdout is a terminal.
pub(crate) fn stdout_is() -> bool {
    isatty(rustix::stdio::stdout())
}

/// Whether stderr is a terminal.
pub(crate) fn stderr_is() -> bool {
    isatty(rustix::stdio::stderr())
}

/// Columns to wrap help at.
pub(crate) fn width() -> usize {
    match tcgetwinsize(rustix::stdio::stdin()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => 80,
    }
}

/// Height and width of the output's terminal; zeros when it is none.
pub(crate) fn size() -> (u16, u16) {
    match tcgetwinsize(rustix::stdio::stdout()) {
        Ok(size) => (size.ws_row, size.ws_col),
        Err(_) => (0, 0),
    }
}

/// Raw mode for as long as it lives.
#[derive(Debug)]
pub(crate) struct Raw {
    before: Option<Termios>,
}

impl Raw {
    /// Hands every key to the container. Nothing happens when stdin is no terminal.
    pub(crate) fn enter() -> io::Result<Raw> {
        if !stdin_is() {
            return Ok(Raw { before: None });
        }
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Raw { before: Some(before) })
    }

    /// Leaves the terminal alone.
    pub(crate) fn none() -> Raw {
        Raw { before: None }
    }

    /// Back to how it was.
    pub(crate) fn leave(&mut self) {
        if let Some(before) = self.before.take()
            && tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before).is_err()
        {
            // The terminal went away; nothing to restore.
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What is typed is not shown for as long as it lives.
#[derive(Debug)]
pub(crate) struct Silent(Termios);

impl Silent {
    pub(crate) fn enter() -> io::Result<Silent> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &silent)?;
        Ok(Silent(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        if tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0).is_err() {
            // The terminal went away; nothing to restore.
        }
    }
}
