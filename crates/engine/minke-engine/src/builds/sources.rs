//! Where `COPY`, `ADD` and mounts take files from: the context, a stage, an image.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use minke_store::Store;
use minke_store::copying::Root;
use minke_store::transplant::Sums;

use super::context::Files;
use super::mounts::minke_sys_open;
use super::solve::{Build, Failure, StageFuture};
use super::state::State;
use super::{NamedContext, blocking};
use crate::error::{Error, Result};
use crate::images::Image;

/// Files to take.
#[derive(Debug)]
pub(super) struct Source {
    place: Held,
    fd: OwnedFd,
    none: Sums,
}

#[derive(Debug)]
enum Held {
    /// What somebody sent.
    Files(Arc<Files>),
    /// A stage or an image: its directories, top first, and what names them.
    Stack { stack: Vec<PathBuf>, key: String, _state: Option<Arc<State>> },
}

impl Source {
    pub(super) fn root(&self) -> Result<Root> {
        Ok(Root::new(self.fd()?))
    }

    pub(super) fn fd(&self) -> Result<OwnedFd> {
        self.fd.try_clone().map_err(|source| Error::failed("open what is copied", source))
    }

    /// The digests of files that are known.
    pub(super) fn sums(&self) -> &Sums {
        match &self.place {
            Held::Files(files) => files.sums(),
            Held::Stack { .. } => &self.none,
        }
    }

    /// What names these files, when that is known without looking at them.
    pub(super) fn key(&self) -> Option<&str> {
        match &self.place {
            Held::Files(_) => None,
            Held::Stack { key, .. } => Some(key),
        }
    }

    /// The one directory that it is.
    pub(super) fn directory(&self) -> Option<&Path> {
        match &self.place {
            Held::Files(files) => Some(files.directory()),
            Held::Stack { .. } => None,
        }
    }

    pub(super) fn stack(&self) -> &[PathBuf] {
        match &self.place {
            Held::Files(_) => &[],
            Held::Stack { stack, .. } => stack,
        }
    }
}

impl Build {
    /// What `--from=NAME` means; the context without.
    pub(super) async fn source(
        &self,
        from: Option<&str>,
        stage: usize,
        earlier: &[Option<StageFuture>],
    ) -> Result<Arc<Source>, Failure> {
        let Some(name) = from else {
            return Ok(match &self.request.context {
                Some(context) => files(Arc::clone(context.files()))?,
                None => files(Arc::clone(&self.builds.nothing()?))?,
            });
        };
        if let Some(index) = self.stage_called(name, stage) {
            let state = super::from::earlier(earlier, index).await?;
            let (stack, key) = (state.view(), state.key.text().to_owned());
            return Ok(view(&self.builds.store, stack, key, Some(state)).await?);
        }
        if name.parse::<usize>().is_ok() {
            return Err(Error::invalid(format!("invalid from flag value {name}: invalid stage index")).into());
        }
        if let Some(NamedContext::Files(context)) = self.request.contexts.get(name) {
            return Ok(files(Arc::clone(context.files()))?);
        }
        let image = self.image(name, &self.request.platform).await?;
        let stack = image.layers(&self.builds.store)?;
        let key = format!("image {}", image.diff_ids.join(" "));
        Ok(view(&self.builds.store, stack, key, None).await?)
    }
}

impl Build {
    fn stage_called(&self, name: &str, before: usize) -> Option<usize> {
        let stages = &self.file.stages[..before];
        let number = name.parse().ok().filter(|number| *number < stages.len());
        stages.iter().position(|stage| super::plan::is_called(stage, name)).or(number)
    }

    /// Whether a name means an image, which may have to be pulled.
    pub(super) fn is_image(&self, name: &str, stage: usize) -> bool {
        self.stage_called(name, stage).is_none()
            && !matches!(self.request.contexts.get(name), Some(NamedContext::Files(_)))
            && name.parse::<usize>().is_err()
    }

    /// An image, found or pulled once for the whole build.
    pub(super) async fn image(&self, name: &str, platform: &str) -> Result<Arc<Image>> {
        let name = match self.request.contexts.get(name) {
            Some(NamedContext::Image(image)) => image,
            _ => name,
        };
        let cell = {
            let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(images.entry((name.to_owned(), platform.to_owned())).or_default())
        };
        let found = cell.get_or_try_init(|| self.builds.image(&self.request, name, platform)).await?;
        Ok(Arc::clone(found))
    }
}

fn files(files: Arc<Files>) -> Result<Arc<Source>> {
    let fd = minke_sys_open(files.directory())?;
    Ok(Arc::new(Source { place: Held::Files(files), fd, none: Sums::new() }))
}

async fn view(
    store: &Arc<Store>,
    stack: Vec<PathBuf>,
    key: String,
    state: Option<Arc<State>>,
) -> Result<Arc<Source>> {
    let (worker, wanted) = (Arc::clone(store), stack.clone());
    let fd = blocking(move || {
        worker
            .driver()
            .open_view(&wanted)
            .map_err(|source| Error::failed("open what is copied", source))?
            .ok_or_else(|| Error::invalid(super::NO_OVERLAY))
    })
    .await?;
    Ok(Arc::new(Source { place: Held::Stack { stack, key, _state: state }, fd, none: Sums::new() }))
}
