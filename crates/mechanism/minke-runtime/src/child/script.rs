//! What the child is given to play, and what it leaves its parent: plain memory, made before it is born.

use std::os::fd::{BorrowedFd, OwnedFd};

use minke_sys::seccomp;
use minke_sys::spawn::SharedCell;

use super::Table;
use crate::steps::Step;

/// What the parent learns of a child's fate, through memory both share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// The step that failed, or `RUNNING`.
    pub(crate) step: u32,
    /// The error number.
    pub(crate) errno: i32,
    /// A detail whose meaning depends on the step: the exit code of a hook, the candidate that was tried.
    pub(crate) detail: i32,
    /// Bit n: limit n was cut; bit 31: the out-of-memory score could not be lowered.
    pub(crate) cut: u32,
}

/// No step has failed.
pub(crate) const RUNNING: u32 = u32::MAX;

/// The bit of [`Report::cut`] for the out-of-memory score.
pub(crate) const CUT_OOM: u32 = 1 << 31;

impl Report {
    pub(crate) const fn new() -> Self {
        Self { step: RUNNING, errno: 0, detail: 0, cut: 0 }
    }
}

/// The first byte of a message from child to parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Word {
    /// The child waits at this phase (the second byte).
    At = b'p',
    /// The master of the terminal is attached.
    Console = b'c',
    /// The mount namespace is attached.
    MountNamespace = b'm',
    /// The seccomp listener is attached.
    Listener = b's',
    /// The pidfd of the child of an intermediate process is attached; its pid follows.
    Born = b'b',
}

/// How the child learns that it may execute the program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gate<'a> {
    /// One byte on this socket; its end means never.
    Byte(BorrowedFd<'a>),
    /// A connection to this listening socket.
    Listener(BorrowedFd<'a>),
}

/// Everything the child works with.
pub(crate) struct Script<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) report: &'a SharedCell<Report>,
    /// The child's end of the socket to the parent.
    pub(crate) socket: BorrowedFd<'a>,
    /// The parent's ends of what they share.
    pub(crate) foreign: &'a [BorrowedFd<'a>],
    /// v1 cgroups: "0" is written to each.
    pub(crate) tasks: &'a [OwnedFd],
    /// Namespaces to join and their kinds, in order.
    pub(crate) joined: &'a [(BorrowedFd<'a>, u64)],
    /// A detached root mount.
    pub(crate) root: Option<BorrowedFd<'a>>,
    /// Bind mounts made by the parent.
    pub(crate) prepared: &'a [OwnedFd],
    /// 0, 1, 2; `None` when there is a terminal.
    pub(crate) stdio: Option<[BorrowedFd<'a>; 3]>,
    pub(crate) preserved: &'a [BorrowedFd<'a>],
    pub(crate) gate: Option<Gate<'a>>,
    pub(crate) filter: &'a [seccomp::Instruction],
    pub(crate) filter_flags: u32,
    /// Signals the parent ignores.
    pub(crate) ignored: u64,
    pub(crate) program: Table<'a>,
}
