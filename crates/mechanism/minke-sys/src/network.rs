//! The calls networking needs and rustix does not offer in safe form: a network namespace of the calling thread's own, that of a
//! socket, and netlink's socket options. Everything else of a netlink socket is rustix's.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::thread::UnshareFlags;

/// A netlink socket option that is either on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetlinkOption {
    /// Errors come with the kernel's own words.
    ExtendedAck,
    /// Errors do not repeat the request.
    CapAck,
    /// Dump requests are checked and their filters obeyed.
    StrictCheck,
}

/// Moves the calling thread, and only it, into a new network namespace.
///
/// Call it on a thread made for that: whatever else runs there afterwards sees the new namespace too.
///
/// # Errors
/// When the kernel refuses, for want of CAP_SYS_ADMIN or of namespaces.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: unshare_unsafe demands that no flag takes away something other code relies on across the process: CLONE_FILES would
    // (file descriptors). CLONE_NEWNET changes only which namespace this thread's later sockets and sysctls belong to.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

/// The network namespace that a socket belongs to, which it keeps wherever it is passed.
///
/// # Errors
/// When the kernel refuses, for want of CAP_NET_ADMIN there.
pub fn network_namespace_of(socket: impl AsFd) -> io::Result<OwnedFd> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: ioctl demands an open descriptor, held open by the borrow, and an argument of the request's kind; SIOCGSKNS takes none.
    let fd = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: from_raw_fd demands a descriptor that nobody else owns; the call above has just made it, for the caller.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Switches a netlink socket option.
///
/// # Errors
/// When the kernel does not know the option.
pub fn set_netlink_option(socket: impl AsFd, option: NetlinkOption, on: bool) -> io::Result<()> {
    let option = match option {
        NetlinkOption::ExtendedAck => libc::NETLINK_EXT_ACK,
        NetlinkOption::CapAck => libc::NETLINK_CAP_ACK,
        NetlinkOption::StrictCheck => libc::NETLINK_GET_STRICT_CHK,
    };
    let value = c_int::from(on);
    let size = libc::socklen_t::try_from(size_of::<c_int>()).map_err(io::Error::other)?;
    // SAFETY: setsockopt demands an open descriptor, held open by the borrow, and a value pointer readable for the given length,
    // which is a local c_int and its size.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const value).cast(),
            size,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
