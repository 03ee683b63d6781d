//! `COPY`, `ADD` and `WORKDIR`: files that the builder writes itself.

use std::path::Path;
use std::sync::Arc;

use minke_base::Digest;
use minke_dockerfile::{Copy, Ignore, Transfer};
use minke_store::Snapshot;
use minke_store::copying::{CopyError, Root};
use minke_store::transplant::{self, Dress, Found, Item, ModeChange};

use super::cache::{Key, Record};
use super::scratch::Scratch;
use super::solve::{Build, Failure, Made, Place};
use super::sources::Source;
use super::state::{Layer, State};
use super::{Builds, blocking, borrow, fetch};
use crate::error::{Error, Result};

/// What is to be copied, found and digested.
#[derive(Debug)]
struct Chosen {
    pieces: Vec<Piece>,
    digest: String,
    /// As the history shows it: `file:…`, `dir:…`, `multi:…`.
    shown: String,
}

#[derive(Debug)]
enum Piece {
    /// Of the source.
    Found(Found),
    /// A here-document.
    Inline(String, String),
    /// Fetched: where it lies, and its name.
    Fetched(Scratch, String),
    /// An archive of the source, to be unpacked.
    Archive(Found),
}

/// Everything that decides what a copy does, for work off the way of the engine.
struct Work {
    source: Arc<Source>,
    exclude: Ignore,
    dress: Dress,
    target: String,
    parents: bool,
    unpack: Option<bool>,
    add: bool,
    verb: &'static str,
}

impl Work {
    /// Whether `--exclude` names a path of the source: its patterns are of paths below what is copied.
    fn skips(&self, copied: &[u8], name: &[u8]) -> bool {
        if self.exclude.is_empty() {
            return false;
        }
        let below = name.strip_prefix(copied).unwrap_or(name);
        let below = below.strip_prefix(b"/").unwrap_or(below);
        !below.is_empty() && self.exclude.excludes(&String::from_utf8_lossy(below))
    }
}

impl Build {
    pub(super) async fn do_copy(
        &self,
        state: &State,
        transfer: &Transfer,
        add: bool,
        place: &Place<'_>,
    ) -> Result<Made, Failure> {
        let verb = if add { "ADD" } else { "COPY" };
        if transfer.add.keep_git_dir {
            return Err(Error::invalid("ADD --keep-git-dir is refused: repositories are not fetched").into());
        }
        let source = self.source(transfer.from.as_deref(), place).await?;
        let work = Arc::new(Work {
            exclude: Ignore::of(&transfer.exclude)
                .map_err(|error| Error::invalid(format!("{verb} --exclude: {error}")))?,
            dress: self.dress(state, transfer)?,
            target: state.absolute(&transfer.target),
            parents: transfer.parents,
            unpack: transfer.add.unpack,
            add,
            verb,
            source,
        });
        let options = format!("{:?} {} {:?} {}", work.dress, work.parents, transfer.exclude, transfer.link);
        // What a stage or an image is made of need not be looked at to know that it is the same.
        let texts: Vec<String> = transfer.sources.iter().map(|source| format!("{source:?}")).collect();
        let quick = work.source.key().map(|key| {
            Key::of(&[
                "quick copy",
                state.key.text(),
                key,
                verb,
                &work.target,
                &options,
                &texts.join("\n"),
                &self.era(),
            ])
        });
        let lent = self.lent_copies(state, verb, &transfer.target);
        if let Some(quick) = &quick
            && lent.is_empty()
            && let Some(record) = self.find(place.stage, std::slice::from_ref(quick))?
        {
            let by = record.by.clone();
            return Ok(self.found(record, std::slice::from_ref(quick), &by));
        }
        let fetched = self.fetch_all(transfer).await?;
        let (worker, wanted) = (Arc::clone(&work), transfer.sources.clone());
        let chosen = blocking(move || choose(&worker, &wanted, fetched)).await?;
        let below = if transfer.link { "linked" } else { state.key.text() };
        let key = Key::of(&["copy", below, verb, &work.target, &options, &chosen.digest, &self.era()]);
        let by = format!("/bin/sh -c #(nop) {verb} {} in {} ", chosen.shown, transfer.target);
        // A layer that stands alone has the same files wherever it stands, but the stage is another.
        let mut keys = vec![key];
        if transfer.link {
            keys.push(Key::of(&["linked", state.key.text(), keys[0].text()]));
            keys.swap(0, 1);
        }
        keys.extend(quick);
        let own = self.find(place.stage, &keys)?;
        let same = |lent: &&Record| own.as_ref().is_some_and(|own| own.diff_id() == lent.diff_id());
        if let Some(record) = lent.iter().find(same).cloned().or(own.filter(|_| lent.is_empty())) {
            return Ok(self.found(record, &keys, &by));
        }
        let stack = if transfer.link { Vec::new() } else { state.stack() };
        let (builds, epoch) = (Arc::clone(&self.builds), self.epoch);
        let snapshot =
            blocking(move || builds.write(&stack, epoch, |root| put(&work, &chosen, root))).await?;
        if !lent.is_empty() {
            let (store, written) = (Arc::clone(&self.builds.store), snapshot.path().to_owned());
            let same = blocking(move || borrow::choose_same(&store, &written, lent)).await?;
            if let Some(record) = same.map_or_else(|| self.find(place.stage, &keys), |lent| Ok(Some(lent)))? {
                return Ok(self.found(record, &keys, &by));
            }
        }
        let layer = Layer::sealing(&self.builds.store, snapshot);
        Ok(Made { keys, by, layer: Some(layer), record: None })
    }

