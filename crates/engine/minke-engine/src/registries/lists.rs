//! Documents of manifests by themselves: fetched, put, taken over from another repository. `manifest` of the CLI is made of these;
//! docker's CLI speaks to registries itself.

use futures_util::StreamExt as _;
use minke_api::system::AuthConfig;
use minke_base::{Digest, Reference};
use minke_registry::{BlobSource, FetchedManifest, Insecure, Repository, SourceStream};
use minke_store::{Manifest, Platform};

use super::{Registries, credentials, failed, fetch, open, parse, platforms, selector};
use crate::error::{Error, Result};

impl Registries {
    /// The document that a name stands for, and what it runs on.
    pub async fn manifest(
        &self,
        name: &str,
        insecure: bool,
        auth: Option<&AuthConfig>,
    ) -> Result<(FetchedManifest, Vec<Platform>)> {
        let (repository, reference) = self.place(name, insecure, auth)?;
        let manifest = fetch(&repository, &reference).await?;
        let platforms = platforms(&repository, &manifest).await?;
        Ok((manifest, platforms))
    }

    /// Puts a document there; what it names is there already.
    pub async fn put_manifest(
        &self,
        name: &str,
        insecure: bool,
        media_type: &str,
        bytes: Vec<u8>,
        auth: Option<&AuthConfig>,
    ) -> Result<Digest> {
        let (repository, reference) = self.place(name, insecure, auth)?;
        repository.put_manifest(&selector(&reference), media_type, bytes.into()).await.map_err(failed)
    }

    /// Brings an image's manifest and what it names from one repository of a registry to another, under its digest.
    pub async fn copy_manifest(
        &self,
        from: &str,
        to: &str,
        insecure: bool,
        auth: Option<&AuthConfig>,
    ) -> Result<Digest> {
        let (source, reference) = self.place(from, insecure, auth)?;
        let (target, _) = self.place(to, insecure, auth)?;
        if source.domain() != target.domain() {
            return Err(Error::invalid(
                "cannot use source images from a different registry than the target image",
            ));
        }
        let found = fetch(&source, &reference).await?;
        let image: Manifest = serde_json::from_slice(&found.bytes)
            .map_err(|error| Error::invalid(format!("{from} is no image: {error}")))?;
        for blob in image.layers.iter().chain([&image.config]) {
            let bytes = Remote { repository: source.clone(), digest: blob.digest, size: blob.size };
            let neighbours = [source.path().to_owned()];
            target
                .push_blob(blob.digest, blob.size, &bytes, &neighbours, &|_sent| {})
                .await
                .map_err(failed)?;
        }
        let selector = minke_registry::Selector::Digest(found.digest);
        target.put_manifest(&selector, &found.media_type, found.bytes).await.map_err(failed)
    }

    fn place(
        &self,
        name: &str,
        insecure: bool,
        auth: Option<&AuthConfig>,
    ) -> Result<(Repository, Reference)> {
        let reference = parse(name)?;
        let client = if insecure {
            let mut settings = self.client().settings().clone();
            settings.insecure.push(Insecure::Host(reference.domain().to_owned()));
            open(settings)?
        } else {
            self.client()
        };
        Ok((client.repository(reference.domain(), reference.path(), credentials(auth)), reference))
    }
}

/// A blob of a registry, as something to upload.
struct Remote {
    repository: Repository,
    digest: Digest,
    size: u64,
}

impl BlobSource for Remote {
    fn open(&self, from: u64) -> std::io::Result<SourceStream> {
        let stream = self.repository.blob(self.digest, self.size, from);
        Ok(Box::pin(stream.map(|piece| piece.map_err(std::io::Error::other))))
    }
}
