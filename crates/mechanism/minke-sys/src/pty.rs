//! Pseudo-terminals: a pair from some devpts instance, and the window size.
//!
//! The slave is opened through the master (`TIOCGPTPEER`), never by name, so a hostile devpts mount cannot put
//! another file in its place.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::Result;
use crate::raw;

/// Both ends of a pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    /// The end the supervisor reads and writes.
    pub master: OwnedFd,
    /// The end that becomes the program's terminal.
    pub slave: OwnedFd,
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Height in rows.
    pub rows: u16,
    /// Width in columns.
    pub cols: u16,
}

/// Opens a pair from the caller's own `/dev/ptmx`.
pub fn open_pair() -> Result<Pty> {
    pair_of(rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?)
}

/// Opens a pair from the `ptmx` node at `path` under `dir`. Free of allocation.
pub fn open_pair_at(dir: impl AsFd, path: &std::ffi::CStr) -> Result<Pty> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    pair_of(rustix::fs::openat(dir, path, flags, Mode::empty())?)
}

fn pair_of(master: OwnedFd) -> Result<Pty> {
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    Ok(Pty { master, slave })
}

/// Sets the window size of the terminal behind `fd` (either end).
pub fn set_size(fd: impl AsFd, size: Size) -> Result<()> {
    let winsize = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(fd, winsize)
}

/// Reads the window size of the terminal behind `fd`.
pub fn size(fd: impl AsFd) -> Result<Size> {
    let winsize = rustix::termios::tcgetwinsize(fd)?;
    Ok(Size { rows: winsize.ws_row, cols: winsize.ws_col })
}

/// Makes the terminal behind `fd` the controlling terminal of the calling session leader.
pub fn make_controlling(fd: impl AsFd) -> Result<()> {
    rustix::process::ioctl_tiocsctty(fd)
}

/// Clears ONLCR, for a relay whose other end is a terminal that translates line ends itself. Free of allocation.
pub fn clear_onlcr(fd: impl AsFd) -> Result<()> {
    let mut termios = rustix::termios::tcgetattr(fd.as_fd())?;
    termios.output_modes.remove(rustix::termios::OutputModes::ONLCR);
    rustix::termios::tcsetattr(fd, rustix::termios::OptionalActions::Now, &termios)
}

/// The number N of the slave's name `/dev/pts/N`.
pub fn number(master: impl AsFd) -> Result<u32> {
    use std::os::fd::AsRawFd;
    const TIOCGPTN: usize = 0x8004_5430;
    let mut number = 0u32;
    let fd = usize::try_from(master.as_fd().as_raw_fd()).map_err(|_negative| rustix::io::Errno::BADF)?;
    let args = [fd, TIOCGPTN, (&raw mut number).expose_provenance(), 0, 0, 0];
    // SAFETY: TIOCGPTN writes one u32 to the address given, which is `number`, alive and writable here.
    unsafe { raw::syscall(libc::SYS_ioctl, args) }?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_the_slave_is_read_from_the_master() {
        let pty = open_pair().unwrap();
        rustix::io::write(&pty.slave, b"hi").unwrap();
        let mut buf = [0; 8];
        let len = rustix::io::read(&pty.master, &mut buf).unwrap();
        assert_eq!(&buf[..len], b"hi");
    }

    #[test]
    fn the_size_set_on_one_end_shows_on_the_other() {
        let pty = open_pair().unwrap();
        set_size(&pty.master, Size { rows: 33, cols: 101 }).unwrap();
        assert_eq!(size(&pty.slave).unwrap(), Size { rows: 33, cols: 101 });
    }
}
