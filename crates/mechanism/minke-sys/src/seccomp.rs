//! Installing a seccomp filter in the calling thread.

use std::os::fd::{FromRawFd, OwnedFd};

use crate::{Errno, Result, raw};

/// One instruction of classic BPF, as the kernel reads it.
pub type Instruction = libc::sock_filter;

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the call answers a descriptor for user notifications.
pub const NEW_LISTENER: u32 = 1 << 3;

const SECCOMP_SET_MODE_FILTER: usize = 1;

/// Installs `program`. With [`NEW_LISTENER`] in `flags` the listener's descriptor is answered.
///
/// Needs `no_new_privs` or CAP_SYS_ADMIN in the user namespace. Free of allocation.
pub fn install(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>> {
    let len = u16::try_from(program.len()).map_err(|_long| Errno::TOOBIG)?;
    let header = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let args = [SECCOMP_SET_MODE_FILTER, flags as usize, (&raw const header).expose_provenance(), 0, 0, 0];
    // SAFETY: the kernel reads the header and `len` instructions; both live until the call returns, and it does not
    // write to them.
    let answer = unsafe { raw::syscall(libc::SYS_seccomp, args) }?;
    if flags & NEW_LISTENER == 0 {
        return Ok(None);
    }
    let fd = i32::try_from(answer).map_err(|_wide| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}
