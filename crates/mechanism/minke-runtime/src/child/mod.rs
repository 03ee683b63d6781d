//! The child: plays the steps of a plan with nothing but system calls.
//!
//! It may be running on its parent's memory, so it does not allocate, lock, panic or touch libc's state; everything it needs
//! lies ready in [`Script`]. A failing step leaves its number and the error in the shared [`Report`] and ends the child.
//! What it learns for its parent (terminal, namespace, listener) goes through the socket.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use minke_sys::spawn;
use minke_sys::{Errno, Result, fds, mount, ns, process, procfs, scm, seccomp, signals};
use rustix::fs::{Mode, OFlags};

use crate::steps::{Phase, Step};

mod copy_up;
mod device;
mod hook;
mod loopback;
mod mounting;
mod privilege;
mod program;
mod script;
mod stdio;

use privilege::{become_root, drop_bounding, join_keyring, set_caps, set_user};
pub(crate) use program::Table;
pub(crate) use script::{CUT_OOM, Gate, RUNNING, Report, Script, Word};

/// The child at work. It lives on the child's own stack: what it opens must never be dropped, hence closed, by the parent.
struct Player<'a> {
    script: &'a Script<'a>,
    hands: Hands,
}

impl<'a> std::ops::Deref for Player<'a> {
    type Target = Script<'a>;

    fn deref(&self) -> &Script<'a> {
        self.script
    }
}

impl Script<'_> {
    /// Plays all steps; for the child only. Comes back with the exit code of a failure.
    pub(crate) fn play(&self) -> i32 {
        // Never dropped: the process ends, and its descriptors with it.
        let player = ManuallyDrop::new(Player { script: self, hands: Hands::default() });
        player.close_foreign();
        player.play()
    }
}

/// Descriptors the child holds between steps.
#[derive(Default)]
struct Hands {
    /// The root directory: before the pivot the attached mount, afterwards `/`.
    root: Cell<Option<OwnedFd>>,
    /// The host's procfs, verified, opened before it goes out of sight.
    proc: Cell<Option<OwnedFd>>,
    /// What hides files.
    null: mounting::Cover,
    /// What hides directories.
    empty: mounting::Cover,
    /// The slave of the terminal.
    terminal: Cell<Option<OwnedFd>>,
    /// The directory the last node or link was made in.
    parent: Cell<Option<OwnedFd>>,
    /// Its path; empty when it is too long to be kept.
    parent_path: Cell<ShortPath>,
    /// Which candidate is the program.
    chosen: Cell<usize>,
}

/// A path of up to 63 bytes, in place.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ShortPath {
    bytes: [u8; 63],
    len: u8,
}

impl ShortPath {
    const EMPTY: Self = Self { bytes: [0; 63], len: 0 };

    fn of(path: &[u8]) -> Self {
        let mut short = Self::EMPTY;
        let (Some(front), Ok(len)) = (short.bytes.get_mut(..path.len()), u8::try_from(path.len())) else {
            return Self::EMPTY;
        };
        front.copy_from_slice(path);
        short.len = len;
        short
    }
}

impl Default for ShortPath {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// A descriptor lent from a cell and put back when dropped.
struct Lent<'a> {
    cell: &'a Cell<Option<OwnedFd>>,
    fd: Option<OwnedFd>,
}

impl<'a> Lent<'a> {
    fn of(cell: &'a Cell<Option<OwnedFd>>) -> Self {
        Self { cell, fd: cell.take() }
    }

    fn get(&self) -> Result<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.cell.set(self.fd.take());
    }
}

