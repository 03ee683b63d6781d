//! Unix sockets: who may use them, and what to do with one that is already there.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::fs::Mode;

use super::ListenError;

/// Longest name of a socket in the kernel's `sockaddr_un`, without the zero at its end.
const MAX_PATH: usize = 107;

/// The id of a group by name or number; `None` when there is no such group. Reads the file itself, because a static binary has no
/// name service.
pub(crate) fn group_id(group: Option<&str>) -> Option<u32> {
    let group = group.filter(|group| !group.is_empty())?;
    find_group(&fs::read_to_string("/etc/group").unwrap_or_default(), group).or_else(|| group.parse().ok())
}

fn find_group(file: &str, wanted: &str) -> Option<u32> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == wanted).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// Whether somebody answers on the socket.
pub(crate) fn is_served(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// Makes the socket, 0660 for the group or 0600 without one. A socket nobody answers on is replaced; a live one is not.
pub(crate) fn bind(path: &Path, group: Option<u32>) -> Result<UnixListener, ListenError> {
    let failed = |source: io::Error| ListenError::Unix { path: path.to_owned(), source };
    if path.as_os_str().len() > MAX_PATH {
        return Err(ListenError::TooLong { path: path.to_owned() });
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.to_owned() });
        }
        Ok(_) if is_served(path) => return Err(ListenError::Served { path: path.to_owned() }),
        Ok(_) => fs::remove_file(path).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory).map_err(failed)?;
            }
        }
        Err(error) => return Err(failed(error)),
    }
    // Nobody else may use it between bind and chmod. The umask is the process's, and the daemon has one thread so far.
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(failed)?;
    if let Some(group) = group {
        chown(path, None, Some(group)).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name() {
        let file = "root:x:0:\ndocker:x:999:me,you\nbroken\n";
        assert_eq!(find_group(file, "docker"), Some(999));
        assert_eq!(find_group(file, "broken"), None);
        assert_eq!(find_group(file, "nosuch"), None);
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/s.sock");
        let first = bind(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&path, None), Err(ListenError::Served { .. })));
        drop(first);
        bind(&path, None).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path, None), Err(ListenError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn the_group_may_use_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let group = rustix::process::getegid().as_raw();
        let _listener = bind(&path, Some(group)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    }
}
