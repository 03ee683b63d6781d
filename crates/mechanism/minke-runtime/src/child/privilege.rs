//! Who the program runs as and what it may: identity, capabilities, keyring, limits.

use minke_sys::{Errno, Result, caps, keyring, limits, process};

use super::Player;
use super::script::CUT_OOM;

impl Player<'_> {
    pub(super) fn set_limit(&self, number: u32, limit: limits::Limit, lenient: bool) -> Result<()> {
        if !lenient {
            return limits::set(0, number, limit).map(drop);
        }
        if limits::set_as_far_as_allowed(number, limit)? {
            self.update(|report| report.cut |= 1 << (number & 15));
        }
        Ok(())
    }

    pub(super) fn set_oom_score(&self, value: &[u8], lenient: bool) -> Result<()> {
        match self.write_proc(c"self/oom_score_adj", value) {
            Err(Errno::ACCESS | Errno::PERM) if lenient => {
                self.update(|report| report.cut |= CUT_OOM);
                Ok(())
            }
            other => other,
        }
    }
}

/// Root of the user namespace. The change of identity makes the process undumpable, and its `/proc` files the host's root's;
/// `traceable` undoes that, for a child that is alone in its pid namespace.
pub(super) fn become_root(traceable: bool) -> Result<()> {
    match process::set_groups(&[]) {
        // A map made without privilege forbids it.
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    process::set_gid(0)?;
    process::set_uid(0)?;
    if traceable { process::set_dumpable(true) } else { Ok(()) }
}

pub(super) fn join_keyring(name: &std::ffi::CStr) -> Result<()> {
    match keyring::join_session(name) {
        Ok(serial) => match keyring::allow_owner_search(serial) {
            Ok(()) | Err(Errno::ACCESS | Errno::NOKEY) => Ok(()),
            Err(errno) => Err(errno),
        },
        // A kernel without keyrings, and a container engine that forbids them to us.
        Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

pub(super) fn drop_bounding(keep: caps::CapSet) -> Result<()> {
    for number in 0..63u8 {
        if keep.has(number) {
            continue;
        }
        match caps::bounding_drop(number) {
            Ok(()) => {}
            // Past the last capability the kernel knows.
            Err(Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(super) fn set_user(uid: u32, gid: u32, groups: Option<&[u32]>, keep: bool) -> Result<()> {
    if let Some(groups) = groups {
        match process::set_groups(groups) {
            // Where setgroups is denied an empty list is what there is already.
            Err(Errno::PERM) if groups.is_empty() => {}
            other => other?,
        }
    }
    if keep {
        process::set_keep_capabilities(true)?;
    }
    process::set_gid(gid)?;
    process::set_uid(uid)?;
    if keep { process::set_keep_capabilities(false) } else { Ok(()) }
}

pub(super) fn set_caps(plan: &crate::steps::CapsStep) -> Result<()> {
    // A capability that the caller itself does not have cannot be given: it is left out, as runc does.
    let have = caps::get()?.permitted;
    let permitted = plan.permitted.and(have);
    caps::set(caps::ThreadCaps {
        effective: plan.effective.and(permitted),
        permitted,
        inheritable: plan.inheritable.and(have),
    })?;
    match caps::ambient_clear() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno),
    }
    let usable = permitted.and(plan.inheritable);
    plan.ambient.and(usable).numbers().try_for_each(caps::ambient_raise)
}
