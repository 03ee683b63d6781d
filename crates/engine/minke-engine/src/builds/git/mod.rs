//! Files out of git repositories: `ADD https://host/repository.git#ref:directory`, and contexts that the engine fetches itself.
//!
//! The host's `git` does it, alone with itself: no configuration and no credentials of anybody's, no prompts, no hooks, no protocol that
//! git does not trust by its own defaults.

mod place;
mod program;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minke_store::copying::Root;
use minke_store::transplant::Sums;

use super::context::{Context, Files};
use super::mounts::minke_sys_open;
use super::scratch::Scratch;
use super::{Builds, blocking};
use crate::error::{Error, Result};
use program::Git;

pub(super) use place::Place;
pub use place::is_place;

/// What a repository holds at one commit.
#[derive(Debug)]
pub(super) struct Checkout {
    scratch: Scratch,
    /// Within it.
    below: PathBuf,
    /// Names its files: a commit names all that is in it, submodules too.
    pub(super) key: String,
}

impl Checkout {
    pub(super) fn directory(&self) -> PathBuf {
        self.scratch.path().join(&self.below)
    }
}

impl Builds {
    /// Fetches a repository and checks out what was asked for.
    pub(super) async fn check_out(
        &self,
        place: Place,
        checksum: Option<&str>,
        keep_git_dir: bool,
    ) -> Result<Checkout> {
        let scratch = self.scratch_directory()?;
        let home = self.scratch_directory()?;
        let git = Git::new(scratch.path().to_owned(), home.path().to_owned(), place.shown());
        let commit = fetch(&git, &place).await?;
        let wanted = checksum.or(place.commit.as_deref());
        if let Some(wanted) = wanted
            && (wanted.len() < 7 || !commit.starts_with(&wanted.to_ascii_lowercase()))
        {
            return Err(Error::invalid(format!(
                "{}: expected checksum to match {wanted}, got {commit}",
                place.shown()
            )));
        }
        if place.submodules && scratch.path().join(".gitmodules").exists() {
            let update = ["submodule", "update", "--quiet", "--init", "--recursive"];
            if git.run(&[&update[..], &["--depth", "1"]].concat()).await.is_err() {
                git.run(&update).await?;
            }
        }
        let keep = keep_git_dir || place.keep_git_dir;
        let mut key = format!("git {commit} {} {}", place.below, place.submodules);
        if keep {
            key = format!("{key} {} {:?}", place.url, place.reference);
        }
        let (directory, below) = (scratch.path().to_owned(), place.below.clone());
        let below = blocking(move || {
            let below = find_below(&directory, &below)?;
            settle(&directory, keep)
                .map_err(|source| Error::failed("take over what git checked out", source))?;
            Ok(below)
        })
        .await?;
        Ok(Checkout { scratch, below, key })
    }

    /// A repository, or a directory of it, as the context of a build.
    pub async fn receive_repository(self: &Arc<Self>, text: &str) -> Result<Context> {
        let whole = if text.starts_with("github.com/") { format!("https://{text}") } else { text.to_owned() };
        let place = Place::read(&whole)?;
        let checkout = self.check_out(place, None, false).await?;
        let scratch = if checkout.below.as_os_str().is_empty() {
            checkout.scratch
        } else {
            let scratch = self.scratch_directory()?;
            std::fs::rename(checkout.directory(), scratch.path())
                .map_err(|source| Error::failed(format!("take {text} over"), source))?;
            scratch
        };
        Ok(Context::new(Files::new(scratch, Sums::new())))
    }
}

/// Fetches as little as the server allows; answers with the commit that is checked out.
async fn fetch(git: &Git, place: &Place) -> Result<String> {
    git.run(&["init", "--quiet", "--initial-branch=master", "."]).await?;
    git.run(&["remote", "add", "origin", &place.url]).await?;
    let wanted = place.reference.as_deref().unwrap_or("HEAD");
    let shallow = ["fetch", "--quiet", "--depth", "1", "--no-tags", "--", "origin", wanted];
    let mut found = git.run(&shallow).await.is_ok().then(|| "FETCH_HEAD".to_owned());
    if found.is_none() {
        // Servers without a mind of their own give whole histories only; of a commit nobody can say where it is.
        let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
        git.run(&[&["fetch", "--quiet", "--no-tags", "--", "origin"][..], &all].concat()).await?;
        if place.reference.is_none() {
            git.run(&["remote", "set-head", "origin", "--auto"]).await?;
        }
        let names = match &place.reference {
            None => vec!["refs/remotes/origin/HEAD".to_owned()],
            Some(name) => {
                let branch = name.strip_prefix("refs/heads/").unwrap_or(name);
                vec![format!("refs/remotes/origin/{branch}"), format!("refs/tags/{name}"), name.clone()]
            }
        };
        for name in names {
            let name = format!("{name}^{{commit}}");
            if let Ok(commit) = git.run(&["rev-parse", "--verify", "--quiet", &name]).await {
                found = Some(commit);
                break;
            }
        }
    }
    let Some(found) = found else {
        return Err(Error::invalid(format!("{}: repository does not contain ref {wanted}", place.shown())));
    };
    git.run(&["checkout", "--quiet", "--force", "--detach", &found, "--"]).await?;
    git.run(&["rev-parse", "HEAD"]).await
}

/// A directory of the repository, wherever its links would lead.
fn find_below(directory: &Path, below: &str) -> Result<PathBuf> {
    let root = Root::new(minke_sys_open(directory)?);
    let real = root
        .real_path(below.as_bytes())
        .map_err(|source| Error::invalid(format!("{below} of the repository: {source}")).caused_by(source))?;
    let real = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&real);
    let real = Path::new(real).strip_prefix("/").unwrap_or(Path::new(real)).to_owned();
    let is_directory = directory.join(&real).symlink_metadata().is_ok_and(|found| found.is_dir());
    if !is_directory || real.components().next().is_some_and(|first| first.as_os_str() == ".git") {
        return Err(Error::invalid(format!("{below} is not a directory of the repository")));
    }
    Ok(real)
}

/// Takes away `.git`, at the top and in submodules, and gives files the two modes that git knows, whatever the engine's umask is.
fn settle(directory: &Path, keep_git_dir: bool) -> std::io::Result<()> {
    if !keep_git_dir {
        std::fs::remove_dir_all(directory.join(".git"))?;
    }
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let (path, found) = (entry.path(), entry.metadata()?);
            if entry.file_name() == ".git" {
                // git itself writes no other file of this name than one that leads into the top's.
                if !keep_git_dir {
                    std::fs::remove_file(path)?;
                }
            } else if found.is_dir() {
                std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
                open.push(path);
            } else if found.is_file() {
                let mode = if found.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
                std::fs::set_permissions(&path, Permissions::from_mode(mode))?;
            }
        }
    }
    Ok(())
}
