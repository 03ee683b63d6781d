//! The cgroups that containers' cgroups are in: those that the engine made go when it ends with no container left.
//!
//! Which ones it made is noted in the exec-root before they are, so that an engine that was killed leaves the note to the next.
//! What was there before (a service manager's slice) is not in the note and stays.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use minke_cgroup::Host;

const NOTE: &str = "made-cgroups";

/// Adds to the note what is not there of `parent`, in every hierarchy.
pub(crate) fn note_missing(exec_root: &Path, parent: &Path) -> std::io::Result<()> {
    let host = match Host::probe() {
        Ok(host) => host,
        // Without cgroups there is nothing to note; what needs them says so itself.
        Err(_) => return Ok(()),
    };
    let mut noted = read(exec_root)?;
    let before = noted.len();
    for hierarchy in host.hierarchies() {
        let root = hierarchy.locate(Path::new("/"));
        let place = hierarchy.locate(parent);
        noted.extend(
            place
                .ancestors()
                .take_while(|path| *path != root && path.starts_with(&root) && !path.exists())
                .map(Path::to_owned),
        );
    }
    if noted.len() == before { Ok(()) } else { write(exec_root, &noted) }
}

/// Removes what the note names and is empty; what has something in it stays, and stays noted.
pub(crate) fn remove_empty(exec_root: &Path) -> std::io::Result<()> {
    let noted = read(exec_root)?;
    let mut left = BTreeSet::new();
    // Sorted, a directory comes before what is in it.
    for path in noted.iter().rev() {
        match std::fs::remove_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "a cgroup stays");
                left.insert(path.clone());
            }
        }
    }
    if left.is_empty() && !noted.is_empty() {
        std::fs::remove_file(exec_root.join(NOTE))
    } else if left == noted {
        Ok(())
    } else {
        write(exec_root, &left)
    }
}

fn read(exec_root: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    match std::fs::read_to_string(exec_root.join(NOTE)) {
        Ok(text) => Ok(text.lines().map(PathBuf::from).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

fn write(exec_root: &Path, paths: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    let fresh = exec_root.join(format!("{NOTE}.new"));
    let text: String = paths.iter().map(|path| format!("{}\n", path.display())).collect();
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, exec_root.join(NOTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_goes_when_it_is_empty_and_what_is_in_use_is_kept_in_mind() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        for path in ["free/inner", "used/inner", "foreign"] {
            std::fs::create_dir_all(at(path)).expect("made");
        }
        let noted = ["free", "free/inner", "gone", "used"].map(at).into_iter().collect();
        write(directory.path(), &noted).expect("noted");
        remove_empty(directory.path()).expect("removed");
        let there = |name: &str| at(name).exists();
        assert_eq!(
            [there("free"), there("used/inner"), there("foreign"), there(NOTE)],
            [false, true, true, true]
        );
        std::fs::remove_dir(at("used/inner")).expect("empty");
        remove_empty(directory.path()).expect("removed");
        assert_eq!([there("used"), there(NOTE)], [false, false]);
    }
}
