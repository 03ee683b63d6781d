//! `--systemd-cgroup`: which unit, and whose systemd. The rest is [`minke_cgroup::systemd`]'s.

use std::path::Path;

use minke_cgroup::systemd::{Of, SystemdError, SystemdPath};

use crate::Globals;

/// Whose systemd: without root, or as the root of a user namespace only, the user's own.
pub(crate) fn whose(globals: &Globals) -> Of {
    if globals.rootless || in_user_namespace() { Of::User } else { Of::Machine }
}

fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole = ["0", "0", "4294967295"];
    !map.is_empty() && map.split_whitespace().ne(whole)
}

/// What `cgroupsPath` names; without one, a scope of minke's own.
pub(crate) fn path(given: Option<&Path>, id: &str, of: Of) -> Result<SystemdPath, SystemdError> {
    let default_slice = match of {
        Of::Machine => "system.slice",
        Of::User => "user.slice",
    };
    let text = given.map_or_else(|| format!(":minke:{id}"), |path| path.display().to_string());
    SystemdPath::parse_with(&text, default_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_path_the_unit_is_named_after_the_container() {
        let path = path(None, "abc", Of::Machine).unwrap();
        assert_eq!(path.cgroup_path().unwrap(), Path::new("/system.slice/minke-abc.scope"));
        let path = super::path(Some(Path::new("::x")), "abc", Of::User).unwrap();
        assert_eq!((path.slice.as_str(), path.unit().as_str()), ("user.slice", "x.scope"));
    }
}
