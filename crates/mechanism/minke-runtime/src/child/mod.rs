//! The child: plays the steps of a plan with nothing but system calls.
//!
//! It may be running on its parent's memory, so it does not allocate, lock, panic or touch libc's state; everything it needs
//! lies ready in [`Script`]. A failing step leaves its number and the error in the shared [`Report`] and ends the child.
//! What it learns for its parent (terminal, namespace, listener) goes through the socket.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use minke_sys::spawn::{self, SharedCell};
use minke_sys::{
    Errno, Result, caps, fds, keyring, limits, mount, ns, process, procfs, pty, scm, seccomp, signals,
};
use rustix::fs::{Mode, OFlags};

use crate::steps::{Phase, Step};

mod copy_up;
mod device;
mod hook;
mod loopback;
mod mounting;
mod program;

pub(crate) use program::Table;

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

    /// A forked child has copies of the parent's ends; while it holds them it would never see the parent go.
    fn close_foreign(&self) {
        for fd in self.foreign {
            // SAFETY: the number is this child's own copy, in a table of its own; nothing in the child uses it.
            #[expect(unsafe_code, reason = "closing by number what the parent owns by value")]
            unsafe {
                rustix::io::close(fd.as_raw_fd());
            }
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

    fn set_limit(&self, number: u32, limit: limits::Limit, lenient: bool) -> Result<()> {
        if !lenient {
            return limits::set(0, number, limit).map(drop);
        }
        if limits::set_as_far_as_allowed(number, limit)? {
            self.update(|report| report.cut |= 1 << (number & 15));
        }
        Ok(())
    }

    fn set_oom_score(&self, value: &[u8], lenient: bool) -> Result<()> {
        match self.write_proc(c"self/oom_score_adj", value) {
            Err(Errno::ACCESS | Errno::PERM) if lenient => {
                self.update(|report| report.cut |= CUT_OOM);
                Ok(())
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

    fn set_up_console(&self, size: Option<pty::Size>, node: bool) -> Result<()> {
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

    fn place_stdio(&self, own: Option<u32>) -> Result<()> {
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

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Root of the user namespace. The change of identity makes the process undumpable, and its `/proc` files the host's root's;
/// `traceable` undoes that, for a child that is alone in its pid namespace.
fn become_root(traceable: bool) -> Result<()> {
    match process::set_groups(&[]) {
        // A map made without privilege forbids it.
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    process::set_gid(0)?;
    process::set_uid(0)?;
    if traceable { process::set_dumpable(true) } else { Ok(()) }
}

fn join_keyring(name: &std::ffi::CStr) -> Result<()> {
    match keyring::join_session(name) {
        Ok(serial) => match keyring::allow_owner_search(serial) {
            Ok(()) | Err(Errno::ACCESS | Errno::NOKEY) => Ok(()),
            Err(errno) => Err(errno),
        },
        // A kernel without keyrings, and a container engine that forbids them to us.
        Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
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

fn drop_bounding(keep: caps::CapSet) -> Result<()> {
    for number in 0..63u8 {
        if keep.has(number) {
            continue;
        }
        match caps::bounding_drop(number) {
            Ok(()) => {}
            // Past the last capability the kernel knows.
            Err(Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn change_directory(path: &std::ffi::CStr, required: bool) -> Result<()> {
    match rustix::process::chdir(path) {
        Err(_) if !required => Ok(()),
        other => other,
    }
}

fn set_user(uid: u32, gid: u32, groups: Option<&[u32]>, keep: bool) -> Result<()> {
    if let Some(groups) = groups {
        match process::set_groups(groups) {
            // Where setgroups is denied an empty list is what there is already.
            Err(Errno::PERM) if groups.is_empty() => {}
            other => other?,
        }
    }
    if keep {
        process::set_keep_capabilities(true)?;
    }
    process::set_gid(gid)?;
    process::set_uid(uid)?;
    if keep { process::set_keep_capabilities(false) } else { Ok(()) }
}

fn set_caps(plan: &crate::steps::CapsStep) -> Result<()> {
    // A capability that the caller itself does not have cannot be given: it is left out, as runc does.
    let have = caps::get()?.permitted;
    let permitted = plan.permitted.and(have);
    caps::set(caps::ThreadCaps {
        effective: plan.effective.and(permitted),
        permitted,
        inheritable: plan.inheritable.and(have),
    })?;
    match caps::ambient_clear() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno),
    }
    let usable = permitted.and(plan.inheritable);
    plan.ambient.and(usable).numbers().try_for_each(caps::ambient_raise)
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
