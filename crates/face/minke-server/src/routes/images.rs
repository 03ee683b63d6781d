//! Asking about and changing images.

use std::sync::Arc;

use hyper::StatusCode;
use minke_api::compat;
use minke_api::container::ContainerConfig;
use minke_engine::containers::CommitRequest;
use minke_engine::images::ImageListOptions;

use super::{filters, filters_and};
use crate::http::Call;
use crate::http::answer::{self, Failure, Outcome};
use crate::serve::Shared;

/// The `platform` parameter of the image endpoints picks one of several platforms, which needs the multi-platform store.
pub(super) fn refuse_platform(call: &Call) -> Result<(), Failure> {
    match ["platform", "platforms"].into_iter().find_map(|name| call.query.text(name)) {
        Some(platform) => Err(Failure::not_built(&format!(
            "choosing a platform ({platform}) of an image that has several is"
        ))),
        None => Ok(()),
    }
}

pub(super) async fn list(shared: &Shared, call: &Call) -> Outcome {
    // The singular parameter was the way to look for a name until 1.40.
    let reference = call.query.text("filter").filter(|_| call.version.before(41));
    let filters = filters_and(call, reference.map(|reference| ("reference", reference)))?;
    let options = ImageListOptions {
        all: call.query.flag("all"),
        shared_size: call.query.flag("shared-size"),
        filters,
    };
    let list = shared.engine.images.list(options).await?;
    let list: Vec<_> = list.iter().map(|image| compat::images::summary(call.version, image)).collect();
    answer::json(&list)
}

pub(super) async fn inspect(shared: &Shared, call: &Call, name: &str) -> Outcome {
    refuse_platform(call)?;
    let version = compat::images::understood_by(call.header("user-agent"), call.version);
    answer::json(&compat::images::inspect(version, &shared.engine.images.inspect(name).await?))
}

pub(super) async fn history(shared: &Shared, call: &Call, name: &str) -> Outcome {
    refuse_platform(call)?;
    answer::json(&shared.engine.images.history(name).await?)
}

pub(super) async fn tag(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let images = Arc::clone(&shared.engine.images);
    let (name, repo, tag) =
        (name.to_owned(), call.query.get("repo").to_owned(), call.query.get("tag").to_owned());
    shared.work.to_the_end(async move { images.tag(&name, &repo, &tag).await }).await?;
    answer::done(StatusCode::CREATED)
}

pub(super) async fn remove(shared: &Shared, call: &Call, name: &str) -> Outcome {
    refuse_platform(call)?;
    let (force, prune) = (call.query.flag("force"), !call.query.flag("noprune"));
    let (images, name) = (Arc::clone(&shared.engine.images), name.to_owned());
    answer::json(&shared.work.to_the_end(async move { images.remove(&name, force, prune).await }).await?)
}

pub(super) async fn commit(shared: &Shared, mut call: Call) -> Outcome {
    let body = call.document_bytes().await?;
    let asked = match body.iter().all(u8::is_ascii_whitespace) {
        true => None,
        false => minke_api::lenient::from_slice::<Option<ContainerConfig>>(&body)
            .map_err(|error| Failure::invalid(error.to_string()))?,
    };
    let text = |name: &str| call.query.get(name).to_owned();
    let request = CommitRequest {
        container: text("container"),
        repository: text("repo"),
        tag: text("tag"),
        author: text("author"),
        comment: text("comment"),
        pause: call.query.flag_or("pause", true),
        changes: call.query.all("changes").flat_map(str::lines).map(str::to_owned).collect(),
        config: asked.filter(|asked| *asked != ContainerConfig::default()),
    };
    let containers = Arc::clone(&shared.engine.containers);
    let id = shared.work.to_the_end(async move { containers.commit(request).await }).await?;
    answer::created(&serde_json::json!({"Id": id}))
}

pub(super) async fn prune(shared: &Shared, call: &Call) -> Outcome {
    let (images, filters) = (Arc::clone(&shared.engine.images), filters(call)?);
    answer::json(&shared.work.to_the_end(async move { images.prune(&filters).await }).await?)
}
