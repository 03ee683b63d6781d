//! What a build came to.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use minke_base::{Digest, Reference};
use minke_store::archive::{self, SaveImage};
use minke_store::{Hold, Store};

use super::blocking;
use super::request::OutputKind;
use super::state::Layer;
use crate::error::{Error, Result};

/// A build that succeeded.
#[derive(Debug)]
pub struct BuildOutcome {
    /// The image's id, `sha256:…`.
    pub image: String,
    /// The digest of its manifest.
    pub manifest: String,
    /// How many steps were taken from the cache.
    pub cached: usize,
    /// How many there were.
    pub steps: usize,
    /// What `--output` asked for beside an image, in its order. What the store has of it is kept until these are dropped.
    pub exports: Vec<Export>,
}

/// A result to be written out.
#[derive(Debug)]
pub struct Export {
    store: Arc<Store>,
    kind: OutputKind,
    manifest: Digest,
    names: Vec<Reference>,
    view: Vec<PathBuf>,
    _layers: Vec<Layer>,
    /// Keeps what the store has of it.
    _hold: Arc<Hold>,
}

impl Export {
    pub(super) fn new(
        store: Arc<Store>,
        kind: OutputKind,
        manifest: Digest,
        names: Vec<Reference>,
        view: Vec<PathBuf>,
        layers: Vec<Layer>,
        hold: Arc<Hold>,
    ) -> Self {
        Self { store, kind, manifest, names, view, _layers: layers, _hold: hold }
    }

    /// Writes it as one tar.
    pub async fn write(self, mut output: Box<dyn Write + Send>) -> Result<()> {
        blocking(move || {
            let failed = |source| Error::failed("write the result", source);
            match self.kind {
                OutputKind::Tar => {
                    let root = self
                        .store
                        .driver()
                        .open_view(&self.view)
                        .map_err(|source| Error::failed("open the result", source))?
                        .ok_or_else(|| Error::invalid(super::NO_OVERLAY))?;
                    minke_store::copying::pack_whole(&root, &mut output).map_err(failed)?;
                }
                OutputKind::Image | OutputKind::None | OutputKind::Oci | OutputKind::Docker => {
                    let wanted = SaveImage { manifest: self.manifest, names: self.names.clone() };
                    archive::save(&self.store, &[wanted], &mut output)
                        .map_err(|source| Error::failed("write the result", source))?;
                }
            }
            output.flush().map_err(failed)
        })
        .await
    }
}
