//! Registries: logging in, searching, what a name stands for there.

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

/// minke's own: the document that `name` stands for, byte for byte, under its media type, and what it runs on in a header. docker's
/// CLI asks registries itself.
pub(super) async fn manifest(shared: &Shared, call: &Call) -> Outcome {
    let (name, insecure) = (call.query.get("name"), call.query.flag("insecure"));
    let (found, platforms) = shared.engine.registries.manifest(name, insecure, Some(&auth(call)?)).await?;
    let platforms = serde_json::to_string(&platforms).unwrap_or_default();
    answer::document(&found.media_type, &found.digest.to_string(), &platforms, found.bytes)
}

/// minke's own: puts a document of manifests under a name. Its media type is the request's.
pub(super) async fn put_manifest(shared: &Shared, mut call: Call) -> Outcome {
    let auth = auth(&call)?;
    let media_type = call.header("content-type").to_owned();
    let body = call.bytes().await?.to_vec();
    let (name, insecure) = (call.query.get("name"), call.query.flag("insecure"));
    let registries = &shared.engine.registries;
    let digest = registries.put_manifest(name, insecure, &media_type, body, Some(&auth)).await?;
    answer::created(&serde_json::json!({ "Digest": digest }))
}

/// minke's own: brings the image `from` to the repository of `name`, within one registry.
pub(super) async fn copy_manifest(shared: &Shared, call: &Call) -> Outcome {
    let (name, from, insecure) =
        (call.query.get("name"), call.query.get("from"), call.query.flag("insecure"));
    let digest = shared.engine.registries.copy_manifest(from, name, insecure, Some(&auth(call)?)).await?;
    answer::created(&serde_json::json!({ "Digest": digest }))
}
