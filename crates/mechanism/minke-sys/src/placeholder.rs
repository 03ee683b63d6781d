//! A process that does nothing until it is dropped: for what cannot be without a process, such as a scope of systemd's.

use crate::{Result, pidfd, spawn};

/// The waiting process. It ends with its owner, whatever ends that.
#[derive(Debug)]
pub struct Placeholder {
    child: spawn::Child,
}

impl Placeholder {
    /// Forks it.
    pub fn new() -> Result<Self> {
        let parent = rustix::process::getpid();
        let mut wait = || {
            // Nobody else would end it when this process is killed.
            let tied = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            while tied.is_ok() && rustix::process::getppid() == Some(parent) {
                rustix::event::pause();
            }
            1
        };
        // SAFETY: the body makes system calls only; it neither allocates nor locks.
        let child = unsafe { spawn::fork(&spawn::Options::default(), &mut wait) }?;
        Ok(Self { child })
    }

    /// Its pid in the caller's pid namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        // Gone already is as good.
        pidfd::send_signal(&self.child.pidfd, libc::SIGKILL).ok();
        pidfd::wait(&self.child.pidfd).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lives_until_it_is_dropped() {
        let placeholder = Placeholder::new().unwrap();
        let path = format!("/proc/{}", placeholder.pid());
        assert!(std::path::Path::new(&path).exists());
        drop(placeholder);
        assert!(!std::path::Path::new(&path).exists());
    }
}
