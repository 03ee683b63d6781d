//! Compressing a log file in a process of its own, while the keeper goes on.

use std::{
    cell::{Cell, RefCell},
    os::fd::OwnedFd,
    rc::Rc,
};

use minke_logs::{Background, Job};
use minke_sys::{forked, pidfd};

use crate::best_effort;

/// The process that compresses, if one runs; shared by the log's writer and the keeper's loop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Compressor {
    running: Rc<RefCell<Option<OwnedFd>>>,
    pid: Rc<Cell<i32>>,
}

impl Compressor {
    /// A descriptor that becomes readable when the process has ended.
    pub(crate) fn descriptor(&self) -> Option<OwnedFd> {
        self.running.borrow().as_ref().and_then(|pidfd| pidfd.try_clone().ok())
    }

    /// Whether this is the process, or was the last one.
    pub(crate) fn is(&self, pid: i32) -> bool {
        self.pid.get() == pid
    }

    /// Reaps the process if it has ended.
    pub(crate) fn reap(&self) {
        let mut running = self.running.borrow_mut();
        if running.as_ref().is_some_and(|process| !matches!(pidfd::try_wait(process), Ok(None))) {
            *running = None;
        }
    }
}

impl Background for Compressor {
    fn start(&mut self, job: Job) {
        // A file that cannot be compressed now is readable as it is.
        let Ok(pid) = forked::run(move || i32::from(job.run().is_err())) else { return };
        self.pid.set(i32::try_from(pid).unwrap_or(0));
        *self.running.borrow_mut() = pidfd::open(pid).ok();
    }

    fn finish(&mut self) {
        if let Some(process) = self.running.borrow_mut().take() {
            best_effort(pidfd::wait(&process));
        }
    }
}
