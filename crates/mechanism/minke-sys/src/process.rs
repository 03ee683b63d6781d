//! Properties of the calling process: its name, its title, what it may gain, what happens when its parent ends.

use std::ffi::CStr;

use rustix::process::{DumpableBehavior, Pid, Signal};

use crate::{Errno, Result, raw};

/// Sets the name that `ps -o comm` shows (15 bytes count).
pub fn set_name(name: &str) -> Result<()> {
    let mut space = [0u8; 16];
    for (slot, byte) in space.iter_mut().take(15).zip(name.bytes().filter(|byte| *byte != 0)) {
        *slot = byte;
    }
    let name = CStr::from_bytes_until_nul(&space).map_err(|_no_nul| Errno::INVAL)?;
    rustix::thread::set_name(name)
}

/// Sets the command line that `ps` shows, as much of it as fits over the original arguments.
///
/// Only for a process with one thread (`EBUSY` otherwise): it overwrites the memory that `std::env::args` reads.
pub fn set_title(title: &str) -> Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat").map_err(|error| errno_of(&error))?;
    // The second field is the name in parentheses, which may hold anything; the third begins after the last one.
    let rest = stat.rsplit_once(") ").ok_or(Errno::PROTO)?.1;
    let field = |number: usize| -> Result<usize> {
        rest.split_ascii_whitespace().nth(number - 3).and_then(|text| text.parse().ok()).ok_or(Errno::PROTO)
    };
    if field(20)? != 1 {
        return Err(Errno::BUSY);
    }
    let (start, end) = (field(48)?, field(49)?);
    if start == 0 || end <= start {
        return Err(Errno::NOTSUP);
    }
    let area: *mut u8 = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: the kernel says that the arguments lie at start..end, writable memory of this process; this is its only
    // thread, so nobody reads them meanwhile.
    let area = unsafe { std::slice::from_raw_parts_mut(area, end - start) };
    area.fill(0);
    let room = area.len() - 1;
    for (slot, byte) in area.iter_mut().take(room).zip(title.bytes()) {
        *slot = byte;
    }
    Ok(())
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The signal this process gets when its parent's thread ends; `None` for none.
pub fn set_parent_death_signal(signal: Option<Signal>) -> Result<()> {
    rustix::process::set_parent_process_death_signal(signal)
}

/// No exec from here on gains privileges.
pub fn set_no_new_privs() -> Result<()> {
    rustix::thread::set_no_new_privs(true)
}

/// Whether orphans among the descendants become children of this process.
pub fn set_subreaper(on: bool) -> Result<()> {
    rustix::process::set_child_subreaper(if on { Some(Pid::INIT) } else { None })
}

/// Whether permitted capabilities survive the change from root to another user.
pub fn set_keep_capabilities(on: bool) -> Result<()> {
    rustix::thread::set_keep_capabilities(on)
}

/// Whether others with the same identity may trace this process and read its memory and `/proc` entries.
pub fn set_dumpable(on: bool) -> Result<()> {
    rustix::process::set_dumpable_behavior(if on {
        DumpableBehavior::Dumpable
    } else {
        DumpableBehavior::NotDumpable
    })
}

/// Changes all three user ids of the calling thread only (glibc's wrapper would change all threads).
pub fn set_uid(uid: u32) -> Result<()> {
    let uid = uid as usize;
    // SAFETY: setresuid takes three numbers.
    unsafe { raw::syscall(libc::SYS_setresuid, [uid, uid, uid, 0, 0, 0]) }.map(drop)
}

/// Changes all three group ids of the calling thread only.
pub fn set_gid(gid: u32) -> Result<()> {
    let gid = gid as usize;
    // SAFETY: setresgid takes three numbers.
    unsafe { raw::syscall(libc::SYS_setresgid, [gid, gid, gid, 0, 0, 0]) }.map(drop)
}

/// Sets the supplementary groups of the calling thread only.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    let args = [groups.len(), groups.as_ptr().expose_provenance(), 0, 0, 0, 0];
    // SAFETY: setgroups reads `len` group ids from a live slice.
    unsafe { raw::syscall(libc::SYS_setgroups, args) }.map(drop)
}

/// Sets the execution domain (`personality(2)`).
pub fn set_personality(persona: u32) -> Result<()> {
    // SAFETY: personality takes a number.
    unsafe { raw::syscall(libc::SYS_personality, [persona as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// Sets the host name of the UTS namespace.
pub fn set_hostname(name: &[u8]) -> Result<()> {
    let args = [name.as_ptr().expose_provenance(), name.len(), 0, 0, 0, 0];
    // SAFETY: sethostname reads `len` bytes from a live slice.
    unsafe { raw::syscall(libc::SYS_sethostname, args) }.map(drop)
}

/// Sets the NIS domain name of the UTS namespace.
pub fn set_domainname(name: &[u8]) -> Result<()> {
    let args = [name.as_ptr().expose_provenance(), name.len(), 0, 0, 0, 0];
    // SAFETY: setdomainname reads `len` bytes from a live slice.
    unsafe { raw::syscall(libc::SYS_setdomainname, args) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_cut_at_fifteen_bytes() {
        let name = std::thread::spawn(|| {
            set_name("minke:0123456789abcdef").unwrap();
            rustix::thread::name().unwrap()
        });
        assert_eq!(name.join().unwrap().to_bytes(), b"minke:012345678");
    }

    #[test]
    fn the_title_of_a_threaded_process_is_left_alone() {
        let (_keep, wait) = std::sync::mpsc::channel::<()>();
        let _other = std::thread::spawn(move || wait.recv());
        assert_eq!(set_title("x").unwrap_err(), Errno::BUSY);
    }
}