impl Player<'_> {
    fn play(&self) -> i32 {
        for (number, step) in self.steps.iter().enumerate() {
            if let Err(errno) = self.perform(step) {
                self.update(|report| {
                    report.errno = errno.raw_os_error();
                    report.step = u32::try_from(number).unwrap_or(0);
                });
                return 1;
            }
        }
        1
    }

    fn update(&self, change: impl FnOnce(&mut Report)) {
        let mut report = self.report.get();
        change(&mut report);
        self.report.set(report);
    }

    fn perform(&self, step: &Step) -> Result<()> {
        match step {
            Step::AwaitParent(phase) => self.await_parent(*phase),
            Step::JoinCgroup => self.join_cgroup(),
            Step::JoinNamespaces => self.joined.iter().try_for_each(|(fd, kind)| ns::join(fd, *kind)),
            Step::BecomeRoot { traceable } => become_root(*traceable),
            Step::Unshare { kinds, .. } => ns::unshare(*kinds),
            Step::TimeOffsets(text) => {
                let proc = procfs::open()?;
                procfs::write(&proc, c"self/timens_offsets", text.to_bytes())?;
                // Only since Linux 6.3 does executing a program enter the namespace that children would be in.
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let namespace =
                    rustix::fs::openat(&proc, c"self/ns/time_for_children", flags, Mode::empty())?;
                ns::join(&namespace, minke_sys::spawn::flags::NEWTIME)
            }
            Step::NewSession => rustix::process::setsid().map(drop),
            Step::Keyring(name) => join_keyring(name),
            Step::Loopback => loopback::bring_up(),
            Step::HostPropagation(propagation, depth) => mount::set_propagation(c"/", *propagation, *depth),
            Step::RootFromPath { path } => self.root_from_path(path),
            Step::RootFromMount => self.root_from_mount(),
            Step::RootParentPrivate => self.root_parent_private(),
            Step::Mount(step) => self.mount(step),
            Step::MakeDirectory { path, mode } => self.make_directory(path, *mode),
            Step::Device(step) => self.make_device(step),
            Step::Symlink { path, to, replace } => self.make_symlink(path, to, *replace),
            Step::Hook(step) => self.run_hook(step),
            Step::Pivot { old_is_shared } => self.pivot(*old_is_shared),
            Step::MoveRoot => self.move_root(),
            Step::ChangeRoot => self.change_root(),
            Step::Console { size, node } => self.set_up_console(*size, *node),
            Step::ExportMountNamespace => self.export_mount_namespace(),
            Step::RootPropagation(propagation, depth) => mount::set_propagation(c"/", *propagation, *depth),
            Step::MakeReadOnly { path } => self.make_read_only(path),
            Step::RootReadOnly => mounting::set_read_only(self.root_dir()?.get()?),
            Step::Hostname(name) => process::set_hostname(name.to_bytes()),
            Step::Domainname(name) => process::set_domainname(name.to_bytes()),
            Step::Sysctl { path, value, .. } => self.write_proc(path, value.to_bytes()),
            Step::ReadOnlyPath(path) => self.protect(path),
            Step::MaskPath(path) => self.mask(path),
            Step::Rlimit { number, limit, lenient, .. } => self.set_limit(*number, *limit, *lenient),
            Step::OomScoreAdj { value, lenient } => self.set_oom_score(value.to_bytes(), *lenient),
            Step::Umask(mask) => {
                rustix::process::umask(Mode::from_raw_mode(*mask));
                Ok(())
            }
            Step::NoNewPrivs => process::set_no_new_privs(),
            Step::Scheduler(attr) => minke_sys::sched::set_scheduler(*attr),
            Step::IoPriority { class, level } => minke_sys::sched::set_io_priority(*class, *level),
            Step::Affinity(mask) => minke_sys::sched::set_affinity(mask),
            Step::Personality(persona) => process::set_personality(*persona),
            Step::ExecLabel { path, label } => self.write_label(path, label.to_bytes()),
            Step::Seccomp => self.install_filter(),
            Step::DropBounding(keep) => drop_bounding(*keep),
            Step::Stdio { own } => self.place_stdio(*own),
            Step::ChangeDirectory { path, required } => change_directory(path, *required),
            Step::SetUser { uid, gid, groups, set_groups, keep } => {
                set_user(*uid, *gid, if *set_groups { Some(groups) } else { None }, *keep)
            }
            Step::SetCaps(caps) => set_caps(caps),
            Step::FindProgram => self.find_program(),
            Step::AwaitStart => self.await_start(),
            Step::VerifyDirectory => verify_directory(),
            Step::Execute => self.execute(),
        }
    }

    fn await_parent(&self, phase: Phase) -> Result<()> {
        scm::send(self.socket, &[Word::At as u8, phase as u8], &[])?;
        let mut answer = [0u8; 1];
        match rustix::io::retry_on_intr(|| rustix::io::read(self.socket, &mut answer))? {
            1 => Ok(()),
            // The parent has given up; it knows why.
            _ => Err(Errno::CANCELED),
        }
    }

    /// Waits at the gate, holding nothing but the gate: whoever made this process may end meanwhile, and a container that
    /// is never started must not keep files of the host open.
    fn await_start(&self) -> Result<()> {
        let Some(gate) = self.gate else { return Ok(()) };
        let (Gate::Byte(fd) | Gate::Listener(fd)) = gate;
        let first = 3 + u32::try_from(self.preserved.len()).map_err(|_many| Errno::MFILE)?;
        let kept = fd.as_raw_fd().cast_unsigned();
        if kept > first {
            // SAFETY: nothing above the placed descriptors is used after this step but the gate; see `plan::plan_end` for
            // what follows, and `Script::play` for why nothing closes them a second time.
            #[expect(unsafe_code, reason = "closing by number what is owned by value elsewhere")]
            unsafe { fds::close_between(first, kept - 1) }?;
        }
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "closing by number what is owned by value elsewhere")]
        unsafe { fds::close_from(kept.max(first.saturating_sub(1)) + 1) }?;
        match gate {
            Gate::Byte(socket) => {
                let mut answer = [0u8; 1];
                match rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut answer))? {
                    1 => Ok(()),
                    _ => Err(Errno::CANCELED),
                }
            }
            Gate::Listener(socket) => {
                let flags = rustix::net::SocketFlags::CLOEXEC;
                rustix::io::retry_on_intr(|| rustix::net::accept_with(socket, flags)).map(drop)
            }
        }
    }

    fn join_cgroup(&self) -> Result<()> {
        // "0" is the writer itself. Writing to `tasks` moves one thread without the lock that cgroup.procs takes; this
        // process has one thread.
        self.tasks.iter().try_for_each(|tasks| rustix::io::write(tasks, b"0").map(drop))
    }

    /// The host's procfs, or a detached one of the container's pid namespace when that is gone or not what it should be.
    fn proc(&self) -> Result<Lent<'_>> {
        let mut lent = Lent::of(&self.hands.proc);
        if lent.fd.is_none() {
            lent.fd = Some(procfs::open().or_else(|_hidden| procfs::detached())?);
        }
        Ok(lent)
    }

    fn write_proc(&self, path: &std::ffi::CStr, bytes: &[u8]) -> Result<()> {
        procfs::write(self.proc()?.get()?, path, bytes)
    }

    fn write_label(&self, path: &std::ffi::CStr, label: &[u8]) -> Result<()> {
        match self.write_proc(path, label) {
            // Before Linux 5.8 AppArmor has no directory of its own.
            Err(Errno::NOENT) if path.to_bytes().ends_with(b"apparmor/exec") => {
                self.write_proc(c"thread-self/attr/exec", label)
            }
            other => other,
        }
    }

    fn install_filter(&self) -> Result<()> {
        let listener = seccomp::install(self.filter, self.filter_flags)?;
        if let Some(listener) = listener {
            scm::send(self.socket, &[Word::Listener as u8], &[listener.as_fd()])?;
        }
        Ok(())
    }

    fn export_mount_namespace(&self) -> Result<()> {
        let own = rustix::process::getpid();
        let pidfd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty())?;
        let namespace = match minke_sys::pidfd::mount_namespace(&pidfd) {
            Ok(namespace) => namespace,
            // Before Linux 6.11.
            Err(_) => {
                let proc = self.proc()?;
                // The link is magic, and of a procfs that has been verified.
                rustix::fs::openat(
                    proc.get()?,
                    c"thread-self/ns/mnt",
                    OFlags::RDONLY | OFlags::CLOEXEC,
                    Mode::empty(),
                )?
            }
        };
        scm::send(self.socket, &[Word::MountNamespace as u8], &[namespace.as_fd()]).map(drop)
    }

    fn find_program(&self) -> Result<()> {
        match self.program.find() {
            Ok(index) => {
                self.hands.chosen.set(index);
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    fn execute(&self) -> Result<()> {
        signals::reset(self.ignored)?;
        let errno = self.program.execute(self.hands.chosen.get());
        // From here on the container counts as started: its stderr is told, as Docker has it, and 255 is its code.
        self.program.complain(self.hands.chosen.get(), errno);
        spawn::exit_now(255)
    }
}

fn change_directory(path: &std::ffi::CStr, required: bool) -> Result<()> {
    match rustix::process::chdir(path) {
        Err(_) if !required => Ok(()),
        other => other,
    }
}

/// The directory the program starts in must lie below the root: a descriptor of a host directory that leaked into the
/// set-up could otherwise serve as a way out (CVE-2024-21626).
fn verify_directory() -> Result<()> {
    let mut space = [0u8; libc::PATH_MAX as usize];
    let args = [space.as_mut_ptr().expose_provenance(), space.len(), 0, 0, 0, 0];
    // SAFETY: getcwd writes at most the length given into a live buffer.
    #[expect(unsafe_code, reason = "rustix's getcwd allocates, which this child may not")]
    let len = unsafe { minke_sys::raw::syscall(libc::SYS_getcwd, args) }?;
    // The kernel writes "(unreachable)…" for a directory outside of the root.
    if len > 1 && space.first() == Some(&b'/') { Ok(()) } else { Err(Errno::XDEV) }
}
