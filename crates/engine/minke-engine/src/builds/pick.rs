//! What `COPY` and `ADD` take: found, fetched and digested, whatever the stage is by then.

use std::sync::Arc;

use minke_base::Digest;
use minke_dockerfile::{Copy, Ignore, Transfer};
use minke_store::copying::CopyError;
use minke_store::transplant::{self, Found, Item};

use super::scratch::Scratch;
use super::solve::{Build, Failure, StageFuture};
use super::sources::Source;
use super::{blocking, fetch, git};
use crate::error::{Error, Result};

/// Where files are taken from, and which of them.
#[derive(Debug)]
pub(super) struct Pick {
    pub(super) source: Arc<Source>,
    exclude: Ignore,
    pub(super) parents: bool,
    pub(super) unpack: Option<bool>,
    add: bool,
    /// Whose they are counts.
    owners: bool,
    pub(super) verb: &'static str,
}

/// What is to be copied, found and digested.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) pieces: Vec<Piece>,
    pub(super) digest: String,
    /// As the history shows it: `file:…`, `dir:…`, `multi:…`.
    pub(super) shown: String,
}

#[derive(Debug)]
pub(super) enum Piece {
    /// Of the source.
    Found(Found),
    /// A here-document.
    Inline(String, String),
    /// Fetched: where it lies, and its name.
    Fetched(Scratch, String),
    /// What a repository holds.
    Repository(git::Checkout),
    /// An archive of the source, to be unpacked.
    Archive(Found),
}

impl Pick {
    /// Whether `--exclude` names a path of the source: its patterns are of paths below what is copied.
    pub(super) fn skips(&self, copied: &[u8], name: &[u8]) -> bool {
        if self.exclude.is_empty() {
            return false;
        }
        let below = name.strip_prefix(copied).unwrap_or(name);
        let below = below.strip_prefix(b"/").unwrap_or(below);
        !below.is_empty() && self.exclude.excludes(&String::from_utf8_lossy(below))
    }
}

impl Build {
    /// Where the files come from. Stages and images are waited for.
    pub(super) async fn pick(
        &self,
        transfer: &Transfer,
        add: bool,
        stage: usize,
        earlier: &[Option<StageFuture>],
    ) -> Result<Pick, Failure> {
        let verb = if add { "ADD" } else { "COPY" };
        Ok(Pick {
            exclude: Ignore::of(&transfer.exclude)
                .map_err(|error| Error::invalid(format!("{verb} --exclude: {error}")))?,
            parents: transfer.parents,
            unpack: transfer.add.unpack,
            add,
            // Files out of a stage or an image keep whose they are, unless told otherwise.
            owners: transfer.from.is_some() && transfer.chown.is_none(),
            verb,
            source: self.source(transfer.from.as_deref(), stage, earlier).await?,
        })
    }

    /// Finds what the sources mean, fetches what is elsewhere, digests all of it.
    pub(super) async fn choose(&self, transfer: &Transfer, pick: Arc<Pick>) -> Result<Chosen, Failure> {
        let fetched = self.fetch_all(transfer).await?;
        let wanted = transfer.sources.clone();
        Ok(blocking(move || choose(&pick, &wanted, fetched)).await?)
    }

    async fn fetch_all(&self, transfer: &Transfer) -> Result<Vec<(String, Piece)>, Failure> {
        let mut pieces = Vec::new();
        let (checksum, keep) = (transfer.add.checksum.as_deref(), transfer.add.keep_git_dir);
        let mut repositories = 0;
        for url in elsewhere(transfer) {
            let _turn = self.fetching.acquire().await;
            if let Some(place) = git::Place::parse(url)? {
                repositories += 1;
                let checkout = self.builds.check_out(place, checksum, keep).await?;
                pieces.push((url.to_owned(), Piece::Repository(checkout)));
                continue;
            }
            let (scratch, name) = self.builds.fetch(url, &transfer.target).await?;
            if let Some(wanted) = checksum {
                let path = scratch.path().to_owned();
                let found = blocking(move || fetch::sum(&path)).await?;
                if wanted.parse::<Digest>().ok() != Some(found) {
                    return Err(Error::invalid(format!("digest mismatch {found}: {wanted}")).into());
                }
            }
            pieces.push((url.to_owned(), Piece::Fetched(scratch, name)));
        }
        if checksum.is_some() && pieces.is_empty() {
            return Err(Error::invalid("checksum can't be specified for non-HTTP(S) sources").into());
        }
        if keep && repositories == 0 {
            return Err(Error::invalid("ADD --keep-git-dir: none of the sources is a git repository").into());
        }
        Ok(pieces)
    }
}

