//! What escape kits try, one attempt a line.

use std::ffi::CStr;
use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd as _;

/// Prints how an attempt went.
fn tell(name: &str, result: Result<(), i32>) {
    match result {
        Ok(()) => println!("{name}: ok"),
        Err(errno) => println!("{name}: errno {errno}"),
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A system call by its number.
fn call(name: &str, number: libc::c_long, args: &[usize]) {
    let arg = |at: usize| args.get(at).copied().unwrap_or(0);
    // In a child: an attempt that succeeds must not change what the next one finds.
    // SAFETY: the child makes one system call and leaves with _exit; nothing of this process is touched by it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: arguments are numbers or point to memory that lives as long as this program.
        let done = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
        let code = if done < 0 { errno().clamp(1, 250) } else { 0 };
        // SAFETY: ends this child and nothing else.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: status lives through the call.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    let result = match libc::WEXITSTATUS(status) {
        _ if !libc::WIFEXITED(status) => Err(1000 + libc::WTERMSIG(status)),
        0 => Ok(()),
        errno => Err(errno),
    };
    tell(name, result);
}

fn at(text: &'static CStr) -> usize {
    text.as_ptr().addr()
}

fn words(of: &'static [u32; 64]) -> usize {
    of.as_ptr().addr()
}

fn open_to_write(name: &str, path: &str) {
    let opened = OpenOptions::new().write(true).open(path);
    tell(name, opened.map(drop).map_err(|error| error.raw_os_error().unwrap_or(0)));
}

/// Reading counts when something comes.
fn read(name: &str, path: &str) {
    let text = fs::File::open(path).and_then(|mut file| {
        let mut one = [0u8; 1];
        std::io::Read::read(&mut file, &mut one)
    });
    let result = match text {
        Ok(0) => Err(libc::ENODATA),
        Ok(_) => Ok(()),
        Err(error) => Err(error.raw_os_error().unwrap_or(0)),
    };
    tell(name, result);
}

fn list(name: &str, path: &str) {
    let result = match fs::read_dir(path).map(Iterator::count) {
        Ok(0) => Err(libc::ENODATA),
        Ok(_) => Ok(()),
        Err(error) => Err(error.raw_os_error().unwrap_or(0)),
    };
    tell(name, result);
}

/// A node of one's own making, opened.
fn device(name: &str, kind: u32, major: u32, minor: u32) {
    let path = std::env::temp_dir().join("node");
    fs::remove_file(&path).ok();
    let made =
        std::ffi::CString::new(path.to_string_lossy().into_owned()).map_err(|_nul| 0).and_then(|text| {
            // SAFETY: the path is a C string that lives through the call.
            let done = unsafe { libc::mknod(text.as_ptr(), kind | 0o666, libc::makedev(major, minor)) };
            if done == 0 { Ok(()) } else { Err(errno()) }
        });
    let result = made.and_then(|()| {
        OpenOptions::new().read(true).open(&path).map(drop).map_err(|e| e.raw_os_error().unwrap_or(0))
    });
    fs::remove_file(&path).ok();
    tell(name, result);
}

/// The classic way out of a chroot: it must end at the container's own root.
fn chroot_break() {
    use std::os::unix::fs::MetadataExt as _;
    let own = fs::metadata("/").map(|root| (root.dev(), root.ino()));
    let result = (|| -> std::io::Result<bool> {
        let directory = std::env::temp_dir().join("jail");
        fs::create_dir_all(&directory)?;
        let above = fs::File::open("/")?;
        std::os::unix::fs::chroot(&directory)?;
        // SAFETY: fchdir takes a descriptor that is open.
        unsafe { libc::fchdir(above.as_raw_fd()) };
        for _ in 0..64 {
            std::env::set_current_dir("..")?;
        }
        std::os::unix::fs::chroot(".")?;
        let found = fs::metadata("/")?;
        Ok(own.is_ok_and(|own| own != (found.dev(), found.ino())))
    })();
    match result {
        Ok(true) => tell("leave a chroot for another root", Ok(())),
        Ok(false) => tell("leave a chroot for another root", Err(libc::EXDEV)),
        Err(error) => tell("leave a chroot for another root", Err(error.raw_os_error().unwrap_or(0))),
    }
}

pub(crate) fn all() {
    mounts();
    namespaces();
    kernel();
    memory_and_processes();
    sockets();
    files();
    devices();
    chroot_break();
}

fn mounts() {
    let tmpfs = at(c"tmpfs");
    call("mount tmpfs", libc::SYS_mount, &[tmpfs, at(c"/tmp"), tmpfs]);
    call("mount bind", libc::SYS_mount, &[at(c"/etc"), at(c"/tmp"), 0, 4096]);
    call("mount proc", libc::SYS_mount, &[at(c"proc"), at(c"/tmp"), at(c"proc")]);
    call("mount cgroup", libc::SYS_mount, &[at(c"cgroup"), at(c"/tmp"), at(c"cgroup"), 0, at(c"memory")]);
    call("remount /sys writable", libc::SYS_mount, &[0, at(c"/sys"), 0, 32 | 4096]);
    call("umount /proc/sys", libc::SYS_umount2, &[at(c"/proc/sys"), 2]);
    call("umount /proc/keys", libc::SYS_umount2, &[at(c"/proc/keys"), 2]);
    call("pivot_root", libc::SYS_pivot_root, &[at(c"/tmp"), at(c"/tmp")]);
    call("fsopen", libc::SYS_fsopen, &[tmpfs, 0]);
    call("open_tree clone", libc::SYS_open_tree, &[usize::MAX - 99, at(c"/"), 1]);
    call(
        "move_mount",
        libc::SYS_move_mount,
        &[usize::MAX - 99, at(c"/proc"), usize::MAX - 99, at(c"/tmp"), 0],
    );
    call("mount_setattr", libc::SYS_mount_setattr, &[usize::MAX - 99, at(c"/"), 0, 0, 0]);
    call("swapon", libc::SYS_swapon, &[at(c"/etc/passwd"), 0]);
    call("quotactl", libc::SYS_quotactl, &[0x0080_0002, at(c"/dev/vda"), 0, 0]);
    call("acct", libc::SYS_acct, &[at(c"/tmp")]);
}

fn namespaces() {
    call("unshare user", libc::SYS_unshare, &[0x1000_0000]);
    call("unshare mount", libc::SYS_unshare, &[0x0002_0000]);
    call("unshare net", libc::SYS_unshare, &[0x4000_0000]);
    call("unshare pid", libc::SYS_unshare, &[0x2000_0000]);
    call("clone user", libc::SYS_clone, &[0x1000_0000 | 17]);
    call("clone3", libc::SYS_clone3, &[0, 0]);
    let own = fs::File::open("/proc/self/ns/mnt");
    if let Ok(own) = own {
        call("setns mount", libc::SYS_setns, &[usize::try_from(own.as_raw_fd()).unwrap_or(0), 0]);
    }
    call("open_by_handle_at", libc::SYS_open_by_handle_at, &[0, words(&HANDLE), 0]);
    call("sethostname", libc::SYS_sethostname, &[at(c"x"), 1]);
    call("setdomainname", libc::SYS_setdomainname, &[at(c"x"), 1]);
}

fn kernel() {
    call("init_module", libc::SYS_init_module, &[at(c"x"), 1, at(c"")]);
    call("finit_module", libc::SYS_finit_module, &[0, at(c""), 0]);
    call("delete_module", libc::SYS_delete_module, &[at(c"nosuch"), 0]);
    call("kexec_load", libc::SYS_kexec_load, &[0, 0, 0, 0]);
    #[cfg(target_arch = "x86_64")]
    call("kexec_file_load", libc::SYS_kexec_file_load, &[0, 0, 0, at(c""), 0]);
    // A command that does not exist: were it let through, nothing would happen.
    call("reboot", libc::SYS_reboot, &[0xfee1_dead, 672_274_793, 0x7777_7777, 0]);
    call("syslog read", libc::SYS_syslog, &[3, at(c"                "), 0]);
    call("settimeofday", libc::SYS_settimeofday, &[0, words(&ZEROS)]);
    call(
        "clock_settime",
        libc::SYS_clock_settime,
        &[0, at(c"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")],
    );
    call("clock_adjtime set", libc::SYS_clock_adjtime, &[0, words(&ADJUST)]);
    call("bpf map", libc::SYS_bpf, &[0, words(&MAP), 72]);
    call("bpf program", libc::SYS_bpf, &[5, words(&MAP), 72]);
    call("perf_event_open", libc::SYS_perf_event_open, &[words(&EVENT), 0, usize::MAX, usize::MAX, 0]);
    call("userfaultfd", libc::SYS_userfaultfd, &[0]);
    call("io_uring_setup", libc::SYS_io_uring_setup, &[4, words(&ADJUST)]);
    call("keyctl", libc::SYS_keyctl, &[0, usize::MAX - 2, 0]);
    call("add_key", libc::SYS_add_key, &[at(c"user"), at(c"k"), at(c"v"), 1, usize::MAX - 2]);
    call("request_key", libc::SYS_request_key, &[at(c"user"), at(c"k"), 0, 0]);
    call("fanotify_init", libc::SYS_fanotify_init, &[0, 0]);
    call("lookup_dcookie", libc::SYS_lookup_dcookie, &[0, 0, 0]);
    #[cfg(target_arch = "x86_64")]
    {
        call("iopl", libc::SYS_iopl, &[3]);
        call("ioperm", libc::SYS_ioperm, &[0x80, 1, 1]);
        call("modify_ldt", libc::SYS_modify_ldt, &[0, 0, 0]);
        call("uselib", libc::SYS_uselib, &[at(c"/bin/sh")]);
        call("ustat", libc::SYS_ustat, &[0, 0]);
        call("sysfs", libc::SYS_sysfs, &[3]);
        call("_sysctl", libc::SYS__sysctl, &[0]);
    }
    call("vhangup", libc::SYS_vhangup, &[]);
    call("personality of another system", libc::SYS_personality, &[0x0004_0000 | 3]);
}

const fn begins<const N: usize>(front: [u32; N]) -> [u32; 64] {
    let mut all = [0; 64];
    let mut index = 0;
    while index < N {
        all[index] = front[index];
        index += 1;
    }
    all
}

static ZEROS: [u32; 64] = [0; 64];
/// A handle of the file system's root.
static HANDLE: [u32; 64] = begins([8, 1, 2]);
/// An offset to set; also a real-time priority of 1.
static ADJUST: [u32; 64] = begins([1]);
/// An array map of one entry.
static MAP: [u32; 64] = begins([2, 4, 4, 1]);
/// A software event, 112 bytes long.
static EVENT: [u32; 64] = begins([1, 112]);
/// More open files than the kernel lets anybody without the right have.
static LIMIT: [u32; 64] = begins([0x0100_0000, 0, 0x0100_0000, 0]);
static CAP_HEADER: [u32; 64] = begins([0x2008_0522, 0]);
static CAP_ALL: [u32; 64] = begins([u32::MAX, u32::MAX, 0, 0x1ff, 0x1ff, 0]);

fn memory_and_processes() {
    call("process_vm_readv", libc::SYS_process_vm_readv, &[1, 0, 0, 0, 0, 0]);
    call("kcmp", libc::SYS_kcmp, &[1, 1, 0, 0, 0]);
    call("ptrace of nobody's process", libc::SYS_ptrace, &[16, 0x003f_fff0, 0, 0]);
    call("pidfd_getfd", libc::SYS_pidfd_getfd, &[0, 0, 0]);
    call("mbind", libc::SYS_mbind, &[0, 0, 0, 0, 0, 0]);
    call("set_mempolicy", libc::SYS_set_mempolicy, &[0, 0, 0]);
    call("move_pages", libc::SYS_move_pages, &[0, 0, 0, 0, 0, 0]);
    call("nice down", libc::SYS_setpriority, &[0, 0, usize::MAX - 19]);
    call("real-time scheduling", libc::SYS_sched_setscheduler, &[0, 1, words(&ADJUST)]);
    call("raise a limit", libc::SYS_prlimit64, &[0, 7, words(&LIMIT), 0]);
    call("take all capabilities", libc::SYS_capset, &[words(&CAP_HEADER), words(&CAP_ALL)]);
}

fn sockets() {
    call("raw ICMP socket", libc::SYS_socket, &[2, 3, 1]);
    call("packet socket", libc::SYS_socket, &[17, 3, 0x0300]);
    call("vsock socket", libc::SYS_socket, &[40, 1, 0]);
    call("crypto socket", libc::SYS_socket, &[38, 5, 0]);
    call("audit socket", libc::SYS_socket, &[16, 3, 9]);
    call("bluetooth socket", libc::SYS_socket, &[31, 3, 1]);
}

fn files() {
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/self/exe",
        "/proc/1/oom_score_adj",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
        "/sys/module/kernel/parameters/panic",
        "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/devices/devices.allow",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/memory/cgroup.procs",
    ] {
        open_to_write(&format!("write {path}"), path);
    }
    for path in [
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/sched_debug",
        "/proc/interrupts",
        "/proc/kmsg",
        "/proc/kallsyms",
        "/proc/slabinfo",
        "/proc/kpagecount",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/vda",
        "/dev/fuse",
    ] {
        read(&format!("read {path}"), path);
    }
    for path in [
        "/proc/acpi",
        "/proc/scsi",
        "/proc/asound",
        "/sys/firmware",
        "/sys/kernel/debug",
        "/sys/devices/virtual/powercap",
    ] {
        list(&format!("list {path}"), path);
    }
    let made = fs::create_dir("/sys/fs/cgroup/memory/mine").or_else(|error| {
        if error.raw_os_error() == Some(libc::ENOENT) {
            fs::create_dir("/sys/fs/cgroup/mine")
        } else {
            Err(error)
        }
    });
    tell("make a cgroup", made.map_err(|error| error.raw_os_error().unwrap_or(0)));
}

fn devices() {
    let (block, character) = (libc::S_IFBLK, libc::S_IFCHR);
    device("device: disk 254:0", block, 254, 0);
    device("device: disk 8:0", block, 8, 0);
    device("device: loop 7:0", block, 7, 0);
    device("device: mem 1:1", character, 1, 1);
    device("device: port 1:4", character, 1, 4);
    device("device: kmsg 1:11", character, 1, 11);
    device("device: console 4:0", character, 4, 0);
    device("device: fuse 10:229", character, 10, 229);
    device("device: kvm 10:232", character, 10, 232);
    device("device: loop-control 10:237", character, 10, 237);
    device("device: null 1:3", character, 1, 3);
}
