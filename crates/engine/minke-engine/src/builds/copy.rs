//! `COPY`, `ADD` and `WORKDIR`: files that the builder writes itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use minke_dockerfile::Transfer;
use minke_store::Snapshot;
use minke_store::copying::Root;
use minke_store::transplant::{self, Dress, ModeChange};

use super::cache::{Key, Record};
use super::pick::{Chosen, Pick};
use super::put::{Put, put};
use super::solve::{Build, Failure, Made, Place};
use super::state::{Layer, State};
use super::{Builds, blocking, borrow};
use crate::error::{Error, Result};
use crate::spec::identity::Accounts;

impl Build {
    pub(super) async fn do_copy(
        self: &Arc<Self>,
        state: &State,
        transfer: &Transfer,
        add: bool,
        place: &Place<'_>,
    ) -> Result<Made, Failure> {
        let forecast = place.ahead.filter(|ahead| ahead.fits(transfer)).cloned();
        let ahead =
            forecast.unwrap_or_else(|| self.look(transfer, add, place.vertex, place.stage, place.earlier));
        let accounts = || Some(crate::images::read_accounts(state.stack()));
        let dress = dress(transfer, accounts)?.unwrap_or_default();
        let to = Put { dress, target: state.absolute(&transfer.target) };
        let pick = ahead.picked.clone().await.map_err(Failure::again)?;
        // What a stage or an image is made of need not be looked at to know that it is the same.
        let quick = pick.source.key().map(|key| self.quick_key(state, transfer, &pick, &to, key));
        let lent = self.lent_copies(state, pick.verb, &transfer.target);
        if let Some(quick) = &quick
            && lent.is_empty()
            && let Some(record) = self.find(place.stage, std::slice::from_ref(quick))?
        {
            let by = record.by.clone();
            return Ok(self.found(record, std::slice::from_ref(quick), &by));
        }
        ahead.begin();
        let chosen = ahead.chosen.clone().await.map_err(Failure::again)?;
        let below = if transfer.link { "linked" } else { state.key.text() };
        let key = self.copy_key(below, transfer, &pick, &to, &chosen);
        let by = format!("/bin/sh -c #(nop) {} {} in {} ", pick.verb, chosen.shown, transfer.target);
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
        let layer = match ahead.linked(&to.target, &to.dress) {
            Some(layer) => layer.await.map_err(Failure::again)?,
            None => {
                self.busy.send_replace(true);
                let stack = if transfer.link { Vec::new() } else { state.stack() };
                self.write_layer(stack, to, pick, chosen).await?
            }
        };
        if !lent.is_empty() {
            let (store, written) = (Arc::clone(&self.builds.store), layer.clone());
            let same = blocking(move || borrow::choose_same(&store, &written.path, lent)).await?;
            if let Some(record) = same.map_or_else(|| self.find(place.stage, &keys), |lent| Ok(Some(lent)))? {
                return Ok(self.found(record, &keys, &by));
            }
        }
        Ok(Made { keys, by, layer: Some(layer), record: None })
    }

    /// The key of a copy out of something that has a name.
    fn quick_key(&self, state: &State, transfer: &Transfer, pick: &Pick, to: &Put, source: &str) -> Key {
        let texts: Vec<String> = transfer.sources.iter().map(|source| format!("{source:?}")).collect();
        let (options, texts) = (options(transfer, to), texts.join("\n"));
        let below = state.key.text();
        Key::of(&["quick copy", below, source, pick.verb, &to.target, &options, &texts, &self.era()])
    }

    /// The key of what a copy brings over what it stands on.
    pub(super) fn copy_key(
        &self,
        below: &str,
        transfer: &Transfer,
        pick: &Pick,
        to: &Put,
        chosen: &Chosen,
    ) -> Key {
        let options = options(transfer, to);
        Key::of(&["copy", below, pick.verb, &to.target, &options, &chosen.digest, &self.era()])
    }

    /// Writes what was chosen over a stack, or alone.
    pub(super) async fn write_layer(
        &self,
        stack: Vec<PathBuf>,
        to: Put,
        pick: Arc<Pick>,
        chosen: Arc<Chosen>,
    ) -> Result<Layer> {
        let (builds, epoch) = (Arc::clone(&self.builds), self.epoch);
        let write = move || builds.write(&stack, epoch, |root| put(&to, &pick, &chosen, root));
        Ok(self.seal(blocking(write).await?))
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
        let layer = snapshot.map(|snapshot| self.seal(snapshot));
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

/// Whose files become and what they may be. `None`: `accounts` did not say whose a name is.
pub(super) fn dress(
    transfer: &Transfer,
    accounts: impl FnOnce() -> Option<Accounts>,
) -> Result<Option<Dress>> {
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
                    let Some(accounts) = accounts() else { return Ok(None) };
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
    Ok(Some(Dress { owner: (!keeps).then_some(owner), mode }))
}

fn options(transfer: &Transfer, to: &Put) -> String {
    format!("{:?} {} {:?} {}", to.dress, transfer.parents, transfer.exclude, transfer.link)
}
