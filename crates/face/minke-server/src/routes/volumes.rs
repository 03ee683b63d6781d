//! Volumes: list, inspect, create, remove, prune.

use std::sync::Arc;

use minke_api::compat;
use minke_api::volume::VolumeCreateRequest;
use minke_base::Kind;

use super::{filters, filters_and};
use crate::http::answer::{self, Outcome};
use crate::http::{Call, Failure};
use crate::serve::Shared;

pub(super) fn list(shared: &Shared, call: &Call) -> Outcome {
    answer::json(&shared.engine.volumes.list(&filters(call)?)?)
}

pub(super) fn inspect(shared: &Shared, name: &str) -> Outcome {
    answer::json(&shared.engine.volumes.inspect(name)?)
}

pub(super) async fn create(shared: &Shared, mut call: Call) -> Outcome {
    let request: VolumeCreateRequest = call.document().await?;
    let volumes = Arc::clone(&shared.engine.volumes);
    answer::created(&shared.work.apart("change the volumes", move || volumes.create(request)).await?)
}

pub(super) async fn remove(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let (volumes, name) = (Arc::clone(&shared.engine.volumes), name.to_owned());
    let force = call.query.flag("force");
    shared.work.apart("change the volumes", move || volumes.remove(&name, force)).await?;
    answer::no_content()
}

pub(super) async fn prune(shared: &Shared, call: &Call) -> Outcome {
    let more = compat::requests::prunes_all_volumes(call.version).then_some(("all", "true"));
    let (volumes, filters) = (Arc::clone(&shared.engine.volumes), filters_and(call, more)?);
    answer::json(&shared.work.apart("change the volumes", move || volumes.prune(&filters)).await?)
}

/// Only volumes of a swarm can be changed.
pub(super) fn update() -> Outcome {
    Err(Failure::new(
        Kind::Unavailable,
        "volume update only valid for cluster volumes, but swarm is unavailable",
    ))
}
