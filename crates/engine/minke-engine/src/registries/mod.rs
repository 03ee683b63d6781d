//! Registries as Docker's users know them: names of servers, who is logged in, what a search finds, what a name stands for there.
//!
//! The protocol is `minke-registry`'s; pulling and pushing are the images'.

mod lists;
mod search;
mod wire;

use std::sync::{PoisonError, RwLock};

use minke_api::system::{AuthConfig, AuthResponse};
use minke_base::{Kind, Reference};
use minke_registry::{Client, Credentials, FetchedManifest, Repository, Selector, Settings};
use minke_store::{ImageConfig, Index, Manifest, Platform};

use crate::error::{Error, Result};

pub use wire::{Distribution, DistributionDescriptor, SearchHit};

/// A configuration larger than this is nobody's.
const MAX_CONFIG: u64 = 8 << 20;

/// The way to registries.
#[derive(Debug)]
pub struct Registries {
    client: RwLock<Client>,
}

impl Registries {
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self { client: RwLock::new(open(settings)?) })
    }

    /// Other settings, for what begins from now on.
    pub fn configure(&self, settings: Settings) -> Result<()> {
        let client = open(settings)?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    /// The client as it is set now. What is begun with it ends with it.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The repository that a reference names, for somebody.
    #[must_use]
    pub fn repository(&self, reference: &Reference, auth: Option<&AuthConfig>) -> Repository {
        self.client().repository(reference.domain(), reference.path(), credentials(auth))
    }

    /// Shows credentials to the registry they are for.
    pub async fn login(&self, auth: &AuthConfig) -> Result<AuthResponse> {
        let domain = domain_of(&auth.serveraddress);
        let logged_in = self.client().login(&domain, &credentials(Some(auth))).await.map_err(failed)?;
        Ok(AuthResponse { status: "Login Succeeded".to_owned(), identity_token: logged_in.identity_token })
    }

    /// What a name stands for at its registry.
    pub async fn inspect(&self, name: &str, auth: Option<&AuthConfig>) -> Result<Distribution> {
        let reference = parse(name)?;
        let repository = self.repository(&reference, auth);
        let manifest = fetch(&repository, &reference).await?;
        let platforms = platforms(&repository, &manifest).await?;
        Ok(Distribution {
            descriptor: DistributionDescriptor {
                media_type: manifest.media_type,
                digest: manifest.digest,
                size: manifest.bytes.len() as u64,
            },
            platforms,
        })
    }
}

fn open(settings: Settings) -> Result<Client> {
    Client::new(settings).map_err(|error| Error::invalid(error.to_string()))
}

fn parse(name: &str) -> Result<Reference> {
    Reference::parse(name).map(Reference::or_latest).map_err(|error| Error::invalid(error.to_string()))
}

/// Digest before tag, as a name may have both.
#[must_use]
pub fn selector(reference: &Reference) -> Selector {
    match reference.digest() {
        Some(digest) => Selector::Digest(digest),
        None => Selector::Tag(reference.tag().unwrap_or("latest").to_owned()),
    }
}

async fn fetch(repository: &Repository, reference: &Reference) -> Result<FetchedManifest> {
    repository.manifest(&selector(reference)).await.map_err(failed)
}

async fn platforms(repository: &Repository, manifest: &FetchedManifest) -> Result<Vec<Platform>> {
    let unreadable = |error: serde_json::Error| {
        Error::invalid(format!("the manifest {} cannot be read: {error}", manifest.digest))
    };
    let document: minke_store::Descriptor =
        minke_store::Descriptor::new(&manifest.media_type, manifest.digest, manifest.bytes.len() as u64);
    if document.is_index() {
        let index: Index = serde_json::from_slice(&manifest.bytes).map_err(unreadable)?;
        return Ok(index.manifests.into_iter().filter_map(|entry| entry.platform).collect());
    }
    if !document.is_manifest() {
        return Ok(Vec::new());
    }
    let image: Manifest = serde_json::from_slice(&manifest.bytes).map_err(unreadable)?;
    let config =
        repository.whole_blob(image.config.digest, image.config.size, MAX_CONFIG).await.map_err(failed)?;
    // Charts and other artefacts have configurations of their own, and no platform.
    let config = serde_json::from_slice::<ImageConfig>(&config);
    Ok(config.map(|config| vec![config.platform()]).unwrap_or_default())
}

/// Who somebody is, as the protocol wants it.
#[must_use]
pub fn credentials(auth: Option<&AuthConfig>) -> Credentials {
    let auth = auth.cloned().unwrap_or_default().normalised();
    Credentials {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identitytoken,
        registry_token: auth.registrytoken,
    }
}

/// The registry that a server's address in `login` means: with or without scheme and path, Docker Hub by any of its names.
#[must_use]
pub fn domain_of(server: &str) -> String {
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    match bare.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" | "docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

/// A registry's error as the engine's.
pub fn failed(error: minke_registry::Error) -> Error {
    let kind = match error.kind() {
        Kind::System if matches!(error, minke_registry::Error::TooLarge { .. }) => Kind::InvalidParameter,
        kind => kind,
    };
    Error::new(kind, error.to_string()).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_s_address_names_its_registry() {
        for hub in ["", "https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"] {
            assert_eq!(domain_of(hub), "docker.io");
        }
        assert_eq!(domain_of("http://localhost:5000/v2/"), "localhost:5000");
        assert_eq!(domain_of("quay.io"), "quay.io");
    }
}