    fn dress(&self, state: &State, transfer: &Transfer) -> Result<Dress> {
        let mode = match &transfer.chmod {
            Some(text) => Some(ModeChange::parse(text).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
                ))
            })?),
            None => None,
        };
        let owner = match transfer.chown.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => {
                let (user, group) = text.split_once(':').unwrap_or((text, ""));
                let numeric = |text: &str| text.parse::<u32>().ok();
                match (numeric(user), if group.is_empty() { numeric(user) } else { numeric(group) }) {
                    (Some(uid), Some(gid)) => (uid, gid),
                    _ => {
                        let accounts = crate::images::read_accounts(state.stack());
                        // A user's name alone stands for the group of the same number.
                        let found = accounts.resolve(text, &[])?;
                        (found.uid, if group.is_empty() { found.uid } else { found.gid })
                    }
                }
            }
            None => (0, 0),
        };
        // Files out of a stage or an image keep whose they are, unless told otherwise.
        let keeps = transfer.from.is_some() && transfer.chown.is_none();
        Ok(Dress { owner: (!keeps).then_some(owner), mode })
    }

    async fn fetch_all(&self, transfer: &Transfer) -> Result<Vec<(String, Piece)>, Failure> {
        let mut pieces = Vec::new();
        for source in &transfer.sources {
            let Copy::Path(url) = source else { continue };
            if transfer.from.is_some() || !fetch::is_url(url) {
                continue;
            }
            let (scratch, name) = self.builds.fetch(url, &transfer.target).await?;
            if let Some(wanted) = &transfer.add.checksum {
                let path = scratch.path().to_owned();
                let found = blocking(move || fetch::sum(&path)).await?;
                if wanted.parse::<Digest>().ok() != Some(found) {
                    return Err(Error::invalid(format!("digest mismatch {found}: {wanted}")).into());
                }
            }
            pieces.push((url.clone(), Piece::Fetched(scratch, name)));
        }
        if transfer.add.checksum.is_some() && pieces.is_empty() {
            return Err(Error::invalid("checksum can't be specified for non-HTTP(S) sources").into());
        }
        Ok(pieces)
    }

    /// Makes the working directory, if it is not there, and sets it.
    pub(super) async fn do_workdir(
        &self,
        state: &mut State,
        path: &str,
        place: &Place<'_>,
    ) -> Result<Made, Failure> {
        if path.is_empty() {
            return Err(Error::invalid("WORKDIR cannot be an empty path").into());
        }
        let path = state.absolute(path);
        let path = if path == "/" { path } else { path.trim_end_matches('/').to_owned() };
        state.config.working_dir.clone_from(&path);
        let by = format!("/bin/sh -c #(nop) WORKDIR {path}");
        let key = Key::of(&["workdir", state.key.text(), &path, &state.id, &self.era()]);
        if let Some(made) = self.borrow_step(state, std::slice::from_ref(&key), &by, place)? {
            return Ok(made);
        }
        let (builds, stack, epoch) = (Arc::clone(&self.builds), state.stack(), self.epoch);
        let snapshot = blocking(move || {
            let below = minke_store::stack::Stack::new(stack.clone());
            let there = below
                .stat(Path::new(&path))
                .map_err(|source| Error::failed(format!("look up {path}"), source))?;
            match there {
                Some(found) if rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir() => Ok(None),
                _ => builds
                    .write(&stack, epoch, |root| {
                        transplant::make_directory(root, path.as_bytes(), None)
                            .map_err(|source| Error::failed(format!("make {path}"), source))
                    })
                    .map(Some),
            }
        })
        .await?;
        let layer = snapshot.map(|snapshot| Layer::sealing(&self.builds.store, snapshot));
        Ok(Made { keys: vec![key], by, layer, record: None })
    }
}

