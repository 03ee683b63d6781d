//! Scheduling of the calling thread: policy, nice value, CPU affinity, I/O priority.

use crate::{Result, raw};

/// The kernel's `struct sched_attr`, first 48 bytes (before utilisation clamping) plus the clamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct SchedAttr {
    /// Bytes of this structure; [`set_scheduler`] fills it in.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value for the normal policies.
    pub nice: i32,
    /// Static priority for the real-time policies.
    pub priority: u32,
    /// Deadline policy: nanoseconds of run time …
    pub runtime: u64,
    /// … before this deadline …
    pub deadline: u64,
    /// … in each period.
    pub period: u64,
}

/// Sets the scheduling policy and its parameters.
pub fn set_scheduler(mut attr: SchedAttr) -> Result<()> {
    attr.size = 48;
    let args = [0, (&raw const attr).expose_provenance(), 0, 0, 0, 0];
    // SAFETY: sched_setattr reads `size` bytes, all of them in `attr`.
    unsafe { raw::syscall(libc::SYS_sched_setattr, args) }.map(drop)
}

/// Sets the I/O priority: class 1 real-time, 2 best-effort, 3 idle; level 0 (first) to 7.
pub fn set_io_priority(class: u8, level: u8) -> Result<()> {
    const IOPRIO_WHO_PROCESS: usize = 1;
    let value = usize::from(class) << 13 | usize::from(level);
    // SAFETY: ioprio_set takes three numbers.
    unsafe { raw::syscall(libc::SYS_ioprio_set, [IOPRIO_WHO_PROCESS, 0, value, 0, 0, 0]) }.map(drop)
}

/// CPUs as a bit mask of up to 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuMask(pub [u64; 16]);

impl CpuMask {
    /// Reads a list such as `0-3,7`; `None` when it is malformed or names a CPU beyond 1023.
    #[must_use]
    pub fn parse(list: &str) -> Option<Self> {
        let mut mask = [0u64; 16];
        for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
            if first > last {
                return None;
            }
            for cpu in first..=last {
                *mask.get_mut(cpu / 64)? |= 1 << (cpu % 64);
            }
        }
        (mask != [0; 16]).then_some(Self(mask))
    }
}

/// Confines the calling thread to these CPUs.
pub fn set_affinity(mask: &CpuMask) -> Result<()> {
    let args = [0, size_of_val(&mask.0), mask.0.as_ptr().expose_provenance(), 0, 0, 0];
    // SAFETY: sched_setaffinity reads the number of bytes given from a live array.
    unsafe { raw::syscall(libc::SYS_sched_setaffinity, args) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(CpuMask::parse("0-2,5").unwrap().0[0], 0b10_0111);
        for bad in ["", "3-1", "x", "5000", "1-"] {
            assert_eq!(CpuMask::parse(bad), None, "{bad}");
        }
    }
}
