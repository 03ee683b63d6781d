//! Protecting this program's file from the containers it enters (the CVE-2019-5736 class).
//!
//! A process inside a container that gets hold of `/proc/PID/exe` of a helper of ours can keep it open and write to the
//! file later. So whatever enters a container runs from an image that cannot be written: a sealed copy in memory, or the
//! same file seen through a read-only mount that belongs to no namespace. The second needs no memory; the first needs
//! no privilege to mount.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};

use crate::{Errno, Result, mount, spawn};

/// How the image is to be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A read-only mount of the file, in no namespace.
    ReadOnlyMount,
    /// A sealed copy in memory.
    SealedCopy,
}

/// A handle of this program's own file that no one can write through; execute it with [`execute`].
pub fn protected_image(method: Method) -> io::Result<OwnedFd> {
    match method {
        Method::ReadOnlyMount => Ok(read_only_image()?),
        Method::SealedCopy => sealed_copy(&std::fs::File::open("/proc/self/exe")?, "minke"),
    }
}

fn read_only_image() -> Result<OwnedFd> {
    let clone = mount::clone_tree(CWD, c"/proc/self/exe", mount::Depth::One)?;
    mount::set_attributes(
        &clone,
        mount::AttrChange::setting(mount::Attrs::MOUNT_ATTR_RDONLY),
        mount::Depth::One,
    )?;
    Ok(clone)
}

/// A copy of `source` in memory that can neither be changed nor resized, nor have its seals removed.
pub fn sealed_copy(mut source: impl Read, name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC)
        .or_else(|_before_6_3| rustix::fs::memfd_create(name, flags))?;
    let mut file = std::fs::File::from(memfd);
    io::copy(&mut source, &mut file)?;
    file.flush()?;
    let memfd = OwnedFd::from(file);
    rustix::fs::fcntl_add_seals(
        &memfd,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(memfd)
}

/// Whether the image this process runs from is protected in either way.
#[must_use]
pub fn is_protected() -> bool {
    let Ok(exe) = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
        return false;
    };
    is_sealed(&exe) || is_read_only(&exe)
}

fn is_sealed(fd: impl AsFd) -> bool {
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(all))
}

fn is_read_only(fd: impl AsFd) -> bool {
    rustix::fs::fstatvfs(fd).is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Starts this program over from a protected image, with the same arguments and environment. Returns `Ok` when it
/// runs from one already; otherwise does not return unless both ways fail.
///
/// Call it first thing, with one thread. It tries the read-only mount, then the copy.
pub fn ensure_protected() -> io::Result<()> {
    if is_protected() {
        return Ok(());
    }
    let image =
        protected_image(Method::ReadOnlyMount).or_else(|_no_mount| protected_image(Method::SealedCopy))?;
    let arguments: Vec<_> = std::env::args_os().collect();
    let environment: Vec<_> = std::env::vars_os()
        .map(|(key, value)| {
            let mut entry = key;
            entry.push("=");
            entry.push(value);
            entry
        })
        .collect();
    Err(execute(&image, arguments, environment))
}

/// Executes the image behind `fd` in place of this process. Returns only on failure.
pub fn execute(
    fd: impl AsFd,
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    environment: impl IntoIterator<Item = std::ffi::OsString>,
) -> io::Error {
    let to_c = |text: std::ffi::OsString| CString::new(text.into_vec()).unwrap_or_default();
    let arguments: Vec<CString> = arguments.into_iter().map(to_c).collect();
    let environment: Vec<CString> = environment.into_iter().map(to_c).collect();
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    // SAFETY: both vectors end with null and point into strings that live until the call returns.
    let errno: Errno = unsafe { spawn::execve_fd(fd.as_fd(), argv.as_ptr(), envp.as_ptr()) };
    errno.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_copy_cannot_be_written_again() {
        let copy = sealed_copy(&b"content"[..], "test").unwrap();
        assert!(is_sealed(&copy));
        assert_eq!(rustix::io::pwrite(&copy, b"x", 0).unwrap_err(), Errno::PERM);
    }

    #[test]
    fn the_read_only_image_refuses_to_be_opened_for_writing() {
        use std::os::fd::AsRawFd;
        let image = protected_image(Method::ReadOnlyMount).unwrap();
        let path = format!("/proc/self/fd/{}", image.as_raw_fd());
        let error = std::fs::OpenOptions::new().write(true).open(path).unwrap_err();
        assert!(matches!(Errno::from_io_error(&error), Some(Errno::ROFS | Errno::TXTBSY)), "{error}");
        assert!(is_read_only(&image));
    }
}