impl Builds {
    /// Has `fill` write over a stack (or into an empty tree, where that is empty) and keeps what it wrote.
    fn write(
        &self,
        stack: &[std::path::PathBuf],
        epoch: Option<i64>,
        fill: impl FnOnce(&Root) -> Result<()>,
    ) -> Result<Snapshot> {
        let failed = |source| Error::failed("keep what a step wrote", source);
        let snapshot = if stack.is_empty() {
            let snapshot = self.store.new_snapshot().map_err(failed)?;
            fill(&Root::new(super::mounts::minke_sys_open(snapshot.path())?))?;
            if let Some(epoch) = epoch {
                clamp(snapshot.path(), epoch)?;
            }
            snapshot
        } else {
            let scratch = self.scratch_directory()?;
            let root = self
                .store
                .driver()
                .open_work(stack, scratch.path())
                .map_err(|source| Error::failed("open a stage to be written", source))?;
            fill(&Root::new(root))?;
            let upper = scratch.path().join("upper");
            if let Some(epoch) = epoch {
                clamp(&upper, epoch)?;
            }
            self.store.take_snapshot(&upper).map_err(failed)?
        };
        Ok(snapshot)
    }
}

fn clamp(tree: &Path, epoch: i64) -> Result<()> {
    transplant::clamp_times(tree, epoch).map_err(|source| Error::failed("set the times of files", source))
}

