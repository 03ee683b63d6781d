//! Which capabilities a container has: Docker's default fourteen, changed by `--cap-add`, `--cap-drop`, `--privileged`.

use std::str::FromStr as _;

use oci_spec::runtime::{Capabilities, Capability};

use crate::error::{Error, Result};

/// What a container has when nobody says otherwise.
pub const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// `CAP_NET_ADMIN`, `net_admin`, `NET_ADMIN` → the capability; an error in Docker's words for anything else.
pub fn parse(name: &str) -> Result<Capability> {
    let upper = name.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    Capability::from_str(bare).map_err(|_unknown| {
        Error::invalid(format!("invalid capability: unknown capability: \"CAP_{bare}\"")).caused_by(_unknown)
    })
}

fn is_all(names: &[String]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case("all"))
}

/// Refuses names of `--cap-add`/`--cap-drop` that no capability has. The record keeps them as they were written.
pub fn check(names: &[String]) -> Result<()> {
    names.iter().filter(|name| !name.eq_ignore_ascii_case("all")).try_for_each(|name| parse(name).map(drop))
}

/// The set a container gets. `available` is what the engine itself may hand on.
pub fn plan(
    add: &[String],
    drop: &[String],
    privileged: bool,
    available: &Capabilities,
) -> Result<Capabilities> {
    if privileged {
        return Ok(available.clone());
    }
    let removed = drop.iter().filter(|name| !name.eq_ignore_ascii_case("all"));
    let added = add.iter().filter(|name| !name.eq_ignore_ascii_case("all"));
    let mut set: Capabilities = match (is_all(add), is_all(drop)) {
        // "All" given wins over "all" taken, and what is taken by name stays taken.
        (true, _) => {
            let mut set = available.clone();
            for name in removed {
                set.remove(&parse(name)?);
            }
            return Ok(set);
        }
        (false, true) => Capabilities::new(),
        (false, false) => DEFAULT.into_iter().collect(),
    };
    for name in removed {
        set.remove(&parse(name)?);
    }
    for name in added {
        set.insert(parse(name)?);
    }
    Ok(set)
}

/// Reads a mask such as `/proc/self/status` shows (`CapBnd`) into the set.
pub fn from_mask(mask: u64) -> Capabilities {
    BY_NUMBER
        .iter()
        .enumerate()
        .filter(|(number, _)| mask & (1 << number) != 0)
        .map(|(_, capability)| *capability)
        .collect()
}

/// The set as a mask, for use as a key.
pub fn to_mask(set: &Capabilities) -> u64 {
    BY_NUMBER
        .iter()
        .enumerate()
        .filter(|(_, capability)| set.contains(capability))
        .fold(0, |mask, (number, _)| mask | (1 << number))
}

const BY_NUMBER: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_default_mask_is_dockers() {
        assert_eq!(to_mask(&DEFAULT.into_iter().collect()), 0xa804_25fb);
    }

    #[test]
    fn dropping_all_leaves_what_is_added() {
        let all = from_mask(u64::MAX);
        let set = plan(&words(&["NET_ADMIN"]), &words(&["ALL"]), false, &all).expect("known names");
        assert_eq!(set, Capabilities::from([Capability::NetAdmin]));
    }

    #[test]
    fn adding_all_gives_what_the_engine_has() {
        let available = from_mask(0xff);
        let set = plan(&words(&["all"]), &words(&["CHOWN"]), false, &available).expect("known names");
        assert_eq!(to_mask(&set), 0xfe);
    }

    #[test]
    fn all_given_wins_over_all_taken() {
        let available = from_mask(0xff);
        let set = plan(&words(&["all"]), &words(&["ALL"]), false, &available).expect("known names");
        assert_eq!(to_mask(&set), 0xff);
    }

    #[test]
    fn unknown_names_are_refused_in_dockers_words() {
        check(&words(&["sys_time", "CAP_CHOWN", "all"])).expect("known");
        let error = check(&words(&["fly"])).expect_err("unknown");
        assert_eq!(error.message(), "invalid capability: unknown capability: \"CAP_FLY\"");
    }
}
