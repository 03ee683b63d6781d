//! Contexts from git: `https://host/repository.git#branch:directory`, fetched with the git that is installed here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::source::Checkout;
use crate::failure::{Failure, go_io};

/// A clone.
pub(super) struct Clone {
    /// Removed with this.
    pub(super) root: Checkout,
    /// The directory that was asked for.
    pub(super) directory: PathBuf,
}

/// As docker tells addresses of git from others.
pub(super) fn is_git(text: &str) -> bool {
    let bare = text.split('#').next().unwrap_or(text);
    ["git://", "git@", "ssh://", "github.com/"].iter().any(|start| bare.starts_with(start))
        || (bare.starts_with("http://") || bare.starts_with("https://") || bare.starts_with("file://"))
            && bare.ends_with(".git")
}

struct Address<'a> {
    url: String,
    reference: &'a str,
    directory: &'a str,
}

fn address(text: &str) -> Address<'_> {
    let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
    let url = if url.starts_with("github.com/") { format!("https://{url}") } else { url.to_owned() };
    Address { url, reference, directory }
}

/// Clones it, shallow where that is possible.
pub(super) fn clone(text: &str) -> Result<Clone, Failure> {
    let address = address(text);
    if address.reference.starts_with('-') || address.url.starts_with('-') {
        return Err(Failure::new(
            1,
            format!("{text:?} is no address of git: no part of it may begin with a dash"),
        ));
    }
    let inside = Path::new(address.directory);
    let escapes = inside
        .components()
        .any(|part| !matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
    if escapes {
        return Err(Failure::new(1, format!("{:?} leads out of the repository", address.directory)));
    }
    let root = make_directory()?;
    let made = Clone { directory: root.0.join(inside), root };
    let root = made.root.0.as_path();
    let mut arguments =
        vec!["clone", "--quiet", "--recurse-submodules", "--depth", "1", "--shallow-submodules"];
    if !address.reference.is_empty() {
        arguments.extend(["--branch", address.reference]);
    }
    let target = root.display().to_string();
    arguments.extend(["--", &address.url, &target]);
    if let Err(shallow) = git(None, &arguments) {
        // A commit is no branch: then everything is fetched, and the commit checked out.
        drop(std::fs::remove_dir_all(root));
        if address.reference.is_empty() {
            return Err(shallow);
        }
        private(root)?;
        git(None, &["clone", "--quiet", "--recurse-submodules", "--", &address.url, &target])?;
        git(Some(root), &["checkout", "--quiet", address.reference, "--"])?;
    }
    if !made.directory.is_dir() {
        return Err(Failure::new(1, format!("the repository has no directory {:?}", address.directory)));
    }
    // History is no part of a context.
    drop(std::fs::remove_dir_all(root.join(".git")));
    Ok(made)
}

/// A new directory that nobody else may enter.
fn make_directory() -> Result<Checkout, Failure> {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| now.subsec_nanos());
    let path = std::env::temp_dir().join(format!("minke-build-{}-{nanos}", std::process::id()));
    private(&path)?;
    Ok(Checkout(path))
}

fn private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::new(1, format!("mkdir {}: {}", path.display(), go_io(&error))))
}

fn git(directory: Option<&Path>, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("git");
    command.args(arguments).env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null());
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    let done = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(1, "unable to find 'git': a context from a repository needs it installed here")
        }
        _ => Failure::new(1, format!("run git: {}", go_io(&error))),
    })?;
    if done.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(Failure::new(1, format!("unable to prepare context: git {}: {told}", arguments[0])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_reference_and_a_directory() {
        let found = address("https://x/y.git#main:docker/web");
        assert_eq!(
            (found.url.as_str(), found.reference, found.directory),
            ("https://x/y.git", "main", "docker/web")
        );
        assert_eq!(address("github.com/a/b").url, "https://github.com/a/b");
        assert!(is_git("git@host:a/b") && !is_git("https://host/file.tar"));
    }

    #[test]
    fn no_address_is_an_option_or_leads_out() {
        assert!(clone("https://x/y.git#--upload-pack=x").is_err());
        assert!(clone("https://x/y.git#main:../..").is_err());
    }
}