/// Finds what the sources mean and digests it.
fn choose(work: &Work, sources: &[Copy], mut fetched: Vec<(String, Piece)>) -> Result<Chosen> {
    let root = work.source.root()?;
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
        if work.source.key().is_none() && leads_out(path) {
            return Err(Error::invalid(format!(
                "{} failed: forbidden path outside the build context: {path} ()",
                work.verb
            )));
        }
        let matches = |pattern: &str, name: &str| minke_dockerfile::matches(pattern, name).unwrap_or(false);
        let found = transplant::choose(&root, path, &matches).map_err(|error| missing(work, path, error))?;
        for found in found {
            let named = String::from_utf8_lossy(&found.named).into_owned();
            // Patterns are of paths below what is copied; of a file that is its name.
            let base = named.rsplit('/').next().unwrap_or(&named);
            if !named.is_empty() && !found.is_dir && work.exclude.excludes(base) {
                continue;
            }
            let archive = work.add
                && !found.is_dir
                && work.unpack != Some(false)
                && fetch::is_archive(&work.source.fd()?, &found.path);
            pieces.push(if archive { Piece::Archive(found) } else { Piece::Found(found) });
        }
    }
    if pieces.is_empty() {
        return Err(Error::invalid(format!("{} failed: no source files were specified", work.verb)));
    }
    let mut sums = Vec::with_capacity(pieces.len());
    let fd = work.source.fd()?;
    let mut kinds = Vec::new();
    for piece in &pieces {
        let (kind, sum) = match piece {
            Piece::Found(found) | Piece::Archive(found) => {
                let name: &[u8] = if found.is_dir && !work.parents { b"" } else { &found.named };
                let items = [Item::Tree { path: &found.path, name }];
                let skip = |name: &[u8], _is_dir: bool| work.skips(&found.path, name);
                let sum =
                    transplant::digest(&fd, &items, &skip, work.source.sums(), work.dress.owner.is_none())
                        .map_err(|source| {
                            Error::failed(format!("read {}", String::from_utf8_lossy(&found.named)), source)
                        })?;
                (if found.is_dir { "dir" } else { "file" }, sum)
            }
            Piece::Inline(name, content) => {
                ("file", minke_store::content::hash(format!("{name}\n{content}").as_bytes()))
            }
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

fn missing(work: &Work, path: &str, error: CopyError) -> Error {
    match error {
        CopyError::Missing { .. } if work.source.key().is_none() => Error::invalid(format!(
            "{} failed: file not found in build context or excluded by .dockerignore: stat {path}: file does not exist",
            work.verb
        )),
        CopyError::Missing { .. } => {
            Error::invalid(format!("{} failed: stat {path}: file does not exist", work.verb))
        }
        other => Error::failed(format!("{} failed", work.verb), other),
    }
}

/// Writes what was chosen into a stage's root.
fn put(work: &Work, chosen: &Chosen, root: &Root) -> Result<()> {
    let failed = |source: CopyError| {
        let text = match &source {
            CopyError::NotDirectory { path } => {
                format!("{} failed: cannot copy to non-directory: {path}", work.verb)
            }
            _ => format!("{} failed: {}", work.verb, crate::error::chain(&source)),
        };
        Error::invalid(text).caused_by(source)
    };
    let target = work.target.as_bytes();
    let several = chosen.pieces.len() > 1;
    if several && !work.target.ends_with('/') {
        return Err(Error::invalid(format!(
            "When using {} with more than one source file, the destination must be a directory and end with a /",
            work.verb
        )));
    }
    let into = several
        || work.parents
        || work.target.ends_with('/')
        || transplant::is_directory(root, target).map_err(failed)? == Some(true);
    let fd = work.source.fd()?;
    let trimmed = work.target.trim_end_matches('/');
    let (parent, last) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    for piece in &chosen.pieces {
        // Where one file goes: into the directory under its own name, or under the target's.
        let named = |own: &[u8]| -> (Vec<u8>, Vec<u8>) {
            if into {
                (target.to_vec(), own.to_vec())
            } else {
                (format!("{parent}/").into_bytes(), last.as_bytes().to_vec())
            }
        };
        let copy = |source: &std::os::fd::OwnedFd, directory: &[u8], item: Item<'_>| {
            let from = match item {
                Item::Tree { path, .. } => path,
                Item::Bytes { .. } => b"",
            };
            let skip = |name: &[u8], _is_dir: bool| work.skips(from, name);
            transplant::transplant(source, &[item], &skip, &work.dress, root, directory).map_err(failed)
        };
        match piece {
            Piece::Found(found) if work.parents => {
                copy(&fd, target, Item::Tree { path: &found.path, name: &found.named })?;
            }
            Piece::Found(found) if found.is_dir => {
                copy(&fd, target, Item::Tree { path: &found.path, name: b"" })?;
            }
            Piece::Found(found) => {
                let base = found.named.rsplit(|b| *b == b'/').next().unwrap_or(&found.named);
                let (directory, name) = named(base);
                copy(&fd, &directory, Item::Tree { path: &found.path, name: &name })?;
            }
            Piece::Inline(name, content) => {
                let (directory, name) = named(name.as_bytes());
                copy(&fd, &directory, Item::Bytes { name: &name, bytes: content.as_bytes() })?;
            }
            Piece::Fetched(scratch, name) if work.unpack == Some(true) => {
                let file = std::fs::File::open(scratch.path())
                    .map_err(|source| Error::failed(format!("open {name}"), source))?;
                transplant::unpack_archive(file, None, root, target).map_err(failed)?;
            }
            Piece::Fetched(scratch, name) => {
                let (directory, name) = named(name.as_bytes());
                let at = scratch.path();
                let holder = at.parent().unwrap_or(at);
                let own = at.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
                let fd = super::mounts::minke_sys_open(holder)?;
                copy(&fd, &directory, Item::Tree { path: own, name: &name })?;
            }
            Piece::Archive(found) => {
                let file = root_file(&fd, &found.path)?;
                let owner = work.dress.owner.filter(|owner| *owner != (0, 0));
                transplant::unpack_archive(file, owner, root, target).map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn root_file(source: &std::os::fd::OwnedFd, path: &[u8]) -> Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags};
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path);
    minke_sys::beneath::open_in_root(source, name, OFlags::RDONLY, Mode::empty())
        .map(std::fs::File::from)
        .map_err(|source| Error::failed("open an archive", std::io::Error::from(source)))
}
