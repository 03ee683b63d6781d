//! Seccomp profiles compiled to BPF as a search tree, and minke's own default profile.
//!
//! [`compile`] turns an OCI `linux.seccomp` into a [`Program`]: per architecture a tree over ranges of call numbers, because
//! attaching a linear filter costs half a millisecond. [`default_profile`] makes the profile of containers that ask for none.
//! Installing the program, the notification listener's socket and the caching of programs belong to the callers.

mod assemble;
pub mod default_profile;
mod plan;
mod table;

use libc::sock_filter;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};

pub use default_profile::{Kernel, default_profile};
pub use table::{Machine, names};

/// Why a profile cannot be compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SeccompError {
    #[error("seccomp errno {value} is out of range; the kernel carries at most {limit}")]
    Errno { value: u32, limit: u32 },
    #[error("seccomp rule for {name}: a system call has arguments 0 to 5, not {index}")]
    Argument { name: String, index: usize },
    #[error("SCMP_ACT_NOTIFY cannot be used as default action")]
    NotifyByDefault,
    #[error("SCMP_ACT_NOTIFY cannot be used for the write syscall")]
    NotifyOnWrite,
    #[error(
        "the seccomp profile needs {length} BPF instructions; the kernel takes at most {}",
        Program::LIMIT
    )]
    TooLong { length: usize },
}

/// A compiled filter, ready for seccomp(2).
#[derive(Debug, Clone)]
pub struct Program {
    pub instructions: Vec<sock_filter>,
    /// `SECCOMP_FILTER_FLAG_*`, without NEW_LISTENER.
    pub flags: u32,
    /// Some rule notifies: install with NEW_LISTENER and hand the descriptor to the profile's listener.
    pub notifies: bool,
}

impl Program {
    /// `BPF_MAXINSNS`.
    pub const LIMIT: usize = 4096;
}

const FLAG_TSYNC: u32 = 1;
const FLAG_LOG: u32 = 1 << 1;
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Compiles a profile for the machine this runs on.
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, SeccompError> {
    compile_for(profile, Machine::NATIVE)
}

/// Compiles a profile for a kernel of architecture `native`.
pub fn compile_for(profile: &LinuxSeccomp, native: Machine) -> Result<Program, SeccompError> {
    let plans = plan::plan_filter(profile, native)?;
    let instructions = assemble::assemble(&plans);
    if instructions.len() > Program::LIMIT {
        return Err(SeccompError::TooLong { length: instructions.len() });
    }
    let notify = oci_spec::runtime::LinuxSeccompAction::ScmpActNotify;
    let notifies = profile.syscalls().iter().flatten().any(|rule| rule.action() == notify);
    Ok(Program { instructions, flags: flags(profile), notifies })
}

/// A profile that says nothing of flags gets SPEC_ALLOW, as with runc: without it old kernels slow the whole process down
/// against speculative store bypass, which a container that is not itself a sandbox does not need.
fn flags(profile: &LinuxSeccomp) -> u32 {
    let Some(flags) = profile.flags() else { return FLAG_SPEC_ALLOW };
    flags.iter().fold(0, |bits, flag| {
        bits | match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => FLAG_TSYNC,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => FLAG_WAIT_KILLABLE_RECV,
        }
    })
}

#[cfg(test)]
mod tests;
