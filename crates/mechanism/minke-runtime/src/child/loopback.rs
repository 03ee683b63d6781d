//! The loopback device of a new network namespace, brought up by two ioctls.

use std::os::fd::AsRawFd;

use minke_sys::{Result, raw};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Brings `lo` up in the namespace of the caller.
pub(super) fn bring_up() -> Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: an ifreq is plain data for which all zeroes is a value.
    #[expect(unsafe_code, reason = "the kernel's structure has a union that std cannot fill")]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = byte.cast_signed();
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "interface flags of this size fit the ioctl's 16 bits"
    )]
    let up = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request.ifr_ifru.ifru_flags = up;
    let request_number = usize::try_from(libc::SIOCSIFFLAGS).unwrap_or_default();
    let args =
        [raw::arg(socket.as_raw_fd()), request_number, (&raw const request).expose_provenance(), 0, 0, 0];
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives until the call returns.
    #[expect(unsafe_code, reason = "no safe wrapper exists for this ioctl")]
    unsafe { raw::syscall(libc::SYS_ioctl, args) }.map(drop)
}
