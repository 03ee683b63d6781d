//! A stage as far as it is built: the configuration of its image, its files, its history.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use minke_base::Digest;
use minke_dockerfile::Scope;
use minke_store::document::{ContainerConfig, History, ImageConfig};
use minke_store::{Descriptor, SealedLayer, Snapshot, Store};

use super::borrow::Lender;
use super::cache::Key;
use super::clean::Clean;
use crate::error::{Error, Result};
use crate::images::Image;

/// A layer's digest, which is computed while the next steps go on.
type Sealing = Shared<BoxFuture<'static, Result<Descriptor, Arc<str>>>>;

/// A layer that a step made.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// Its tree.
    pub(super) path: PathBuf,
    sealing: Sealing,
    /// Where its blob is not plain.
    diff_id: Option<Digest>,
    /// Keeps the tree until the store does.
    _snapshot: Option<Arc<Snapshot>>,
}

impl Layer {
    /// One that the store has.
    pub(super) fn known(path: PathBuf, blob: Descriptor, diff_id: Option<Digest>) -> Self {
        Self { path, sealing: async move { Ok(blob) }.boxed().shared(), diff_id, _snapshot: None }
    }

    /// One that was made just now; its digest is computed from here on.
    pub(super) fn sealing(store: &Arc<Store>, snapshot: Snapshot, clean: Arc<Clean>) -> Self {
        let snapshot = Arc::new(snapshot);
        let (worker, tree) = (Arc::clone(store), Arc::clone(&snapshot));
        let task = tokio::task::spawn_blocking(move || {
            let finished = worker.finish_snapshot(&tree);
            drop(clean);
            finished
        });
        let sealing = async move {
            match task.await {
                Ok(Ok(SealedLayer { blob, .. })) => Ok(blob),
                Ok(Err(error)) => Err(Arc::from(crate::error::chain(&error))),
                Err(error) => Err(Arc::from(error.to_string())),
            }
        };
        Self {
            path: snapshot.path().to_owned(),
            sealing: sealing.boxed().shared(),
            diff_id: None,
            _snapshot: Some(snapshot),
        }
    }

    /// Its diff ID, given its blob.
    pub(super) fn diff_id(&self, blob: &Descriptor) -> Digest {
        self.diff_id.unwrap_or(blob.digest)
    }

    /// The blob that it stands for.
    pub(super) async fn sealed(&self) -> Result<Descriptor> {
        let failed = |why: Arc<str>| Error::system(format!("seal a layer: {why}"));
        self.sealing.clone().await.map_err(failed)
    }
}

/// A stage as far as it is built.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// What containers of it start with.
    pub(super) config: ContainerConfig,
    /// `CMD` was said in this file.
    pub(super) command_set: bool,
    pub(super) author: Option<String>,
    /// What the variables mean here.
    pub(super) scope: Scope,
    /// The image it began with; none for `scratch`.
    pub(super) base: Option<Arc<Image>>,
    /// The base's layers, bottom first.
    pub(super) base_layers: Vec<(Descriptor, Digest)>,
    /// The base's directories, top first, mount points included.
    pub(super) base_stack: Arc<[PathBuf]>,
    /// The same without the mount points.
    pub(super) base_lowers: Arc<[PathBuf]>,
    /// What the document of the base says besides.
    pub(super) document: ImageConfig,
    /// What steps made, bottom first.
    pub(super) layers: Vec<Layer>,
    pub(super) history: Vec<History>,
    /// Names the files.
    pub(super) key: Key,
    /// What it is shown as.
    pub(super) id: String,
    /// Images that went the same way so far: the next step may be borrowed from them.
    pub(super) lenders: Vec<Arc<Lender>>,
    pub(super) created: Option<String>,
    /// Whether it is more than its base.
    pub(super) changed: bool,
}

impl State {
    /// Its directories, top first: what overlayfs merges.
    pub(super) fn stack(&self) -> Vec<PathBuf> {
        self.over(&self.base_stack)
    }

    /// The same as its image will be: without mount points that the image does not have.
    pub(super) fn view(&self) -> Vec<PathBuf> {
        self.over(&self.base_lowers)
    }

    fn over(&self, base: &[PathBuf]) -> Vec<PathBuf> {
        let mut stack: Vec<PathBuf> = Vec::with_capacity(self.layers.len() + base.len());
        let own = self.layers.iter().rev().map(|layer| &layer.path);
        for path in own.chain(base) {
            // Twice the same tree: overlayfs refuses that, and the lower one cannot be seen.
            if !stack.contains(path) {
                stack.push(path.clone());
            }
        }
        stack
    }

    /// The shell of this stage.
    pub(super) fn shell(&self) -> Vec<String> {
        self.config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()])
    }

    /// A path as `WORKDIR` makes it absolute; a slash at the end stays.
    pub(super) fn absolute(&self, path: &str) -> String {
        let whole = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{}/{path}", self.config.working_dir)
        };
        let clean = crate::spec::mounts::clean(&whole);
        let directory = path.ends_with('/') || path == "." || path.ends_with("/.") || path.is_empty();
        if directory && clean != "/" { format!("{clean}/") } else { clean }
    }
}
