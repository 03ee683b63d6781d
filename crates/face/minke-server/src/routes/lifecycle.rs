//! Changing containers: create, start, stop, restart, kill, pause, rename, update, remove, prune.

use std::sync::Arc;

use minke_api::container::{ContainerConfig, ContainerCreateRequest, ContainerUpdateRequest};
use minke_api::{compat, texts};
use minke_engine::containers::RemoveOptions;

use super::filters;
use crate::http::Call;
use crate::http::answer::{self, Failure, Outcome};
use crate::serve::Shared;

pub(super) async fn create(shared: &Shared, mut call: Call) -> Outcome {
    let body = call.document_bytes().await?;
    let mut request = ContainerCreateRequest::from_json(&body)?;
    let warnings = adapt_create(&call, &mut request)?;
    let containers = Arc::clone(&shared.engine.containers);
    let name = call.query.text("name").map(str::to_owned);
    let platform =
        compat::requests::create_platform(call.version, call.query.text("platform")).map(str::to_owned);
    let mut response = shared
        .work
        .to_the_end(async move { containers.create(name.as_deref(), platform.as_deref(), request).await })
        .await?;
    response.warnings.extend(warnings);
    answer::created(&response)
}

/// A create body as the newest version would have it, with the warnings that this brings.
pub(super) fn adapt_create(
    call: &Call,
    request: &mut ContainerCreateRequest,
) -> Result<Vec<String>, Failure> {
    if request.config == ContainerConfig::default() {
        return Err(Failure::invalid(texts::CONFIG_EMPTY));
    }
    compat::requests::create(call.version, request).map_err(|error| Failure::invalid(error.to_string()))
}

pub(super) async fn start(shared: &Shared, mut call: Call, name: &str) -> Outcome {
    // A host configuration in the body was how the API's first versions did it; clients still send "{}" or nothing.
    let body = call.bytes().await?;
    if body.len() > 2 {
        return Err(Failure::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    let (containers, name) = (Arc::clone(&shared.engine.containers), name.to_owned());
    shared.work.to_the_end(async move { containers.start(&name).await }).await?;
    answer::no_content()
}

/// The parameters `t` and `signal` of stop and restart.
fn stopping(call: &Call) -> Result<(Option<i64>, Option<String>), Failure> {
    let signal = compat::requests::stop_signal(call.version, call.query.text("signal"));
    Ok((call.query.number("t")?, signal.map(str::to_owned)))
}

pub(super) async fn stop(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let (timeout, signal) = stopping(call)?;
    let (containers, name) = (Arc::clone(&shared.engine.containers), name.to_owned());
    shared.work.to_the_end(async move { containers.stop(&name, timeout, signal.as_deref()).await }).await?;
    answer::no_content()
}

pub(super) async fn restart(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let (timeout, signal) = stopping(call)?;
    let (containers, name) = (Arc::clone(&shared.engine.containers), name.to_owned());
    shared
        .work
        .to_the_end(async move { containers.restart(&name, timeout, signal.as_deref()).await })
        .await?;
    answer::no_content()
}

pub(super) async fn kill(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let (containers, name) = (Arc::clone(&shared.engine.containers), name.to_owned());
    let signal = call.query.text("signal").map(str::to_owned);
    shared.work.to_the_end(async move { containers.kill(&name, signal.as_deref()).await }).await?;
    answer::no_content()
}

pub(super) async fn pause(shared: &Shared, name: &str) -> Outcome {
    let (containers, name) = (Arc::clone(&shared.engine.containers), name.to_owned());
    shared.work.to_the_end(async move { containers.pause(&name).await }).await?;
    answer::no_content()
}

pub(super) async fn unpause(shared: &Shared, name: &str) -> Outcome {
    let (containers, name) = (Arc::clone(&shared.engine.containers), name.to_owned());
    shared.work.to_the_end(async move { containers.unpause(&name).await }).await?;
    answer::no_content()
}

pub(super) async fn rename(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let containers = Arc::clone(&shared.engine.containers);
    let (name, wanted) = (name.to_owned(), call.query.get("name").to_owned());
    shared.work.to_the_end(async move { containers.rename(&name, &wanted).await }).await?;
    answer::no_content()
}

pub(super) async fn update(shared: &Shared, mut call: Call, name: &str) -> Outcome {
    let mut request: ContainerUpdateRequest = call.document().await?;
    compat::requests::update(call.version, &mut request);
    let (containers, name) = (Arc::clone(&shared.engine.containers), name.to_owned());
    answer::json(&shared.work.to_the_end(async move { containers.update(&name, request).await }).await?)
}

pub(super) async fn remove(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let options = RemoveOptions {
        force: call.query.flag("force"),
        volumes: call.query.flag("v"),
        link: call.query.flag("link"),
    };
    let (containers, name) = (Arc::clone(&shared.engine.containers), name.to_owned());
    shared.work.to_the_end(async move { containers.remove(&name, options).await }).await?;
    answer::no_content()
}

pub(super) async fn prune(shared: &Shared, call: &Call) -> Outcome {
    let (containers, filters) = (Arc::clone(&shared.engine.containers), filters(call)?);
    answer::json(&shared.work.to_the_end(async move { containers.prune(&filters).await }).await?)
}