/// The sources that are not in the context.
pub(super) fn elsewhere(transfer: &Transfer) -> impl Iterator<Item = &str> {
    let own = transfer.from.is_none();
    transfer.sources.iter().filter_map(move |source| match source {
        Copy::Path(path) if own && (fetch::is_url(path) || git::is_place(path)) => Some(path.as_str()),
        _ => None,
    })
}

/// Finds what the sources mean and digests it.
fn choose(pick: &Pick, sources: &[Copy], mut fetched: Vec<(String, Piece)>) -> Result<Chosen> {
    let root = pick.source.root()?;
    let mut pieces = Vec::new();
    for source in sources {
        let path = match source {
            Copy::Inline(document) => {
                pieces.push(Piece::Inline(document.name.clone(), document.content.clone()));
                continue;
            }
            Copy::Path(path) => path,
        };
        if let Some(at) = fetched.iter().position(|(url, _)| url == path) {
            pieces.push(fetched.remove(at).1);
            continue;
        }
        // The classic builder refuses these by their text; nothing would be found outside anyway.
        if pick.source.key().is_none() && leads_out(path) {
            return Err(Error::invalid(format!(
                "{} failed: forbidden path outside the build context: {path} ()",
                pick.verb
            )));
        }
        let matches = |pattern: &str, name: &str| minke_dockerfile::matches(pattern, name).unwrap_or(false);
        let found = transplant::choose(&root, path, &matches).map_err(|error| missing(pick, path, error))?;
        for found in found {
            let named = String::from_utf8_lossy(&found.named).into_owned();
            // Patterns are of paths below what is copied; of a file that is its name.
            let base = named.rsplit('/').next().unwrap_or(&named);
            if !named.is_empty() && !found.is_dir && pick.exclude.excludes(base) {
                continue;
            }
            let archive = pick.add
                && !found.is_dir
                && pick.unpack != Some(false)
                && fetch::is_archive(&pick.source.fd()?, &found.path);
            pieces.push(if archive { Piece::Archive(found) } else { Piece::Found(found) });
        }
    }
    if pieces.is_empty() {
        return Err(Error::invalid(format!("{} failed: no source files were specified", pick.verb)));
    }
    let mut sums = Vec::with_capacity(pieces.len());
    let fd = pick.source.fd()?;
    let mut kinds = Vec::new();
    for piece in &pieces {
        let (kind, sum) = match piece {
            Piece::Found(found) | Piece::Archive(found) => {
                let name: &[u8] = if found.is_dir && !pick.parents { b"" } else { &found.named };
                let items = [Item::Tree { path: &found.path, name }];
                let skip = |name: &[u8], _is_dir: bool| pick.skips(&found.path, name);
                let sum = transplant::digest(&fd, &items, &skip, pick.source.sums(), pick.owners).map_err(
                    |source| Error::failed(format!("read {}", String::from_utf8_lossy(&found.named)), source),
                )?;
                (if found.is_dir { "dir" } else { "file" }, sum)
            }
            Piece::Inline(name, content) => {
                ("file", minke_store::content::hash(format!("{name}\n{content}").as_bytes()))
            }
            Piece::Repository(checkout) => ("dir", minke_store::content::hash(checkout.key.as_bytes())),
            Piece::Fetched(scratch, name) => {
                let sum = fetch::sum(scratch.path())?;
                ("file", minke_store::content::hash(format!("{name}\n{sum}").as_bytes()))
            }
        };
        kinds.push(kind);
        sums.push(sum.to_string());
    }
    let digest = sums.join(" ");
    let shown = match (&kinds[..], &sums[..]) {
        ([kind], [sum]) => format!("{kind}:{}", sum.trim_start_matches("sha256:")),
        _ => format!("multi:{}", minke_store::content::hash(digest.as_bytes()).hex()),
    };
    Ok(Chosen { pieces, digest, shown })
}

fn leads_out(path: &str) -> bool {
    let mut depth = 0_i32;
    path.split('/').any(|part| {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        // A leading slash is the context's root, above which there is nothing.
        depth < 0 && !path.starts_with('/')
    })
}

fn missing(pick: &Pick, path: &str, error: CopyError) -> Error {
    match error {
        CopyError::Missing { .. } if pick.source.key().is_none() => Error::invalid(format!(
            "{} failed: file not found in build context or excluded by .dockerignore: stat {path}: file does not exist",
            pick.verb
        )),
        CopyError::Missing { .. } => {
            Error::invalid(format!("{} failed: stat {path}: file does not exist", pick.verb))
        }
        other => Error::failed(format!("{} failed", pick.verb), other),
    }
}
