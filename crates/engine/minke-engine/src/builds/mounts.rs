//! `RUN --mount`: what a step sees beside its root, and what of it counts for the cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use minke_dockerfile::{Bind, Form, MountKind, Run, Sharing};
use minke_store::copying::Root;
use minke_store::transplant::{self, Dress, Item};

use super::blocking;
use super::caches::CacheUse;
use super::scratch::Scratch;
use super::solve::{Build, Failure, Place};
use super::sources::Source;
use super::state::State;
use crate::error::{Error, Result};
use crate::spec::mounts::{ImageWish, MountWish, Sources, What, clean};

/// The mounts of one step. What was made for them goes when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) wishes: Vec<MountWish>,
    /// Directories of what is mounted from several.
    pub(super) sources: Sources,
    /// Secrets that are variables.
    pub(super) environment: Vec<String>,
    /// What of them the result depends on.
    pub(super) key: String,
    /// Caches to be made ready before the step runs.
    caches: Vec<CacheWish>,
    /// Files and directories that were made.
    scratch: Vec<Scratch>,
    /// Keeps caches from being removed, and others out of those that are not shared.
    in_use: Vec<CacheUse>,
    /// Keeps what is mounted from being collected or removed.
    kept: Vec<Arc<Source>>,
}

#[derive(Debug)]
struct CacheWish {
    id: String,
    target: String,
    sharing: Sharing,
    readonly: bool,
    mode: u32,
    owner: (u32, u32),
    from: Option<(Arc<Source>, String)>,
}

impl Mounts {
    /// Where something is mounted, without a slash in front.
    pub(super) fn stubs(&self) -> Vec<Vec<u8>> {
        let targets = self.wishes.iter().map(|wish| wish.target.trim_start_matches('/').as_bytes().to_vec());
        targets.filter(|target| !target.starts_with(b"dev/")).collect()
    }

    fn bind(&mut self, target: &str, source: PathBuf, writable: bool) {
        let what = What::Bind {
            source,
            propagation: "rprivate".to_owned(),
            create: false,
            flat: false,
            shallow_readonly: false,
        };
        self.wishes.push(MountWish { target: clean(target), what, writable, mode: String::new() });
    }
}

impl Build {
    /// Sorts out a step's mounts; caches are only noted.
    pub(super) async fn plan_mounts(
        &self,
        state: &State,
        run: &Run,
        place: &Place<'_>,
    ) -> Result<Mounts, Failure> {
        let mut mounts = Mounts::default();
        let mut key = Vec::new();
        if let Form::Script { name, content } = &run.form {
            let scratch = self.builds.scratch_file(content.as_bytes(), 0o755, (0, 0))?;
            mounts.bind(&format!("/dev/pipes/{name}"), scratch.path().to_owned(), false);
            mounts.scratch.push(scratch);
            key.push(content.clone());
        }
        for mount in &run.mounts {
            let target = state.absolute(&mount.target);
            match &mount.kind {
                MountKind::Bind(bind) => {
                    let part = self.plan_bind(&mut mounts, bind, &target, place).await?;
                    key.push(format!("bind {target} {part} {}", bind.writable));
                }
                MountKind::Cache { id, readonly, sharing, from, source, mode, uid, gid } => {
                    let from = match from {
                        Some(name) => {
                            Some((self.source(Some(name), place.stage, place.earlier).await?, source.clone()))
                        }
                        None => None,
                    };
                    let id = if id.is_empty() { target.clone() } else { id.clone() };
                    key.push(format!("cache {target} {id}"));
                    mounts.caches.push(CacheWish {
                        id,
                        target,
                        sharing: *sharing,
                        readonly: *readonly,
                        mode: mode.unwrap_or(0o755),
                        owner: (uid.unwrap_or(0), gid.unwrap_or(0)),
                        from,
                    });
                }
                MountKind::Tmpfs { size } => {
                    key.push(format!("tmpfs {target}"));
                    let options = size.map(|size| format!("size={size}")).into_iter().collect();
                    let what = What::Tmpfs { options, listed: true };
                    let target = clean(&target);
                    mounts.wishes.push(MountWish { target, what, writable: true, mode: String::new() });
                }
                MountKind::Secret { id, required, mode, uid, gid, env } => {
                    key.push(format!("secret {id} {} {env:?}", mount.target));
                    let Some(secret) = self.request.secrets.get(id) else {
                        if *required {
                            return Err(Error::invalid(format!("secret {id}: not found")).into());
                        }
                        continue;
                    };
                    if let Some(name) = env {
                        mounts.environment.push(format!("{name}={}", String::from_utf8_lossy(secret)));
                    }
                    if !mount.target.is_empty() || env.is_none() {
                        let target = match mount.target.as_str() {
                            "" => format!("/run/secrets/{id}"),
                            _ => target,
                        };
                        let owner = (uid.unwrap_or(0), gid.unwrap_or(0));
                        let scratch = self.builds.secret_file(secret, mode.unwrap_or(0o400), owner)?;
                        mounts.bind(&target, scratch.path().to_owned(), false);
                        mounts.scratch.push(scratch);
                    }
                }
                MountKind::Ssh { required, .. } => {
                    if *required {
                        return Err(Error::invalid(
                            "RUN --mount=type=ssh is refused: no agent's socket is forwarded to builds",
                        )
                        .into());
                    }
                }
            }
        }
        mounts.key = key.join("\n");
        Ok(mounts)
    }

