//! A session keyring of one's own, so that a container never sees the keys of whoever started the engine.

use std::ffi::CStr;

use crate::{Result, raw};

const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;
const KEYCTL_SETPERM: usize = 5;
const KEYCTL_DESCRIBE: usize = 6;

/// Makes a session keyring of this name for the calling process and answers its serial number.
pub fn join_session(name: &CStr) -> Result<i32> {
    let args = [KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr().expose_provenance(), 0, 0, 0, 0];
    // SAFETY: keyctl reads a C string.
    let serial = unsafe { raw::syscall(libc::SYS_keyctl, args) }?;
    i32::try_from(serial).map_err(|_wide| crate::Errno::RANGE)
}

/// Lets processes of the keyring's owner search it, which those inside a container need.
pub fn allow_owner_search(serial: i32) -> Result<()> {
    let mut text = [0u8; 256];
    let args = [KEYCTL_DESCRIBE, raw::arg(serial), text.as_mut_ptr().expose_provenance(), text.len(), 0, 0];
    // SAFETY: keyctl writes at most the length given into a live buffer.
    unsafe { raw::syscall(libc::SYS_keyctl, args) }?;
    // The description reads `keyring;uid;gid;permissions;name`, permissions in hexadecimal.
    let mut fields = text.split(|byte| *byte == b';');
    let digits = fields.nth(3).unwrap_or_default();
    let old = digits.iter().fold(0usize, |value, digit| {
        value << 4 | char::from(*digit).to_digit(16).map_or(0, |digit| digit as usize)
    });
    const USER_SEARCH: usize = 0x0008_0000;
    let args = [KEYCTL_SETPERM, raw::arg(serial), old | USER_SEARCH, 0, 0, 0];
    // SAFETY: keyctl takes three numbers.
    unsafe { raw::syscall(libc::SYS_keyctl, args) }.map(drop)
}
