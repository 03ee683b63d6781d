//! Who a container's program is: `user[:group]` looked up in the container's own account files.
//!
//! Pure: the caller reads `/etc/passwd` and `/etc/group` out of the image or the running container (beneath its root,
//! never following the way out) and hands over the text.

use crate::error::{Error, Result};

/// A resolved user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// Further groups; the main group is among them, as Docker has it.
    pub groups: Vec<u32>,
    /// What `HOME` is set to when nobody set it.
    pub home: String,
}

/// The text of a container's account files; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// `/etc/passwd`.
    pub passwd: String,
    /// `/etc/group`.
    pub group: String,
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl Accounts {
    fn users(&self) -> impl Iterator<Item = PasswdLine<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.trim().split(':');
            let name = fields.next()?;
            let _password = fields.next()?;
            let uid = fields.next()?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            let _gecos = fields.next();
            Some(PasswdLine { name, uid, gid, home: fields.next().unwrap_or("") })
        })
    }

    fn groups(&self) -> impl Iterator<Item = GroupLine<'_>> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.trim().split(':');
            let name = fields.next()?;
            let _password = fields.next()?;
            let gid = fields.next()?.parse().ok()?;
            Some(GroupLine { name, gid, members: fields.next().unwrap_or("") })
        })
    }

    /// Resolves `user` (`name`, `uid`, `name:group`, `uid:gid`, or empty for root) and the groups of `--group-add`.
    pub fn resolve(&self, user: &str, added: &[String]) -> Result<Identity> {
        let (who, group) = user.split_once(':').map_or((user, ""), |(who, group)| (who, group));
        let number = parse_id(who)?;
        let line = match number {
            // A number is looked up as well: its line gives the main group and the home.
            Some(uid) => self.users().find(|line| line.uid == uid || line.name == who),
            None if who.is_empty() => self.users().find(|line| line.uid == 0),
            None => self.users().find(|line| line.name == who),
        };
        let (uid, main, home) = match (&line, number) {
            (Some(line), _) => (line.uid, line.gid, line.home),
            (None, Some(uid)) => (uid, 0, ""),
            (None, None) if who.is_empty() => (0, 0, ""),
            (None, None) => {
                return Err(Error::invalid(format!(
                    "unable to find user {who}: no matching entries in passwd file"
                )));
            }
        };
        let gid = if group.is_empty() { main } else { self.group_id(group)? };
        let mut groups = vec![gid];
        if let (Some(line), true) = (&line, group.is_empty()) {
            let member =
                |entry: &GroupLine<'_>| entry.members.split(',').any(|name| name.trim() == line.name);
            for entry in self.groups().filter(member) {
                push_new(&mut groups, entry.gid);
            }
        }
        for name in added {
            push_new(&mut groups, self.group_id(name)?);
        }
        Ok(Identity {
            uid,
            gid,
            groups,
            home: if home.is_empty() { "/".to_owned() } else { home.to_owned() },
        })
    }

    fn group_id(&self, group: &str) -> Result<u32> {
        if let Some(line) = self.groups().find(|line| line.name == group) {
            return Ok(line.gid);
        }
        match parse_id(group)? {
            Some(gid) => Ok(gid),
            None => Err(Error::invalid(format!(
                "unable to find group {group}: no matching entries in group file"
            ))),
        }
    }
}

fn push_new(groups: &mut Vec<u32>, gid: u32) {
    if !groups.contains(&gid) {
        groups.push(gid);
    }
}

/// A number in the range that Docker takes, nothing for a name.
fn parse_id(text: &str) -> Result<Option<u32>> {
    match text.parse::<i64>() {
        Ok(id) => match u32::try_from(id) {
            Ok(id) if id <= i32::MAX.cast_unsigned() => Ok(Some(id)),
            _ => Err(Error::invalid("uids and gids must be in range 0-2147483647")),
        },
        Err(_not_a_number) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/false\nodd:x:7:7::\n"
                .to_owned(),
            group: "root:x:0:\nwheel:x:10:root,web\nweb:x:34:\nadm:x:4:web\n".to_owned(),
        }
    }

    #[test]
    fn nobody_named_means_root_with_its_groups() {
        let root = accounts().resolve("", &[]).expect("root is there");
        assert_eq!(root, Identity { uid: 0, gid: 0, groups: vec![0, 10], home: "/root".to_owned() });
    }

    #[test]
    fn a_name_brings_its_groups_and_a_number_is_looked_up_too() {
        let by_name = accounts().resolve("web", &[]).expect("web is there");
        assert_eq!((by_name.uid, by_name.gid, by_name.groups.as_slice()), (33, 34, [34, 10, 4].as_slice()));
        assert_eq!(accounts().resolve("33", &[]).expect("33 is web"), by_name);
    }

    #[test]
    fn a_group_given_replaces_the_groups_of_the_file() {
        let identity =
            accounts().resolve("web:adm", &["wheel".to_owned(), "99".to_owned()]).expect("all known");
        assert_eq!((identity.gid, identity.groups.as_slice()), (4, [4, 10, 99].as_slice()));
    }

    #[test]
    fn numbers_need_no_files() {
        let identity = Accounts::default().resolve("1000:1001", &[]).expect("numbers are enough");
        assert_eq!(identity, Identity { uid: 1000, gid: 1001, groups: vec![1001], home: "/".to_owned() });
    }

    #[test]
    fn unknown_names_are_named() {
        let text = |user: &str| accounts().resolve(user, &[]).expect_err("unknown").message().to_owned();
        assert_eq!(text("bob"), "unable to find user bob: no matching entries in passwd file");
        assert_eq!(text("web:staff"), "unable to find group staff: no matching entries in group file");
        assert_eq!(text("-1"), "uids and gids must be in range 0-2147483647");
    }
}