    async fn plan_bind(
        &self,
        mounts: &mut Mounts,
        bind: &Bind,
        target: &str,
        place: &Place<'_>,
    ) -> Result<String, Failure> {
        let source = self.source(bind.from.as_deref(), place.stage, place.earlier).await?;
        let path = clean(&format!("/{}", bind.source));
        let inner = path.trim_start_matches('/').as_bytes().to_vec();
        let (worker, wanted) = (Arc::clone(&source), inner.clone());
        let (real, is_dir, digest) = blocking(move || {
            let root = worker.root()?;
            let failed =
                |source| Error::failed(format!("mount {}", String::from_utf8_lossy(&wanted)), source);
            let real = root.real_path(&wanted).map_err(failed)?;
            let is_dir = transplant::is_directory(&root, &real).map_err(failed)?.unwrap_or(false);
            // What a stage is made of is named by its key; files that somebody sent are looked at.
            let digest = match worker.key() {
                Some(key) => key.to_owned(),
                None => {
                    let inner = real.strip_prefix(b"/").unwrap_or(&real);
                    let items = [Item::Tree { path: inner, name: b"" }];
                    let name = [Item::Tree { path: inner, name: b"file" }];
                    let items = if is_dir { &items } else { &name };
                    transplant::digest(&worker.fd()?, items, &|_, _| false, worker.sums(), false)
                        .map_err(failed)?
                        .to_string()
                }
            };
            Ok((real, is_dir, digest))
        })
        .await?;
        let inner = real.strip_prefix(b"/").unwrap_or(&real).to_vec();
        if bind.writable {
            // Writes are thrown away: it is a copy.
            let scratch = self.builds.scratch_directory()?;
            let (worker, to) = (Arc::clone(&source), scratch.path().to_owned());
            blocking(move || {
                let root = Root::new(minke_sys_open(&to)?);
                let name: &[u8] = if is_dir { b"" } else { b"file" };
                let items = [Item::Tree { path: &inner, name }];
                transplant::transplant(&worker.fd()?, &items, &|_, _| false, &Dress::default(), &root, b"/")
                    .map_err(|source| Error::failed("copy what is mounted", source))
            })
            .await?;
            let path = if is_dir { scratch.path().to_owned() } else { scratch.path().join("file") };
            mounts.bind(target, path, true);
            mounts.scratch.push(scratch);
        } else if let Some(directory) = source.directory() {
            mounts.bind(target, directory.join(as_path(&inner)), false);
        } else {
            let at = Path::new("/").join(as_path(&inner));
            let found = minke_store::rootfs::parts(source.stack(), &at)
                .map_err(|source| Error::failed("look into what is mounted", source))?;
            let mut parts = found.unwrap_or_default();
            if let [one] = &parts[..] {
                if one.is_dir() {
                    // overlayfs wants two.
                    parts.push(self.builds.empty_directory()?);
                } else {
                    let file = one.clone();
                    mounts.bind(target, file, false);
                    mounts.kept.push(source);
                    return Ok(format!("{digest} {path}"));
                }
            }
            let target = clean(target);
            mounts.sources.insert(target.clone(), parts);
            let what = What::Image(ImageWish::default());
            mounts.wishes.push(MountWish { target, what, writable: false, mode: String::new() });
        }
        mounts.kept.push(source);
        Ok(format!("{digest} {path}"))
    }

    /// Makes caches ready: a step is going to run with them.
    pub(super) async fn fill_mounts(&self, mounts: &mut Mounts) -> Result<(), Failure> {
        for wish in std::mem::take(&mut mounts.caches) {
            let cache = self.builds.caches.open(&wish.id, wish.sharing).await;
            if !cache.path().exists() {
                self.make_cache(&wish, cache.path()).await?;
            }
            mounts.bind(&wish.target, cache.path().to_owned(), !wish.readonly);
            mounts.in_use.push(cache);
        }
        Ok(())
    }

    async fn make_cache(&self, wish: &CacheWish, path: &Path) -> Result<()> {
        let path = path.to_owned();
        let new = path.with_extension("new");
        let (mode, owner) = (wish.mode, wish.owner);
        let from = wish.from.clone();
        blocking(move || {
            use std::os::unix::fs::PermissionsExt as _;
            let failed = |source| Error::failed(format!("make the cache {}", path.display()), source);
            drop(std::fs::remove_dir_all(&new));
            std::fs::create_dir_all(&new).map_err(failed)?;
            if let Some((source, inner)) = from {
                let root = source.root()?;
                let copy = |source| Error::failed("fill a cache", source);
                let real = root.real_path(inner.as_bytes()).map_err(copy)?;
                let items = [Item::Tree { path: real.strip_prefix(b"/").unwrap_or(&real), name: b"" }];
                let target = Root::new(minke_sys_open(&new)?);
                transplant::transplant(
                    &source.fd()?,
                    &items,
                    &|_, _| false,
                    &Dress::default(),
                    &target,
                    b"/",
                )
                .map_err(copy)?;
            }
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
            std::os::unix::fs::chown(&new, Some(owner.0), Some(owner.1)).map_err(failed)?;
            match std::fs::rename(&new, &path) {
                // Another step of this build was faster.
                Err(_) if path.exists() => Ok(()),
                other => other.map_err(failed),
            }
        })
        .await
    }
}

/// A directory of ours.
pub(super) fn minke_sys_open(path: &Path) -> Result<std::os::fd::OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| Error::failed(format!("open {}", path.display()), std::io::Error::from(source)))
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}
