//! What the proxy gives up: capabilities, and every system call that carrying bytes does not need. It opens no file and runs
//! nothing; what a stranger might make of it by a fault is a process that can talk to addresses, as he could himself.

use minke_sys::{
    Result, caps, dispositions, process,
    seccomp::{self, Instruction},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The system calls that are left.
const CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_splice,
    libc::SYS_pipe2,
    libc::SYS_connect,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    libc::SYS_futex,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0005_0001;
const KILL: u32 = 0x8000_0000;

/// Where the kernel puts a call's number, its architecture and its first argument (both of our machines are little-endian).
const AT_NUMBER: u32 = 0;
const AT_ARCHITECTURE: u32 = 4;
const AT_FIRST: u32 = 16;

fn instruction(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// Skips the next `when_not` instructions unless what was loaded is `k`.
fn unless(k: u32, when_not: u8) -> Instruction {
    Instruction { code: JUMP_EQUAL, jt: 0, jf: when_not, k }
}

/// The filter: the calls above, and sockets of the two internet families.
fn plan_filter() -> Vec<Instruction> {
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let mut filter = vec![
        instruction(LOAD, AT_ARCHITECTURE),
        Instruction { code: JUMP_EQUAL, jt: 1, jf: 0, k: ARCHITECTURE },
        instruction(RETURN, KILL),
        instruction(LOAD, AT_NUMBER),
    ];
    for call in CALLS {
        filter.extend([unless(number(*call), 1), instruction(RETURN, ALLOW)]);
    }
    filter.extend([unless(number(libc::SYS_socket), 5), instruction(LOAD, AT_FIRST)]);
    for family in [libc::AF_INET, libc::AF_INET6] {
        filter.extend([unless(u32::try_from(family).unwrap_or(0), 1), instruction(RETURN, ALLOW)]);
    }
    filter.push(instruction(RETURN, REFUSE));
    filter
}

/// As many descriptors as are allowed; gives the number.
pub(crate) fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    now.and_then(|now| usize::try_from(now).ok()).unwrap_or(usize::MAX)
}

/// Gives everything up.
pub(crate) fn confine() -> Result<()> {
    // An administrator may end it: the next connection starts another.
    dispositions::restore(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP])?;
    process::set_dumpable(false)?;
    caps::set(caps::ThreadCaps::default())?;
    process::set_parent_death_signal(Some(rustix::process::Signal::KILL))?;
    process::set_no_new_privs()?;
    seccomp::install(&plan_filter(), 0).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_lands_inside_the_filter() {
        let filter = plan_filter();
        assert!(filter.len() < 4096);
        for (index, instruction) in filter.iter().enumerate() {
            let furthest = index + 1 + usize::from(instruction.jt.max(instruction.jf));
            assert!(instruction.code == RETURN || furthest < filter.len(), "instruction {index}");
        }
        assert_eq!(filter.last().map(|last| (last.code, last.k)), Some((RETURN, REFUSE)));
    }
}
