//! Names of users and groups, looked up in a container's own `/etc/passwd` and `/etc/group`.
//!
//! The files belong to the image, so they are opened beneath its root and read with a size limit; lines that make no
//! sense are passed over, as the C library does. Rules are Docker's: `user`, `uid`, `user:group`, `uid:gid` and so on;
//! a number needs no entry, a name does.

use std::os::fd::{AsFd, OwnedFd};

use minke_sys::beneath;
use rustix::fs::{Mode, OFlags};

/// The largest passwd or group file that is read.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups that list the user, in file order, followed by those asked for; the primary one is not
    /// repeated.
    pub groups: Vec<u32>,
    /// The home directory of the passwd entry, `/` without one.
    pub home: String,
    /// The user's name, when there is an entry.
    pub name: Option<String>,
}

/// Why an identity could not be found. The texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No such user.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// No such group.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// A number outside of what ids can be.
    #[error("uids and gids must be in range 0-2147483647")]
    Range,
    /// A file could not be read.
    #[error("read {path} of the container")]
    Read {
        /// Which.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// Resolves `user[:group]` (empty: root) and further groups against the files beneath `root`, a directory handle of the
/// container's root (a detached mount, `/proc/PID/root`, an `O_PATH` descriptor).
pub fn resolve(root: impl AsFd, user: &str, extra_groups: &[String]) -> Result<Identity, IdentityError> {
    let passwd = read(root.as_fd(), "etc/passwd")?;
    let group = read(root.as_fd(), "etc/group")?;
    resolve_in(&passwd, &group, user, extra_groups)
}

/// [`resolve`] against the text of the two files.
pub fn resolve_in(
    passwd: &str,
    group: &str,
    user: &str,
    extra_groups: &[String],
) -> Result<Identity, IdentityError> {
    let (user_part, group_part) = user.split_once(':').unwrap_or((user, ""));
    let mut identity = find_user(passwd, user_part)?;
    if group_part.is_empty() {
        identity.groups = groups_of(group, identity.name.as_deref(), identity.gid);
    } else {
        // A group named by hand replaces the memberships, as with Docker.
        identity.gid = find_group(group, group_part)?;
    }
    for wanted in extra_groups {
        let gid = find_group(group, wanted)?;
        if !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    Ok(identity)
}

/// The home directory of user `uid`, `/` when the files do not say.
#[must_use]
pub fn home_of(root: impl AsFd, uid: u32) -> String {
    let passwd = read(root.as_fd(), "etc/passwd").unwrap_or_default();
    let entry = entries(&passwd).find(|fields| number(fields, 2) == Some(uid));
    let home = entry.and_then(|fields| fields.get(5).map(|home| (*home).to_owned()));
    home.filter(|home| !home.is_empty()).unwrap_or_else(|| "/".to_owned())
}

fn find_user(passwd: &str, wanted: &str) -> Result<Identity, IdentityError> {
    let uid = parse_id(wanted)?;
    let wanted = if wanted.is_empty() { "0" } else { wanted };
    let uid = if wanted == "0" { Some(0) } else { uid };
    let by_name =
        entries(passwd).find(|fields| fields.first() == Some(&wanted) && number(fields, 2).is_some());
    let entry = by_name.or_else(|| entries(passwd).find(|fields| uid.is_some() && number(fields, 2) == uid));
    match (entry, uid) {
        (Some(fields), _) => Ok(Identity {
            uid: number(&fields, 2).unwrap_or(0),
            gid: number(&fields, 3).unwrap_or(0),
            groups: Vec::new(),
            home: fields.get(5).filter(|home| !home.is_empty()).unwrap_or(&"/").to_string(),
            name: fields.first().map(|name| (*name).to_owned()),
        }),
        (None, Some(uid)) => Ok(Identity { uid, home: "/".to_owned(), ..Identity::default() }),
        (None, None) => Err(IdentityError::NoUser(wanted.to_owned())),
    }
}

fn find_group(group: &str, wanted: &str) -> Result<u32, IdentityError> {
    let by_name = entries(group).find(|fields| fields.first() == Some(&wanted));
    if let Some(gid) = by_name.and_then(|fields| number(&fields, 2)) {
        return Ok(gid);
    }
    parse_id(wanted)?.ok_or_else(|| IdentityError::NoGroup(wanted.to_owned()))
}

fn groups_of(group: &str, name: Option<&str>, primary: u32) -> Vec<u32> {
    let Some(name) = name else { return Vec::new() };
    let mut groups = Vec::new();
    for fields in entries(group) {
        let lists_user = fields.get(3).is_some_and(|users| users.split(',').any(|user| user.trim() == name));
        if let Some(gid) =
            number(&fields, 2).filter(|gid| lists_user && *gid != primary && !groups.contains(gid))
        {
            groups.push(gid);
        }
    }
    groups
}

/// A number in the range of ids; `None` when the text is not a number at all.
fn parse_id(text: &str) -> Result<Option<u32>, IdentityError> {
    match text.parse::<i64>() {
        Ok(id) => {
            u32::try_from(id).ok().filter(|id| *id <= i32::MAX as u32).map(Some).ok_or(IdentityError::Range)
        }
        Err(_) => Ok(None),
    }
}

fn entries(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(':').collect())
}

fn number(fields: &[&str], index: usize) -> Option<u32> {
    fields.get(index)?.trim().parse().ok()
}

fn read(root: impl AsFd, path: &'static str) -> Result<String, IdentityError> {
    use std::io::Read;
    let fail = |source| IdentityError::Read { path, source };
    let opened = beneath::open_in_root(root, path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
    let fd: OwnedFd = match opened {
        Ok(fd) => fd,
        Err(minke_sys::Errno::NOENT | minke_sys::Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(fail(errno.into())),
    };
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(FILE_LIMIT).read_to_end(&mut bytes).map_err(fail)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nalice:x:1000:1001::/home/alice:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:alice,bob\nalice:x:1001:alice\nvideo:x:44: alice\n";

    fn check(user: &str, extra: &[&str]) -> Result<(u32, u32, Vec<u32>, String), String> {
        let extra: Vec<_> = extra.iter().map(|group| (*group).to_owned()).collect();
        resolve_in(PASSWD, GROUP, user, &extra)
            .map(|found| (found.uid, found.gid, found.groups, found.home))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_brings_its_groups_and_home() {
        assert_eq!(check("alice", &[]), Ok((1000, 1001, vec![10, 44], "/home/alice".into())));
        assert_eq!(check("1000", &[]), check("alice", &[]));
    }

    #[test]
    fn a_number_needs_no_entry_and_a_name_does() {
        assert_eq!(check("5000", &[]), Ok((5000, 0, vec![], "/".into())));
        assert_eq!(
            check("eve", &[]),
            Err("unable to find user eve: no matching entries in passwd file".into())
        );
        assert_eq!(check("-1", &[]), Err("uids and gids must be in range 0-2147483647".into()));
    }

    #[test]
    fn a_group_given_replaces_the_memberships_and_extra_ones_are_added() {
        assert_eq!(check("alice:video", &[]), Ok((1000, 44, vec![], "/home/alice".into())));
        assert_eq!(check("alice:77", &["wheel", "9"]), Ok((1000, 77, vec![10, 9], "/home/alice".into())));
        assert_eq!(
            check("alice:nope", &[]),
            Err("unable to find group nope: no matching entries in group file".into())
        );
    }

    #[test]
    fn nobody_named_means_root() {
        assert_eq!(check("", &[]), Ok((0, 0, vec![], "/root".into())));
        assert_eq!(check(":wheel", &[]), Ok((0, 10, vec![], "/root".into())));
    }

    #[test]
    fn a_hostile_passwd_link_does_not_leave_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("etc/passwd")).unwrap();
        let root = beneath::open_root(dir.path()).unwrap();
        // Inside the root the link points to itself.
        assert!(resolve(&root, "daemon", &[]).is_err());
    }
}
