//! The descriptors a program starts with: pipes or a terminal on 0, 1, 2, preserved ones behind, everything else closed.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use minke_sys::{Errno, Result, fds, mount, pty, scm};
use rustix::fs::{Mode, OFlags};

use super::script::Word;
use super::{Lent, Player};

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

impl Player<'_> {
    /// A forked child has copies of the parent's ends; while it holds them it would never see the parent go.
    pub(super) fn close_foreign(&self) {
        for fd in self.foreign {
            // SAFETY: the number is this child's own copy, in a table of its own; nothing in the child uses it.
            #[expect(unsafe_code, reason = "closing by number what the parent owns by value")]
            unsafe {
                rustix::io::close(fd.as_raw_fd());
            }
        }
    }

    pub(super) fn set_up_console(&self, size: Option<pty::Size>, node: bool) -> Result<()> {
        let root = self.root_dir()?;
        let root = root.get()?;
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        let pts = minke_sys::beneath::open_in_root(root, c"dev/pts", directory, Mode::empty())?;
        mount::require_file_system(&pts, DEVPTS_SUPER_MAGIC)?;
        let pair = pty::open_pair_at(&pts, c"ptmx")?;
        if let Some(size) = size {
            pty::set_size(&pair.slave, size)?;
        }
        if node {
            self.bind_console(root, pair.slave.as_fd())?;
        }
        scm::send(self.socket, &[Word::Console as u8], &[pair.master.as_fd()])?;
        pty::make_controlling(&pair.slave)?;
        self.hands.terminal.set(Some(pair.slave));
        Ok(())
    }

    pub(super) fn place_stdio(&self, own: Option<u32>) -> Result<()> {
        let terminal = Lent::of(&self.hands.terminal);
        let stdio = match (&self.stdio, terminal.get()) {
            (Some(stdio), _) => *stdio,
            (None, Ok(slave)) => [slave; 3],
            (None, Err(errno)) => return Err(errno),
        };
        if let Some(uid) = own {
            stdio.iter().try_for_each(|fd| give_away(*fd, uid))?;
        }
        self.arrange(stdio)
    }

    /// Puts descriptors where the program expects them. What the child still needs is moved out of the way first, so
    /// that no number is overwritten before it has been copied.
    fn arrange(&self, stdio: [BorrowedFd<'_>; 3]) -> Result<()> {
        let count = i32::try_from(self.preserved.len()).map_err(|_many| Errno::MFILE)?;
        let above = 3 + count;
        let collides =
            stdio.iter().zip(0..).any(|(fd, number)| fd.as_raw_fd() < above && fd.as_raw_fd() != number)
                || !self.preserved.is_empty();
        if !collides {
            for (fd, number) in stdio.into_iter().zip(0..) {
                // SAFETY: 0, 1 and 2 are the child's own copies; whoever owned them in the parent still does there.
                #[expect(unsafe_code, reason = "descriptor numbers are placed for an exec")]
                unsafe { fds::place(fd, number) }?;
            }
            return fds::cloexec_from(3);
        }
        self.arrange_colliding(stdio, above)
    }

    fn arrange_colliding(&self, stdio: [BorrowedFd<'_>; 3], above: i32) -> Result<()> {
        // One at a time, highest target last: copies are made above every target number, then put in place.
        let mut copies: [Option<OwnedFd>; 3] = [None, None, None];
        for (copy, fd) in copies.iter_mut().zip(stdio) {
            *copy = Some(rustix::io::fcntl_dupfd_cloexec(fd, above)?);
        }
        self.place_preserved(above)?;
        for (copy, number) in copies.iter().flatten().zip(0..) {
            // SAFETY: as above, these numbers are the child's own.
            #[expect(unsafe_code, reason = "descriptor numbers are placed for an exec")]
            unsafe { fds::place(copy, number) }?;
        }
        fds::cloexec_from(u32::try_from(above).map_err(|_negative| Errno::MFILE)?)
    }

    /// The launcher hands over preserved descriptors, the socket and the gate numbered above all targets (see
    /// `launch::lift`), so placing them cannot overwrite one another.
    fn place_preserved(&self, above: i32) -> Result<()> {
        debug_assert!(self.preserved.iter().all(|fd| fd.as_raw_fd() >= above));
        for (fd, number) in self.preserved.iter().zip(3..) {
            // SAFETY: numbers below `above` are not in use by the child for anything else, see this function's comment.
            #[expect(unsafe_code, reason = "descriptor numbers are placed for an exec")]
            unsafe { fds::place(fd, number) }?;
        }
        Ok(())
    }
}

/// A pipe or terminal made by root would not open through `/dev/stdout` for another user.
fn give_away(fd: BorrowedFd<'_>, uid: u32) -> Result<()> {
    let stat = rustix::fs::fstat(fd)?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    let is_null = kind.is_char_device() && stat.st_rdev == rustix::fs::makedev(1, 3);
    if stat.st_uid == uid || is_null || kind.is_file() || kind.is_dir() {
        return Ok(());
    }
    match rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None) {
        // A user id that is not mapped, a read-only file system, a socket of someone else's: not worth failing for.
        Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::OPNOTSUPP | Errno::OVERFLOW) => Ok(()),
        Err(errno) => Err(errno),
    }
}
