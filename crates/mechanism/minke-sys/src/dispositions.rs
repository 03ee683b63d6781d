//! What a signal does to this process when it has nothing better to do with it: nothing, or the default.

use crate::{Errno, Result};

/// Makes the process ignore these signals. Children inherit that; [`crate::signals::reset`] undoes it for a program.
pub fn ignore(signals: &[i32]) -> Result<()> {
    signals.iter().try_for_each(|signal| set(*signal, libc::SIG_IGN))
}

/// Gives these signals their default action back.
pub fn restore(signals: &[i32]) -> Result<()> {
    signals.iter().try_for_each(|signal| set(*signal, libc::SIG_DFL))
}

fn set(signal: i32, action: libc::sighandler_t) -> Result<()> {
    // SAFETY: the action is one of the two that run no code of ours.
    if unsafe { libc::signal(signal, action) } == libc::SIG_ERR {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_ignored_signal_shows_and_can_be_given_back() {
        super::ignore(&[libc::SIGUSR2]).unwrap();
        assert_eq!(crate::signals::ignored() >> (libc::SIGUSR2 - 1) & 1, 1);
        super::restore(&[libc::SIGUSR2]).unwrap();
        assert_eq!(crate::signals::ignored() >> (libc::SIGUSR2 - 1) & 1, 0);
        assert!(super::ignore(&[libc::SIGKILL]).is_err());
    }
}
