//! The engine about itself: `_ping`, `version`, `info`, `system/df`.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue, PRAGMA};
use minke_api::compat;

use crate::http::Call;
use crate::http::answer::{self, Failure, Outcome};
use crate::serve::Shared;

pub(super) fn ping(shared: &Shared) -> Outcome {
    let mut response = answer::text(StatusCode::OK, "text/plain; charset=utf-8", "OK");
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(
        HeaderName::from_static("builder-version"),
        HeaderValue::from_static(shared.settings().builder()),
    );
    headers.insert(HeaderName::from_static("swarm"), HeaderValue::from_static("inactive"));
    Ok(response.into())
}

pub(super) fn version(shared: &Shared) -> Outcome {
    answer::json(&shared.engine.system.version())
}

pub(super) fn info(shared: &Shared, call: &Call) -> Outcome {
    let mut info = shared.engine.system.info();
    shared.settings().complete(&mut info);
    answer::json(&compat::system::info(call.version, &info))
}

pub(super) async fn disk_usage(shared: &Shared, call: &Call) -> Outcome {
    let types: Vec<&str> = call.query.all("type").collect();
    if let Some(unknown) =
        types.iter().find(|kind| !matches!(**kind, "container" | "image" | "volume" | "build-cache"))
    {
        return Err(Failure::invalid(format!("unknown object type: {unknown}")));
    }
    let mut usage = shared.engine.system.disk_usage().await?;
    let wants = |kind| types.is_empty() || types.contains(&kind);
    if !wants("image") {
        usage.images.clear();
        usage.layers_size = 0;
    }
    if !wants("container") {
        usage.containers.clear();
    }
    if !wants("volume") {
        usage.volumes.clear();
    }
    if !wants("build-cache") {
        usage.build_cache.clear();
    }
    answer::json(&compat::system::disk_usage(call.version, call.query.flag("verbose"), &usage))
}
