//! Registries: logging in, searching, what a name stands for there.

use bytes::Bytes;
use minke_api::system::AuthConfig;

use super::filters;
use crate::http::Call;
use crate::http::answer::{self, Failure, Outcome};
use crate::serve::Shared;

/// Who asks, as the header `X-Registry-Auth` says.
pub(super) fn auth(call: &Call) -> Result<AuthConfig, Failure> {
    AuthConfig::from_header(call.header("x-registry-auth"))
        .map_err(|error| Failure::invalid(error.to_string()))
}

pub(super) async fn login(shared: &Shared, mut call: Call) -> Outcome {
    let auth: AuthConfig = call.document().await?;
    answer::json(&shared.engine.registries.login(&auth).await?)
}

pub(super) async fn search(shared: &Shared, call: &Call) -> Outcome {
    let (auth, filters, limit) = (auth(call)?, filters(call)?, call.query.number("limit")?);
    let term = call.query.get("term");
    answer::json(&shared.engine.registries.search(term, limit, &filters, Some(&auth)).await?)
}

pub(super) async fn inspect(shared: &Shared, call: &Call, name: &str) -> Outcome {
    answer::json(&shared.engine.registries.inspect(name, Some(&auth(call)?)).await?)
}

/// minke's own: the document that a name stands for, byte for byte, under its media type. docker's CLI asks registries itself.
pub(super) async fn manifest(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let found = shared.engine.registries.manifest(name, Some(&auth(call)?)).await?;
    answer::document(&found.media_type, &found.digest.to_string(), found.bytes)
}

/// minke's own: puts a document of manifests under a name. Its media type is the request's.
pub(super) async fn put_manifest(shared: &Shared, mut call: Call, name: &str) -> Outcome {
    let auth = auth(&call)?;
    let media_type = call.header("content-type").to_owned();
    let body: Bytes = call.bytes().await?;
    let digest = shared.engine.registries.put_manifest(name, &media_type, body.to_vec(), Some(&auth)).await?;
    answer::created(&serde_json::json!({ "Digest": digest }))
}
