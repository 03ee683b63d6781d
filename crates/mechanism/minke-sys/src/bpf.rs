//! The bpf(2) calls a cgroup's device filter needs: load, attach, list, replace, detach.
//!
//! libc and rustix have none of them. Only the leading fields of `union bpf_attr` are passed; the kernel takes a shorter
//! structure for one whose rest is zero.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::Result;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Several programs may sit on one cgroup; all must agree.
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// One eBPF instruction as the kernel lays it out.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    pub code: u8,
    /// Destination register in the low, source register in the high four bits.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
    padding: u32,
}

fn call<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_int> {
    let pointer: *mut T = attr;
    let size = size_of::<T>();
    loop {
        // SAFETY: bpf wants a writable attribute of `size` bytes; `attr` is a live, exclusive, fully initialised
        // repr(C) value of that size. Addresses inside it are kept alive by the callers below for the whole call.
        let answer = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size) };
        if let Ok(value) = libc::c_int::try_from(answer)
            && value >= 0
        {
            return Ok(value);
        }
        let error = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL);
        if error != Errno::INTR && error != Errno::AGAIN {
            return Err(error);
        }
    }
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor to us alone, so nobody else owns or closes it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn number(fd: &impl AsFd) -> u32 {
    u32::try_from(fd.as_fd().as_raw_fd()).expect("an open descriptor is not negative")
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr().addr() as u64
}

/// Loads a device filter. The kernel checks it and answers with its descriptor.
pub fn load_device_filter(program: &[Insn]) -> Result<OwnedFd> {
    let license = b"Apache-2.0\0";
    let mut attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).or(Err(Errno::TOOBIG))?,
        insns: address(program),
        license: address(license),
        ..LoadAttr::default()
    };
    call(PROG_LOAD, &mut attr).map(owned)
}

/// The device filters attached to a cgroup, as descriptors.
pub fn attached_device_filters(cgroup: impl AsFd) -> Result<Vec<OwnedFd>> {
    let mut ids = [0u32; 64];
    let mut attr = QueryAttr {
        target_fd: number(&cgroup),
        attach_type: ATTACH_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr().addr() as u64,
        prog_cnt: 64,
        ..QueryAttr::default()
    };
    call(PROG_QUERY, &mut attr)?;
    let count = usize::try_from(attr.prog_cnt).unwrap_or(0).min(ids.len());
    let mut filters = Vec::with_capacity(count);
    for id in &ids[..count] {
        match call(PROG_GET_FD_BY_ID, &mut IdAttr { id: *id, ..IdAttr::default() }) {
            Ok(fd) => filters.push(owned(fd)),
            // Gone between the two calls.
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filters)
}

/// Attaches a filter; with `replaces`, swaps it for that one without a moment in which neither is in force.
pub fn attach_device_filter(cgroup: impl AsFd, filter: impl AsFd, replaces: Option<&OwnedFd>) -> Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(&cgroup),
        attach_bpf_fd: number(&filter),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
        ..AttachAttr::default()
    };
    if let Some(old) = replaces {
        attr.attach_flags |= REPLACE;
        attr.replace_bpf_fd = number(old);
    }
    call(PROG_ATTACH, &mut attr).map(drop)
}

/// Takes one filter off a cgroup.
pub fn detach_device_filter(cgroup: impl AsFd, filter: impl AsFd) -> Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(&cgroup),
        attach_bpf_fd: number(&filter),
        attach_type: ATTACH_CGROUP_DEVICE,
        ..AttachAttr::default()
    };
    call(PROG_DETACH, &mut attr).map(drop)
}
